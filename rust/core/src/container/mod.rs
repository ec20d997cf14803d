//! The file that holds one entry: records, commits, an index found from the end.
//!
//! `docs/format-trajectory.md` describes the format byte by byte. Nothing that is read is used
//! before it has been checked: sizes against the file, shapes against sizes, checksums against
//! bytes. Coded payloads are opaque here; the codec number is all that is known of them.

mod append;
pub(crate) mod bytes;
mod commit;
mod frame;
mod head;
mod record;
mod recover;
mod schema;
mod state;

pub(crate) use append::Appender;
pub(crate) use commit::{Chunk, Commit, Schema};
pub(crate) use frame::{END_BYTES, Trailer, check_preamble};
pub use head::{Encoding, EntryHead, Kind, MAX_DATA_ID, MAX_METADATA, Profile};
pub(crate) use head::{encode_head, parse_head};
pub(crate) use record::{
    HEADER, MAX_CODED, RAW, RecordHeader, RecordKind, SEGMENT, Target, segment_table,
};
pub(crate) use recover::recover;
pub use schema::{ArraySpec, DType, FieldSpec};
pub(crate) use state::{Group, State, cut, groups};
