//! Writing frames with a model.

use super::archive::Archive;
use super::bits::{PADDING, add, bias};
use super::constraint::Kind;
use super::fit;
use super::integers::Integers;
use super::lanes::{LANES, Vector};
use super::model::{Model, Placement, TILE};
use super::numbers::{self, FARTHEST, Numbers};
use super::tile::{Tile, Trace, are_small, trace};
use super::widest::{Job, widest};

/// Frames and the model that was found for them.
pub struct Encoder {
    tiles: Vec<Tile>,
    frames: usize,
    numbers: Numbers,
    model: Model,
    packed: Vec<u8>,
}

impl Encoder {
    /// Finds a model for frames of `rows` atoms with three coordinates on a grid, or none where the
    /// numbers are too large.
    pub fn of_grid(integers: &[i32], rows: usize, level: i32) -> Option<Self> {
        if !are_small(integers) {
            return None;
        }
        Self::new(integers, |integer| integer as f32, rows, level, Numbers::Grid)
    }

    /// Finds a model for frames of `rows` atoms with three coordinates.
    pub fn of_floats(floats: &[f32], rows: usize, level: i32) -> Option<Self> {
        Self::new(floats, |float| float, rows, level, Numbers::Floats)
    }

    fn new<T: Copy>(
        values: &[T],
        float: impl Fn(T) -> f32 + Copy,
        rows: usize,
        level: i32,
        numbers: Numbers,
    ) -> Option<Self> {
        let frames = values.len() / (3 * rows).max(1);
        if frames == 0 {
            return None;
        }
        let firsts = (0..rows).step_by(TILE);
        let tile = |first| Tile::of(values, float, rows, first, numbers);
        let tiles: Vec<Tile> = firsts.map(tile).collect();
        let model = fit::model(&tiles, frames, numbers)?;
        let packed = model.encode(level)?;
        Some(Self { tiles, frames, numbers, model, packed })
    }

    /// Leaves in the fields only what is noise whatever is known, and answers with the rest, the packed
    /// courses.
    pub fn archive(&mut self, level: i32) -> Option<Vec<u8>> {
        let archive = Archive::of(&self.tiles, self.frames, &self.model, self.numbers, level)?;
        self.packed = archive.model.encode(level)?;
        self.model = archive.model;
        Some(archive.courses)
    }

    /// Bytes of what [`write_grid`](Self::write_grid) will add.
    pub fn grid_bytes(&self) -> usize {
        4 + self.packed.len() + self.frames * self.model.frame_bytes() + PADDING
    }

    /// Adds the model and the frames on a grid to a payload.
    pub fn write_grid(&self, payload: &mut Vec<u8>) {
        self.write_model(payload);
        let frame_bytes = self.model.frame_bytes();
        let start = payload.len();
        payload.resize(start + self.frames * frame_bytes + PADDING, 0);
        let mut bit = 0;
        self.for_each_atom(|_, atom, placement| {
            let frames = Frames { bytes: &mut payload[start..], frame_bytes, count: self.frames };
            widest(WriteGrid { atom, placement, frames, bit });
            bit += placement.bits();
        });
    }

    /// Adds the model, how many bytes each tile takes in each frame, and these to a payload.
    pub fn write_floats(&self, payload: &mut Vec<u8>) {
        self.write_model(payload);
        let mut lengths = vec![0u16; self.frames * self.tiles.len()];
        let mut streams = vec![Vec::new(); self.frames];
        let mut room = vec![0; self.frames * TILE_BYTES];
        let mut bits = vec![0; self.frames];
        self.for_each_atom(|tile, atom, placement| {
            widest(WriteFloats { atom, placement, room: &mut room, bits: &mut bits });
            if atom.index + 1 < atom.tile.atoms() {
                return;
            }
            let frames = room.chunks_exact_mut(TILE_BYTES).zip(&mut bits).zip(&mut streams);
            for (frame, ((room, bits), stream)) in frames.enumerate() {
                let bytes = bits.div_ceil(8) as usize;
                lengths[frame * self.tiles.len() + tile] = bytes as u16;
                stream.extend_from_slice(&room[..bytes]);
                room[..bytes].fill(0);
                *bits = 0;
            }
        });
        payload.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
        streams.iter().for_each(|stream| payload.extend(stream));
        payload.extend([0; PADDING]);
    }

    fn write_model(&self, payload: &mut Vec<u8>) {
        payload.extend((self.packed.len() as u32).to_le_bytes());
        payload.extend(&self.packed);
    }

