//! The arguments of `DataHandler`: what makes sense, and what to say of what does not.

use proteinflex_core::Error;
use proteinflex_core::trajectory::{MAX_DATA_ID, MAX_METADATA, Profile};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::argument;
use crate::error::to_python;
use crate::value::{Policy, flatten};

pub fn dict_of<'py>(value: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyDict>> {
    let dict = value.cast::<PyDict>().map_err(|_| argument::wrong_type(value, name, "a dict"))?;
    // Any mapping that is a dict will do here; what it holds is what counts.
    dict.copy()
}

pub fn metadata_tree(py: Python<'_>, metadata: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<u8>> {
    let empty = PyDict::new(py);
    let dict = match metadata {
        None => empty,
        Some(metadata) => dict_of(metadata, "metadata")?,
    };
    let tree = flatten(dict.as_any(), "metadata", Policy::Metadata)?.tree;
    if tree.len() > MAX_METADATA {
        let expected = format!("at most {} MiB; more belongs into the data", MAX_METADATA >> 20);
        return Err(to_python(Error::argument(
            "metadata",
            format!("{} bytes", tree.len()),
            expected,
        )));
    }
    Ok(tree)
}

pub fn checked_id(data_id: &Bound<'_, PyAny>) -> PyResult<String> {
    let id = argument::text(data_id, "data_id")?;
    if id.is_empty() || id.len() > MAX_DATA_ID {
        let expected = format!("a name of 1 to {MAX_DATA_ID} bytes");
        let found = argument::shown(data_id);
        return Err(to_python(Error::argument("data_id", found, expected)));
    }
    Ok(id)
}

pub fn bytes_of_gigabytes(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let expected = "a number of GB (10**9 bytes) above 0";
    let size = argument::number(value, "max_cache_size", expected)?;
    let bytes = size * 1e9;
    if bytes >= 1.0 && bytes < i64::MAX as f64 {
        return Ok(bytes as u64);
    }
    Err(to_python(Error::argument("max_cache_size", argument::shown(value), expected)))
}

pub fn precision_of(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let expected =
        "None, or a positive number: the spacing of the grid that values may be rounded to";
    let precision = argument::number(value, "precision", expected)?;
    if precision.is_normal() && precision > 0.0 {
        return Ok(precision);
    }
    Err(to_python(Error::argument("precision", argument::shown(value), expected)))
}

pub fn profile_of(value: &Bound<'_, PyAny>) -> PyResult<Profile> {
    match argument::text(value, "profile")?.as_str() {
        "default" => Ok(Profile::Default),
        "archive" => Ok(Profile::Archive),
        _ => {
            let shown = argument::shown(value);
            Err(to_python(Error::argument("profile", shown, "'default' or 'archive'")))
        }
    }
}

/// Whether an error of loading means that the data has to be made again.
pub fn is_miss(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    let errors = py.import("proteinflex_optimization.errors")?;
    let is = |name| errors.getattr(name).map(|class| error.matches(py, class));
    Ok(is("CacheKeyError")?? || is("CorruptDataError")??)
}
