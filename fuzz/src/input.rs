//! Small choices made from the first bytes of an input.

use proteinflex_core::ScalarType;
use proteinflex_core::codec::Block;

const ELEMENTS: [ScalarType; 11] = [
    ScalarType::F32,
    ScalarType::F64,
    ScalarType::I8,
    ScalarType::U8,
    ScalarType::I16,
    ScalarType::U16,
    ScalarType::I32,
    ScalarType::U32,
    ScalarType::I64,
    ScalarType::U64,
    ScalarType::F16,
];

/// The most numbers of a block: a run should take microseconds.
const MOST: usize = 1 << 12;

/// Bytes that are taken from the front; zeros where there are none left.
pub struct Input<'a> {
    /// What has not been taken.
    pub rest: &'a [u8],
}

impl Input<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        byte
    }

    pub fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// A shape and type of a block: five bytes.
    pub fn block(&mut self) -> Block {
        let element = ELEMENTS.get(usize::from(self.byte()) % 16).copied();
        let components = 1 + usize::from(self.byte()) % 4;
        let rows = 1 + usize::from(self.byte());
        let frames = 1 + usize::from(self.byte());
        let frames = frames.min(MOST / (rows * components)).max(1);
        // Where there are no numbers, elements are as long as texts and records are.
        let length = 1 + usize::from(self.byte()) % 80;
        let item_bytes = element.map_or(length, ScalarType::size);
        Block { frames, rows, row_bytes: components * item_bytes, item_bytes, scalar: element }
    }
}
