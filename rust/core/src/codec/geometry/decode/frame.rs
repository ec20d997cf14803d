//! One frame: eight atoms in a vector.
//!
//! A frame that is read alone leaves the other lanes empty, so atoms take their places. Its
//! residuals are read before. Then atoms with the same predictor whose references are known can be
//! decoded together, be they of different molecules. Who they are follows from the model alone, so
//! it is found out once. Of floats, the place of an atom's lower bits is known only when those
//! before it have been read; so the atoms are of eight tiles, which are read side by side, and a
//! tile whose next atom has another predictor waits.

use fearless_simd::{f32x8, i32x8, mask32x8, prelude::*, u32x8};

use super::innovations::ResidualLanes;
use super::layout::{AtomLayout, ModelLayout};
use super::restore::{FloatDecoder, QuantizedDecoder};
use super::rows::write_frame;
use crate::codec::geometry::domain::Domain;
use crate::codec::geometry::entropy::bits::BitReader;
use crate::codec::geometry::model::TILE;
use crate::codec::geometry::point::{Point, StoredPoint};
use crate::codec::geometry::predict::{Predictor, PredictorParams, SideInfo, reconstruct};
use crate::codec::grid::Grid;
use crate::codec::simd::{LANES, Lanes};

/// Atoms that are decoded together, in an order in which each comes after its references.
#[derive(Debug)]
pub struct Schedule(Vec<LaneGroup>);

#[derive(Debug)]
struct LaneGroup {
    predictor: Predictor,
    /// Repeats the last one where there are fewer; of tiles side by side, [`NONE`] for those that
    /// wait.
    atoms: [u32; LANES],
}

/// No atom.
const NONE: u32 = u32::MAX;

impl Schedule {
    /// The schedule for these atoms.
    pub fn of(atoms: &[AtomLayout], domain: Domain) -> Self {
        match domain {
            Domain::Quantized => Self::by_level(atoms),
            Domain::FloatBits => Self::tile_parallel(atoms),
        }
    }

    /// Each as soon as its references are known.
    fn by_level(atoms: &[AtomLayout]) -> Self {
        let predictors = Predictor::ALL.len();
        let mut levels: Vec<usize> = Vec::with_capacity(atoms.len());
        // By level, then by predictor.
        let mut alike: Vec<Vec<u32>> = Vec::new();
        for (index, atom) in atoms.iter().enumerate() {
            let first = index / TILE * TILE;
            let references = atom.references[..atom.predictor.references()].iter();
            let level = references.map(|&at| levels[first + usize::from(at)] + 1).max();
            let level = level.unwrap_or(0);
            levels.push(level);
            if alike.len() < (level + 1) * predictors {
                alike.resize((level + 1) * predictors, Vec::new());
            }
            alike[level * predictors + atom.predictor as usize].push(index as u32);
        }
        let mut groups = Vec::with_capacity(atoms.len() / LANES + alike.len());
        for (number, members) in alike.iter().enumerate() {
            for members in members.chunks(LANES) {
                let last = members.len() - 1;
                let atoms = std::array::from_fn(|lane| members[lane.min(last)]);
                let predictor = Predictor::ALL[number % predictors];
                groups.push(LaneGroup { predictor, atoms });
            }
        }
        Self(groups)
    }

    /// Of eight tiles side by side, one after the other in each.
    fn tile_parallel(atoms: &[AtomLayout]) -> Self {
        let mut groups = Vec::with_capacity(atoms.len() / LANES * 3 / 2);
        for (group, atoms) in atoms.chunks(LANES * TILE).enumerate() {
            let first = group * LANES * TILE;
            let mut tiles: [_; LANES] = std::array::from_fn(|lane| {
                let end = atoms.len().min((lane + 1) * TILE);
                (lane * TILE).min(end)..end
            });
            loop {
                let mut waiting = [0; Predictor::ALL.len()];
                for tile in tiles.iter().filter(|tile| !tile.is_empty()) {
                    waiting[atoms[tile.start].predictor as usize] += 1;
                }
                let (most, predictor) = Predictor::ALL
                    .into_iter()
                    .map(|predictor| (waiting[predictor as usize], predictor))
                    .fold(
                        (0, Predictor::Direct),
                        |most, one| if one.0 > most.0 { one } else { most },
                    );
                if most == 0 {
                    break;
                }
                let next = tiles.each_mut().map(|tile| {
                    let next = tile.clone().next().filter(|&at| atoms[at].predictor == predictor);
                    next.and_then(|_| tile.next()).map_or(NONE, |at| (first + at) as u32)
                });
                groups.push(LaneGroup { predictor, atoms: next });
            }
        }
        Self(groups)
    }
}

