//! `TrajectoryWriter`: a trajectory frame by frame.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use proteinflex_core::cache::{Cache, EntryInProgress};
use proteinflex_core::trajectory::{Entry, FieldSpec, Frames};
use proteinflex_core::{Error, Result, interrupt};
use proteinflex_macros::catch_panics;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::appended::{AppendedFrames, UnitsSoFar, in_order};
use crate::argument::{self, DEFAULT, Optional};
use crate::array;
use crate::error::{closed, in_use, to_python, warn};
use crate::fields::{damaged_dtype, lossy, shape_of, stored_dtype};
use crate::interrupt::{LONG, interruptible};
use crate::topology::parsed;

/// How often a call that waits for another one looks whether it was interrupted.
const PAUSE: Duration = Duration::from_millis(50);

/// Writes a trajectory frame by frame.
///
/// Made by `DataHandler.trajectory_writer`. As a context manager it is closed on leaving the block
/// without an error; after an error it stays unfinished, and can be resumed. So does one that nobody
/// closes: what was appended is kept when it is collected, or the program ends. Threads may share
/// it: one call waits for another.
#[pyclass(frozen, weakref, module = "proteinflex_optimization._native")]
pub struct TrajectoryWriter {
    cache: Arc<Cache>,
    key: String,
    data_id: String,
    state: Mutex<State>,
    returned: Condvar,
    units: UnitsSoFar,
    /// The process whose trajectory it is: a forked child has a copy of this object, too.
    process: u32,
}

/// The entry is taken out while a call works on it: no lock is held then, so that code which the
/// call runs in Python (a handler of its log messages, say) gets an error instead of waiting for
/// itself.
#[expect(clippy::large_enum_variant, reason = "there is one of them in each writer")]
enum State {
    Open(EntryInProgress),
    InUse(ThreadId),
    Closed,
}

/// Why there is no entry to work on.
enum Unavailable {
    Closed,
    InUseHere,
    /// The wait for another thread's call was interrupted.
    Interrupted,
}

impl Unavailable {
    fn error(self, data_id: &str) -> PyErr {
        match self {
            Self::Closed => closed(data_id, "trajectory_writer(…, resume=True) goes on with it"),
            Self::Interrupted => to_python(Error::Interrupted),
            Self::InUseHere => in_use(data_id, "by a call that has called this code"),
        }
    }
}

/// An entry that is taken out, and goes back when this is dropped. A panic leaves it closed: what
/// it holds may be half changed, and what was flushed can be resumed.
struct Taken<'a> {
    writer: &'a TrajectoryWriter,
    live: Option<EntryInProgress>,
}

impl Taken<'_> {
    fn live(&mut self) -> &mut EntryInProgress {
        self.live.as_mut().expect("it is there until it is dropped or kept")
    }

    /// Takes the entry for good: the writer is closed.
    fn keep(mut self) -> EntryInProgress {
        self.live.take().expect("it is there until it is dropped or kept")
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let state = match self.live.take() {
            Some(live) if !thread::panicking() => State::Open(live),
            _ => State::Closed,
        };
        *self.writer.state() = state;
        self.writer.returned.notify_one();
    }
}

impl TrajectoryWriter {
    pub fn new(cache: Arc<Cache>, live: EntryInProgress) -> Self {
        let (key, data_id) = (live.key().to_string(), live.data_id().to_owned());
        let (state, returned) = (Mutex::new(State::Open(live)), Condvar::new());
        let (units, process) = (UnitsSoFar::default(), std::process::id());
        Self { cache, key, data_id, state, returned, units, process }
    }

    fn warn_of_lost_frames(&self, py: Python<'_>, error: impl Display) -> PyResult<()> {
        let id = &self.data_id;
        warn(py, &format!("trajectory {id:?}: its last frames may not be durable: {error}"))
    }

    /// The state; locked for a moment only.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the entry, once no other thread uses it. To be called without the GIL.
    fn take(&self) -> std::result::Result<Taken<'_>, Unavailable> {
        let here = thread::current().id();
        let mut state = self.state();
        loop {
            match std::mem::replace(&mut *state, State::Closed) {
                State::Open(live) => {
                    *state = State::InUse(here);
                    return Ok(Taken { writer: self, live: Some(live) });
                }
                State::InUse(thread) => {
                    *state = State::InUse(thread);
                    if thread == here {
                        return Err(Unavailable::InUseHere);
                    }
                    if interrupt::is_requested() {
                        return Err(Unavailable::Interrupted);
                    }
                    let waited = self.returned.wait_timeout(state, PAUSE);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                State::Closed => {
                    // The next one that waits has nothing to wait for either.
                    self.returned.notify_one();
                    return Err(Unavailable::Closed);
                }
            }
        }
    }

