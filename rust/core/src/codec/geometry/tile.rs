//! The frames of a tile of atoms, eight in a vector.

use super::constraint::{Choice, Kind, Rule, Settle, Turn, face, place};
use super::lanes::{LANES, LARGEST, Lanes, Vector, load, minus, square, three};
use super::model::TILE;

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
    pub centre: [i32; 3],
}

impl Tile {
    /// The atoms from `first` on, out of frames of `rows` atoms.
    pub fn of(integers: &[i32], rows: usize, first: usize) -> Self {
        let atoms = TILE.min(rows - first);
        let frames = integers.len() / (3 * rows);
        let groups = frames.div_ceil(LANES);
        let mut points = vec![[Lanes::all(0.0); 3]; atoms * groups];
        let mut sample = vec![[Lanes::all(0.0); 3]; atoms];
        let mut lowest = [i32::MAX; 3];
        let mut highest = [i32::MIN; 3];
        let row = |frame: usize| &integers[(frame * rows + first) * 3..][..atoms * 3];
        for place in 0..groups * LANES {
            let (group, lane) = (place / LANES, place % LANES);
            for (atom, values) in row(place.min(frames - 1)).chunks_exact(3).enumerate() {
                let point = &mut points[atom * groups + group];
                for i in 0..3 {
                    point[i].0[lane] = values[i] as f32;
                    lowest[i] = lowest[i].min(values[i]);
                    highest[i] = highest[i].max(values[i]);
                }
            }
        }
        for lane in 0..LANES {
            let frame = (2 * lane + 1) * frames / (2 * LANES);
            for (point, values) in sample.iter_mut().zip(row(frame).chunks_exact(3)) {
                for i in 0..3 {
                    point[i].0[lane] = values[i] as f32;
                }
            }
        }
        let centre = std::array::from_fn(|i| lowest[i].midpoint(highest[i]));
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
                |i| V::all(self.centre[i] as f32),
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

/// What an atom differs by from where it is placed, and the choice of each frame.
#[inline(always)]
pub fn residuals<V: Vector>(
    kind: Kind,
    near: &[[V; 3]; 3],
    rule: &Rule<V>,
    atom: &[V; 3],
) -> ([V; 3], Choice<V>) {
    let zero = V::all(0.0);
    let (none, every) = (zero.above(zero), V::all(1.0).above(zero));
    let choice = match kind {
        Kind::Sphere => face(atom, &near[0]),
        _ => Choice { axis: zero, side: none },
    };
    let mut measure = Measure { atom, rest: [zero; 3] };
    place(kind, near, rule, &choice, &mut measure);
    let first = measure.rest;
    if !matches!(kind, Kind::Angle | Kind::Circle) {
        return (first, choice);
    }
    // Of two points on a circle, the one that leaves less is taken.
    place(kind, near, rule, &Choice { axis: zero, side: every }, &mut measure);
    let error = |rest: &[V; 3]| rest[1].abs().plus(rest[2].abs());
    let side = error(&first).above(error(&measure.rest));
    let rest = three(
        #[inline(always)]
        |i| measure.rest[i].select(side, first[i]),
    );
    (rest, Choice { axis: zero, side })
}

/// Answers with an atom's coordinates and notes what they differ by.
struct Measure<'a, V> {
    atom: &'a [V; 3],
    rest: [V; 3],
}

impl<V: Vector> Settle<V> for Measure<'_, V> {
    #[inline(always)]
    fn settle(&mut self, slot: usize, turn: &Turn<V>, axis: usize, predicted: V) -> V {
        let actual = turn.apply(self.atom)[axis];
        self.rest[slot] = actual.minus(predicted.rounded());
        actual
    }
}

/// Whether integers are small enough to be computed with as floats.
pub fn are_small(integers: &[i32]) -> bool {
    integers.iter().all(|integer| integer.unsigned_abs() <= LARGEST as u32)
}
