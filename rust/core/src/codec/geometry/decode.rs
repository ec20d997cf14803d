//! Reading frames: any of them, and any tile of atoms in them.

use std::ops::Range;

use once_cell::race::OnceBox;

use super::atoms::{Atom, Atoms, read_model};
use super::bits::{Bits, PADDING};
use super::constraint::{Choice, Kind, place};
use super::courses::Courses;
use super::integers::Integers;
use super::lanes::{LANES, Lanes, Vector, load, three, words_at};
use super::model::TILE;
use super::numbers::Numbers;
use super::restore::{RestoreCourses, RestoreFloats, RestoreGrid};
use super::single::{Plan, Single, SingleFloats};
use super::widest::{Job, widest};
use crate::codec::grid::Grid;
use crate::error::DecodeError;
use crate::memory::try_zeroed;

/// Bytes of the three coordinates of an atom.
pub const ROW: usize = 12;
/// Frames that are faster decoded one by one than together.
const ALONE: usize = 2;

/// A model that has been read and checked, and where the frames are.
#[derive(Debug)]
pub struct Decoder {
    atoms: Vec<Atom>,
    centres: Vec<[f32; 3]>,
    frames: usize,
    streams: Streams,
    /// The upper parts of what is left, where the fields hold the lower parts only.
    courses: Option<Courses>,
    /// How single frames are decoded, once one was.
    plan: OnceBox<Plan>,
}

/// Where each tile of each frame begins.
#[derive(Debug)]
enum Streams {
    /// Frames of equal length, in which every atom has its bit.
    Equal(usize),
    /// Tile after tile, frame after frame.
    Listed(Vec<u32>),
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

/// Where rows of decoded frames go.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The byte of the first row of the first frame.
    pub start: usize,
    /// Bytes from one frame to the next.
    pub frame_bytes: usize,
}

impl Decoder {
    /// Reads the model of frames on a grid at the beginning of `bytes`; answers it with what follows,
    /// the streams.
    pub fn of_grid(bytes: &[u8], frames: usize, rows: usize) -> Result<(Self, &[u8]), DecodeError> {
        let mut bit = 0;
        let (Atoms { atoms, centres }, streams) =
            read_model(bytes, rows, Numbers::Grid, |placement| {
                let first = bit;
                bit += u64::from(placement.bits());
                first as u32
            })?;
        let frame_bytes = bit.div_ceil(8) as usize;
        if streams.len() != frames * frame_bytes + PADDING {
            return Err(DecodeError::SectionSize {
                section: "frames",
                expected: (frames * frame_bytes + PADDING) as u64,
                found: streams.len() as u64,
            });
        }
        let plan = OnceBox::new();
        let decoder = Self {
            atoms,
            centres,
            frames,
            streams: Streams::Equal(frame_bytes),
            courses: None,
            plan,
        };
        Ok((decoder, streams))
    }

    /// The same of frames of floats.
    pub fn of_floats(
        bytes: &[u8],
        frames: usize,
        rows: usize,
    ) -> Result<(Self, &[u8]), DecodeError> {
        let (Atoms { atoms, centres }, rest) = read_model(bytes, rows, Numbers::Floats, |_| 0)?;
        let tiles = centres.len();
        let lengths_cut_short = DecodeError::CutShort { section: "list of lengths" };
        let (lengths, streams) =
            rest.split_at_checked(2 * tiles * frames).ok_or(lengths_cut_short)?;
        let mut starts = Vec::with_capacity(tiles * frames);
        let mut start = 0u32;
        for length in lengths.chunks_exact(2) {
            starts.push(start);
            start = start.saturating_add(u32::from(u16::from_le_bytes([length[0], length[1]])));
        }
        if streams.len() as u64 != u64::from(start) + PADDING as u64 {
            return Err(DecodeError::SectionSize {
                section: "frames",
                expected: u64::from(start) + PADDING as u64,
                found: streams.len() as u64,
            });
        }
        let plan = OnceBox::new();
        let decoder =
            Self { atoms, centres, frames, streams: Streams::Listed(starts), courses: None, plan };
        Ok((decoder, streams))
    }

