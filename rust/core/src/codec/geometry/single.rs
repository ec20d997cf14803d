//! One frame: eight atoms in a vector.
//!
//! A frame that is read alone leaves the other lanes empty, so atoms take their places. Its residuals are read
//! before. Then atoms of the same kind whose references are known can be placed together, be they of different
//! molecules. Who they are follows from the model alone, so it is found out once. Of floats, the place of an atom's
//! lower bits is known only when those before it have been read; so the atoms are of eight tiles, which are read
//! side by side, and a tile whose next atom is of another kind waits.

use super::arithmetic::Arithmetic;
use super::atoms::{Atom, ROW, TileLayout};
use super::bits::Bits;
use super::constraint::{Choice, Kind, Rule, place};
use super::frame::Eight;
use super::integers::Integers;
use super::lanes::{LANES, Lanes, Vector, load, three};
use super::model::TILE;
use super::numbers::Numbers;
use super::restore::{RestoreFloats, RestoreGrid};
use super::widest::Job;

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
    pub fn of(atoms: &[Atom], numbers: Numbers) -> Self {
        match numbers {
            Numbers::Grid => Self::by_level(atoms),
            Numbers::Floats => Self::side_by_side(atoms),
        }
    }

    /// Each as soon as its references are known.
    fn by_level(atoms: &[Atom]) -> Self {
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

    /// Of eight tiles side by side, one after the other in each.
    fn side_by_side(atoms: &[Atom]) -> Self {
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
    fn of(batch: &Batch, atoms: &[Atom], tiles: &[TileLayout], points: &[[f32; 3]]) -> Self {
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
                    Kind::Free => &tiles[tile].centre,
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

/// A frame whose residuals have been read.
pub struct Single<'a> {
    pub plan: &'a Plan,
    pub atoms: &'a [Atom],
    pub tiles: &'a [TileLayout],
    /// What the strings say of each atom: of eight tiles step by step, then of the next eight.
    pub noted: &'a [Eight],
    /// What makes floats of numbers on a grid, where they are on one.
    pub arithmetic: Option<Arithmetic>,
    /// Part of the streams, from this byte of them on.
    pub streams: &'a [u8],
    pub first: usize,
    /// Where the lower bits of each tile begin in all of them.
    pub lower: &'a [u32],
    /// Room for all atoms.
    pub points: &'a mut [[f32; 3]],
    /// The rows of the frame.
    pub out: &'a mut [u8],
}

impl Job for Single<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.arithmetic {
            Some(arithmetic) => self.grid::<V>(arithmetic),
            None => self.floats::<V>(),
        }
    }
}

impl Single<'_> {
    #[inline(always)]
    fn grid<V: Vector>(self, arithmetic: Arithmetic) {
        for batch in &self.plan.0 {
            let from = Gathered::of(batch, self.atoms, self.tiles, self.points);
            let noted = Columns::of(batch, self.noted);
            let residuals = three(
                #[inline(always)]
                |i| V::of(V::Integers::load(&noted.residuals[i])),
            );
            let choice = Choice::of(V::Integers::load(&noted.choices));
            let mut restore = RestoreGrid(residuals);
            let point = place(batch.kind, &from.near(), &from.rule(), &choice, &mut restore);
            let rows = V::rows(arithmetic.floats(&point));
            keep(batch, &point, &rows, self.points, self.out);
        }
    }

    #[inline(always)]
    fn floats<V: Vector>(self) {
        let mut group = usize::MAX;
        let mut lower = Bits::<V>::at(self.streams, V::Integers::all(0));
        for batch in &self.plan.0 {
            let first = batch.atoms.iter().copied().min().unwrap_or(0) as usize;
            if first / (LANES * TILE) != group {
                group = first / (LANES * TILE);
                let starts = std::array::from_fn(|lane| {
                    let start = self.lower.get(group * LANES + lane);
                    start.map_or(0, |&start| (start as usize).wrapping_sub(self.first) as i32)
                });
                lower = Bits::at(self.streams, V::Integers::load(&starts));
            }
            let from = Gathered::of(batch, self.atoms, self.tiles, self.points);
            let noted = Columns::of(batch, self.noted);
            let (mut levels, mut taking) = ([[0; LANES]; 3], [0; LANES]);
            for lane in 0..LANES {
                if let Some(atom) = self.atoms.get(batch.atoms[lane] as usize) {
                    taking[lane] = -1;
                    for i in 0..3 {
                        levels[i][lane] = i32::from(atom.levels[i]);
                    }
                }
            }
            let mut restore = RestoreFloats {
                lower: &mut lower,
                upper: three(
                    #[inline(always)]
                    |i| V::Integers::load(&noted.residuals[i]),
                ),
                levels: three(
                    #[inline(always)]
                    |i| V::Integers::load(&levels[i]),
                ),
                is_free: batch.kind == Kind::Free,
                taking: V::Integers::load(&taking),
            };
            let choice = Choice::of(V::Integers::load(&noted.choices));
            let point = place(batch.kind, &from.near(), &from.rule(), &choice, &mut restore);
            keep(batch, &point, &V::rows(point), self.points, self.out);
        }
    }
}

/// What is noted of the atoms of a batch.
struct Columns {
    residuals: [[i32; LANES]; 3],
    choices: [i32; LANES],
}

impl Columns {
    #[inline(always)]
    fn of(batch: &Batch, noted: &[Eight]) -> Self {
        let mut all = Self { residuals: [[0; LANES]; 3], choices: [0; LANES] };
        for lane in 0..LANES {
            let atom = batch.atoms[lane] as usize;
            let (tile, index) = (atom / TILE, atom % TILE);
            if let Some(noted) = noted.get(tile / LANES * TILE + index) {
                for i in 0..3 {
                    all.residuals[i][lane] = noted[i][tile % LANES];
                }
                all.choices[lane] = noted[3][tile % LANES];
            }
        }
        all
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
