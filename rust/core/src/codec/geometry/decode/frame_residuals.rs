//! The residuals of one frame: those of eight tiles in a vector.

use fearless_simd::{i32x8, prelude::*, u32x8};

use super::innovations::sides_after;
use super::layout::{AtomLayout, Field, TileLayout};
use crate::codec::geometry::entropy::huffman::Table;
use crate::codec::geometry::entropy::noise;
use crate::codec::geometry::entropy::symbol::SymbolReader;
use crate::codec::geometry::model::TILE;
use crate::codec::geometry::words::Words;
use crate::codec::simd::{LANES, keep_if, rows};

/// How an atom of each of eight tiles is read, packed: the bit at which its field begins, three
/// coefficients in quarters, and how many sides are told from those of the key frame; three numbers
/// of noisy bits, the bits of a side that is not coded, and the number of its table, counted from
/// one, if it has symbols.
type Step = [[u32; LANES]; 2];

/// The places of these.
const QUARTERS_AT: [u32; 3] = [16, 20, 24];
const SIDES_AT: u32 = 28;
const NOISY_AT: [u32; 3] = [0, 5, 10];
const SIDE_BITS_AT: u32 = 16;
const TABLE_AT: u32 = 24;

/// What strings say of an atom: three residuals, and a side.
pub type Residuals = [i32; 4];

/// How strings are read: of eight tiles step by step, then of the next eight.
#[derive(Debug)]
pub struct Steps {
    usual: Vec<Step>,
    /// In key frames; nothing where there are none.
    key: Vec<Step>,
}

impl Steps {
    pub fn of(atoms: &[AtomLayout], tiles: &[TileLayout]) -> Self {
        let has_keys = tiles.iter().any(|tile| tile.has_keys);
        let usual = steps(atoms, |atom| &atom.field);
        let key = if has_keys { steps(atoms, |atom| &atom.key_field) } else { Vec::new() };
        Self { usual, key }
    }
}

fn steps(atoms: &[AtomLayout], field: impl Fn(&AtomLayout) -> &Field) -> Vec<Step> {
    let mut steps = Vec::with_capacity(atoms.len().div_ceil(LANES * TILE) * TILE);
    for eight in atoms.chunks(LANES * TILE) {
        let first = steps.len();
        steps.resize(first + TILE.min(eight.len()), [[0; LANES]; 2]);
        for (lane, tile) in eight.chunks(TILE).enumerate() {
            for (atom, step) in tile.iter().zip(&mut steps[first..]) {
                [step[0][lane], step[1][lane]] = packed(atom, field(atom));
            }
        }
    }
    steps
}

/// How an atom is read, packed as [`Step`] says.
fn packed(atom: &AtomLayout, field: &Field) -> [u32; 2] {
    let (coefficients, sides) = atom.ar();
    let mut places = u32::from(field.bit) | (sides as u32) << SIDES_AT;
    let mut packed = match field.has_symbols {
        true => (u32::from(atom.table) + 1) << TABLE_AT,
        false => atom.predictor.side_bits() << SIDE_BITS_AT,
    };
    for i in 0..3 {
        // Both are of the key frame: their sum is even.
        let quarters = coefficients[i].iter().sum::<i32>() / 2;
        places |= (quarters as u32) << QUARTERS_AT[i];
        packed |= u32::from(field.noisy[i]) << NOISY_AT[i];
    }
    [places, packed]
}

/// Where the strings of eight tiles begin, and their symbols.
#[derive(Clone, Copy, Default)]
pub struct Starts {
    pub fields: [u32; LANES],
    pub symbols: [u32; LANES],
}

/// The strings of eight tiles of a frame.
pub struct FrameStrings<'a> {
    pub steps: &'a Steps,
    /// Which eight.
    pub eight: usize,
    pub streams: &'a [u8],
    /// The tables of symbols.
    pub tables: &'a [Table],
    /// Of the frame, unless it is a key frame.
    pub own: Option<Starts>,
    /// Of its key frame, if there are any.
    pub key: Option<Starts>,
}

