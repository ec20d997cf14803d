//! Which ranges of an object are read by one request.

use std::ops::Range;

/// What a request reads along may be this part of what was asked for of it. More saves requests,
/// less saves bytes: with a sixteenth, no read moves much more than 1.06 times what it needs.
const GAP_PART: u64 = 16;
/// A gap that is read along in any case: the header between two records that follow each other.
const GAP: u64 = 512;
/// Requests are not joined beyond this many bytes, so that several are in flight for a long read.
const REQUEST: u64 = 4 * 1024 * 1024;

/// As few ranges as are worth a request each, in order and without overlap, which hold all of
/// these.
pub fn coalesce(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut requests: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    // Of the last request: bytes that nobody asked for.
    let mut unasked = 0;
    for range in ranges {
        let Some(last) = requests.last_mut() else {
            requests.push(range);
            continue;
        };
        let gap = range.start.saturating_sub(last.end);
        let joined = last.start..last.end.max(range.end);
        let length = joined.end - joined.start;
        let is_near = gap <= GAP || (unasked + gap) * GAP_PART <= length - unasked - gap;
        if range.start < last.end || is_near && length <= REQUEST {
            *last = joined;
            unasked += gap;
        } else {
            requests.push(range);
            unasked = 0;
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
    fn neighbours_are_joined_and_what_is_far_is_left_out() {
        assert_eq!(coalesce(vec![900..1000, 0..400, 300..300]), [0..1000], "a header's distance");
        assert_eq!(coalesce(vec![0..100, 50..80, 100..200]), [0..200]);
        assert_eq!(coalesce(vec![0..100, 1000..1100]), [0..100, 1000..1100]);
        assert_eq!(coalesce(vec![0..100_000, 104_000..204_000]), [0..204_000]);
        assert_eq!(coalesce(vec![0..10_000, 14_000..24_000]), [0..10_000, 14_000..24_000]);
        assert_eq!(
            coalesce(vec![0..REQUEST, REQUEST..REQUEST + 9]),
            [0..REQUEST, REQUEST..REQUEST + 9]
        );
        assert!(coalesce(vec![]).is_empty());
    }

    #[test]
    fn little_more_is_read_than_asked_for_however_many_pieces_there_are() {
        for (piece, gap) in [(20_000, 4000), (100_000, 6000), (300_000, 500), (9000, 700)] {
            let pieces: Vec<_> =
                (0..500).map(|at| at * (piece + gap)..at * (piece + gap) + piece).collect();
            let read: u64 = coalesce(pieces).iter().map(|range| range.end - range.start).sum();
            assert!(read * 100 <= 500 * piece * 107, "{piece} {gap}: {read}");
        }
    }
}
