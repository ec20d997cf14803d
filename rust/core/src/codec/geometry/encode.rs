//! Writing frames with a model.

use super::bits::PADDING;
use super::fit;
use super::innovations::{Coding, Innovations};
use super::model::{Model, Placement, TILE};
use super::numbers::Numbers;
use super::residuals::AtomOf;
use super::strings::Strings;
use super::tile::{Tile, are_small};
use crate::interrupt;

/// Frames and the model that was found for them.
pub struct Encoder {
    tiles: Vec<Tile>,
    frames: usize,
    numbers: Numbers,
    model: Model,
    coding: Coding,
}

impl Encoder {
    /// Finds a model for frames of `rows` atoms with three coordinates on a grid, or none where the
    /// numbers are too large.
    pub fn of_grid(integers: &[i32], rows: usize, coding: Coding) -> Option<Self> {
        if !are_small(integers) {
            return None;
        }
        Self::new(integers, |integer| integer as f32, rows, Numbers::Grid, coding)
    }

    /// Finds a model for frames of `rows` atoms with three coordinates.
    pub fn of_floats(floats: &[f32], rows: usize, coding: Coding) -> Option<Self> {
        Self::new(floats, |float| float, rows, Numbers::Floats, coding)
    }

    fn new<T: Copy>(
        values: &[T],
        float: impl Fn(T) -> f32 + Copy,
        rows: usize,
        numbers: Numbers,
        coding: Coding,
    ) -> Option<Self> {
        let frames = values.len() / (3 * rows).max(1);
        if frames == 0 {
            return None;
        }
        let firsts = (0..rows).step_by(TILE);
        let tile = |first| Tile::of(values, float, rows, first, numbers);
        let tiles: Vec<Tile> = firsts.map(tile).collect();
        let model = fit::model(&tiles, frames, numbers, coding.is_fixed)?;
        Some(Self { tiles, frames, numbers, model, coding })
    }

    /// Adds the model, how many bytes each tile takes in each frame, and these to a payload.
    pub fn write(self, level: i32, payload: &mut Vec<u8>) -> Option<()> {
        let has_lower = self.numbers == Numbers::Floats;
        let mut innovations = Innovations::new(self.frames, self.numbers, self.coding);
        let mut strings = Strings::new(self.frames, self.coding.reference, has_lower);
        let each = if has_lower { 2 } else { 1 };
        let mut lengths = vec![0u16; each * self.frames * self.tiles.len()];
        let Model { mut placements, centres } = self.model;
        let mut all = placements.iter_mut();
        for (number, tile) in self.tiles.iter().enumerate() {
            if interrupt::is_requested() {
                return None;
            }
            for (index, placement) in all.by_ref().take(tile.atoms()).enumerate() {
                innovations.find(AtomOf { tile, index }, placement);
                strings.add(placement, &innovations);
            }
            strings.finish(|frame, bytes| {
                let at = each * (frame * self.tiles.len() + number);
                lengths[at..at + each].copy_from_slice(&bytes[..each]);
            });
        }
        let is_fixed = !has_lower && placements.iter().all(Placement::is_fixed);
        let model = Model { placements, centres }.encode(self.numbers, level)?;
        payload.extend((model.len() as u32).to_le_bytes());
        payload.extend(&model);
        if !is_fixed {
            payload.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
        }
        strings.streams.iter().for_each(|stream| payload.extend(stream));
        payload.extend([0; PADDING]);
        Some(())
    }
}
