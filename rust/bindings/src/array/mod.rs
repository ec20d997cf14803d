//! NumPy arrays of any dtype, as bytes and from bytes.
//!
//! The core stores bytes and the description of a dtype; here they become arrays, without a copy
//! where that is possible. `memory` is the only module of this crate with `unsafe`.

mod dtype;
mod memory;

pub use dtype::{description, dtype};
pub use memory::{bytes, fill, is_writable, owned, private_view, view, zeros};
