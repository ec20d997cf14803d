//! Python values as trees of the core, with their arrays beside them, and back.
//!
//! One walk each way, in native code: a state of many small values would otherwise cost more than its
//! bytes. Values of classes that only a library knows go through two hooks in Python
//! (`proteinflex_optimization._states`).

mod build;
mod flatten;

pub use build::{ArrayReference, Beside, build};
pub use flatten::{Field, Flattened, LeafData, Policy, flatten, flatten_with_fields};

/// Text and bytes from this length on are stored beside the tree, where they are never copied.
const LONG: usize = 64 << 10;
