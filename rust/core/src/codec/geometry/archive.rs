//! The same frames as small as they get: fields that hold the lower parts only, often nothing, and the
//! upper parts as packed courses in time.
//!
//! Time is one more way to know an atom, so each is fitted once more: as it was, by itself, and from its
//! three neighbours by how all of them move rather than by where they are; with each echo.

use super::constraint::Kind;
use super::courses::{ECHOES, LONG, Packer};
use super::encode::AtomOf;
use super::fit::{MODEL_BITS, coarseness, keep_used, rounded};
use super::integers::Integers;
use super::lanes::{LANES, Vector};
use super::model::{Model, Placement, TILE};
use super::numbers::{self, FARTHEST, Numbers};
use super::template::Sums;
use super::tile::Tile;
use super::widest::{Job, widest};
use crate::interrupt;

/// Lower bits of a float that are noise whatever is known: what the upper part of a typical number
/// has above one.
const UPPER: f64 = 4.0;
/// Lower parts have at most so many bits.
const LOWEST: f64 = 22.0;
/// Echoes, in quarters, by which templates are fitted.
const MOTIONS: [u8; 2] = [2, 4];

/// What an archive makes of a model and its frames.
pub struct Archive {
    /// The model, with fields for the lower parts.
    pub model: Model,
    /// The upper parts, packed.
    pub courses: Vec<u8>,
}

impl Archive {
    /// Fits all atoms again, and packs their courses.
    pub fn of(
        tiles: &[Tile],
        frames: usize,
        model: &Model,
        numbers: Numbers,
        level: i32,
    ) -> Option<Self> {
        let mut placements = Vec::with_capacity(model.placements.len());
        let mut packer = Packer::new(frames);
        for (number, tile) in tiles.iter().enumerate() {
            for index in 0..tile.atoms() {
                if interrupt::is_requested() {
                    return None;
                }
                let atom = AtomOf { tile, index };
                let usual = model.placements[number * TILE + index];
                let best = Best::of(atom, usual, frames, numbers);
                packer.add(best.placement.kind, best.echo, best.rests.courses);
                placements.push(best.placement);
            }
        }
        let model = Model { placements, centres: model.centres.clone() };
        Some(Self { model, courses: packer.finish(level)? })
    }
}

/// The way that takes the fewest bits.
struct Best {
    bits: f64,
    placement: Placement,
    echo: u8,
    rests: Rests,
}

impl Best {
    fn of(atom: AtomOf<'_>, usual: Placement, frames: usize, numbers: Numbers) -> Self {
        let mut best = Self::with(atom, usual, frames, numbers, 0.0);
        let mut consider = |placement, model_bits| {
            let other = Self::with(atom, placement, frames, numbers, model_bits);
            if other.bits < best.bits {
                best = other;
            }
        };
        if usual.kind != Kind::Free {
            consider(Placement::FREE, 0.0);
        }
        if usual.kind == Kind::Template && frames > 2 {
            for echo in MOTIONS {
                let coefficients = motion(atom, usual.back, frames, echo).solve();
                for coarse in coarseness(numbers) {
                    let mut placement = usual;
                    placement.coefficients = coefficients.map(|c| rounded(c, coarse));
                    keep_used(&mut placement);
                    consider(placement, f64::from(3 * (MODEL_BITS[1] - coarse)));
                }
            }
        }
        best.rests.split(&mut best.placement, best.echo, numbers);
        best
    }

    /// A way with its best echo.
    fn with(
        atom: AtomOf<'_>,
        mut placement: Placement,
        frames: usize,
        numbers: Numbers,
        model_bits: f64,
    ) -> Self {
        placement.widths = [0; 3];
        let rests = widest(Measure { atom, placement: &placement, frames, numbers });
        let is_free = placement.kind == Kind::Free;
        let errors: [Vec<f64>; 3] = std::array::from_fn(|i| rests.errors(i, is_free).0);
        let cost = |echo: u8| -> f64 { errors.iter().map(|course| bits(course, echo)).sum() };
        let mut best = (cost(0), 0);
        for echo in 1..ECHOES {
            let bits = cost(echo);
            if bits < best.0 {
                best = (bits, echo);
            }
        }
        let choices = f64::from(placement.kind.choice_bits()) * frames as f64;
        Self { bits: best.0 + model_bits + choices, placement, echo: best.1, rests }
    }
}

/// About how many bits a course takes without its echo: of what may be normally distributed, or
/// have more outliers than that.
fn bits(course: &[f64], echo: u8) -> f64 {
    let part = f64::from(echo) / 4.0;
    let (first, course, mut before) = match course {
        [first, rest @ ..] if echo > 0 && course.len() >= LONG => {
            (first.abs().log2().max(0.0) + 2.0, rest, *first)
        }
        _ => (0.0, course, 0.0),
    };
    let (mut sum, mut squares) = (0.0, 0.0);
    for &value in course {
        let rest = value - part * before;
        sum += rest.abs();
        squares += rest * rest;
        before = value;
    }
    let count = course.len().max(1) as f64;
    // Rounding alone makes a twelfth of a square.
    let deviation = (squares / count + 1.0 / 12.0).sqrt();
    let mean = sum / count + 0.2;
    first + count * (deviation.log2() + 2.05).min(mean.log2() + 2.44).max(0.0)
}

