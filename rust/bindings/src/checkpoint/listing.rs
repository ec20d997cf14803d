//! The checkpoints that there are.

use std::path::PathBuf;

use proteinflex_core::checkpoint::{CheckpointInfo, Problem};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::manager::CheckpointManager;
use crate::argument;
use crate::batch_system;
use crate::interrupt::interruptible;
use crate::path::PathText;
use crate::timestamp::timestamp;

#[catch_panics]
#[pymethods]
impl CheckpointManager {
    /// List the checkpoints, the newest last.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     ``checkpoint_id``, ``path``, ``created_at`` (datetime, UTC; where the manifest can't be
    ///     read, when it was last written), ``size_bytes``,
    ///     ``linked_bytes`` (of these, in files that are hard links to an earlier checkpoint's),
    ///     ``components``, ``metadata`` (verified), ``batch`` (the job of the batch system that made
    ///     it, or None), ``valid`` (manifest and metadata whole, files
    ///     there with their sizes; `verify` reads them), ``problem`` (None where it is valid, else
    ///     ``'damaged'``; ``'newer'``, made by a newer version of this package; or
    ///     ``'unreadable'``, where the system does not let it be read).
    fn list_checkpoints<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let listed = interruptible(py, || self.store.list_with_metadata())?;
        let rows = PyList::empty(py);
        for info in &listed {
            rows.append(describe(py, info)?)?;
        }
        Ok(rows)
    }

    /// The path of the newest checkpoint that is valid, or None. Newer ones that are damaged are
    /// warned of.
    ///
    /// Raises
    /// ------
    /// UnsupportedFormatError
    ///     A newer version of this package has made a newer one, behind which a job would go back.
    /// OSError
    ///     The system does not let a newer one be read, as while a file server does not answer:
    ///     likewise.
    fn latest(&self, py: Python<'_>) -> PyResult<Option<PathText<PathBuf>>> {
        let latest = interruptible(py, || self.store.latest())?;
        Ok(latest.map(PathText))
    }

    /// Remove a checkpoint.
    ///
    /// Parameters
    /// ----------
    /// checkpoint_id : str or path
    ///     Its id, or any path to it.
    ///
    /// Raises
    /// ------
    /// CheckpointError
    ///     There is none of this id, and the message lists those that there are; or what is there
    ///     was made by another program.
    fn delete(&self, py: Python<'_>, checkpoint_id: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = argument::path_or_id(checkpoint_id, "checkpoint_id")?;
        interruptible(py, || self.store.delete(&name))
    }
}

fn describe<'py>(py: Python<'py>, info: &CheckpointInfo) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("checkpoint_id", &info.checkpoint_id)?;
    row.set_item("path", PathText(&info.path))?;
    row.set_item("created_at", timestamp(py, info.created_at as f64 / 1e9)?)?;
    let manifest = info.manifest.as_ref().ok();
    row.set_item("size_bytes", manifest.map_or(0, |manifest| manifest.size()))?;
    row.set_item("linked_bytes", manifest.map_or(0, |manifest| manifest.linked_size()))?;
    let names: Vec<_> = manifest
        .into_iter()
        .flat_map(|manifest| manifest.components.iter().map(|component| &component.name))
        .collect();
    row.set_item("components", names)?;
    let metadata = match &info.metadata {
        Some(tree) => crate::value::metadata(py, tree, &info.path).ok(),
        None => None,
    };
    let batch = manifest.and_then(|manifest| manifest.batch.as_ref());
    row.set_item("batch", batch_system::to_object(py, batch)?)?;
    let problem = info.problem().or(metadata.is_none().then_some(Problem::Damaged));
    row.set_item("valid", problem.is_none())?;
    row.set_item("problem", problem.map(problem_name))?;
    row.set_item("metadata", metadata.unwrap_or_else(|| PyDict::new(py).into_any()))?;
    Ok(row)
}

fn problem_name(problem: Problem) -> &'static str {
    match problem {
        Problem::Damaged => "damaged",
        Problem::Newer => "newer",
        Problem::Unreadable => "unreadable",
    }
}
