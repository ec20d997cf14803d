//! Saving: at once, or in the background.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use proteinflex_core::checkpoint::StagedState;
use proteinflex_core::error::CheckpointError;
use proteinflex_core::{Error, threads};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;

use super::manager::CheckpointManager;
use super::pending::{Pending, PendingCheckpoint};
use super::state::State;
use crate::argument::{DEFAULT, Optional};
use crate::error::to_python;
use crate::interrupt::{LONG, interruptible_if};
use crate::path::PathText;

#[catch_panics]
#[pymethods]
impl CheckpointManager {
    /// Save a state; one of the same id is replaced.
    ///
    /// Parameters
    /// ----------
    /// checkpoint_id : str
    ///     The name of its directory: up to 192 bytes of visible characters and spaces, without
    ///     ``/``, not beginning with ``.``, ``-`` or a space.
    /// component_states : dict
    ///     Component names and states: nested dicts, lists, tuples and sets of arrays, torch
    ///     tensors, numbers, text, bytes, None, dates, paths, enums and dataclasses.
    /// metadata : dict, optional
    ///     Plain values that `list_checkpoints` shows.
    /// allow_pickle : bool
    ///     Whether to pickle what can't be stored otherwise; loading then needs it too.
    ///
    /// Returns
    /// -------
    /// str
    ///     The path of the checkpoint's directory. All is durable by then.
    ///
    /// Raises
    /// ------
    /// InvalidTypeError
    ///     A value can't be stored (a `TypeError`); the message says where it is. Nothing was
    ///     written.
    /// CheckpointError
    ///     A directory of this name is there and is no checkpoint; it was left as it is.
    /// UnsupportedFormatError
    ///     A newer version of this package has made the checkpoint that would be replaced.
    /// OSError
    ///     The disk is full, for example; older checkpoints are untouched.
    #[pyo3(signature = (checkpoint_id, component_states, *, metadata=None,
                        allow_pickle=DEFAULT),
           text_signature = "($self, checkpoint_id, component_states, *, metadata=None, \
                             allow_pickle=False)")]
    fn create_checkpoint(
        &self,
        py: Python<'_>,
        checkpoint_id: &Bound<'_, PyAny>,
        component_states: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        allow_pickle: Optional<'_>,
    ) -> PyResult<PathText<PathBuf>> {
        let allow_pickle = allow_pickle.flag("allow_pickle", false)?;
        let state = State::new(py, checkpoint_id, component_states, metadata, allow_pickle)?;
        self.finish_pending(py)?;
        let components = state.components()?;
        let store = &self.store;
        let (id, metadata) = (state.id.as_str(), state.metadata.as_slice());
        let is_long = self.durable || state.bytes(&components) >= LONG;
        let path = interruptible_if(py, is_long, || store.create(id, &components, metadata))?;
        Ok(PathText(path))
    }

    /// Save a state in the background.
    ///
    /// The state is copied before this returns, so it may be changed at once. One checkpoint is
    /// made at a time: this waits for an earlier one. An error is raised by `result`, or by the
    /// next save. The memory of the copy is kept for the next one, until `release_memory`.
    ///
    /// Parameters
    /// ----------
    /// checkpoint_id, component_states, metadata, allow_pickle
    ///     As for `create_checkpoint`.
    ///
    /// Returns
    /// -------
    /// PendingCheckpoint
    ///     With ``result(timeout=None)``, which returns the path, and ``done()``.
    #[pyo3(signature = (checkpoint_id, component_states, *, metadata=None,
                        allow_pickle=DEFAULT),
           text_signature = "($self, checkpoint_id, component_states, *, metadata=None, \
                             allow_pickle=False)")]
    fn create_checkpoint_async(
        &self,
        py: Python<'_>,
        checkpoint_id: &Bound<'_, PyAny>,
        component_states: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        allow_pickle: Optional<'_>,
    ) -> PyResult<PendingCheckpoint> {
        let allow_pickle = allow_pickle.flag("allow_pickle", false)?;
        let state = State::new(py, checkpoint_id, component_states, metadata, allow_pickle)?;
        self.finish_pending(py)?;
        let components = state.components()?;
        let buffer = self.staging.take();
        let is_long = state.bytes(&components) >= LONG;
        let copy = interruptible_if(py, is_long, || StagedState::copy(&components, buffer))?;
        let (store, staging) = (self.store.clone(), Arc::clone(&self.staging));
        let (id, metadata) = (state.id.clone(), state.metadata.clone());
        let pending = Arc::new(Pending::new());
        let working = Arc::clone(&pending);
        let work = move || {
            let create = || store.create(&id, &copy.components(), &metadata);
            let made = catch_unwind(AssertUnwindSafe(create)).unwrap_or_else(|_| {
                Err(CheckpointError::Panicked { checkpoint_id: id.clone() }.into())
            });
            staging.put(copy.into_buffer());
            working.finish(made);
        };
        threads::builder("proteinflex-checkpoint").and_then(|thread| thread.spawn(work)).map_err(
            |error| to_python(Error::io("start a thread in", self.store.base_dir(), error)),
        )?;
        self.add_pending(&pending);
        Ok(PendingCheckpoint::new(pending))
    }
}
