//! Checkpoints that are made in the background.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proteinflex_core::{Error, Result};
use proteinflex_macros::catch_panics;
use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;

use crate::error::to_python;

/// A checkpoint that is being made in the background.
#[pyclass(frozen, module = "proteinflex_optimization._native")]
pub struct PendingCheckpoint {
    pub pending: Arc<Pending>,
}

#[derive(Default)]
pub struct Pending {
    outcome: Mutex<Outcome>,
    finished: Condvar,
    /// The process that does the work: a forked child never will.
    pub process: u32,
}

#[derive(Default)]
enum Outcome {
    #[default]
    Working,
    Made(PathBuf),
    Failed(Error),
    /// The error was raised; it is raised once.
    Told(String),
}

#[catch_panics]
#[pymethods]
impl PendingCheckpoint {
    /// Wait for the checkpoint; gives its path, or raises what went wrong.
    ///
    /// Raises
    /// ------
    /// TimeoutError
    ///     It took longer than `timeout` seconds; it goes on.
    #[pyo3(signature = (timeout=None))]
    fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<OsString> {
        if !self.pending.wait(py, timeout)? {
            let seconds = timeout.unwrap_or_default();
            let text = format!("the checkpoint is not done after {seconds} s; it goes on");
            return Err(PyTimeoutError::new_err(text));
        }
        self.pending.raise_once()?;
        match &*self.pending.outcome.lock().unwrap_or_else(PoisonError::into_inner) {
            Outcome::Made(path) => Ok(path.clone().into_os_string()),
            Outcome::Told(text) => Err(to_python(Error::Checkpoint(text.clone()))),
            Outcome::Working | Outcome::Failed(_) => {
                Err(to_python(Error::Checkpoint("the checkpoint is not done".to_owned())))
            }
        }
    }

    /// Whether it is made, or has failed.
    fn done(&self) -> bool {
        let outcome = self.pending.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(*outcome, Outcome::Working)
    }
}

impl Pending {
    /// Work that this process has begun.
    pub fn here() -> Self {
        Self { process: std::process::id(), ..Self::default() }
    }

    pub fn finish(&self, made: Result<PathBuf>) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        *outcome = match made {
            Ok(path) => Outcome::Made(path),
            Err(error) => Outcome::Failed(error),
        };
        self.finished.notify_all();
    }

    /// Waits until the work is done, looking for signals meanwhile; whether it is.
    pub fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        const PAUSE: Duration = Duration::from_millis(50);
        if self.process != std::process::id() {
            return Err(to_python(Error::Checkpoint(
                "the checkpoint is being made by the process that this one was forked from".into(),
            )));
        }
        let started = Instant::now();
        loop {
            let done = py.detach(|| {
                let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
                if !matches!(*outcome, Outcome::Working) {
                    return true;
                }
                let waited = self.finished.wait_timeout(outcome, PAUSE);
                let (outcome, _) = waited.unwrap_or_else(PoisonError::into_inner);
                !matches!(*outcome, Outcome::Working)
            });
            if done || timeout.is_some_and(|timeout| started.elapsed().as_secs_f64() >= timeout) {
                return Ok(done);
            }
            py.check_signals()?;
        }
    }

    /// Raises the error, if there is one that was not raised yet.
    pub fn raise_once(&self) -> PyResult<()> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*outcome, Outcome::Failed(_)) {
            return Ok(());
        }
        match std::mem::take(&mut *outcome) {
            Outcome::Failed(error) => {
                *outcome = Outcome::Told(error.to_string());
                drop(outcome);
                Err(to_python(error))
            }
            other => {
                *outcome = other;
                Ok(())
            }
        }
    }
}
