//! The string of a tile in a frame: its fields, which have a fixed place, its quotients, and the lower bits of floats.

use super::innovations::Innovations;
use crate::codec::geometry::entropy::bits::{PADDING, put};
use crate::codec::geometry::entropy::rice::{
    Codes, FIXED, MOST_NOISY, MOST_QUOTIENT_BITS, escaped, noise,
};
use crate::codec::geometry::model::{AtomPredictor, TILE};
use crate::codec::geometry::predict::ar1::Reference;

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
        let side_bits = atom.predictor.side_bits();
        let [x, y, z] = &innovations.written.values;
        let side_info = &innovations.written.side_info;
        for (frame, ((&x, &y), &z)) in x.iter().zip(y).zip(z).enumerate() {
            let noisy = if self.is_key[frame] { atom.key_noisy } else { atom.noisy };
            let (mut field, mut bits) = noise([x, y, z], noisy);
            if noisy[0] < FIXED {
                let codes = Codes::of([x, y, z], noisy);
                self.quotients.add(frame, codes.codes, codes.bits);
                if codes.is_escaped {
                    for (quotient, bits) in escaped([x, y, z], noisy) {
                        self.quotients.add(frame, quotient, bits);
                    }
                }
            }
            if side_bits > 0 {
                field |= u64::from(side_info[frame]) << bits;
                bits += side_bits;
            }
            self.fields.add(frame, field, bits);
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

    /// Ends the tile; notes the lengths of the parts that differ between frames.
    pub fn finish(&mut self, mut note: impl FnMut(usize, [u16; 2])) {
        for (frame, stream) in self.streams.iter_mut().enumerate() {
            let bytes = self.fields.finish(frame, stream) + self.quotients.finish(frame, stream);
            let lower = self.lower.as_mut().map_or(0, |lower| lower.finish(frame, stream));
            note(frame, [bytes, lower]);
        }
    }
}
