//! What is coded of an atom in a frame as one symbol: three quotients and a side.
//!
//! They depend on each other, and most of them take less than a bit, so together they take less
//! than one by one; and they are decoded by one look into a table.

use fearless_simd::{mask32x8, prelude::*, u32x8};

use super::huffman::{LONGEST, Table};
use crate::codec::geometry::words::{Words, half_words};
use crate::codec::simd::{LANES, keep_if};

/// Quotients below this are told by the symbol; of others, it says that they are not, and the
/// excess follows. More would need more than the three bits that they have in a table.
pub const ESCAPE: u32 = 7;
const LEVELS: u32 = ESCAPE + 1;
/// Bits of an excess. Where all are set it is larger: what it is above them takes the next number
/// of bits. Ten are enough for molecules that cross the periodic box.
const EXCESS_BITS: [u32; 3] = [4, 10, 32];
/// Bits of a symbol and of three excesses at most.
pub const MOST_SYMBOL_BITS: usize = LONGEST as usize + 3 * (4 + 10 + 32);

/// How many symbols there are.
pub fn symbols(sides: u32) -> usize {
    (LEVELS.pow(3) * sides) as usize
}

/// The symbol of three quotients and one of `sides`.
#[inline(always)]
pub fn symbol(quotients: [u32; 3], side: u32, sides: u32) -> u16 {
    let [x, y, z] = quotients.map(|quotient| quotient.min(ESCAPE));
    (((z * LEVELS + y) * LEVELS + x) * sides + side) as u16
}

/// The quotients, of which large ones are [`ESCAPE`], and the side.
fn parts(symbol: u32, sides: u32) -> ([u32; 3], u32) {
    let quotients = symbol / sides;
    let levels = [1, LEVELS, LEVELS * LEVELS];
    (levels.map(|below| quotients / below % LEVELS), symbol % sides)
}

/// Whether an excess follows a symbol.
pub fn is_escaped(symbol: u16, sides: u32) -> bool {
    parts(symbol.into(), sides).0.contains(&ESCAPE)
}

/// The excess of a quotient, if it has one, and how many bits it takes.
pub fn excess(quotient: u32) -> Option<(u64, u32)> {
    let mut rest = quotient.checked_sub(ESCAPE)?;
    let (mut code, mut taken) = (0, 0);
    for bits in EXCESS_BITS {
        let most = u32::MAX >> (u32::BITS - bits);
        code |= u64::from(rest.min(most)) << taken;
        taken += bits;
        if rest < most {
            break;
        }
        rest -= most;
    }
    Some((code, taken))
}

/// A symbol in a table that is decoded with: the bits of its code, the quotients and the side.
pub fn entry(symbol: usize, length: u8, sides: u32) -> u16 {
    let ([x, y, z], side) = parts(symbol as u32, sides);
    (u32::from(length) | x << 4 | y << 7 | z << 10 | side << 13) as u16
}

/// Reads the symbols of eight strings in step.
pub struct SymbolReader<'a, S: Simd> {
    bytes: &'a [u8],
    /// Where each string begins.
    starts: u32x8<S>,
    /// Bits that were taken of each.
    taken: u32x8<S>,
}

impl<'a, S: Simd> SymbolReader<'a, S> {
    /// The strings that begin at these bytes.
    #[inline(always)]
    pub fn new(bytes: &'a [u8], starts: u32x8<S>) -> Self {
        Self { bytes, starts, taken: u32x8::splat(starts.simd, 0) }
    }

