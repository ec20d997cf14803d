//! container
mod head;
mod schema;

pub use head::{Encoding, EntryHead, Kind, MAX_DATA_ID, MAX_METADATA, Profile};
pub use schema::{ArraySpec, DType, FieldSpec};
