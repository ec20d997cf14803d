//! What the core knows about file systems.

use std::path::PathBuf;

use proteinflex_core::fs::{self, FilesystemKind};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;

use crate::argument;
use crate::error::to_python;
use crate::path::PathText;

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

/// The path that is meant by one that a user has written: a leading `~` is a home directory.
#[catch_panics]
#[pyfunction]
pub fn expand_home(py: Python<'_>, name: &str, path: PathBuf) -> PyResult<PathText<PathBuf>> {
    py.detach(|| fs::expand_home(name, &path)).map(PathText).map_err(to_python)
}
