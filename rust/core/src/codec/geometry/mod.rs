//! Coordinates of molecules, coded by the shape of the molecules.
//!
//! A frame of atoms is mostly known from some of it: an atom has its place among its neighbours
//! (`template`), often at a fixed distance from them (`constraint`). What is left of each coordinate, its residual, is a
//! few bits; of floats (`numbers`), some of them as many as follows from the prediction.
//! Each tile of 256 atoms of each frame is a string of `bits`, so it can be read
//! alone. `fit` finds how each atom is placed best, by what `measure` says that each way takes; `habit` and `pool`
//! make use of molecules that repeat; `model` stores what was found. `encode` takes the `residuals` of each `tile`,
//! tells them from those of other frames where that pays (`innovations`, by `moments` and `ar1`), and writes
//! `strings`, with `rice` codes. `decode` reads frames with `atoms`, `restore` and `arithmetic`: a `group` of eight
//! at a time, one in each of the `lanes`, or a `single` one, the strings of whose `frame` are read eight tiles at a time.
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
