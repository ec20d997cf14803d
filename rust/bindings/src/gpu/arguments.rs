//! Arguments that only GPUs have.

use std::collections::BTreeMap;
use std::time::Duration;

use proteinflex_core::gpu::{BatchShape, DEFAULT_REQUIREMENTS};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMapping, PyString};

use crate::argument;

pub fn requirements(value: Option<&Bound<'_, PyAny>>) -> PyResult<BTreeMap<String, u64>> {
    const EXPECTED: &str = "a dict of task names to MB, such as {'prediction': 16000}";
    let Some(value) = value else {
        let known = DEFAULT_REQUIREMENTS.map(|(task, memory)| (task.to_owned(), memory));
        return Ok(BTreeMap::from(known));
    };
    let Ok(mapping) = value.cast::<PyMapping>() else {
        return Err(argument::wrong_type(value, "required_memory", EXPECTED));
    };
    let mut required = BTreeMap::new();
    for item in mapping.items()?.iter() {
        let (task, memory): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let task = argument::text(&task, "required_memory: the name of a task")?;
        let named = format!("required_memory[{task:?}]");
        required.insert(task, megabytes(&memory, &named)?);
    }
    Ok(required)
}

/// MB as whole MiB, a fraction rounded up.
pub fn megabytes(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<u64> {
    const EXPECTED: &str = "MB, a number above 0 and up to 2**53";
    let number = argument::number(value, argument, EXPECTED)?;
    // Beyond 2^53 MiB neither floats nor GPUs go.
    if number > 0.0 && number <= (1u64 << 53) as f64 {
        return Ok(number.ceil() as u64);
    }
    Err(argument::wrong_value(value, argument, EXPECTED))
}

pub fn seconds(value: &Bound<'_, PyAny>, argument: &str, expected: &str) -> PyResult<Duration> {
    let number = argument::number(value, argument, expected)?;
    let invalid = || argument::wrong_value(value, argument, expected);
    Duration::try_from_secs_f64(number).map_err(|_| invalid())
}

pub fn optional_count(value: Option<&Bound<'_, PyAny>>, argument: &str) -> PyResult<Option<usize>> {
    Ok(optional_size(value, argument)?.map(|count| usize::try_from(count).unwrap_or(usize::MAX)))
}

pub fn optional_size(value: Option<&Bound<'_, PyAny>>, argument: &str) -> PyResult<Option<u64>> {
    value.map(|value| argument::count(value, argument, 1)).transpose()
}

pub fn shape(
    batch_size: &Bound<'_, PyAny>,
    length: Option<&Bound<'_, PyAny>>,
    chunk: Option<&Bound<'_, PyAny>>,
) -> PyResult<BatchShape> {
    Ok(BatchShape {
        batch: argument::count(batch_size, "batch_size", 1)?,
        length: optional_size(length, "length")?,
        chunk: optional_size(chunk, "chunk")?,
    })
}

pub fn indices(value: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    const EXPECTED: &str = "a list of GPU indices, such as allocate_gpus returns";
    let indices = counts(value, "gpu_indices", 0, EXPECTED)?;
    Ok(indices.into_iter().map(|index| usize::try_from(index).unwrap_or(usize::MAX)).collect())
}

pub fn counts(
    value: &Bound<'_, PyAny>,
    argument: &str,
    least: u64,
    expected: &str,
) -> PyResult<Vec<u64>> {
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
        return Err(argument::wrong_type(value, argument, expected));
    }
    let items =
        value.try_iter().map_err(|error| argument::refused(error, value, argument, expected))?;
    let count = |(place, item): (usize, PyResult<Bound<'_, PyAny>>)| {
        argument::count(&item?, &format!("{argument}[{place}]"), least)
    };
    items.enumerate().map(count).collect()
}
