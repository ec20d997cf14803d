//! Metadata: plain values alone, without arrays beside them.

use std::path::Path;

use proteinflex_core::Error;
use proteinflex_core::trajectory::MAX_METADATA;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::build::{ArrayReference, ArraySource, build};
use super::flatten::{Policy, flatten};
use crate::argument;
use crate::error::to_python;

/// The tree of a dict of plain values; of an empty one for None.
pub fn metadata_tree(py: Python<'_>, metadata: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<u8>> {
    let dict = match metadata {
        None => PyDict::new(py),
        Some(metadata) => argument::dict(metadata, "metadata")?,
    };
    let tree = flatten(dict.as_any(), "metadata", Policy::Metadata)?.tree;
    if tree.len() > MAX_METADATA {
        let found = format!("{} bytes", tree.len());
        let expected = format!("at most {} MiB; more belongs into the data", MAX_METADATA >> 20);
        return Err(to_python(Error::argument("metadata", found, expected)));
    }
    Ok(tree)
}

/// The values of such a tree, which was found in the file at `path`.
pub fn metadata<'py>(py: Python<'py>, tree: &[u8], path: &Path) -> PyResult<Bound<'py, PyAny>> {
    build(py, tree, path, None, false, &NoArrays(path))
}

struct NoArrays<'a>(&'a Path);

impl ArraySource for NoArrays<'_> {
    fn array<'py>(&self, _: Python<'py>, _: &ArrayReference) -> PyResult<Bound<'py, PyAny>> {
        Err(to_python(Error::corrupt(self.0, "the metadata", "it refers to an array")))
    }

    fn long<'py>(&self, _: Python<'py>, _: usize) -> PyResult<Bound<'py, PyAny>> {
        Err(to_python(Error::corrupt(self.0, "the metadata", "it refers to long text")))
    }
}
