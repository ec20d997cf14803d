//! One checksum for each segment of a file, so that any number of cores can compute and verify
//! them, and the first segment that differs is enough to tell two files apart.

use rayon::prelude::*;

use crate::{Checksum, checksum, interrupt, threads};

/// The bytes of a segment; the last one is shorter.
pub(super) const SEGMENT_BYTES: u64 = 16 << 20;

/// The checksums of a file that is being written.
#[derive(Debug, Default)]
pub(super) struct SegmentChecksums {
    finished: Vec<u64>,
    current: Checksum,
    /// How many bytes the current segment has so far.
    filled: u64,
}

impl SegmentChecksums {
    /// How many more bytes belong to the current segment.
    pub(super) fn remaining(&self) -> usize {
        (SEGMENT_BYTES - self.filled) as usize
    }

    /// Adds bytes, at most as many as remain of the segment.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.current.update(bytes);
        self.filled += bytes.len() as u64;
        if self.filled >= SEGMENT_BYTES {
            self.finished.push(std::mem::take(&mut self.current).value());
            self.filled = 0;
        }
    }

    /// The checksums in hex digits. An empty file has none.
    pub(super) fn finish(mut self) -> Vec<String> {
        if self.filled > 0 {
            self.finished.push(self.current.value());
        }
        self.finished.into_iter().map(hex).collect()
    }
}

/// Whether slices, one after the other, make a file of these checksums.
pub(super) fn matches(slices: &[&[u8]], checksums: &[String]) -> bool {
    let mut starts = Vec::with_capacity(slices.len());
    let mut length = 0u64;
    for slice in slices {
        starts.push(length);
        length += slice.len() as u64;
    }
    if length.div_ceil(SEGMENT_BYTES) != checksums.len() as u64 {
        return false;
    }
    let segment_matches = |(segment, expected): (usize, &String)| {
        let (begin, end) = (segment as u64 * SEGMENT_BYTES, (segment as u64 + 1) * SEGMENT_BYTES);
        let first = starts.partition_point(|&start| start <= begin).saturating_sub(1);
        let within = slices[first..].iter().zip(&starts[first..]);
        let within = within.take_while(|&(_, &start)| start < end).map(|(slice, &start)| {
            let from = begin.saturating_sub(start).min(slice.len() as u64) as usize;
            let to = (end - start).min(slice.len() as u64) as usize;
            &slice[from..to]
        });
        let pieces: Vec<&[u8]> = within.filter(|piece| !piece.is_empty()).collect();
        let found = match pieces[..] {
            // Most segments of large arrays lie in one piece, and hashing that at once is faster.
            [piece] => checksum(piece),
            _ => {
                let mut found = Checksum::new();
                pieces.iter().for_each(|piece| found.update(piece));
                found.value()
            }
        };
        hex(found) == *expected
    };
    // A changed file usually differs from its first bytes on.
    let Some((first, rest)) = checksums.split_first() else { return true };
    let interrupt = interrupt::current();
    let rest_matches =
        |(index, expected)| !interrupt.is_requested() && segment_matches((index + 1, expected));
    segment_matches((0, first)) && threads::run(|| rest.par_iter().enumerate().all(rest_matches))
}

/// A checksum as the manifest has it.
pub(super) fn hex(checksum: u64) -> String {
    format!("{checksum:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_do_not_depend_on_how_the_bytes_arrive_or_lie() {
        let bytes: Vec<u8> = (0..2 * SEGMENT_BYTES + 5).map(|i| ((i * 31) >> 3) as u8).collect();
        let mut checksums = SegmentChecksums::default();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (some, others) = rest.split_at(rest.len().min(checksums.remaining()).min(777_777));
            checksums.update(some);
            rest = others;
        }
        let checksums = checksums.finish();
        assert_eq!(checksums.len(), 3);
        assert_eq!(checksums[2], hex(checksum(&bytes[2 * SEGMENT_BYTES as usize..])));
        let (one, other) = bytes.split_at(SEGMENT_BYTES as usize - 3);
        assert!(matches(&[one, &[], other], &checksums));
        let mut changed = bytes.clone();
        changed[SEGMENT_BYTES as usize + 9] ^= 1;
        assert!(!matches(&[&changed], &checksums));
        assert!(!matches(&[&bytes, &[0; 64 << 20]], &checksums));
        assert!(matches(&[], &[]) && !matches(&[], &checksums));
    }
}
