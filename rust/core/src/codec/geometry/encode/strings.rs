//! The string of a tile in a frame: its fields, which have a fixed place, its symbols, and the
//! lower bits of floats.

use super::innovations::Innovations;
use super::part::{Packed, Part};
use super::symbols::Codes;
use crate::codec::geometry::entropy::bits::PADDING;
use crate::codec::geometry::entropy::noise::{FIXED, FieldPacking, MOST_NOISY, zigzag};
use crate::codec::geometry::entropy::symbol::MOST_SYMBOL_BITS;
use crate::codec::geometry::lengths;
use crate::codec::geometry::measure::residuals::Residuals;
use crate::codec::geometry::model::{AtomPredictor, TILE};
use crate::codec::layout::BlockShape;
use crate::codec::simd::vectorized;

/// Bytes of each part of a string at most, and of the word that is written last.
const FIELD_BYTES: usize = TILE * (3 * MOST_NOISY as usize + 3) / 8 + 1 + PADDING;
const SYMBOL_BYTES: usize = TILE * MOST_SYMBOL_BITS / 8 + 1 + PADDING;
const LOWER_BYTES: usize = TILE * 3 * 4 + PADDING;

/// The strings of a tile in all frames.
#[derive(Default)]
struct TileStrings {
    fields: Packed,
    symbols: Packed,
    lower: Packed,
}

/// The strings of all tiles: first what is known before all codes are.
pub struct Strings {
    is_key: Vec<bool>,
    fields: Part,
    lower: Option<Part>,
    tiles: Vec<TileStrings>,
}

impl Strings {
    pub fn new(is_key: Vec<bool>, has_lower: bool) -> Self {
        let frames = is_key.len();
        let fields = Part::new(frames, FIELD_BYTES);
        let lower = has_lower.then(|| Part::new(frames, LOWER_BYTES));
        Self { is_key, fields, lower, tiles: Vec::new() }
    }

    /// Adds the fields and the lower bits of an atom to the tile.
    pub fn add(&mut self, atom: &AtomPredictor, innovations: &Innovations) {
        let of = |noisy: [u8; 3]| {
            let side_bits = if noisy[0] < FIXED { 0 } else { atom.predictor.side_bits() };
            FieldPacking::new(noisy, side_bits)
        };
        let (packing, key_packing) = (of(atom.noisy), of(atom.key_noisy));
        let written = &innovations.written;
        vectorized!(_simd => match atom.noisy == atom.key_noisy {
            true => self.add_fields(|_| packing, written),
            false => self.add_fields(|is_key| if is_key { key_packing } else { packing }, written),
        });
        if let Some(part) = &mut self.lower {
            for (frame, mut end) in part.frames().enumerate() {
                for lower in &innovations.lower {
                    let (bits, width) = lower[frame];
                    end.put(bits.into(), width.into());
                }
            }
        }
    }

    /// Adds the fields of an atom. It is compiled for the vectors of the machine because the shifts by
    /// variable widths that come with these take one instruction.
    #[inline(always)]
    fn add_fields(&mut self, packing: impl Fn(bool) -> FieldPacking, written: &Residuals) {
        let ([x, y, z], sides) = (&written.values, &written.sides);
        let numbers = x.iter().zip(y).zip(z).zip(sides);
        for ((mut end, &is_key), (((&x, &y), &z), &side)) in
            self.fields.frames().zip(&self.is_key).zip(numbers)
        {
            let packing = packing(is_key);
            end.put(packing.pack([zigzag(x), zigzag(y), zigzag(z), side.into()]), packing.bits);
        }
    }

    /// Ends the tile.
    pub fn finish_tile(&mut self) {
        let fields = self.fields.finish();
        let lower = self.lower.as_mut().map(Part::finish).unwrap_or_default();
        self.tiles.push(TileStrings { fields, lower, ..TileStrings::default() });
    }

    /// Adds symbols.
    pub fn add_symbols(&mut self, atoms: &[AtomPredictor], codes: &mut Codes) {
        if !atoms.iter().any(AtomPredictor::has_symbols) {
            return;
        }
        let mut part = Part::new(self.is_key.len(), SYMBOL_BYTES);
        for (tile, atoms) in self.tiles.iter_mut().zip(atoms.chunks(TILE)) {
            atoms.iter().for_each(|atom| codes.write(atom, &self.is_key, &mut part));
            tile.symbols = part.finish();
        }
    }

    /// Writes how many bytes each tile takes in each frame, of floats without and of lower bits, if
    /// that is not the same in all; then these.
    pub fn write(&self, with_lengths: bool, payload: &mut Vec<u8>) -> Option<()> {
        let frames = 0..self.is_key.len();
        let all =
            || frames.clone().flat_map(|frame| self.tiles.iter().map(move |tile| (frame, tile)));
        if with_lengths {
            let lengths = all().flat_map(|(frame, TileStrings { fields, symbols, lower })| {
                let length = fields.of(frame).len() + symbols.of(frame).len();
                let of_lower = self.lower.is_some().then(|| lower.of(frame).len() as u16);
                [length as u16].into_iter().chain(of_lower)
            });
            let components = if self.lower.is_some() { 2 } else { 1 };
            let shape = BlockShape { frames: frames.len(), rows: self.tiles.len(), components };
            payload.extend(lengths::encode(lengths.collect(), shape)?);
        }
        for (frame, TileStrings { fields, symbols, lower }) in all() {
            for part in [fields, symbols, lower] {
                payload.extend_from_slice(part.of(frame));
            }
        }
        Some(())
    }
}
