//! The arrays of a component that is loaded: views of its file, mapped or in memory.

use std::ops::Range;
use std::sync::Arc;

use numpy::PyArrayDescrMethods;
use proteinflex_core::Error;
use proteinflex_core::checkpoint::LoadedComponent;
use proteinflex_core::error::CheckpointError;
use proteinflex_core::fs::PrivateMap;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::array;
use crate::error::to_python;
use crate::hooks::hook;
use crate::value::{ArrayReference, ArraySource};

/// The arrays beside a component's tree.
pub(super) struct ComponentArrays {
    pub(super) component: LoadedComponent,
}

impl ComponentArrays {
    fn map_and_range(&self, number: usize) -> PyResult<(&Arc<PrivateMap>, Range<usize>)> {
        match (&self.component.map, self.component.arrays.get(number)) {
            (Some(map), Some(range)) => Ok((map, range.clone())),
            _ => Err(self.missing(number)),
        }
    }

    fn missing(&self, number: usize) -> PyErr {
        let component = self.component.name.clone();
        to_python(CheckpointError::MissingArray { component, number }.into())
    }
}

impl ArraySource for ComponentArrays {
    fn array<'py>(
        &self,
        py: Python<'py>,
        reference: &ArrayReference,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (map, range) = self.map_and_range(reference.number)?;
        let damaged = |reason: String| {
            to_python(Error::corrupt(map.path(), format!("array {}", reference.number), reason))
        };
        let dtype = array::dtype(py, &reference.dtype)?;
        let size = reference
            .shape
            .iter()
            .try_fold(dtype.itemsize(), |size, &length| size.checked_mul(length))
            .filter(|&size| size == range.len());
        if size.is_none() {
            let shape = &reference.shape;
            let reason = format!("{} bytes can't have the shape {shape:?}", range.len());
            return Err(damaged(reason));
        }
        let mut shape = reference.shape.clone();
        if reference.fortran {
            shape.reverse();
        }
        let array = array::private_view(map, range, &dtype, &shape)?;
        if reference.fortran { array.getattr("T") } else { Ok(array) }
    }

    fn long<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyAny>> {
        let (map, range) = self.map_and_range(number)?;
        let copy = |bytes: &mut [u8]| array::copy_part(map, range.clone(), bytes);
        Ok(PyBytes::new_with(py, range.len(), copy)?.into_any())
    }

    fn restorer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        hook(py, "Restorer")
    }
}

/// What arrays and values of classes are, instead of themselves.
pub(super) struct OutlinedArrays(pub(super) ComponentArrays);

impl OutlinedArrays {
    fn outlined<'py>(
        &self,
        py: Python<'py>,
        kind: &str,
        reference: Option<&ArrayReference>,
        number: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let range = self.0.component.arrays.get(number).ok_or_else(|| self.0.missing(number))?;
        let dtype = reference.map(|reference| array::dtype(py, &reference.dtype)).transpose()?;
        let shape = reference.map(|reference| reference.shape.clone());
        hook(py, "outlined")?.call1((kind, dtype, shape, range.len()))
    }
}

impl ArraySource for OutlinedArrays {
    fn array<'py>(
        &self,
        py: Python<'py>,
        reference: &ArrayReference,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.outlined(py, "array", Some(reference), reference.number)
    }

    fn long<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyAny>> {
        self.outlined(py, "bytes", None, number)
    }

    fn long_text<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyAny>> {
        self.outlined(py, "str", None, number)
    }

    fn restorer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        hook(py, "Outliner")
    }
}
