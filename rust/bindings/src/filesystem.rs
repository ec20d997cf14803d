//! What the core knows about file systems.

use proteinflex_core::fs::FilesystemKind;
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;

use crate::argument;

/// Whether a directory is on a file system that is known to be of this host alone.
///
/// Parameters
/// ----------
/// directory : str or path
///     A directory.
///
/// Returns
/// -------
/// bool
#[catch_panics]
#[pyfunction]
pub fn is_local_filesystem(py: Python<'_>, directory: &Bound<'_, PyAny>) -> PyResult<bool> {
    let directory = argument::path(directory, "directory")?;
    Ok(py.detach(|| FilesystemKind::of(&directory) == FilesystemKind::Local))
}
