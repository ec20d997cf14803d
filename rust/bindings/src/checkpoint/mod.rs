//! `CheckpointManager`: states that are saved whole or not at all.

mod arrays;
mod pending;
mod shared;
mod state;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use proteinflex_core::Error;
use proteinflex_core::checkpoint::{CheckpointStore, Listed, Part, Retention, Snapshot, VALUES};
use proteinflex_core::fs::{Disk, NoSyncDisk, Storage};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::argument;
use crate::error::to_python;
use crate::value::build;
use arrays::ComponentArrays;
use pending::{Pending, PendingCheckpoint};
use shared::SharedCheckpoint;
use state::State;

/// Checkpoints that are whole or absent, verified when they are loaded.
///
/// Parameters
/// ----------
/// base_dir : str or path
///     The directory of the checkpoints; made where it is missing.
/// max_checkpoints : int
///     How many to keep. The oldest are removed once a new one is durable.
/// auto_cleanup : bool
///     Whether to remove old checkpoints at all.
/// keep_every : int, optional
///     Besides the newest `max_checkpoints`, every so many-th that is made in this directory stays for
///     ever: with 10 the 10th, the 20th and so on.
/// link_unchanged : bool
///     Whether a component whose arrays have the same bytes as in the newest checkpoint becomes a second
///     name (hard link) of that file instead of being written again. Such checkpoints share one copy
///     on the disk, and so the fate of it.
/// durable : bool
///     Whether a save waits until the disk has everything. Without, a checkpoint survives the end of the
///     process, however it ends, but perhaps not a power cut; it is verified all the same.
///
/// Raises
/// ------
/// InvalidArgumentError
///     An argument makes no sense.
/// OSError
///     The directory can't be made or read.
#[pyclass(subclass, frozen, weakref, module = "proteinflex_optimization._native")]
pub struct CheckpointManager {
    store: CheckpointStore,
    pending: Mutex<Option<Arc<Pending>>>,
    /// The memory of the last snapshot, for the next one: fresh memory costs more than the copy.
    memory: Arc<Mutex<Vec<u8>>>,
}

