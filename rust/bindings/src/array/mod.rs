//! NumPy arrays of any dtype, as bytes and from bytes.
//!
//! The core stores bytes and the description of a dtype; here they become arrays, without a copy
//! where that is possible. `memory` is the only module of this crate with `unsafe`.

mod dtype;
mod memory;

use numpy::PyUntypedArray;
use pyo3::prelude::*;

pub use dtype::{description, dtype};
pub use memory::{bytes, fill, is_writable, owned, private_view, view, zeros};

/// What an array has to be, for messages.
pub const PLAIN: &str =
    "a plain numpy.ndarray; subclasses such as masked arrays would lose what they add";

/// Whether an array is of NumPy's own class, and so nothing but its items.
pub fn is_plain(array: &Bound<'_, PyUntypedArray>) -> PyResult<bool> {
    let numpy = array.py().import("numpy")?;
    let class = array.get_type();
    Ok(class.is(numpy.getattr("ndarray")?) || class.is(numpy.getattr("memmap")?))
}
