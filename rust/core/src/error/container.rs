//! What is wrong with the records of an entry's file.

use super::{DecodeError, Error};

/// How bytes are not what the format says they should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// It ends before what must be at its beginning.
    #[error("it is too short")]
    TooShort,
    /// It ends before what it announces.
    #[error("it is cut short")]
    CutShort,
    /// It has another length than its counts say.
    #[error("its length does not match what it says")]
    Length,
    /// It is longer than anybody would make it.
    #[error("it is implausibly long")]
    TooLong,
    /// Its checksum is another.
    #[error("its checksum does not match")]
    Checksum,
    /// The checksum of a record's header is another.
    #[error("its header's checksum does not match")]
    HeaderChecksum,
    /// The trailer is not there.
    #[error("it was not finished, or is cut short")]
    Unfinished,
    /// The file's length is not the one in its trailer.
    #[error("the file has another length than when it was written: {found} bytes, not {expected}")]
    FileLength {
        /// The length in the trailer.
        expected: u64,
        /// The file's length.
        found: u64,
    },
    /// A number that stands for a kind of record or target has no meaning.
    #[error("its {what} is unknown: {found}")]
    Unknown {
        /// What the number stands for.
        what: &'static str,
        /// The number.
        found: u8,
    },
    /// A record of another kind is where this one should be.
    #[error("another record is in its place")]
    WrongRecord,
    /// A record is not, or not wholly, in the file.
    #[error("it lies outside the file")]
    Outside,
    /// The padding is longer than alignment needs.
    #[error("its padding is too long: {found} bytes")]
    Padding {
        /// Its length.
        found: u32,
    },
    /// A payload that is stored as it is has two sizes.
    #[error("it is stored as it is, and its two sizes differ: {stored} and {raw} bytes")]
    RawSizes {
        /// As it is stored.
        stored: u64,
        /// When decoded.
        raw: u64,
    },
    /// A coded payload is larger than any encoder makes it.
    #[error("its size is implausible: {stored} bytes for {raw}")]
    ImplausibleSize {
        /// As it is stored.
        stored: u64,
        /// When decoded.
        raw: u64,
    },
    /// JSON is not valid, or not what the format asks for.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A value that could not have been written.
    #[error("{0}")]
    Value(Box<Error>),
    /// A commit lists another record than one of data.
    #[error("it lists something that is not a chunk of data")]
    NotAChunk,
    /// A chunk is of an array or field that the schema doesn't have.
    #[error("a chunk belongs to no array or field")]
    UnknownTarget,
    /// The chunks of an array are not all of it.
    #[error("the chunks of {name:?} do not make up the array")]
    IncompleteArray {
        /// The array.
        name: String,
    },
    /// The chunks of a field are not all of its frames.
    #[error("the chunks of {name:?} do not make up its frames")]
    IncompleteField {
        /// The field.
        name: String,
    },
    /// A field's frames are more bytes than there can be.
    #[error("{name:?} has an impossible number of frames: {frames}")]
    TooManyFrames {
        /// The field.
        name: String,
        /// How many.
        frames: u64,
    },
    /// A chunk is not, or not wholly, in the file.
    #[error("the chunk at byte {offset} lies outside the file")]
    ChunkOutside {
        /// Where it should be.
        offset: u64,
    },
    /// A chunk is where it can't be used in place.
    #[error("the chunk at byte {offset} is not aligned to {alignment}")]
    ChunkAlignment {
        /// Where it is.
        offset: u64,
        /// What its offset should be a multiple of.
        alignment: u64,
    },
    /// Two chunks share bytes of the file.
    #[error("the chunks at bytes {first} and {second} overlap")]
    ChunksOverlap {
        /// The first.
        first: u64,
        /// The second.
        second: u64,
    },
    /// A text is not one.
    #[error("it has a text that is not UTF-8")]
    Text,
    /// A dictionary of texts is not the one that an encoder makes.
    #[error("an index has no text, or a text has no index or two places")]
    Dictionary,
    /// A topology is of another number of atoms than the coordinates beside it.
    #[error("it has {found} atoms, and the frames have {expected}")]
    AtomCount {
        /// The atoms of the frames.
        expected: u64,
        /// The atoms of the topology.
        found: u64,
    },
    /// A payload can't be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Chunks hold frames or rows twice, or not at all.
    #[error("chunks overlap or leave a gap")]
    Coverage,
}

impl From<Error> for FormatError {
    fn from(error: Error) -> Self {
        Self::Value(Box::new(error))
    }
}
