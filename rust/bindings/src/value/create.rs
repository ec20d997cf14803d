//! New Python values, where there may be no memory for one more.
//!
//! What PyO3 makes of numbers and lists panics where Python has no memory left, and a panic needs
//! some itself: the process would end. Here it is the `MemoryError` that Python raised. For values
//! of which a file may have any number.

use std::ffi::{c_int, c_longlong};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

/// A `float`.
pub fn float(py: Python<'_>, value: f64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the GIL is held, as `py` shows; the result is a new reference, or null with an error.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyFloat_FromDouble(value)) }
}

/// An `int`.
pub fn integer(py: Python<'_>, value: i64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: as in `float`.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyLong_FromLongLong(c_longlong::from(value))) }
}

/// An `int` beyond those of 64 bits with a sign.
pub fn unsigned(py: Python<'_>, value: u64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: as in `float`.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyLong_FromUnsignedLongLong(value)) }
}

/// A `complex`.
pub fn complex(py: Python<'_>, real: f64, imaginary: f64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: as in `float`.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyComplex_FromDoubles(real, imaginary)) }
}

/// A `str`.
pub fn text<'py>(py: Python<'py>, value: &str) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyString::from_bytes(py, value.as_bytes())?.into_any())
}

/// `bytes`.
pub fn bytes<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, value.len(), |memory| {
        memory.copy_from_slice(value);
        Ok(())
    })
}

/// An empty `dict`.
pub fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: as in `float`.
    Ok(unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDict_New())? }.cast_into()?)
}

/// A `list` of these.
pub fn list<'py>(
    py: Python<'py>,
    values: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    filled(py, values, ffi::PyList_New, ffi::PyList_SetItem)
}

/// A `tuple` of these.
pub fn tuple<'py>(
    py: Python<'py>,
    values: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    filled(py, values, ffi::PyTuple_New, ffi::PyTuple_SetItem)
}

type New = unsafe extern "C" fn(ffi::Py_ssize_t) -> *mut ffi::PyObject;
type SetItem =
    unsafe extern "C" fn(*mut ffi::PyObject, ffi::Py_ssize_t, *mut ffi::PyObject) -> c_int;

fn filled<'py>(
    py: Python<'py>,
    values: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
    new: New,
    set_item: SetItem,
) -> PyResult<Bound<'py, PyAny>> {
    let length = values.len() as ffi::Py_ssize_t;
    // SAFETY: as in `float`. A length that is too large is an error like any other.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, new(length))? };
    for (place, value) in (0..length).zip(values) {
        // SAFETY: `made` is of the type that `set_item` is for, has `length` places, all of them
        // empty so far, and nobody else has seen it. The reference to the value becomes its own.
        if unsafe { set_item(made.as_ptr(), place, value.into_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
    }
    Ok(made)
}
