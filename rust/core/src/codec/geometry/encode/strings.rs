//! The string of a tile in a frame: its fields, which have a fixed place, its quotients, and the
//! lower bits of floats.

use fearless_simd::Simd;

use super::innovations::Innovations;
use super::residuals::Residuals;
use crate::codec::geometry::entropy::bits::{PADDING, put};
use crate::codec::geometry::entropy::rice::{
    Codes, FIXED, MOST_NOISY, MOST_QUOTIENT_BITS, NoisePacking, escaped,
};
use crate::codec::geometry::model::{AtomPredictor, TILE};
use crate::codec::geometry::predict::ar1::Reference;
use crate::codec::geometry::simd::vectorized;

/// Bytes of each part of a string at most, and of the word that is written last.
const FIELD_BYTES: usize = TILE * (3 * MOST_NOISY as usize + 3) / 8 + 1 + PADDING;
const QUOTIENT_BYTES: usize = TILE * MOST_QUOTIENT_BITS / 8 + 1 + PADDING;
const LOWER_BYTES: usize = TILE * 3 * 4 + PADDING;

/// A part of the strings of a tile in all frames.
struct Part {
    room: Vec<u8>,
    /// Of each frame.
    bits: Vec<u32>,
    most: usize,
}

impl Part {
    fn new(frames: usize, most: usize) -> Self {
        Self { room: vec![0; frames * most], bits: vec![0; frames], most }
    }

    #[inline(always)]
    fn add(&mut self, frame: usize, value: u64, bits: u32) {
        let room = &mut self.room[frame * self.most..(frame + 1) * self.most];
        put(room, self.bits[frame], value);
        self.bits[frame] += bits;
    }

    /// Moves the bytes of a frame to a stream, and returns how many they are.
    fn finish(&mut self, frame: usize, stream: &mut Vec<u8>) -> u16 {
        let bytes = self.bits[frame].div_ceil(8) as usize;
        let room = &mut self.room[frame * self.most..][..bytes];
        stream.extend_from_slice(room);
        room.fill(0);
        self.bits[frame] = 0;
        bytes as u16
    }
}

/// The strings of all frames, tile after tile.
pub struct Strings {
    /// Of each frame.
    pub streams: Vec<Vec<u8>>,
    is_key: Vec<bool>,
    fields: Part,
    quotients: Part,
    lower: Option<Part>,
}

impl Strings {
    pub fn new(frames: usize, reference: Reference, has_lower: bool) -> Self {
        Self {
            streams: vec![Vec::new(); frames],
            is_key: (0..frames).map(|frame| reference.of(frame, frames).is_none()).collect(),
            fields: Part::new(frames, FIELD_BYTES),
            quotients: Part::new(frames, QUOTIENT_BYTES),
            lower: has_lower.then(|| Part::new(frames, LOWER_BYTES)),
        }
    }

    /// Adds an atom to the tile.
    pub fn add(&mut self, atom: &AtomPredictor, innovations: &Innovations) {
        let [x, y, z] = &innovations.written.values;
        let side_bits = atom.predictor.side_bits();
        let packings = [NoisePacking::new(atom.noisy), NoisePacking::new(atom.key_noisy)];
        vectorized!(simd => self.add_fields(simd, &packings, side_bits, &innovations.written));
        if atom.noisy[0] < FIXED || atom.key_noisy[0] < FIXED {
            for (frame, ((&x, &y), &z)) in x.iter().zip(y).zip(z).enumerate() {
                let noisy = if self.is_key[frame] { &atom.key_noisy } else { &atom.noisy };
                if noisy[0] < FIXED {
                    self.add_quotients(frame, [x, y, z], *noisy);
                }
            }
        }
        if let Some(part) = &mut self.lower {
            for frame in 0..self.is_key.len() {
                for lower in &innovations.lower {
                    let (bits, width) = lower[frame];
                    part.add(frame, bits.into(), width.into());
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
        packings: &[NoisePacking; 2],
        side_bits: u32,
        written: &Residuals,
    ) {
        let [x, y, z] = &written.values;
        let Part { room, bits, most } = &mut self.fields;
        let frames = room.chunks_exact_mut(*most).zip(bits).zip(&self.is_key);
        for (frame, ((room, bits), &is_key)) in frames.enumerate() {
            let packing = &packings[usize::from(is_key)];
            let mut field = packing.pack([x[frame], y[frame], z[frame]]);
            if side_bits > 0 {
                field |= u64::from(written.side_info[frame]) << packing.bits;
            }
            put(room, *bits, field);
            *bits += packing.bits + side_bits;
        }
    }

    #[inline(always)]
    fn add_quotients(&mut self, frame: usize, residuals: [i32; 3], noisy: [u8; 3]) {
        let codes = Codes::of(residuals, noisy);
        self.quotients.add(frame, codes.codes, codes.bits);
        if codes.is_escaped {
            for (quotient, bits) in escaped(residuals, noisy) {
                self.quotients.add(frame, quotient, bits);
            }
        }
    }

    /// Ends the tile; notes the lengths of the parts that differ between frames.
    pub fn finish(&mut self, mut note: impl FnMut(usize, [u16; 2])) {
        for (frame, stream) in self.streams.iter_mut().enumerate() {
            let bytes = self.fields.finish(frame, stream) + self.quotients.finish(frame, stream);
            let lower = self.lower.as_mut().map_or(0, |lower| lower.finish(frame, stream));
            note(frame, [bytes, lower]);
        }
    }
}
