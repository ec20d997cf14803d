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

impl Coding {
    /// Of frames of which any is read with the least work.
    pub const FIXED: Self = Self { reference: Reference::Key, is_fixed: true };
    /// Of frames of which any is read, by its key frame.
    pub const KEYED: Self = Self { reference: Reference::Key, is_fixed: false };
    /// Of frames that are read one after the other.
    pub const ARCHIVED: Self = Self { reference: Reference::Before, is_fixed: false };
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
