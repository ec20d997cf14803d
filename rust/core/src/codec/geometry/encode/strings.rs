//! The string of a tile in a frame: its fields, which have a fixed place, its symbols, and the
//! lower bits of floats.

use fearless_simd::Simd;

use super::innovations::Innovations;
use super::symbols::Codes;
use crate::codec::geometry::entropy::bits::{PADDING, put};
use crate::codec::geometry::entropy::noise::{FIXED, MOST_NOISY, NoisePacking};
use crate::codec::geometry::entropy::symbol::MOST_SYMBOL_BITS;
use crate::codec::geometry::measure::residuals::Residuals;
use crate::codec::geometry::model::{AtomPredictor, TILE};
use crate::codec::simd::vectorized;

/// Bytes of each part of a string at most, and of the word that is written last.
const FIELD_BYTES: usize = TILE * (3 * MOST_NOISY as usize + 3) / 8 + 1 + PADDING;
const SYMBOL_BYTES: usize = TILE * MOST_SYMBOL_BITS / 8 + 1 + PADDING;
const LOWER_BYTES: usize = TILE * 3 * 4 + PADDING;

/// A part of the strings of a tile in all frames.
pub struct Part {
    room: Vec<u8>,
    /// Of each frame.
    bits: Vec<u32>,
    most: usize,
}

impl Part {
    fn new(frames: usize, most: usize) -> Self {
        Self { room: vec![0; frames * most], bits: vec![0; frames], most }
    }

    /// Where the next bits of each frame are put.
    #[inline(always)]
    pub fn frames(&mut self) -> impl Iterator<Item = End<'_>> {
        let rooms = self.room.chunks_exact_mut(self.most).zip(&mut self.bits);
        rooms.map(|(room, bits)| End { room, bits })
    }

    /// Takes the bytes of each frame.
    fn finish(&mut self) -> Packed {
        let bytes = |bits: u32| bits.div_ceil(8) as usize;
        let all = self.bits.iter().map(|&bits| bytes(bits)).sum();
        let mut packed =
            Packed { bytes: Vec::with_capacity(all), ends: Vec::with_capacity(self.bits.len()) };
        for (room, bits) in self.room.chunks_exact_mut(self.most).zip(&mut self.bits) {
            let room = &mut room[..bytes(std::mem::take(bits))];
            packed.bytes.extend_from_slice(room);
            packed.ends.push(packed.bytes.len());
            room.fill(0);
        }
        packed
    }
}

/// The end of a part in a frame.
pub struct End<'a> {
    room: &'a mut [u8],
    bits: &'a mut u32,
}

impl End<'_> {
    #[inline(always)]
    pub fn put(&mut self, value: u64, bits: u32) {
        put(self.room, *self.bits, value);
        *self.bits += bits;
    }
}

/// Bytes of a part in all frames.
#[derive(Default)]
struct Packed {
    bytes: Vec<u8>,
    /// Where those of each frame end; none where the tile has no such part.
    ends: Vec<usize>,
}

impl Packed {
    fn of(&self, frame: usize) -> &[u8] {
        let Some(&end) = self.ends.get(frame) else { return &[] };
        let start = frame.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }
}

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
            (NoisePacking::new(noisy), side_bits)
        };
        let packings = [of(atom.noisy), of(atom.key_noisy)];
        vectorized!(simd => self.add_fields(simd, &packings, &innovations.written));
        if let Some(part) = &mut self.lower {
            for (frame, mut end) in part.frames().enumerate() {
                for lower in &innovations.lower {
                    let (bits, width) = lower[frame];
                    end.put(bits.into(), width.into());
                }
            }
        }
    }

    /// Adds the field of an atom. It is compiled for the vectors of the machine because the shifts by
    /// variable widths that come with these take one instruction.
    #[inline(always)]
    fn add_fields<S: Simd>(
        &mut self,
        _: S,
        packings: &[(NoisePacking, u32); 2],
        written: &Residuals,
    ) {
        let [x, y, z] = &written.values;
        let residuals = x.iter().zip(y).zip(z).map(|((&x, &y), &z)| [x, y, z]);
        let frames = self.fields.frames().zip(&self.is_key).zip(residuals);
        for (frame, ((mut end, &is_key), residuals)) in frames.enumerate() {
            let (packing, side_bits) = &packings[usize::from(is_key)];
            let mut field = packing.pack(residuals);
            if *side_bits > 0 {
                field |= u64::from(written.sides[frame]) << packing.bits;
            }
            end.put(field, packing.bits + side_bits);
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
    pub fn write(&self, with_lengths: bool, payload: &mut Vec<u8>) {
        let frames = 0..self.is_key.len();
        let all =
            || frames.clone().flat_map(|frame| self.tiles.iter().map(move |tile| (frame, tile)));
        if with_lengths {
            for (frame, TileStrings { fields, symbols, lower }) in all() {
                let length = fields.of(frame).len() + symbols.of(frame).len();
                payload.extend((length as u16).to_le_bytes());
                if self.lower.is_some() {
                    payload.extend((lower.of(frame).len() as u16).to_le_bytes());
                }
            }
        }
        for (frame, TileStrings { fields, symbols, lower }) in all() {
            for part in [fields, symbols, lower] {
                payload.extend_from_slice(part.of(frame));
            }
        }
    }
}
