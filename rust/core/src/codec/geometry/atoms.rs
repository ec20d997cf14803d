//! Atoms, as frames are decoded with them.

use super::constraint::{Kind, Rule};
use super::lanes::{Vector, three};
use super::model::{Placement, TILE, parse};
use super::numbers::Numbers;
use super::rice::FIXED;
use crate::error::DecodeError;
use crate::memory::try_reserve;

/// Bytes of the three coordinates of an atom.
pub const ROW: usize = 12;

/// An atom, ready to be decoded.
#[derive(Debug)]
pub struct Atom {
    pub kind: Kind,
    /// The atoms it is placed from, in its tile.
    pub near: [u8; 3],
    /// The level of each residual of floats.
    pub levels: [u8; 3],
    /// Its autoregressive coefficient.
    pub quarters: u8,
    /// Its field in most frames.
    pub field: Field,
    /// Its field in key frames.
    pub key_field: Field,
    pub coefficients: [f32; 3],
    pub square: f32,
    pub product: f32,
}

/// Where the noisy bits of an atom are, and how many; what a frame chooses comes after them.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The first bit in the string of its tile.
    pub bit: u16,
    /// Of each residual.
    pub noisy: [u8; 3],
    /// Whether quotients of the residuals follow.
    pub has_quotients: bool,
}

impl Field {
    /// The field that begins at a bit, which is moved to its end.
    fn next(bit: &mut u16, noisy: [u8; 3], kind: Kind) -> Self {
        let has_quotients = noisy[0] < FIXED;
        let noisy = noisy.map(|noisy| noisy % FIXED);
        let field = Self { bit: *bit, noisy, has_quotients };
        *bit += noisy.iter().map(|&noisy| u16::from(noisy)).sum::<u16>();
        *bit += kind.choice_bits() as u16;
        field
    }
}

impl Atom {
    fn new(placement: &Placement, index: u8, ends: &mut [u16; 2]) -> Self {
        let (square, product) = placement.square_and_product();
        let [end, key_end] = ends;
        Self {
            kind: placement.kind,
            near: placement.back.map(|back| index - back),
            levels: placement.levels,
            quarters: placement.quarters,
            field: Field::next(end, placement.noisy, placement.kind),
            key_field: Field::next(key_end, placement.key_noisy, placement.kind),
            coefficients: placement.coefficients,
            square,
            product,
        }
    }

    /// What places it in all frames alike.
    #[inline(always)]
    pub fn rule<V: Vector>(&self) -> Rule<V> {
        Rule {
            coefficients: three(
                #[inline(always)]
                |i| V::all(self.coefficients[i]),
            ),
            square: V::all(self.square),
            product: V::all(self.product),
        }
    }
}

/// What the atoms of a tile have in common.
#[derive(Debug)]
pub struct TileLayout {
    /// The middle of where they are.
    pub centre: [f32; 3],
    /// Whether any is told from another frame, so that key frames are different.
    pub has_keys: bool,
    /// Whether all are read from bits that are as many in all frames.
    pub is_fixed: bool,
    /// Where the quotients begin in its strings.
    pub field_bytes: usize,
    /// The same in key frames.
    pub key_field_bytes: usize,
}

/// The atoms of a model, and their tiles.
#[derive(Debug)]
pub struct Atoms {
    pub atoms: Vec<Atom>,
    pub tiles: Vec<TileLayout>,
}

/// The model at the beginning of `bytes`, and what follows it.
pub fn read_model(
    bytes: &[u8],
    rows: usize,
    numbers: Numbers,
) -> Result<(Atoms, &[u8]), DecodeError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::TooShort)?;
    let length = u32::from_le_bytes(*length) as usize;
    let cut_short = DecodeError::CutShort { section: "model" };
    let (packed, bytes) = rest.split_at_checked(length).ok_or(cut_short)?;
    let (placements, centres) = parse(packed, rows, numbers)?;
    let mut atoms: Vec<Atom> = try_reserve(rows)?;
    let mut tiles = Vec::with_capacity(centres.len());
    for (placements, centre) in placements.chunks(TILE).zip(centres) {
        let mut ends = [0, 0];
        for (index, placement) in placements.iter().enumerate() {
            atoms.push(Atom::new(placement, index as u8, &mut ends));
        }
        let [field_bytes, key_field_bytes] = ends.map(|end| usize::from(end.div_ceil(8)));
        let has_keys = placements.iter().any(|placement| placement.quarters > 0);
        let is_fixed = placements.iter().all(Placement::is_fixed);
        tiles.push(TileLayout { centre, has_keys, is_fixed, field_bytes, key_field_bytes });
    }
    Ok((Atoms { atoms, tiles }, bytes))
}
