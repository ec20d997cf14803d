//! NumPy arrays of any dtype, as bytes and from bytes.
//!
//! The core stores bytes and a dtype's name; this module is where they become arrays, without a
//! copy where that is possible. It is the only one of the bindings with `unsafe`.

use std::ffi::c_int;

use numpy::npyffi::{self, NPY_ARRAY_WRITEABLE, PY_ARRAY_API, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The bytes of a C-contiguous array.
///
/// The slice is only valid while the array lives and nobody resizes it; both hold while a method
/// works on an argument. Another thread that writes into the array meanwhile stores what it wrote.
pub fn bytes<'a>(array: &'a Bound<'_, PyUntypedArray>) -> PyResult<&'a [u8]> {
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err("the array is not C-contiguous"));
    }
    let length = array.len() * array.dtype().itemsize();
    if length == 0 {
        return Ok(&[]);
    }
    // SAFETY: a C-contiguous array of `len` items holds `len · itemsize` initialised bytes at
    // `data`, which live as long as the array that is borrowed here.
    Ok(unsafe {
        let data = (*array.as_array_ptr()).fields.data;
        std::slice::from_raw_parts(data.cast::<u8>(), length)
    })
}

/// A new, C-contiguous, uninitialised array.
pub fn empty<'py>(
    py: Python<'py>,
    dtype: &Bound<'py, PyAny>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let arguments = (shape.to_vec(), dtype);
    Ok(py.import("numpy")?.call_method1("empty", arguments)?.cast_into()?)
}

/// The memory of an array that nobody else has seen yet, to decode into.
///
/// # Safety
/// The array was made by [`empty`] in this method, is C-contiguous, holds no Python objects, and no
/// other reference to it exists until the slice is gone.
#[expect(clippy::mut_from_ref, reason = "the array is a handle; the caller vouches for its memory")]
pub unsafe fn bytes_mut<'a>(array: &'a Bound<'_, PyUntypedArray>) -> &'a mut [u8] {
    let length = array.len() * array.dtype().itemsize();
    if length == 0 {
        return &mut [];
    }
    // SAFETY: as for `bytes`, and the caller guarantees that this is the only reference.
    unsafe {
        let data = (*array.as_array_ptr()).fields.data;
        std::slice::from_raw_parts_mut(data.cast::<u8>(), length)
    }
}

/// An array over memory that `owner` keeps alive, without a copy.
///
/// # Safety
/// `data` points to as many initialised bytes as dtype and shape need; they stay valid as long as
/// `owner` lives, nobody else writes to them, and where `writable`, nobody else reads them either.
pub unsafe fn view<'py>(
    owner: Bound<'py, PyAny>,
    data: *const u8,
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
    writable: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    let mut dims: Vec<npy_intp> = shape.iter().map(|&length| length as npy_intp).collect();
    let flags = if writable { NPY_ARRAY_WRITEABLE } else { 0 };
    // SAFETY: the caller vouches for memory and lifetime. `NewFromDescr` steals the descriptor
    // reference and `SetBaseObject` steals the owner's, so both are given as owned pointers. The
    // array type object comes from the same API table.
    unsafe {
        let subtype = npyffi::get_type_object(py, npyffi::NpyTypes::PyArray_Type);
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            subtype,
            dtype.clone().into_dtype_ptr(),
            dims.len() as c_int,
            dims.as_mut_ptr(),
            std::ptr::null_mut(),
            data.cast_mut().cast(),
            flags,
            std::ptr::null_mut(),
        );
        let array = Bound::from_owned_ptr_or_err(py, array)?;
        let failed =
            PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_ptr().cast(), owner.into_ptr());
        if failed != 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(array)
    }
}

/// The dtype that `numpy.dtype(description)` makes, where the description is a dtype's name such as
/// `<f4`, or the JSON of a structured dtype.
pub fn dtype<'py>(py: Python<'py>, description: &str) -> PyResult<Bound<'py, PyArrayDescr>> {
    let dtype = if description.starts_with(['{', '[']) {
        let arrays = py.import("proteinflex_optimization._arrays")?;
        arrays.call_method1("parse", (description,))?
    } else {
        py.import("numpy")?.call_method1("dtype", (description,))?
    };
    let dtype = dtype.cast_into::<PyArrayDescr>()?;
    if dtype.has_object() {
        return Err(PyValueError::new_err("a stored dtype never holds objects"));
    }
    Ok(dtype)
}

/// What [`dtype`] needs to make this dtype again.
pub fn dtype_description(dtype: &Bound<'_, PyArrayDescr>) -> PyResult<String> {
    if dtype.has_fields() || dtype.has_subarray() {
        let arrays = dtype.py().import("proteinflex_optimization._arrays")?;
        return arrays.call_method1("describe", (dtype,))?.extract();
    }
    dtype.getattr("str")?.extract()
}
