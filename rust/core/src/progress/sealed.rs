//! A body behind a header with its length and checksum: the form of snapshots and metadata.
//!
//! Zeros follow up to a multiple of some size: a network file system may show the length of an
//! earlier file of the same name for a while.

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

/// Puts the header before a body, and zeros behind it up to a multiple of `align`.
pub(super) fn seal(magic: [u8; 8], version: u32, body: &[u8], align: usize) -> Vec<u8> {
    let header = SealedHeader {
        magic,
        version: u64::from(version).into(),
        length: (body.len() as u64).into(),
        checksum: checksum(body).into(),
    };
    let mut bytes = [header.as_bytes(), body].concat();
    bytes.resize(bytes.len().next_multiple_of(align), 0);
    bytes
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
    align: usize,
) -> Result<Sealed<'_>, ProgressDamage> {
    let found = bytes.get(..magic.len()).ok_or(ProgressDamage::TooShort)?;
    if found != magic {
        return Ok(Sealed::OtherFormat(found));
    }
    let (header, body) =
        SealedHeader::ref_from_prefix(bytes).map_err(|_| ProgressDamage::TooShort)?;
    let found = header.version.get();
    if found > u64::from(version) {
        return Ok(Sealed::NewerVersion(u32::try_from(found).unwrap_or(u32::MAX)));
    }
    if found == 0 {
        return Err(ProgressDamage::Unparsable { part: "version" });
    }
    let length = usize::try_from(header.length.get()).map_err(|_| ProgressDamage::Length)?;
    let (body, zeros) = body.split_at_checked(length).ok_or(ProgressDamage::Length)?;
    let is_aligned = zeros.len() < align && bytes.len().is_multiple_of(align);
    if !is_aligned || zeros.iter().any(|&byte| byte != 0) {
        return Err(ProgressDamage::Length);
    }
    if header.checksum.get() != checksum(body) {
        return Err(ProgressDamage::Checksum);
    }
    Ok(Sealed::Body(body))
}
