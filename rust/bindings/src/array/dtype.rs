//! Dtypes and what describes them in files.

use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::hooks::hook;

/// How many dtypes are kept instead of being looked up.
const MOST_KNOWN: usize = 64;

/// The dtype that `numpy.dtype(description)` makes, where the description is a dtype's name such as
/// `<f4`, or the JSON of a structured dtype.
pub fn dtype<'py>(py: Python<'py>, description: &str) -> PyResult<Bound<'py, PyArrayDescr>> {
    // Filled at import: see `prepare`.
    static KNOWN: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let known = KNOWN.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    if let Some(dtype) = known.get_item(description)? {
        return Ok(dtype.cast_into()?);
    }
    let dtype = if description.starts_with(['{', '[']) {
        hook(py, "parse_dtype")?.call1((description,))?
    } else {
        py.import("numpy")?.getattr("dtype")?.call1((description,))?
    };
    let dtype = dtype.cast_into::<PyArrayDescr>()?;
    if dtype.has_object() {
        return Err(PyValueError::new_err("a stored dtype never holds objects"));
    }
    // Files name any number of dtypes of text, so no more than these are kept.
    if dtype.is_native_byteorder() == Some(true) && !dtype.has_fields() && known.len() < MOST_KNOWN
    {
        known.set_item(description, &dtype)?;
    }
    Ok(dtype)
}

/// What [`dtype`] needs to make this dtype again.
pub fn description(dtype: &Bound<'_, PyArrayDescr>) -> PyResult<String> {
    if dtype.has_fields() || dtype.has_subarray() {
        return hook(dtype.py(), "describe_dtype")?.call1((dtype,))?.extract();
    }
    dtype.getattr("str")?.extract()
}
