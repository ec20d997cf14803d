//! Atoms, as frames are decoded with them.

use super::constraint::{Kind, Rule};
use super::lanes::{Vector, three};
use super::model::{Placement, TILE, parse};
use super::numbers::Numbers;
use crate::error::DecodeError;
use crate::memory::try_reserve;

/// An atom, ready to be decoded.
#[derive(Debug)]
pub struct Atom {
    pub kind: Kind,
    /// The atoms it is placed from, in its tile.
    pub near: [u8; 3],
    pub widths: [u8; 3],
    /// Where its bits are in each frame.
    pub bit: u32,
    pub coefficients: [f32; 3],
    pub square: f32,
    pub product: f32,
}

impl Atom {
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

/// The atoms of a model, and the middle of each tile.
pub struct Atoms {
    pub atoms: Vec<Atom>,
    pub centres: Vec<[f32; 3]>,
}

/// The model at the beginning of `bytes`, and what follows it. `bit` tells where the
/// bits of each atom are in a frame.
pub fn read_model(
    bytes: &[u8],
    rows: usize,
    numbers: Numbers,
    mut bit: impl FnMut(&Placement) -> u32,
) -> Result<(Atoms, &[u8]), DecodeError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::TooShort)?;
    let length = u32::from_le_bytes(*length) as usize;
    let cut_short = DecodeError::CutShort { section: "model" };
    let (packed, rest) = rest.split_at_checked(length).ok_or(cut_short)?;
    let mut atoms: Vec<Atom> = try_reserve(rows)?;
    let centres = parse(packed, rows, numbers, |placement| {
        let (square, product) = placement.square_and_product();
        let index = (atoms.len() % TILE) as u8;
        atoms.push(Atom {
            kind: placement.kind,
            near: placement.back.map(|back| index - back),
            widths: placement.widths,
            bit: bit(placement),
            coefficients: placement.coefficients,
            square,
            product,
        });
    })?;
    Ok((Atoms { atoms, centres }, rest))
}
