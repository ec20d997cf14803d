//! Paths for Python, by the encoding of its file system.
//!
//! PyO3 makes text of a path that is UTF-8 without asking for that encoding: in another locale,
//! Python finds no such file.

use std::convert::Infallible;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// A path that becomes a `str`.
pub struct PathText<P>(pub P);

/// A path that becomes a `pathlib.Path`.
pub struct PathObject<P>(pub P);

impl<'py, P: AsRef<Path>> IntoPyObject<'py> for PathText<P> {
    type Target = PyString;
    type Output = Bound<'py, PyString>;
    type Error = Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Infallible> {
        let path = self.0.as_ref().as_os_str();
        if path.is_ascii() {
            return path.into_pyobject(py);
        }
        let decode = || -> PyResult<_> {
            let text =
                py.import("os")?.call_method1("fsdecode", (PyBytes::new(py, path.as_bytes()),));
            Ok(text?.cast_into::<PyString>()?)
        };
        // Fails as an interpreter ends.
        decode().or_else(|_| path.into_pyobject(py))
    }
}

impl<'py, P: AsRef<Path>> IntoPyObject<'py> for PathObject<P> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        py.import("pathlib")?.call_method1("Path", (PathText(self.0),))
    }
}
