//! What is wrong with a tree of values.

use rmp::Marker;

/// How a tree of values differs from what can be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// There is no byte, not even the version.
    #[error("it is empty")]
    Empty,
    /// A value is announced and its bytes are missing.
    #[error("it ends too early")]
    Truncated,
    /// A MessagePack marker that no value of a tree begins with.
    #[error("{0:?} stands where no value has it")]
    UnknownMarker(Marker),
    /// A value of another kind than its place needs.
    #[error("{found} stands where {expected} should")]
    UnexpectedValue {
        /// The token that was found.
        found: String,
        /// The kind of value that the place needs.
        expected: &'static str,
    },
    /// A list of another length than its place needs.
    #[error("a list of {found} stands where {expected} should")]
    WrongLength {
        /// Its length.
        found: usize,
        /// The length that the place needs.
        expected: usize,
    },
    /// The value is complete and bytes are left.
    #[error("{0} bytes follow its end")]
    TrailingBytes(usize),
    /// An extension that names no tag.
    #[error("its tag {0:?} is unknown")]
    UnknownTag([u8; 3]),
    /// More values than there are bytes.
    #[error("it announces {values} values and has no room for them")]
    TooManyValues {
        /// How many values a list or map announces.
        values: u64,
    },
    /// Values inside values, beyond what is allowed.
    #[error("it is nested more than {most} deep")]
    TooDeep {
        /// What is allowed.
        most: usize,
    },
    /// Text that is not Unicode.
    #[error("text in it is not UTF-8")]
    NotUtf8,
    /// A value that uses the memory of tensors, among those that are this memory.
    #[error("a storage is not an array")]
    StorageNotArray,
    /// A value that can be read and can't be made, such as a map with a list as a key.
    #[error("{reason}")]
    Unusable {
        /// Why it can't be made.
        reason: String,
    },
}
