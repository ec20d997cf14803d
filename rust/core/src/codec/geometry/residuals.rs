//! Residuals of an atom: what its coordinates are besides what is predicted.

use super::ar1::Reference;
use super::constraint::Kind;
use super::integers::Integers;
use super::lanes::{LANES, Vector};
use super::model::Placement;
use super::moments::{Moments, Sums};
use super::numbers::{self, FARTHEST, Numbers};
use super::tile::{Tile, trace};
use super::widest::{Job, widest};

/// An atom of a tile.
#[derive(Clone, Copy)]
pub struct AtomOf<'a> {
    pub tile: &'a Tile,
    pub index: usize,
}

/// The residuals of an atom in all frames.
#[derive(Default)]
pub struct Residuals {
    /// Those of each of the three numbers.
    pub values: [Vec<i32>; 3],
    /// The exponents of what floats were predicted to be.
    pub exponents: [Vec<u8>; 3],
    /// What each frame says besides: the side, and twice the axis.
    pub choices: Vec<u8>,
}

impl Residuals {
    /// Those of an atom that is placed in this way, and their moments, where these are wanted.
    pub fn measure(&mut self, request: Request<'_>, with_moments: bool) -> [Moments; 3] {
        self.values.iter_mut().for_each(Vec::clear);
        self.exponents.iter_mut().for_each(Vec::clear);
        self.choices.clear();
        widest(Measure { request, residuals: Some(self), with_moments })
    }

    /// The moments alone.
    pub fn moments(request: Request<'_>) -> [Moments; 3] {
        widest(Measure { request, residuals: None, with_moments: true })
    }
}

/// What is measured.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub atom: AtomOf<'a>,
    pub placement: &'a Placement,
    pub frames: usize,
    pub numbers: Numbers,
    pub reference: Reference,
}

/// A vector of residuals, and of the exponents of what floats were predicted to be.
#[inline(always)]
fn residuals<V: Vector>(actual: V, predicted: V, numbers: Numbers) -> (V::Integers, V::Integers) {
    match numbers {
        Numbers::Grid => (actual.minus(predicted.rounded()).whole(), V::Integers::all(0)),
        Numbers::Floats => {
            let predicted = predicted.inside(FARTHEST);
            let rest = numbers::all_ordered(actual).minus(numbers::all_ordered(predicted));
            (rest, numbers::exponents(predicted))
        }
    }
}

/// Adds the first of eight. Mostly these are all, which are copied without a call.
#[inline(always)]
fn append<T: Copy>(all: &mut Vec<T>, lanes: &[T; LANES], count: usize) {
    if count == LANES {
        all.extend_from_slice(lanes);
    } else {
        all.extend_from_slice(&lanes[..count]);
    }
}

struct Measure<'a, 'b> {
    request: Request<'a>,
    residuals: Option<&'b mut Residuals>,
    with_moments: bool,
}

impl Job for Measure<'_, '_> {
    type Output = [Moments; 3];

    #[inline(always)]
    fn run<V: Vector>(mut self) -> [Moments; 3] {
        let Request { atom: AtomOf { tile, index }, placement, frames, numbers, reference } =
            self.request;
        let with_moments = self.with_moments;
        let (kind, back, rule) = (placement.kind, placement.back, placement.rule());
        let mut sums = [const { Sums::none() }; 3];
        for group in 0..tile.all().groups() {
            let (near, point) = tile.all().with_near(index, kind, back, group);
            let trace = trace::<V>(kind, &near, &rule, &point);
            let count = LANES.min(frames - group * LANES);
            for i in 0..3 {
                let (rest, exponents) = residuals(trace.actual[i], trace.predicted[i], numbers);
                if let Some(all) = &mut self.residuals {
                    append(&mut all.values[i], &rest.array(), count);
                    if numbers == Numbers::Floats {
                        let exponents = exponents.array().map(|exponent| exponent as u8);
                        append(&mut all.exponents[i], &exponents, count);
                    }
                }
                let mut comparable = V::of(rest);
                if numbers == Numbers::Floats && kind != Kind::Free {
                    if group == 0 {
                        sums[i].exponent = exponents.array()[0];
                    }
                    let usual = V::Integers::all(sums[i].exponent);
                    comparable = comparable.times(numbers::power::<V>(exponents.minus(usual)));
                }
                if with_moments {
                    sums[i].add(comparable, group, count, reference);
                }
            }
            if kind.choice_bits() > 0
                && let Some(all) = &mut self.residuals
            {
                let side = V::all(1.0).select(trace.choice.side, V::all(0.0));
                let axis = trace.choice.axis;
                let choices = side.plus(axis.plus(axis)).integers().map(|choice| choice as u8);
                append(&mut all.choices, &choices, count);
            }
        }
        sums.map(|sums| sums.moments(frames))
    }
}
