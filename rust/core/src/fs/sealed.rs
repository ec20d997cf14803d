//! A body behind a header with its length and checksum: the form of small files that are replaced
//! whole.
//!
//! Zeros follow up to a multiple of some size: a network file system may show the length of an
//! earlier file of the same name for a while.

use std::path::Path;

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Error, Result, checksum};

/// A kind of sealed file.
#[derive(Debug)]
pub(crate) struct SealedFormat {
    /// What it begins with.
    pub magic: [u8; 8],
    /// The newest version that is known.
    pub version: u32,
    /// Its length is a multiple of this.
    pub align: usize,
    /// What a file of it is, for messages.
    pub file: &'static str,
    /// What its body is, for messages.
    pub body: &'static str,
    /// What to do about a damaged one.
    pub remedy: &'static str,
}

/// The header of a sealed file.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct SealedHeader {
    magic: [u8; 8],
    version: U64,
    /// Bytes of the body.
    length: U64,
    /// xxh3-64 of the body.
    checksum: U64,
}

impl SealedFormat {
    /// Puts the header before a body, and zeros behind it.
    pub fn seal(&self, body: &[u8]) -> Vec<u8> {
        let header = SealedHeader {
            magic: self.magic,
            version: u64::from(self.version).into(),
            length: (body.len() as u64).into(),
            checksum: checksum(body).into(),
        };
        let mut bytes = [header.as_bytes(), body].concat();
        bytes.resize(bytes.len().next_multiple_of(self.align), 0);
        bytes
    }

    /// The body in the bytes of the file at `path`, which are checked against the header.
    pub fn unseal<'a>(&self, bytes: &'a [u8], path: &Path) -> Result<&'a [u8]> {
        let damaged = |reason| self.damaged(path, reason);
        let found = bytes.get(..self.magic.len()).ok_or_else(|| damaged("it is too short"))?;
        if found != self.magic {
            let found = format!("it begins with {:?}", String::from_utf8_lossy(found));
            return Err(Error::NotThisFormat { path: path.to_owned(), expected: self.file, found });
        }
        let (header, rest) =
            SealedHeader::ref_from_prefix(bytes).map_err(|_| damaged("it is too short"))?;
        let found = header.version.get();
        if found > u64::from(self.version) {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            let supported = self.version;
            return Err(Error::NewerFormat { path: path.to_owned(), found, supported });
        }
        if found == 0 {
            return Err(damaged("its version is 0"));
        }
        let body = usize::try_from(header.length.get()).ok().and_then(|length| {
            let (body, zeros) = rest.split_at_checked(length)?;
            let is_aligned = zeros.len() < self.align && bytes.len().is_multiple_of(self.align);
            (is_aligned && zeros.iter().all(|&byte| byte == 0)).then_some(body)
        });
        let body = body.ok_or_else(|| damaged("its length is wrong"))?;
        if header.checksum.get() != checksum(body) {
            return Err(damaged("its checksum does not match"));
        }
        Ok(body)
    }

    /// That the file at `path` is damaged.
    pub fn damaged(&self, path: &Path, reason: impl Into<String>) -> Error {
        let (path, part, reason) = (path.to_owned(), self.body.to_owned(), reason.into());
        Error::Corrupt { path, part, reason, remedy: self.remedy }
    }
}
