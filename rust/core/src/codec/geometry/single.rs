//! One frame: eight atoms in a vector.
//!
//! A frame that is read alone leaves the other lanes empty, so atoms take their places. Atoms of the same
//! kind whose references are known can be placed together, be they of different molecules. Who they are
//! follows from the model alone, so it is found out once. Where the place of an atom's bits is known only
//! when those before it have been read, as it is of floats, the atoms are of eight tiles, which are read
//! side by side, and a tile whose next atom is of another kind waits.

use super::atoms::Atom;
use super::bits::{Bits, bias, word};
use super::constraint::{Choice, Kind, Rule, Settle, Turn, place};
use super::decode::ROW;
use super::integers::Integers;
use super::lanes::{LANES, Lanes, Vector, load, three};
use super::model::TILE;
use super::numbers::{self, FARTHEST};
use super::widest::Job;
use crate::codec::grid::Grid;

/// Atoms that are placed together, in an order in which each comes after its references.
#[derive(Debug)]
pub struct Plan(Vec<Batch>);

#[derive(Debug)]
struct Batch {
    kind: Kind,
    /// Repeats the last one where there are fewer; of tiles side by side, [`NONE`] for those that wait.
    atoms: [u32; LANES],
}

/// No atom.
const NONE: u32 = u32::MAX;

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

    /// The plan for these atoms, of eight tiles side by side, one after the other in each.
    pub fn side_by_side(atoms: &[Atom]) -> Self {
        let mut batches = Vec::with_capacity(atoms.len() / LANES * 3 / 2);
        for (group, atoms) in atoms.chunks(LANES * TILE).enumerate() {
            let first = group * LANES * TILE;
            let mut tiles: [_; LANES] = std::array::from_fn(|lane| {
                let end = atoms.len().min((lane + 1) * TILE);
                (lane * TILE).min(end)..end
            });
            loop {
                let mut waiting = [0; Kind::ALL.len()];
                for tile in tiles.iter().filter(|tile| !tile.is_empty()) {
                    waiting[atoms[tile.start].kind as usize] += 1;
                }
                let (most, kind) = Kind::ALL
                    .into_iter()
                    .map(|kind| (waiting[kind as usize], kind))
                    .fold((0, Kind::Free), |most, one| if one.0 > most.0 { one } else { most });
                if most == 0 {
                    break;
                }
                let next = tiles.each_mut().map(|tile| {
                    let is_next = tile.start < tile.end && atoms[tile.start].kind == kind;
                    if is_next {
                        tile.next().map_or(NONE, |atom| (first + atom) as u32)
                    } else {
                        NONE
                    }
                });
                batches.push(Batch { kind, atoms: next });
            }
        }
        Self(batches)
    }
}

/// What a batch is placed from.
struct Gathered {
    near: [[Lanes; 3]; 3],
    coefficients: [Lanes; 3],
    square: Lanes,
    product: Lanes,
}

impl Gathered {
    #[inline(always)]
    fn of(batch: &Batch, atoms: &[Atom], centres: &[[f32; 3]], points: &[[f32; 3]]) -> Self {
        let zero = Lanes([0.0; LANES]);
        let mut all =
            Self { near: [[zero; 3]; 3], coefficients: [zero; 3], square: zero, product: zero };
        for lane in 0..LANES {
            let index = batch.atoms[lane] as usize;
            let Some(atom) = atoms.get(index) else { continue };
            let tile = index / TILE;
            let used = if batch.kind == Kind::Free { 1 } else { batch.kind.references() };
            for i in 0..used {
                let from = match batch.kind {
                    Kind::Free => &centres[tile],
                    _ => &points[tile * TILE + usize::from(atom.near[i])],
                };
                for axis in 0..3 {
                    all.near[i][axis].0[lane] = from[axis];
                }
            }
            for i in 0..batch.kind.coefficients() {
                all.coefficients[i].0[lane] = atom.coefficients[i];
            }
            all.square.0[lane] = atom.square;
            all.product.0[lane] = atom.product;
        }
        all
    }

    #[inline(always)]
    fn near<V: Vector>(&self) -> [[V; 3]; 3] {
        three(
            #[inline(always)]
            |i| load::<V>(&self.near[i]),
        )
    }

