//! What this crate uses of Python by name: hooks, all of which are in
//! `proteinflex_optimization._hooks`, and the exceptions in `proteinflex_optimization.errors`.

use pyo3::prelude::*;
use pyo3::types::PyType;

/// The hook of this name.
///
/// The module is looked up each time: a cell that one thread is filling while another forks stays
/// locked for ever in the child.
pub fn hook<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("proteinflex_optimization._hooks")?.getattr(name)
}

/// The exception of this name.
pub fn exception<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    Ok(py.import("proteinflex_optimization.errors")?.getattr(name)?.cast_into()?)
}

/// Whether an error is an exception of this name.
pub fn is_exception(py: Python<'_>, error: &PyErr, name: &str) -> bool {
    exception(py, name).is_ok_and(|class| error.matches(py, class).unwrap_or(false))
}
