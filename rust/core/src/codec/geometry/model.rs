//! What is known of each atom for all frames: how it is placed, and how many bits the rest takes.
//!
//! Stored plane by plane (all kinds, all first references, …) and packed by zstd: molecules that
//! repeat, like water, repeat in every plane and cost next to nothing.

use std::cell::RefCell;
use std::io::Write;

use zstd::bulk::Decompressor;

use super::bits::MOST;
use super::constraint::{Kind, Rule};
use super::lanes::{LARGEST, Vector, three};
use super::numbers::Numbers;
use crate::codec::value::Value;
use crate::error::{AtomProblem, DecodeError};
use crate::memory::try_reserve;

/// Atoms that are placed from each other. More would find slightly better references; fewer decode
/// with less when only some atoms are wanted.
pub const TILE: usize = 256;
/// The most bits of one coordinate on a grid.
pub const MOST_WIDTH: u8 = 20;
/// Bytes of the model of one atom at most, before zstd.
const MOST_BYTES: usize = 1 + 3 + 3 * 4 + 3 * 4 + 3;
/// Bytes of the middle of a tile.
const CENTRE_BYTES: usize = 12;

/// How an atom is placed, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// The way.
    pub kind: Kind,
    /// The atoms it is placed from, as how far they come before it; 0 where it needs fewer.
    pub back: [u8; 3],
    /// The numbers of its template.
    pub coefficients: [f32; 3],
    /// To `a`, from `a` to `b`, to `b`.
    pub distances: [f32; 3],
    /// Bits of each coordinate; where the numbers are floats, its level (see `numbers`).
    pub widths: [u8; 3],
}

impl Placement {
    /// Placed by itself.
    pub const FREE: Self = Self {
        kind: Kind::Free,
        back: [0; 3],
        coefficients: [0.0; 3],
        distances: [0.0; 3],
        widths: [0; 3],
    };

    /// Bits in each frame.
    pub fn bits(&self) -> u32 {
        self.widths.iter().map(|&width| u32::from(width)).sum::<u32>() + self.kind.choice_bits()
    }

    /// The squared distance to `a`, and `(x − a) · (b − a)`.
    pub fn square_and_product(&self) -> (f32, f32) {
        let [to_a, between, to_b] = self.distances.map(|distance| distance * distance);
        (to_a, ((to_a + between) - to_b) * 0.5)
    }

    /// What places the atom in all frames alike.
    #[inline(always)]
    pub fn rule<V: Vector>(&self) -> Rule<V> {
        let (square, product) = self.square_and_product();
        Rule {
            coefficients: three(
                #[inline(always)]
                |i| V::all(self.coefficients[i]),
            ),
            square: V::all(square),
            product: V::all(product),
        }
    }

    fn check(&self, index: usize, numbers: Numbers) -> Result<(), DecodeError> {
        let used = &self.back[..self.kind.references()];
        if used.iter().any(|&back| back == 0 || usize::from(back) > index) {
            return Err(DecodeError::Atom { atom: index, problem: AtomProblem::Reference });
        }
        let is_narrow = match numbers {
            Numbers::Grid => self.bits() <= MOST && self.widths.iter().all(|&w| w <= MOST_WIDTH),
            Numbers::Floats => self.kind != Kind::Free || self.widths.iter().all(|&w| w <= 32),
        };
        if !is_narrow {
            return Err(DecodeError::Atom { atom: index, problem: AtomProblem::Width });
        }
        if self.coefficients.iter().chain(&self.distances).any(|number| !number.is_finite()) {
            return Err(DecodeError::Atom { atom: index, problem: AtomProblem::Coefficient });
        }
        Ok(())
    }
}

/// The placements of all atoms, and the middle of each tile.
#[derive(Debug, PartialEq)]
pub struct Model {
    /// One for each atom.
    pub placements: Vec<Placement>,
    /// One for each tile.
    pub centres: Vec<[f32; 3]>,
}

impl Model {
    /// Bytes of one frame on a grid.
    pub fn frame_bytes(&self) -> usize {
        let bits: u64 = self.placements.iter().map(|placement| u64::from(placement.bits())).sum();
        bits.div_ceil(8) as usize
    }

