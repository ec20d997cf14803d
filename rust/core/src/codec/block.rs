//! What is coded: a block of numbers, how to code it, and the numbers that codecs have in files.

use super::layout::BlockShape;
use crate::ScalarType;

/// Bytes coded by zstd.
pub const BYTES: u8 = 1;
/// Numbers, packed as they are.
pub const NUMBERS: u8 = 2;
/// Floats as integers on a decimal grid.
pub const GRID: u8 = 3;
/// Coordinates of atoms on a decimal grid, by the shape of the molecules.
pub const GEOMETRY: u8 = 4;
/// Coordinates of atoms bit by bit, by the shape of the molecules.
pub const FLOATS: u8 = 5;
/// As [`GEOMETRY`], but smaller and only read whole.
pub const ARCHIVED: u8 = 6;
/// As [`FLOATS`], but smaller and only read whole.
pub const ARCHIVED_FLOATS: u8 = 7;

/// Set in the number of the codec that codes the floats which doubles were narrowed to.
pub const NARROWED: u8 = 8;

/// Whether frames of blocks in this codec can be read alone.
pub fn is_random_access(codec: u8) -> bool {
    matches!(codec & !NARROWED, GEOMETRY | FLOATS)
}

/// The shape of a block, frame after frame, row after row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// How many frames.
    pub frames: usize,
    /// How many rows (atoms) in each.
    pub rows: usize,
    /// Bytes of a row.
    pub row_bytes: usize,
    /// Bytes of one element of the array, which may be several numbers.
    pub item_bytes: usize,
    /// The numbers it is made of; `None` where it is just bytes.
    pub scalar: Option<ScalarType>,
}

impl Block {
    /// Bytes of the block.
    pub fn bytes(&self) -> usize {
        self.frames * self.rows * self.row_bytes
    }

    /// The block of floats that doubles were narrowed to.
    pub(super) fn narrowed(&self) -> Self {
        let scalar = Some(ScalarType::F32);
        Self { row_bytes: self.row_bytes / 2, item_bytes: self.item_bytes / 2, scalar, ..*self }
    }

    pub(super) fn shape(&self, scalar: ScalarType) -> BlockShape {
        BlockShape {
            frames: self.frames,
            rows: self.rows,
            components: self.row_bytes / scalar.size(),
        }
    }
}

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EncodeOptions {
    /// The spacing of the grid that floats may be rounded to, or `None` to keep every bit.
    pub precision: Option<f64>,
    /// Whether size matters more than speed, and frames need not be read alone.
    pub archive: bool,
}

/// The number of a codec, and the payload that it made of a block.
pub type Encoded = (u8, Vec<u8>);
