//! A tile in eight frames, one in each lane.

use fearless_simd::{i32x8, mask32x8, prelude::*, u32x8};

use super::in_turn::InTurn;
use super::innovations::{PredictedFrom, ResidualLanes, store};
use super::layout::{AtomLayout, TileLayout};
use super::restore::{FloatDecoder, QuantizedDecoder};
use super::rows::write_tile;
use crate::codec::geometry::domain;
use crate::codec::geometry::entropy::bits::BitReader;
use crate::codec::geometry::entropy::huffman::Table;
use crate::codec::geometry::entropy::noise;
use crate::codec::geometry::entropy::symbol::SymbolReader;
use crate::codec::geometry::model::TILE;
use crate::codec::geometry::point::{Point, StoredPoint};
use crate::codec::geometry::predict::{Predictor, SideInfo, reconstruct};
use crate::codec::geometry::words::Words;
use crate::codec::grid::Grid;
use crate::codec::simd::LANES;

/// The strings of a tile in eight frames, of which the residuals are read.
pub struct Strings<'a> {
    pub atoms: &'a [AtomLayout],
    pub tile: &'a TileLayout,
    /// Frames, among them these.
    pub streams: &'a [u8],
    /// Where the string of each begins.
    pub starts: [u32; LANES],
    /// The tables of symbols.
    pub tables: &'a [Table],
    pub predicted_from: PredictedFrom<'a>,
    /// How these go on from the frames before, where they do.
    pub in_turn: Option<&'a mut InTurn>,
    /// Which lanes are key frames that have other fields.
    pub is_key: [bool; LANES],
    /// Room for what the strings say.
    pub read: &'a mut [ResidualLanes; TILE],
}

/// A tile in up to eight frames.
pub struct TileGroup<'a> {
    pub strings: Strings<'a>,
    pub output: Output<'a>,
}

impl TileGroup<'_> {
    #[inline(always)]
    pub fn decode<S: Simd>(self, simd: S) {
        let Self { mut strings, output } = self;
        if strings.tile.is_fixed {
            let Strings { streams, starts, .. } = strings;
            output.reconstruct(
                simd,
                #[inline(always)]
                |_, atom| read_fixed(simd, streams, &starts, atom),
            );
        } else {
            strings.read_residuals(simd);
            output.reconstruct(
                simd,
                #[inline(always)]
                |index, _| {
                    let [x, y, z, side] = strings.read[index];
                    [x.simd_into(simd), y.simd_into(simd), z.simd_into(simd), side.simd_into(simd)]
                },
            );
        }
    }
}

/// Residuals and the side of an atom without symbols.
#[inline(always)]
fn read_fixed<S: Simd>(
    simd: S,
    streams: &[u8],
    starts: &[u32; LANES],
    atom: &AtomLayout,
) -> [i32x8<S>; 4] {
    let field = &atom.field;
    let starts: u32x8<S> = (*starts).simd_into(simd);
    let words = Words::at(streams, starts + u32::from(field.bit >> 3));
    let mut shift = u32::from(field.bit & 7);
    let mut read = [i32x8::splat(simd, 0); 4];
    for i in 0..3 {
        let noisy = field.noisy[i];
        read[i] = domain::unzigzag(words.extract_all(shift) & ((1 << noisy) - 1));
        shift += u32::from(noisy);
    }
    read[3] = (words.extract_all(shift) & atom.side_mask()).bitcast();
    read
}