#[pymethods]
impl CheckpointManager {
    #[new]
    #[pyo3(signature = (base_dir, max_checkpoints=None, auto_cleanup=true, *, keep_every=None,
                        link_unchanged=true, durable=true),
           text_signature = "(base_dir, max_checkpoints=5, auto_cleanup=True, *, keep_every=None, \
                             link_unchanged=True, durable=True)")]
    fn new(
        py: Python<'_>,
        base_dir: &Bound<'_, PyAny>,
        max_checkpoints: Option<&Bound<'_, PyAny>>,
        auto_cleanup: bool,
        keep_every: Option<&Bound<'_, PyAny>>,
        link_unchanged: bool,
        durable: bool,
    ) -> PyResult<Self> {
        const DEFAULT_CHECKPOINTS: u64 = 5;
        let base_dir = argument::path(base_dir, "base_dir")?;
        let keep = match max_checkpoints {
            Some(count) => argument::count(count, "max_checkpoints", 1)?,
            None => DEFAULT_CHECKPOINTS,
        };
        let keep_every =
            keep_every.map(|every| argument::count(every, "keep_every", 1)).transpose()?;
        let retention = Retention { keep: auto_cleanup.then_some(keep as usize), keep_every };
        let storage: Arc<dyn Storage> = if durable { Arc::new(Disk) } else { Arc::new(NoSyncDisk) };
        let store = py
            .detach(|| CheckpointStore::open_with(storage, &base_dir, retention, link_unchanged))
            .map_err(to_python)?;
        Ok(Self { store, pending: Mutex::default(), memory: Arc::default() })
    }

    /// Save a state; one of the same id is replaced.
    ///
    /// Parameters
    /// ----------
    /// checkpoint_id : str
    ///     1 to 128 letters, digits or any of ``._-=+@,``.
    /// component_states : dict
    ///     Component names and states: nested dicts, lists, tuples and sets of arrays, torch tensors,
    ///     numbers, text, bytes, None, dates, paths, enums and dataclasses.
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
    ///     A value can't be stored (a `TypeError`); the message says where it is. Nothing was written.
    /// OSError
    ///     The disk is full, for example; older checkpoints are untouched.
    #[pyo3(signature = (checkpoint_id, component_states, *, metadata=None, allow_pickle=false))]
    fn create_checkpoint(
        &self,
        py: Python<'_>,
        checkpoint_id: &Bound<'_, PyAny>,
        component_states: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        allow_pickle: bool,
    ) -> PyResult<OsString> {
        let state = State::new(py, checkpoint_id, component_states, metadata, allow_pickle)?;
        self.finish_pending(py)?;
        let components = state.components()?;
        let store = &self.store;
        let (id, metadata) = (state.id.as_str(), state.metadata.as_slice());
        let made = py.detach(|| store.create(id, &components, metadata)).map_err(to_python)?;
        Ok(made.into_os_string())
    }

    /// Save a state in the background.
    ///
    /// The state is copied before this returns, so it may be changed at once. One checkpoint is made at
    /// a time: an earlier one is waited for. An error is raised by `result`, or by the next save. The
    /// memory of the copy is kept for the next one, until `release_memory`.
    ///
    /// Parameters
    /// ----------
    /// checkpoint_id, component_states, metadata, allow_pickle
    ///     As for `create_checkpoint`.
    ///
    /// Returns
    /// -------
    /// PendingCheckpoint
    ///     With ``result(timeout=None)``, which gives the path, and ``done()``.
    #[pyo3(signature = (checkpoint_id, component_states, *, metadata=None, allow_pickle=false))]
    fn create_checkpoint_async(
        &self,
        py: Python<'_>,
        checkpoint_id: &Bound<'_, PyAny>,
        component_states: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        allow_pickle: bool,
    ) -> PyResult<PendingCheckpoint> {
        let state = State::new(py, checkpoint_id, component_states, metadata, allow_pickle)?;
        self.finish_pending(py)?;
        let components = state.components()?;
        let memory = std::mem::take(&mut *self.memory());
        let copy = py.detach(|| Snapshot::of(&components, memory));
        let (store, kept) = (self.store.clone(), Arc::clone(&self.memory));
        let State { id, metadata, .. } = state;
        let pending = Arc::new(Pending::here());
        let working = Arc::clone(&pending);
        let work = move || {
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                store.create(&id, &copy.components(), &metadata)
            }));
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = copy.into_memory();
            working.finish(made.unwrap_or_else(|_| {
                Err(Error::Checkpoint(format!("saving {id:?} failed unexpectedly")))
            }));
        };
        std::thread::Builder::new()
            .name("proteinflex-checkpoint".to_owned())
            .spawn(work)
            .map_err(|error| to_python(Error::io("start a thread in", self.base_dir(), error)))?;
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&pending));
        Ok(PendingCheckpoint { pending })
    }

    /// Load a checkpoint.
    ///
    /// Parameters
    /// ----------
    /// checkpoint_path : str
    ///     From `create_checkpoint`, `latest` or `list_checkpoints`.
    /// components : list of str, optional
    ///     Which components. Default: all.
    /// mmap : bool
    ///     Whether arrays and tensors are views of the mapped files, copied page by page where they are
    ///     written to; the files never change. Otherwise they are read into memory of their own.
    /// device : str or torch.device, optional
    ///     Where tensors go. Default: where they were, or the CPU where there is no such device.
    /// verify : bool
    ///     Whether checksums are verified first.
    /// allow_pickle : bool
    ///     Whether pickled values are loaded, which can run any code.
    ///
    /// Returns
    /// -------
    /// dict
    ///     Equal to what was saved.
    ///
    /// Raises
    /// ------
    /// CheckpointError
    ///     There is no checkpoint, or it needs what is not here.
    /// CorruptDataError
    ///     It is damaged; the message names the file.
    #[pyo3(signature = (checkpoint_path, *, components=None, mmap=true, device=None, verify=true,
                        allow_pickle=false))]
    #[expect(clippy::too_many_arguments, reason = "the documented method")]
    fn load_checkpoint<'py>(
        &self,
        py: Python<'py>,
        checkpoint_path: &Bound<'py, PyAny>,
        components: Option<&Bound<'py, PyAny>>,
        mmap: bool,
        device: Option<&Bound<'py, PyAny>>,
        verify: bool,
        allow_pickle: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let path = argument::path(checkpoint_path, "checkpoint_path")?;
        let names = components
            .map(|names| {
                names
                    .extract::<Vec<String>>()
                    .map_err(|_| argument::wrong_type(names, "components", "a list of names"))
            })
            .transpose()?;
        let (_, loaded) = py
            .detach(|| CheckpointStore::load(&path, names.as_deref(), verify))
            .map_err(to_python)?;
        let result = PyDict::new(py);
        for component in loaded {
            let name = component.name.clone();
            let mut beside = ComponentArrays { py, component, mmap, loaded: HashMap::new() };
            let tree = std::mem::take(&mut beside.component.tree);
            result.set_item(name, build(py, &tree, &path, device, allow_pickle, &mut beside)?)?;
        }
        Ok(result)
    }

    /// List the checkpoints, the newest last.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     ``checkpoint_id``, ``path``, ``created_at`` (seconds since 1970), ``size_bytes``,
    ///     ``linked_bytes`` (of these, in files that an earlier checkpoint had already), ``components``, ``metadata``, ``valid`` (manifest whole, files there with their sizes;
    ///     `verify` reads them).
    fn list_checkpoints<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let listed = py.detach(|| self.store.list()).map_err(to_python)?;
        let rows = PyList::empty(py);
        for checkpoint in &listed {
            rows.append(describe(py, checkpoint)?)?;
        }
        Ok(rows)
    }

    /// The path of the newest checkpoint that is valid, or None.
    fn latest(&self, py: Python<'_>) -> PyResult<Option<OsString>> {
        let latest = py.detach(|| self.store.latest()).map_err(to_python)?;
        Ok(latest.map(PathBuf::into_os_string))
    }

    /// Read back every file of a checkpoint.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``ok``; ``files``: for each, ``name``, ``bytes``, ``ok`` and ``reason`` (None where it is
    ///     whole).
    ///
    /// Raises
    /// ------
    /// CorruptDataError
    ///     The manifest itself is damaged.
    fn verify<'py>(
        &self,
        py: Python<'py>,
        checkpoint_path: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let path = argument::path(checkpoint_path, "checkpoint_path")?;
        let checks = py.detach(|| CheckpointStore::verify(&path)).map_err(to_python)?;
        let files = PyList::empty(py);
        let ok = checks.iter().all(|check| check.damage.is_none());
        for check in checks {
            let file = PyDict::new(py);
            file.set_item("name", check.name)?;
            file.set_item("bytes", check.bytes)?;
            file.set_item("ok", check.damage.is_none())?;
            file.set_item("reason", check.damage.map(|damage| damage.to_string()))?;
            files.append(file)?;
        }
        let report = PyDict::new(py);
        report.set_item("ok", ok)?;
        report.set_item("files", files)?;
        Ok(report)
    }

    /// Remove a checkpoint.
    ///
    /// Raises
    /// ------
    /// CheckpointError
    ///     There is none of this id; the message lists those that there are.
    fn delete(&self, py: Python<'_>, checkpoint_id: &Bound<'_, PyAny>) -> PyResult<()> {
        let id = argument::text(checkpoint_id, "checkpoint_id")?;
        py.detach(|| self.store.delete(&id)).map_err(to_python)
    }

    /// Wait for a checkpoint that is being made in the background, and until old ones are removed; an
    /// error of the former is raised here.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        let made = self.finish_pending(py);
        py.detach(|| self.store.wait());
        made
    }

    /// Give back the memory that is kept for the next snapshot of `create_checkpoint_async`.
    fn release_memory(&self, py: Python<'_>) {
        let memory = std::mem::take(&mut *self.memory());
        py.detach(|| drop(memory));
    }

    /// Begin a checkpoint that several processes make together.
    fn _begin(
        &self,
        py: Python<'_>,
        checkpoint_id: &Bound<'_, PyAny>,
    ) -> PyResult<SharedCheckpoint> {
        let id = argument::text(checkpoint_id, "checkpoint_id")?;
        self.finish_pending(py)?;
        let new = py.detach(|| self.store.begin(&id)).map_err(to_python)?;
        Ok(SharedCheckpoint::new(new))
    }

    /// Write this process's components into the directory of such a checkpoint.
    #[pyo3(signature = (directory, part, component_states, metadata, allow_pickle))]
    fn _write_part<'py>(
        &self,
        py: Python<'py>,
        directory: &Bound<'py, PyAny>,
        part: u32,
        component_states: &Bound<'py, PyAny>,
        metadata: Option<&Bound<'py, PyAny>>,
        allow_pickle: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let directory = argument::path(directory, "directory")?;
        let id = PyString::new(py, "part");
        let state = State::new(py, id.as_any(), component_states, metadata, allow_pickle)?;
        self.finish_pending(py)?;
        let components = state.components()?;
        let values = if part == 0 { VALUES.to_owned() } else { format!("{VALUES}-{part}") };
        let part = py
            .detach(|| self.store.write_part(&directory, &values, &components, &state.metadata))
            .and_then(|part| part.to_bytes())
            .map_err(to_python)?;
        Ok(PyBytes::new(py, &part))
    }

    /// Publish a checkpoint of the parts that its processes have written.
    fn _publish(
        &self,
        py: Python<'_>,
        shared: &SharedCheckpoint,
        parts: Vec<Vec<u8>>,
    ) -> PyResult<OsString> {
        let parts = parts
            .iter()
            .map(|part| Part::from_bytes(part))
            .collect::<Result<Vec<_>, _>>()
            .map_err(to_python)?;
        let new = shared.take().ok_or_else(|| {
            to_python(Error::Checkpoint("this checkpoint was published or given up".to_owned()))
        })?;
        let made = py.detach(|| self.store.publish(new, parts)).map_err(to_python)?;
        Ok(made.into_os_string())
    }

    /// The directory.
    #[getter]
    fn base_dir(&self) -> &Path {
        self.store.base_dir()
    }

    fn __repr__(&self) -> String {
        format!("<CheckpointManager {}>", self.store.base_dir().display())
    }
}

