//! Python values as trees of the core, with their arrays beside them, and back.
//!
//! One walk each way, in native code: a state of many small values would otherwise cost more than its
//! bytes. Values of classes that only a library knows go through two hooks in Python, `Reducer` and
//! `Restorer`.

mod build;
mod create;
mod flatten;
mod metadata;

pub use build::{ArrayReference, ArraySource, build, is_refusal};
pub use flatten::{Field, Flattened, Item, LeafData, Policy, flatten, flatten_items};
pub use metadata::{metadata, metadata_tree};

/// Text and bytes from this length on are stored beside the tree, where they are never copied.
const LONG: usize = 64 << 10;
