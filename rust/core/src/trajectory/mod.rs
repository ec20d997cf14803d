//! Entries: structures and trajectories in one file each, written once or appended to, read at
//! random.
//!
//! An entry has arrays, stored once, and per-frame fields, stored in chunks of frames and blocks of
//! rows (atoms). The writer decides how they are cut and coded; the reader checks every chunk when
//! it first touches it, and decodes no more than what was asked for needs.

mod chunking;
mod encode;
mod frames;
mod read_ahead;
mod reader;
mod recent;
mod select;
mod stored;
mod verify;
mod writer;

pub use crate::container::{
    ArraySpec, DType, Encoding, EntryHeader, FieldSpec, Kind, MAX_DATA_ID, MAX_METADATA, Profile,
};
pub use read_ahead::{FrameBlock, ReadAhead};
pub use reader::Entry;
pub use select::Frames;
pub use verify::{ChunkReport, Report};
pub use writer::{EntryWriter, RAW_BYTES};