    fn is_of_parent(&self) -> bool {
        self.process != std::process::id()
    }

    /// An error in a forked child. Asked before the entry is taken: a thread of the parent may have
    /// had it, which is not here to give it back.
    fn check_process(&self) -> Result<()> {
        if self.is_of_parent() {
            return Err(EntryInProgress::of_parent(&self.data_id));
        }
        Ok(())
    }

    /// Runs short work on the entry, without the GIL.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut EntryInProgress) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.check_process().map_err(to_python)?;
        if !matches!(&*self.state(), State::Open(_)) {
            // Another thread's call may take long.
            return self.with_long(py, work);
        }
        let done = py.detach(|| self.take().map(|mut taken| work(taken.live())));
        done.map_err(|reason| reason.error(&self.data_id))?.map_err(to_python)
    }

    /// Runs work that may take long, likewise.
    fn with_long<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut EntryInProgress) -> Result<T> + Send,
    ) -> PyResult<T> {
        self.check_process().map_err(to_python)?;
        let done = interruptible(py, || Ok(self.take().map(|mut taken| work(taken.live()))))?;
        done.map_err(|reason| reason.error(&self.data_id))?.map_err(to_python)
    }

    /// Whether appending `n_frames` frames, `bytes` in all, may take long.
    fn appends_long(&self, n_frames: u64, bytes: u64) -> bool {
        bytes >= LONG
            || match &*self.state() {
                State::Open(live) => live.completes_chunk(n_frames),
                State::InUse(_) | State::Closed => true,
            }
    }

    /// Takes the entry for good if `check` allows it; None where the writer is closed already.
    fn take_for_good(
        &self,
        py: Python<'_>,
        check: impl FnOnce(&mut EntryInProgress) -> Result<()> + Send,
    ) -> PyResult<Option<EntryInProgress>> {
        self.check_process().map_err(to_python)?;
        let take = || match self.take() {
            Ok(mut taken) => Ok(check(taken.live()).map(|()| Some(taken.keep()))),
            Err(Unavailable::Closed) => Ok(Ok(None)),
            Err(reason) => Err(reason),
        };
        let taken = interruptible(py, || Ok(take()))?;
        taken.map_err(|reason| reason.error(&self.data_id))?.map_err(to_python)
    }
}

#[catch_panics]
#[pymethods]
impl TrajectoryWriter {
    /// Keep a topology with the frames: bytes from `encode_topology`. Where there are frames, it
    /// has to be theirs; with `required`, they have to have one.
    #[pyo3(signature = (topology, required=true))]
    fn _set_topology(&self, py: Python<'_>, topology: &[u8], required: bool) -> PyResult<()> {
        let topology = parsed(py, topology)?;
        self.with_long(py, |live| self.cache.set_topology(live, &topology, required))
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
    ///     Another writer has the trajectory, or this one belongs to the process that forked this
    ///     one. The writer is closed for good; what it flushed before is kept.
    /// CacheFullError
    ///     There is no room below the limit; the frames so far are kept.
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
        let (n_frames, specs, bytes) = (given.n_frames, given.specs()?, given.bytes()?);
        let cache = Arc::clone(&self.cache);
        let raw_bytes = bytes.iter().map(|field| field.len() as u64).sum();
        let append = |live: &mut EntryInProgress| {
            // Checked before a finished trajectory is copied to be continued.
            let is_declared = !live.fields().is_empty();
            let ordered =
                if is_declared { in_order(live.fields(), &specs, &bytes)? } else { bytes.clone() };
            cache.make_space_for(live, raw_bytes)?;
            let writer = cache.writer(live)?;
            if !is_declared {
                let lossy = lossy(&specs, writer.encoding())?;
                writer.declare_fields(specs, &lossy)?;
            }
            writer.append(n_frames, &ordered)
        };
        self.units.append(&given, || match self.appends_long(n_frames, raw_bytes) {
            true => self.with_long(py, append),
            false => self.with(py, append),
        })
    }

