//! The frames of a tile of atoms, eight in a vector.

use super::constraint::{Choice, Kind, Rule, Settle, Turn, face, place};
use super::lanes::{LANES, LARGEST, Lanes, Vector, load, minus, square, three};
use super::model::TILE;
use super::numbers::{FARTHEST, Numbers};
use super::template::Sums;
use super::widest::{Job, widest};

/// Three coordinates in each lane.
type Point = [Lanes; 3];

/// Atoms among which references are looked for.
const LOOK_BACK: usize = 48;
/// The frame of the sample that tells which of them may be near.
const AMONG: usize = LANES / 2;

/// Coordinates of some atoms in all frames, in grid units. Frames are repeated, from the first, until the
/// vectors are full: where there are few, the last one alone would outweigh the others in every mean.
pub struct Tile {
    /// How many vectors of frames there are.
    groups: usize,
    /// Atom after atom, vector after vector.
    points: Vec<Point>,
    /// Some frames of each atom.
    sample: Vec<Point>,
    /// One of them, eight atoms in a vector.
    places: Vec<Point>,
    /// The middle of where the atoms are.
    pub centre: [f32; 3],
}

impl Tile {
    /// The atoms from `first` on, out of frames of `rows` atoms.
    pub fn of<T: Copy>(
        values: &[T],
        float: impl Fn(T) -> f32,
        rows: usize,
        first: usize,
        numbers: Numbers,
    ) -> Self {
        let atoms = TILE.min(rows - first);
        let frames = values.len() / (3 * rows);
        let groups = frames.div_ceil(LANES);
        let mut points = vec![[Lanes([0.0; LANES]); 3]; atoms * groups];
        let mut sample = vec![[Lanes([0.0; LANES]); 3]; atoms];
        let row = |frame: usize| &values[(frame * rows + first) * 3..][..atoms * 3];
        for place in 0..groups * LANES {
            let (group, lane) = (place / LANES, place % LANES);
            for (atom, values) in row(place % frames).chunks_exact(3).enumerate() {
                let point = &mut points[atom * groups + group];
                for i in 0..3 {
                    point[i].0[lane] = float(values[i]);
                }
            }
        }
        for lane in 0..LANES {
            let frame = (2 * lane + 1) * frames / (2 * LANES);
            for (point, values) in sample.iter_mut().zip(row(frame).chunks_exact(3)) {
                for i in 0..3 {
                    point[i].0[lane] = float(values[i]);
                }
            }
        }
        let centre = three(|i| match numbers {
            Numbers::Grid => middle_of_range(points.iter().map(|point| &point[i])),
            Numbers::Floats => middle_of_order(sample.iter().flat_map(|point| point[i].0)),
        });
        let mut places = vec![[Lanes([0.0; LANES]); 3]; atoms.div_ceil(LANES)];
        for (atom, point) in sample.iter().enumerate() {
            for i in 0..3 {
                places[atom / LANES][i].0[atom % LANES] = point[i].0[AMONG];
            }
        }
        Self { groups, points, sample, places, centre }
    }

    /// How many atoms there are.
    pub fn atoms(&self) -> usize {
        self.sample.len()
    }

    /// All frames.
    pub fn all(&self) -> View<'_> {
        View { points: &self.points, groups: self.groups, centre: &self.centre }
    }

    /// The sample of frames.
    pub fn sample(&self) -> View<'_> {
        View { points: &self.sample, groups: 1, centre: &self.centre }
    }

    /// The three atoms that stay nearest to one, of those that come before it.
    pub fn nearest(&self, atom: usize) -> [usize; 3] {
        widest(Nearest { tile: self, atom })
    }

    /// The least and the largest distance of two atoms in the sample.
    pub fn range(&self, atom: usize, other: usize) -> (f64, f64) {
        let offset = minus::<Lanes>(&self.sample[atom], &self.sample[other]);
        let squares = square(&offset).0;
        let low = squares.into_iter().fold(f32::INFINITY, f32::min);
        let high = squares.into_iter().fold(0.0, f32::max);
        (f64::from(low).sqrt(), f64::from(high).sqrt())
    }
}

