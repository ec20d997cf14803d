//! Writing frames with a model.

use super::bits::{PADDING, add, bias};
use super::fit;
use super::lanes::{LANES, Vector};
use super::model::{Model, Placement, TILE};
use super::tile::{Tile, are_small, residuals};
use super::widest::{Job, widest};

/// Frames and the model that was found for them.
pub struct Encoder {
    tiles: Vec<Tile>,
    frames: usize,
    model: Model,
    packed: Vec<u8>,
}

impl Encoder {
    /// Finds a model for frames of `rows` atoms with three coordinates, or none where the numbers
    /// are too large.
    pub fn new(integers: &[i32], rows: usize, level: i32) -> Option<Self> {
        let frames = integers.len() / (3 * rows).max(1);
        if frames == 0 || !are_small(integers) {
            return None;
        }
        let firsts = (0..rows).step_by(TILE);
        let tiles: Vec<Tile> = firsts.map(|first| Tile::of(integers, rows, first)).collect();
        let model = fit::model(&tiles, frames)?;
        let packed = model.encode(level)?;
        Some(Self { tiles, frames, model, packed })
    }

    /// Bytes of what [`write`](Self::write) will add.
    pub fn bytes(&self) -> usize {
        4 + self.packed.len() + self.frames * self.model.frame_bytes() + PADDING
    }

    /// Adds the model and the frames to a payload.
    pub fn write(&self, payload: &mut Vec<u8>) {
        payload.extend((self.packed.len() as u32).to_le_bytes());
        payload.extend(&self.packed);
        let frame_bytes = self.model.frame_bytes();
        let start = payload.len();
        payload.resize(start + self.frames * frame_bytes + PADDING, 0);
        let mut bit = 0;
        let mut placements = self.model.placements.iter();
        for tile in &self.tiles {
            for (atom, placement) in placements.by_ref().take(tile.atoms()).enumerate() {
                let bytes = &mut payload[start..];
                let frames = self.frames;
                widest(WriteOne { tile, atom, placement, bytes, bit, frames, frame_bytes });
                bit += placement.bits();
            }
        }
    }
}

/// Writes the bits of one atom in all frames.
struct WriteOne<'a> {
    tile: &'a Tile,
    atom: usize,
    placement: &'a Placement,
    bytes: &'a mut [u8],
    bit: u32,
    frames: usize,
    frame_bytes: usize,
}

impl Job for WriteOne<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let placement = self.placement;
        let rule = placement.rule::<V>();
        for group in 0..self.tile.groups() {
            let (near, point) =
                self.tile.with_near(self.atom, placement.kind, placement.back, group);
            let (rest, choice) = residuals::<V>(placement.kind, &near, &rule, &point);
            let mut words = [0; LANES];
            let mut shift = 0;
            let mut append = |numbers: [i32; LANES], width: u32| {
                for lane in 0..LANES {
                    words[lane] |= u64::from(numbers[lane] as u32) << shift;
                }
                shift += width;
            };
            for i in 0..3 {
                let width = u32::from(placement.widths[i]);
                append(rest[i].plus(V::all(bias(width) as f32)).integers(), width);
            }
            if placement.kind.choice_bits() > 0 {
                let side = V::all(1.0).select(choice.side, V::all(0.0));
                append(side.integers(), 1);
                append(choice.axis.integers(), 2);
            }
            let first = group * LANES;
            for lane in 0..LANES.min(self.frames - first) {
                let start = (first + lane) * self.frame_bytes;
                add(&mut self.bytes[start..], self.bit, words[lane]);
            }
        }
    }
}
