//! Checkpoints that several processes make together.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use proteinflex_core::checkpoint::{NewCheckpoint, PartialManifest, VALUES};
use proteinflex_core::error::CheckpointError;
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::manager::CheckpointManager;
use super::state::State;
use crate::argument;
use crate::error::to_python;
use crate::interrupt::interruptible;
use crate::path::{PathObject, PathText};

/// A checkpoint that several processes make together.
#[pyclass(frozen, name = "_SharedCheckpoint", module = "proteinflex_optimization._native")]
pub struct SharedCheckpoint {
    new: Mutex<Option<NewCheckpoint>>,
}

impl SharedCheckpoint {
    fn take(&self) -> Option<NewCheckpoint> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[catch_panics]
#[pymethods]
impl SharedCheckpoint {
    /// The directory that its files are written to; None once it was published or abandoned.
    #[getter]
    fn directory(&self) -> Option<PathObject<PathBuf>> {
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.as_ref().map(|new| PathObject(new.path().to_owned()))
    }

    /// Remove what was written.
    fn abandon(&self, py: Python<'_>) {
        let new = self.take();
        py.detach(|| drop(new));
    }
}

#[catch_panics]
#[pymethods]
impl CheckpointManager {
    /// Begin a checkpoint that several processes make together.
    fn _begin(
        &self,
        py: Python<'_>,
        checkpoint_id: &Bound<'_, PyAny>,
    ) -> PyResult<SharedCheckpoint> {
        let id = argument::text(checkpoint_id, "checkpoint_id")?;
        self.finish_pending(py)?;
        let new = interruptible(py, || self.store.begin(&id))?;
        Ok(SharedCheckpoint { new: Mutex::new(Some(new)) })
    }

    /// Write this process's components into the directory of such a checkpoint.
    #[pyo3(signature = (directory, rank, component_states, metadata, allow_pickle))]
    fn _write_components<'py>(
        &self,
        py: Python<'py>,
        directory: &Bound<'py, PyAny>,
        rank: u32,
        component_states: &Bound<'py, PyAny>,
        metadata: Option<&Bound<'py, PyAny>>,
        allow_pickle: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let directory = argument::path(directory, "directory")?;
        let id = PyString::new(py, "partial");
        let state = State::new(py, id.as_any(), component_states, metadata, allow_pickle)?;
        self.finish_pending(py)?;
        let components = state.components()?;
        let values = if rank == 0 { VALUES.to_owned() } else { format!("{VALUES}-{rank}") };
        let partial = interruptible(py, || {
            self.store
                .write_components(&directory, &values, &components, &state.metadata)
                .and_then(|partial| partial.to_bytes())
        })?;
        Ok(PyBytes::new(py, &partial))
    }

    /// Publish a checkpoint of what its processes have written.
    fn _publish(
        &self,
        py: Python<'_>,
        shared: &SharedCheckpoint,
        partials: Vec<Vec<u8>>,
    ) -> PyResult<PathText<PathBuf>> {
        let partials = partials
            .iter()
            .map(|partial| PartialManifest::from_bytes(partial))
            .collect::<Result<Vec<_>, _>>()
            .map_err(to_python)?;
        let new =
            shared.take().ok_or_else(|| to_python(CheckpointError::AlreadyFinished.into()))?;
        let path = interruptible(py, || self.store.publish(new, partials))?;
        Ok(PathText(path))
    }
}
