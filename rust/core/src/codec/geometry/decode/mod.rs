//! Reading frames: any of them, and any tile of atoms in them.

mod frame;
mod frame_residuals;
mod in_turn;
mod innovations;
mod layout;
mod restore;
mod rows;
mod tile_group;

use std::ops::Range;

use once_cell::race::OnceBox;

use frame::{FrameDecoder, Schedule};
use frame_residuals::{FrameStrings, Residuals, Starts, Steps};
use in_turn::InTurn;
use innovations::{PredictedFrom, ResidualLanes};
use layout::{AtomLayout, ModelLayout, ROW, read_model};
use tile_group::{Output, Strings, TileGroup};

use super::domain::Domain;
use super::entropy::bits::PADDING;
use super::lengths;
use super::model::TILE;
use super::predict::ar::Reference;
use crate::codec::grid::Grid;
use crate::codec::layout::BlockShape;
use crate::codec::simd::{LANES, Lanes, vectorized};
use crate::error::DecodeError;
use crate::memory::try_zeroed;

/// Frames that are faster decoded one by one than together.
const ALONE: usize = 2;

/// A model that has been read and checked, and where the frames are.
#[derive(Debug)]
pub struct Decoder {
    domain: Domain,
    reference: Reference,
    model: ModelLayout,
    frames: usize,
    /// Where the string of each tile of each frame begins, tile after tile, frame after frame;
    /// where frames are as long, of the first.
    starts: Vec<u32>,
    /// The bytes of a frame, where all are as long.
    frame_bytes: Option<usize>,
    /// Where the lower bits of floats begin.
    lower: Vec<u32>,
    /// How single frames are decoded, once one is.
    plan: OnceBox<(Schedule, Steps)>,
}

/// A part of the streams, which holds the frames that are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'a> {
    /// Its first byte in the streams.
    pub first: usize,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl<'a> From<&'a [u8]> for Excerpt<'a> {
    fn from(streams: &'a [u8]) -> Self {
        Self { first: 0, bytes: streams }
    }
}

impl Excerpt<'_> {
    /// Where a byte of the streams is.
    fn place(&self, start: usize) -> u32 {
        start.wrapping_sub(self.first) as u32
    }
}

/// Where rows of decoded frames go.
#[derive(Debug, Clone, Copy)]
pub struct OutputLayout {
    /// The byte of the first row of the first frame.
    pub start: usize,
    /// Bytes from one frame to the next.
    pub frame_bytes: usize,
}

impl Decoder {
    /// Reads the model of frames at the beginning of `bytes`; returns it with what follows, the
    /// streams, of which this many bytes may lie `beyond`.
    pub fn parse(
        bytes: &[u8],
        beyond: usize,
        frames: usize,
        rows: usize,
        domain: Domain,
        reference: Reference,
    ) -> Result<(Self, &[u8]), DecodeError> {
        let (model, rest) = read_model(bytes, rows, domain)?;
        let tiles = &model.tiles;
        let each = if domain == Domain::FloatBits { 2 } else { 1 };
        let is_fixed = domain == Domain::Quantized && tiles.iter().all(|tile| tile.is_fixed);
        let listed = if is_fixed { 0 } else { frames };
        let shape = BlockShape { frames: listed, rows: tiles.len(), components: each };
        let (lengths, streams) = match listed {
            0 => (Vec::new(), rest),
            _ => lengths::parse(rest, shape)?,
        };
        let mut lengths = lengths.into_iter();
        let (mut starts, mut lower) = (Vec::new(), Vec::new());
        let mut end = 0u32;
        for tile in (0..listed.max(1)).flat_map(|_| tiles) {
            for starts in [&mut starts, &mut lower].into_iter().take(each) {
                starts.push(end);
                let length = lengths.next().map_or(tile.field_bytes as u32, u32::from);
                end = end.saturating_add(length);
            }
        }
        let frame_bytes = is_fixed.then_some(end as usize);
        let all = frame_bytes.map_or(end as usize, |bytes| bytes.saturating_mul(frames));
        let found = streams.len() as u64 + beyond as u64;
        if found != all as u64 + PADDING as u64 {
            return Err(DecodeError::SectionSize {
                section: "frames",
                expected: all as u64 + PADDING as u64,
                found,
            });
        }
        let plan = OnceBox::new();
        let decoder = Self { domain, reference, model, frames, starts, frame_bytes, lower, plan };
        Ok((decoder, streams))
    }