    /// The model, packed.
    pub fn encode(&self, level: i32) -> Option<Vec<u8>> {
        let atoms = self.placements.len();
        let plane = || Vec::with_capacity(atoms);
        let mut kinds: Vec<u8> = plane();
        let mut back: [Vec<u8>; 3] = [plane(), plane(), plane()];
        let mut coefficients: [FloatPlanes; 3] = std::array::from_fn(|_| FloatPlanes::default());
        let mut distances: [FloatPlanes; 3] = std::array::from_fn(|_| FloatPlanes::default());
        let mut widths: [Vec<u8>; 3] = [plane(), plane(), plane()];
        for placement in &self.placements {
            let kind = placement.kind;
            kinds.push(kind as u8);
            let used = back.iter_mut().zip(placement.back).take(kind.references());
            used.for_each(|(plane, back)| plane.push(back));
            let used = coefficients.iter_mut().zip(placement.coefficients);
            used.take(kind.coefficients()).for_each(|(planes, float)| planes.push(float));
            let used = distances.iter_mut().zip(placement.distances);
            used.take(kind.distances()).for_each(|(planes, float)| planes.push(float));
            widths.iter_mut().zip(placement.widths).for_each(|(plane, width)| plane.push(width));
        }
        let middles = self.centres.iter().flatten();
        let middles: Vec<u8> = middles.flat_map(|middle| middle.to_le_bytes()).collect();
        let planes = [kinds].into_iter().chain(back);
        let planes = planes.chain(coefficients.into_iter().flat_map(|planes| planes.0));
        let planes = planes.chain(distances.into_iter().flat_map(|planes| planes.0));
        let planes = planes.chain(widths).chain([middles]);
        let mut packer = zstd::stream::write::Encoder::new(Vec::new(), level).ok()?;
        let planes: Vec<Vec<u8>> = planes.filter(|plane| !plane.is_empty()).collect();
        // Else zstd makes room for what may be endless: 94 MB at the level of archives.
        let bytes = planes.iter().map(|plane| plane.len() as u64).sum();
        packer.set_pledged_src_size(Some(bytes)).ok()?;
        for plane in planes {
            // Each begins a block, so that it is packed by what is frequent in it.
            packer.write_all(&plane).and_then(|()| packer.flush()).ok()?;
        }
        packer.finish().ok()
    }

    /// The model of so many atoms, every number of it checked.
    #[cfg(test)]
    pub fn parse(packed: &[u8], atoms: usize, numbers: Numbers) -> Result<Self, DecodeError> {
        let mut placements = Vec::with_capacity(atoms);
        let centres = parse(packed, atoms, numbers, |placement| placements.push(*placement))?;
        Ok(Self { placements, centres })
    }
}

