//! The bytes of an object that is read by ranges, and what is in memory of them.
//!
//! Its two ends are read when it is opened and stay: they tell what is in it. What a call needs of
//! the rest is found first, fetched at once and held for the time of the call ([`Prefetched`]); the
//! threads that decode find it there. What nobody fetched before is read by a request of its own,
//! so a wrong guess costs time and nothing else.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::coalesce::coalesce;
use super::range_source::{RangeBytes, RangeSource};
use crate::memory::reserve;
use crate::{Error, Result, interrupt};

/// Bytes of the beginning that are read at once: preamble, entry header and most topologies.
const HEAD: u64 = 64 * 1024;
/// The same of the end: at least these, and of long objects a part, for the index grows with them.
const TAIL: u64 = 64 * 1024;
const TAIL_PART: u64 = 1024;
const MAX_TAIL: u64 = 1024 * 1024;

/// An object that is open.
#[derive(Debug)]
pub struct RemoteContent {
    source: Arc<dyn RangeSource>,
    ends: Pieces,
    /// What running calls hold. Not under a lock: a child that is forked meanwhile would wait for
    /// it.
    held: ArcSwap<Vec<Arc<Pieces>>>,
}

impl RemoteContent {
    /// Reads both ends.
    pub fn open(source: Arc<dyn RangeSource>) -> Result<Self> {
        let length = source.length();
        let tail = (length / TAIL_PART).clamp(TAIL, MAX_TAIL);
        let ends = match length.checked_sub(tail) {
            Some(tail) if tail > HEAD => vec![0..HEAD, tail..length],
            _ if length == 0 => vec![],
            _ => vec![0..HEAD.min(length), HEAD.min(length)..length],
        };
        let ends = fetch(&*source, coalesce(ends))?;
        Ok(Self { source, ends, held: ArcSwap::default() })
    }

    /// Tells the source that something of it is damaged.
    pub fn distrust(&self) {
        self.source.distrust();
    }

    /// Bytes that lie inside the object.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = reserve(length, "bytes of an object")?;
        self.with(range, |found| bytes.extend_from_slice(found))?;
        Ok(bytes)
    }

    /// The same, into `out`.
    pub fn read_into(&self, start: u64, out: &mut [u8]) -> Result<()> {
        self.with(start..start + out.len() as u64, |found| out.copy_from_slice(found))
    }

    fn with(&self, range: Range<u64>, use_bytes: impl FnOnce(&[u8])) -> Result<()> {
        if range.is_empty() {
            use_bytes(&[]);
            return Ok(());
        }
        if let Some(found) = self.ends.find(&range) {
            use_bytes(found);
            return Ok(());
        }
        let held = self.held.load();
        if let Some(found) = held.iter().find_map(|pieces| pieces.find(&range)) {
            use_bytes(found);
            return Ok(());
        }
        drop(held);
        let read = fetch(&*self.source, vec![range.clone()])?;
        use_bytes(read.find(&range).unwrap_or_default());
        Ok(())
    }

    /// Whether a range is in memory.
    pub fn has(&self, range: &Range<u64>) -> bool {
        self.ends.find(range).is_some()
            || self.held.load().iter().any(|pieces| pieces.find(range).is_some())
    }

    /// Fetches ranges that are not in memory yet.
    pub fn prefetch(&self, mut ranges: Vec<Range<u64>>) -> Result<Prefetched<'_>> {
        let length = self.source.length();
        let is_inside = |range: &Range<u64>| range.start < range.end && range.end <= length;
        ranges.retain(|range| is_inside(range) && !self.has(range));
        if ranges.is_empty() {
            return Ok(Prefetched::nothing());
        }
        let pieces = Arc::new(fetch(&*self.source, coalesce(ranges))?);
        self.held.rcu(|held| held.iter().chain([&pieces]).cloned().collect::<Vec<_>>());
        Ok(Prefetched(Some((self, pieces))))
    }
}

/// Keeps bytes of an object in memory until it is dropped.
#[derive(Debug)]
pub struct Prefetched<'a>(Option<(&'a RemoteContent, Arc<Pieces>)>);

impl Prefetched<'_> {
    /// Of what needs not be fetched.
    pub fn nothing() -> Self {
        Self(None)
    }
}

impl Drop for Prefetched<'_> {
    fn drop(&mut self) {
        if let Some((content, pieces)) = self.0.take() {
            content.held.rcu(|held| {
                let others = held.iter().filter(|other| !Arc::ptr_eq(other, &pieces));
                others.cloned().collect::<Vec<_>>()
            });
        }
    }
}

