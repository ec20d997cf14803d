//! Bytes that are not numbers, by zstd; where elements have a size, also shuffled first: the first
//! bytes of all elements, then the second ones, and so on.

use std::cell::RefCell;

use zstd::bulk::Decompressor;

use crate::error::DecodeError;
use crate::memory::{try_reserve, try_zeroed};

/// Zstandard's default level.
const LEVEL: i32 = 3;
/// The level for archives.
const ARCHIVE_LEVEL: i32 = 12;
/// Elements larger than this are records or long texts; their bytes are left in place.
const MAX_SHUFFLED: usize = 64;

/// Encodes bytes: whether they were shuffled, then a zstd frame.
pub fn encode(bytes: &[u8], item_bytes: usize, archive: bool) -> Option<Vec<u8>> {
    let level = if archive { ARCHIVE_LEVEL } else { LEVEL };
    let compress = |shuffled: u8, bytes: &[u8]| {
        // Fails only where memory runs out; then the bytes are stored as they are.
        let mut payload = zstd::bulk::compress(bytes, level).ok()?;
        payload.insert(0, shuffled);
        Some(payload)
    };
    let plain = compress(0, bytes)?;
    if !can_shuffle(item_bytes) {
        return Some(plain);
    }
    let shuffled = compress(1, &shuffle(bytes, item_bytes))?;
    Some(if shuffled.len() < plain.len() { shuffled } else { plain })
}

/// Decodes bytes into `out`, which has exactly their size.
pub fn decode(payload: &[u8], item_bytes: usize, out: &mut [u8]) -> Result<(), DecodeError> {
    let (&shuffled, frame) = payload.split_first().ok_or(DecodeError::TooShort)?;
    let length = out.len();
    let decompress = |out: &mut [u8]| match zstd::bulk::decompress_to_buffer(frame, out) {
        Ok(decoded) if decoded == length => Ok(()),
        Ok(found) => Err(DecodeError::Count { unit: "bytes", expected: length, found }),
        Err(error) => Err(DecodeError::zstd(error)),
    };
    match shuffled {
        0 => decompress(out),
        1 if can_shuffle(item_bytes) => {
            let mut bytes = try_zeroed(length)?;
            decompress(&mut bytes)?;
            unshuffle(&bytes, item_bytes, out);
            Ok(())
        }
        found => Err(DecodeError::Unknown { what: "order", found }),
    }
}

fn can_shuffle(item_bytes: usize) -> bool {
    (2..=MAX_SHUFFLED).contains(&item_bytes)
}

fn shuffle(bytes: &[u8], item_bytes: usize) -> Vec<u8> {
    (0..item_bytes).flat_map(|at| bytes.iter().skip(at).step_by(item_bytes)).copied().collect()
}

fn unshuffle(shuffled: &[u8], item_bytes: usize, out: &mut [u8]) {
    let mut rest = shuffled.iter();
    for at in 0..item_bytes {
        for byte in out.iter_mut().skip(at).step_by(item_bytes) {
            *byte = rest.next().copied().unwrap_or_default();
        }
    }
}

thread_local! {
    /// What zstd needs to unpack, which takes longer to make than many a frame to unpack.
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The bytes of a zstd frame, of which there are so many at most.
pub fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, DecodeError> {
    UNPACKER.with_borrow_mut(|kept| {
        let unpacker = match kept {
            Some(unpacker) => unpacker,
            None => kept.insert(Decompressor::new().map_err(DecodeError::zstd)?),
        };
        // What the frame says of its size may be wrong.
        let size = Decompressor::upper_bound(packed).map_or(most, |bytes| bytes.min(most));
        let mut bytes = try_reserve(size)?;
        unpacker.decompress_to_buffer(packed, &mut bytes).map_err(DecodeError::zstd)?;
        Ok(bytes)
    })
}
