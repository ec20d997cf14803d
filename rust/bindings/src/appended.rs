//! Frames that are appended to a trajectory, with the fields beside them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use numpy::PyUntypedArrayMethods;
use proteinflex_core::trajectory::FieldSpec;
use proteinflex_core::{Error, Result};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::to_python;
use crate::fields::{FRAMES, FieldData, has_units, one_or_more, with_one_frame};

/// The arguments of `append`, checked against each other.
pub struct AppendedFrames<'py> {
    pub n_frames: u64,
    fields: Vec<FieldData<'py>>,
    /// Which of the fields were given with units.
    have_units: Vec<bool>,
}

impl<'py> AppendedFrames<'py> {
    pub fn new(
        frames: &Bound<'py, PyAny>,
        per_frame: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Self> {
        let given = FieldData::new(FRAMES, frames)?;
        let is_one = given.array.ndim() == 2;
        let block = one_or_more(given)?;
        block.check_frames("frames")?;
        let shape = block.array.shape().to_vec();
        let mut have_units = vec![has_units(frames)?];
        let mut fields = vec![block];
        for (name, value) in per_frame.into_iter().flat_map(|fields| fields.iter()) {
            let name: String = name.extract()?;
            let field = FieldData::new(&name, &value)?;
            let field = if is_one { with_one_frame(field)? } else { field };
            field.check_boxes(shape[0])?;
            field.check_beside(&name, &shape)?;
            // One box of all frames is for a trajectory that is stored at once.
            if field.array.shape().first() != Some(&shape[0]) {
                let found = format!("shape {:?}", field.array.shape());
                let expected = format!("{} values, one per frame", shape[0]);
                return Err(to_python(Error::argument(name, found, expected)));
            }
            have_units.push(has_units(&value)?);
            fields.push(field);
        }
        Ok(Self { n_frames: shape[0] as u64, fields, have_units })
    }

    pub fn specs(&self) -> PyResult<Vec<FieldSpec>> {
        self.fields.iter().map(FieldData::spec).collect()
    }

    pub fn bytes(&self) -> PyResult<Vec<&[u8]>> {
        self.fields.iter().map(FieldData::bytes).collect()
    }
}

/// Which fields a writer was given with units: of one field all frames are, or none.
#[derive(Default)]
pub struct UnitsSoFar(Mutex<BTreeMap<String, bool>>);

impl UnitsSoFar {
    /// Appends frames, by a call that may fail, where none before them contradict their units.
    pub fn append(
        &self,
        given: &AppendedFrames<'_>,
        append: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        let names = || given.fields.iter().map(|field| &field.name).zip(&given.have_units);
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let other = {
            let known = known();
            names().find(|(name, has)| known.get(*name).is_some_and(|known| known != *has))
        };
        if let Some((name, _)) = other {
            let found = "numbers with and without units";
            return Err(to_python(Error::argument(name, found, "one or the other in all frames")));
        }
        append()?;
        known().extend(names().map(|(name, has)| (name.clone(), *has)));
        Ok(())
    }
}

/// The bytes of the given fields in the order of the declared ones.
pub fn in_order<'a>(
    declared: &[FieldSpec],
    given: &[FieldSpec],
    bytes: &[&'a [u8]],
) -> Result<Vec<&'a [u8]>> {
    let names = |specs: &[FieldSpec]| {
        specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>().join(", ")
    };
    if declared.len() != given.len() {
        return Err(Error::argument("per_frame", names(given), names(declared)));
    }
    let find = |spec: &FieldSpec| {
        let index = given.iter().position(|other| other.name == spec.name);
        let index =
            index.ok_or_else(|| Error::argument("per_frame", names(given), names(declared)))?;
        if given[index] != *spec {
            return Err(Error::argument(
                spec.name.as_str(),
                format!("shape {:?} of {}", given[index].item_shape, given[index].dtype.descr()),
                format!("shape {:?} of {}, as before", spec.item_shape, spec.dtype.descr()),
            ));
        }
        Ok(bytes[index])
    };
    declared.iter().map(find).collect()
}
