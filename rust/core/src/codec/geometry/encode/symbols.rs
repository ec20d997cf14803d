//! The symbols of the atoms of a block, and their codes: which are best is known when all symbols
//! are.

use super::part::Part;
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
/// Atoms whose quotients are below these, on average, are of the first and the second class.
const CLASS_MEANS: [f32; CLASSES as usize - 1] = [0.62, 0.85];

/// Symbols, atom after atom and frame after frame.
pub struct Symbols {
    has_classes: bool,
    all: Vec<u16>,
    of_atom: OfAtom,
    /// Those of symbols that have an excess.
    escaped: Vec<[u32; 3]>,
    /// How often each table has each.
    counts: [Vec<u32>; TABLES],
}

/// What one atom has in all frames.
#[derive(Default)]
struct OfAtom {
    quotients: [Vec<u32>; 3],
    symbols: Vec<u16>,
}

impl Symbols {
    /// Of so many atoms in so many frames.
    pub fn new(atoms: usize, frames: usize) -> Self {
        let has_classes = frames >= FEW_FRAMES && atoms * frames >= FEW;
        let counts = std::array::from_fn(|_| Vec::new());
        let of_atom = OfAtom::default();
        Self { has_classes, all: Vec::new(), of_atom, escaped: Vec::new(), counts }
    }

    /// Adds those of an atom, and finds its class.
    pub fn add(&mut self, atom: &mut AtomPredictor, written: &Residuals, is_key: &[bool]) {
        if !atom.has_symbols() {
            return;
        }
        let mean = vectorized!(_simd => self.of_atom.find(atom, written, is_key));
        if self.has_classes {
            atom.class = CLASS_MEANS.iter().filter(|&&bound| mean > bound).count() as u8;
        }
        let OfAtom { quotients: [x, y, z], symbols: of_atom } = &self.of_atom;
        let counts = &mut self.counts[atom.table()];
        let sides = atom.predictor.sides();
        counts.resize(symbols(sides), 0);
        let quotients = x.iter().zip(y).zip(z);
        for ((&symbol, ((&x, &y), &z)), _) in
            of_atom.iter().zip(quotients).zip(is_key).filter(|(_, is_key)| is_coded(atom, **is_key))
        {
            self.all.push(symbol);
            counts[usize::from(symbol)] += 1;
            if x.max(y).max(z) >= ESCAPE {
                self.escaped.push([x, y, z]);
            }
        }
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

impl OfAtom {
    /// Finds the symbols of all frames, and the mean of the quotients of degrees of freedom.
    #[inline(always)]
    fn find(&mut self, atom: &AtomPredictor, written: &Residuals, is_key: &[bool]) -> f32 {
        let (sides, is_free) = (atom.predictor.sides(), atom.predictor.is_free());
        let (mut sum, mut count) = (0, 0);
        for i in 0..3 {
            let [noisy, key_noisy] = [atom.noisy[i], atom.key_noisy[i]].map(|noisy| noisy % FIXED);
            let quotient = |(&residual, &is_key): (&i32, &bool)| {
                zigzag(residual) >> if is_key { key_noisy } else { noisy }
            };
            self.quotients[i].clear();
            self.quotients[i].extend(written.values[i].iter().zip(is_key).map(quotient));
            if is_free[i] {
                sum += self.quotients[i].iter().map(|&quotient| quotient.min(ESCAPE)).sum::<u32>();
                count += is_key.len();
            }
        }
        let [x, y, z] = &self.quotients;
        self.symbols.clear();
        let quotients = x.iter().zip(y).zip(z).map(|((&x, &y), &z)| [x, y, z]);
        self.symbols.extend(quotients.map(|quotients| symbol(quotients, 0, sides)));
        self.symbols.iter_mut().zip(&written.sides).for_each(|(symbol, &side)| {
            *symbol += u16::from(side);
        });
        sum as f32 / count as f32
    }
}

/// Whether an atom has symbols in key frames, or in others.
#[inline(always)]
fn is_coded(atom: &AtomPredictor, is_key: bool) -> bool {
    (if is_key { atom.key_noisy } else { atom.noisy })[0] < FIXED
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
    /// Writes those of the next atom, to where the bits of each frame are.
    pub fn write(&mut self, atom: &AtomPredictor, is_key: &[bool], part: &mut Part) {
        let table = &self.tables[atom.table()];
        let coded = part.frames().zip(is_key).filter(|(_, is_key)| is_coded(atom, **is_key));
        for ((mut frame, _), symbol) in coded.zip(&mut self.all) {
            let Code { code, length, is_escaped } = table[usize::from(symbol)];
            frame.put(code.into(), length.into());
            if is_escaped {
                let quotients = self.escaped.next().unwrap_or_default();
                quotients.into_iter().filter_map(excess).for_each(|(bits, n)| frame.put(bits, n));
            }
        }
    }
}
