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
        let mut packed = Packed::default();
        for (room, bits) in self.room.chunks_exact_mut(self.most).zip(&mut self.bits) {
            let room = &mut room[..bits.div_ceil(8) as usize];
            packed.bytes.extend_from_slice(room);
            packed.ends.push(packed.bytes.len());
            room.fill(0);
            *bits = 0;
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
    /// Where those of each frame end.
    ends: Vec<usize>,
}

impl Packed {
    fn of(&self, frame: usize) -> &[u8] {
        let start = frame.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[frame]]
    }
}

/// The strings of all frames, tile after tile: first what does not depend on other tiles.
pub struct Strings {
    is_key: Vec<bool>,
    fields: Part,
    lower: Option<Part>,
    /// The fields and lower bits of each tile.
    tiles: Vec<(Packed, Option<Packed>)>,
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
        self.tiles.push((self.fields.finish(), self.lower.as_mut().map(Part::finish)));
    }

    /// Adds symbols: the bytes of each frame, and how many these are for each tile.
    pub fn finish(self, atoms: &[AtomPredictor], codes: &mut Codes) -> Finished {
        let frames = self.is_key.len();
        let each = if self.lower.is_some() { 2 } else { 1 };
        let mut lengths = vec![0; each * frames * self.tiles.len()];
        let mut streams = vec![Vec::new(); frames];
        let mut symbols = None;
        for (number, ((fields, lower), atoms)) in
            self.tiles.iter().zip(atoms.chunks(TILE)).enumerate()
        {
            let mut packed = None;
            if atoms.iter().any(AtomPredictor::has_symbols) {
                let part = symbols.get_or_insert_with(|| Part::new(frames, SYMBOL_BYTES));
                atoms.iter().for_each(|atom| codes.write(atom, &self.is_key, part));
                packed = Some(part.finish());
            }
            for (frame, stream) in streams.iter_mut().enumerate() {
                let at = each * (frame * self.tiles.len() + number);
                let before = stream.len();
                stream.extend_from_slice(fields.of(frame));
                stream.extend_from_slice(packed.as_ref().map_or(&[], |packed| packed.of(frame)));
                lengths[at] = (stream.len() - before) as u16;
                if let Some(lower) = lower {
                    stream.extend_from_slice(lower.of(frame));
                    lengths[at + 1] = lower.of(frame).len() as u16;
                }
            }
        }
        Finished { lengths, streams }
    }
}

/// Strings as they are written.
pub struct Finished {
    /// Bytes of each tile in each frame, of floats without and of lower bits.
    pub lengths: Vec<u16>,
    /// Of each frame.
    pub streams: Vec<Vec<u8>>,
}
