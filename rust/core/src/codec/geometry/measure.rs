//! How many bits an atom takes when it is placed in some way.

use super::constraint::Kind;
use super::integers::Integers;
use super::lanes::{LANES, Vector};
use super::model::Placement;
use super::numbers::{self, FARTHEST, Numbers};
use super::tile::{View, trace};
use super::widest::{Job, widest};

/// Of so many vectors of frames the exponents of predictions are noted, which tell how many bits these take.
const NOTED: usize = 8;

/// Bits of a normally distributed number of deviation one: half the logarithm of 2πe.
const NORMAL_BITS: f64 = 2.05;
/// What rounding alone makes of the square of a residual.
const ROUNDING: f64 = 1.0 / 12.0;

/// What is measured.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The frames that are looked at.
    pub view: View<'a>,
    pub atom: usize,
    /// How many frames there are.
    pub frames: usize,
    pub numbers: Numbers,
    /// Whether residuals on a grid have a fixed width.
    pub is_fixed: bool,
}

/// With the levels that floats take, and about the bits of all frames.
pub fn measure(task: Task<'_>, placement: Placement) -> (Placement, u32) {
    widest(Measure { task, placement })
}

struct Measure<'a> {
    task: Task<'a>,
    placement: Placement,
}

impl Job for Measure<'_> {
    type Output = (Placement, u32);

    #[inline(always)]
    fn run<V: Vector>(self) -> (Placement, u32) {
        match self.task.numbers {
            Numbers::Grid if self.task.is_fixed => in_fields::<V>(self.task, self.placement),
            Numbers::Grid => on_grid::<V>(self.task, self.placement),
            Numbers::Floats => as_floats::<V>(self.task, self.placement),
        }
    }
}

#[inline(always)]
fn in_fields<V: Vector>(task: Task<'_>, placement: Placement) -> (Placement, u32) {
    let Task { view, atom, frames, .. } = task;
    let rule = placement.rule::<V>();
    // Numbers with a bit wherever any of the residuals has one.
    let mut all = [V::Integers::all(0); 3];
    for group in 0..view.groups() {
        let (near, point) = view.with_near(atom, placement.kind, placement.back, group);
        let trace = trace::<V>(placement.kind, &near, &rule, &point);
        for i in 0..3 {
            let rest = trace.actual[i].minus(trace.predicted[i].rounded()).whole();
            all[i] = all[i].or(numbers::folded::<V>(rest));
        }
    }
    let bits: u32 = all.iter().map(|all| u32::BITS - all.any().leading_zeros()).sum();
    (placement, (bits + placement.kind.choice_bits()) * frames as u32)
}

#[inline(always)]
fn on_grid<V: Vector>(task: Task<'_>, placement: Placement) -> (Placement, u32) {
    let Task { view, atom, frames, .. } = task;
    let rule = placement.rule::<V>();
    let mut squares = [V::all(0.0); 3];
    for group in 0..view.groups() {
        let (near, point) = view.with_near(atom, placement.kind, placement.back, group);
        let trace = trace::<V>(placement.kind, &near, &rule, &point);
        for i in 0..3 {
            let rest = trace.actual[i].minus(trace.predicted[i].rounded());
            squares[i] = squares[i].plus(rest.times(rest));
        }
    }
    let count = (view.groups() * LANES) as f64;
    let mut bits = f64::from(placement.kind.choice_bits());
    for squares in squares {
        let deviation = (squares.sum() / count + ROUNDING).sqrt();
        bits += (deviation.log2() + NORMAL_BITS).max(0.0);
    }
    (placement, (bits * frames as f64) as u32)
}

#[inline(always)]
fn as_floats<V: Vector>(task: Task<'_>, mut placement: Placement) -> (Placement, u32) {
    let Task { view, atom, frames, .. } = task;
    let rule = placement.rule::<V>();
    let is_free = placement.kind == Kind::Free;
    let none = V::Integers::all(0);
    let mut most = [none; 3];
    let mut noted = [[none; 3]; NOTED];
    for group in 0..view.groups() {
        let (near, point) = view.with_near(atom, placement.kind, placement.back, group);
        let trace = trace::<V>(placement.kind, &near, &rule, &point);
        for i in 0..3 {
            let predicted = trace.predicted[i].inside(FARTHEST);
            let actual = numbers::all_ordered(trace.actual[i]);
            let difference = actual.minus(numbers::all_ordered(predicted));
            if is_free {
                most[i] = most[i].or(numbers::folded::<V>(difference));
            } else {
                let exponent = numbers::exponents(predicted);
                most[i] = most[i].max(numbers::levels::<V>(difference, exponent));
                if let Some(noted) = noted.get_mut(group) {
                    noted[i] = exponent;
                }
            }
        }
    }
    let noted = &noted[..view.groups().min(NOTED)];
    let mut bits = 0;
    for i in 0..3 {
        if is_free {
            let width = u32::BITS - most[i].any().leading_zeros();
            placement.levels[i] = width as u8;
            bits += width * frames as u32;
            continue;
        }
        let level = most[i].array().into_iter().fold(0, i32::max) as u32;
        placement.levels[i] = level as u8;
        let levels = V::Integers::all(level as i32);
        let widths = noted.iter().fold(
            none,
            #[inline(always)]
            |sum, exponents| sum.plus(numbers::widths::<V>(levels, exponents[i])),
        );
        let sum: i32 = widths.array().into_iter().sum();
        bits += (sum as usize * frames / (noted.len() * LANES)) as u32;
    }
    (placement, bits + placement.kind.choice_bits() * frames as u32)
}
