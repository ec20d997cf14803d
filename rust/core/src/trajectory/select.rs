//! Which frames to read.

use crate::{Error, Result};

/// `count` frames: `start`, `start + step`, and so on. A negative step reads backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    /// The first frame that is read.
    pub start: u64,
    /// How many frames are read.
    pub count: u64,
    /// How far apart they are.
    pub step: i64,
}

impl Frames {
    /// `count` frames in a row.
    pub fn range(start: u64, count: u64) -> Self {
        Self { start, count, step: 1 }
    }

    /// The `index`th of these frames.
    pub fn at(&self, index: u64) -> u64 {
        let offset = i128::from(self.step) * i128::from(index);
        (i128::from(self.start) + offset) as u64
    }

    /// Refuses frames that a trajectory of `n_frames` doesn't have.
    pub fn check(&self, n_frames: u64) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let last = i128::from(self.start) + i128::from(self.step) * i128::from(self.count - 1);
        if self.start < n_frames && (0..i128::from(n_frames)).contains(&last) {
            return Ok(());
        }
        Err(Error::argument(
            "frames",
            format!("{} from {} by {}", self.count, self.start, self.step),
            format!("frames from 0 to {}", i128::from(n_frames) - 1),
        ))
    }
}