    /// Make all frames so far durable: no crash loses them.
    ///
    /// Raises
    /// ------
    /// WriterConflictError
    ///     Another writer has taken the trajectory over, as one may from a process that was stopped
    ///     for more than a minute. The writer is closed for good; what it flushed before is kept.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.with_long(py, |live| self.cache.flush(live))
    }

    /// Go back to the first `n_frames` frames, durably.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     There are fewer.
    fn truncate(&self, py: Python<'_>, n_frames: &Bound<'_, PyAny>) -> PyResult<()> {
        let n_frames = argument::count(n_frames, "n_frames", 0)?;
        self.with_long(py, |live| self.cache.truncate(live, n_frames))
    }

    /// Read back a field of all frames so far, which are made durable first.
    ///
    /// Returns
    /// -------
    /// ndarray
    ///     (n_frames, …)
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     There is no such field.
    #[pyo3(signature = (field=DEFAULT), text_signature = "($self, field='frames')")]
    fn read<'py>(&self, py: Python<'py>, field: Optional<'py>) -> PyResult<Bound<'py, PyAny>> {
        let field = field.text("field", "frames")?;
        let (number, spec, n_frames) = self.with(py, |live| {
            let fields = live.fields();
            let number = FieldSpec::find(fields, &field)?;
            Ok((number, fields[number].clone(), live.n_frames()))
        })?;
        let dtype = stored_dtype(py, &spec.dtype, |reason| {
            // The file is known while it is read.
            let damaged = |entry: &Entry| Err(damaged_dtype(entry.path(), &field, reason));
            let Err(error) = self.with_long(py, |live| -> Result<Infallible> {
                self.cache.read_back(live, damaged)
            });
            error
        })?;
        array::zeros(&dtype, &shape_of(&spec, n_frames), |bytes| {
            self.with_long(py, move |live| {
                self.cache.read_back(live, |entry| {
                    entry.read_frames(number, Frames::range(0, n_frames), None, bytes)
                })
            })
        })
    }

    /// Frames so far.
    #[getter]
    fn n_frames(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |live| Ok(live.n_frames()))
    }

    /// The names of the fields, once there is a frame.
    #[getter]
    fn fields(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.with(py, |live| Ok(live.fields().iter().map(|field| field.name.clone()).collect()))
    }

    /// The key under which the trajectory will be found.
    #[getter]
    fn key(&self) -> String {
        self.key.clone()
    }

    /// Finish the trajectory and make it visible; returns its key. A second call only returns the
    /// key.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     There is no frame; the writer stays open.
    /// WriterConflictError
    ///     Another writer has taken the trajectory over; or one was stored under its name since the
    ///     writer began, without `overwrite`: that stays, and what was written waits unfinished.
    /// CacheFullError
    ///     It does not fit below the limit; it stays unfinished and can be resumed.
    fn close(&self, py: Python<'_>) -> PyResult<String> {
        let check = |live: &mut EntryInProgress| {
            live.check_usable()?;
            match live.n_frames() {
                0 => {
                    let expected = "at least one frame before the writer is closed";
                    Err(Error::argument("n_frames", 0, expected))
                }
                _ => Ok(()),
            }
        };
        if let Some(live) = self.take_for_good(py, check)? {
            interruptible(py, || self.cache.finish_trajectory(live))?;
        }
        Ok(self.key.clone())
    }

    /// Leave the trajectory unfinished, after making its frames durable; it can be resumed. Of one
    /// without frames nothing is left.
    fn suspend(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_of_parent() {
            // A child that fails inside a `with` block: the parent goes on.
            return Ok(());
        }
        match self.take_for_good(py, |_| Ok(()))? {
            Some(live) => interruptible(py, || self.cache.suspend_trajectory(live)),
            None => Ok(()),
        }
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if kind.is_none() {
            return self.close(py).map(drop);
        }
        match self.suspend(py) {
            // What the block raised says more, and would be lost.
            Err(error) if error.is_instance_of::<PyException>(py) => {
                self.warn_of_lost_frames(py, error)
            }
            suspended => suspended,
        }
    }

    fn __repr__(&self) -> String {
        if self.is_of_parent() {
            return format!("<TrajectoryWriter {}, of the parent process>", self.key);
        }
        match &*self.state() {
            State::Open(live) => {
                format!("<TrajectoryWriter {}, {} frames>", self.key, live.n_frames())
            }
            State::InUse(_) => format!("<TrajectoryWriter {}, in use>", self.key),
            State::Closed => format!("<TrajectoryWriter {}, closed>", self.key),
        }
    }
}

/// Nobody closed it.
impl Drop for TrajectoryWriter {
    fn drop(&mut self) {
        if self.is_of_parent() {
            return;
        }
        let State::Open(live) = std::mem::replace(&mut *self.state(), State::Closed) else {
            return;
        };
        Python::try_attach(|py| {
            // It may be collected while an exception is on its way.
            let raised = PyErr::take(py);
            if let Err(error) = py.detach(|| self.cache.suspend_trajectory(live))
                && let Err(error) = self.warn_of_lost_frames(py, error)
            {
                error.write_unraisable(py, None);
            }
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TrajectoryWriter>()
}
