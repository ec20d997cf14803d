//! How frames are cut into chunks, and chunks into blocks of rows.
//!
//! A chunk is what is decoded for a single frame, so it is short; but long enough that the motion
//! of each atom can be predicted, and large enough that its header does not count. A block of rows
//! is what is decoded for a few atoms, and what one thread works on.

use std::ops::Range;

use crate::ScalarType;
use crate::codec::{Block, EncodeOptions};
use crate::container::{ArraySpec, Encoding, FieldSpec, MAX_CODED, Profile};

/// Frames of a chunk of ordinary size.
const FRAMES: u64 = 64;
/// The same of an archive, which amortizes the model over more frames.
const ARCHIVE_FRAMES: u64 = 256;
/// The most frames of a chunk, where they are tiny.
const MAX_FRAMES: u64 = 1024;
/// Below this many bytes, a chunk takes more frames.
const SMALL: u64 = 256 * 1024;
/// Above this many bytes, a chunk takes fewer frames: the writer holds a whole one.
const LARGE: u64 = 64 * 1024 * 1024;
/// Rows of a block: 4096 atoms × 64 frames give a packer the numbers it needs, and a subset of the
/// protein in a box of water leaves most blocks alone.
const ROWS: u64 = 4096;
/// The same where there are fewer frames: archives of 5 to 10 frames are 0.5 to 2 % smaller, and
/// written in down to two thirds of the processor time, for fewer models, but by fewer threads.
const MOST_ROWS: u64 = 16 * 1024;
/// Bytes of an array that are coded together.
const ARRAY_PART: u64 = 8 * 1024 * 1024;

/// Bytes of a frame of a field by which chunks are measured: doubles count as the floats that they
/// mostly hold, so that they are cut as these are.
pub fn frame_size(spec: &FieldSpec) -> u64 {
    let bytes = spec.item_bytes().unwrap_or(0);
    if spec.dtype.scalar() == Some(ScalarType::F64) { bytes / 2 } else { bytes }
}

/// How many frames make a chunk, where all fields of a frame take `frame_bytes`.
pub fn chunk_frames(frame_bytes: u64, profile: Profile) -> u64 {
    let frame_bytes = frame_bytes.max(1);
    let frames = match profile {
        Profile::Default => FRAMES,
        Profile::Archive => ARCHIVE_FRAMES,
    };
    if frame_bytes * frames < SMALL {
        (SMALL / frame_bytes).clamp(frames, MAX_FRAMES)
    } else {
        (LARGE / frame_bytes).clamp(1, frames)
    }
}

/// The blocks of rows of a chunk of `frames` frames.
pub fn row_blocks(spec: &FieldSpec, frames: u64) -> Vec<Range<u32>> {
    let rows = spec.rows();
    let row_bytes = spec.row_bytes();
    let frames = frames.max(1);
    let most = (ROWS * FRAMES / frames).clamp(ROWS, MOST_ROWS);
    let most = (MAX_CODED / row_bytes.saturating_mul(frames).max(1)).clamp(1, most);
    let blocks = rows.div_ceil(most).max(1);
    // As even as they can be.
    (0..blocks)
        .map(|block| (rows * block / blocks) as u32..(rows * (block + 1) / blocks) as u32)
        .collect()
}

/// The parts in which an array is coded, of its elements.
pub fn array_parts(spec: &ArraySpec) -> Vec<Range<u64>> {
    let elements = spec.elements();
    let part = (ARRAY_PART / spec.dtype.item_size().max(1)).max(1);
    (0..elements.div_ceil(part))
        .map(|index| index * part..elements.min((index + 1) * part))
        .collect()
}

/// The shape, for a codec, of `frames` frames of some rows of a field.
pub fn field_block(spec: &FieldSpec, frames: u64, rows: u32) -> Block {
    Block {
        frames: frames as usize,
        rows: rows as usize,
        row_bytes: spec.row_bytes() as usize,
        item_bytes: spec.dtype.item_size() as usize,
        scalar: spec.dtype.scalar(),
    }
}

/// The shape, for a codec, of some elements of an array: one frame, one row each.
pub fn array_block(spec: &ArraySpec, elements: u64) -> Block {
    let item_bytes = spec.dtype.item_size() as usize;
    Block {
        frames: 1,
        rows: elements as usize,
        row_bytes: item_bytes,
        item_bytes,
        scalar: spec.dtype.scalar(),
    }
}

/// The options for a codec of what may be rounded to this precision.
pub fn options(encoding: Encoding, precision: Option<f64>) -> EncodeOptions {
    EncodeOptions { precision, archive: encoding.profile == Profile::Archive }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::DType;

    #[test]
    fn chunks_are_neither_tiny_nor_huge() {
        for (atoms, expected) in [(0, 1024), (22, 992), (582, 64), (47_681, 64), (1_000_000, 5)] {
            assert_eq!(chunk_frames(atoms * 12, Profile::Default), expected, "{atoms} atoms");
        }
        for (atoms, expected) in [(0, 1024), (582, 256), (47_681, 117), (1_000_000, 5)] {
            assert_eq!(chunk_frames(atoms * 12, Profile::Archive), expected, "{atoms} atoms");
        }
    }

    #[test]
    fn blocks_cover_all_rows_once() {
        for (atoms, frames, blocks) in [
            (0u64, 64, 1),
            (1, 64, 1),
            (4095, 64, 1),
            (4096, 256, 1),
            (4097, 64, 2),
            (47_681, 64, 12),
            (47_681, 32, 6),
            (47_681, 5, 3),
            (47_681, 0, 3),
        ] {
            let spec = FieldSpec {
                name: "frames".into(),
                dtype: DType::f32(),
                item_shape: vec![atoms, 3],
            };
            let mut next = 0;
            assert_eq!(row_blocks(&spec, frames).len(), blocks, "{atoms} atoms, {frames} frames");
            for rows in row_blocks(&spec, frames) {
                assert_eq!(u64::from(rows.start), next);
                next = u64::from(rows.end);
            }
            assert_eq!(next, atoms);
        }
    }
}
