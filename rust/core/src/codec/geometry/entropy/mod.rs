//! Huffman codes of symbols, and bits of strings.

pub mod bits;
pub mod huffman;
pub mod noise;
pub mod symbol;
