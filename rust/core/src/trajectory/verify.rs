//! Reading everything back.

use crate::Error;

/// What a check of a whole entry found.
#[derive(Debug)]
pub struct Report {
    /// How many chunks were read and decoded.
    pub checked: u64,
    /// Those that are damaged.
    pub damaged: Vec<ChunkReport>,
}

impl Report {
    /// Whether all is as it was written.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// A damaged chunk.
#[derive(Debug)]
pub struct ChunkReport {
    /// The field or array it belongs to.
    pub name: String,
    /// Its first frame, or its first element in an array.
    pub first: u64,
    /// How many frames or elements it has.
    pub count: u64,
    /// What is wrong with it.
    pub error: Error,
}
