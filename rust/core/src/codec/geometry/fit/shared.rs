//! Floats of atoms that are predicted alike share their coefficients and distances, where that costs
//! less: every bit of them counts.

use rustc_hash::FxHashMap;

use super::Fit;
use super::coefficients::{coarseness, rounded};
use super::cost::cost;
use super::normal_equations::NormalEquations;
use super::rigid::stored;
use crate::codec::geometry::domain::Domain;
use crate::codec::geometry::measure::Coding;
use crate::codec::geometry::measure::tile::Tile;
use crate::codec::geometry::model::{AtomPredictor, TILE};
use crate::codec::geometry::predict::Predictor;

/// What the model of an atom that is predicted like many others takes, in bits.
const SHARED_BITS: u32 = 6;
/// How many atoms a cluster must have.
const CLUSTER: usize = 3;

/// Fits clusters of atoms together: their normal equations are added, their distances averaged.
pub fn share(tiles: &[Tile], coding: Coding, fits: &mut [Fit]) {
    let domain = Domain::FloatBits;
    let fine = coarseness(domain)[0];
    let mut clusters: FxHashMap<_, Vec<u32>> = FxHashMap::default();
    for (index, fit) in fits.iter().enumerate() {
        if fit.predictor.predictor.references() > 0 {
            clusters.entry(cluster_key(&fit.predictor)).or_default().push(index as u32);
        }
    }
    for members in clusters.into_values().filter(|members| members.len() >= CLUSTER) {
        let mut equations = NormalEquations::default();
        let mut distances = [0.0; 3];
        for &member in &members {
            let fit = &fits[member as usize];
            equations.add(&fit.equations);
            for (sum, &distance) in distances.iter_mut().zip(&fit.predictor.distances) {
                *sum += f64::from(distance);
            }
        }
        let mut common = fits[members[0] as usize].predictor;
        if common.predictor.coefficients() > 0 {
            common.coefficients = equations.solve().map(|coefficient| rounded(coefficient, fine));
        }
        common.distances = distances.map(|sum| stored(sum / members.len() as f64, domain));
        for index in members.into_iter().map(|member| member as usize) {
            common.ar = fits[index].predictor.ar;
            if fits[index].predictor == common {
                continue;
            }
            let fit = &mut fits[index];
            let cost = cost(tiles[index / TILE].atom(index % TILE, coding), &mut common);
            if cost + SHARED_BITS <= fit.cost + fit.own {
                (fit.predictor, fit.cost) = (common, cost);
            }
        }
    }
}

/// The same for atoms with the same predictor and offsets, whose distances are the same to a
/// percent or so: what is less alike would cost too much.
fn cluster_key(atom: &AtomPredictor) -> (Predictor, [u8; 3], [u32; 3]) {
    (atom.predictor, atom.offsets, atom.distances.map(|distance| distance.to_bits() >> 17))
}
