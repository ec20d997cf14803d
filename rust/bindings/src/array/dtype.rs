//! Dtypes and what describes them in files.

use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::{
    PyAttributeError, PyLookupError, PyOverflowError, PySyntaxError, PyTypeError, PyValueError,
    PyWarning,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::hooks::hook;

/// How many dtypes are kept instead of being looked up.
const MOST_KNOWN: usize = 64;

/// The dtype that `numpy.dtype(description)` makes, where the description is a dtype's name such as
/// `<f4`, or the JSON of a structured dtype. What is neither is a `ValueError`.
pub fn dtype<'py>(py: Python<'py>, description: &str) -> PyResult<Bound<'py, PyArrayDescr>> {
    // Filled at import: see `prepare`.
    static KNOWN: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let known = KNOWN.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    if let Some(dtype) = known.get_item(description)? {
        return Ok(dtype.cast_into()?);
    }
    let is_json = description.starts_with(['{', '[']);
    let parser = match is_json {
        true => hook(py, "parse_dtype")?,
        false => py.import("numpy")?.getattr("dtype")?,
    };
    let wrong = |reason: &str| {
        PyValueError::new_err(format!("{description:?} is not the dtype of an array: {reason}"))
    };
    let dtype = parser.call1((description,)).map_err(|error| match is_of_parser(py, &error) {
        true => wrong(&error.value(py).to_string()),
        false => error,
    })?;
    let dtype = dtype.cast_into::<PyArrayDescr>()?;
    // Of some texts with commas and brackets NumPy makes what `description` has other texts for.
    if dtype.has_object() || dtype.has_subarray() || (dtype.has_fields() && !is_json) {
        return Err(wrong(&format!("it would be {dtype}")));
    }
    // Files name any number of dtypes of text, so no more than these are kept.
    if dtype.is_native_byteorder() == Some(true) && !dtype.has_fields() && known.len() < MOST_KNOWN
    {
        known.set_item(description, &dtype)?;
    }
    Ok(dtype)
}

/// Whether this is what NumPy and the JSON parser raise for a wrong text: NumPy parses some as
/// Python, and warns of some.
fn is_of_parser(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyValueError>(py)
        || error.is_instance_of::<PySyntaxError>(py)
        || error.is_instance_of::<PyLookupError>(py)
        || error.is_instance_of::<PyAttributeError>(py)
        || error.is_instance_of::<PyOverflowError>(py)
        || error.is_instance_of::<PyWarning>(py)
}

/// What [`dtype`] needs to make this dtype again.
pub fn description(dtype: &Bound<'_, PyArrayDescr>) -> PyResult<String> {
    if dtype.has_fields() || dtype.has_subarray() {
        return hook(dtype.py(), "describe_dtype")?.call1((dtype,))?.extract();
    }
    dtype.getattr("str")?.extract()
}
