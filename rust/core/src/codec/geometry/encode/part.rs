//! Bits of a tile in all frames, one string for each.

use crate::codec::geometry::entropy::bits::put;

/// A part of the strings of a tile in all frames.
pub struct Part {
    room: Vec<u8>,
    /// Of each frame.
    bits: Vec<u32>,
    most: usize,
}

impl Part {
    pub fn new(frames: usize, most: usize) -> Self {
        Self { room: vec![0; frames * most], bits: vec![0; frames], most }
    }

    /// Where the next bits of each frame are put.
    #[inline(always)]
    pub fn frames(&mut self) -> impl Iterator<Item = End<'_>> {
        let rooms = self.room.chunks_exact_mut(self.most).zip(&mut self.bits);
        rooms.map(|(room, bits)| End { room, bits })
    }

    /// Takes the bytes of each frame.
    pub fn finish(&mut self) -> Packed {
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
pub struct Packed {
    bytes: Vec<u8>,
    /// Where those of each frame end; none where the tile has no such part.
    ends: Vec<usize>,
}

impl Packed {
    pub fn of(&self, frame: usize) -> &[u8] {
        let Some(&end) = self.ends.get(frame) else { return &[] };
        let start = frame.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }
}
