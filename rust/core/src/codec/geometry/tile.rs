//! The frames of a tile of atoms, eight in a vector.

use super::constraint::{Choice, Kind, Rule, Settle, Turn, face, place};
use super::lanes::{LANES, LARGEST, Lanes, Vector, load, minus, square, three};
use super::model::TILE;
use super::numbers::{FARTHEST, Numbers};

/// Three coordinates in each lane.
type Point = [Lanes; 3];

/// Atoms among which references are looked for.
const LOOK_BACK: usize = 48;

/// Coordinates of some atoms in all frames, in grid units. The last frame is repeated until the
/// vectors are full.
pub struct Tile {
    /// How many vectors of frames there are.
    groups: usize,
    /// Atom after atom, vector after vector.
    points: Vec<Point>,
    /// Some frames of each atom.
    sample: Vec<Point>,
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
            for (atom, values) in row(place.min(frames - 1)).chunks_exact(3).enumerate() {
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
        let all = match numbers {
            Numbers::Grid => &points,
            Numbers::Floats => &sample,
        };
        let centre = three(|i| middle(all.iter().flat_map(|point| point[i].0), numbers));
        Self { groups, points, sample, centre }
    }

    /// How many atoms there are.
    pub fn atoms(&self) -> usize {
        self.sample.len()
    }

    /// How many vectors of frames there are.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Where an atom is in a frame.
    pub fn point(&self, atom: usize, frame: usize) -> [f32; 3] {
        let point = &self.points[atom * self.groups + frame / LANES];
        three(|i| point[i].0[frame % LANES])
    }

    /// The three atoms that stay nearest to one, of those that come before it.
    #[inline(always)]
    pub fn nearest<V: Vector>(&self, atom: usize) -> [usize; 3] {
        let mut best = [(f32::INFINITY, atom); 3];
        let place = load::<V>(&self.sample[atom]);
        for other in atom.saturating_sub(LOOK_BACK)..atom {
            let squares = square(&minus(&place, &load(&self.sample[other]))).lanes().0;
            let mut far = 0.0;
            for square in squares {
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
        best.map(|(_, other)| other)
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
    #[inline(always)]
    pub fn distance<V: Vector>(&self, atom: usize, other: usize) -> (f64, f64) {
        let (mut sum, mut squares) = (V::all(0.0), V::all(0.0));
        for group in 0..self.groups {
            let at = |atom: usize| load::<V>(&self.points[atom * self.groups + group]);
            let square = square(&minus(&at(atom), &at(other)));
            sum = sum.plus(square.root());
            squares = squares.plus(square);
        }
        let count = (self.groups * LANES) as f64;
        let mean = sum.sum() / count;
        (mean, (squares.sum() / count - mean * mean).max(0.0).sqrt())
    }
}

/// The middle of what coordinates may be: of their range, or of their order.
fn middle(values: impl Iterator<Item = f32>, numbers: Numbers) -> f32 {
    match numbers {
        Numbers::Grid => {
            let range = |(low, high): (f32, f32), x: f32| (low.min(x), high.max(x));
            let (low, high) = values.fold((f32::MAX, f32::MIN), range);
            (low * 0.5 + high * 0.5).round()
        }
        Numbers::Floats => {
            let mut values: Vec<f32> = values.filter(|x| x.abs() <= FARTHEST).collect();
            let middle = values.len() / 2;
            if values.is_empty() {
                return 0.0;
            }
            *values.select_nth_unstable_by(middle, f32::total_cmp).1
        }
    }
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
