//! `ProgressReader`: the progress of another process.

use std::path::Path;

use proteinflex_core::error::printable_path;
use proteinflex_core::progress as core;
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::to_dict::{progress_to_dict, summary_to_dict};
use crate::argument;
use crate::error::to_python;
use crate::path::PathText;

/// The progress of another process: live while it runs, and as it was left afterwards.
#[pyclass(subclass, frozen, module = "proteinflex_optimization._native")]
pub struct ProgressReader {
    reader: core::ProgressReader,
}

#[catch_panics]
#[pymethods]
impl ProgressReader {
    /// Open the progress files in `directory`, the `checkpoint_dir` of a `ProgressTracker`.
    #[new]
    fn new(py: Python<'_>, directory: &Bound<'_, PyAny>) -> PyResult<Self> {
        let path = argument::path(directory, "directory")?;
        let reader = py.detach(|| core::ProgressReader::open(&path)).map_err(to_python)?;
        Ok(Self { reader })
    }

    /// Return the progress so far; see `ProgressTracker.get_progress`.
    fn get_progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let progress = py.detach(|| self.reader.progress()).map_err(to_python)?;
        progress_to_dict(py, &progress, Some(self.reader.root()))
    }

    /// Return the whole without its tasks, which takes a fraction of the time where there are many.
    ///
    /// Returns
    /// -------
    /// dict
    ///     What `get_progress` returns but for ``tasks``, and ``task_counts``: how many tasks there
    ///     are of each status. ``batch`` is the job of the first task that has failed or stopped,
    ///     where one has.
    fn get_summary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let summary = py.detach(|| self.reader.summary()).map_err(to_python)?;
        summary_to_dict(py, &summary)
    }

    /// The directory that was opened.
    #[getter]
    fn directory(&self) -> PathText<&Path> {
        PathText(self.reader.root())
    }

    /// A reader pickles as its directory.
    fn __getnewargs__(&self) -> (PathText<&Path>,) {
        (PathText(self.reader.root()),)
    }

    fn __repr__(&self) -> String {
        format!("<ProgressReader {}>", printable_path(self.reader.root()))
    }
}
