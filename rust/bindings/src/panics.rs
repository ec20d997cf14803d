//! Panics as exceptions: a bug of this package is an `InternalError`, which a job can handle.
//!
//! `#[catch_panics]` puts [`guarded`] around every function that Python calls. What a panic
//! interrupts is dropped as by an error: locks are released and not poisoned (each use takes a
//! poisoned one over), temporary files are removed, and the next call works.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proteinflex_macros::catch_panics;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::daemon_threads::watch;
use crate::error::internal_error;
use crate::late::missing;

/// Runs `work`, and returns an `InternalError` where it panics.
///
/// A log handler of the program may have raised while `work` logged something and went on. That is
/// returned where `work` has no error of its own, and always where it is Ctrl-C or the like.
pub fn guarded<T>(work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    watch();
    // What `work` leaves half done is only seen through locks, as described above.
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|thrown| {
        Err(missing(&*thrown).unwrap_or_else(|| internal_error(message(&*thrown))))
    });
    Python::attach(|py| match PyErr::take(py) {
        Some(raised) if result.is_ok() || !raised.is_instance_of::<PyException>(py) => Err(raised),
        _ => result,
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

/// Panics, with or without the GIL: how tests see what becomes of a panic.
#[catch_panics]
#[pyfunction]
#[expect(clippy::panic, reason = "what it is for")]
fn _panic_for_tests(py: Python<'_>, detached: bool) {
    if detached {
        py.detach(|| panic!("a panic without the GIL"));
    }
    panic!("a panic with the GIL");
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(_panic_for_tests, module)?)
}
