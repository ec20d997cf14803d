//! What could not be removed, where the work goes on without.
//!
//! A file of another user, one on a failing disk or one that is immutable must not keep everybody
//! from storing and saving. So it stays, and a warning says so, once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// What stays where it is.
#[derive(Debug, Default)]
pub(crate) struct PassedOver {
    first: Option<Error>,
    count: usize,
}

impl PassedOver {
    /// What a step has given; the default, where the system did not let it be done.
    pub fn try_step<T: Default>(&mut self, done: Result<T>) -> Result<T> {
        match done {
            Err(error @ Error::Io { .. }) => {
                self.first.get_or_insert(error);
                self.count += 1;
                Ok(T::default())
            }
            done => done,
        }
    }

    /// An error where anything stays.
    pub fn into_result(self) -> Result<()> {
        self.first.map_or(Ok(()), Err)
    }

    /// What to log; `None` where nothing stays, or where it was said before. Not to be logged under a
    /// lock: a program's log handler may use what is locked.
    pub fn warning(&self, was_said: &AtomicBool) -> Option<String> {
        let error = self.first.as_ref()?;
        if was_said.swap(true, Ordering::Relaxed) {
            return None;
        }
        let others = match self.count - 1 {
            0 => String::new(),
            count => format!(" (and {count} more)"),
        };
        Some(format!("{error}{others}; it stays, and the work goes on without"))
    }
}
