//! The file that holds one entry: records, commits, an index found from the end.
//!
//! `docs/format-trajectory.md` describes the format byte by byte. Nothing that is read is used
//! before it has been checked: sizes against the file, shapes against sizes, checksums against
//! bytes. Coded payloads are opaque here; the codec number is all that is known of them.

mod append;
mod commit;
mod ends;
mod entry_header;
mod precision;
mod record;
mod recover;
mod schema;
mod state;

pub(crate) use append::Appender;
pub(crate) use commit::{Chunk, Commit, Schema};
pub(crate) use ends::{END_BYTES, Trailer, check_not_newer, check_preamble, checksum_of_records};
pub use entry_header::{
    Encoding, EntryHeader, EntryKind, MAX_DATA_ID, MAX_METADATA, Profile, TopologyCounts,
};
pub(crate) use entry_header::{ParsedHeader, encode_entry_header, parse_entry_header};
pub use precision::Precision;
pub(crate) use record::{
    ALIGNMENT, CODED_SEGMENT, HEADER, MAX_CODED, MAX_RATIO, RAW, RecordHeader, RecordHeaderBytes,
    RecordKind, Target,
};
pub(crate) use recover::{ENTRY_HEADER, TOPOLOGY, recover};
pub use schema::{ArraySpec, DType, FieldSpec};
pub(crate) use state::{FileState, RowGroup, row_groups, truncate_chunks};
