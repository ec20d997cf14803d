//! The two ends of a file: the preamble, which says what it is, and the trailer, which says where
//! its index is and that nothing is missing.

use std::path::Path;

use super::bytes::{u32_at, u64_at};
use crate::{Error, Result, checksum};

/// Bytes of the preamble, and of the trailer.
pub const END_BYTES: usize = 64;
/// The format version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// A byte with its high bit set, line ends of two systems and an end-of-file mark: what a careless
/// transfer breaks, it breaks here, where it is noticed.
const MAGIC: [u8; 8] = *b"\x89PFX\r\n\x1a\n";
const END_MAGIC: [u8; 8] = *b"\x89PFXend\n";
const EXPECTED: &str = "a ProteinFlex data file";

/// The first bytes of a file.
pub fn preamble() -> [u8; END_BYTES] {
    let mut bytes = [0; END_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    seal(bytes)
}

/// Checks the first bytes of a file.
pub fn check_preamble(bytes: &[u8], path: &Path) -> Result<()> {
    if bytes.len() < END_BYTES || bytes[..8] != MAGIC {
        let found = if bytes.is_empty() { "it is empty" } else { "it begins with other bytes" };
        return Err(Error::NotThisFormat {
            path: path.to_owned(),
            expected: EXPECTED,
            found: found.into(),
        });
    }
    if !is_sealed(&bytes[..END_BYTES]) {
        return Err(Error::corrupt(path, "its beginning", "its checksum does not match"));
    }
    let version = u32_at(bytes, 8);
    // Features that a reader must know to make sense of the file; none exists in version 1.
    let needed_features = u32_at(bytes, 12);
    if version > VERSION || needed_features != 0 {
        let found = version.max(VERSION + 1);
        return Err(Error::NewerFormat { path: path.to_owned(), found, supported: VERSION });
    }
    Ok(())
}

/// The last bytes of a finished file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Where the index record begins.
    pub index: u64,
    /// The length of the whole file.
    pub length: u64,
    /// What tells this content from any other.
    pub content: [u8; 16],
}

impl Trailer {
    /// The trailer as it is stored.
    pub fn encode(&self) -> [u8; END_BYTES] {
        let mut bytes = [0; END_BYTES];
        bytes[..8].copy_from_slice(&END_MAGIC);
        bytes[8..16].copy_from_slice(&self.index.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.content);
        seal(bytes)
    }

    /// Reads the trailer of a file of this length, of which `end` is the end.
    pub fn parse(end: &[u8], length: u64, path: &Path) -> Result<Self> {
        let damage = |reason: &str| Error::corrupt(path, "its end", reason);
        let Some(bytes) = end.last_chunk::<END_BYTES>().filter(|_| length >= 2 * END_BYTES as u64)
        else {
            return Err(damage("it is cut short"));
        };
        if bytes[..8] != END_MAGIC || !is_sealed(bytes) {
            return Err(damage("it was not finished, or is cut short"));
        }
        let mut content = [0; 16];
        content.copy_from_slice(&bytes[24..40]);
        let trailer = Self { index: u64_at(bytes, 8), length: u64_at(bytes, 16), content };
        if trailer.length != length {
            return Err(damage("the file has another length than when it was written"));
        }
        Ok(trailer)
    }
}

fn seal(mut bytes: [u8; END_BYTES]) -> [u8; END_BYTES] {
    let sum = checksum(&bytes[..END_BYTES - 8]);
    bytes[END_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn is_sealed(bytes: &[u8]) -> bool {
    u64_at(bytes, END_BYTES - 8) == checksum(&bytes[..END_BYTES - 8])
}
