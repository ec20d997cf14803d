//! Reading frames: any of them, and any tile of atoms in them.

use super::bits::{PADDING, bias, word};
use super::constraint::{Choice, Kind, Rule, Settle, Turn, place};
use super::lanes::{LANES, Lanes, Vector, load, three};
use super::model::{Model, TILE};
use super::widest::{Job, widest};
use crate::codec::grid::Grid;

/// Bytes of the three coordinates of an atom.
const ROW: usize = 12;

/// An atom, ready to be decoded.
#[derive(Debug)]
struct Atom {
    kind: Kind,
    /// The atoms it is placed from, in its tile.
    near: [u8; 3],
    widths: [u8; 3],
    /// Where its bits are in each frame.
    bit: u32,
    coefficients: [f32; 3],
    square: f32,
    product: f32,
}

/// A model that has been read and checked, and what frames are read with.
#[derive(Debug)]
pub struct Decoder {
    atoms: Vec<Atom>,
    centres: Vec<[i32; 3]>,
    frames: usize,
    frame_bytes: usize,
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
    /// Reads the model at the beginning of `bytes`; answers it with what follows, the streams.
    pub fn open(bytes: &[u8], frames: usize, rows: usize) -> Result<(Self, &[u8]), String> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or("it is too short")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (packed, streams) = rest.split_at_checked(length).ok_or("its model is cut short")?;
        let model = Model::parse(packed, rows)?;
        let frame_bytes = model.frame_bytes();
        if streams.len() != frames * frame_bytes + PADDING {
            return Err("it does not have the bytes that its model needs".into());
        }
        let mut bit = 0;
        let atom = |(index, placement): (usize, &super::model::Placement)| {
            let (square, product) = placement.square_and_product();
            let atom = Atom {
                kind: placement.kind,
                near: placement.back.map(|back| (index % TILE) as u8 - back),
                widths: placement.widths,
                bit,
                coefficients: placement.coefficients.map(super::model::widened),
                square,
                product,
            };
            bit += placement.bits();
            atom
        };
        let atoms = model.placements.iter().enumerate().map(atom).collect();
        Ok((Self { atoms, centres: model.centres, frames, frame_bytes }, streams))
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.atoms.len() * size_of::<Atom>()
    }

    /// Decodes some frames, in the order they are named, one after the other in `out`; of each the
    /// tiles that are wanted, the others are left as they are.
    pub fn read(
        &self,
        streams: &[u8],
        grid: Grid,
        frames: &[usize],
        is_wanted: impl Fn(usize) -> bool,
        out: &mut [u8],
        place: Place,
    ) -> Result<(), String> {
        self.read_by(|group| widest(group), streams, grid, (frames, is_wanted), out, place)
    }

    fn read_by(
        &self,
        decode: impl Fn(Group<'_>),
        streams: &[u8],
        grid: Grid,
        (frames, is_wanted): (&[usize], impl Fn(usize) -> bool),
        out: &mut [u8],
        place: Place,
    ) -> Result<(), String> {
        if frames.iter().any(|&frame| frame >= self.frames) {
            return Err("a frame was asked for that is not there".into());
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
                    streams: std::array::from_fn(|lane| {
                        let frame = frames.get(lane).copied().unwrap_or(last);
                        &streams[frame * self.frame_bytes..]
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
    centre: &'a [i32; 3],
    grid: Grid,
    /// The bits of each frame.
    streams: [&'a [u8]; LANES],
    /// The atoms that have been decoded, in grid units.
    points: &'a mut [[Lanes; 3]; TILE],
    out: &'a mut [u8],
    /// Where the tile begins in each frame of `out`.
    starts: [usize; LANES],
    /// How many frames are wanted; the lanes beyond repeat the last one.
    count: usize,
}

impl Job for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.grid {
            Grid::Divided(scale) => {
                let scale = V::all(scale as f32);
                self.decode::<V>(
                    #[inline(always)]
                    |k| k.over(scale),
                );
            }
            Grid::Multiplied(scale) => {
                let step = V::all(1.0 / scale as f32);
                self.decode::<V>(
                    #[inline(always)]
                    |k| k.times(step),
                );
            }
            Grid::MultipliedThenTen(scale) => {
                let (step, ten) = (V::all(1.0 / scale as f32), V::all(10.0));
                self.decode::<V>(
                    #[inline(always)]
                    |k| k.times(step).times(ten),
                );
            }
            Grid::Rounded(spacing) => self.decode::<V>(
                #[inline(always)]
                |k| k.times_wide(spacing),
            ),
        }
    }
}

impl Group<'_> {
    #[inline(always)]
    fn decode<V: Vector>(self, float: impl Fn(V) -> V) {
        let centre = three(
            #[inline(always)]
            |i| V::all(self.centre[i] as f32),
        );
        for (index, atom) in self.atoms.iter().enumerate().take(TILE) {
            let near = match atom.kind {
                Kind::Free => [centre; 3],
                _ => three(
                    #[inline(always)]
                    |i| load(&self.points[usize::from(atom.near[i])]),
                ),
            };
            let mut words = [0; LANES];
            for lane in 0..LANES {
                words[lane] = word(self.streams[lane], atom.bit);
            }
            let point = decode_atom::<V>(atom, &near, V::words(words));
            self.points[index] = [point[0].lanes(), point[1].lanes(), point[2].lanes()];
            let rows = V::rows([float(point[0]), float(point[1]), float(point[2])]);
            for lane in 0..LANES.min(self.count) {
                let start = self.starts[lane] + index * ROW;
                if let Some(row) = self.out.get_mut(start..start + ROW) {
                    for i in 0..3 {
                        row[4 * i..4 * i + 4].copy_from_slice(&rows[lane][i].to_le_bytes());
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn decode_atom<V: Vector>(atom: &Atom, near: &[[V; 3]; 3], words: V::Words) -> [V; 3] {
    let widths = three(
        #[inline(always)]
        |i| u32::from(atom.widths[i]),
    );
    let shifts = [0, widths[0], widths[0] + widths[1]];
    let end = shifts[2] + widths[2];
    let choice = Choice {
        axis: V::field(words, end + 1, 2, 0),
        side: V::field(words, end, 1, 0).above(V::all(0.0)),
    };
    let rule = Rule {
        coefficients: three(
            #[inline(always)]
            |i| V::all(atom.coefficients[i]),
        ),
        square: V::all(atom.square),
        product: V::all(atom.product),
    };
    place(atom.kind, near, &rule, &choice, &mut Restore::<V> { words, shifts, widths })
}

/// Answers with what is predicted and what was noted.
struct Restore<V: Vector> {
    words: V::Words,
    shifts: [u32; 3],
    widths: [u32; 3],
}

impl<V: Vector> Settle<V> for Restore<V> {
    #[inline(always)]
    fn settle(&mut self, slot: usize, _: &Turn<V>, _: usize, predicted: V) -> V {
        let width = self.widths[slot];
        predicted.rounded().plus(V::field(self.words, self.shifts[slot], width, bias(width)))
    }
}

#[cfg(test)]
impl Decoder {
    /// Decodes all frames in portable code.
    pub fn read_portably(&self, streams: &[u8], grid: Grid, out: &mut [u8]) {
        let frames: Vec<usize> = (0..self.frames).collect();
        let place = Place { start: 0, frame_bytes: self.atoms.len() * ROW };
        let decode = |group: Group<'_>| group.run::<Lanes>();
        self.read_by(decode, streams, grid, (&frames, |_| true), out, place).unwrap();
    }
}