impl CheckpointManager {
    fn memory(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        // Held for a moment only.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the checkpoint in flight, and raises its error if nobody has seen it yet.
    fn finish_pending(&self, py: Python<'_>) -> PyResult<()> {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        match pending {
            Some(pending) if pending.process == std::process::id() => {
                pending.wait(py, None)?;
                pending.raise_once()
            }
            _ => Ok(()),
        }
    }
}

fn describe<'py>(py: Python<'py>, listed: &Listed) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("checkpoint_id", &listed.checkpoint_id)?;
    row.set_item("path", listed.path.as_os_str())?;
    row.set_item("created_at", listed.created_at as f64 / 1e9)?;
    let manifest = listed.manifest.as_ref().ok();
    row.set_item("size_bytes", manifest.map_or(0, |manifest| manifest.size()))?;
    row.set_item("linked_bytes", manifest.map_or(0, |manifest| manifest.linked_size()))?;
    let names: Vec<_> = manifest
        .into_iter()
        .flat_map(|manifest| manifest.components.iter().map(|component| &component.name))
        .collect();
    row.set_item("components", names)?;
    let mut valid = py.detach(|| listed.is_valid());
    let metadata = if valid { metadata(py, listed) } else { Ok(PyDict::new(py).into_any()) };
    let metadata = metadata.unwrap_or_else(|_| {
        valid = false;
        PyDict::new(py).into_any()
    });
    row.set_item("metadata", metadata)?;
    row.set_item("valid", valid)?;
    Ok(row)
}

fn metadata<'py>(py: Python<'py>, listed: &Listed) -> PyResult<Bound<'py, PyAny>> {
    let Ok(manifest) = &listed.manifest else { return Ok(PyDict::new(py).into_any()) };
    let tree = py.detach(|| manifest.metadata_tree(&listed.directory())).map_err(to_python)?;
    crate::entry::metadata(py, &tree, &listed.path)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CheckpointManager>()?;
    module.add_class::<SharedCheckpoint>()?;
    module.add_class::<PendingCheckpoint>()
}