impl Strings<'_> {
    /// Reads the residuals of all atoms: apart from the reconstruction, for that is a chain of
    /// small steps.
    #[inline(always)]
    pub fn read_residuals<S: Simd>(&mut self, simd: S) {
        let is_key: [i32; LANES] = self.is_key.map(|is_key| -i32::from(is_key));
        let is_key = mask32x8::from_slice(simd, &is_key);
        let has_keys = is_key.any_true();
        let starts: u32x8<S> = self.starts.simd_into(simd);
        let TileLayout { field_bytes, key_field_bytes, .. } = *self.tile;
        let of = FieldOf { simd, is_key, has_keys };
        let fields = of.select(field_bytes as u32, key_field_bytes as u32);
        let mut symbols = SymbolReader::new(self.streams, starts + fields);
        let none = mask32x8::splat(simd, false);
        let [zero, one] = [u32x8::splat(simd, 0), u32x8::splat(simd, 1)];
        for (index, atom) in self.atoms.iter().enumerate().take(TILE) {
            let (field, key) = (&atom.field, &atom.key_field);
            let bits = of.select(field.bit.into(), key.bit.into());
            let words = Words::at(self.streams, starts + (bits >> 3));
            let mut shift = bits & 7;
            let active = match (field.has_symbols, has_keys && key.has_symbols) {
                (false, false) => none,
                (true, false) if has_keys => !is_key,
                (false, true) => is_key,
                _ => !none,
            };
            let (quotients, side) = match field.has_symbols || (has_keys && key.has_symbols) {
                true => {
                    let table = &self.tables[usize::from(atom.table)];
                    symbols.next(|_| table, active)
                }
                false => ([zero; 3], zero),
            };
            let mut read = [i32x8::splat(simd, 0); 4];
            for i in 0..3 {
                let noisy = of.select(field.noisy[i].into(), key.noisy[i].into());
                let noise = words.extract(shift) & ((one << noisy) - 1);
                read[i] = noise::residuals(quotients[i], noise, noisy);
                shift += noisy;
            }
            if atom.predictor.sides() > 1 {
                let uncoded = words.extract(shift) & atom.side_mask();
                read[3] = active.select(side, uncoded).bitcast();
            }
            let to = &mut self.read[index];
            match &self.predicted_from {
                PredictedFrom::Nothing => store(read, to),
                _ if atom.ar == 0 => store(read, to),
                predicted_from => predicted_from.decode(atom, index, read, is_key, to),
            }
        }
        if let Some(in_turn) = &mut self.in_turn {
            in_turn.decode(simd, self.is_key, self.read);
        }
    }
}

/// Which field of an atom each lane has.
struct FieldOf<S: Simd> {
    simd: S,
    is_key: mask32x8<S>,
    has_keys: bool,
}

impl<S: Simd> FieldOf<S> {
    /// A number of the usual field, or of that of key frames.
    #[inline(always)]
    fn select(&self, usual: u32, key: u32) -> u32x8<S> {
        let usual = u32x8::splat(self.simd, usual);
        match self.has_keys {
            true => self.is_key.select(u32x8::splat(self.simd, key), usual),
            false => usual,
        }
    }
}

/// Where the coordinates of a tile in up to eight frames go.
pub struct Output<'a> {
    pub atoms: &'a [AtomLayout],
    pub tile: &'a TileLayout,
    /// The grid of the floats, where they are on one.
    pub grid: Option<Grid>,
    pub streams: &'a [u8],
    /// Where the lower bits of each frame begin.
    pub lower: [u32; LANES],
    /// The atoms that have been decoded, in grid units.
    pub points: &'a mut [StoredPoint; TILE],
    pub out: &'a mut [u8],
    /// Where the tile begins in each frame of `out`.
    pub rows: [usize; LANES],
    /// How many frames are wanted; the lanes beyond repeat the last one.
    pub count: usize,
}

impl Output<'_> {
    /// Reconstructs the atoms from their residuals and side information, which `read` returns.
    #[inline(always)]
    fn reconstruct<S: Simd>(self, simd: S, read: impl Fn(usize, &AtomLayout) -> [i32x8<S>; 4]) {
        let centre = Point::splat(simd, self.tile.centre);
        let mut lower = BitReader::new(self.streams, self.lower.simd_into(simd));
        for (index, atom) in self.atoms.iter().enumerate().take(TILE) {
            let predictor = atom.predictor;
            let [a, b, c] = atom.references.map(usize::from);
            let references = match predictor {
                Predictor::Direct => [centre; 3],
                _ => [
                    Point::load(simd, &self.points[a]),
                    Point::load(simd, &self.points[b]),
                    Point::load(simd, &self.points[c]),
                ],
            };
            let [x, y, z, side] = read(index, atom);
            let side_info = match predictor.sides() {
                1 => SideInfo::none(simd),
                _ => SideInfo::from_number(predictor, side),
            };
            let params = atom.params.splat(simd);
            let point = if self.grid.is_some() {
                let mut decoder = QuantizedDecoder([x, y, z]);
                reconstruct(predictor, &references, &params, &side_info, &mut decoder)
            } else {
                let [u, v, w] = atom.levels.map(i32::from);
                let mut decoder = FloatDecoder {
                    lower: &mut lower,
                    upper: [x, y, z],
                    levels: [i32x8::splat(simd, u), i32x8::splat(simd, v), i32x8::splat(simd, w)],
                    is_direct: predictor == Predictor::Direct,
                    active: mask32x8::splat(simd, true),
                };
                reconstruct(predictor, &references, &params, &side_info, &mut decoder)
            };
            self.points[index] = point.store();
        }
        let points = &self.points[..self.atoms.len().min(TILE)];
        let count = self.count.min(LANES);
        write_tile(simd, points, self.grid, &self.rows[..count], self.out);
    }
}
