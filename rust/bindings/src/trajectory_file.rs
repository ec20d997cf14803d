//! `TrajectoryFileWriter`: a trajectory in a file of its own, outside of any cache.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, TryLockError};

use proteinflex_core::cache::EntryInProgress;
use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::trajectory::{Encoding, EntryHeader, EntryKind, EntryWriter};
use proteinflex_core::{Error, Result};
use proteinflex_macros::catch_panics;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::appended::{AppendedFrames, in_order};
use crate::data_handler::{checked_id, precision_of, profile_of};
use crate::error::to_python;
use crate::fields::is_lossy;
use crate::interrupt::{LONG, interruptible};
use crate::value::metadata_tree;

/// Writes a trajectory to a file that nobody else knows; whoever made it gives it its name.
///
/// A base of `proteinflex_optimization.trajectory_file.TrajectoryFileWriter`.
#[pyclass(subclass, frozen, module = "proteinflex_optimization._native")]
pub struct TrajectoryFileWriter {
    data_id: String,
    writer: Mutex<Option<EntryWriter>>,
    /// The process whose file it is: a forked child has a copy of this object, too.
    process: u32,
}

impl TrajectoryFileWriter {
    /// The writer, which no other call may use meanwhile: code that one runs in Python (a signal
    /// handler, say) gets an error instead of waiting for itself.
    fn writer(&self) -> PyResult<MutexGuard<'_, Option<EntryWriter>>> {
        if self.is_of_parent() {
            return Err(to_python(EntryInProgress::of_parent(&self.data_id)));
        }
        match self.writer.try_lock() {
            Ok(writer) => Ok(writer),
            // What a panic left may be half changed.
            Err(TryLockError::Poisoned(_)) => Err(closed()),
            Err(TryLockError::WouldBlock) => {
                Err(PyRuntimeError::new_err("this writer is in use by another call"))
            }
        }
    }

    fn is_of_parent(&self) -> bool {
        self.process != std::process::id()
    }

    /// Runs work on the open writer, without the GIL; signals interrupt long work.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        is_long: impl FnOnce(&EntryWriter) -> bool,
        work: impl FnOnce(&mut EntryWriter) -> Result<T> + Send,
    ) -> PyResult<T> {
        let mut guard = self.writer()?;
        let writer = guard.as_mut().ok_or_else(closed)?;
        match is_long(writer) {
            true => interruptible(py, || work(writer)),
            false => py.detach(|| work(writer)).map_err(to_python),
        }
    }
}

#[catch_panics]
#[pymethods]
impl TrajectoryFileWriter {
    #[new]
    #[pyo3(signature = (path, data_id, metadata, precision, profile, compress))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        data_id: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        precision: Option<&Bound<'_, PyAny>>,
        profile: &Bound<'_, PyAny>,
        compress: bool,
    ) -> PyResult<Self> {
        let data_id = checked_id(data_id)?;
        let mut encoding = Encoding { compress, ..Encoding::lossless() };
        if let Some(precision) = precision {
            encoding.precision = precision_of(precision)?;
        }
        encoding.profile = profile_of(profile)?;
        let metadata = metadata_tree(py, metadata)?;
        let header = EntryHeader::now(EntryKind::Trajectory, &data_id, metadata);
        let create = || {
            let file = Disk.create_new(&path).map_err(|error| Error::io("create", &path, error))?;
            EntryWriter::create(file, &path, &header, encoding)
        };
        let writer = py.detach(create).map_err(to_python)?;
        Ok(Self { data_id, writer: Mutex::new(Some(writer)), process: std::process::id() })
    }

    /// Add one frame, or a block of them.
    ///
    /// Parameters
    /// ----------
    /// frames : ndarray
    ///     (n, n_atoms, 3), or (n_atoms, 3) for one frame; float32 or float64, always the same.
    /// **per_frame
    ///     Further fields: arrays of n items (one item for one frame), with the same names, shapes
    ///     and dtypes each time.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     A field does not fit the earlier ones; nothing was added.
    /// WriterConflictError
    ///     This writer belongs to the process that forked this one.
    /// OSError
    ///     The disk is full, for example.
    #[pyo3(signature = (frames, **per_frame))]
    fn append(
        &self,
        py: Python<'_>,
        frames: &Bound<'_, PyAny>,
        per_frame: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let given = AppendedFrames::new(frames, per_frame)?;
        let (specs, bytes) = (given.specs()?, given.bytes()?);
        let n_frames = given.n_frames;
        let size = bytes.iter().map(|field| field.len() as u64).sum::<u64>();
        let is_long = |writer: &EntryWriter| size >= LONG || writer.completes_chunk(n_frames);
        self.with(py, is_long, |writer| {
            if writer.fields().is_empty() {
                let lossy: Vec<bool> = specs.iter().map(is_lossy).collect();
                writer.declare_fields(specs.clone(), &lossy)?;
            }
            writer.append(n_frames, &in_order(writer.fields(), &specs, &bytes)?)
        })
    }

    /// Frames so far.
    #[getter]
    fn n_frames(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |_| false, |writer| Ok(writer.n_frames()))
    }

    /// The names of the fields, once there is a frame.
    #[getter]
    fn fields(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let names = |writer: &mut EntryWriter| {
            Ok(writer.fields().iter().map(|field| field.name.clone()).collect())
        };
        self.with(py, |_| false, names)
    }

    /// Completes the file, which is synced then.
    fn _finish(&self, py: Python<'_>) -> PyResult<()> {
        let mut guard = self.writer()?;
        if guard.as_ref().ok_or_else(closed)?.n_frames() == 0 {
            let expected = "at least one frame before the writer is closed";
            return Err(to_python(Error::argument("n_frames", 0, expected)));
        }
        let writer = guard.take().ok_or_else(closed)?;
        interruptible(py, || writer.tree().and_then(|tree| writer.finish(&tree)).map(drop))
    }

    /// Whether this object belongs to the process that forked this one.
    #[getter]
    fn _is_of_parent(&self) -> bool {
        self.is_of_parent()
    }
}

fn closed() -> PyErr {
    PyValueError::new_err("this writer is closed")
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TrajectoryFileWriter>()
}
