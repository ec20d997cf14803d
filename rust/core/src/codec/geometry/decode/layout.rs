//! The model, laid out for decoding: where the fields of each atom are in the strings of its tile.

use crate::codec::geometry::domain::Domain;
use crate::codec::geometry::entropy::huffman::{self, Table};
use crate::codec::geometry::entropy::noise::FIXED;
use crate::codec::geometry::entropy::symbol::entry;
use crate::codec::geometry::model::{AtomPredictor, TABLES, TILE, parse, sides};
use crate::codec::geometry::predict::ar::COEFFICIENTS;
use crate::codec::geometry::predict::{Predictor, PredictorParams};
use crate::error::DecodeError;

/// Bytes of the three coordinates of an atom.
pub const ROW: usize = 12;

/// An atom, ready to be decoded.
#[derive(Debug)]
pub struct AtomLayout {
    pub predictor: Predictor,
    /// The atoms that it refers to, in its tile.
    pub references: [u8; 3],
    /// The width level of each residual of floats.
    pub levels: [u8; 3],
    /// The number of its autoregressive coefficients.
    pub ar: u8,
    /// Which table its symbols are decoded with.
    pub table: u8,
    /// Its field in most frames.
    pub field: Field,
    /// Its field in key frames.
    pub key_field: Field,
    /// What predicts it in all frames.
    pub params: PredictorParams<f32>,
}

/// Where the noisy bits of an atom are, and how many; its side comes after them, where it has no
/// symbols.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The first bit in the string of its tile.
    pub bit: u16,
    /// Of each residual.
    pub noisy: [u8; 3],
    /// Whether it has symbols.
    pub has_symbols: bool,
}

impl Field {
    /// The field that begins at a bit, which is moved to its end.
    fn next(bit: &mut u16, noisy: [u8; 3], predictor: Predictor) -> Self {
        let has_symbols = noisy[0] < FIXED;
        let noisy = noisy.map(|noisy| noisy % FIXED);
        let field = Self { bit: *bit, noisy, has_symbols };
        *bit += noisy.iter().map(|&noisy| u16::from(noisy)).sum::<u16>();
        if !has_symbols {
            *bit += predictor.side_bits() as u16;
        }
        field
    }
}

impl AtomLayout {
    fn new(atom: &AtomPredictor, index: u8, ends: &mut [u16; 2]) -> Self {
        let [end, key_end] = ends;
        Self {
            predictor: atom.predictor,
            references: atom.offsets.map(|offset| index - offset),
            levels: atom.levels,
            ar: atom.ar,
            table: atom.table() as u8,
            field: Field::next(end, atom.noisy, atom.predictor),
            key_field: Field::next(key_end, atom.key_noisy, atom.predictor),
            params: atom.params(),
        }
    }

    /// The coefficients of each residual, and from how many sides its own is told by that in the
    /// other frame; none where it is not.
    #[inline(always)]
    pub fn ar(&self) -> ([[i32; 2]; 3], i32) {
        let own = COEFFICIENTS[usize::from(self.ar) % COEFFICIENTS.len()];
        let each = self.predictor.is_free().map(|is_free| if is_free { own } else { [0; 2] });
        let is_told = self.ar > 0 && self.predictor.sides() > 1;
        (each, if is_told { self.predictor.sides() as i32 } else { 0 })
    }

    /// The bits of its side, where that is not coded.
    #[inline(always)]
    pub fn side_mask(&self) -> u32 {
        (1 << self.predictor.side_bits()) - 1
    }
}

/// What the atoms of a tile have in common.
#[derive(Debug)]
pub struct TileLayout {
    pub centre: [f32; 3],
    /// Whether any is predicted from another frame, so that key frames are different.
    pub has_keys: bool,
    /// Whether all residuals have the same number of bits in all frames.
    pub is_fixed: bool,
    /// Where the symbols begin in its strings.
    pub field_bytes: usize,
    /// The same in key frames.
    pub key_field_bytes: usize,
}

impl Default for TileLayout {
    /// Of no atoms.
    fn default() -> Self {
        let (has_keys, is_fixed) = (false, true);
        Self { centre: [0.0; 3], has_keys, is_fixed, field_bytes: 0, key_field_bytes: 0 }
    }
}

/// The atoms of a model, and their tiles.
#[derive(Debug)]
pub struct ModelLayout {
    pub atoms: Vec<AtomLayout>,
    pub tiles: Vec<TileLayout>,
    /// The tables that are in use.
    pub tables: Vec<Table>,
}

/// The model at the beginning of `bytes`, and what follows it.
pub fn read_model(
    bytes: &[u8],
    rows: usize,
    domain: Domain,
) -> Result<(ModelLayout, &[u8]), DecodeError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::TooShort)?;
    let length = u32::from_le_bytes(*length) as usize;
    let cut_short = DecodeError::CutShort { section: "model" };
    let (packed, bytes) = rest.split_at_checked(length).ok_or(cut_short)?;
    let (mut tiles, mut ends) = (Vec::<TileLayout>::with_capacity(rows.div_ceil(TILE)), [0, 0]);
    let lay_out = |index: usize, atom: &AtomPredictor| {
        let index = index % TILE;
        if index == 0 {
            tiles.push(TileLayout::default());
            ends = [0, 0];
        }
        let layout = AtomLayout::new(atom, index as u8, &mut ends);
        if let Some(tile) = tiles.last_mut() {
            [tile.field_bytes, tile.key_field_bytes] =
                ends.map(|end: u16| usize::from(end.div_ceil(8)));
            tile.has_keys |= atom.ar > 0;
            tile.is_fixed &= atom.is_fixed();
        }
        layout
    };
    let mut model = parse(packed, rows, domain, lay_out)?;
    for (tile, centre) in tiles.iter_mut().zip(model.centres) {
        tile.centre = centre;
    }
    let (mut slots, mut tables) = ([0; TABLES], Vec::new());
    for (table, lengths) in model.tables.iter().enumerate().filter(|(_, l)| !l.is_empty()) {
        let entry = |symbol: usize| entry(symbol, lengths[symbol], sides(table));
        let unknown = DecodeError::OutOfRange { what: "the length of a code" };
        slots[table] = tables.len() as u8;
        tables.push(huffman::table(lengths, entry).ok_or(unknown)?);
    }
    for atom in &mut model.atoms {
        atom.table = slots[usize::from(atom.table)];
    }
    let atoms = model.atoms;
    Ok((ModelLayout { atoms, tiles, tables }, bytes))
}
