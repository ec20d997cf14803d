//! Why a payload can't be decoded.

use super::NoMemory;

/// How a payload is not what an encoder wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It ends before what must be at its beginning.
    #[error("it is too short")]
    TooShort,
    /// A section is longer than the rest of the payload.
    #[error("its {section} ends too early")]
    CutShort {
        /// The section.
        section: &'static str,
    },
    /// Something follows the last value of a section.
    #[error("it has more {section} than {limit}")]
    TooLong {
        /// The section.
        section: &'static str,
        /// What it should be limited to.
        limit: &'static str,
    },
    /// A section has another size than the rest of the payload says.
    #[error("it has {found} bytes of {section} instead of {expected}")]
    SectionSize {
        /// The section.
        section: &'static str,
        /// The size that the rest of the payload says.
        expected: u64,
        /// The size it has.
        found: u64,
    },
    /// It decodes to another number of bytes or values than the block has.
    #[error("it holds {found} {unit} instead of {expected}")]
    Count {
        /// What is counted.
        unit: &'static str,
        /// As many as the block has.
        expected: usize,
        /// As many as it holds.
        found: usize,
    },
    /// A number that stands for a method has no meaning.
    #[error("its {what} {found} is unknown")]
    Unknown {
        /// What the number stands for.
        what: &'static str,
        /// The number.
        found: u8,
    },
    /// A number that no encoder writes.
    #[error("{what} is out of range")]
    OutOfRange {
        /// The number.
        what: &'static str,
    },
    /// The parameters by which an atom is predicted make no sense.
    #[error("atom {atom} of a tile {problem}")]
    Atom {
        /// Its place in its tile.
        atom: usize,
        /// What is wrong.
        problem: AtomProblem,
    },
    /// Its integers are on a grid, but which is not known.
    #[error("its grid is not known")]
    NoGrid,
    /// An outlier lies outside the block, or before the one before it.
    #[error("an outlier lies outside or out of order")]
    OutlierPosition,
    /// A frame was asked for that the block doesn't have.
    #[error("frame {frame} was asked for in a block of {frames}")]
    FrameOutside {
        /// The frame.
        frame: usize,
        /// How many there are.
        frames: usize,
    },
    /// Molecules were coded, but the block has no coordinates.
    #[error("its rows have {components} numbers and not three coordinates")]
    NotCoordinates {
        /// How many numbers a row has.
        components: usize,
    },
    /// The block is larger or smaller than the memory for it.
    #[error("{found} bytes were asked for, the block has {expected}")]
    OutputSize {
        /// The block's bytes.
        expected: usize,
        /// The bytes of memory.
        found: usize,
    },
    /// No codec of this number decodes data of this type.
    #[error("codec {codec} is unknown for this type")]
    UnknownCodec {
        /// The number.
        codec: u8,
    },
    /// There is too little memory, which is no damage.
    #[error("there is too little memory for it ({bytes} bytes)")]
    OutOfMemory {
        /// How many are needed; 0 where a library does not tell.
        bytes: usize,
    },
    /// A library refuses its part of the payload.
    #[error("{library}: {message}")]
    Library {
        /// The library.
        library: &'static str,
        /// What it says.
        message: String,
    },
}

/// What is wrong with the parameters of an atom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AtomProblem {
    /// It is predicted from an atom that is not decoded yet.
    #[error("is placed from one that does not come before it")]
    Reference,
    /// Its fields are wider than any encoder makes them.
    #[error("takes more bits than there can be")]
    Width,
    /// It has codes of another kind than any encoder gives it.
    #[error("has no codes, or some of an unknown class")]
    Class,
    /// Its coefficients or distances are not numbers.
    #[error("is placed by what is not a number")]
    Coefficient,
}

impl From<NoMemory> for DecodeError {
    fn from(NoMemory { bytes }: NoMemory) -> Self {
        Self::OutOfMemory { bytes }
    }
}

impl DecodeError {
    /// What zstd says of its frame.
    pub(crate) fn zstd(error: std::io::Error) -> Self {
        let message = error.to_string();
        if message.contains("not enough memory") {
            return Self::OutOfMemory { bytes: 0 };
        }
        Self::Library { library: "zstd", message }
    }

    /// What pcodec says of its numbers.
    pub(crate) fn pco(error: pco::errors::PcoError) -> Self {
        Self::Library { library: "pcodec", message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_for_zstd_is_not_taken_for_damage() {
        // `ZSTD_error_memory_allocation`, negated as zstd returns it.
        let said = zstd::zstd_safe::get_error_name(64usize.wrapping_neg());
        let found = DecodeError::zstd(std::io::Error::other(said));
        assert_eq!(found, DecodeError::OutOfMemory { bytes: 0 }, "{said}");
    }
}
