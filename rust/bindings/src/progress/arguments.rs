//! The arguments of a tracker that others don't have.

use std::time::Duration;

use proteinflex_core::Error;
use proteinflex_core::progress::MAX_TASK_METADATA;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::argument;
use crate::error::to_python;
use crate::value::metadata_tree;

pub fn task_metadata(py: Python<'_>, dict: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let tree = metadata_tree(py, Some(dict))?;
    if tree.len() > MAX_TASK_METADATA {
        let found = format!("{} bytes", tree.len());
        let expected = format!("at most {MAX_TASK_METADATA} bytes");
        return Err(to_python(Error::argument("metadata", found, expected)));
    }
    Ok(tree)
}

pub fn step_count(steps: &Bound<'_, PyAny>, argument: &str) -> PyResult<u64> {
    // The common case first: an exact int that is in range.
    if steps.is_exact_instance_of::<PyInt>()
        && let Ok(steps) = steps.extract::<i64>()
        && let Ok(steps) = u64::try_from(steps)
    {
        return Ok(steps);
    }
    argument::count(steps, argument, 0)
}

pub fn seconds(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<Duration> {
    const EXPECTED: &str = "a number of seconds from 1e-9 to 1e19";
    let number = argument::number(value, argument, EXPECTED)?;
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(argument::wrong_value(value, argument, EXPECTED)),
    }
}