    /// With the packed courses of an archive.
    pub fn with_courses(mut self, packed: &[u8]) -> Result<Self, DecodeError> {
        let kinds: Vec<Kind> = self.atoms.iter().map(|atom| atom.kind).collect();
        self.courses = Some(Courses::unpack(packed, &kinds, self.frames)?);
        Ok(self)
    }

    /// Which bytes of the streams decode a frame: its own, and those that the word at its end
    /// reads beyond. The end of the last one may lie beyond all.
    pub fn frame_range(&self, frame: usize) -> Option<Range<usize>> {
        if frame >= self.frames {
            return None;
        }
        let tiles = self.centres.len();
        let end = match &self.streams {
            Streams::Equal(frame_bytes) => (frame + 1) * frame_bytes,
            Streams::Listed(starts) => {
                starts.get((frame + 1) * tiles).map_or(usize::MAX, |&start| start as usize)
            }
        };
        let start = if tiles > 0 { self.start(frame, 0) } else { 0 };
        Some(start..end.saturating_add(PADDING))
    }

    /// Where a tile of a frame begins.
    fn start(&self, frame: usize, tile: usize) -> usize {
        match &self.streams {
            Streams::Equal(frame_bytes) => frame * frame_bytes,
            Streams::Listed(starts) => starts[frame * self.centres.len() + tile] as usize,
        }
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        let starts = match &self.streams {
            Streams::Equal(_) => 0,
            Streams::Listed(starts) => size_of_val(starts.as_slice()),
        };
        let courses = self.courses.as_ref().map_or(0, Courses::memory);
        // Where frames are decoded alone, each atom is in a plan, too.
        self.atoms.len() * (size_of::<Atom>() + size_of::<u32>()) + starts + courses
    }

