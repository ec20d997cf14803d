//! The locks of a shard: words of its header. One for creating and declaring tasks, one for writing
//! its snapshot.
//!
//! All who count in a shard share its memory, so an atomic word excludes them wherever the file
//! system has no locks, or locks that do nothing. It names its holder, process and start time, and
//! is taken over from one that is gone. A wait ends after [`MAX_WAIT`]: its holder may be stopped.
//! A holder needs microseconds; readers need no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::counter_file::CounterFile;
use crate::fs::{Owner, SharedMap};
use crate::{Error, Result, interrupt};

const MAX_WAIT: Duration = Duration::from_secs(10);
/// What is held longer, in memory that has replaced the file, is a copy of a lock.
const COPIED: Duration = Duration::from_millis(500);

/// The lock, held until this is dropped.
#[derive(Debug)]
pub(super) struct ShardLock<'a> {
    word: &'a AtomicU64,
    me: u64,
}

impl<'a> ShardLock<'a> {
    /// Waits for the lock that is this word of the header.
    pub fn acquire(counters: &'a CounterFile<SharedMap>, word: usize) -> Result<Self> {
        Self::acquire_within(counters, word, MAX_WAIT)
    }

    fn acquire_within(
        counters: &'a CounterFile<SharedMap>,
        word: usize,
        most: Duration,
    ) -> Result<Self> {
        let started = Instant::now();
        loop {
            let waited = started.elapsed();
            // In memory that has replaced the file, the lock of another process is never released.
            let is_copy = waited >= COPIED && counters.first_fault().is_some();
            if let Some(lock) = Self::take(counters, word, is_copy) {
                return Ok(lock);
            }
            if waited >= most {
                let process = counters.header_word(word) >> 32;
                let (path, holder) = (counters.path().to_owned(), format!("process {process}"));
                return Err(Error::LockTimeout { path, seconds: most.as_secs(), holder });
            }
            interrupt::back_off(waited)?;
        }
    }

    /// Takes the lock if no one else holds it, or one that is gone.
    pub fn try_acquire(counters: &'a CounterFile<SharedMap>, word: usize) -> Option<Self> {
        Self::take(counters, word, false)
    }

    fn take(counters: &'a CounterFile<SharedMap>, word: usize, is_copy: bool) -> Option<Self> {
        let (word, me) = (counters.header(word), Owner::current().to_word());
        let holder = word.load(Ordering::Relaxed);
        let is_left = holder != 0 && holder != me && (is_copy || Owner::is_word_gone(holder));
        let is_mine = (holder == 0 || is_left)
            && word.compare_exchange(holder, me, Ordering::Acquire, Ordering::Relaxed).is_ok();
        // Not by `then_some`: what it drops would release the lock of another thread.
        if is_mine { Some(Self { word, me }) } else { None }
    }
}

impl Drop for ShardLock<'_> {
    fn drop(&mut self) {
        // Fails where it isn't ours any more: the page was replaced meanwhile.
        let _ = self.word.compare_exchange(self.me, 0, Ordering::Release, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::header;
    use super::*;
    use crate::fs::Boot;

    #[test]
    fn a_lock_excludes_is_taken_over_from_the_dead_and_is_not_waited_for_for_ever() {
        let counters = CounterFile::in_memory("host0001", Boot::default(), 0).unwrap();
        let held = ShardLock::acquire(&counters, header::LOCK).unwrap();
        assert!(ShardLock::try_acquire(&counters, header::LOCK).is_none());
        let error = ShardLock::acquire_within(&counters, header::LOCK, Duration::from_millis(20))
            .unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        drop(ShardLock::try_acquire(&counters, header::LOCK).unwrap());
        // Of a process that started at another time, so it is gone.
        let gone = u64::from(std::process::id()) << 32 | 1;
        counters.header(header::LOCK).store(gone, Ordering::Relaxed);
        drop(ShardLock::acquire_within(&counters, header::LOCK, Duration::ZERO).unwrap());
        assert_eq!(counters.header_word(header::LOCK), 0);
    }

    #[test]
    fn threads_exclude_each_other() {
        let counters = CounterFile::in_memory("host0001", Boot::default(), 0).unwrap();
        let word = counters.header(header::SNAPSHOT_AT);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _lock = ShardLock::acquire(&counters, header::LOCK).unwrap();
                        let seen = word.load(Ordering::Relaxed);
                        std::thread::yield_now();
                        word.store(seen + 1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(word.load(Ordering::Relaxed), 800);
    }
}
