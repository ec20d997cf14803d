//! What is known of each atom for all frames: how it is placed, and how many bits the rest takes.
//!
//! Stored plane by plane (all kinds, all first references, …) and packed by zstd: molecules that
//! repeat, like water, repeat in every plane and cost next to nothing.

use std::cell::RefCell;
use std::io::Write;

use zstd::bulk::Decompressor;

use super::ar1::MOST_QUARTERS;
use super::constraint::{Kind, Rule};
use super::lanes::{LARGEST, Vector, three};
use super::numbers::Numbers;
use super::rice::{FIXED, MOST_NOISY};
use crate::codec::value::Value;
use crate::error::{AtomProblem, DecodeError};
use crate::memory::try_reserve;

/// Atoms that are placed from each other. More would find slightly better references; fewer decode
/// with less when only some atoms are wanted.
pub const TILE: usize = 256;
/// Bytes of the model of one atom at most, before zstd.
const MOST_BYTES: usize = 1 + 3 + 3 * 4 + 3 * 4 + 3 * 3 + 1;
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
    /// The level of each residual of floats (see `numbers`).
    pub levels: [u8; 3],
    /// How many bits of each residual or innovation are noise (see `rice`).
    pub noisy: [u8; 3],
    /// The same of key frames.
    pub key_noisy: [u8; 3],
    /// The autoregressive coefficient (see `ar1`).
    pub quarters: u8,
}

impl Placement {
    /// Placed by itself.
    pub const FREE: Self = Self {
        kind: Kind::Free,
        back: [0; 3],
        coefficients: [0.0; 3],
        distances: [0.0; 3],
        levels: [0; 3],
        noisy: [0; 3],
        key_noisy: [0; 3],
        quarters: 0,
    };

    /// Whether it is read by itself from bits that are as many in all frames.
    pub fn is_fixed(&self) -> bool {
        self.quarters == 0 && self.noisy[0] >= FIXED
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
        let is_valid = |noisy: [u8; 3]| {
            let [fixed, coded] = [FIXED..=FIXED + MOST_NOISY, 0..=MOST_NOISY];
            noisy.iter().all(|noisy| fixed.contains(noisy))
                || noisy.iter().all(|noisy| coded.contains(noisy))
        };
        let is_level = numbers == Numbers::Grid
            || self.kind != Kind::Free
            || self.levels.iter().all(|&level| level <= 32);
        let is_narrow = is_valid(self.noisy) && is_valid(self.key_noisy) && is_level;
        if !is_narrow {
            return Err(DecodeError::Atom { atom: index, problem: AtomProblem::Width });
        }
        if self.quarters > MOST_QUARTERS {
            return Err(DecodeError::Atom { atom: index, problem: AtomProblem::Coefficient });
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
    /// The model, packed.
    pub fn encode(&self, numbers: Numbers, level: i32) -> Option<Vec<u8>> {
        let atoms = self.placements.len();
        let plane = || Vec::with_capacity(atoms);
        let mut kinds: Vec<u8> = plane();
        let mut back: [Vec<u8>; 3] = [plane(), plane(), plane()];
        let mut coefficients: [FloatPlanes; 3] = std::array::from_fn(|_| FloatPlanes::default());
        let mut distances: [FloatPlanes; 3] = std::array::from_fn(|_| FloatPlanes::default());
        let three = || [plane(), plane(), plane()];
        let (mut levels, mut noisy, mut key_noisy) = (three(), three(), three());
        let mut quarters = plane();
        for placement in &self.placements {
            let kind = placement.kind;
            kinds.push(kind as u8);
            let used = back.iter_mut().zip(placement.back).take(kind.references());
            used.for_each(|(plane, back)| plane.push(back));
            let used = coefficients.iter_mut().zip(placement.coefficients);
            used.take(kind.coefficients()).for_each(|(planes, float)| planes.push(float));
            let used = distances.iter_mut().zip(placement.distances);
            used.take(kind.distances()).for_each(|(planes, float)| planes.push(float));
            let push = |planes: &mut [Vec<u8>; 3], bytes: [u8; 3]| {
                planes.iter_mut().zip(bytes).for_each(|(plane, byte)| plane.push(byte));
            };
            if numbers == Numbers::Floats {
                push(&mut levels, placement.levels);
            }
            push(&mut noisy, placement.noisy);
            quarters.push(placement.quarters);
            if placement.quarters > 0 {
                push(&mut key_noisy, placement.key_noisy);
            }
        }
        let middles = self.centres.iter().flatten();
        let middles: Vec<u8> = middles.flat_map(|middle| middle.to_le_bytes()).collect();
        let planes = [kinds].into_iter().chain(back);
        let planes = planes.chain(coefficients.into_iter().flat_map(|planes| planes.0));
        let planes = planes.chain(distances.into_iter().flat_map(|planes| planes.0));
        let planes = planes.chain(levels).chain(noisy).chain([quarters]).chain(key_noisy);
        let planes = planes.chain([middles]);
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
        let (placements, centres) = parse(packed, atoms, numbers)?;
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

/// The placements of so many atoms, every number of them checked, and the middle of each tile.
pub fn parse(
    packed: &[u8],
    atoms: usize,
    numbers: Numbers,
) -> Result<(Vec<Placement>, Vec<[f32; 3]>), DecodeError> {
    let tiles = atoms.div_ceil(TILE);
    let most = atoms * MOST_BYTES + tiles * CENTRE_BYTES;
    let bytes = unpack(packed, most)?;
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
    let mut three = |length| Ok::<_, DecodeError>([plane(length)?, plane(length)?, plane(length)?]);
    let levels = three(if numbers == Numbers::Floats { atoms } else { 0 })?;
    let noisy = three(atoms)?;
    let [quarters] = [plane(atoms)?];
    let timed = quarters.iter().filter(|&&quarters| quarters > 0).count();
    let mut key_noisy = [plane(timed)?.iter(), plane(timed)?.iter(), plane(timed)?.iter()];
    let mut placements = try_reserve(atoms)?;
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
        let of = |planes: &[&[u8]; 3]| planes.map(|plane| plane.get(index).copied().unwrap_or(0));
        placement.levels = of(&levels);
        placement.noisy = of(&noisy);
        placement.quarters = quarters[index];
        placement.key_noisy = match placement.quarters {
            0 => placement.noisy,
            _ => three_of(&mut key_noisy),
        };
        placement.check(index % TILE, numbers)?;
        placements.push(placement);
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
    Ok((placements, centres))
}

/// The next byte of each plane.
fn three_of(planes: &mut [std::slice::Iter<'_, u8>; 3]) -> [u8; 3] {
    planes.each_mut().map(|plane| plane.next().copied().unwrap_or(0))
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
