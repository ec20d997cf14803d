//! One frame: eight atoms in a vector.
//!
//! A frame that is read alone leaves the other lanes empty, so atoms take their places. Atoms of the same
//! kind whose references are known can be placed together, be they of different molecules. Who they are
//! follows from the model alone, so it is found out once.

use super::bits::{bias, word};
use super::constraint::{Choice, Kind, Rule, Settle, Turn, place};
use super::decode::{Atom, ROW};
use super::lanes::{LANES, Lanes, Vector, load, three};
use super::model::TILE;
use super::widest::Job;
use crate::codec::grid::Grid;

/// Atoms that are placed together, in an order in which each comes after its references.
#[derive(Debug)]
pub struct Plan(Vec<Batch>);

#[derive(Debug)]
struct Batch {
    kind: Kind,
    /// Repeats the last one where there are fewer.
    atoms: [u32; LANES],
}

impl Plan {
    /// The plan for these atoms.
    pub fn of(atoms: &[Atom]) -> Self {
        let kinds = Kind::ALL.len();
        let mut levels: Vec<usize> = Vec::with_capacity(atoms.len());
        // By level, then by kind.
        let mut alike: Vec<Vec<u32>> = Vec::new();
        for (index, atom) in atoms.iter().enumerate() {
            let first = index / TILE * TILE;
            let references = atom.near[..atom.kind.references()].iter();
            let level = references.map(|&near| levels[first + usize::from(near)] + 1).max();
            let level = level.unwrap_or(0);
            levels.push(level);
            if alike.len() < (level + 1) * kinds {
                alike.resize((level + 1) * kinds, Vec::new());
            }
            alike[level * kinds + atom.kind as usize].push(index as u32);
        }
        let mut batches = Vec::with_capacity(atoms.len() / LANES + alike.len());
        for (number, members) in alike.iter().enumerate() {
            for members in members.chunks(LANES) {
                let last = members.len() - 1;
                let atoms = std::array::from_fn(|lane| members[lane.min(last)]);
                batches.push(Batch { kind: Kind::ALL[number % kinds], atoms });
            }
        }
        Self(batches)
    }
}

/// A frame on a grid.
pub struct Single<'a> {
    pub plan: &'a Plan,
    pub atoms: &'a [Atom],
    pub centres: &'a [[f32; 3]],
    pub grid: Grid,
    pub stream: &'a [u8],
    /// Room for all atoms.
    pub points: &'a mut [[f32; 3]],
    /// The rows of the frame.
    pub out: &'a mut [u8],
}

impl Job for Single<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.grid {
            Grid::Divided(scale) => {
                let scale = V::all(scale as f32);
                self.decode::<V>(
                    #[inline(always)]
                    |k| k.over(scale),
                );
            }
            Grid::Multiplied(scale) => {
                let step = V::all(1.0 / scale as f32);
                self.decode::<V>(
                    #[inline(always)]
                    |k| k.times(step),
                );
            }
            Grid::MultipliedThenTen(scale) => {
                let (step, ten) = (V::all(1.0 / scale as f32), V::all(10.0));
                self.decode::<V>(
                    #[inline(always)]
                    |k| k.times(step).times(ten),
                );
            }
            Grid::Rounded(spacing) => self.decode::<V>(
                #[inline(always)]
                |k| k.times_wide(spacing),
            ),
        }
    }
}

impl Single<'_> {
    #[inline(always)]
    fn decode<V: Vector>(self, float: impl Fn(V) -> V) {
        let zero = Lanes([0.0; LANES]);
        for batch in &self.plan.0 {
            let mut near = [[zero; 3]; 3];
            let mut coefficients = [zero; 3];
            let (mut square, mut product) = (zero, zero);
            let (mut side, mut axis) = (zero, zero);
            let mut rest = [zero; 3];
            for lane in 0..LANES {
                let index = batch.atoms[lane] as usize;
                let atom = &self.atoms[index];
                let tile = index / TILE;
                let used = if batch.kind == Kind::Free { 1 } else { batch.kind.references() };
                for i in 0..used {
                    let from = match batch.kind {
                        Kind::Free => &self.centres[tile],
                        _ => &self.points[tile * TILE + usize::from(atom.near[i])],
                    };
                    for axis in 0..3 {
                        near[i][axis].0[lane] = from[axis];
                    }
                }
                for i in 0..batch.kind.coefficients() {
                    coefficients[i].0[lane] = atom.coefficients[i];
                }
                square.0[lane] = atom.square;
                product.0[lane] = atom.product;
                let mut word = word(self.stream, atom.bit);
                for i in 0..3 {
                    let width = u32::from(atom.widths[i]);
                    let number = (word & ((1 << width) - 1)) as i32;
                    rest[i].0[lane] = (number - bias(width)) as f32;
                    word >>= width;
                }
                side.0[lane] = (word & 1) as f32;
                axis.0[lane] = (word >> 1 & 3) as f32;
            }
            let near = three(
                #[inline(always)]
                |i| load::<V>(&near[i]),
            );
            let rule = Rule {
                coefficients: load(&coefficients),
                square: V::load(&square),
                product: V::load(&product),
            };
            let side = V::load(&side).above(V::all(0.0));
            let choice = Choice { side, axis: V::load(&axis) };
            let point = place(batch.kind, &near, &rule, &choice, &mut Restore(load::<V>(&rest)));
            let points = [point[0].lanes(), point[1].lanes(), point[2].lanes()];
            let rows = V::rows([float(point[0]), float(point[1]), float(point[2])]);
            for lane in 0..LANES {
                let index = batch.atoms[lane] as usize;
                self.points[index] = [points[0].0[lane], points[1].0[lane], points[2].0[lane]];
                if let Some(row) = self.out.get_mut(index * ROW..(index + 1) * ROW) {
                    for i in 0..3 {
                        row[4 * i..4 * i + 4].copy_from_slice(&rows[lane][i].to_le_bytes());
                    }
                }
            }
        }
    }
}

/// Answers with what is predicted and what was noted.
struct Restore<V>([V; 3]);

impl<V: Vector> Settle<V> for Restore<V> {
    #[inline(always)]
    fn settle(&mut self, slot: usize, _: &Turn<V>, _: usize, predicted: V) -> V {
        predicted.rounded().plus(self.0[slot])
    }
}
