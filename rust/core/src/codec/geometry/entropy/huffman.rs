//! Huffman codes of limited length, one table of them for all atoms that are alike.
//!
//! Lengths are those with which some counts take the fewest bits: D. Huffman, Proc. IRE 40 (1952)
//! 1098; with a limit, by package-merge: L. Larmore, D. Hirschberg, J. ACM 37 (1990) 464. A table is
//! stored as its lengths alone, for codes follow from them (E. Schwartz, B. Kallick, Commun. ACM 7
//! (1964) 166).

/// Bits of a code at most. A table of all strings of so many bits takes 16 KiB, so those in use stay
/// near; with 12, archives are up to 0.4 % larger and read no faster.
pub const LONGEST: u32 = 13;
/// Entries of a table.
const ENTRIES: usize = 1 << LONGEST;

/// The lengths of codes for symbols that occur so often; zero for those that do not.
pub fn lengths(counts: &[u32]) -> Vec<u8> {
    let mut lengths = vec![0; counts.len()];
    let mut symbols: Vec<usize> = (0..counts.len()).filter(|&symbol| counts[symbol] > 0).collect();
    symbols.sort_by_key(|&symbol| counts[symbol]);
    if let [only] = symbols[..] {
        lengths[only] = 1;
        return lengths;
    }
    // For each number of bits, from the longest codes on: symbols and pairs of what is one bit
    // longer, by how often they occur; and which of them are symbols.
    let mut pairs: Vec<u64> = Vec::new();
    let mut are_symbols: Vec<Vec<bool>> = Vec::new();
    for _ in 0..LONGEST {
        let single = symbols.iter().map(|&symbol| (u64::from(counts[symbol]), true));
        let mut all: Vec<_> = single.chain(pairs.iter().map(|&pair| (pair, false))).collect();
        all.sort_by_key(|&(count, _)| count);
        pairs = all.chunks_exact(2).map(|pair| pair[0].0 + pair[1].0).collect();
        are_symbols.push(all.into_iter().map(|(_, is_symbol)| is_symbol).collect());
    }
    let mut taken = 2 * symbols.len().saturating_sub(1);
    for are_symbols in are_symbols.iter().rev() {
        let count = are_symbols[..taken].iter().filter(|&&is_symbol| is_symbol).count();
        symbols[..count].iter().for_each(|&symbol| lengths[symbol] += 1);
        taken = 2 * (taken - count);
    }
    lengths
}

/// The code of each symbol, the first bit lowest; `None` where there are more than strings.
pub fn codes(lengths: &[u8]) -> Option<Vec<u16>> {
    let mut used: Vec<usize> = (0..lengths.len()).filter(|&symbol| lengths[symbol] > 0).collect();
    used.sort_by_key(|&symbol| lengths[symbol]);
    let (mut codes, mut next) = (vec![0; lengths.len()], 0u32);
    for symbol in used {
        let rest = LONGEST.checked_sub(lengths[symbol].into())?;
        codes[symbol] = (next.reverse_bits() >> (u32::BITS - LONGEST)) as u16;
        next += 1 << rest;
        if next > 1 << LONGEST {
            return None;
        }
    }
    Some(codes)
}

/// For all strings of [`LONGEST`] bits, what stands for the symbol that they begin with.
pub type Table = [u16; ENTRIES];

/// The table of these codes; `None` as of [`codes`].
pub fn table(lengths: &[u8], entry: impl Fn(usize) -> u16) -> Option<Table> {
    let mut table = [0; ENTRIES];
    for (symbol, (code, &length)) in codes(lengths)?.into_iter().zip(lengths).enumerate() {
        if length > 0 {
            let all = table[usize::from(code)..].iter_mut().step_by(1 << length);
            all.for_each(|place| *place = entry(symbol));
        }
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every string of bits begins with one code, and codes take as few bits as there can be:
        /// not more than a bit above the entropy, where none is limited.
        #[test]
        fn codes_are_complete_and_short(counts in proptest::collection::vec(0u32..3000, 2..400)) {
            let lengths = lengths(&counts);
            let used = counts.iter().filter(|&&count| count > 0).count();
            prop_assume!(used > 1);
            prop_assert!(counts.iter().zip(&lengths).all(|(&count, &l)| (count > 0) == (l > 0)));
            let strings: u32 = lengths.iter().filter(|&&l| l > 0).map(|&l| 1 << (LONGEST - u32::from(l))).sum();
            prop_assert_eq!(strings, 1 << LONGEST);
            let total: f64 = counts.iter().map(|&count| f64::from(count)).sum();
            let bits = |bits_of: fn(f64, f64) -> f64| -> f64 {
                let used = counts.iter().zip(&lengths).filter(|(count, _)| **count > 0);
                used.map(|(&count, &l)| f64::from(count) / total * bits_of(f64::from(count) / total, l.into())).sum()
            };
            let (entropy, mean) = (bits(|p, _| -p.log2()), bits(|_, length| length));
            prop_assert!(mean >= entropy - 1e-9 && mean < entropy + 1.0, "{} {}", mean, entropy);
            let table = table(&lengths, |symbol| symbol as u16).unwrap();
            let codes = codes(&lengths).unwrap();
            for (symbol, &l) in lengths.iter().enumerate().filter(|(_, l)| **l > 0) {
                for above in [0, 1, (1 << (LONGEST - u32::from(l))) - 1] {
                    let string = usize::from(codes[symbol]) | ((above << l) % ENTRIES);
                    prop_assert_eq!(usize::from(table[string]), symbol);
                }
            }
        }
    }

    #[test]
    fn a_table_with_too_many_codes_is_refused() {
        assert!(codes(&[1, 1]).is_some());
        assert!(codes(&[1, 1, 13]).is_none());
        assert!(codes(&[14]).is_none());
    }
}
