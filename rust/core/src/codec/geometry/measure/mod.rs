//! How atoms move in all frames: the residuals that a predictor leaves, and how many bits these take.

pub mod moments;
pub mod residuals;
pub mod tile;

use tile::{Tile, View};

use super::predict::ar::Reference;

/// How residuals are coded.
#[derive(Debug, Clone, Copy)]
pub struct Coding {
    /// Which frame the others are predicted from.
    pub reference: Reference,
    /// Whether each frame is read alone, and residuals on a grid have a fixed width: larger, and
    /// read faster.
    pub is_fixed: bool,
}

/// An atom of a tile in some frames, and how it is coded.
#[derive(Clone, Copy)]
pub struct AtomFrames<'a> {
    pub tile: &'a Tile,
    pub atom: usize,
    /// The frames that are looked at.
    pub view: View<'a>,
    pub coding: Coding,
}
