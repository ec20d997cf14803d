//! Rows of atoms in memory, from coordinates as they are decoded.

use fearless_simd::{f32x8, prelude::*};

use super::layout::ROW;
use crate::codec::geometry::point::StoredPoint;
use crate::codec::grid::Grid;
use crate::codec::simd::{LANES, Lanes, transposed};

/// Coordinates of an atom.
const COMPONENTS: usize = ROW / size_of::<f32>();
/// Bytes of a vector.
const VECTOR: usize = size_of::<Lanes>();
/// Bytes of the rows of eight atoms.
const EIGHT_ROWS: usize = LANES * ROW;

/// Writes the atoms of a tile in the frames of the first lanes, whose rows begin at `starts`.
#[inline(always)]
pub fn write_tile<S: Simd>(
    simd: S,
    points: &[StoredPoint],
    grid: Option<Grid>,
    starts: &[usize],
    out: &mut [u8],
) {
    let (blocks, rest) = points.as_chunks::<LANES>();
    for (number, block) in blocks.iter().enumerate() {
        for (&start, rows) in starts.iter().zip(&rows(simd, block, grid)) {
            let start = start + number * EIGHT_ROWS;
            if let Some(out) = out.get_mut(start..start + EIGHT_ROWS) {
                out.copy_from_slice(rows.as_flattened());
            }
        }
    }
    let mut block = [[Lanes::ZERO; COMPONENTS]; LANES];
    block[..rest.len()].copy_from_slice(rest);
    for (&start, rows) in starts.iter().zip(&rows(simd, &block, grid)) {
        let (start, bytes) = (start + blocks.len() * EIGHT_ROWS, rest.len() * ROW);
        if let Some(out) = out.get_mut(start..start + bytes) {
            out.copy_from_slice(&rows.as_flattened()[..bytes]);
        }
    }
}

/// Writes the atoms of a frame, the first of them at the beginning of `out`.
#[inline(always)]
pub fn write_frame<S: Simd>(simd: S, numbers: &[f32], grid: Option<Grid>, out: &mut [u8]) {
    let out = out.get_mut(..size_of_val(numbers)).unwrap_or_default();
    let (vectors, rest) = numbers.as_chunks::<LANES>();
    let (parts, last) = out.as_chunks_mut::<VECTOR>();
    for (&vector, part) in vectors.iter().zip(parts) {
        *part = bytes(floats(vector.simd_into(simd), grid));
    }
    let mut vector = [0.0; LANES];
    vector[..rest.len()].copy_from_slice(rest);
    last.copy_from_slice(&bytes(floats(vector.simd_into(simd), grid))[..last.len()]);
}

/// The rows of eight atoms in the frame of each lane.
#[inline(always)]
fn rows<S: Simd>(
    simd: S,
    block: &[StoredPoint; LANES],
    grid: Option<Grid>,
) -> [[[u8; VECTOR]; COMPONENTS]; LANES] {
    let mut rows = [[[0; VECTOR]; COMPONENTS]; LANES];
    let numbers = block.as_flattened();
    for part in 0..COMPONENTS {
        let mut vectors = [f32x8::splat(simd, 0.0); LANES];
        for i in 0..LANES {
            vectors[i] = floats(numbers[part * LANES + i].load(simd), grid);
        }
        let vectors = transposed(vectors);
        for lane in 0..LANES {
            rows[lane][part] = bytes(vectors[lane]);
        }
    }
    rows
}

#[inline(always)]
fn floats<S: Simd>(numbers: f32x8<S>, grid: Option<Grid>) -> f32x8<S> {
    match grid {
        Some(grid) => grid.floats(numbers),
        None => numbers,
    }
}

#[inline(always)]
fn bytes<S: Simd>(vector: f32x8<S>) -> [u8; VECTOR] {
    let mut bytes = [0; VECTOR];
    bytes.copy_from_slice(vector.to_array().map(f32::to_le_bytes).as_flattened());
    bytes
}
