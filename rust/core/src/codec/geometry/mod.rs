//! Coordinates of molecules, coded by the shape of the molecules.
//!
//! A frame of atoms is mostly known from some of it: each atom has its place among its neighbours,
//! often at fixed distances from them (`predict`). What is coded is the residual, a few bits for
//! each coordinate. `measure` tells how many bits a predictor leaves, `fit` finds the best one of
//! each atom, and `model` stores them. `encode` writes each tile of 256 atoms of each frame as a
//! string of its own, with the codes of `entropy`, so `decode` reads any of them: eight frames at a
//! time, one in each lane of a vector (`codec::simd`), or one frame. The mathematics and its sources
//! are in `docs/codec.md`, as is what constants trade that were chosen by trial, by
//! `benches/constants/trials.py`.

#![expect(
    clippy::needless_range_loop,
    reason = "lanes and axes are counted in step in several arrays"
)]

mod decode;
mod domain;
mod encode;
mod entropy;
mod fit;
mod lengths;
mod measure;
mod model;
mod point;
mod predict;
mod words;

pub use decode::{Decoder, Excerpt, OutputLayout};
pub use domain::{Domain, to_ordered_bits};
pub use encode::{encode_floats, encode_grid};
pub use fit::NormalEquations;
pub use measure::Coding;
pub use model::TILE;
pub use predict::ar::Reference;

#[cfg(test)]
mod tests;