/// What is left of each component in all frames.
struct Rests {
    courses: [Vec<i32>; 3],
    /// The exponents of what floats were predicted to be.
    exponents: [Vec<u8>; 3],
}

impl Rests {
    /// What is left of a component, as numbers that are comparable between frames: in floats of the
    /// exponent that is answered with them.
    fn errors(&self, i: usize, is_free: bool) -> (Vec<f64>, f64) {
        let values = self.courses[i].iter().map(|&value| f64::from(value));
        let exponents = self.exponents[i].iter().map(|&exponent| f64::from(exponent));
        if is_free || self.exponents[i].is_empty() {
            return (values.collect(), 0.0);
        }
        let usual = (exponents.clone().sum::<f64>() / self.exponents[i].len() as f64).round();
        (values.zip(exponents).map(|(v, e)| v * (e - usual).exp2()).collect(), usual)
    }

    /// Leaves the lower parts of floats to their fields, whose widths are noted.
    fn split(&mut self, placement: &mut Placement, echo: u8, numbers: Numbers) {
        if numbers == Numbers::Grid {
            return;
        }
        let is_free = placement.kind == Kind::Free;
        for i in 0..3 {
            let (errors, usual) = self.errors(i, is_free);
            let part = f64::from(echo) / 4.0;
            let mut before = 0.0;
            let mut sum = 0.0;
            for &error in &errors {
                sum += (error - part * before).abs();
                before = error;
            }
            let typical = (sum / errors.len() as f64).max(1e-9).log2() - UPPER;
            let most = if is_free { LOWEST } else { 255.0 };
            let level = (typical + usual).clamp(0.0, most);
            placement.widths[i] = level as u8;
            for (at, value) in self.courses[i].iter_mut().enumerate() {
                let width = match is_free {
                    true => level as u32,
                    false => numbers::width(level as u32, u32::from(self.exponents[i][at])),
                };
                *value = numbers::upper(*value, width);
            }
        }
    }
}

/// Finds what is left of an atom.
struct Measure<'a> {
    atom: AtomOf<'a>,
    placement: &'a Placement,
    frames: usize,
    numbers: Numbers,
}

impl Job for Measure<'_> {
    type Output = Rests;

    #[inline(always)]
    fn run<V: Vector>(self) -> Rests {
        let mut rests =
            Rests { courses: [const { Vec::new() }; 3], exponents: [const { Vec::new() }; 3] };
        for group in 0..self.atom.tile.all().groups() {
            let trace = self.atom.trace::<V>(self.placement, group);
            let count = LANES.min(self.frames - group * LANES);
            for i in 0..3 {
                let (actual, predicted) = (trace.actual[i], trace.predicted[i]);
                let rest = match self.numbers {
                    Numbers::Grid => actual.minus(predicted.rounded()).whole(),
                    Numbers::Floats => {
                        let predicted = predicted.inside(FARTHEST);
                        let exponents = numbers::exponents(predicted).array();
                        rests.exponents[i].extend(exponents[..count].iter().map(|&e| e as u8));
                        numbers::all_ordered(actual).minus(numbers::all_ordered(predicted))
                    }
                };
                rests.courses[i].extend_from_slice(&rest.array()[..count]);
            }
        }
        rests
    }
}

/// The sums of a template for what is left of the motion of atoms, when an echo of it is taken off.
fn motion(atom: AtomOf<'_>, back: [u8; 3], frames: usize, echo: u8) -> Sums {
    let part = f64::from(echo) / 4.0;
    let mut sums = Sums::default();
    let mut before: Option<[[f64; 4]; 3]> = None;
    for frame in 0..frames {
        let at = |back: u8| atom.tile.point(atom.index - usize::from(back), frame).map(f64::from);
        let [x, a, b, c] = [at(0), at(back[0]), at(back[1]), at(back[2])];
        let first: [f64; 3] = std::array::from_fn(|i| b[i] - a[i]);
        let second: [f64; 3] = std::array::from_fn(|i| c[i] - a[i]);
        let (f, s) = (first, second);
        let normal =
            [f[1] * s[2] - f[2] * s[1], f[2] * s[0] - f[0] * s[2], f[0] * s[1] - f[1] * s[0]];
        let now: [[f64; 4]; 3] =
            std::array::from_fn(|i| [first[i], second[i], normal[i], x[i] - a[i]]);
        if let Some(before) = before {
            for (now, before) in now.iter().zip(&before) {
                let change: [f64; 4] = std::array::from_fn(|j| now[j] - part * before[j]);
                sums.note([change[0], change[1], change[2]], change[3]);
            }
        }
        before = Some(now);
    }
    sums
}
