//! The residuals of one frame: those of eight tiles in a vector.

use fearless_simd::{i32x8, prelude::*, u32x8};

use super::layout::{AtomLayout, Field, TileLayout};
use crate::codec::geometry::entropy::rice::{self, QuotientReader};
use crate::codec::geometry::model::TILE;
use crate::codec::geometry::simd::{LANES, keep_if};
use crate::codec::geometry::words::Words;

/// What strings say of an atom in each lane: three residuals, and side information.
pub type ResidualLanes = [[i32; LANES]; 4];

/// How the fields of an atom of each of eight tiles are read, packed: the bit at which it begins
/// and three coefficients; three numbers of noisy bits and whether it has quotients.
type Step = [[u32; LANES]; 2];

/// The place of a coefficient, of a number of noisy bits, and of the mark of atoms that have
/// quotients.
const QUARTERS_AT: [u32; 3] = [16, 20, 24];
const NOISY_AT: [u32; 3] = [0, 8, 16];
const QUOTIENTS_AT: u32 = 24;

/// How strings are read: of eight tiles step by step, then of the next eight.
#[derive(Debug)]
pub struct Steps {
    usual: Vec<Step>,
    /// In key frames; nothing where there are none.
    key: Vec<Step>,
}

impl Steps {
    pub fn of(atoms: &[AtomLayout], tiles: &[TileLayout]) -> Self {
        let has_keys = tiles.iter().any(|tile| tile.has_keys);
        let usual = steps(atoms, |atom| &atom.field);
        let key = if has_keys { steps(atoms, |atom| &atom.key_field) } else { Vec::new() };
        Self { usual, key }
    }
}

fn steps(atoms: &[AtomLayout], field: impl Fn(&AtomLayout) -> &Field) -> Vec<Step> {
    let mut steps = Vec::with_capacity(atoms.len().div_ceil(LANES * TILE) * TILE);
    for eight in atoms.chunks(LANES * TILE) {
        for index in 0..TILE.min(eight.len()) {
            let mut step = [[0; LANES]; 2];
            for (lane, atom) in eight.iter().skip(index).step_by(TILE).enumerate() {
                let (field, free) = (field(atom), atom.predictor.is_free());
                step[0][lane] = u32::from(field.bit);
                step[1][lane] = u32::from(field.has_quotients) << QUOTIENTS_AT;
                for i in 0..3 {
                    let quarters = if free[i] { u32::from(atom.quarters) } else { 0 };
                    step[0][lane] |= quarters << QUARTERS_AT[i];
                    step[1][lane] |= u32::from(field.noisy[i]) << NOISY_AT[i];
                }
            }
            steps.push(step);
        }
    }
    steps
}

/// Where the strings of eight tiles begin, and their quotients.
#[derive(Clone, Copy, Default)]
pub struct Starts {
    pub fields: [u32; LANES],
    pub quotients: [u32; LANES],
}

/// The strings of eight tiles of a frame.
pub struct FrameStrings<'a> {
    pub steps: &'a Steps,
    /// Which eight.
    pub eight: usize,
    pub streams: &'a [u8],
    /// Of the frame, unless it is a key frame.
    pub own: Option<Starts>,
    /// Of its key frame, if there are any.
    pub key: Option<Starts>,
}

impl FrameStrings<'_> {
    /// Reads the residuals.
    #[inline(always)]
    pub fn read<S: Simd>(self, simd: S, out: &mut [ResidualLanes]) {
        let Self { steps, eight, streams, own, key } = self;
        let usual = steps.usual.chunks(TILE).nth(eight).unwrap_or_default();
        let keyed = steps.key.chunks(TILE).nth(eight).unwrap_or_default();
        let (starts, steps) = match (own, key) {
            (Some(own), Some(key)) => {
                let mut own = Reader::new(simd, streams, &own);
                let mut key = Reader::new(simd, streams, &key);
                for ((own_step, key_step), out) in usual.iter().zip(keyed).zip(out) {
                    let key_residuals = key.next(key_step);
                    let mut read = own.next(own_step);
                    let packed: u32x8<S> = own_step[0].simd_into(simd);
                    for i in 0..3 {
                        let quarters = (packed >> QUARTERS_AT[i]) & 0xf;
                        read[i] += ar1_predict(quarters, key_residuals[i]);
                    }
                    store(read, out);
                }
                return;
            }
            (Some(own), None) => (own, usual),
            (None, Some(key)) => (key, keyed),
            (None, None) => return,
        };
        let mut reader = Reader::new(simd, streams, &starts);
        for (step, out) in steps.iter().zip(out) {
            store(reader.next(step), out);
        }
    }
}

#[inline(always)]
fn store<S: Simd>(read: [i32x8<S>; 4], out: &mut ResidualLanes) {
    for i in 0..4 {
        out[i] = read[i].to_array();
    }
}

/// `predict::ar1::ar1_predict` with another coefficient in each lane, by shifts: a product of 32 bits takes longer.
#[inline(always)]
fn ar1_predict<S: Simd>(quarters: u32x8<S>, other: i32x8<S>) -> i32x8<S> {
    let zero = i32x8::splat(other.simd, 0);
    let one = (quarters & 1).simd_gt(0).select(other, zero);
    let two = (quarters & 2).simd_gt(0).select(other << 1, zero);
    let four = (quarters & 4).simd_gt(0).select(other << 2, zero);
    (one + two + four + 2) >> 2
}

/// Reads eight strings in step.
struct Reader<'a, S: Simd> {
    streams: &'a [u8],
    fields: u32x8<S>,
    quotients: QuotientReader<'a, S>,
}

impl<'a, S: Simd> Reader<'a, S> {
    #[inline(always)]
    fn new(simd: S, streams: &'a [u8], starts: &Starts) -> Self {
        let fields = starts.fields.simd_into(simd);
        let quotients = QuotientReader::new(streams, starts.quotients.simd_into(simd));
        Self { streams, fields, quotients }
    }

    #[inline(always)]
    fn next(&mut self, step: &Step) -> [i32x8<S>; 4] {
        let simd = self.fields.simd;
        let [places, packed]: [u32x8<S>; 2] = [step[0].simd_into(simd), step[1].simd_into(simd)];
        let zero = u32x8::splat(simd, 0);
        let active = (packed >> QUOTIENTS_AT).simd_gt(0);
        let quotients = match active.any_true() {
            true => self.quotients.next(active),
            false => [zero; 3],
        };
        let bits = places & 0xffff;
        let words = Words::at(self.streams, self.fields + (bits >> 3));
        let mut shift = bits & 7;
        let mut read = [i32x8::splat(simd, 0); 4];
        for i in 0..3 {
            let noisy = (packed >> NOISY_AT[i]) & 0xff;
            let noise = words.extract(shift) & ((u32x8::splat(simd, 1) << noisy) - 1);
            let quotients = keep_if(active, quotients[i]);
            read[i] = rice::residuals(quotients, noise, noisy);
            shift += noisy;
        }
        read[3] = words.extract(shift).bitcast();
        read
    }
}
