//! One frame: eight atoms in a vector.
//!
//! A frame that is read alone leaves the other lanes empty, so atoms take their places. Its
//! residuals are read before. Then atoms with the same predictor whose references are known can be
//! decoded together, be they of different molecules. Who they are follows from the model alone, so
//! it is found out once. Of floats, the place of an atom's lower bits is known only when those
//! before it have been read; so the atoms are of eight tiles, which are read side by side, and a
//! tile whose next atom has another predictor waits.

use fearless_simd::{f32x4, f32x8, i32x4, i32x8, mask32x8, prelude::*, u32x8};

use super::frame_residuals::Residuals;
use super::layout::{AtomLayout, ModelLayout};
use super::restore::{FloatDecoder, QuantizedDecoder};
use super::rows::write_frame;
use crate::codec::geometry::domain::Domain;
use crate::codec::geometry::entropy::bits::BitReader;
use crate::codec::geometry::model::TILE;
use crate::codec::geometry::point::Point;
use crate::codec::geometry::predict::{Predictor, PredictorParams, SideInfo, reconstruct};
use crate::codec::grid::Grid;
use crate::codec::simd::{LANES, columns, rows};

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
        model: &ModelLayout,
        points: &[f32],
    ) -> ([Point<S>; 3], PredictorParams<f32x8<S>>) {
        match self.predictor.references() {
            0 => (self.centres(simd, model), PredictorParams::<f32>::NONE.splat(simd)),
            1 => self.gather_references::<S, 1>(simd, model, points),
            2 => self.gather_references::<S, 2>(simd, model, points),
            _ => self.gather_references::<S, 3>(simd, model, points),
        }
    }

    #[inline(always)]
    fn centres<S: Simd>(&self, simd: S, model: &ModelLayout) -> [Point<S>; 3] {
        let mut centres = [[0.0; 4]; LANES];
        for lane in 0..LANES {
            if let Some(tile) = model.tiles.get(self.atoms[lane] as usize / TILE) {
                centres[lane][..3].copy_from_slice(&tile.centre);
            }
        }
        let [x, y, z, _] = columns::<S, f32x4<S>>(simd, &centres);
        [Point([x, y, z]); 3]
    }

    #[inline(always)]
    fn gather_references<S: Simd, const R: usize>(
        &self,
        simd: S,
        ModelLayout { atoms, .. }: &ModelLayout,
        points: &[f32],
    ) -> ([Point<S>; 3], PredictorParams<f32x8<S>>) {
        let mut references = [[[0.0; 4]; LANES]; R];
        let (mut params, mut products) = ([[0.0; 4]; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            let index = self.atoms[lane] as usize;
            let Some(atom) = atoms.get(index) else { continue };
            for i in 0..R {
                let at = 3 * (index / TILE * TILE + usize::from(atom.references[i]));
                if let Some(point) = points.get(at..).and_then(|points| points.first_chunk()) {
                    references[i][lane] = *point;
                }
            }
            let PredictorParams { coefficients: [u, v, w], square, product } = atom.params;
            params[lane] = [u, v, w, square];
            products[lane] = product;
        }
        let mut loaded = [Point::splat(simd, [0.0; 3]); 3];
        for i in 0..R {
            let [x, y, z, _] = columns::<S, f32x4<S>>(simd, &references[i]);
            loaded[i] = Point([x, y, z]);
        }
        let [u, v, w, square] = columns::<S, f32x4<S>>(simd, &params);
        let product = products.simd_into(simd);
        (loaded, PredictorParams { coefficients: [u, v, w], square, product })
    }

    /// The residuals and the sides of its atoms.
    #[inline(always)]
    fn residuals<S: Simd>(&self, simd: S, all: &[Residuals]) -> ([i32x8<S>; 3], SideInfo<S>) {
        let mut read = [[0; 4]; LANES];
        for lane in 0..LANES {
            if let Some(&residuals) = all.get(self.atoms[lane] as usize) {
                read[lane] = residuals;
            }
        }
        let [x, y, z, side] = columns::<S, i32x4<S>>(simd, &read);
        let side_info = SideInfo::from_number(self.predictor, side);
        ([x, y, z], side_info)
    }

    /// Keeps its atoms.
    #[inline(always)]
    fn store<S: Simd>(&self, point: Point<S>, points: &mut [f32]) {
        let Point([x, y, z]) = point;
        let rows = rows([x, y, z, x]);
        for lane in 0..LANES {
            let at = 3 * self.atoms[lane] as usize;
            if let Some(point) = points.get_mut(at..at + 3) {
                point.copy_from_slice(&rows[lane].to_array()[..3]);
            }
        }
    }
}

/// A frame whose residuals have been read.
pub struct FrameDecoder<'a> {
    pub schedule: &'a Schedule,
    pub model: &'a ModelLayout,
    /// Of all atoms.
    pub residuals: &'a [Residuals],
    /// The grid of the floats, where they are on one.
    pub grid: Option<Grid>,
    /// Part of the streams, from this byte of them on.
    pub streams: &'a [u8],
    pub first: usize,
    /// Where the lower bits of each tile begin in all of them.
    pub lower: &'a [u32],
    /// Room for the coordinates of all atoms, and one number more: four are read at a time.
    pub points: &'a mut [f32],
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
        write_frame(simd, &self.points[..3 * self.model.atoms.len()], grid, self.out);
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
