//! Python's signal handlers during long work.
//!
//! They run in the main thread only, and only while that has the GIL. So where the main thread
//! starts work that may take long, a helper thread does it, and the main thread lets handlers run
//! while it waits. What a handler raises (Ctrl-C) ends the work and is raised. Work that is short
//! but for waiting for a lock asks for signals itself, in [`polling`]: a helper would cost more
//! than it. In other threads nothing of this is needed.

use std::cell::RefCell;
use std::thread::current;

use proteinflex_core::Result;
use proteinflex_core::interrupt::Interrupt;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::error::to_python;
use crate::helper_thread::{self, Failure};
use crate::logger::Records;

/// From this many bytes on, work on them may take long, and a helper thread costs a few percent at
/// most. What waits for the disk may take long with any number of them.
pub const LONG: u64 = 1 << 20;

thread_local! {
    /// What a signal handler has raised in `polling`.
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
    let (interrupt, records, caller) = (Interrupt::new(), Records::default(), current().id());
    let helped = || {
        // Where there can be no helper, this is still the caller.
        if current().id() != caller {
            records.leave_here();
        }
        interrupt.scope(work)
    };
    let mut raised = None;
    // What log handlers have raised first. It does not end the work.
    let mut logged = PyErr::take(py);
    let ended = helper_thread::run(py, helped, || {
        if let Err(error) = records.log(py, &mut logged).and_then(|()| py.check_signals()) {
            interrupt.request();
            raised = Some(error);
        }
    });
    // The thread that a forked child lacks may have been leaving a record.
    if !matches!(ended, Err(Failure::Forked))
        && let Err(error) = records.log(py, &mut logged)
    {
        raised.get_or_insert(error);
    }
    match (raised, ended) {
        (Some(raised), ended) => {
            // It may hold files that are to be removed.
            py.detach(|| drop(ended));
            Err(raised)
        }
        (None, Ok(done)) => {
            // Seen by whoever handles the result, as if it had been raised in this thread.
            if let Some(logged) = logged {
                logged.restore(py);
            }
            done.map_err(to_python)
        }
        (None, Err(Failure::Panicked(panic))) => std::panic::resume_unwind(panic),
        (None, Err(Failure::Forked)) => Err(PyRuntimeError::new_err(
            "a handler has forked this process in the middle of a call, which goes on in the parent \
             only; a forked child should end in the handler, with os._exit",
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

/// Runs work without the GIL: [`interruptible`] where it `is_long`, else [`polling`].
pub fn interruptible_if<T: Send>(
    py: Python<'_>,
    is_long: bool,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    if is_long { interruptible(py, work) } else { polling(py, work) }
}

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
