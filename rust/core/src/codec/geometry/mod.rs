//! Coordinates of molecules, coded by the shape of the molecules.
//!
//! A frame of atoms is mostly known from some of it: an atom has its place among its neighbours
//! (`template`), often at a fixed distance from them (`constraint`). What is left of each coordinate is a
//! few bits, whether it is on a decimal grid or a float of full precision (`numbers`), and they are where
//! they can be found (`bits`), so any frame can be read alone, and any tile of 256 atoms in it. `fit`
//! finds how each atom is placed best, by what `measure` says that each way takes; `habit` and `pool` make
//! use of molecules that repeat; `model` stores what was found, `tile` holds what is being encoded, `encode`
//! writes it. `decode` reads frames with `atoms` and `restore`, eight at a time, one in each of the `lanes`, and
//! `single` reads one. An `archive` keeps most of what is left apart, as packed `courses` in time.
//! The mathematics and what it is taken from are in `docs/codec.md`.

#![expect(
    clippy::needless_range_loop,
    reason = "lanes and axes are counted in step in several arrays"
)]

mod archive;
mod atoms;
mod bits;
mod constraint;
mod courses;
mod decode;
mod encode;
mod fit;
mod habit;
mod integers;
mod lanes;
mod measure;
mod model;
mod numbers;
mod pool;
mod restore;
mod single;
mod template;
mod tile;
mod widest;

pub use decode::{Decoder, Excerpt, Place};
pub use encode::Encoder;
pub use model::TILE;
pub use numbers::ordered;

#[cfg(test)]
mod tests;