    /// Which bytes of the streams decode a frame: its own, those of its key frame, and those that the
    /// word at the end of each reads beyond. The end of the last one may lie beyond all.
    pub fn frame_ranges(&self, frame: usize) -> impl Iterator<Item = Range<usize>> {
        let own = (frame < self.frames).then_some(frame);
        let key =
            own.filter(|_| self.has_keys()).and_then(|frame| self.reference.of(frame, self.frames));
        own.into_iter().chain(key).map(|frame| {
            if self.model.tiles.is_empty() {
                return 0..PADDING;
            }
            let next = frame + 1;
            let end = if next < self.frames { self.start(next, 0) } else { usize::MAX };
            self.start(frame, 0)..end.saturating_add(PADDING)
        })
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        // Where frames are decoded alone, each atom is in a plan, too.
        self.model.atoms.len() * (size_of::<AtomLayout>() + 6 * size_of::<u32>())
            + size_of_val(self.model.tiles.as_slice())
            + size_of_val(self.model.tables.as_slice())
            + size_of_val(self.starts.as_slice())
            + size_of_val(self.lower.as_slice())
    }

    /// Decodes some frames, on a grid where they are, in the order they are named, one after the
    /// other in `out`; of each the tiles that are wanted, the others are left as they are. Where
    /// each is predicted from the frame before, these are all frames from the first on.
    pub fn read<'a>(
        &self,
        streams: impl Into<Excerpt<'a>>,
        grid: Option<Grid>,
        frames: &[usize],
        is_wanted: impl Fn(usize) -> bool,
        out: &mut [u8],
        layout: OutputLayout,
    ) -> Result<(), DecodeError> {
        let streams = streams.into();
        if self.domain == Domain::Quantized && grid.is_none() {
            return Err(DecodeError::NoGrid);
        }
        if let Some(&frame) = frames.iter().find(|&&frame| frame >= self.frames) {
            return Err(DecodeError::FrameOutside { frame, frames: self.frames });
        }
        let mut together = frames.len();
        if self.reference == Reference::Key
            && frames.len() % LANES <= ALONE
            && (0..self.model.tiles.len()).all(&is_wanted)
        {
            together -= frames.len() % LANES;
        }
        let (frames, alone) = frames.split_at(together);
        let decode = |group: TileGroup<'_>| vectorized!(simd => group.decode(simd));
        self.read_by(decode, streams, grid, (frames, is_wanted), out, layout)?;
        if !alone.is_empty() {
            let mut points = try_zeroed(3 * self.model.atoms.len() + 1)?;
            let mut residuals = try_zeroed(self.model.tiles.len() * TILE)?;
            for (index, &frame) in alone.iter().enumerate() {
                let start = layout.start + (together + index) * layout.frame_bytes;
                let out = out.get_mut(start..).unwrap_or_default();
                self.decode_frame(streams, grid, frame, &mut residuals, &mut points, out);
            }
        }
        Ok(())
    }

    /// Decodes one frame.
    fn decode_frame(
        &self,
        streams: Excerpt<'_>,
        grid: Option<Grid>,
        frame: usize,
        residuals: &mut [Residuals],
        points: &mut [f32],
        out: &mut [u8],
    ) {
        let tiles = self.model.tiles.len();
        let of_frame = frame * tiles..(frame + 1) * tiles;
        let ModelLayout { atoms, tiles: layouts, tables } = &self.model;
        let (schedule, steps) = self.plan.get_or_init(|| {
            Box::new((Schedule::of(atoms, self.domain), Steps::of(atoms, layouts)))
        });
        let has_keys = self.has_keys();
        let key = if has_keys { self.reference.of(frame, self.frames) } else { None };
        for (eight, out) in residuals.chunks_mut(LANES * TILE).enumerate() {
            let starts = |frame: usize, is_key: bool| {
                let mut starts = Starts::default();
                let tiles = self.model.tiles.iter().enumerate().skip(eight * LANES).take(LANES);
                for (lane, (number, tile)) in tiles.enumerate() {
                    let fields = if is_key { tile.key_field_bytes } else { tile.field_bytes };
                    starts.fields[lane] = streams.place(self.start(frame, number));
                    starts.symbols[lane] = starts.fields[lane].wrapping_add(fields as u32);
                }
                starts
            };
            let (own, key) = match key {
                Some(key) => (Some(starts(frame, false)), Some(starts(key, true))),
                None if has_keys => (None, Some(starts(frame, true))),
                None => (Some(starts(frame, false)), None),
            };
            let strings = FrameStrings { steps, eight, streams: streams.bytes, tables, own, key };
            vectorized!(simd => strings.read(simd, out));
        }
        let decoder = FrameDecoder {
            schedule,
            model: &self.model,
            residuals,
            grid,
            streams: streams.bytes,
            first: streams.first,
            lower: self.lower.get(of_frame).unwrap_or_default(),
            points,
            out,
        };
        vectorized!(simd => decoder.decode(simd));
    }

    fn has_keys(&self) -> bool {
        self.model.tiles.iter().any(|tile| tile.has_keys)
    }

    fn atoms_of(&self, tile: usize) -> &[AtomLayout] {
        &self.model.atoms[tile * TILE..self.model.atoms.len().min((tile + 1) * TILE)]
    }

    /// Where a tile of a frame begins.
    fn start(&self, frame: usize, tile: usize) -> usize {
        match self.frame_bytes {
            Some(bytes) => frame * bytes + self.starts[tile] as usize,
            None => self.starts[frame * self.model.tiles.len() + tile] as usize,
        }
    }

    fn read_by(
        &self,
        decode: impl Fn(TileGroup<'_>),
        streams: Excerpt<'_>,
        grid: Option<Grid>,
        (frames, is_wanted): (&[usize], impl Fn(usize) -> bool),
        out: &mut [u8],
        layout: OutputLayout,
    ) -> Result<(), DecodeError> {
        let mut points = [[Lanes::ZERO; 3]; TILE];
        let [mut read, mut keys] = [[[[0; LANES]; 4]; TILE]; 2];
        for (number, tile) in self.model.tiles.iter().enumerate() {
            if !is_wanted(number) {
                continue;
            }
            let atoms = self.atoms_of(number);
            let first = layout.start + number * TILE * ROW;
            let is_in_turn = tile.has_keys && self.reference == Reference::Before;
            let mut in_turn = is_in_turn.then(|| InTurn::new(atoms));
            for (group, frames) in frames.chunks(LANES).enumerate() {
                let lanes: [usize; LANES] =
                    std::array::from_fn(|lane| frames[lane.min(frames.len() - 1)]);
                let predicted_from = match (tile.has_keys, self.reference) {
                    (true, Reference::Key) => self.key_frames(streams, number, &lanes, &mut keys),
                    _ => PredictedFrom::Nothing,
                };
                let strings = Strings {
                    atoms,
                    tile,
                    streams: streams.bytes,
                    starts: lanes.map(|frame| streams.place(self.start(frame, number))),
                    tables: &self.model.tables,
                    predicted_from,
                    in_turn: in_turn.as_mut(),
                    is_key: lanes.map(|frame| tile.has_keys && self.is_key(frame)),
                    read: &mut read,
                };
                let output = Output {
                    atoms,
                    tile,
                    grid,
                    streams: streams.bytes,
                    lower: lanes.map(|frame| {
                        let at = frame * self.model.tiles.len() + number;
                        self.lower.get(at).map_or(0, |&start| streams.place(start as usize))
                    }),
                    points: &mut points,
                    out: &mut *out,
                    rows: std::array::from_fn(|lane| {
                        first + (group * LANES + lane) * layout.frame_bytes
                    }),
                    count: frames.len(),
                };
                decode(TileGroup { strings, output });
            }
        }
        Ok(())
    }

    fn is_key(&self, frame: usize) -> bool {
        self.reference.of(frame, self.frames).is_none()
    }

    /// What these frames are predicted from; reads the key frames where these are not among them.
    fn key_frames<'a>(
        &self,
        streams: Excerpt<'_>,
        number: usize,
        lanes: &[usize; LANES],
        read: &'a mut [ResidualLanes; TILE],
    ) -> PredictedFrom<'a> {
        let keys = lanes.map(|frame| self.reference.of(frame, self.frames).unwrap_or(frame));
        if keys == [keys[0]; LANES]
            && let Some(lane) = lanes.iter().position(|&frame| frame == keys[0])
        {
            return PredictedFrom::Lane(lane);
        }
        let mut strings = Strings {
            atoms: self.atoms_of(number),
            tile: &self.model.tiles[number],
            streams: streams.bytes,
            starts: keys.map(|key| streams.place(self.start(key, number))),
            tables: &self.model.tables,
            predicted_from: PredictedFrom::Nothing,
            in_turn: None,
            is_key: [true; LANES],
            read: &mut *read,
        };
        vectorized!(simd => strings.read_residuals(simd));
        PredictedFrom::Keys(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a tile with the vectors that all machines of this kind have.
    fn by_baseline(group: TileGroup<'_>) {
        let level = fearless_simd::Level::baseline();
        #[cfg(target_arch = "x86_64")]
        level.as_sse2().map(|simd| group.decode(simd)).unwrap();
        #[cfg(not(target_arch = "x86_64"))]
        fearless_simd::dispatch!(level, simd => group.decode(simd));
    }

    impl Decoder {
        /// Decodes all frames so.
        pub fn read_by_baseline(&self, streams: &[u8], grid: Option<Grid>, out: &mut [u8]) {
            let frames: Vec<usize> = (0..self.frames).collect();
            let layout = OutputLayout { start: 0, frame_bytes: self.model.atoms.len() * ROW };
            let frames = (&frames[..], |_| true);
            self.read_by(by_baseline, streams.into(), grid, frames, out, layout).unwrap();
        }
    }
}