/// Some frames of the atoms of a tile.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Atom after atom, vector after vector.
    points: &'a [Point],
    groups: usize,
    centre: &'a [f32; 3],
}

impl View<'_> {
    /// How many vectors of frames there are.
    #[inline(always)]
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// A vector of frames: the atoms that one is placed from, and the atom itself.
    #[inline(always)]
    pub fn with_near<V: Vector>(
        &self,
        atom: usize,
        kind: Kind,
        back: [u8; 3],
        group: usize,
    ) -> ([[V; 3]; 3], [V; 3]) {
        let at = |atom: usize| &self.points[atom * self.groups + group];
        let point = load(at(atom));
        if kind == Kind::Free {
            let centre = three(
                #[inline(always)]
                |i| V::all(self.centre[i]),
            );
            return ([centre; 3], point);
        }
        let near = three(
            #[inline(always)]
            |i| load(at(atom - usize::from(back[i]))),
        );
        (near, point)
    }

    /// The mean distance of two atoms, and how much it varies.
    pub fn distance(self, atom: usize, other: usize) -> (f64, f64) {
        widest(Distance { view: self, atom, other })
    }

    /// The sums for the template of an atom.
    pub fn sums(self, atom: usize, back: [u8; 3]) -> Sums {
        widest(SumsOf { view: self, atom, back })
    }
}

struct Nearest<'a> {
    tile: &'a Tile,
    atom: usize,
}

impl Job for Nearest<'_> {
    type Output = [usize; 3];

    #[inline(always)]
    fn run<V: Vector>(self) -> [usize; 3] {
        let Self { tile, atom } = self;
        let mut best = [(f32::INFINITY, atom); 3];
        let place = &tile.sample[atom];
        let here = three(
            #[inline(always)]
            |i| V::all(place[i].0[AMONG]),
        );
        let place = load::<V>(place);
        let first = atom.saturating_sub(LOOK_BACK);
        // The last ones first: they are mostly the nearest, and leave little to look at.
        for block in (first / LANES..=atom / LANES).rev() {
            let squares = square(&minus(&here, &load::<V>(&tile.places[block])));
            let mut nearer = V::lanes_of(V::all(best[2].0).above(squares));
            while nearer != 0 {
                let lane = nearer.ilog2() as usize;
                nearer ^= 1 << lane;
                let other = block * LANES + lane;
                if other < first || other >= atom {
                    continue;
                }
                let squares = square(&minus(&place, &load(&tile.sample[other])));
                if V::lanes_of(squares.above(V::all(best[2].0))) != 0 {
                    continue;
                }
                let mut far = 0.0;
                for square in squares.lanes().0 {
                    far = if square > far { square } else { far };
                }
                if far < best[2].0 {
                    best[2] = (far, other);
                    if far < best[1].0 {
                        best.swap(1, 2);
                    }
                    if far < best[0].0 {
                        best.swap(0, 1);
                    }
                }
            }
        }
        best.map(|(_, other)| other)
    }
}

struct Distance<'a> {
    view: View<'a>,
    atom: usize,
    other: usize,
}

impl Job for Distance<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn run<V: Vector>(self) -> (f64, f64) {
        let View { points, groups, .. } = self.view;
        let (mut sum, mut squares) = (V::all(0.0), V::all(0.0));
        for group in 0..groups {
            let [one, other] = [self.atom, self.other].map(|atom| &points[atom * groups + group]);
            let square = square(&minus(&load::<V>(one), &load(other)));
            sum = sum.plus(square.root());
            squares = squares.plus(square);
        }
        let count = (groups * LANES) as f64;
        let mean = sum.sum() / count;
        (mean, (squares.sum() / count - mean * mean).max(0.0).sqrt())
    }
}

