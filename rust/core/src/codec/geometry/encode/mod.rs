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
use super::measure::Coding;
use super::measure::tile::{Tile, are_small};
use super::model::{AtomPredictor, Model, TILE};
use crate::interrupt;

/// The payload of frames of `rows` atoms with three coordinates on a grid; none where the numbers are
/// too large.
pub fn encode_grid(integers: &[i32], rows: usize, coding: Coding, level: i32) -> Option<Vec<u8>> {
    if !are_small(integers) {
        return None;
    }
    let float = |integer| integer as f32;
    encode(&tiles(integers, float, rows, Domain::Quantized), coding, level)
}

/// The payload of frames of `rows` atoms with three coordinates.
pub fn encode_floats(floats: &[f32], rows: usize, coding: Coding, level: i32) -> Option<Vec<u8>> {
    encode(&tiles(floats, |float| float, rows, Domain::FloatBits), coding, level)
}

fn tiles<T: Copy>(
    values: &[T],
    float: impl Fn(T) -> f32 + Copy,
    rows: usize,
    domain: Domain,
) -> Vec<Tile> {
    let rows = if values.is_empty() { 0 } else { rows };
    (0..rows).step_by(TILE).map(|first| Tile::of(values, float, rows, first, domain)).collect()
}

/// The model, how many bytes each tile takes in each frame, and these.
fn encode(tiles: &[Tile], coding: Coding, level: i32) -> Option<Vec<u8>> {
    let &Tile { frames, domain, .. } = tiles.first()?;
    let has_lower = domain == Domain::FloatBits;
    let mut atoms = fit::predictors(tiles, coding)?;
    let is_key = |frame| coding.reference.of(frame, frames).is_none();
    let is_key: Vec<bool> = (0..frames).map(is_key).collect();
    let mut innovations = Innovations::default();
    let mut symbols = Symbols::new(atoms.len(), frames);
    let mut strings = Strings::new(is_key.clone(), has_lower);
    for (tile, atoms) in tiles.iter().zip(atoms.chunks_mut(TILE)) {
        if interrupt::is_requested() {
            return None;
        }
        for (index, predictor) in atoms.iter_mut().enumerate() {
            innovations.find(tile.atom(index, coding), predictor);
            symbols.add(predictor, &innovations.written, &is_key);
            strings.add(predictor, &innovations);
        }
        strings.finish_tile();
    }
    let (mut codes, tables) = symbols.finish();
    strings.add_symbols(&atoms, &mut codes);
    let is_fixed = !has_lower && atoms.iter().all(AtomPredictor::is_fixed);
    let centres = tiles.iter().map(|tile| tile.centre).collect();
    let model = Model { atoms, centres, tables }.encode(domain, level)?;
    let mut payload = (model.len() as u32).to_le_bytes().to_vec();
    payload.extend(&model);
    strings.write(!is_fixed, &mut payload)?;
    payload.extend([0; PADDING]);
    Some(payload)
}
