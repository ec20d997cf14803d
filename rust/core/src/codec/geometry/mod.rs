//! Coordinates of molecules, coded by the shape of the molecules.
//!
//! A frame of atoms is mostly known from some of it: an atom has its place among its neighbours
//! (`template`), often at a fixed distance from them (`constraint`). What is left of each coordinate is a
//! few bits: on a decimal grid in Golomb-Rice codes (`rice`), as a float of full precision in a width that follows
//! from its prediction (`numbers`). Each tile of 256 atoms of each frame is a string of `bits`, so it can be read
//! alone. `fit` finds how each atom is placed best, by what `measure` says that each way takes; `habit` and `pool`
//! make use of molecules that repeat; `model` stores what was found, `tile` holds what is being encoded, `encode`
//! writes its `residuals`. `decode` reads frames with `atoms`, `restore` and `arithmetic`, eight at a time, one in
//! each of the `lanes`, and `single` reads one, eight tiles at a time. An `archive` keeps most of what is left
//! apart, as packed `courses` in time.
//! The mathematics and what it is taken from are in `docs/codec.md`.

#![expect(
    clippy::needless_range_loop,
    reason = "lanes and axes are counted in step in several arrays"
)]

mod ar1;
mod arithmetic;
mod atoms;
mod bits;
mod constraint;
mod decode;
mod encode;
mod fit;
mod frame;
mod group;
mod habit;
mod innovations;
mod integers;
mod lanes;
mod measure;
mod model;
mod moments;
mod numbers;
mod pool;
mod residuals;
mod restore;
mod rice;
mod single;
mod strings;
mod template;
mod tile;
mod widest;

pub use ar1::Reference;
pub use decode::{Decoder, Excerpt, Place};
pub use encode::Encoder;
pub use innovations::Coding;
pub use model::TILE;
pub use numbers::{Numbers, ordered};

#[cfg(test)]
mod tests;
