//! `TrajectoryFileWriter`: a trajectory in a file of its own, outside of any cache.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use proteinflex_core::cache::EntryInProgress;
use proteinflex_core::fs::{Disk, Storage, StorageFile};
use proteinflex_core::topology::Topology;
use proteinflex_core::trajectory::{Encoding, EntryHeader, EntryKind, EntryWriter};
use proteinflex_core::{Error, threads};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::appended::{AppendedFrames, UnitsSoFar, in_order};
use crate::argument;
use crate::data_handler::{checked_id, precision_of, profile_of};
use crate::error::{closed, in_use, to_python};
use crate::fields::lossy;
use crate::interrupt::{LONG, interruptible};
use crate::topology::parsed;
use crate::value::metadata_tree;

/// Writes a trajectory to a file that nobody else knows; whoever made it gives it its name.
///
/// A base of `proteinflex_optimization.trajectory_file.TrajectoryFileWriter`.
#[pyclass(subclass, frozen, module = "proteinflex_optimization._native")]
pub struct TrajectoryFileWriter {
    path: PathBuf,
    header: EntryHeader,
    encoding: Encoding,
    state: Mutex<State>,
    units: UnitsSoFar,
    /// The process whose file it is: a forked child has a copy of this object, too.
    process: u32,
}

#[expect(clippy::large_enum_variant, reason = "there is one of them in each writer")]
enum State {
    /// Nothing is in the file.
    New(Box<dyn StorageFile>, Option<Arc<Topology>>),
    Open(EntryWriter),
    Closed,
}

impl TrajectoryFileWriter {
    /// The state, which no other call may use meanwhile: code that one runs in Python (a signal
    /// handler, say) gets an error instead of waiting for itself.
    fn state(&self) -> PyResult<MutexGuard<'_, State>> {
        if self.is_of_parent() {
            return Err(to_python(EntryInProgress::of_parent(&self.header.data_id)));
        }
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            // What a panic left may be half changed.
            Err(TryLockError::Poisoned(_)) => Err(self.closed()),
            Err(TryLockError::WouldBlock) => Err(in_use(&self.header.data_id, "by another call")),
        }
    }

    fn is_of_parent(&self) -> bool {
        self.process != std::process::id()
    }

    fn closed(&self) -> PyErr {
        closed(&self.header.data_id, "create_trajectory makes another")
    }

    /// The writer, which is begun with the first frame.
    fn writer<'a>(&self, py: Python<'_>, state: &'a mut State) -> PyResult<&'a mut EntryWriter> {
        if let State::New(..) = state {
            let State::New(file, topology) = std::mem::replace(state, State::Closed) else {
                unreachable!("it is new")
            };
            let topology = topology.as_deref();
            let (path, header) = (&self.path, &self.header);
            let begin =
                || EntryWriter::create_with_topology(file, path, header, self.encoding, topology);
            *state = State::Open(py.detach(begin).map_err(to_python)?);
        }
        match state {
            State::Open(writer) => Ok(writer),
            State::New(..) | State::Closed => Err(self.closed()),
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
        compress: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let data_id = checked_id(data_id)?;
        let compress = argument::flag(compress, "compress")?;
        let mut encoding = Encoding { compress, ..Encoding::lossless() };
        if let Some(precision) = precision {
            encoding.precision = precision_of(precision)?;
        }
        encoding.profile = profile_of(profile)?;
        let metadata = metadata_tree(py, metadata)?;
        let header = EntryHeader::now(EntryKind::Trajectory, &data_id, metadata);
        let create = || {
            threads::check()?;
            Disk.create_new(&path).map_err(|error| Error::io("create", &path, error))
        };
        let file = py.detach(create).map_err(to_python)?;
        let state = Mutex::new(State::New(file, None));
        let (units, process) = (UnitsSoFar::default(), std::process::id());
        Ok(Self { path, header, encoding, state, units, process })
    }

    /// Keep a topology with the frames, of which there is none yet: bytes from `encode_topology`.
    fn _set_topology(&self, py: Python<'_>, topology: &[u8]) -> PyResult<()> {
        let topology = parsed(py, topology)?;
        match &mut *self.state()? {
            State::New(_, kept) => *kept = Some(topology),
            State::Open(_) => {
                let found = format!("a topology of {} atoms", topology.n_atoms());
                let expected = "it before the first frame";
                return Err(to_python(Error::argument("structure", found, expected)));
            }
            State::Closed => return Err(self.closed()),
        }
        Ok(())
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
        let mut state = self.state()?;
        let writer = self.writer(py, &mut state)?;
        let is_long = size >= LONG || writer.completes_chunk(n_frames);
        let append = || {
            if writer.fields().is_empty() {
                let lossy = lossy(&specs, self.encoding)?;
                writer.declare_fields(specs.clone(), &lossy)?;
            }
            let ordered = in_order(writer.fields(), &specs, &bytes)?;
            writer.append(n_frames, &ordered)
        };
        self.units.append(&given, || {
            if is_long { interruptible(py, append) } else { py.detach(append).map_err(to_python) }
        })
    }

    /// Frames so far.
    #[getter]
    fn n_frames(&self) -> PyResult<u64> {
        match &*self.state()? {
            State::New(..) => Ok(0),
            State::Open(writer) => Ok(writer.n_frames()),
            State::Closed => Err(self.closed()),
        }
    }

    /// The names of the fields, once there is a frame.
    #[getter]
    fn fields(&self) -> PyResult<Vec<String>> {
        match &*self.state()? {
            State::New(..) => Ok(Vec::new()),
            State::Open(writer) => {
                Ok(writer.fields().iter().map(|field| field.name.clone()).collect())
            }
            State::Closed => Err(self.closed()),
        }
    }

    /// Completes the file, which is synced then.
    fn _finish(&self, py: Python<'_>) -> PyResult<()> {
        let mut state = self.state()?;
        match &*state {
            State::Open(writer) if writer.n_frames() > 0 => {}
            State::Closed => return Err(self.closed()),
            State::New(..) | State::Open(_) => {
                let expected = "at least one frame before the writer is closed";
                return Err(to_python(Error::argument("n_frames", 0, expected)));
            }
        }
        let State::Open(writer) = std::mem::replace(&mut *state, State::Closed) else {
            return Err(self.closed());
        };
        interruptible(py, || writer.tree().and_then(|tree| writer.finish(&tree)).map(drop))
    }

    /// Drops what was written.
    fn _drop(&self) {
        if let Ok(mut state) = self.state() {
            *state = State::Closed;
        }
    }

    /// Whether this object belongs to the process that forked this one.
    #[getter]
    fn _is_of_parent(&self) -> bool {
        self.is_of_parent()
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TrajectoryFileWriter>()
}