    /// Decodes some frames, on a grid where they are, in the order they are named, one after the other in `out`; of each the
    /// tiles that are wanted, the others are left as they are.
    pub fn read<'a>(
        &self,
        streams: impl Into<Excerpt<'a>>,
        grid: Option<Grid>,
        frames: &[usize],
        is_wanted: impl Fn(usize) -> bool,
        out: &mut [u8],
        place: Place,
    ) -> Result<(), DecodeError> {
        let streams = streams.into();
        let alone = match grid {
            Some(_) => ALONE,
            None => 1,
        };
        let is_whole = || (0..self.centres.len()).all(&is_wanted);
        if self.courses.is_none()
            && frames.len() <= alone
            && frames.iter().all(|&frame| frame < self.frames)
            && is_whole()
        {
            let mut points = try_zeroed(self.atoms.len())?;
            for (index, &frame) in frames.iter().enumerate() {
                let start = place.start + index * place.frame_bytes;
                let out = out.get_mut(start..).unwrap_or_default();
                self.read_alone(streams, grid, frame, &mut points, out)?;
            }
            return Ok(());
        }
        self.read_by(|group| widest(group), streams, grid, (frames, is_wanted), out, place)
    }

    /// Decodes one frame.
    fn read_alone(
        &self,
        streams: Excerpt<'_>,
        grid: Option<Grid>,
        frame: usize,
        points: &mut [[f32; 3]],
        out: &mut [u8],
    ) -> Result<(), DecodeError> {
        let (atoms, centres) = (&self.atoms[..], &self.centres[..]);
        match (&self.streams, grid) {
            (Streams::Equal(frame_bytes), Some(grid)) => {
                let plan = self.plan.get_or_init(|| Box::new(Plan::of(atoms)));
                let start = (frame * frame_bytes).checked_sub(streams.first);
                let stream = start.and_then(|start| streams.bytes.get(start..));
                let stream = stream.ok_or(DecodeError::TooShort)?;
                widest(Single { plan, atoms, centres, grid, stream, points, out });
            }
            (Streams::Listed(starts), _) => {
                let plan = self.plan.get_or_init(|| Box::new(Plan::side_by_side(atoms)));
                let starts = &starts[frame * centres.len()..(frame + 1) * centres.len()];
                let Excerpt { first, bytes: streams } = streams;
                widest(SingleFloats { plan, atoms, centres, streams, first, starts, points, out });
            }
            (Streams::Equal(_), None) => {
                return Err(DecodeError::NoGrid);
            }
        }
        Ok(())
    }

    fn read_by(
        &self,
        decode: impl Fn(Group<'_>),
        streams: Excerpt<'_>,
        grid: Option<Grid>,
        (frames, is_wanted): (&[usize], impl Fn(usize) -> bool),
        out: &mut [u8],
        place: Place,
    ) -> Result<(), DecodeError> {
        if let Some(&frame) = frames.iter().find(|&&frame| frame >= self.frames) {
            return Err(DecodeError::FrameOutside { frame, frames: self.frames });
        }
        for (tile, (atoms, centre)) in self.atoms.chunks(TILE).zip(&self.centres).enumerate() {
            if !is_wanted(tile) {
                continue;
            }
            let mut points = [[Lanes::all(0.0); 3]; TILE];
            let first = place.start + tile * TILE * ROW;
            for (group, frames) in frames.chunks(LANES).enumerate() {
                let last = frames[frames.len() - 1];
                decode(Group {
                    atoms,
                    centre,
                    grid,
                    streams: streams.bytes,
                    bytes: std::array::from_fn(|lane| {
                        let frame = frames.get(lane).copied().unwrap_or(last);
                        self.start(frame, tile).wrapping_sub(streams.first) as i32
                    }),
                    courses: self.courses.as_ref().map(|courses| Wanted {
                        courses,
                        first: tile * TILE,
                        is_run: frames.is_sorted_by(|one, next| one + 1 == *next),
                        frames: std::array::from_fn(|lane| {
                            frames.get(lane).copied().unwrap_or(last)
                        }),
                    }),
                    points: &mut points,
                    out: &mut *out,
                    starts: std::array::from_fn(|lane| {
                        first + (group * LANES + lane) * place.frame_bytes
                    }),
                    count: frames.len(),
                });
            }
        }
        Ok(())
    }
}

/// A tile in up to eight frames.
struct Group<'a> {
    atoms: &'a [Atom],
    centre: &'a [f32; 3],
    grid: Option<Grid>,
    /// Frames, among them these.
    streams: &'a [u8],
    /// Where each of these begins.
    bytes: [i32; LANES],
    courses: Option<Wanted<'a>>,
    /// The atoms that have been decoded, in grid units.
    points: &'a mut [[Lanes; 3]; TILE],
    out: &'a mut [u8],
    /// Where the tile begins in each frame of `out`.
    starts: [usize; LANES],
    /// How many frames are wanted; the lanes beyond repeat the last one.
    count: usize,
}

/// The courses of an archive, and what of them is wanted.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    courses: &'a Courses,
    /// The first atom of the tile.
    first: usize,
    frames: [usize; LANES],
    /// Whether they follow each other.
    is_run: bool,
}

impl Wanted<'_> {
    /// The upper parts of the three components of an atom.
    #[inline(always)]
    fn of(&self, atom: usize) -> [[i32; LANES]; 3] {
        self.courses.of(self.first + atom, &self.frames, self.is_run)
    }
}

impl Job for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.grid {
            None => self.decode_floats::<V>(),
            Some(Grid::Divided(scale)) => {
                let scale = V::all(scale as f32);
                self.decode::<V>(
                    #[inline(always)]
                    |k| k.over(scale),
                );
            }
            Some(Grid::Multiplied(scale)) => {
                let step = V::all(1.0 / scale as f32);
                self.decode::<V>(
                    #[inline(always)]
                    |k| k.times(step),
                );
            }
            Some(Grid::MultipliedThenTen(scale)) => {
                let (step, ten) = (V::all(1.0 / scale as f32), V::all(10.0));
                self.decode::<V>(
                    #[inline(always)]
                    |k| k.times(step).times(ten),
                );
            }
            Some(Grid::Rounded(spacing)) => self.decode::<V>(
                #[inline(always)]
                |k| k.times_wide(spacing),
            ),
        }
    }
}

