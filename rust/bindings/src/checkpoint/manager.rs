//! `CheckpointManager`: a directory of checkpoints, and the saves that are under way in it.

use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proteinflex_core::checkpoint::{CheckpointStore, Retention};
use proteinflex_core::error::printable_path;
use proteinflex_core::fs::{Disk, NoSyncDisk, Storage};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::pending::Pending;
use crate::argument::{self, DEFAULT, Optional};
use crate::error::by_reference;
use crate::interrupt::interruptible;
use crate::late::Late;
use crate::path::PathObject;

/// Checkpoints that are whole or absent, verified when they are loaded.
///
/// Parameters
/// ----------
/// base_dir : str or path
///     The directory of the checkpoints; made where it is missing.
/// max_checkpoints : int
///     How many to keep in the directory, of all ids: what several runs save there is counted
///     together, and one removes the checkpoints of another. The oldest are removed once a new one
///     is durable.
/// auto_cleanup : bool
///     Whether to remove old checkpoints at all.
/// keep_every : int, optional
///     Besides the newest `max_checkpoints`, every `keep_every`-th that is made in this directory
///     stays for ever: with 10 the 10th, the 20th and so on.
/// link_unchanged : bool
///     Whether a component whose arrays have the same bytes as in the newest checkpoint, in a file of
///     256 KiB or more, becomes a second name (hard link) of that file instead of being written
///     again. Such checkpoints share one copy on the disk: damage to it is damage to each.
/// durable : bool
///     Whether a save waits until the disk has everything. Without, a checkpoint survives the end
///     of the process, however it ends, but perhaps not a power cut; it is verified all the same.
/// read_only : bool
///     Whether to open the directory to look at it: nothing is made, locked or removed there, and a
///     directory without checkpoints is a `CheckpointError`.
///
/// Raises
/// ------
/// InvalidArgumentError
///     An argument makes no sense.
/// OSError
///     The directory can't be made or read.
#[pyclass(subclass, frozen, weakref, module = "proteinflex_optimization._native")]
pub struct CheckpointManager {
    opened: Late<Opened>,
    /// The saves in the background, until one has ended and its error was raised.
    pending: Mutex<Vec<Arc<Pending>>>,
    pub(super) staging: Arc<StagingBuffer>,
}

/// What `__init__` makes.
pub struct Opened {
    pub(super) store: CheckpointStore,
    /// Whether a save waits for the disk.
    pub(super) durable: bool,
}

impl Deref for CheckpointManager {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.opened
    }
}

/// The buffer of the last copy, for the next one: fresh memory costs more than the copy.
#[derive(Default)]
pub(super) struct StagingBuffer(Mutex<Vec<u8>>);

// Never waits: a child that was forked while another thread had the mutex would wait for ever.
impl StagingBuffer {
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.try_lock().map(|mut buffer| std::mem::take(&mut *buffer)).unwrap_or_default()
    }

    pub(super) fn put(&self, buffer: Vec<u8>) {
        if let Ok(mut kept) = self.0.try_lock() {
            *kept = buffer;
        }
    }
}

#[catch_panics]
#[pymethods]
impl CheckpointManager {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs),
           text_signature = "(base_dir, max_checkpoints=5, auto_cleanup=True, *, keep_every=None, \
                             link_unchanged=True, durable=True, read_only=False)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { opened: Late::new(), pending: Mutex::default(), staging: Arc::default() }
    }

    #[pyo3(signature = (base_dir, max_checkpoints=DEFAULT, auto_cleanup=DEFAULT, *, keep_every=None,
                        link_unchanged=DEFAULT, durable=DEFAULT, read_only=DEFAULT))]
    #[expect(clippy::too_many_arguments, reason = "the documented arguments, and options")]
    fn __init__(
        &self,
        py: Python<'_>,
        base_dir: &Bound<'_, PyAny>,
        max_checkpoints: Optional<'_>,
        auto_cleanup: Optional<'_>,
        keep_every: Option<&Bound<'_, PyAny>>,
        link_unchanged: Optional<'_>,
        durable: Optional<'_>,
        read_only: Optional<'_>,
    ) -> PyResult<()> {
        let auto_cleanup = auto_cleanup.flag("auto_cleanup", true)?;
        let link_unchanged = link_unchanged.flag("link_unchanged", true)?;
        let durable = durable.flag("durable", true)?;
        let read_only = read_only.flag("read_only", false)?;
        const DEFAULT_CHECKPOINTS: u64 = 5;
        let base_dir = argument::path(base_dir, "base_dir")?;
        let keep = match max_checkpoints.passed() {
            Some(count) => argument::count(count, "max_checkpoints", 1)?,
            None => DEFAULT_CHECKPOINTS,
        };
        let keep_every =
            keep_every.map(|every| argument::count(every, "keep_every", 1)).transpose()?;
        let retention = Retention { keep: auto_cleanup.then_some(keep as usize), keep_every };
        let storage: Arc<dyn Storage> = if durable { Arc::new(Disk) } else { Arc::new(NoSyncDisk) };
        let open = || match read_only {
            true => CheckpointStore::open_read_only(&base_dir),
            false => CheckpointStore::open_with(storage, &base_dir, retention, link_unchanged),
        };
        let store = interruptible(py, open)?;
        self.opened.fill(Opened { store, durable })
    }

    /// Wait for checkpoints that are being made in the background, and until old ones are deleted;
    /// an error of the former is raised here.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        let made = self.finish_pending(py);
        let deleted = interruptible(py, || {
            self.store.wait();
            Ok(())
        });
        made.and(deleted)
    }

    /// Free the memory that is kept for the next copy of `create_checkpoint_async`.
    fn release_memory(&self, py: Python<'_>) {
        let buffer = self.staging.take();
        py.detach(|| drop(buffer));
    }

    /// The directory.
    #[getter]
    fn base_dir(&self) -> PathObject<&Path> {
        PathObject(self.store.base_dir())
    }

    fn __repr__(&self) -> String {
        format!("<CheckpointManager {}>", printable_path(self.store.base_dir()))
    }
}

// No mutex here is held while Python runs, and Python runs at any call into it: another thread, a
// signal handler or a finalizer may use the same manager in between. This one is locked
// only while holding the GIL, which fork holds too.
impl CheckpointManager {
    pub(super) fn add_pending(&self, pending: &Arc<Pending>) {
        self.pending().push(Arc::clone(pending));
    }

    /// Waits for the saves in the background; raises the first error that was not raised yet.
    pub(super) fn finish_pending(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let first = self.pending().first().cloned();
            let Some(first) = first else { return Ok(()) };
            // It stays in the list until it has ended: an interrupted wait forgets no save.
            let error = if first.is_of_this_process() {
                first.wait(py, None)?;
                first.take_error()
            } else {
                None
            };
            self.pending().retain(|pending| !Arc::ptr_eq(pending, &first));
            if let Some(error) = error {
                return Err(by_reference(&error));
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Arc<Pending>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
