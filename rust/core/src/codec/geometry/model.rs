//! What is known of each atom for all frames: how it is placed, and how many bits the rest takes.
//!
//! Stored plane by plane (all kinds, all first references, …) and packed by zstd: molecules that
//! repeat, like water, repeat in every plane and cost next to nothing.

use half::f16;

use super::bits::MOST;
use super::constraint::{Kind, Rule};
use super::lanes::{LARGEST, Vector, three};

/// Atoms that are placed from each other. More would find slightly better references; fewer decode
/// with less when only some atoms are wanted.
pub const TILE: usize = 256;
/// Distances are stored in this part of a grid unit: well below what rounding does to them.
pub const DISTANCE_STEP: f32 = 1.0 / 16.0;
/// The most bits of one coordinate.
pub const MOST_WIDTH: u8 = 20;
/// Bytes of the model of one atom at most, before zstd.
const MOST_BYTES: usize = 1 + 3 + 3 * 2 + 3 * 2 + 3;
/// Bytes of the middle of a tile.
const CENTRE_BYTES: usize = 12;

/// The high and the low bytes of some numbers.
type Zip<'a> = std::iter::Zip<std::slice::Iter<'a, u8>, std::slice::Iter<'a, u8>>;

/// How an atom is placed, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// The way.
    pub kind: Kind,
    /// The atoms it is placed from, as how far they come before it; 0 where it needs fewer.
    pub back: [u8; 3],
    /// The numbers of its template.
    pub coefficients: [f16; 3],
    /// To `a`, from `a` to `b`, to `b`; in [`DISTANCE_STEP`].
    pub distances: [u16; 3],
    /// Bits of each coordinate.
    pub widths: [u8; 3],
}

impl Placement {
    /// Placed by itself.
    pub const FREE: Self = Self {
        kind: Kind::Free,
        back: [0; 3],
        coefficients: [f16::ZERO; 3],
        distances: [0; 3],
        widths: [0; 3],
    };

    /// Bits in each frame.
    pub fn bits(&self) -> u32 {
        self.widths.iter().map(|&width| u32::from(width)).sum::<u32>() + self.kind.choice_bits()
    }

    /// The squared distance to `a`, and `(x − a) · (b − a)`.
    pub fn square_and_product(&self) -> (f32, f32) {
        let square = |distance: u16| {
            let distance = f32::from(distance) * DISTANCE_STEP;
            distance * distance
        };
        let [to_a, between, to_b] = self.distances.map(square);
        (to_a, ((to_a + between) - to_b) * 0.5)
    }

    /// What places the atom in all frames alike.
    #[inline(always)]
    pub fn rule<V: Vector>(&self) -> Rule<V> {
        let (square, product) = self.square_and_product();
        Rule {
            coefficients: three(
                #[inline(always)]
                |i| V::all(widened(self.coefficients[i])),
            ),
            square: V::all(square),
            product: V::all(product),
        }
    }

    fn check(&self, index: usize) -> Result<(), &'static str> {
        let used = &self.back[..self.kind.references()];
        if used.iter().any(|&back| back == 0 || usize::from(back) > index) {
            return Err("an atom is placed from one that does not come before it");
        }
        if self.widths.iter().any(|&width| width > MOST_WIDTH) || self.bits() > MOST {
            return Err("an atom takes more bits than there can be");
        }
        if self.coefficients.iter().any(|c| !c.is_finite()) {
            return Err("the template of an atom is not a number");
        }
        Ok(())
    }
}

