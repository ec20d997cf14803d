//! Checksums of a file in parts, so that any number of cores can make them and verify them, and so that
//! a difference is found without going through the rest.

use rayon::prelude::*;

use crate::{Checksum, checksum, threads};

/// The bytes of a part; the last one has what is left.
pub const PART_BYTES: u64 = 16 << 20;

/// The sums of a file that is being written.
#[derive(Debug, Default)]
pub struct PartSums {
    sums: Vec<u64>,
    current: Checksum,
    /// How many bytes the current part has so far.
    filled: u64,
}

impl PartSums {
    /// How many more bytes belong to the current part.
    pub fn room(&self) -> usize {
        (PART_BYTES - self.filled) as usize
    }

    /// Adds bytes, at most as many as there is room for in the part.
    pub fn update(&mut self, bytes: &[u8]) {
        self.current.update(bytes);
        self.filled += bytes.len() as u64;
        if self.filled >= PART_BYTES {
            self.sums.push(std::mem::take(&mut self.current).value());
            self.filled = 0;
        }
    }

    /// The sums in hex digits. An empty file has none.
    pub fn finish(mut self) -> Vec<String> {
        if self.filled > 0 {
            self.sums.push(self.current.value());
        }
        self.sums.into_iter().map(hex).collect()
    }
}

/// Whether bytes that lie in several places would make a file of these sums.
pub fn would_be(places: &[&[u8]], sums: &[String]) -> bool {
    let mut starts = Vec::with_capacity(places.len());
    let mut length = 0u64;
    for place in places {
        starts.push(length);
        length += place.len() as u64;
    }
    if length.div_ceil(PART_BYTES) != sums.len() as u64 {
        return false;
    }
    let is_part = |(part, expected): (usize, &String)| {
        let (begin, end) = (part as u64 * PART_BYTES, (part as u64 + 1) * PART_BYTES);
        let first = starts.partition_point(|&start| start <= begin).saturating_sub(1);
        if let (Some(place), Some(&start)) = (places.get(first), starts.get(first))
            && start <= begin
            && end - start <= place.len() as u64
        {
            // In one place, as most parts of large arrays are: at once is faster.
            let place = &place[(begin - start) as usize..(end - start) as usize];
            return hex(checksum(place)) == *expected;
        }
        let mut sum = Checksum::new();
        for (place, &start) in places[first..].iter().zip(&starts[first..]) {
            if start >= end {
                break;
            }
            let from = begin.saturating_sub(start).min(place.len() as u64) as usize;
            let to = (end - start).min(place.len() as u64) as usize;
            sum.update(&place[from..to]);
        }
        hex(sum.value()) == *expected
    };
    // What has changed has mostly changed from its beginning on.
    let Some((first, rest)) = sums.split_first() else { return true };
    let is_rest = |(part, expected)| is_part((part + 1, expected));
    is_part((0, first)) && threads::run(|| rest.par_iter().enumerate().all(is_rest))
}

/// The first part whose sum is not the expected one: its number and what its sum is.
pub fn find_difference(bytes: &[u8], part_bytes: u64, sums: &[String]) -> Option<(usize, String)> {
    let size = usize::try_from(part_bytes).unwrap_or(usize::MAX).max(1);
    if bytes.len().div_ceil(size) != sums.len() {
        return Some((0, format!("of {} parts", bytes.len().div_ceil(size))));
    }
    bytes.par_chunks(size).zip(sums).enumerate().find_map_first(|(part, (bytes, expected))| {
        let found = hex(checksum(bytes));
        (found != *expected).then_some((part, found))
    })
}

fn hex(sum: u64) -> String {
    format!("{sum:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_how_the_bytes_arrive_or_lie() {
        let bytes: Vec<u8> = (0..2 * PART_BYTES + 5).map(|i| ((i * 31) >> 3) as u8).collect();
        let mut sums = PartSums::default();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (part, others) = rest.split_at(rest.len().min(sums.room()).min(777_777));
            sums.update(part);
            rest = others;
        }
        let sums = sums.finish();
        assert_eq!(sums.len(), 3);
        assert_eq!(find_difference(&bytes, PART_BYTES, &sums), None);
        let (one, other) = bytes.split_at(PART_BYTES as usize - 3);
        assert!(would_be(&[one, &[], other], &sums));
        let mut changed = bytes.clone();
        changed[PART_BYTES as usize + 9] ^= 1;
        assert_eq!(find_difference(&changed, PART_BYTES, &sums).unwrap().0, 1);
        assert!(!would_be(&[&changed], &sums));
        assert!(!would_be(&[&bytes, &[0; 64 << 20]], &sums));
        assert!(would_be(&[], &[]) && !would_be(&[], &sums));
    }
}