    /// The quotients and the side of the next symbol of each string, by the table of each lane; of
    /// those that are not `active` nothing is taken, and they are zero.
    #[inline(always)]
    pub fn next<'t>(
        &mut self,
        table: impl Fn(usize) -> &'t Table,
        active: mask32x8<S>,
    ) -> ([u32x8<S>; 3], u32x8<S>) {
        let next = half_words(self.bytes, self.starts + (self.taken >> 3)) >> (self.taken & 7);
        let next = next.to_array();
        let mut entries = [0; LANES];
        for lane in 0..LANES {
            let table = table(lane);
            entries[lane] = u32::from(table[next[lane] as usize % table.len()]);
        }
        let entries = keep_if(active, entries.simd_into(self.starts.simd));
        self.taken += entries & 0xf;
        let quotients = [(entries >> 4) & 7, (entries >> 7) & 7, (entries >> 10) & 7];
        let largest = quotients[0].max(quotients[1]).max(quotients[2]);
        let quotients = match largest.simd_gt(ESCAPE - 1).any_true() {
            true => self.with_excess(quotients),
            false => quotients,
        };
        (quotients, entries >> 13)
    }

    #[inline(always)]
    fn with_excess(&mut self, mut quotients: [u32x8<S>; 3]) -> [u32x8<S>; 3] {
        for quotient in &mut quotients {
            let mut open = quotient.simd_gt(ESCAPE - 1);
            for bits in EXCESS_BITS {
                if !open.any_true() {
                    break;
                }
                let most = u32::MAX >> (u32::BITS - bits);
                let words = Words::at(self.bytes, self.starts + (self.taken >> 3));
                let next = words.extract(self.taken & 7) & most;
                self.taken += keep_if(open, u32x8::splat(next.simd, bits));
                *quotient += keep_if(open, next);
                open &= next.simd_eq(most);
            }
        }
        quotients
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::geometry::entropy::bits::{PADDING, put};
    use crate::codec::geometry::entropy::huffman;
    use crate::codec::geometry::entropy::noise::{
        self, BitCounts, FieldPacking, MOST_NOISY, zigzag,
    };
    use crate::codec::simd::vectorized;

    /// As many quotients and sides as were written.
    #[inline(always)]
    fn read<S: Simd>(simd: S, bytes: &[u8], table: &Table, count: usize) -> Vec<([u32; 3], u32)> {
        let all = |x: u32| u32x8::splat(simd, x);
        let mut reader = SymbolReader::new(bytes, all(0));
        let next = |_| {
            let (quotients, side) = reader.next(|_| table, mask32x8::splat(simd, true));
            let one = |lanes: u32x8<S>| {
                assert_eq!(lanes.to_array(), [lanes[0]; LANES]);
                lanes[0]
            };
            (quotients.map(one), one(side))
        };
        (0..count).map(next).collect()
    }

    proptest! {
        /// However residuals are distributed, and however many bits are taken for noise.
        #[test]
        fn residuals_come_back(
            shift in 6u32..32,
            other in proptest::option::of(0..=MOST_NOISY),
            sides in 1u32..7,
            residuals in proptest::collection::vec((any::<[i32; 3]>(), 0u32..6), 1..100),
        ) {
            let residuals: Vec<_> =
                residuals.into_iter().map(|(r, side)| (r.map(|r| r >> shift), side % sides)).collect();
            let all: Vec<i32> = residuals.iter().flat_map(|(three, _)| *three).collect();
            let best = BitCounts::of(&all, &[]).noisy_bits(3, 0.0).unwrap_or(0);
            let noisy = [other.unwrap_or(best), best, 3];
            let quotients =
                |residuals: [i32; 3]| [0, 1, 2].map(|i| zigzag(residuals[i]) >> noisy[i]);
            let symbol_of = |&(r, side): &([i32; 3], u32)| symbol(quotients(r), side, sides);
            let mut counts = vec![0; symbols(sides)];
            residuals.iter().for_each(|one| counts[usize::from(symbol_of(one))] += 1);
            let lengths = huffman::lengths(&counts);
            let codes = huffman::codes(&lengths).unwrap();
            let table =
                huffman::table(&lengths, |symbol| entry(symbol, lengths[symbol], sides)).unwrap();
            let mut bytes = vec![0; residuals.len() * MOST_SYMBOL_BITS.div_ceil(8) + PADDING];
            let mut bit = 0;
            for one in &residuals {
                let symbol = usize::from(symbol_of(one));
                put(&mut bytes, bit, codes[symbol].into());
                bit += u32::from(lengths[symbol]);
                for (excess, bits) in quotients(one.0).into_iter().filter_map(excess) {
                    put(&mut bytes, bit, excess);
                    bit += bits;
                }
            }
            let read = vectorized!(simd => read(simd, &bytes, &table, residuals.len()));
            let packing = FieldPacking::new(noisy, 3);
            for (&(written, side), (quotients, read_side)) in residuals.iter().zip(read) {
                prop_assert_eq!(side, read_side);
                let [x, y, z] = written.map(zigzag);
                let noise = packing.pack([x, y, z, side]);
                let mut before = 0;
                for i in 0..3 {
                    let low = (noise >> before) as u32 & ((1 << noisy[i]) - 1);
                    before += noisy[i];
                    let back = vectorized!(simd => {
                        let all = |x| u32x8::splat(simd, x);
                        noise::residuals(all(quotients[i]), all(low), all(noisy[i].into()))[0]
                    });
                    prop_assert_eq!(back, written[i]);
                }
                prop_assert_eq!((noise >> before) as u32, side);
            }
        }
    }
}
