//! Values that belong to one process.
//!
//! After `fork` a child has its parent's memory, but not its threads, and every lock as it happened
//! to be at that moment. So nothing of the parent's value is touched in the child: it makes its
//! own, and the parent's stays as it is, unreachable, with the files that it holds open. No lock is
//! involved in finding the value, for a lock may have been held while the process forked.

use std::marker::PhantomData;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value that each process makes for itself when it first asks for it.
#[derive(Debug)]
pub(in crate::gpu) struct PerProcess<T: Send + Sync> {
    current: AtomicPtr<Entry<T>>,
    owns: PhantomData<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    process: u32,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    /// No value yet.
    pub const fn new() -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// This process's value, made now if there is none. Threads that ask at the same time may each
    /// make one; all get the same.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let process = process::id();
        let found = self.current.load(Ordering::Acquire);
        // SAFETY: the pointer is null or came from `Box::into_raw` below, and an entry that was
        // published is never freed before `self` is dropped.
        if let Some(entry) = unsafe { found.as_ref() }
            && entry.process == process
        {
            return &entry.value;
        }
        let made = Box::into_raw(Box::new(Entry { process, value: make() }));
        match self.current.compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: published just now, and as above.
            Ok(_) => unsafe { &(*made).value },
            Err(winner) => {
                // SAFETY: `made` was not published, so this is its only owner. `winner` was put
                // there by another thread of this process meanwhile: it is this process's entry.
                unsafe {
                    drop(Box::from_raw(made));
                    &(*winner).value
                }
            }
        }
    }
}

impl<T: Send + Sync> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let found = *self.current.get_mut();
        // SAFETY: as in `get_or_init`; nobody borrows `self` any more. An entry of the parent
        // process is left alone: its locks may be held by threads that are not here.
        unsafe {
            if found.as_ref().is_some_and(|entry| entry.process == process::id()) {
                drop(Box::from_raw(found));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

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
