//! Residuals predicted from those of other frames.
//!
//! Atoms oscillate around where their neighbours put them, those without neighbours diffuse, and all
//! go on as they moved where frames are close in time. So of a residual `r(t)` the innovation
//! `r(t) − ρ₁ r(s) − ρ₂ r(s′)` of an autoregressive model of second order is coded, with
//! coefficients of each atom. `s` is the frame before, `s′` the one before that; or, where any frame
//! is to be read alone, both are the key frame of eight that follow each other. Key frames are coded
//! by themselves. Of the side that an atom is on, the difference to that in the frame `s` is coded;
//! a residual on another face tells nothing. After such a one and after a key frame, `s′` is `s`, for
//! there is no other. G. Box, G. Jenkins: Time Series Analysis: Forecasting and Control. Holden-Day
//! (1970).

use crate::codec::simd::LANES;

/// The coefficients `ρ₁` and `ρ₂` that an atom may have, in eighths, in families with a part of ¼, ½,
/// ¾ or all: of the frame before, of the step to it besides, and of the mean of two frames. Without
/// the second, frames close in time take more (`amber_nc` of `benches/peers/trajectory.py` a
/// quarter, `adk_namd` 1.5 %); without the third, `adk_dcd` and `yiip`, by 0.2 to 0.4 %.
pub const COEFFICIENTS: [[i32; 2]; 13] = [
    [0, 0],
    [2, 0],
    [4, 0],
    [6, 0],
    [8, 0],
    [10, -2],
    [12, -4],
    [14, -6],
    [16, -8],
    [1, 1],
    [2, 2],
    [3, 3],
    [4, 4],
];

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

/// A residual, predicted from those of the frame before and of the one before that.
#[inline(always)]
pub fn ar_predict([one, two]: [i32; 2], [before, second]: [i32; 2]) -> i32 {
    before.wrapping_mul(one).wrapping_add(second.wrapping_mul(two)).wrapping_add(4) >> 3
}
