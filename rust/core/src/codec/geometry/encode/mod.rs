//! Writing frames with a model.

pub mod innovations;
mod part;
mod strings;
mod symbols;

use innovations::Innovations;
use strings::Strings;
use symbols::Symbols;

use super::domain::Domain;
use super::entropy::bits::PADDING;
use super::fit;
use super::measure::tile::{Tile, are_small};
use super::measure::{AtomFrames, Coding};
use super::model::{AtomPredictor, Model, TILE};
use crate::interrupt;

/// Frames and the model that was found for them.
pub struct Encoder {
    tiles: Vec<Tile>,
    frames: usize,
    domain: Domain,
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
        Self::new(integers, |integer| integer as f32, rows, Domain::Quantized, coding)
    }

    /// Finds a model for frames of `rows` atoms with three coordinates.
    pub fn of_floats(floats: &[f32], rows: usize, coding: Coding) -> Option<Self> {
        Self::new(floats, |float| float, rows, Domain::FloatBits, coding)
    }

    fn new<T: Copy>(
        values: &[T],
        float: impl Fn(T) -> f32 + Copy,
        rows: usize,
        domain: Domain,
        coding: Coding,
    ) -> Option<Self> {
        let frames = values.len() / (3 * rows).max(1);
        if frames == 0 {
            return None;
        }
        let firsts = (0..rows).step_by(TILE);
        let tile = |first| Tile::of(values, float, rows, first, domain);
        let tiles: Vec<Tile> = firsts.map(tile).collect();
        let model = fit::model(&tiles, frames, domain, coding)?;
        Some(Self { tiles, frames, domain, model, coding })
    }

    /// Adds the model, how many bytes each tile takes in each frame, and these to a payload.
    pub fn write(self, level: i32) -> Option<Vec<u8>> {
        let has_lower = self.domain == Domain::FloatBits;
        let Self { frames, domain, coding, .. } = self;
        let Model { mut atoms, centres, .. } = self.model;
        let is_key = |frame| coding.reference.of(frame, frames).is_none();
        let is_key: Vec<bool> = (0..frames).map(is_key).collect();
        let mut innovations = Innovations::new(frames, domain, coding);
        let mut symbols = Symbols::new(atoms.len(), frames);
        let mut strings = Strings::new(is_key.clone(), has_lower);
        for (tile, atoms) in self.tiles.iter().zip(atoms.chunks_mut(TILE)) {
            if interrupt::is_requested() {
                return None;
            }
            for (atom, predictor) in atoms.iter_mut().enumerate() {
                let view = tile.all();
                innovations.find(AtomFrames { view, atom, frames, domain, coding }, predictor);
                symbols.add(predictor, &innovations.written, &is_key);
                strings.add(predictor, &innovations);
            }
            strings.finish_tile();
        }
        let (mut codes, tables) = symbols.finish();
        strings.add_symbols(&atoms, &mut codes);
        let is_fixed = !has_lower && atoms.iter().all(AtomPredictor::is_fixed);
        let model = Model { atoms, centres, tables }.encode(domain, level)?;
        let mut payload = (model.len() as u32).to_le_bytes().to_vec();
        payload.extend(&model);
        strings.write(!is_fixed, &mut payload)?;
        payload.extend([0; PADDING]);
        Some(payload)
    }
}
