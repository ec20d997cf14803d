//! The symbols of the atoms of a block, and their codes: which are best is known when all symbols
//! are.

use crate::codec::geometry::entropy::huffman;
use crate::codec::geometry::entropy::noise::{FIXED, zigzag};
use crate::codec::geometry::entropy::symbol::{ESCAPE, excess, is_escaped, symbol, symbols};
use crate::codec::geometry::measure::residuals::Residuals;
use crate::codec::geometry::model::{AtomPredictor, CLASSES, TABLES, sides};
use crate::codec::simd::vectorized;

/// In fewer frames, or fewer atoms of frames, there is one class: classes and further tables would
/// cost more than they save.
const FEW_FRAMES: usize = 16;
const FEW: usize = 1 << 16;
/// Atoms whose quotients are below these, on average, are of the first and the second class: what
/// made the archives of `benches/peers/trajectory.py` smallest.
const CLASS_MEANS: [f32; CLASSES as usize - 1] = [0.62, 0.85];

/// Symbols, atom after atom and frame after frame.
pub struct Symbols {
    has_classes: bool,
    all: Vec<u16>,
    /// The quotients of one atom.
    quotients: [Vec<u32>; 3],
    /// Those of symbols that have an excess.
    escaped: Vec<[u32; 3]>,
    /// How often each table has each.
    counts: [Vec<u32>; TABLES],
}

impl Symbols {
    /// Of so many atoms in so many frames.
    pub fn new(atoms: usize, frames: usize) -> Self {
        let has_classes = frames >= FEW_FRAMES && atoms * frames >= FEW;
        let counts = std::array::from_fn(|_| Vec::new());
        let quotients = Default::default();
        Self { has_classes, all: Vec::new(), quotients, escaped: Vec::new(), counts }
    }

    /// Adds those of an atom, and finds its class.
    pub fn add(&mut self, atom: &mut AtomPredictor, written: &Residuals, is_key: &[bool]) {
        if !atom.has_symbols() {
            return;
        }
        let sides = atom.predictor.sides();
        let first = self.all.len();
        for i in 0..3 {
            let noisy = [atom.noisy[i], atom.key_noisy[i]].map(|noisy| noisy % FIXED);
            let quotients = &mut self.quotients[i];
            quotients.resize(is_key.len(), 0);
            vectorized!(_simd => divide(&written.values[i], is_key, noisy, quotients));
        }
        let [x, y, z] = &self.quotients;
        for (frame, _) in coded(atom, is_key) {
            let quotients = [x[frame], y[frame], z[frame]];
            let side = written.sides.get(frame).copied().unwrap_or(0);
            self.all.push(symbol(quotients, side.into(), sides));
            if quotients.iter().any(|&quotient| quotient >= ESCAPE) {
                self.escaped.push(quotients);
            }
        }
        let added = &self.all[first..];
        if self.has_classes {
            let free = atom.predictor.is_free().into_iter().filter(|&is_free| is_free).count();
            let sum =
                |all: &Vec<u32>| all.iter().map(|&quotient| quotient.min(ESCAPE)).sum::<u32>();
            let sum: u32 = self.quotients[..free].iter().map(sum).sum();
            let mean = sum as f32 / (free * is_key.len()) as f32;
            atom.class = CLASS_MEANS.iter().filter(|&&bound| mean > bound).count() as u8;
        }
        let counts = &mut self.counts[atom.table()];
        counts.resize(symbols(sides), 0);
        added.iter().for_each(|&symbol| counts[usize::from(symbol)] += 1);
    }

    /// The codes of all, and the lengths that the model has.
    pub fn finish(self) -> (Codes, [Vec<u8>; TABLES]) {
        let lengths = self.counts.map(|counts| huffman::lengths(&counts));
        let tables = std::array::from_fn(|table| {
            let codes = huffman::codes(&lengths[table]).unwrap_or_default();
            let of = |(symbol, code)| {
                let is_escaped = is_escaped(symbol as u16, sides(table));
                Code { code, length: lengths[table][symbol], is_escaped }
            };
            codes.into_iter().enumerate().map(of).collect()
        });
        let escaped = self.escaped.into_iter();
        (Codes { tables, all: self.all.into_iter(), escaped }, lengths)
    }
}

/// The quotients of residuals, of which so many bits are noise; in key frames, as many as the second
/// number.
#[inline(always)]
fn divide(residuals: &[i32], is_key: &[bool], noisy: [u8; 2], quotients: &mut [u32]) {
    for ((quotient, &residual), &is_key) in quotients.iter_mut().zip(residuals).zip(is_key) {
        *quotient = zigzag(residual) >> if is_key { noisy[1] } else { noisy[0] };
    }
}

/// The frames in which an atom has symbols, and how many bits of each residual are noise.
fn coded<'a>(
    atom: &AtomPredictor,
    is_key: &'a [bool],
) -> impl Iterator<Item = (usize, [u8; 3])> + use<'a> {
    let noisy = [atom.noisy, atom.key_noisy];
    let frames = is_key.iter().map(move |&is_key| noisy[usize::from(is_key)]).enumerate();
    frames.filter(|(_, noisy)| noisy[0] < FIXED)
}

/// The code of a symbol.
#[derive(Clone, Copy)]
struct Code {
    code: u16,
    length: u8,
    is_escaped: bool,
}

/// The codes of symbols, in the order in which these were added.
pub struct Codes {
    tables: [Vec<Code>; TABLES],
    all: std::vec::IntoIter<u16>,
    escaped: std::vec::IntoIter<[u32; 3]>,
}

impl Codes {
    /// Writes those of the next atom: `put` is given frames, bits, and how many these are.
    pub fn write(
        &mut self,
        atom: &AtomPredictor,
        is_key: &[bool],
        mut put: impl FnMut(usize, u64, u32),
    ) {
        let table = &self.tables[atom.table()];
        for ((frame, _), symbol) in coded(atom, is_key).zip(&mut self.all) {
            let Code { code, length, is_escaped } = table[usize::from(symbol)];
            put(frame, code.into(), length.into());
            if is_escaped {
                let quotients = self.escaped.next().unwrap_or_default();
                quotients.into_iter().filter_map(excess).for_each(|(bits, n)| put(frame, bits, n));
            }
        }
    }
}
