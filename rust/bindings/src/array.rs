//! NumPy arrays of any dtype, as bytes and from bytes.
//!
//! The core stores bytes and a dtype's name; this module is where they become arrays, without a
//! copy where that is possible. It is the only one of the bindings with `unsafe`.

use std::any::Any;
use std::ffi::c_int;
use std::ops::Range;
use std::sync::Arc;

use numpy::npyffi::{self, NPY_ARRAY_WRITEABLE, PY_ARRAY_API, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::fs::PrivateMap;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// How many dtypes are looked up once.
const MOST_KNOWN: usize = 64;

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

/// A new, C-contiguous array, all of which `fill` writes.
pub fn filled<'py>(
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
    fill: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<Bound<'py, PyAny>> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let arguments = (shape.to_vec(), dtype);
    let array = EMPTY.import(dtype.py(), "numpy", "empty")?.call1(arguments)?;
    let array = array.cast_into::<PyUntypedArray>()?;
    fill_in_place(&array, fill)?;
    Ok(array.into_any())
}

/// Has `fill` write all of an array that a caller passed as `out`: C-contiguous, writable, without
/// objects.
pub fn fill_in_place(
    array: &Bound<'_, PyUntypedArray>,
    fill: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<()> {
    let is_writable: bool = array.getattr("flags")?.getattr("writeable")?.extract()?;
    if !is_writable || !array.is_c_contiguous() || array.dtype().has_object() {
        return Err(PyValueError::new_err("the array can't be written to in place"));
    }
    let length = array.len() * array.dtype().itemsize();
    if length == 0 {
        return fill(&mut []);
    }
    // SAFETY: as for `bytes`, and writable (just checked). Nothing else in this crate uses the array
    // meanwhile; that other threads leave it alone is up to the caller, as with NumPy's own `out`.
    let bytes = unsafe {
        let data = (*array.as_array_ptr()).fields.data;
        std::slice::from_raw_parts_mut(data.cast::<u8>(), length)
    };
    fill(bytes)
}

/// Keeps something alive for the arrays that are views of it.
#[pyclass(frozen, name = "_Owner", module = "proteinflex_optimization._native")]
struct Owner {
    _kept: Arc<dyn Any + Send + Sync>,
}

/// A read-only array over the bytes that `select` finds in `owner`, without a copy.
pub fn view<'py, T: Any + Send + Sync>(
    owner: &Arc<T>,
    select: impl for<'a> FnOnce(&'a T) -> PyResult<&'a [u8]>,
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let bytes = select(owner)?;
    check_size(bytes.len(), dtype, shape)?;
    let kept: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(owner);
    // SAFETY: the bytes are borrowed from what the owner keeps alive, which is only shared from here
    // on, so they stay valid and unchanged; they are as many as are needed (just checked).
    unsafe { view_of(kept, bytes.as_ptr(), dtype, shape, false) }
}

/// A writable array of these bytes, without a copy.
pub fn owned<'py>(
    mut bytes: Vec<u8>,
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    check_size(bytes.len(), dtype, shape)?;
    let data = bytes.as_mut_ptr();
    let kept: Arc<dyn Any + Send + Sync> = Arc::new(bytes);
    // SAFETY: moving a vector moves none of its bytes, and nobody looks at them through the owner; they
    // are as many as are needed (just checked).
    unsafe { view_of(kept, data, dtype, shape, true) }
}

/// A writable array over a range of a private mapping, without a copy. What is written to it reaches
/// neither the file nor any other mapping.
pub fn private_view<'py>(
    map: &Arc<PrivateMap>,
    range: Range<usize>,
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let part =
        map.part(range).ok_or_else(|| PyValueError::new_err("beyond the end of the file"))?;
    check_size(part.len(), dtype, shape)?;
    let kept: Arc<dyn Any + Send + Sync> = Arc::<PrivateMap>::clone(map);
    // SAFETY: the range lies inside the mapping, which is writable and lives as long as the owner, and
    // has exactly the size that is needed (just checked). The core reads a mapping only until it has
    // been verified, before any array of it is made; from then on only Python uses this memory.
    unsafe { view_of(kept, part.cast(), dtype, shape, true) }
}

fn check_size(size: usize, dtype: &Bound<'_, PyArrayDescr>, shape: &[usize]) -> PyResult<()> {
    let needed = shape.iter().try_fold(dtype.itemsize(), |size, &length| size.checked_mul(length));
    if needed == Some(size) {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("{size} bytes can't have the shape {shape:?}")))
}

/// An array over memory that `kept` keeps alive.
///
/// # Safety
/// `data` points to as many initialised bytes as dtype and shape need; they stay valid as long as
/// `kept` lives, and nobody writes to them but, where `writable`, through arrays.
unsafe fn view_of<'py>(
    kept: Arc<dyn Any + Send + Sync>,
    data: *const u8,
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
    writable: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = dtype.py();
    let owner = Bound::new(py, Owner { _kept: kept })?;
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
    static KNOWN: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let known = KNOWN.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    if let Some(dtype) = known.get_item(description)? {
        return Ok(dtype.cast_into()?);
    }
    let dtype = if description.starts_with(['{', '[']) {
        let arrays = py.import("proteinflex_optimization._arrays")?;
        arrays.call_method1("parse", (description,))?
    } else {
        static DTYPE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        DTYPE.import(py, "numpy", "dtype")?.call1((description,))?
    };
    let dtype = dtype.cast_into::<PyArrayDescr>()?;
    if dtype.has_object() {
        return Err(PyValueError::new_err("a stored dtype never holds objects"));
    }
    // Of text there may be any number.
    if dtype.is_native_byteorder() == Some(true) && !dtype.has_fields() && known.len() < MOST_KNOWN
    {
        known.set_item(description, &dtype)?;
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
