//! Checkpoints that several processes make together.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use proteinflex_core::checkpoint::NewCheckpoint;
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;

/// A checkpoint that several processes make together.
#[pyclass(frozen, name = "_SharedCheckpoint", module = "proteinflex_optimization._native")]
pub struct SharedCheckpoint {
    new: Mutex<Option<NewCheckpoint>>,
}

impl SharedCheckpoint {
    pub fn new(new: NewCheckpoint) -> Self {
        Self { new: Mutex::new(Some(new)) }
    }

    pub fn take(&self) -> Option<NewCheckpoint> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[catch_panics]
#[pymethods]
impl SharedCheckpoint {
    /// Where its files are put meanwhile.
    #[getter]
    fn directory(&self) -> Option<PathBuf> {
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.as_ref().map(|new| new.path().to_owned())
    }

    /// Give it up: what was written is removed.
    fn abandon(&self, py: Python<'_>) {
        let new = self.take();
        py.detach(|| drop(new));
    }
}