struct SumsOf<'a> {
    view: View<'a>,
    atom: usize,
    back: [u8; 3],
}

impl Job for SumsOf<'_> {
    type Output = Sums;

    #[inline(always)]
    fn run<V: Vector>(self) -> Sums {
        let Self { view, atom, back } = self;
        Sums::over::<V>(
            view.groups,
            #[inline(always)]
            |group| view.with_near(atom, Kind::Template, back, group),
        )
    }
}

/// The middle of the range of whole numbers.
fn middle_of_range<'a>(values: impl Iterator<Item = &'a Lanes>) -> f32 {
    let range = (Lanes::all(f32::MAX), Lanes::all(f32::MIN));
    let range = values.fold(range, |(low, high), x| (x.min(low), x.max(high)));
    let low = range.0.0.into_iter().fold(f32::MAX, f32::min);
    let high = range.1.0.into_iter().fold(f32::MIN, f32::max);
    (low * 0.5 + high * 0.5).round()
}

/// The middle one of floats.
fn middle_of_order(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.filter(|x| x.abs() <= FARTHEST).collect();
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// What each coordinate of an atom is predicted to be, what it is, and the choice of each frame.
#[derive(Clone, Copy)]
pub struct Trace<V: Vector> {
    /// In the order in which they are asked for.
    pub predicted: [V; 3],
    /// The same.
    pub actual: [V; 3],
    /// What the frames say besides.
    pub choice: Choice<V>,
}

/// How an atom is placed in some frames.
#[inline(always)]
pub fn trace<V: Vector>(kind: Kind, near: &[[V; 3]; 3], rule: &Rule<V>, atom: &[V; 3]) -> Trace<V> {
    let zero = V::all(0.0);
    let (none, every) = (zero.above(zero), V::all(1.0).above(zero));
    let choice = match kind {
        Kind::Sphere => face(atom, &near[0]),
        _ => Choice { axis: zero, side: none },
    };
    let mut first = Measure { atom, predicted: [zero; 3], actual: [zero; 3] };
    place(kind, near, rule, &choice, &mut first);
    if !matches!(kind, Kind::Angle | Kind::Circle) {
        return Trace { predicted: first.predicted, actual: first.actual, choice };
    }
    // Of two points on a circle, the one that is nearer is taken.
    let mut other = Measure { atom, predicted: [zero; 3], actual: [zero; 3] };
    place(kind, near, rule, &Choice { axis: zero, side: every }, &mut other);
    let side = first.error().above(other.error());
    let predicted = three(
        #[inline(always)]
        |i| other.predicted[i].select(side, first.predicted[i]),
    );
    Trace { predicted, actual: first.actual, choice: Choice { axis: zero, side } }
}

/// Answers with an atom's coordinates and notes what they were predicted to be.
struct Measure<'a, V> {
    atom: &'a [V; 3],
    predicted: [V; 3],
    actual: [V; 3],
}

impl<V: Vector> Measure<'_, V> {
    /// How far the two last coordinates are from what they were predicted to be.
    #[inline(always)]
    fn error(&self) -> V {
        let y = self.actual[1].minus(self.predicted[1]).abs();
        y.plus(self.actual[2].minus(self.predicted[2]).abs())
    }
}

impl<V: Vector> Settle<V> for Measure<'_, V> {
    #[inline(always)]
    fn settle(&mut self, slot: usize, turn: &Turn<V>, axis: usize, predicted: V) -> V {
        let actual = turn.apply(self.atom)[axis];
        self.predicted[slot] = predicted;
        self.actual[slot] = actual;
        actual
    }
}

/// Whether integers are small enough to be computed with as floats.
pub fn are_small(integers: &[i32]) -> bool {
    integers.iter().all(|integer| integer.unsigned_abs() <= LARGEST as u32)
}