/// A finite half float as a float. The library's own conversion asks the machine each time how.
#[inline(always)]
pub fn widened(half: f16) -> f32 {
    /// What the exponents are biased by differently.
    const SCALE: f32 = f32::from_bits(0x7780_0000);
    let bits = u32::from(half.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * SCALE;
    f32::from_bits(magnitude.to_bits() | ((bits & 0x8000) << 16))
}

/// The placements of all atoms, and the middle of each tile.
#[derive(Debug, PartialEq)]
pub struct Model {
    /// One for each atom.
    pub placements: Vec<Placement>,
    /// One for each tile, in grid units.
    pub centres: Vec<[i32; 3]>,
}

impl Model {
    /// Bytes of one frame.
    pub fn frame_bytes(&self) -> usize {
        let bits: u64 = self.placements.iter().map(|placement| u64::from(placement.bits())).sum();
        bits.div_ceil(8) as usize
    }

    /// The model, packed.
    pub fn encode(&self, level: i32) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.placements.len() * MOST_BYTES);
        let atoms = || self.placements.iter();
        bytes.extend(atoms().map(|atom| atom.kind as u8));
        for i in 0..3 {
            bytes.extend(atoms().filter(|a| i < a.kind.references()).map(|a| a.back[i]));
        }
        for i in 0..3 {
            let coefficients = || {
                let used = atoms().filter(|a| i < a.kind.coefficients());
                used.map(|a| a.coefficients[i].to_bits().to_le_bytes())
            };
            bytes.extend(coefficients().map(|[_, high]| high));
            bytes.extend(coefficients().map(|[low, _]| low));
        }
        for i in 0..3 {
            let distances = || {
                let used = atoms().filter(|a| i < a.kind.distances());
                used.map(|a| a.distances[i].to_le_bytes())
            };
            bytes.extend(distances().map(|[_, high]| high));
            bytes.extend(distances().map(|[low, _]| low));
        }
        for i in 0..3 {
            bytes.extend(atoms().map(|atom| atom.widths[i]));
        }
        bytes.extend(self.centres.iter().flatten().flat_map(|middle| middle.to_le_bytes()));
        zstd::bulk::compress(&bytes, level).ok()
    }

    /// The model of so many atoms, every number of it checked.
    pub fn parse(packed: &[u8], atoms: usize) -> Result<Self, String> {
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
        let mut pairs = |needed, i| {
            let length = count(needed, i);
            Ok::<_, String>(plane(length)?.zip(plane(length)?))
        };
        let mut coefficients = [
            pairs(Kind::coefficients, 0)?,
            pairs(Kind::coefficients, 1)?,
            pairs(Kind::coefficients, 2)?,
        ];
        let mut distances =
            [pairs(Kind::distances, 0)?, pairs(Kind::distances, 1)?, pairs(Kind::distances, 2)?];
        let mut widths = [plane(atoms)?, plane(atoms)?, plane(atoms)?];
        let mut placements = Vec::with_capacity(atoms);
        for (index, &number) in kinds.enumerate() {
            let kind = Kind::ALL[usize::from(number)];
            let mut placement = Placement { kind, ..Placement::FREE };
            let parts = placement.back.iter_mut().zip(&mut back).take(kind.references());
            parts.for_each(|(back, plane)| *back = plane.next().copied().unwrap_or(0));
            let number =
                |plane: &mut Zip<'_>| plane.next().map_or([0; 2], |(&high, &low)| [low, high]);
            let parts = placement.coefficients.iter_mut().zip(&mut coefficients);
            parts
                .take(kind.coefficients())
                .for_each(|(c, plane)| *c = f16::from_le_bytes(number(plane)));
            let parts = placement.distances.iter_mut().zip(&mut distances);
            parts
                .take(kind.distances())
                .for_each(|(d, plane)| *d = u16::from_le_bytes(number(plane)));
            let parts = placement.widths.iter_mut().zip(&mut widths);
            parts.for_each(|(width, plane)| *width = plane.next().copied().unwrap_or(0));
            placement.check(index % TILE)?;
            placements.push(placement);
        }
        let mut centres = Vec::with_capacity(tiles);
        for bytes in plane(tiles * CENTRE_BYTES)?.as_slice().chunks_exact(CENTRE_BYTES) {
            let middle = |i: usize| crate::container::bytes::u32_at(bytes, 4 * i) as i32;
            let centre = [middle(0), middle(1), middle(2)];
            if centre.iter().any(|middle| middle.unsigned_abs() > LARGEST as u32) {
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