thread_local! {
    /// What zstd needs to unpack, which takes longer to make than many a model to unpack.
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, DecodeError> {
    UNPACKER.with_borrow_mut(|kept| {
        let unpacker = match kept {
            Some(unpacker) => unpacker,
            None => kept.insert(Decompressor::new().map_err(DecodeError::zstd)?),
        };
        // What the frame says of its size is checked against what the atoms need at most.
        let bytes = Decompressor::upper_bound(packed).map_or(most, |bytes| bytes.min(most));
        let mut model = try_reserve(bytes)?;
        unpacker.decompress_to_buffer(packed, &mut model).map_err(DecodeError::zstd)?;
        Ok(model)
    })
}

/// Hands on the placements of so many atoms, every number of them checked; answers with the middles of tiles.
pub fn parse(
    packed: &[u8],
    atoms: usize,
    numbers: Numbers,
    mut take: impl FnMut(&Placement),
) -> Result<Vec<[f32; 3]>, DecodeError> {
    let tiles = atoms.div_ceil(TILE);
    let bytes = unpack(packed, atoms * MOST_BYTES + tiles * CENTRE_BYTES)?;
    let mut rest = bytes.as_slice();
    let mut plane = |length: usize| {
        let (plane, after) =
            rest.split_at_checked(length).ok_or(DecodeError::CutShort { section: "model" })?;
        rest = after;
        Ok::<_, DecodeError>(plane)
    };
    let kinds = plane(atoms)?;
    let mut of_number = [0; 256];
    kinds.iter().for_each(|&number| of_number[usize::from(number)] += 1);
    let (of_kind, unknown) = of_number.split_at(Kind::ALL.len());
    if let Some(above) = unknown.iter().position(|&count| count > 0) {
        let found = (of_kind.len() + above) as u8;
        return Err(DecodeError::Unknown { what: "kind of atom", found });
    }
    // How many atoms have an `i`th of what a kind may need.
    let count = |needed: fn(Kind) -> usize, i: usize| -> usize {
        let kinds = Kind::ALL.into_iter().zip(of_kind);
        kinds.filter(|&(kind, _)| i < needed(kind)).map(|(_, count)| count).sum()
    };
    let mut back = [
        plane(count(Kind::references, 0))?.iter(),
        plane(count(Kind::references, 1))?.iter(),
        plane(count(Kind::references, 2))?.iter(),
    ];
    let mut floats = |needed, i| -> Result<_, DecodeError> {
        let length = count(needed, i);
        let planes = [plane(length)?, plane(length)?, plane(length)?, plane(length)?];
        Ok(floats_of(planes).into_iter())
    };
    let mut coefficients = [
        floats(Kind::coefficients, 0)?,
        floats(Kind::coefficients, 1)?,
        floats(Kind::coefficients, 2)?,
    ];
    let mut distances =
        [floats(Kind::distances, 0)?, floats(Kind::distances, 1)?, floats(Kind::distances, 2)?];
    let widths = [plane(atoms)?, plane(atoms)?, plane(atoms)?];
    for (index, &number) in kinds.iter().enumerate() {
        let kind = Kind::ALL[usize::from(number)];
        let mut placement = Placement { kind, ..Placement::FREE };
        for i in 0..kind.references() {
            placement.back[i] = back[i].next().copied().unwrap_or(0);
        }
        for i in 0..kind.coefficients() {
            placement.coefficients[i] = coefficients[i].next().unwrap_or(0.0);
        }
        for i in 0..kind.distances() {
            placement.distances[i] = distances[i].next().unwrap_or(0.0);
        }
        placement.widths = [widths[0][index], widths[1][index], widths[2][index]];
        placement.check(index % TILE, numbers)?;
        take(&placement);
    }
    let mut centres = Vec::with_capacity(tiles);
    for bytes in plane(tiles * CENTRE_BYTES)?.chunks_exact(CENTRE_BYTES) {
        let middle = |i: usize| f32::from_bits(u32::read(&bytes[4 * i..]));
        let centre = [middle(0), middle(1), middle(2)];
        if !centre.iter().all(|middle| middle.abs() <= LARGEST) {
            return Err(DecodeError::OutOfRange { what: "the centre of a tile" });
        }
        centres.push(centre);
    }
    if !rest.is_empty() {
        return Err(DecodeError::TooLong { section: "bytes of model", limit: "its atoms" });
    }
    Ok(centres)
}

/// The bytes of some floats, the highest first, after a rotation by which the sign comes last: so the first
/// is the exponent, and those that are zero in all of them cost nothing.
#[derive(Default)]
struct FloatPlanes([Vec<u8>; 4]);

impl FloatPlanes {
    fn push(&mut self, float: f32) {
        let bytes = float.to_bits().rotate_left(1).to_be_bytes();
        self.0.iter_mut().zip(bytes).for_each(|(plane, byte)| plane.push(byte));
    }
}

/// The floats of four planes of the same length.
fn floats_of([a, b, c, d]: [&[u8]; 4]) -> Vec<f32> {
    let bytes = a.iter().zip(b).zip(c.iter().zip(d));
    let bits = bytes.map(|((&a, &b), (&c, &d))| u32::from_be_bytes([a, b, c, d]));
    bits.map(|bits| f32::from_bits(bits.rotate_right(1))).collect()
}