/// Ranges in memory, in order and without overlap: where each begins, and its bytes.
#[derive(Default)]
struct Pieces(Vec<(u64, RangeBytes)>);

impl Pieces {
    fn find(&self, range: &Range<u64>) -> Option<&[u8]> {
        let after = self.0.partition_point(|(start, _)| *start <= range.start);
        let (start, bytes) = self.0.get(after.checked_sub(1)?)?;
        let from = usize::try_from(range.start - start).ok()?;
        let to = usize::try_from(range.end.checked_sub(*start)?).ok()?;
        (**bytes).as_ref().get(from..to)
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(start, _)| start)).finish()
    }
}

fn fetch(source: &dyn RangeSource, ranges: Vec<Range<u64>>) -> Result<Pieces> {
    interrupt::check()?;
    if ranges.is_empty() {
        return Ok(Pieces::default());
    }
    let read = source.read_ranges(&ranges)?;
    let is_whole = |(range, bytes): (&Range<u64>, &RangeBytes)| {
        (**bytes).as_ref().len() as u64 == range.end - range.start
    };
    if read.len() != ranges.len() || !ranges.iter().zip(&read).all(is_whole) {
        return Err(Error::io("read", source.path(), io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Pieces(ranges.into_iter().map(|range| range.start).zip(read).collect()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug)]
    struct Counted {
        bytes: Vec<u8>,
        /// What was asked for, call by call.
        calls: Mutex<Vec<Vec<Range<u64>>>>,
        is_short: bool,
    }

    impl Counted {
        fn new(length: usize) -> Arc<Self> {
            let bytes = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            Arc::new(Self { bytes, calls: Mutex::default(), is_short: false })
        }
    }

    impl RangeSource for Counted {
        fn path(&self) -> &Path {
            Path::new("s3://bucket/run.fxt")
        }

        fn length(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<RangeBytes>> {
            self.calls.lock().unwrap().push(ranges.to_vec());
            let part = |range: &Range<u64>| -> RangeBytes {
                let end = range.end as usize - usize::from(self.is_short);
                Box::new(self.bytes[range.start as usize..end].to_vec())
            };
            Ok(ranges.iter().map(part).collect())
        }
    }

    #[test]
    fn any_range_is_what_the_object_has_whether_it_is_held_or_not() {
        for length in [0, 1, 70_000, 140_000, 1_000_000] {
            let source = Counted::new(length);
            let remote = RemoteContent::open(source.clone()).unwrap();
            assert!(source.calls.lock().unwrap().len() <= 1);
            let ranges = [0..length, length / 3..length / 2, length..length, 0..length.min(9)];
            for range in ranges {
                let asked = range.start as u64..range.end as u64;
                let mut out = vec![0; range.len()];
                assert_eq!(remote.read(asked.clone()).unwrap(), source.bytes[range.clone()]);
                let held = remote.prefetch(vec![asked.clone()]).unwrap();
                remote.read_into(asked.start, &mut out).unwrap();
                assert_eq!(out, source.bytes[range.clone()]);
                drop(held);
            }
            assert!(remote.held.load().is_empty());
        }
    }

    #[test]
    fn what_is_held_is_fetched_once_and_given_back() {
        let source = Counted::new(10_000_000);
        let remote = RemoteContent::open(source.clone()).unwrap();
        let ranges = vec![1_000_000..1_100_000, 1_100_064..1_200_000, 5_000_000..5_000_100];
        let held = remote.prefetch(ranges.clone()).unwrap();
        let again = remote.prefetch(ranges.clone()).unwrap();
        ranges.iter().for_each(|range| drop(remote.read(range.clone()).unwrap()));
        let expected = [1_000_000..1_200_000, 5_000_000..5_000_100];
        assert_eq!(source.calls.lock().unwrap()[1..], [expected.to_vec()]);
        drop((held, again));
        remote.read(5_000_000..5_000_100).unwrap();
        assert_eq!(source.calls.lock().unwrap().len(), 3);
    }

    #[test]
    fn a_source_that_gives_less_than_was_asked_for_is_an_error() {
        let source = Counted { bytes: vec![0; 9], calls: Mutex::default(), is_short: true };
        let error = RemoteContent::open(Arc::new(source)).unwrap_err();
        assert!(error.to_string().contains("s3://bucket/run.fxt"), "{error}");
    }
}
