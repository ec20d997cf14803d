//! Bytes of a file that were verified, for the reads of a little of them that follow.
//!
//! Where a checksum covers much more than a frame, what was read and verified is kept; or, where
//! that would take too much memory, the checksums of its pieces are, and what is read again is
//! checked by these. So nothing is ever believed because it was right earlier: the file may have
//! changed since.

use std::ops::Range;

use crate::checksum;

/// Bytes of a piece of a segment. The checksums take 1/512 of what they are of. Larger pieces make
/// small frames slower, smaller ones take more memory for nothing.
pub const PIECE: usize = 4096;
/// A gap of up to this many bytes is read rather than left out by another call of the system.
const WORTH_READING: usize = 16 * 1024;

/// What is known of bytes that were verified.
#[derive(Debug)]
pub enum Verified {
    /// They are here.
    Copy(Vec<u8>),
    /// The checksums of their pieces are; the last piece may be shorter.
    Pieces(Vec<u64>),
}

impl Verified {
    /// These bytes, themselves or by their checksums.
    pub fn new(bytes: Vec<u8>, keep: bool) -> Self {
        if keep {
            return Self::Copy(bytes);
        }
        Self::Pieces(bytes.chunks(PIECE).map(checksum).collect())
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        match self {
            Self::Copy(bytes) => bytes.len(),
            Self::Pieces(sums) => size_of_val(sums.as_slice()),
        }
    }
}

/// Whole pieces of this size that hold these ranges, which are in order, of `length` bytes: as few
/// runs of them as are worth reading one by one.
pub fn runs_of_pieces(
    ranges: impl Iterator<Item = Range<usize>>,
    piece: usize,
    length: usize,
) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for range in ranges.filter(|range| !range.is_empty()) {
        let start = range.start - range.start % piece;
        let end = range.end.next_multiple_of(piece).min(length);
        match runs.last_mut() {
            Some(last) if start <= last.end.saturating_add(WORTH_READING) => {
                last.end = last.end.max(end);
            }
            _ => runs.push(start..end),
        }
    }
    runs
}

/// Whether these bytes, which begin with byte `first` of pieces of this size, have their checksums.
pub fn are_right(bytes: &[u8], first: usize, piece: usize, sums: &[u64]) -> bool {
    let sums = sums.get(first / piece..).unwrap_or_default();
    bytes.len().div_ceil(piece) <= sums.len()
        && bytes.chunks(piece).zip(sums).all(|(piece, &sum)| checksum(piece) == sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
    fn runs_hold_all_that_is_wanted_and_leave_out_what_is_far_between() {
        let runs =
            |ranges: &[Range<usize>]| runs_of_pieces(ranges.iter().cloned(), PIECE, 1_000_000);
        assert_eq!(runs(&[5..6]), [0..4096]);
        assert_eq!(runs(&[5..6, 4000..5000, 20_000..20_001]), [0..20_480]);
        assert_eq!(runs(&[5..6, 5..5, 400_000..409_600]), [0..4096, 397_312..409_600]);
        assert_eq!(runs(&[999_990..1_000_000]), [999_424..1_000_000]);
        assert!(runs(&[]).is_empty());
    }

    #[test]
    fn a_change_of_any_piece_is_noticed() {
        let bytes: Vec<u8> = (0..10_000u32).map(|index| (index * 31 / 7) as u8).collect();
        let verified = Verified::new(bytes.clone(), false);
        assert_eq!(verified.memory(), 24);
        let Verified::Pieces(sums) = verified else { panic!("no copy was asked for") };
        assert!(
            are_right(&bytes, 0, PIECE, &sums) && are_right(&bytes[4096..], 4096, PIECE, &sums)
        );
        for at in [0, 4095, 4096, 9999] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(!are_right(&changed, 0, PIECE, &sums), "{at}");
        }
        assert!(!are_right(&bytes, 4096, PIECE, &sums), "there are not as many");
    }
}
