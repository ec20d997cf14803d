//! A thread that works on what it borrows from its caller, while the caller waits in its own way.
//!
//! As `std::thread::scope`, but for one thing: a signal handler of the program, which runs while
//! the caller waits, may fork. In the child there is no such thread, and a scope would wait for it
//! for ever.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use proteinflex_core::threads;
use pyo3::prelude::*;

/// How often the caller may do something else while it waits.
const PAUSE: Duration = Duration::from_millis(50);

/// Why there is no result.
pub enum Failure {
    /// The work panicked, with this.
    Panicked(Box<dyn Any + Send>),
    /// This is a child of the process that works.
    Forked,
}

/// Where the thread leaves what the work returned.
struct Outcome<T> {
    returned: Mutex<Option<std::thread::Result<T>>>,
    has_returned: Condvar,
}

impl<T> Outcome<T> {
    fn set(&self, returned: std::thread::Result<T>) {
        *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(returned);
        self.has_returned.notify_one();
    }

    /// Waits a moment.
    fn take(&self) -> Option<std::thread::Result<T>> {
        let returned = self.returned.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.has_returned.wait_timeout_while(returned, PAUSE, |one| one.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

/// Runs `work` without the GIL in a thread of its own, or here where there can be no thread.
/// `meanwhile` is called again and again until it has ended.
pub fn run<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send,
    mut meanwhile: impl FnMut(),
) -> Result<T, Failure> {
    let outcome = Outcome { returned: Mutex::new(None), has_returned: Condvar::new() };
    let work = Mutex::new(Some(work));
    let task = || {
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            outcome.set(catch_unwind(AssertUnwindSafe(work)));
        }
    };
    let spawned = threads::builder("proteinflex-call").and_then(|thread| {
        // SAFETY: the thread uses what `task` borrows: locals of this function, which are dropped
        // after `_thread`, and what the caller passes for the time of the call. Dropping `_thread`
        // waits for its end, also where this function unwinds. Only a forked child does not wait:
        // there the thread does not exist, so nothing uses what it borrowed.
        unsafe { thread.spawn_unchecked(task) }
    });
    let _thread = match spawned {
        Ok(thread) => Some(Joined { thread: Some(thread), process: process::id() }),
        Err(_) => {
            py.detach(task);
            None
        }
    };
    let process = process::id();
    loop {
        match py.detach(|| outcome.take()) {
            Some(returned) => return returned.map_err(Failure::Panicked),
            None => meanwhile(),
        }
        if process::id() != process {
            return Err(Failure::Forked);
        }
    }
}

/// A thread whose end is waited for when this is dropped.
struct Joined {
    thread: Option<JoinHandle<()>>,
    process: u32,
}

impl Drop for Joined {
    fn drop(&mut self) {
        let thread = self.thread.take();
        if self.process == process::id() {
            // It has caught every panic.
            let _ = thread.map(JoinHandle::join);
        } else {
            std::mem::forget(thread);
        }
    }
}
