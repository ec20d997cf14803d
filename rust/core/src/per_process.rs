//! What belongs to one process: values, and locks that are only tried.
//!
//! After `fork` a child has its parent's memory, but not its threads, and every lock as it happened
//! to be at that moment. So nothing of the parent's value is touched in the child: it makes its
//! own, and the parent's stays as it is, unreachable, with the files that it holds open. No lock is
//! involved in finding the value, for a lock may have been held while the process forked.

use std::convert::Infallible;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use arc_swap::{ArcSwapOption, Guard};

/// Locks what no thread has locked now. It is not waited for: a fork may have copied it locked, and
/// the thread that would release it is not here. That a thread has panicked under it doesn't count.
pub(crate) fn try_lock<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match lock.try_lock() {
        Ok(value) => Some(value),
        Err(TryLockError::Poisoned(value)) => Some(value.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// A value that each process makes for itself when it first asks for it.
#[derive(Debug)]
pub(crate) struct PerProcess<T> {
    current: ArcSwapOption<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    process: u32,
    value: Arc<T>,
}

impl<T> PerProcess<T> {
    /// No value yet.
    pub const fn new() -> Self {
        Self { current: ArcSwapOption::const_empty() }
    }

    /// This process's value, made now if there is none. Threads that ask at the same time may each
    /// make one; all get the same.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let Ok(value) = self.get_or_try_init(|| Ok::<_, Infallible>(make()));
        value
    }

    /// This process's value, if there is one.
    pub fn get(&self) -> Option<Arc<T>> {
        ours(&self.current.load_full())
    }

    /// Like [`PerProcess::get_or_init`], where making it may fail.
    pub fn get_or_try_init<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let found = self.current.load_full();
        if let Some(value) = ours(&found) {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        let made = Arc::new(Entry { process: process::id(), value: Arc::clone(&value) });
        let before = Guard::into_inner(self.current.compare_and_swap(&found, Some(made)));
        // Another thread may have been faster.
        Ok(ours(&before).unwrap_or_else(|| {
            std::mem::forget((found, before));
            value
        }))
    }
}

/// The value of an entry of this process.
fn ours<T>(entry: &Option<Arc<Entry<T>>>) -> Option<Arc<T>> {
    let entry = entry.as_ref().filter(|entry| entry.process == process::id())?;
    Some(Arc::clone(&entry.value))
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let found = self.current.swap(None);
        if found.as_ref().is_some_and(|entry| entry.process != process::id()) {
            std::mem::forget(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_is_not_waited_for_and_one_that_a_panic_left_is_taken() {
        let lock = Mutex::new(7);
        let held = lock.lock();
        assert!(try_lock(&lock).is_none());
        drop(held);
        std::thread::scope(|scope| {
            let panics = scope.spawn(|| {
                let _held = lock.lock();
                panic!("a test of a panic under a lock");
            });
            assert!(panics.join().is_err());
        });
        assert_eq!(try_lock(&lock).as_deref(), Some(&7));
    }

    #[test]
    fn all_threads_get_the_same_value_and_it_is_dropped_once() {
        let token = Arc::new(());
        let value = PerProcess::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| value.get_or_init(|| Arc::clone(&token)));
            }
        });
        assert_eq!(Arc::strong_count(&token), 2);
        drop(value);
        assert_eq!(Arc::strong_count(&token), 1);
    }
}
