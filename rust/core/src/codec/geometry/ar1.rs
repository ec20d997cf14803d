//! Time: what is left of an atom in one frame tells what will be left in another.
//!
//! Atoms oscillate around where their neighbours put them, and those without neighbours diffuse. So of a
//! residual `r(t)` the innovation `r(t) − ρ r(s)` is coded, with an autoregressive coefficient `ρ` of each atom,
//! where `s` is the frame before; or, where any frame is to be read alone, the key frame of eight that follow each
//! other. Key frames are coded by themselves. G. Box, G. Jenkins: Time Series Analysis: Forecasting and Control.
//! Holden-Day (1970).

use super::constraint::Kind;
use super::lanes::LANES;

/// The coefficient is so many quarters at most.
pub const MOST_QUARTERS: u8 = 4;

/// Which frame the others are told from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// The key frame of its eight, in their middle: at most two frames are decoded for one.
    Key,
    /// The frame before, for frames that are read one after the other. The first is the only key frame.
    Before,
}

impl Reference {
    /// The frame that one is told from; `None` of a key frame.
    #[inline(always)]
    pub fn of(self, frame: usize, frames: usize) -> Option<usize> {
        match self {
            Self::Key => {
                let first = frame / LANES * LANES;
                Some(first + self.key(LANES.min(frames - first))).filter(|&key| key != frame)
            }
            Self::Before => frame.checked_sub(1),
        }
    }

    /// The key frame of so many frames that are told from one key frame, directly or by others.
    #[inline(always)]
    pub fn key(self, frames: usize) -> usize {
        match self {
            Self::Key => frames / 2,
            Self::Before => 0,
        }
    }
}

/// What of a residual is expected from that of the other frame.
#[inline(always)]
pub fn expected(quarters: u8, residual: i32) -> i32 {
    residual.wrapping_mul(i32::from(quarters)).wrapping_add(2) >> 2
}

/// Which residuals are what is unknown of an atom: the others make up for rounding, which has no memory.
pub const fn is_free(kind: Kind) -> [bool; 3] {
    match kind {
        Kind::Free | Kind::Template => [true, true, true],
        Kind::Bond | Kind::Sphere => [true, true, false],
        Kind::Angle | Kind::Circle => [true, false, false],
    }
}
