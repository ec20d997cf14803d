//! Which frames and which atoms of a trajectory: arguments as the core takes them.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::trajectory::{FieldSpec, Frames};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PySlice;

use super::Trajectory;
use crate::argument;
use crate::fields::BOX;
use crate::value::is_refusal;

impl Trajectory {
    /// The rows that `atoms` selects: anything that NumPy can index an array with.
    pub(super) fn atoms(&self, field: &FieldSpec, atoms: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        let py = atoms.py();
        let expected = format!("indices, a mask or a slice of {} atoms", field.rows());
        let wrong = || argument::wrong_value(atoms, "atoms", &expected);
        // The rows of a box are its vectors, also where there are three atoms.
        let n_atoms = self.coordinates()?.1.rows();
        if field.name == BOX || field.item_shape.first() != Some(&n_atoms) {
            return Err(argument::wrong_value(
                atoms,
                "atoms",
                format!("None: the field {:?} has no items of atoms", field.name),
            ));
        }
        let numpy = py.import("numpy")?;
        let all = numpy.call_method1("arange", (field.rows(),))?;
        let atoms = if atoms.is_instance_of::<PySlice>() {
            atoms.clone()
        } else {
            let indices = numpy.call_method1("asarray", (atoms,))?;
            let indices = indices.cast_into::<PyUntypedArray>()?;
            if indices.is_empty() {
                indices.call_method1("astype", ("int64",))?
            } else if matches!(indices.dtype().kind(), b'i' | b'u' | b'b') {
                indices.into_any()
            } else {
                return Err(wrong());
            }
        };
        let selected = all.get_item(atoms).map_err(|error| {
            let is_wrong = is_refusal(py, &error) || error.is_instance_of::<PyIndexError>(py);
            if is_wrong { wrong() } else { error }
        })?;
        let selected = numpy.call_method1("atleast_1d", (selected,))?;
        selected.call_method0("tolist")?.extract().map_err(|_| wrong())
    }

    /// The frames that a slice of these bounds selects.
    pub(super) fn frames(
        &self,
        py: Python<'_>,
        start: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, PyAny>>,
        step: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Frames> {
        let slice = py.get_type::<PySlice>().call1((start, stop, step))?;
        let named = |name: &str, value: Option<&Bound<'_, PyAny>>| match value {
            Some(value) => argument::integer(value, name, "an int or None").map(drop),
            None => Ok(()),
        };
        named("start", start)?;
        named("stop", stop)?;
        named("step", step)?;
        self.sliced(slice.cast::<PySlice>()?)
    }

    /// The frames that a slice selects.
    pub(super) fn sliced(&self, slice: &Bound<'_, PySlice>) -> PyResult<Frames> {
        let indices = slice.indices(self.reader.entry.n_frames() as isize)?;
        Ok(Frames {
            start: indices.start.max(0) as u64,
            count: indices.slicelength as u64,
            step: indices.step as i64,
        })
    }
}
