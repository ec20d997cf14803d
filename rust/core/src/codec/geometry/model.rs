//! What is known of each atom for all frames: how it is placed, and how many bits the rest takes.
//!
//! Stored plane by plane (all kinds, all first references, …) and packed by zstd: molecules that
//! repeat, like water, repeat in every plane and cost next to nothing.

use std::io::Write;

use super::bits::MOST;
use super::constraint::{Kind, Rule};
use super::lanes::{LARGEST, Vector, three};
use super::numbers::Numbers;
use crate::container::bytes::u32_at;

/// Atoms that are placed from each other. More would find slightly better references; fewer decode
/// with less when only some atoms are wanted.
pub const TILE: usize = 256;
/// The most bits of one coordinate on a grid.
pub const MOST_WIDTH: u8 = 20;
/// Bytes of the model of one atom at most, before zstd.
const MOST_BYTES: usize = 1 + 3 + 3 * 4 + 3 * 4 + 3;
/// Bytes of the middle of a tile.
const CENTRE_BYTES: usize = 12;

/// The bytes of some floats, the highest first, after a rotation by which the sign comes last: so the first
/// is the exponent, and those that are zero in all of them cost nothing.
type Floats<'a> = [std::slice::Iter<'a, u8>; 4];

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

    fn check(&self, index: usize, numbers: Numbers) -> Result<(), &'static str> {
        let used = &self.back[..self.kind.references()];
        if used.iter().any(|&back| back == 0 || usize::from(back) > index) {
            return Err("an atom is placed from one that does not come before it");
        }
        let is_narrow = match numbers {
            Numbers::Grid => self.bits() <= MOST && self.widths.iter().all(|&w| w <= MOST_WIDTH),
            Numbers::Floats => self.kind != Kind::Free || self.widths.iter().all(|&w| w <= 32),
        };
        if !is_narrow {
            return Err("an atom takes more bits than there can be");
        }
        if self.coefficients.iter().chain(&self.distances).any(|number| !number.is_finite()) {
            return Err("what places an atom is not a number");
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
        let atoms = || self.placements.iter();
        let mut planes: Vec<Vec<u8>> = vec![atoms().map(|atom| atom.kind as u8).collect()];
        for i in 0..3 {
            let used = atoms().filter(|a| i < a.kind.references());
            planes.push(used.map(|a| a.back[i]).collect());
        }
        for i in 0..3 {
            let used = atoms().filter(|a| i < a.kind.coefficients());
            planes.extend(float_planes(used.map(|a| a.coefficients[i])));
        }
        for i in 0..3 {
            let used = atoms().filter(|a| i < a.kind.distances());
            planes.extend(float_planes(used.map(|a| a.distances[i])));
        }
        for i in 0..3 {
            planes.push(atoms().map(|atom| atom.widths[i]).collect());
        }
        let middles = self.centres.iter().flatten();
        planes.push(middles.flat_map(|middle| middle.to_le_bytes()).collect());
        let mut packer = zstd::stream::write::Encoder::new(Vec::new(), level).ok()?;
        // Else zstd makes room for what may be endless: 94 MB at the level of archives.
        let bytes = planes.iter().map(|plane| plane.len() as u64).sum();
        packer.set_pledged_src_size(Some(bytes)).ok()?;
        for plane in planes.iter().filter(|plane| !plane.is_empty()) {
            // Each begins a block, so that it is packed by what is frequent in it.
            packer.write_all(plane).and_then(|()| packer.flush()).ok()?;
        }
        packer.finish().ok()
    }

    /// The model of so many atoms, every number of it checked.
    pub fn parse(packed: &[u8], atoms: usize, numbers: Numbers) -> Result<Self, String> {
        let tiles = atoms.div_ceil(TILE);
        let most = atoms * MOST_BYTES + tiles * CENTRE_BYTES;
        let bytes = zstd::bulk::decompress(packed, most).map_err(|error| error.to_string())?;
        let mut rest = bytes.as_slice();
        let mut plane = |length: usize| {
            let (plane, after) = rest.split_at_checked(length).ok_or("its model is cut short")?;
            rest = after;
            Ok::<_, String>(plane.iter())
        };
        let kinds = plane(atoms)?;
        let mut of_kind = [0; 6];
        for &number in kinds.clone() {
            *of_kind.get_mut(usize::from(number)).ok_or("an atom is of an unknown kind")? += 1;
        }
        // How many atoms have an `i`th of what a kind may need.
        let count = |needed: fn(Kind) -> usize, i: usize| -> usize {
            let kinds = Kind::ALL.into_iter().zip(of_kind);
            kinds.filter(|&(kind, _)| i < needed(kind)).map(|(_, count)| count).sum()
        };
        let mut back = [
            plane(count(Kind::references, 0))?,
            plane(count(Kind::references, 1))?,
            plane(count(Kind::references, 2))?,
        ];
        let mut floats = |needed, i| -> Result<Floats<'_>, String> {
            let length = count(needed, i);
            Ok([plane(length)?, plane(length)?, plane(length)?, plane(length)?])
        };
        let mut coefficients = [
            floats(Kind::coefficients, 0)?,
            floats(Kind::coefficients, 1)?,
            floats(Kind::coefficients, 2)?,
        ];
        let mut distances =
            [floats(Kind::distances, 0)?, floats(Kind::distances, 1)?, floats(Kind::distances, 2)?];
        let mut widths = [plane(atoms)?, plane(atoms)?, plane(atoms)?];
        let mut placements = Vec::with_capacity(atoms);
        for (index, &number) in kinds.enumerate() {
            let kind = Kind::ALL[usize::from(number)];
            let mut placement = Placement { kind, ..Placement::FREE };
            let parts = placement.back.iter_mut().zip(&mut back).take(kind.references());
            parts.for_each(|(back, plane)| *back = plane.next().copied().unwrap_or(0));
            let parts = placement.coefficients.iter_mut().zip(&mut coefficients);
            parts.take(kind.coefficients()).for_each(|(c, planes)| *c = next_float(planes));
            let parts = placement.distances.iter_mut().zip(&mut distances);
            parts.take(kind.distances()).for_each(|(d, planes)| *d = next_float(planes));
            let parts = placement.widths.iter_mut().zip(&mut widths);
            parts.for_each(|(width, plane)| *width = plane.next().copied().unwrap_or(0));
            placement.check(index % TILE, numbers)?;
            placements.push(placement);
        }
        let mut centres = Vec::with_capacity(tiles);
        for bytes in plane(tiles * CENTRE_BYTES)?.as_slice().chunks_exact(CENTRE_BYTES) {
            let middle = |i: usize| f32::from_bits(u32_at(bytes, 4 * i));
            let centre = [middle(0), middle(1), middle(2)];
            if !centre.iter().all(|middle| middle.abs() <= LARGEST) {
                return Err("the middle of a tile is out of range".into());
            }
            centres.push(centre);
        }
        if !rest.is_empty() {
            return Err("its model is too long".into());
        }
        Ok(Self { placements, centres })
    }
}

fn float_planes(floats: impl Iterator<Item = f32> + Clone) -> [Vec<u8>; 4] {
    let plane = |at: usize| {
        let bytes = |float: f32| float.to_bits().rotate_left(1).to_be_bytes();
        floats.clone().map(|float| bytes(float)[at]).collect()
    };
    [plane(0), plane(1), plane(2), plane(3)]
}

#[inline(always)]
fn next_float([a, b, c, d]: &mut Floats<'_>) -> f32 {
    let byte = |plane: &mut std::slice::Iter<'_, u8>| plane.next().copied().unwrap_or(0);
    let bits = u32::from_be_bytes([byte(a), byte(b), byte(c), byte(d)]);
    f32::from_bits(bits.rotate_right(1))
}
