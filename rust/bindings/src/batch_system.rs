//! The facts of a batch system's job, as a dict.

use proteinflex_core::batch_system::BatchFacts;
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The job of a batch system that this process is part of; None outside of one.
#[catch_panics]
#[pyfunction]
pub fn batch_facts(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    to_object(py, BatchFacts::current().as_ref())
}

/// A dict, or None where there are no facts.
pub fn to_object<'py>(py: Python<'py>, facts: Option<&BatchFacts>) -> PyResult<Bound<'py, PyAny>> {
    let Some(facts) = facts else { return Ok(py.None().into_bound(py)) };
    let dict = PyDict::new(py);
    dict.set_item("system", &facts.system)?;
    dict.set_item("job_id", &facts.job_id)?;
    dict.set_item("array_job_id", facts.array_job_id.as_deref())?;
    dict.set_item("array_index", facts.array_index)?;
    dict.set_item("node", &facts.node)?;
    dict.set_item("restart_count", facts.restart_count)?;
    Ok(dict.into_any())
}
