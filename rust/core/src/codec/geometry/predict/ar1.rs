//! Residuals predicted from those of another frame.
//!
//! Atoms oscillate around where their neighbours put them, and those without neighbours diffuse. So
//! of a residual `r(t)` the innovation `r(t) − ρ r(s)` of an autoregressive model of first order is
//! coded, with a coefficient `ρ` of each atom, where `s` is the frame before; or, where any frame
//! is to be read alone, the key frame of eight that follow each other. Key frames are coded by
//! themselves. Of the side that an atom is on, the difference to that in the other frame is coded; a
//! residual on another face tells nothing. G. Box, G. Jenkins: Time Series Analysis:
//! Forecasting and Control. Holden-Day (1970).

use crate::codec::simd::LANES;

/// The coefficient is stored in units of ¼, of which there are at most four.
pub const MOST_QUARTERS: u8 = 4;

/// Which frame the others are predicted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// The key frame of its eight, in their middle: at most two frames are decoded for one.
    Key,
    /// The frame before, for frames that are read one after the other. The first is the only key
    /// frame.
    Before,
}

impl Reference {
    /// The frame that one is predicted from; `None` of a key frame.
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

    /// The key frame of `frames` that are predicted from one key frame, directly or by others.
    #[inline(always)]
    pub fn key(self, frames: usize) -> usize {
        match self {
            Self::Key => frames / 2,
            Self::Before => 0,
        }
    }
}

/// A residual, predicted from that of the other frame.
#[inline(always)]
pub fn ar1_predict(quarters: u8, residual: i32) -> i32 {
    residual.wrapping_mul(i32::from(quarters)).wrapping_add(2) >> 2
}
