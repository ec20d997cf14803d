//! How many bits an atom takes when it is placed in some way.

use super::bits::MOST;
use super::constraint::Kind;
use super::integers::Integers;
use super::lanes::{LANES, Vector};
use super::model::{MOST_WIDTH, Placement};
use super::numbers::{self, FARTHEST, Numbers};
use super::tile::{View, trace};
use super::widest::{Job, widest};

/// Of so many vectors of frames the exponents of predictions are noted, which tell how many bits these take.
const NOTED: usize = 8;

/// What is measured.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The frames that are looked at.
    pub view: View<'a>,
    pub atom: usize,
    /// How many frames there are.
    pub frames: usize,
    pub numbers: Numbers,
}

/// With the widths that it takes, and the bits of all frames; or `None` where they are too large. Where
/// only a sample of frames is looked at, both are the least that all frames may take.
pub fn measure(task: Task<'_>, placement: Placement) -> Option<(Placement, u32)> {
    widest(Measure { task, placement })
}

struct Measure<'a> {
    task: Task<'a>,
    placement: Placement,
}

impl Job for Measure<'_> {
    type Output = Option<(Placement, u32)>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Option<(Placement, u32)> {
        match self.task.numbers {
            Numbers::Grid => on_grid::<V>(self.task, self.placement),
            Numbers::Floats => Some(as_floats::<V>(self.task, self.placement)),
        }
    }
}

#[inline(always)]
fn on_grid<V: Vector>(task: Task<'_>, mut placement: Placement) -> Option<(Placement, u32)> {
    let Task { view, atom, frames, .. } = task;
    let rule = placement.rule::<V>();
    // Numbers with a bit wherever any of the rests has one.
    let mut bits = [V::Integers::all(0); 3];
    for group in 0..view.groups() {
        let (near, point) = view.with_near(atom, placement.kind, placement.back, group);
        let trace = trace::<V>(placement.kind, &near, &rule, &point);
        for i in 0..3 {
            let rest = trace.actual[i].minus(trace.predicted[i].rounded()).whole();
            bits[i] = bits[i].or(numbers::folded::<V>(rest));
        }
    }
    for i in 0..3 {
        placement.widths[i] = (u32::BITS - bits[i].any().leading_zeros()) as u8;
    }
    let is_narrow =
        placement.bits() <= MOST && placement.widths.iter().all(|&width| width <= MOST_WIDTH);
    is_narrow.then(|| (placement, placement.bits() * frames as u32))
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
            placement.widths[i] = width as u8;
            bits += width * frames as u32;
            continue;
        }
        let level = most[i].array().into_iter().fold(0, i32::max) as u32;
        placement.widths[i] = level as u8;
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
