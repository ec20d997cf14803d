//! A body behind a header with its length and checksum: the form of snapshots and metadata.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum;
use crate::error::ProgressDamage;

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

/// Puts the header before a body.
pub(super) fn seal(magic: [u8; 8], version: u32, body: &[u8]) -> Vec<u8> {
    let header = SealedHeader {
        magic,
        version: u64::from(version).into(),
        length: (body.len() as u64).into(),
        checksum: checksum(body).into(),
    };
    [header.as_bytes(), body].concat()
}

/// What a file is, as far as its header says.
pub(super) enum Sealed<'a> {
    /// A whole body of a version that is known.
    Body(&'a [u8]),
    /// It begins with other bytes than the magic.
    OtherFormat(&'a [u8]),
    /// A later version.
    NewerVersion(u32),
}

/// Checks the header of a file and its body against it.
pub(super) fn unseal(
    magic: [u8; 8],
    version: u32,
    bytes: &[u8],
) -> Result<Sealed<'_>, ProgressDamage> {
    let found = bytes.get(..magic.len()).ok_or(ProgressDamage::TooShort)?;
    if found != magic {
        return Ok(Sealed::OtherFormat(found));
    }
    let (header, body) =
        SealedHeader::ref_from_prefix(bytes).map_err(|_| ProgressDamage::TooShort)?;
    // The upper half of the version is unused.
    let newer = header.version.get() as u32;
    if newer > version {
        return Ok(Sealed::NewerVersion(newer));
    }
    if header.length.get() != body.len() as u64 {
        return Err(ProgressDamage::Length);
    }
    if header.checksum.get() != checksum(body) {
        return Err(ProgressDamage::Checksum);
    }
    Ok(Sealed::Body(body))
}
