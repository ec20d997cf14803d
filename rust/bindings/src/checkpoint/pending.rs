//! Checkpoints that are made in the background.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proteinflex_core::error::CheckpointError;
use proteinflex_core::{Error, Result};
use proteinflex_macros::catch_panics;
use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;

use crate::argument;
use crate::error::{by_reference, to_python};
use crate::path::PathText;

/// A checkpoint that is being made in the background.
#[pyclass(frozen, module = "proteinflex_optimization._native")]
pub struct PendingCheckpoint {
    pending: Arc<Pending>,
}

/// A save in the background, as the thread that saves and its waiters share it.
pub(super) struct Pending {
    /// Never locked while Python runs.
    outcome: Mutex<Outcome>,
    finished: Condvar,
    /// The process that saves. A forked child has no such thread.
    process: u32,
}

#[derive(Default)]
enum Outcome {
    #[default]
    Working,
    Made(PathBuf),
    Failed {
        error: Arc<Error>,
        was_raised: bool,
    },
}

impl PendingCheckpoint {
    pub(super) fn new(pending: Arc<Pending>) -> Self {
        Self { pending }
    }
}

#[catch_panics]
#[pymethods]
impl PendingCheckpoint {
    /// Wait for the checkpoint; returns its path, or raises what went wrong.
    ///
    /// Raises
    /// ------
    /// TimeoutError
    ///     It took longer than `timeout` seconds; it goes on.
    #[pyo3(signature = (timeout=None))]
    fn result(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PathText<PathBuf>> {
        let timeout = timeout.map(argument::seconds).transpose()?;
        self.pending.wait(py, timeout)?;
        match self.pending.made() {
            Some(made) => made.map(PathText).map_err(|error| by_reference(&error)),
            None => {
                let seconds = timeout.unwrap_or_default();
                let text = format!("the checkpoint is not done after {seconds} s; it goes on");
                Err(PyTimeoutError::new_err(text))
            }
        }
    }

    /// Whether it is made, or has failed.
    ///
    /// Raises
    /// ------
    /// CheckpointError
    ///     It is being made by the process that this one was forked from.
    fn done(&self) -> PyResult<bool> {
        self.pending.check_process()?;
        Ok(!matches!(*self.pending.outcome(), Outcome::Working))
    }

    /// Whether this process is still making it, or has not raised its error yet.
    fn _is_open(&self) -> bool {
        self.pending.is_of_this_process()
            && matches!(
                *self.pending.outcome(),
                Outcome::Working | Outcome::Failed { was_raised: false, .. }
            )
    }
}

impl Pending {
    /// A save that this process begins.
    pub(super) fn new() -> Self {
        let process = std::process::id();
        Self { outcome: Mutex::default(), finished: Condvar::new(), process }
    }

    pub(super) fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    fn check_process(&self) -> PyResult<()> {
        if self.is_of_this_process() {
            return Ok(());
        }
        Err(to_python(CheckpointError::OtherProcess.into()))
    }

    pub(super) fn finish(&self, made: Result<PathBuf>) {
        *self.outcome() = made.map_or_else(
            |error| Outcome::Failed { error: Arc::new(error), was_raised: false },
            Outcome::Made,
        );
        self.finished.notify_all();
    }

    /// Waits until the save has ended or the timeout is over; runs signal handlers meanwhile.
    pub(super) fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        const PAUSE: Duration = Duration::from_millis(50);
        self.check_process()?;
        let started = Instant::now();
        loop {
            let ended = py.detach(|| {
                let is_working = |outcome: &mut Outcome| matches!(outcome, Outcome::Working);
                let waited = self.finished.wait_timeout_while(self.outcome(), PAUSE, is_working);
                !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
            });
            if ended || timeout.is_some_and(|timeout| started.elapsed().as_secs_f64() >= timeout) {
                return Ok(());
            }
            py.check_signals()?;
        }
    }

    /// The error of the save, if it was not raised before.
    pub(super) fn take_error(&self) -> Option<Arc<Error>> {
        match &mut *self.outcome() {
            Outcome::Failed { error, was_raised } if !*was_raised => {
                *was_raised = true;
                Some(Arc::clone(error))
            }
            _ => None,
        }
    }

    /// What the save has made, or its error, as often as it is asked for. `None` while it is
    /// working.
    fn made(&self) -> Option<Result<PathBuf, Arc<Error>>> {
        match &mut *self.outcome() {
            Outcome::Working => None,
            Outcome::Made(path) => Some(Ok(path.clone())),
            Outcome::Failed { error, was_raised } => {
                *was_raised = true;
                Some(Err(Arc::clone(error)))
            }
        }
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
