//! The two ends of a file: the preamble, which says what it is, and the trailer, which says where
//! its index is and that nothing is missing.

use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::record::RecordHeader;
use crate::error::FormatError;
use crate::fs::open_file;
use crate::{Error, Result, checksum};

/// Bytes of the preamble, and of the trailer.
pub const END_BYTES: usize = 64;
/// The format version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// A byte with its high bit set, line ends of two systems and an end-of-file mark: a transfer that
/// changes any of them is noticed here.
const MAGIC: [u8; 8] = *b"\x89PFX\r\n\x1a\n";
const END_MAGIC: [u8; 8] = *b"\x89PFXend\n";
const EXPECTED: &str = "a ProteinFlex data file";
/// Bytes before the checksum, which covers them.
const SEALED: usize = END_BYTES - size_of::<u64>();

/// The first bytes of a file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Preamble {
    magic: [u8; 8],
    version: U32,
    /// Features that a reader must know to make sense of the file; none exists in version 1.
    needed_features: U32,
    zeros: [u8; 40],
    checksum: U64,
}

/// The last bytes of a finished file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TrailerBytes {
    magic: [u8; 8],
    index: U64,
    length: U64,
    content_id: [u8; 16],
    records: U64,
    topology: U64,
    checksum: U64,
}

/// The first bytes of a file.
pub fn preamble() -> [u8; END_BYTES] {
    let mut preamble = Preamble {
        magic: MAGIC,
        version: VERSION.into(),
        needed_features: 0.into(),
        zeros: [0; 40],
        checksum: 0.into(),
    };
    preamble.checksum = checksum(&preamble.as_bytes()[..SEALED]).into();
    zerocopy::transmute!(preamble)
}

/// Checks the first bytes of a file.
pub fn check_preamble(bytes: &[u8], path: &Path) -> Result<()> {
    let Some((preamble, _)) =
        Preamble::ref_from_prefix(bytes).ok().filter(|(preamble, _)| preamble.magic == MAGIC)
    else {
        let found = if bytes.is_empty() { "it is empty" } else { "it begins with other bytes" };
        return Err(Error::NotThisFormat {
            path: path.to_owned(),
            expected: EXPECTED,
            found: found.into(),
        });
    };
    if preamble.checksum != checksum(&preamble.as_bytes()[..SEALED]) {
        return Err(Error::corrupt(path, "its beginning", FormatError::Checksum));
    }
    let version = preamble.version.get();
    if version > VERSION || preamble.needed_features != 0 {
        let found = version.max(VERSION + 1);
        return Err(Error::NewerFormat { path: path.to_owned(), found, supported: VERSION });
    }
    Ok(())
}

/// Refuses to replace a file that a later version of this program made. One that is not there or
/// can't be read is none.
pub fn check_not_newer(path: &Path) -> Result<()> {
    let mut beginning = [0; END_BYTES];
    match open_file(path).and_then(|file| file.read_exact_at(&mut beginning, 0)) {
        Ok(()) => match check_preamble(&beginning, path) {
            Err(error @ Error::NewerFormat { .. }) => Err(error),
            _ => Ok(()),
        },
        Err(_) => Ok(()),
    }
}

/// What the end of a finished file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Where the index record begins.
    pub index: u64,
    /// The length of the whole file.
    pub length: u64,
    /// What tells this content from any other.
    pub content_id: [u8; 16],
    /// See [`checksum_of_records`]: it tells the entry header, the value tree and the index of this
    /// file from those of another one, or of an older one that was in its place.
    pub records: u64,
    /// The checksum of the topology; 0 where there is none.
    pub topology: u64,
}

/// The checksum of the checksums of the entry header, the value tree and the index.
pub fn checksum_of_records(records: [RecordHeader; 3]) -> u64 {
    checksum(records.map(|record| U64::from(record.checksum)).as_bytes())
}

impl Trailer {
    /// The trailer as it is stored.
    pub fn encode(&self) -> [u8; END_BYTES] {
        let mut trailer = TrailerBytes {
            magic: END_MAGIC,
            index: self.index.into(),
            length: self.length.into(),
            content_id: self.content_id,
            records: self.records.into(),
            topology: self.topology.into(),
            checksum: 0.into(),
        };
        trailer.checksum = checksum(&trailer.as_bytes()[..SEALED]).into();
        zerocopy::transmute!(trailer)
    }

    /// Reads the trailer of a file of this length, of which `end` is the end.
    pub fn parse(end: &[u8], length: u64) -> Result<Self, FormatError> {
        let (_, trailer) = TrailerBytes::ref_from_suffix(end)
            .ok()
            .filter(|_| length >= 2 * END_BYTES as u64)
            .ok_or(FormatError::CutShort)?;
        if trailer.magic != END_MAGIC || trailer.checksum != checksum(&trailer.as_bytes()[..SEALED])
        {
            return Err(FormatError::Unfinished);
        }
        if trailer.length != length {
            return Err(FormatError::FileLength { expected: trailer.length.get(), found: length });
        }
        Ok(Self {
            index: trailer.index.get(),
            length,
            content_id: trailer.content_id,
            records: trailer.records.get(),
            topology: trailer.topology.get(),
        })
    }
}
