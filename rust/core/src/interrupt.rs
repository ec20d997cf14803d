//! Interrupting work that takes long.
//!
//! Who starts such work may ask for its end, and the work looks for that between two chunks,
//! segments or tries for a lock. It then ends with [`Error::Interrupted`], as by any other error:
//! temporary files are removed and nothing is published.
//!
//! The request belongs to a thread. Work that other threads do for it takes [`current`] along:
//!
//! ```
//! use proteinflex_core::interrupt::{self, Interrupt};
//!
//! let interrupt = Interrupt::new();
//! interrupt.request();
//! assert!(interrupt.scope(interrupt::check).is_err());
//! // Nobody has asked this thread.
//! assert!(interrupt::check().is_ok());
//! ```

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{Error, Result};

/// How long a request may go unnoticed while the work only waits.
const PAUSE: Duration = Duration::from_millis(50);

thread_local! {
    static CURRENT: RefCell<Interrupt> = const { RefCell::new(Interrupt::NEVER) };
}

/// A request to end, and how to find out whether it was made.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    requested: Option<Arc<AtomicBool>>,
    /// Asked while the thread of this value waits; `true` is a request.
    poll: Option<fn() -> bool>,
}

impl Interrupt {
    /// What nobody can request.
    const NEVER: Self = Self { requested: None, poll: None };

    /// One that [`Interrupt::request`] requests.
    pub fn new() -> Self {
        Self { requested: Some(Arc::default()), poll: None }
    }

    /// One for which `poll` is asked whenever the work waits for something, in the thread that
    /// waits.
    pub fn polling(poll: fn() -> bool) -> Self {
        Self { poll: Some(poll), ..Self::new() }
    }

    /// Asks for the end of the work.
    pub fn request(&self) {
        if let Some(requested) = &self.requested {
            requested.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the end can be asked for.
    pub fn can_be_requested(&self) -> bool {
        self.requested.is_some()
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.requested.as_ref().is_some_and(|requested| requested.load(Ordering::Relaxed))
    }

    /// An error where the end was asked for.
    pub fn check(&self) -> Result<()> {
        if self.is_requested() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Runs `work`, which this ends.
    pub fn scope<R>(&self, work: impl FnOnce() -> R) -> R {
        let _restore = Restore(CURRENT.replace(self.clone()));
        work()
    }
}

/// Puts back what was current before, also after a panic.
struct Restore(Interrupt);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(std::mem::take(&mut self.0));
    }
}

/// What ends the work of this thread, for another one that does a part of it.
pub fn current() -> Interrupt {
    CURRENT.with_borrow(|current| Interrupt { requested: current.requested.clone(), poll: None })
}

/// Whether the end of this thread's work was asked for.
pub fn is_requested() -> bool {
    CURRENT.with_borrow(Interrupt::is_requested)
}

/// An error where the end of this thread's work was asked for.
pub fn check() -> Result<()> {
    CURRENT.with_borrow(Interrupt::check)
}

/// Waits, or until the end of this thread's work is asked for. The caller holds no lock: the
/// question may run code of the program.
pub fn sleep(duration: Duration) -> Result<()> {
    // Not borrowed while it is asked: that may start work of its own.
    let current = CURRENT.with_borrow(Interrupt::clone);
    let mut left = duration;
    while !left.is_zero() {
        current.check()?;
        let part = left.min(PAUSE);
        std::thread::sleep(part);
        left -= part;
        if current.poll.is_some_and(|poll| poll()) {
            current.request();
        }
    }
    current.check()
}

/// Waits between two tries for what others hold: the longer, the longer that was `waited` already.
pub fn back_off(waited: Duration) -> Result<()> {
    const SHORTEST: Duration = Duration::from_micros(100);
    const LONGEST: Duration = Duration::from_millis(20);
    sleep((waited / 8).clamp(SHORTEST, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_the_work_of_its_scope_and_no_other() {
        let (outer, inner) = (Interrupt::new(), Interrupt::new());
        outer.scope(|| {
            inner.request();
            assert!(inner.scope(check).is_err());
            assert!(check().is_ok());
            let taken_along = current();
            outer.request();
            assert!(std::thread::spawn(move || taken_along.check()).join().unwrap().is_err());
            assert!(check().is_err());
        });
        assert!(check().is_ok() && !is_requested());
    }

    #[test]
    fn a_wait_asks_and_ends_early_when_that_requests_it() {
        let started = std::time::Instant::now();
        let interrupt = Interrupt::polling(|| true);
        assert!(interrupt.scope(|| sleep(Duration::from_secs(60))).is_err());
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(interrupt.is_requested());
    }

    #[test]
    fn a_panic_restores_what_was_current() {
        let interrupt = Interrupt::new();
        interrupt.request();
        let panicked = std::panic::catch_unwind(|| interrupt.scope(|| panic!("on purpose")));
        assert!(panicked.is_err() && check().is_ok());
    }
}