    fn for_each_atom(&self, mut visit: impl FnMut(usize, AtomOf<'_>, &Placement)) {
        let mut placements = self.model.placements.iter();
        for (number, tile) in self.tiles.iter().enumerate() {
            for (index, placement) in placements.by_ref().take(tile.atoms()).enumerate() {
                visit(number, AtomOf { tile, index }, placement);
            }
        }
    }
}

/// An atom of a tile.
#[derive(Clone, Copy)]
pub struct AtomOf<'a> {
    pub tile: &'a Tile,
    pub index: usize,
}

impl AtomOf<'_> {
    #[inline(always)]
    pub fn trace<V: Vector>(&self, placement: &Placement, group: usize) -> Trace<V> {
        let (kind, back) = (placement.kind, placement.back);
        let (near, point) = self.tile.all().with_near(self.index, kind, back, group);
        trace::<V>(kind, &near, &placement.rule(), &point)
    }
}

/// The choices of some frames, as numbers, and how many bits they take together.
#[inline(always)]
fn choices<V: Vector>(trace: &Trace<V>, kind: Kind) -> ([i32; LANES], u32) {
    let side = V::all(1.0).select(trace.choice.side, V::all(0.0));
    let axis = trace.choice.axis;
    (side.plus(axis.plus(axis)).integers(), kind.choice_bits())
}

/// Frames of equal length.
struct Frames<'a> {
    bytes: &'a mut [u8],
    frame_bytes: usize,
    count: usize,
}

/// Writes the bits of one atom in all frames, on a grid.
struct WriteGrid<'a> {
    atom: AtomOf<'a>,
    placement: &'a Placement,
    frames: Frames<'a>,
    bit: u32,
}

impl Job for WriteGrid<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let placement = self.placement;
        for group in 0..self.atom.tile.all().groups() {
            let trace = self.atom.trace::<V>(placement, group);
            let mut words = [0; LANES];
            let mut shift = 0;
            let mut append = |numbers: [i32; LANES], width: u32| {
                for lane in 0..LANES {
                    words[lane] |= (u64::from(numbers[lane] as u32) & ((1 << width) - 1)) << shift;
                }
                shift += width;
            };
            for i in 0..3 {
                let width = u32::from(placement.widths[i]);
                let rest = trace.actual[i].minus(trace.predicted[i].rounded());
                append(rest.plus(V::all(bias(width) as f32)).integers(), width);
            }
            let (choices, bits) = choices(&trace, placement.kind);
            append(choices, bits);
            let first = group * LANES;
            for lane in 0..LANES.min(self.frames.count - first) {
                let start = (first + lane) * self.frames.frame_bytes;
                add(&mut self.frames.bytes[start..], self.bit, words[lane]);
            }
        }
    }
}

/// Bytes of a tile of floats at most, and of the word that is written last.
const TILE_BYTES: usize = TILE * (3 * 32 + 3) / 8 + 1 + PADDING;

/// Writes the bits of one atom in all frames, as floats.
struct WriteFloats<'a> {
    atom: AtomOf<'a>,
    placement: &'a Placement,
    /// Zeros beyond what was written, of each frame.
    room: &'a mut [u8],
    /// How many bits each frame has.
    bits: &'a mut [u32],
}

impl Job for WriteFloats<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let placement = self.placement;
        let is_free = placement.kind == Kind::Free;
        let rooms = self.room.chunks_mut(LANES * TILE_BYTES);
        for (group, (bits, rooms)) in self.bits.chunks_mut(LANES).zip(rooms).enumerate() {
            let trace = self.atom.trace::<V>(placement, group);
            let mut write = |values: [i32; LANES], widths: [i32; LANES]| {
                let frames = bits.iter_mut().zip(rooms.chunks_exact_mut(TILE_BYTES));
                for (lane, (bit, room)) in frames.enumerate() {
                    let width = widths[lane] as u32;
                    let value = u64::from(values[lane] as u32) & ((1 << width) - 1);
                    add(room, *bit, value);
                    *bit += width;
                }
            };
            let (choices, choice_bits) = choices(&trace, placement.kind);
            if choice_bits > 0 {
                write(choices, [choice_bits as i32; LANES]);
            }
            for i in 0..3 {
                let predicted = trace.predicted[i].inside(FARTHEST);
                let level = V::Integers::all(i32::from(placement.widths[i]));
                let widths = numbers::widths_of(level, predicted, is_free);
                let actual = numbers::all_ordered(trace.actual[i]);
                let difference = actual.minus(numbers::all_ordered(predicted));
                write(difference.array(), widths.array());
            }
        }
    }
}
