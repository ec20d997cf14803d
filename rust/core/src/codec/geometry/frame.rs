//! The residuals of one frame: those of eight tiles in a vector.

use super::ar1::is_free;
use super::atoms::{Atom, Field, TileLayout};
use super::integers::Integers;
use super::lanes::{LANES, Vector};
use super::model::TILE;
use super::rice::{self, QuotientLanes};
use super::widest::Job;

/// What strings say of an atom of each tile: three residuals, and what the frame chooses.
pub type Eight = [[i32; LANES]; 4];

/// How the fields of an atom of each of eight tiles are read, packed: the bit at which it begins and three coefficients;
/// three numbers of noisy bits and whether it has quotients.
type Step = [[i32; LANES]; 2];

/// The place of a coefficient, of a number of noisy bits, and of the mark of atoms that have quotients.
const QUARTERS_AT: [i32; 3] = [16, 20, 24];
const NOISY_AT: [i32; 3] = [0, 8, 16];
const TAKING_AT: i32 = 24;

/// How strings are read: of eight tiles step by step, then of the next eight.
#[derive(Debug)]
pub struct Steps {
    usual: Vec<Step>,
    /// In key frames; nothing where there are none.
    key: Vec<Step>,
}

impl Steps {
    pub fn of(atoms: &[Atom], tiles: &[TileLayout]) -> Self {
        let has_keys = tiles.iter().any(|tile| tile.has_keys);
        let usual = steps(atoms, |atom| &atom.field);
        let key = if has_keys { steps(atoms, |atom| &atom.key_field) } else { Vec::new() };
        Self { usual, key }
    }
}

fn steps(atoms: &[Atom], field: impl Fn(&Atom) -> &Field) -> Vec<Step> {
    let mut steps = Vec::with_capacity(atoms.len().div_ceil(LANES * TILE) * TILE);
    for eight in atoms.chunks(LANES * TILE) {
        for index in 0..TILE.min(eight.len()) {
            let mut step = [[0; LANES]; 2];
            for (lane, atom) in eight.iter().skip(index).step_by(TILE).enumerate() {
                let (field, free) = (field(atom), is_free(atom.kind));
                step[0][lane] = i32::from(field.bit);
                step[1][lane] = i32::from(field.has_quotients) << TAKING_AT;
                for i in 0..3 {
                    let quarters = if free[i] { i32::from(atom.quarters) } else { 0 };
                    step[0][lane] |= quarters << QUARTERS_AT[i];
                    step[1][lane] |= i32::from(field.noisy[i]) << NOISY_AT[i];
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
    pub fields: [i32; LANES],
    pub quotients: [i32; LANES],
}

/// Reads the residuals of eight tiles of a frame.
pub struct Frame<'a> {
    pub steps: &'a Steps,
    /// Which eight.
    pub eight: usize,
    pub streams: &'a [u8],
    /// Of the frame, unless it is a key frame.
    pub own: Option<Starts>,
    /// Of its key frame, if there are any.
    pub key: Option<Starts>,
    pub out: &'a mut [Eight],
}

impl Job for Frame<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { steps, eight, streams, own, key, out } = self;
        let of = |all: &'_ [Step]| eight * TILE..all.len().min((eight + 1) * TILE);
        match (own, key) {
            (Some(own), Some(key)) => {
                let mut own = Reader::<V>::new(streams, &own);
                let mut key = Reader::<V>::new(streams, &key);
                let steps = steps.usual[of(&steps.usual)].iter().zip(&steps.key[of(&steps.key)]);
                for ((own_step, key_step), out) in steps.zip(out) {
                    let told = key.next(key_step);
                    let mut read = own.next(own_step);
                    let packed = V::Integers::load(&own_step[0]);
                    for i in 0..3 {
                        read[i] = read[i].plus(expected(packed, i, told[i]));
                    }
                    *out = read.map(
                        #[inline(always)]
                        |lanes| lanes.array(),
                    );
                }
            }
            (Some(starts), None) => {
                let mut reader = Reader::<V>::new(streams, &starts);
                for (step, out) in steps.usual[of(&steps.usual)].iter().zip(out) {
                    *out = reader.next(step).map(
                        #[inline(always)]
                        |lanes| lanes.array(),
                    );
                }
            }
            (None, Some(starts)) => {
                let mut reader = Reader::<V>::new(streams, &starts);
                for (step, out) in steps.key[of(&steps.key)].iter().zip(out) {
                    *out = reader.next(step).map(
                        #[inline(always)]
                        |lanes| lanes.array(),
                    );
                }
            }
            (None, None) => {}
        }
    }
}

/// What of the residuals is expected from those of another frame (see `ar1`).
#[inline(always)]
fn expected<I: Integers>(packed: I, i: usize, other: I) -> I {
    let all = I::all;
    let quarters = match i {
        0 => packed.down::<{ QUARTERS_AT[0] }>(),
        1 => packed.down::<{ QUARTERS_AT[1] }>(),
        _ => packed.down::<{ QUARTERS_AT[2] }>(),
    };
    let part = |bit: i32, shift: i32| {
        let is_set = quarters.and(all(bit)).above(all(0));
        other.up(all(shift)).and(is_set)
    };
    part(1, 0).plus(part(2, 1)).plus(part(4, 2)).plus(all(2)).signed_down::<2>()
}

/// Eight strings.
struct Reader<'a, V: Vector> {
    streams: &'a [u8],
    fields: V::Integers,
    quotients: QuotientLanes<'a, V>,
}

impl<'a, V: Vector> Reader<'a, V> {
    #[inline(always)]
    fn new(streams: &'a [u8], starts: &Starts) -> Self {
        let [fields, quotients] = [&starts.fields, &starts.quotients].map(V::Integers::load);
        Self { streams, fields, quotients: QuotientLanes::at(streams, quotients) }
    }

    #[inline(always)]
    fn next(&mut self, step: &Step) -> [V::Integers; 4] {
        let all = V::Integers::all;
        let [places, packed] = [V::Integers::load(&step[0]), V::Integers::load(&step[1])];
        let taking = packed.down::<TAKING_AT>().above(all(0));
        let quotients = match taking.is_any_negative() {
            true => self.quotients.next(taking),
            false => [all(0); 3],
        };
        let bits = places.and(all(0xffff));
        let words = V::gather(self.streams, self.fields.plus(bits.down::<3>()));
        let mut shift = bits.and(all(7));
        let mut residuals = [all(0); 4];
        for i in 0..3 {
            let noisy = match i {
                0 => packed.down::<{ NOISY_AT[0] }>(),
                1 => packed.down::<{ NOISY_AT[1] }>(),
                _ => packed.down::<{ NOISY_AT[2] }>(),
            };
            let noisy = noisy.and(all(0xff));
            let mask = all(1).up(noisy).minus(all(1));
            let noise = V::after(words, shift).and(mask);
            residuals[i] = rice::residuals(quotients[i].and(taking), noise, noisy);
            shift = shift.plus(noisy);
        }
        residuals[3] = V::after(words, shift);
        residuals
    }
}
