//! A tile in eight frames, one in each lane.

use fearless_simd::{i32x8, mask32x8, prelude::*, u32x8};

use super::arithmetic;
use super::frame_residuals::ResidualLanes;
use super::layout::{AtomLayout, Field, ROW, TileLayout};
use super::restore::{FloatDecoder, QuantizedDecoder};
use crate::codec::geometry::domain;
use crate::codec::geometry::entropy::bits::BitReader;
use crate::codec::geometry::entropy::rice::{self, QuotientReader};
use crate::codec::geometry::model::TILE;
use crate::codec::geometry::point::{Point, StoredPoint};
use crate::codec::geometry::predict::ar1::ar1_predict;
use crate::codec::geometry::predict::{Predictor, SideInfo, reconstruct};
use crate::codec::geometry::simd::{LANES, keep_if};
use crate::codec::geometry::words::Words;
use crate::codec::grid::Grid;

/// What the residuals of frames are predicted from.
pub enum PredictedFrom<'a> {
    /// Nothing: strings hold residuals.
    Nothing,
    /// The key frame in this lane.
    Lane(usize),
    /// Key frames that are not all among them: the residuals of that of each lane.
    Keys(&'a [ResidualLanes; TILE]),
    /// The frame before: the residuals of the last one that was decoded.
    Before(&'a mut [[i32; 3]; TILE]),
}

impl PredictedFrom<'_> {
    /// The residuals of an atom, from the innovations of frames and the residuals of key frames.
    #[inline(always)]
    fn ar1_decode<S: Simd>(
        &mut self,
        atom: &AtomLayout,
        index: usize,
        mut residuals: [i32x8<S>; 3],
        is_key: mask32x8<S>,
    ) -> [i32x8<S>; 3] {
        let simd = residuals[0].simd;
        let zero = i32x8::splat(simd, 0);
        let is_free = atom.predictor.is_free();
        for i in 0..3 {
            let quarters = if is_free[i] { atom.quarters } else { 0 };
            let predicted = match self {
                Self::Nothing => zero,
                Self::Lane(lane) => {
                    let key = residuals[i].to_array()[*lane % LANES];
                    i32x8::splat(simd, ar1_predict(quarters, key))
                }
                Self::Keys(keys) => {
                    keys[index][i].map(|key| ar1_predict(quarters, key)).simd_into(simd)
                }
                Self::Before(before) => {
                    // One after the other, as each is predicted from the one before.
                    let (before, is_key) = (&mut before[index][i], is_key.to_bitmask());
                    let innovations = residuals[i].to_array();
                    let mut predicted = [0; LANES];
                    for lane in 0..LANES {
                        if is_key >> lane & 1 == 0 {
                            predicted[lane] = ar1_predict(quarters, *before);
                        }
                        *before = innovations[lane].wrapping_add(predicted[lane]);
                    }
                    predicted.simd_into(simd)
                }
            };
            residuals[i] += is_key.select(zero, predicted);
        }
        residuals
    }
}

/// The strings of a tile in eight frames, of which the residuals are read.
pub struct Strings<'a> {
    pub atoms: &'a [AtomLayout],
    pub tile: &'a TileLayout,
    /// Frames, among them these.
    pub streams: &'a [u8],
    /// Where the string of each begins.
    pub starts: [u32; LANES],
    pub predicted_from: PredictedFrom<'a>,
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
                |_, atom| read_fixed(simd, streams, &starts, &atom.field),
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

/// Residuals that have no quotients, and side information.
#[inline(always)]
fn read_fixed<S: Simd>(
    simd: S,
    streams: &[u8],
    starts: &[u32; LANES],
    field: &Field,
) -> [i32x8<S>; 4] {
    let starts: u32x8<S> = (*starts).simd_into(simd);
    let words = Words::at(streams, starts + u32::from(field.bit >> 3));
    let mut shift = u32::from(field.bit & 7);
    let mut read = [i32x8::splat(simd, 0); 4];
    for i in 0..3 {
        let noisy = field.noisy[i];
        read[i] = domain::unzigzag(words.extract_all(shift) & ((1 << noisy) - 1));
        shift += u32::from(noisy);
    }
    read[3] = words.extract_all(shift).bitcast();
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
        let mut quotients = QuotientReader::new(self.streams, starts + fields);
        let none = mask32x8::splat(simd, false);
        let [zero, one] = [u32x8::splat(simd, 0), u32x8::splat(simd, 1)];
        for (index, atom) in self.atoms.iter().enumerate().take(TILE) {
            let (field, key) = (&atom.field, &atom.key_field);
            let bits = of.select(field.bit.into(), key.bit.into());
            let words = Words::at(self.streams, starts + (bits >> 3));
            let mut shift = bits & 7;
            let mut residuals = [i32x8::splat(simd, 0); 3];
            let active = match (field.has_quotients, has_keys && key.has_quotients) {
                (false, false) => none,
                (true, false) if has_keys => !is_key,
                (false, true) => is_key,
                _ => !none,
            };
            let quotients = if field.has_quotients || (has_keys && key.has_quotients) {
                quotients.next(active).map(
                    #[inline(always)]
                    |quotients| keep_if(active, quotients),
                )
            } else {
                [zero; 3]
            };
            for i in 0..3 {
                let noisy = of.select(field.noisy[i].into(), key.noisy[i].into());
                let noise = words.extract(shift) & ((one << noisy) - 1);
                residuals[i] = rice::residuals(quotients[i], noise, noisy);
                shift += noisy;
            }
            if atom.quarters > 0 {
                residuals = self.predicted_from.ar1_decode(atom, index, residuals, is_key);
            }
            let read = &mut self.read[index];
            for i in 0..3 {
                read[i] = residuals[i].to_array();
            }
            if atom.predictor.side_bits() > 0 {
                read[3] = words.extract(shift).bitcast::<i32x8<S>>().to_array();
            }
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
            let [x, y, z, side_info] = read(index, atom);
            let side_info = match predictor.side_bits() {
                0 => SideInfo::none(simd),
                _ => SideInfo::from_bits(side_info),
            };
            let params = atom.params(simd);
            let (point, floats) = if let Some(grid) = self.grid {
                let mut decoder = QuantizedDecoder([x, y, z]);
                let point = reconstruct(predictor, &references, &params, &side_info, &mut decoder);
                (point, arithmetic::floats(grid, point))
            } else {
                let [u, v, w] = atom.levels.map(i32::from);
                let mut decoder = FloatDecoder {
                    lower: &mut lower,
                    upper: [x, y, z],
                    levels: [i32x8::splat(simd, u), i32x8::splat(simd, v), i32x8::splat(simd, w)],
                    is_direct: predictor == Predictor::Direct,
                    active: mask32x8::splat(simd, true),
                };
                let point = reconstruct(predictor, &references, &params, &side_info, &mut decoder);
                (point, point)
            };
            self.points[index] = point.store();
            let rows = floats.rows();
            for lane in 0..LANES.min(self.count) {
                let start = self.rows[lane] + index * ROW;
                if let Some(row) = self.out.get_mut(start..start + ROW) {
                    for i in 0..3 {
                        row[4 * i..4 * i + 4].copy_from_slice(&rows[lane][i].to_le_bytes());
                    }
                }
            }
        }
    }
}
