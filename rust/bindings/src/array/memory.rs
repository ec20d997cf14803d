//! Memory of NumPy arrays as bytes, and memory of ours as NumPy arrays.
//!
//! # What this relies on
//!
//! The GIL keeps arrays still while this module looks at one, so the extension declares that it
//! needs it. The core then reads and writes array memory without the GIL, as NumPy's own functions
//! do, and as for these two things are left to the caller:
//!
//! - Nobody frees the memory of an array that was passed in before the call returns. NumPy refuses to
//!   resize it, also with `refcheck=False`, as long as there is a weak reference to it ([`hold`]).
//! - Nobody writes to an array that was passed in, nor uses one that was passed as `out`. In terms of
//!   Rust that is a data race, and copying first would be one too. The core takes array bytes as
//!   numbers only, never as sizes or places, its indexing is checked, and it encodes and sums copies:
//!   what is to be expected is that a mixture of old and new values is stored.
//!
//! Rust never has a reference to memory that it did not initialise or that NumPy may write: what
//! the core fills was zeroed, and writable views are made of addresses alone.

use std::any::Any;
use std::ffi::c_int;
use std::ops::Range;
use std::sync::Arc;

use numpy::npyffi::{self, NPY_ARRAY_WRITEABLE, PY_ARRAY_API, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::fs::PrivateMap;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;

/// Keeps the memory of an array as large and where it is: NumPy resizes no array that has a weak
/// reference. Of a view that is the array that it is a view of.
pub fn hold<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyWeakrefReference>> {
    let mut owner = array.clone();
    while let Ok(base) = owner.getattr("base")?.cast_into::<PyUntypedArray>() {
        owner = base;
    }
    PyWeakrefReference::new(&owner)
}

/// The bytes of a C-contiguous array.
pub fn bytes<'a>(array: &'a Bound<'_, PyUntypedArray>) -> PyResult<&'a [u8]> {
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err("the array is not C-contiguous"));
    }
    let length = array.len() * array.dtype().itemsize();
    if length == 0 {
        return Ok(&[]);
    }
    // SAFETY: a C-contiguous array of `len` items has `len · itemsize` bytes at `data`. They live as
    // long as the array, which is borrowed here, and stay in place and as they are by the rules for
    // the caller (module documentation). What an array of the caller's has never been written to
    // came from an allocator that Rust does not see into: its bytes are arbitrary, but there.
    Ok(unsafe {
        let data = (*array.as_array_ptr()).fields.data;
        std::slice::from_raw_parts(data.cast::<u8>(), length)
    })
}

/// A new, C-contiguous array of zeros, of which `write` then writes all.
pub fn zeros<'py>(
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
    write: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<Bound<'py, PyAny>> {
    // `zeros` would give items of empty text a byte.
    let make = if dtype.itemsize() == 0 { "ndarray" } else { "zeros" };
    let array = dtype.py().import("numpy")?.call_method1(make, (shape.to_vec(), dtype))?;
    let array = array.cast_into::<PyUntypedArray>()?;
    fill(&array, write)?;
    Ok(array.into_any())
}

/// Whether an array can be written to, asked of the array itself: a subclass may say anything.
pub fn is_writable(array: &Bound<'_, PyUntypedArray>) -> bool {
    // SAFETY: an array object, alive while it is borrowed, has its flags in this field.
    let flags = unsafe { (*array.as_array_ptr()).fields.flags };
    flags & NPY_ARRAY_WRITEABLE != 0
}

/// Has `write` write all of an array: C-contiguous, writable, without objects.
pub fn fill(
    array: &Bound<'_, PyUntypedArray>,
    write: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<()> {
    if !is_writable(array) || !array.is_c_contiguous() || array.dtype().has_object() {
        return Err(PyValueError::new_err("the array can't be written to in place"));
    }
    let length = array.len() * array.dtype().itemsize();
    if length == 0 {
        return write(&mut []);
    }
    let _held = hold(array)?;
    // SAFETY: as for `bytes`, and writable (just checked). Nothing else in this crate uses the array
    // meanwhile, and nobody else does by the rules for the caller (module documentation).
    let bytes = unsafe {
        let data = (*array.as_array_ptr()).fields.data;
        std::slice::from_raw_parts_mut(data.cast::<u8>(), length)
    };
    write(bytes)
}

/// Keeps something alive for the arrays that are views of it.
#[pyclass(frozen, name = "_Owner", module = "proteinflex_optimization._native")]
struct Owner {
    _kept: Arc<dyn Any + Send + Sync>,
}

/// Makes the class now.
pub fn prepare(py: Python<'_>) {
    py.get_type::<Owner>();
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
    // SAFETY: moving a vector moves none of its bytes, and from here on they are only reached through
    // the array; they are as many as are needed (just checked).
    unsafe { view_of(kept, data, dtype, shape, true) }
}

/// A writable array over a range of a private mapping, without a copy. What is written to it
/// reaches neither the file nor any other mapping.
pub fn private_view<'py>(
    map: &Arc<PrivateMap>,
    range: Range<usize>,
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let part = part_of(map, range)?;
    check_size(part.len(), dtype, shape)?;
    let kept: Arc<dyn Any + Send + Sync> = Arc::<PrivateMap>::clone(map);
    // SAFETY: the part lies inside the mapping and has the size that is needed (both just checked).
    // The mapping is writable, was initialised by the file, and lives as long as the owner. It is
    // reached by its address, not by a reference, as other arrays of it may be written to meanwhile:
    // the core borrows a mapping's bytes only before it gives the mapping away, and this crate never
    // does.
    unsafe { view_of(kept, part.cast(), dtype, shape, true) }
}

/// Copies a range of a private mapping, of which there may be writable arrays already.
pub fn copy_part(map: &PrivateMap, range: Range<usize>, out: &mut [u8]) -> PyResult<()> {
    let part = part_of(map, range)?;
    if part.len() != out.len() {
        return Err(PyValueError::new_err("not the size of the part"));
    }
    // SAFETY: the part lies inside the mapping and is as long as `out` (both just checked), which is
    // memory of its own. It was initialised by the file, and is reached by its address: see
    // `private_view`.
    unsafe { std::ptr::copy_nonoverlapping(part.cast(), out.as_mut_ptr(), out.len()) };
    Ok(())
}

fn part_of(map: &PrivateMap, range: Range<usize>) -> PyResult<*mut [u8]> {
    map.part(range).ok_or_else(|| PyValueError::new_err("beyond the end of the file"))
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
