//! Progress as the dicts of `get_progress()`.

use std::path::Path;

use proteinflex_core::progress::{Progress, Summary, TaskProgress};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::batch_system;
use crate::value::metadata as build_metadata;

/// What `get_progress()` returns; `root` is for messages.
pub fn progress_to_dict<'py>(
    py: Python<'py>,
    progress: &Progress,
    root: Option<&Path>,
) -> PyResult<Bound<'py, PyDict>> {
    let root = root.unwrap_or(Path::new("memory"));
    let ids: Vec<Bound<'py, PyString>> =
        progress.tasks.iter().map(|task| PyString::new(py, &task.id)).collect();
    let tasks = PyDict::new(py);
    for (task, id) in progress.tasks.iter().zip(&ids) {
        tasks.set_item(id, task_to_dict(py, task, &ids, root)?)?;
    }
    let dict = whole_to_dict(py, &progress.summary)?;
    dict.set_item(PyString::intern(py, "tasks"), tasks)?;
    Ok(dict)
}

/// What `get_summary()` returns: the whole, and how many tasks there are of each status.
pub fn summary_to_dict<'py>(py: Python<'py>, summary: &Summary) -> PyResult<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    for (status, count) in summary.task_counts {
        counts.set_item(PyString::intern(py, status.name()), count)?;
    }
    let dict = whole_to_dict(py, summary)?;
    dict.set_item(PyString::intern(py, "task_counts"), counts)?;
    if let Some(job) = &summary.batch_in_trouble {
        dict.set_item(PyString::intern(py, "batch"), batch_system::to_object(py, Some(job))?)?;
    }
    Ok(dict)
}

fn whole_to_dict<'py>(py: Python<'py>, whole: &Summary) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item(PyString::intern(py, "percent"), whole.percent)?;
    dict.set_item(PyString::intern(py, "completed_steps"), whole.completed)?;
    dict.set_item(PyString::intern(py, "total_steps"), whole.total)?;
    dict.set_item(PyString::intern(py, "elapsed_seconds"), whole.elapsed)?;
    dict.set_item(PyString::intern(py, "eta_seconds"), whole.eta)?;
    dict.set_item(PyString::intern(py, "rate"), whole.rate)?;
    dict.set_item(PyString::intern(py, "message"), whole.message.as_deref())?;
    dict.set_item(PyString::intern(py, "status"), whole.status.name())?;
    dict.set_item(PyString::intern(py, "reason"), whole.reason.as_deref())?;
    dict.set_item(PyString::intern(py, "alive"), whole.is_alive)?;
    dict.set_item(PyString::intern(py, "updated"), whole.updated)?;
    dict.set_item(PyString::intern(py, "stalled"), whole.has_stalled)?;
    dict.set_item(PyString::intern(py, "hosts"), &whole.hosts)?;
    let batch = batch_system::to_object(py, whole.batch.as_deref())?;
    dict.set_item(PyString::intern(py, "batch"), batch)?;
    dict.set_item(PyString::intern(py, "current_task"), whole.current.as_deref())?;
    Ok(dict)
}

fn task_to_dict<'py>(
    py: Python<'py>,
    task: &TaskProgress,
    ids: &[Bound<'py, PyString>],
    root: &Path,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item(PyString::intern(py, "name"), &*task.name)?;
    dict.set_item(PyString::intern(py, "parent"), task.parent.map(|parent| &ids[parent]))?;
    dict.set_item(PyString::intern(py, "status"), PyString::intern(py, task.status.name()))?;
    dict.set_item(PyString::intern(py, "percent"), task.percent)?;
    dict.set_item(PyString::intern(py, "completed"), task.completed)?;
    dict.set_item(PyString::intern(py, "total"), task.total)?;
    dict.set_item(PyString::intern(py, "message"), task.message.as_deref())?;
    dict.set_item(PyString::intern(py, "elapsed_seconds"), task.elapsed)?;
    dict.set_item(PyString::intern(py, "eta_seconds"), task.eta)?;
    dict.set_item(PyString::intern(py, "rate"), task.rate)?;
    let children = if task.children.is_empty() {
        PyList::empty(py)
    } else {
        PyList::new(py, task.children.iter().map(|&child| &ids[child]))?
    };
    dict.set_item(PyString::intern(py, "children"), children)?;
    let metadata = match &task.metadata {
        Some(tree) => build_metadata(py, tree, root)?,
        None => py.None().into_bound(py),
    };
    dict.set_item(PyString::intern(py, "metadata"), metadata)?;
    let batch = batch_system::to_object(py, task.batch.as_deref())?;
    dict.set_item(PyString::intern(py, "batch"), batch)?;
    Ok(dict)
}