impl LaneGroup {
    /// The references and the parameters of its atoms.
    #[inline(always)]
    fn gather<S: Simd>(
        &self,
        simd: S,
        ModelLayout { atoms, tiles, .. }: &ModelLayout,
        points: &[[f32; 3]],
    ) -> ([Point<S>; 3], PredictorParams<f32x8<S>>) {
        let mut references: [StoredPoint; 3] = [[Lanes::ZERO; 3]; 3];
        let [mut coefficients, [mut square, mut product, _]] = [[Lanes::ZERO; 3]; 2];
        for lane in 0..LANES {
            let index = self.atoms[lane] as usize;
            let Some(atom) = atoms.get(index) else { continue };
            let tile = index / TILE;
            let is_direct = self.predictor == Predictor::Direct;
            let used = if is_direct { 1 } else { self.predictor.references() };
            for i in 0..used {
                let from = match is_direct {
                    true => &tiles[tile].centre,
                    false => &points[tile * TILE + usize::from(atom.references[i])],
                };
                for axis in 0..3 {
                    references[i][axis].0[lane] = from[axis];
                }
            }
            for i in 0..3 {
                coefficients[i].0[lane] = atom.params.coefficients[i];
            }
            square.0[lane] = atom.params.square;
            product.0[lane] = atom.params.product;
        }
        let [a, b, c] = &references;
        let references = [Point::load(simd, a), Point::load(simd, b), Point::load(simd, c)];
        let Point(coefficients) = Point::load(simd, &coefficients);
        let (square, product) = (square.load(simd), product.load(simd));
        (references, PredictorParams { coefficients, square, product })
    }

    /// The residuals and the sides of its atoms.
    #[inline(always)]
    fn residuals<S: Simd>(&self, simd: S, all: &[ResidualLanes]) -> ([i32x8<S>; 3], SideInfo<S>) {
        let mut read = [[0; LANES]; 4];
        for lane in 0..LANES {
            let atom = self.atoms[lane] as usize;
            let (tile, index) = (atom / TILE, atom % TILE);
            if let Some(residuals) = all.get(tile / LANES * TILE + index) {
                for i in 0..4 {
                    read[i][lane] = residuals[i][tile % LANES];
                }
            }
        }
        let [x, y, z, side] = read;
        let side_info = SideInfo::from_number(self.predictor, side.simd_into(simd));
        ([x.simd_into(simd), y.simd_into(simd), z.simd_into(simd)], side_info)
    }

    /// Keeps its atoms.
    #[inline(always)]
    fn store<S: Simd>(&self, point: Point<S>, points: &mut [[f32; 3]]) {
        let lanes = point.store();
        for lane in 0..LANES {
            if let Some(point) = points.get_mut(self.atoms[lane] as usize) {
                *point = [lanes[0].0[lane], lanes[1].0[lane], lanes[2].0[lane]];
            }
        }
    }
}

/// A frame whose residuals have been read.
pub struct FrameDecoder<'a> {
    pub schedule: &'a Schedule,
    pub model: &'a ModelLayout,
    /// Of eight tiles step by step, then of the next eight.
    pub residuals: &'a [ResidualLanes],
    /// The grid of the floats, where they are on one.
    pub grid: Option<Grid>,
    /// Part of the streams, from this byte of them on.
    pub streams: &'a [u8],
    pub first: usize,
    /// Where the lower bits of each tile begin in all of them.
    pub lower: &'a [u32],
    /// Room for all atoms.
    pub points: &'a mut [[f32; 3]],
    /// The rows of the frame.
    pub out: &'a mut [u8],
}

impl FrameDecoder<'_> {
    #[inline(always)]
    pub fn decode<S: Simd>(mut self, simd: S) {
        let Self { grid, .. } = self;
        match grid {
            Some(_) => self.decode_quantized(simd),
            None => self.decode_floats(simd),
        }
        write_frame(simd, self.points, grid, self.out);
    }

    #[inline(always)]
    fn decode_quantized<S: Simd>(&mut self, simd: S) {
        for group in &self.schedule.0 {
            let (references, params) = group.gather(simd, self.model, self.points);
            let (residuals, side_info) = group.residuals(simd, self.residuals);
            let mut decoder = QuantizedDecoder(residuals);
            let point =
                reconstruct(group.predictor, &references, &params, &side_info, &mut decoder);
            group.store(point, self.points);
        }
    }

    #[inline(always)]
    fn decode_floats<S: Simd>(&mut self, simd: S) {
        let mut eight = usize::MAX;
        let mut lower = BitReader::new(self.streams, u32x8::splat(simd, 0));
        for group in &self.schedule.0 {
            let first = group.atoms.iter().copied().min().unwrap_or(0) as usize;
            if first / (LANES * TILE) != eight {
                eight = first / (LANES * TILE);
                let starts: [u32; LANES] = std::array::from_fn(|lane| {
                    let start = self.lower.get(eight * LANES + lane);
                    start.map_or(0, |&start| (start as usize).wrapping_sub(self.first) as u32)
                });
                lower = BitReader::new(self.streams, starts.simd_into(simd));
            }
            let (references, params) = group.gather(simd, self.model, self.points);
            let (upper, side_info) = group.residuals(simd, self.residuals);
            let (mut levels, mut active) = ([[0; LANES]; 3], [0; LANES]);
            for lane in 0..LANES {
                if let Some(atom) = self.model.atoms.get(group.atoms[lane] as usize) {
                    active[lane] = -1;
                    for i in 0..3 {
                        levels[i][lane] = i32::from(atom.levels[i]);
                    }
                }
            }
            let [u, v, w] = levels;
            let mut decoder = FloatDecoder {
                lower: &mut lower,
                upper,
                levels: [u.simd_into(simd), v.simd_into(simd), w.simd_into(simd)],
                is_direct: group.predictor == Predictor::Direct,
                active: mask32x8::from_slice(simd, &active),
            };
            let point =
                reconstruct(group.predictor, &references, &params, &side_info, &mut decoder);
            group.store(point, self.points);
        }
    }
}
