//! NumPy arrays of any dtype, as bytes and from bytes.
//!
//! The core stores bytes and the description of a dtype; here they become arrays, without a copy
//! where that is possible. `memory` is the only module of this folder with `unsafe`.

mod dtype;
mod memory;

use numpy::{PyArray1, PyArrayDescrMethods, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

pub use dtype::{description, dtype};
pub use memory::{bytes, copy_part, fill, hold, is_writable, owned, private_view, view, zeros};

/// What an array has to be, for messages.
pub const PLAIN: &str =
    "a plain numpy.ndarray; subclasses such as masked arrays would lose what they add";

/// Fills the cells of the libraries below that are otherwise filled by the first call that needs
/// them. A thread fills one without the GIL, and in a child that another thread forks meanwhile it
/// would stay half filled: the child would wait for ever. So it is done at import, and this crate
/// has no such cells (`intern!`, `PyOnceLock`) of its own.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    memory::prepare(py);
    let array = PyArray1::<u32>::zeros(py, 1, false);
    array.try_readonly()?;
    // How a dtype is read depends on the version of NumPy.
    array.as_untyped().dtype().itemsize();
    dtype::dtype(py, "<f4")?;
    Ok(())
}

/// Whether an array is of NumPy's own class, and so nothing but its items.
pub fn is_plain(array: &Bound<'_, PyUntypedArray>) -> PyResult<bool> {
    let numpy = array.py().import("numpy")?;
    let class = array.get_type();
    Ok(class.is(numpy.getattr("ndarray")?) || class.is(numpy.getattr("memmap")?))
}
