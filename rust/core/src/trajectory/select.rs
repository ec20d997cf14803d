//! Which frames, and which atoms of them, to read.

use crate::container::FieldSpec;
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
    pub(crate) fn check(&self, n_frames: u64) -> Result<()> {
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

/// What to read of a field.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// These frames.
    pub frames: Frames,
    /// These rows of each, in this order; all where `None`.
    pub atoms: Option<&'a [u32]>,
}

impl Selection<'_> {
    /// Refuses what the field doesn't have. Returns the bytes of all that is selected.
    pub fn check(&self, spec: &FieldSpec, n_frames: u64) -> Result<u64> {
        self.frames.check(n_frames)?;
        let rows = spec.rows();
        let is_outside = |&&atom: &&u32| u64::from(atom) >= rows;
        if let Some(atom) = self.atoms.and_then(|atoms| atoms.iter().find(is_outside)) {
            let expected = format!("numbers below {rows}, the rows of {:?}", spec.name);
            return Err(Error::argument("atoms", atom, expected));
        }
        let selected = self.atoms.map_or(rows, |atoms| atoms.len() as u64);
        let bytes = u128::from(selected) * u128::from(spec.row_bytes());
        Ok(u64::try_from(bytes * u128::from(self.frames.count)).unwrap_or(u64::MAX))
    }
}
