//! Storing entries: what `DataHandler` was given, as the core takes it.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::cache::Key;
use proteinflex_core::trajectory::{ArraySpec, DType, Encoding, EntryKind, FieldSpec};
use proteinflex_core::{Error, Result};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator};

use crate::argument;
use crate::data_handler::DataHandler;
use crate::error::to_python;
use crate::fields::{FRAMES, FieldData, dtype_of, in_tree, is_lossy, is_per_frame};
use crate::value::{Field, Flattened, LeafData, Policy, flatten_with_fields};

impl DataHandler {
    /// Writes and publishes an entry whose fields are all there.
    #[expect(clippy::too_many_arguments, reason = "all of what an entry is made of")]
    pub fn store(
        &self,
        py: Python<'_>,
        kind: EntryKind,
        data_id: &str,
        metadata: Vec<u8>,
        encoding: Encoding,
        fields: &[FieldData<'_>],
        flattened: &Flattened<'_>,
    ) -> PyResult<String> {
        let specs = fields.iter().map(FieldData::spec).collect::<PyResult<Vec<_>>>()?;
        let field_bytes = fields.iter().map(FieldData::bytes).collect::<PyResult<Vec<_>>>()?;
        let n_frames = fields.first().map_or(0, FieldData::n_frames);
        let arrays = arrays_of(flattened)?;
        let tree = flattened.tree.as_slice();
        py.detach(|| -> Result<Key> {
            let mut pending = self.cache.begin(kind, data_id, metadata, encoding)?;
            if kind == EntryKind::Trajectory {
                let lossy: Vec<bool> = specs.iter().map(is_lossy).collect();
                pending.writer().declare_fields(specs, &lossy)?;
                pending.append(n_frames, &field_bytes)?;
            }
            for (spec, bytes) in &arrays {
                pending.writer().write_array(spec, bytes)?;
            }
            pending.publish(tree)
        })
        .map(|key| key.to_string())
        .map_err(to_python)
    }

    /// Stores a trajectory whose frames come from an iterable, block by block.
    pub fn store_stream(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyDict>,
        frames: &Bound<'_, PyAny>,
        data_id: &str,
        metadata: Vec<u8>,
        encoding: Encoding,
    ) -> PyResult<String> {
        let name = "trajectory_data['frames']";
        let expected = "an array of shape (n_frames, n_atoms, 3), or an iterable of frames";
        let blocks = PyIterator::from_object(frames)
            .map_err(|_| argument::wrong_type(frames, name, expected))?;
        let mut pending = None;
        let mut spec: Option<FieldSpec> = None;
        let mut n_frames = 0;
        for block in blocks {
            let block = one_or_more(&FieldData::new(FRAMES, &block?)?)?;
            block.check_frames(name)?;
            let found = block.spec()?;
            if spec.as_ref().is_some_and(|spec| *spec != found) {
                return Err(to_python(Error::argument(
                    name,
                    format!(
                        "a frame of shape {:?} and dtype {}",
                        found.item_shape,
                        found.dtype.descr()
                    ),
                    "frames of one shape and dtype",
                )));
            }
            let bytes = block.bytes()?;
            let count = block.n_frames();
            py.detach(|| -> Result<()> {
                if pending.is_none() {
                    let mut begun = self.cache.begin(
                        EntryKind::Trajectory,
                        data_id,
                        metadata.clone(),
                        encoding,
                    )?;
                    let lossy = [is_lossy(&found)];
                    begun.writer().declare_fields(vec![found.clone()], &lossy)?;
                    pending = Some(begun);
                }
                match &mut pending {
                    Some(pending) => pending.append(count, &[bytes]),
                    None => Ok(()),
                }
            })
            .map_err(to_python)?;
            n_frames += count;
            spec = Some(found);
            py.check_signals()?;
        }
        let (Some(mut pending), Some(spec)) = (pending, spec) else {
            return Err(to_python(Error::argument(
                name,
                "an empty iterable",
                "at least one frame",
            )));
        };
        let field: Field<'_> = in_tree(&spec, frames.clone(), n_frames)?;
        let mut shape = vec![n_frames as usize];
        shape.extend(spec.item_shape.iter().map(|&length| length as usize));
        for (key, value) in data.iter() {
            let Ok(key) = key.extract::<String>() else { continue };
            if is_per_frame(&key) && !value.is_none() {
                FieldData::new(&key, &value)?
                    .check_beside(&format!("trajectory_data['{key}']"), &shape)?;
            }
        }
        let flattened =
            flatten_with_fields(data.as_any(), "trajectory_data", Policy::Cache, &[field])?;
        let arrays = arrays_of(&flattened)?;
        let tree = flattened.tree.as_slice();
        py.detach(|| -> Result<Key> {
            for (spec, bytes) in &arrays {
                pending.writer().write_array(spec, bytes)?;
            }
            pending.publish(tree)
        })
        .map(|key| key.to_string())
        .map_err(to_python)
    }
}

/// What is stored beside the tree, as the core takes it.
fn arrays_of<'a>(flattened: &'a Flattened<'_>) -> PyResult<Vec<(ArraySpec, &'a [u8])>> {
    let mut arrays = Vec::with_capacity(flattened.leaves.len());
    for leaf in &flattened.leaves {
        let bytes = leaf.bytes()?;
        let (dtype, shape, fortran) = match &leaf.data {
            LeafData::Array { array, fortran, .. } => {
                let mut shape: Vec<u64> =
                    array.shape().iter().map(|&length| length as u64).collect();
                if *fortran {
                    shape.reverse();
                }
                (dtype_of(array)?, shape, *fortran)
            }
            LeafData::Text(_) | LeafData::Bytes(_) => {
                let dtype = DType::new("|u1", 1).map_err(to_python)?;
                (dtype, vec![bytes.len() as u64], false)
            }
        };
        let name = leaf.keys.join("/").chars().take(200).collect();
        arrays.push((ArraySpec { name, dtype, shape, fortran }, bytes));
    }
    Ok(arrays)
}

/// A single frame as a block of one; a block as it is.
pub fn one_or_more<'py>(block: &FieldData<'py>) -> PyResult<FieldData<'py>> {
    let array = match block.array.ndim() {
        2 => {
            let mut shape = vec![1];
            shape.extend_from_slice(block.array.shape());
            block.array.call_method1("reshape", (shape,))?.cast_into::<PyUntypedArray>()?
        }
        _ => block.array.clone(),
    };
    Ok(FieldData { name: block.name.clone(), array })
}

pub fn is_array(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyUntypedArray>() {
        return Ok(true);
    }
    let states = value.py().import("proteinflex_optimization._states")?;
    states.call_method1("_is_tensor", (value,))?.extract()
}

pub fn first_axis(value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    if !is_array(value)? {
        return Ok(None);
    }
    let shape: Vec<u64> = value.getattr("shape")?.extract()?;
    Ok(shape.first().copied())
}
