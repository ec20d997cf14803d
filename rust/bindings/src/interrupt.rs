//! Python's signal handlers during long work.
//!
//! They run in the main thread only, and only while that has the GIL. So where the main thread
//! starts work that may take long, a helper thread does it, and the main thread lets handlers run
//! while it waits. What a handler raises (Ctrl-C) ends the work and is raised. Work that is short
//! but for waiting for a lock asks for signals itself, in [`polling`]: a helper would cost more
//! than it. In other threads nothing of this is needed.

use std::cell::{Cell, RefCell};

use log::{Log, Metadata, Record};
use proteinflex_core::Result;
use proteinflex_core::interrupt::Interrupt;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::daemon_threads::watch;
use crate::error::to_python;
use crate::helper_thread::{self, Failure};

/// From so many bytes on, work on them may take long, and a helper thread costs a few percent at
/// most.
pub const LONG: u64 = 1 << 20;

thread_local! {
    /// Whether this is a helper thread.
    static HELPS: Cell<bool> = const { Cell::new(false) };
    /// What a handler has raised: of a signal, in `polling`; of the log, in a helper thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Runs work that may take long, without the GIL.
pub fn interruptible<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    if !is_main_thread(py)? {
        return py.detach(work).map_err(to_python);
    }
    let interrupt = Interrupt::new();
    let helped = || {
        let before = (HELPS.replace(true), RAISED.take());
        let done = interrupt.scope(work);
        HELPS.set(before.0);
        (done, RAISED.replace(before.1))
    };
    let mut raised = None;
    let ended = helper_thread::run(py, helped, || {
        if let Err(error) = py.check_signals() {
            interrupt.request();
            raised = Some(error);
        }
    });
    match (raised, ended) {
        (Some(raised), ended) => {
            // It may hold files that are to be removed.
            py.detach(|| drop(ended));
            Err(raised)
        }
        (None, Ok((done, logged))) => {
            // Seen by whoever handles the result, as if it had been raised in this thread.
            if let Some(logged) = logged {
                logged.restore(py);
            }
            done.map_err(to_python)
        }
        (None, Err(Failure::Panicked(panic))) => std::panic::resume_unwind(panic),
        (None, Err(Failure::Forked)) => Err(PyRuntimeError::new_err(
            "a signal handler has forked this process in the middle of a call, which goes on in the \
             parent only; a forked child should end in the handler, with os._exit",
        )),
    }
}

/// Runs work that is short, but may have to wait for a lock, without the GIL.
pub fn polling<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    if !is_main_thread(py)? {
        return py.detach(work).map_err(to_python);
    }
    let done = py.detach(|| Interrupt::polling(has_raised).scope(work));
    match RAISED.take() {
        Some(raised) => Err(raised),
        None => done.map_err(to_python),
    }
}

/// Runs work on so many bytes, without the GIL: [`interruptible`] where it may take long.
pub fn sized<T: Send>(
    py: Python<'_>,
    bytes: u64,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    if bytes < LONG { polling(py, work) } else { interruptible(py, work) }
}

/// What waits for the disk may take long, however little it is.
pub const DURABLE: u64 = LONG;

/// Lets signal handlers run; whether one has raised something.
fn has_raised() -> bool {
    Python::attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(raised) => {
            RAISED.set(Some(raised));
            true
        }
    })
}

/// Whether signal handlers run in this thread.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    threading.call_method0("get_ident")?.eq(main)
}

/// Python's logging, also from helper threads: what a handler raises there would be gone with the
/// thread's state.
pub struct Logger(pub pyo3_log::Logger);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        watch();
        if !HELPS.get() || !self.enabled(record.metadata()) {
            return self.0.log(record);
        }
        Python::attach(|py| {
            self.0.log(record);
            if let Some(raised) = PyErr::take(py) {
                // The first one is raised, as without a helper.
                RAISED.with_borrow_mut(|first| *first = first.take().or(Some(raised)));
            }
        });
    }

    fn flush(&self) {}
}
