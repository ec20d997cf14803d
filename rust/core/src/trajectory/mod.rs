//! Entries: structures and trajectories in one file each, written once or appended to, read at
//! random.

mod reader;
mod select;
mod verify;
mod writer;

pub use crate::container::{
    ArraySpec, DType, Encoding, EntryHead, FieldSpec, Kind, MAX_DATA_ID, MAX_METADATA, Profile,
};
pub use reader::Entry;
pub use select::Frames;
pub use verify::{ChunkReport, Report};
pub use writer::EntryWriter;
