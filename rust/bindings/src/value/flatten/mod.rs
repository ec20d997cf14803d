//! From Python values to a tree and the arrays beside it.
//!
//! Finding out what a value is made of may run code of its class, which may change any container,
//! also while other threads do. So each container is copied before the walk goes into it: what is
//! stored is what was in it when the walk came to it.

mod leaves;
mod walk;

use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyWeakrefReference};

use crate::array;
use walk::Walk;

/// Which values are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Arrays, tensors (as arrays) and plain values.
    Cache,
    /// Plain values only.
    Metadata,
    /// Everything that can be restored as it was; with `pickle`, also what only pickle can.
    Checkpoint {
        /// Whether values of unknown classes are pickled.
        pickle: bool,
    },
}

/// Something that is stored beside the tree, by its number.
pub struct Leaf<'py> {
    /// The keys that lead to it.
    pub keys: Vec<String>,
    /// What it is.
    pub data: LeafData<'py>,
}

/// What is stored beside a tree.
pub enum LeafData<'py> {
    /// An array: C-contiguous, of this dtype. Where `label` is set, the items are of a type that
    /// NumPy lacks, and the dtype only has its size.
    Array {
        /// The items in memory order; for Fortran order, the array is transposed.
        array: Bound<'py, PyUntypedArray>,
        /// Describes the dtype.
        dtype: String,
        /// What the items really are, such as `BF16`.
        label: Option<String>,
        /// Whether the array that was given is this one transposed.
        fortran: bool,
        /// Keeps its memory in place while the walk runs code of the program.
        _held: Bound<'py, PyWeakrefReference>,
    },
    /// Long text.
    Text(Bound<'py, PyString>),
    /// Long bytes.
    Bytes(Bound<'py, PyBytes>),
}

impl Leaf<'_> {
    /// The bytes to store. Valid while the leaf lives.
    pub fn bytes(&self) -> PyResult<&[u8]> {
        match &self.data {
            LeafData::Array { array, .. } => array::bytes(array),
            LeafData::Text(text) => Ok(text.to_str()?.as_bytes()),
            LeafData::Bytes(bytes) => Ok(bytes.as_bytes()),
        }
    }
}

/// A tree, and what it refers to by number.
pub struct Flattened<'py> {
    /// The tree, as `build` reads it.
    pub tree: Vec<u8>,
    /// What is stored beside it, in order.
    pub leaves: Vec<Leaf<'py>>,
}

/// An array that is stored frame by frame: it has a number of its own, and is no leaf.
pub struct Field<'py> {
    /// The object that was given for it.
    pub object: Bound<'py, PyAny>,
    /// Describes its dtype.
    pub dtype: String,
    /// Its lengths, frames first.
    pub shape: Vec<usize>,
}

/// What is under one name of a trajectory.
pub enum Item<'py> {
    /// Per-frame data.
    Field(Field<'py>),
    /// Anything else.
    Value(Bound<'py, PyAny>),
}

/// Walks `root`, which messages call `name`.
pub fn flatten<'py>(
    root: &Bound<'py, PyAny>,
    name: &str,
    policy: Policy,
) -> PyResult<Flattened<'py>> {
    let mut walk = Walk::new(root.py(), name, policy, Vec::new());
    walk.value(root)?;
    walk.finish()
}

/// Walks the items of a dict that messages call `name`. Its fields have the first numbers, in
/// order; leaves are numbered after them.
pub fn flatten_items<'py>(
    py: Python<'py>,
    items: &[(Bound<'py, PyAny>, Item<'py>)],
    name: &str,
) -> PyResult<Flattened<'py>> {
    let fields = items.iter().filter_map(|(_, item)| match item {
        Item::Field(field) => Some(field),
        Item::Value(_) => None,
    });
    let mut walk = Walk::new(py, name, Policy::Cache, fields.collect());
    walk.top(items)?;
    walk.finish()
}