impl FrameStrings<'_> {
    /// Reads the residuals: of the atoms of the first tile, then of the next one.
    #[inline(always)]
    pub fn read<S: Simd>(self, simd: S, out: &mut [Residuals]) {
        let Self { steps, eight, streams, tables, own, key } = self;
        let usual = steps.usual.chunks(TILE).nth(eight).unwrap_or_default();
        let keyed = steps.key.chunks(TILE).nth(eight).unwrap_or_default();
        let (starts, steps) = match (own, key) {
            (Some(own), Some(key)) => {
                let mut own = Reader::new(simd, streams, tables, &own);
                let mut key = Reader::new(simd, streams, tables, &key);
                for (index, (own_step, key_step)) in usual.iter().zip(keyed).enumerate() {
                    let read = ar_decode(own_step, own.next(own_step), key.next(key_step));
                    store(read, index, out);
                }
                return;
            }
            (Some(own), None) => (own, usual),
            (None, Some(key)) => (key, keyed),
            (None, None) => return,
        };
        let mut reader = Reader::new(simd, streams, tables, &starts);
        for (index, step) in steps.iter().enumerate() {
            store(reader.next(step), index, out);
        }
    }
}

/// Keeps what was read of an atom of each tile.
#[inline(always)]
fn store<S: Simd>(read: [i32x8<S>; 4], index: usize, out: &mut [Residuals]) {
    let rows = rows(read);
    for lane in 0..LANES {
        if let Some(out) = out.get_mut(lane * TILE + index) {
            *out = rows[lane].to_array();
        }
    }
}

/// Three residuals and a side, from innovations and those of the key frame.
#[inline(always)]
fn ar_decode<S: Simd>(step: &Step, read: [i32x8<S>; 4], key: [i32x8<S>; 4]) -> [i32x8<S>; 4] {
    let packed: u32x8<S> = step[0].simd_into(read[0].simd);
    let sides: i32x8<S> = (packed >> SIDES_AT).bitcast();
    let is_moved = sides.simd_gt(2) & read[3].simd_gt(0);
    let mut decoded = read;
    for i in 0..3 {
        let quarters = keep_if(!is_moved, (packed >> QUARTERS_AT[i]) & 0xf);
        decoded[i] += ar_predict(quarters, key[i]);
    }
    decoded[3] = sides.simd_gt(0).select(sides_after(read[3], key[3], sides), read[3]);
    decoded
}

/// `predict::ar::ar_predict` with another coefficient in each lane, in quarters, by shifts: a
/// product of 32 bits takes longer. It is in eighths, for large residuals of floats wrap around.
#[inline(always)]
fn ar_predict<S: Simd>(quarters: u32x8<S>, other: i32x8<S>) -> i32x8<S> {
    let zero = i32x8::splat(other.simd, 0);
    let one = (quarters & 1).simd_gt(0).select(other, zero);
    let two = (quarters & 2).simd_gt(0).select(other << 1, zero);
    let four = (quarters & 4).simd_gt(0).select(other << 2, zero);
    (((one + two + four) << 1) + 4) >> 3
}

/// Reads eight strings in step.
struct Reader<'a, S: Simd> {
    streams: &'a [u8],
    tables: &'a [Table],
    fields: u32x8<S>,
    symbols: SymbolReader<'a, S>,
}

impl<'a, S: Simd> Reader<'a, S> {
    #[inline(always)]
    fn new(simd: S, streams: &'a [u8], tables: &'a [Table], starts: &Starts) -> Self {
        let fields = starts.fields.simd_into(simd);
        let symbols = SymbolReader::new(streams, starts.symbols.simd_into(simd));
        Self { streams, tables, fields, symbols }
    }

    #[inline(always)]
    fn next(&mut self, step: &Step) -> [i32x8<S>; 4] {
        let simd = self.fields.simd;
        let [places, packed]: [u32x8<S>; 2] = [step[0].simd_into(simd), step[1].simd_into(simd)];
        let [zero, one] = [u32x8::splat(simd, 0), u32x8::splat(simd, 1)];
        let table = packed >> TABLE_AT;
        let active = table.simd_gt(0);
        let (quotients, side) = match active.any_true() {
            true => {
                let tables = keep_if(active, table - 1).to_array();
                let table = |lane: usize| &self.tables[tables[lane] as usize];
                self.symbols.next(table, active)
            }
            false => ([zero; 3], zero),
        };
        let bits = places & 0xffff;
        let words = Words::at(self.streams, self.fields + (bits >> 3));
        let mut shift = bits & 7;
        let mut read = [i32x8::splat(simd, 0); 4];
        for i in 0..3 {
            let noisy = (packed >> NOISY_AT[i]) & 0x1f;
            let noise = words.extract(shift) & ((one << noisy) - 1);
            read[i] = noise::residuals(quotients[i], noise, noisy);
            shift += noisy;
        }
        let side_bits = (packed >> SIDE_BITS_AT) & 3;
        let uncoded = words.extract(shift) & ((one << side_bits) - 1);
        read[3] = (side | uncoded).bitcast();
        read
    }
}
