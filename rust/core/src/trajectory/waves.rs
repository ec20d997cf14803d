//! Work on what is read by ranges, wave by wave: what the next wave needs is fetched while this one
//! is decoded, and no more than two waves are in memory as they are stored.

use std::mem;
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

use crate::fs::{Content, Prefetched};
use crate::{Result, interrupt, threads};

/// Stored bytes of a wave, at most, where no single item has more. Enough for several requests in
/// flight at 50 ms each; more would only take memory.
pub const WAVE: u64 = 32 * 1024 * 1024;
/// Of the first wave, for which the caller waits; each wave may be twice as large as the one
/// before.
const FIRST_WAVE: u64 = 8 * 1024 * 1024;

/// Items, and what they need of the file.
struct Wave<T> {
    items: Vec<T>,
    needs: Vec<Range<u64>>,
}

/// Has `work` done on all items: of a file that is elsewhere in waves, by what each item `needs` of
/// it, else at once.
pub fn in_waves_if_remote<T: Send>(
    content: &Content,
    items: Vec<T>,
    needs: impl Fn(&T) -> Vec<Range<u64>>,
    mut work: impl FnMut(Vec<T>) -> Result<()>,
) -> Result<()> {
    if !content.is_remote() {
        return work(items);
    }
    let with_needs = items.into_iter().map(|item| {
        let needs = needs(&item);
        (item, needs)
    });
    in_waves(content, with_needs, FIRST_WAVE, work)
}

/// Has `work` done on all items in order, each with the ranges of `content` that it needs. `first`
/// is the size of the first wave, which has one item at least.
pub fn in_waves<T: Send>(
    content: &Content,
    items: impl Iterator<Item = (T, Vec<Range<u64>>)>,
    first: u64,
    mut work: impl FnMut(Vec<T>) -> Result<()>,
) -> Result<()> {
    let mut waves = Waves { items, left: None, size: first };
    let Some(Wave { items: mut now, needs }) = waves.next() else { return Ok(()) };
    let mut held = content.prefetch(needs)?;
    for Wave { items: then, needs } in waves {
        let (done, fetched) = meanwhile(content, needs, || work(now));
        done?;
        drop(mem::replace(&mut held, fetched?));
        now = then;
    }
    work(now)
}

/// Works while another thread fetches, or before this one does where there can be no other.
fn meanwhile<'a>(
    content: &'a Content,
    needs: Vec<Range<u64>>,
    work: impl FnOnce() -> Result<()>,
) -> (Result<()>, Result<Prefetched<'a>>) {
    let interrupt = interrupt::current();
    thread::scope(|scope| {
        let ranges = needs.clone();
        let fetch = move || interrupt.scope(|| content.prefetch(ranges));
        let fetching = threads::builder("proteinflex-fetch")
            .and_then(|thread| thread.spawn_scoped(scope, fetch));
        let done = work();
        let fetched = match fetching {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => content.prefetch(needs),
        };
        (done, fetched)
    })
}

struct Waves<T, I> {
    items: I,
    /// What was too much for the last wave.
    left: Option<(T, Vec<Range<u64>>)>,
    size: u64,
}

impl<T, I: Iterator<Item = (T, Vec<Range<u64>>)>> Iterator for Waves<T, I> {
    type Item = Wave<T>;

    fn next(&mut self) -> Option<Wave<T>> {
        let (item, mut needs) = self.left.take().or_else(|| self.items.next())?;
        let mut items = vec![item];
        let mut bytes = length(&needs);
        for (item, mut more) in self.items.by_ref() {
            // What an item of this wave needs, too, is cached when the next wave is fetched.
            more.retain(|range| !needs.contains(range));
            bytes += length(&more);
            if !more.is_empty() && bytes > self.size {
                self.left = Some((item, more));
                break;
            }
            items.push(item);
            needs.extend(more);
        }
        self.size = self.size.max(length(&needs)).saturating_mul(2).min(WAVE);
        Some(Wave { items, needs })
    }
}

fn length(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
mod tests {
    use super::*;

    #[test]
    fn waves_grow_up_to_their_limit_and_hold_all_items_in_order() {
        let item = |number: u64| (number, vec![number << 20..(number + 1) << 20]);
        let waves: Vec<_> =
            Waves { items: (0..200).map(item), left: None, size: 2 << 20 }.collect();
        let sizes: Vec<_> = waves.iter().map(|wave| wave.items.len()).collect();
        assert_eq!(sizes, [2, 4, 8, 16, 32, 32, 32, 32, 32, 10]);
        let all: Vec<_> = waves.into_iter().flat_map(|wave| wave.items).collect();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn what_items_of_a_wave_share_counts_once() {
        let items =
            (0..16).map(|number| (number, vec![number / 8 * 1000..(number / 8 + 1) * 1000]));
        let waves = Waves { items, left: None, size: 0 };
        assert_eq!(waves.map(|wave| wave.items.len()).collect::<Vec<_>>(), [8, 8]);
    }

    #[test]
    fn an_item_larger_than_a_wave_is_one() {
        let items = [100, 1, 1, 300].map(|megabytes| ((), vec![0..megabytes << 20]));
        let waves = Waves { items: items.into_iter(), left: None, size: 0 };
        assert_eq!(waves.map(|wave| wave.items.len()).collect::<Vec<_>>(), [1, 2, 1]);
    }
}