    #[inline(always)]
    fn rule<V: Vector>(&self) -> Rule<V> {
        Rule {
            coefficients: load(&self.coefficients),
            square: V::load(&self.square),
            product: V::load(&self.product),
        }
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
            let from = Gathered::of(batch, self.atoms, self.centres, self.points);
            let (mut side, mut axis) = (zero, zero);
            let mut rest = [zero; 3];
            for lane in 0..LANES {
                let atom = &self.atoms[batch.atoms[lane] as usize];
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
            let side = V::load(&side).above(V::all(0.0));
            let choice = Choice { side, axis: V::load(&axis) };
            let mut restore = Restore(load::<V>(&rest));
            let point = place(batch.kind, &from.near(), &from.rule(), &choice, &mut restore);
            let rows = V::rows([float(point[0]), float(point[1]), float(point[2])]);
            keep(batch, &point, &rows, self.points, self.out);
        }
    }
}

/// Keeps the atoms of a batch for those that are placed from them, and writes their rows.
#[inline(always)]
fn keep<V: Vector>(
    batch: &Batch,
    point: &[V; 3],
    rows: &[[f32; 4]; LANES],
    points: &mut [[f32; 3]],
    out: &mut [u8],
) {
    let lanes = [point[0].lanes(), point[1].lanes(), point[2].lanes()];
    for lane in 0..LANES {
        let index = batch.atoms[lane] as usize;
        let Some(point) = points.get_mut(index) else { continue };
        *point = [lanes[0].0[lane], lanes[1].0[lane], lanes[2].0[lane]];
        if let Some(row) = out.get_mut(index * ROW..(index + 1) * ROW) {
            for i in 0..3 {
                row[4 * i..4 * i + 4].copy_from_slice(&rows[lane][i].to_le_bytes());
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

/// A frame of floats.
pub struct SingleFloats<'a> {
    /// Of eight tiles side by side.
    pub plan: &'a Plan,
    pub atoms: &'a [Atom],
    pub centres: &'a [[f32; 3]],
    /// Part of the streams, from this byte of them on.
    pub streams: &'a [u8],
    pub first: usize,
    /// Where each tile of the frame begins in all of them.
    pub starts: &'a [u32],
    /// Room for all atoms.
    pub points: &'a mut [[f32; 3]],
    /// The rows of the frame.
    pub out: &'a mut [u8],
}

impl Job for SingleFloats<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let mut group = usize::MAX;
        let mut bits = Bits::<V>::at(self.streams, V::Integers::all(0));
        for batch in &self.plan.0 {
            let first = batch.atoms.iter().copied().min().unwrap_or(0) as usize;
            if first / (LANES * TILE) != group {
                group = first / (LANES * TILE);
                let starts = std::array::from_fn(|lane| {
                    let start = self.starts.get(group * LANES + lane);
                    start.map_or(0, |&start| (start as usize).wrapping_sub(self.first) as i32)
                });
                bits = Bits::at(self.streams, V::Integers::load(&starts));
            }
            let from = Gathered::of(batch, self.atoms, self.centres, self.points);
            let (mut levels, mut taking) = ([[0; LANES]; 3], [0; LANES]);
            for lane in 0..LANES {
                if let Some(atom) = self.atoms.get(batch.atoms[lane] as usize) {
                    taking[lane] = -1;
                    for i in 0..3 {
                        levels[i][lane] = i32::from(atom.widths[i]);
                    }
                }
            }
            let taking = V::Integers::load(&taking);
            let choice = bits.choice(batch.kind, taking);
            let is_free = batch.kind == Kind::Free;
            let mut restore = RestoreFloats { bits: &mut bits, levels, is_free, taking };
            let point = place(batch.kind, &from.near(), &from.rule(), &choice, &mut restore);
            keep(batch, &point, &V::rows(point), self.points, self.out);
        }
    }
}

/// Answers with what is predicted and the next bits of each tile that does not wait.
struct RestoreFloats<'a, 'b, V: Vector> {
    bits: &'a mut Bits<'b, V>,
    levels: [[i32; LANES]; 3],
    is_free: bool,
    taking: V::Integers,
}

impl<V: Vector> Settle<V> for RestoreFloats<'_, '_, V> {
    #[inline(always)]
    fn settle(&mut self, slot: usize, _: &Turn<V>, _: usize, predicted: V) -> V {
        let predicted = predicted.inside(FARTHEST);
        let levels = V::Integers::load(&self.levels[slot]);
        let widths = numbers::widths_of(levels, predicted, self.is_free).and(self.taking);
        let rest = self.bits.take(widths).signed(widths);
        numbers::all_unordered(numbers::all_ordered(predicted).plus(rest))
    }
}
