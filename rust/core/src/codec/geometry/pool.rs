//! Atoms that are placed alike share their numbers, where that costs less.

use std::collections::HashMap;

use super::fit::{Fit, MODEL_BITS, coarseness, stored, with_common};
use super::habit::Mixed;
use super::measure::{Task, measure};
use super::model::{Placement, TILE};
use super::numbers::Numbers;
use super::template::Sums;
use super::tile::Tile;

/// What the model of an atom that is placed like many others takes, in bits.
const POOLED_BITS: u32 = 6;
/// How many atoms must be placed alike before one model is tried for all.
const POOL: usize = 3;

/// Places atoms that repeat alike, where that costs less: their coefficients and distances are those
/// that suit all of them.
pub fn pool(tiles: &[Tile], frames: usize, numbers: Numbers, is_fixed: bool, fits: &mut [Fit]) {
    let [fine, _] = coarseness(numbers);
    let mut alike: HashMap<(u64, u64), Vec<u32>, Mixed> = HashMap::default();
    for (index, fit) in fits.iter().enumerate() {
        let placement = &fit.placement;
        if placement.kind.references() > 0 {
            alike.entry(likeness(placement)).or_default().push(index as u32);
        }
    }
    for members in alike.into_values().filter(|members| members.len() >= POOL) {
        let mut sums = Sums::default();
        let mut distances = [0.0; 3];
        for &member in &members {
            let fit = &fits[member as usize];
            sums.add(&fit.sums);
            for (sum, &distance) in distances.iter_mut().zip(&fit.placement.distances) {
                *sum += f64::from(distance);
            }
        }
        let mut common = with_common(&fits[members[0] as usize].placement, &sums, numbers);
        common.distances = distances.map(|sum| stored(sum / members.len() as f64, numbers));
        common.levels = [0; 3];
        let kind = common.kind;
        let [_, coefficient, distance] = MODEL_BITS;
        let own =
            kind.coefficients() as u32 * (coefficient - fine) + kind.distances() as u32 * distance;
        for member in members {
            let index = member as usize;
            let view = tiles[index / TILE].all();
            let task = Task { view, atom: index % TILE, frames, numbers, is_fixed };
            let fit = &mut fits[index];
            let (placement, cost) = measure(task, common);
            if cost + POOLED_BITS <= fit.cost + own {
                (fit.placement, fit.cost) = (placement, cost);
            }
        }
    }
}

/// The same for placements of the same kind after the same others, whose distances are the same to a
/// percent or so: what is less alike would cost too much.
fn likeness(placement: &Placement) -> (u64, u64) {
    let [a, b, c] = placement.back;
    let way = u32::from_le_bytes([a, b, c, placement.kind as u8]);
    let [to_a, between, to_b] = placement.distances.map(|distance| distance.to_bits() >> 17);
    (u64::from(way), u64::from(to_a) << 32 | u64::from(between) << 16 | u64::from(to_b))
}