impl Group<'_> {
    #[inline(always)]
    fn decode<V: Vector>(self, float: impl Fn(V) -> V) {
        let centre = self.middle::<V>();
        for (index, atom) in self.atoms.iter().enumerate().take(TILE) {
            let near = self.near(atom, &centre);
            let byte = (atom.bit >> 3) as i32;
            let starts = std::array::from_fn(
                #[inline(always)]
                |lane| self.bytes[lane].wrapping_add(byte),
            );
            let words = V::words(words_at(self.streams, &starts));
            let first = atom.bit & 7;
            let widths = three(
                #[inline(always)]
                |i| u32::from(atom.widths[i]),
            );
            let shifts = [first, first + widths[0], first + widths[0] + widths[1]];
            let choice = Choice::of_field(atom.kind, words, shifts[2] + widths[2]);
            let point = if let Some(wanted) = &self.courses {
                let mut restore = RestoreCourses { upper: wanted.of(index) };
                place(atom.kind, &near, &atom.rule(), &choice, &mut restore)
            } else {
                let mut restore = RestoreGrid::<V> { words, shifts, widths };
                place(atom.kind, &near, &atom.rule(), &choice, &mut restore)
            };
            self.points[index] = [point[0].lanes(), point[1].lanes(), point[2].lanes()];
            let rows = V::rows([float(point[0]), float(point[1]), float(point[2])]);
            write(self.out, &self.starts, self.count, index, &rows);
        }
    }

    #[inline(always)]
    fn decode_floats<V: Vector>(self) {
        let centre = self.middle::<V>();
        let mut bits = Bits::<V>::at(self.streams, V::Integers::load(&self.bytes));
        for (index, atom) in self.atoms.iter().enumerate().take(TILE) {
            let near = self.near(atom, &centre);
            let choice = bits.choice(atom.kind, V::Integers::all(-1));
            let upper = self.courses.as_ref().map(|wanted| wanted.of(index));
            let mut restore = RestoreFloats { atom, bits: &mut bits, upper };
            let point = place(atom.kind, &near, &atom.rule(), &choice, &mut restore);
            self.points[index] = [point[0].lanes(), point[1].lanes(), point[2].lanes()];
            write(self.out, &self.starts, self.count, index, &V::rows(point));
        }
    }

    #[inline(always)]
    fn middle<V: Vector>(&self) -> [V; 3] {
        three(
            #[inline(always)]
            |i| V::all(self.centre[i]),
        )
    }

    /// What an atom is placed from.
    #[inline(always)]
    fn near<V: Vector>(&self, atom: &Atom, centre: &[V; 3]) -> [[V; 3]; 3] {
        match atom.kind {
            Kind::Free => [*centre; 3],
            _ => three(
                #[inline(always)]
                |i| load(&self.points[usize::from(atom.near[i])]),
            ),
        }
    }
}

#[inline(always)]
fn write(
    out: &mut [u8],
    starts: &[usize; LANES],
    count: usize,
    index: usize,
    rows: &[[f32; 4]; LANES],
) {
    for lane in 0..LANES.min(count) {
        let start = starts[lane] + index * ROW;
        if let Some(row) = out.get_mut(start..start + ROW) {
            for i in 0..3 {
                row[4 * i..4 * i + 4].copy_from_slice(&rows[lane][i].to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
impl Decoder {
    /// Decodes all frames in portable code.
    pub fn read_portably(&self, streams: &[u8], grid: Option<Grid>, out: &mut [u8]) {
        let frames: Vec<usize> = (0..self.frames).collect();
        let place = Place { start: 0, frame_bytes: self.atoms.len() * ROW };
        let decode = |group: Group<'_>| group.run::<Lanes>();
        self.read_by(decode, streams.into(), grid, (&frames, |_| true), out, place).unwrap();
    }
}
