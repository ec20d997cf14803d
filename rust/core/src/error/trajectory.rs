//! What is wrong with a chunk of an entry.

use super::DecodeError;

/// Why a chunk can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// Its payload is not, or not wholly, in the file.
    #[error("it lies outside the file")]
    Outside,
    /// The table of its segments' checksums is not, or not wholly, in the file.
    #[error("its table lies outside the file")]
    TableOutside,
    /// The payload is not what was written.
    #[error("its checksum does not match")]
    Checksum,
    /// The table of its segments' checksums is not what was written.
    #[error("its table's checksum does not match")]
    TableChecksum,
    /// A segment of the payload is not what was written.
    #[error("the checksum of segment {segment} does not match")]
    SegmentChecksum {
        /// The segment.
        segment: usize,
    },
    /// Bytes that were verified before are others now.
    #[error("it has changed since it was read first")]
    Changed,
    /// The payload can't be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}
