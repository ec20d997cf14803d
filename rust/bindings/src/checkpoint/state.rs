//! The arguments of a save: checked and flattened, before anything is written.

use numpy::{PyArrayDescrMethods, PyUntypedArrayMethods};
use proteinflex_core::Error;
use proteinflex_core::checkpoint::{Array, ArrayType, Component};
use proteinflex_core::fs::names;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::argument;
use crate::error::to_python;
use crate::value::{Flattened, LeafData, Policy, flatten};

/// A state to save, checked and flattened.
pub(super) struct State<'py> {
    pub(super) id: String,
    pub(super) metadata: Vec<u8>,
    components: Vec<(String, Flattened<'py>)>,
}

impl<'py> State<'py> {
    pub(super) fn new(
        py: Python<'py>,
        checkpoint_id: &Bound<'py, PyAny>,
        component_states: &Bound<'py, PyAny>,
        metadata: Option<&Bound<'py, PyAny>>,
        allow_pickle: bool,
    ) -> PyResult<Self> {
        let id = argument::text(checkpoint_id, "checkpoint_id")?;
        names::check("checkpoint_id", &id).map_err(to_python)?;
        let states = component_states
            .cast::<PyDict>()
            .map_err(|_| argument::wrong_type(component_states, "component_states", "a dict"))?;
        check_no_attributes(component_states)?;
        let metadata = match metadata {
            None => PyDict::new(py),
            Some(metadata) => metadata
                .cast::<PyDict>()
                .map_err(|_| argument::wrong_type(metadata, "metadata", "a dict"))?
                .clone(),
        };
        let metadata = flatten(metadata.as_any(), "metadata", Policy::Metadata)?.tree;
        let policy = Policy::Checkpoint { pickle: allow_pickle };
        let mut components = Vec::new();
        // A copy: code of the user's that runs meanwhile may add and remove components.
        for item in states.items() {
            let (name, state) = item.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
            let expected = "a str, the name of a component";
            if !name.is_instance_of::<PyString>() {
                return Err(argument::wrong_type(&name, "a key of component_states", expected));
            }
            let place = format!("component_states[{}]", argument::shown(&name));
            let name = argument::text(&name, "a key of component_states")?;
            components.push((name, flatten(&state, &place, policy)?));
        }
        Ok(Self { id, metadata, components })
    }

    /// How many bytes there are to write.
    pub(super) fn bytes(&self, components: &[Component<'_>]) -> u64 {
        let arrays = components.iter().flat_map(|component| &component.arrays);
        let trees = components.iter().map(|component| component.tree.len());
        trees.chain(arrays.map(|array| array.bytes.len())).map(|bytes| bytes as u64).sum()
    }

    pub(super) fn components(&self) -> PyResult<Vec<Component<'_>>> {
        let mut components = Vec::with_capacity(self.components.len());
        for (name, flattened) in &self.components {
            let arrays = arrays_of(flattened)?;
            components.push(Component { name: name.clone(), tree: &flattened.tree, arrays });
        }
        Ok(components)
    }
}

/// Refuses a `state_dict()` in the place of the dict of components: its components are stored one
/// by one, and its versions of modules would be lost.
fn check_no_attributes(states: &Bound<'_, PyAny>) -> PyResult<()> {
    let names: Vec<String> = match states.getattr("__dict__") {
        Ok(attributes) => attributes.cast::<PyDict>()?.keys().extract()?,
        Err(_) => return Ok(()),
    };
    if names.is_empty() {
        return Ok(());
    }
    Err(to_python(Error::argument(
        "component_states",
        format!("a {} with attributes {names:?}", states.get_type().name()?),
        "a plain dict of components, such as {'model': model.state_dict()}",
    )))
}

fn arrays_of<'a>(flattened: &'a Flattened<'_>) -> PyResult<Vec<Array<'a>>> {
    let mut arrays = Vec::with_capacity(flattened.leaves.len());
    for leaf in &flattened.leaves {
        let bytes = leaf.bytes()?;
        let (array_type, shape) = match &leaf.data {
            LeafData::Array { array, dtype, label, .. } => {
                let description = label.as_deref().unwrap_or(dtype);
                (ArrayType::of(description, array.dtype().itemsize()), array.shape().to_vec())
            }
            LeafData::Text(_) | LeafData::Bytes(_) => (ArrayType::of("|u1", 1), vec![bytes.len()]),
        };
        arrays.push(Array { name: leaf.keys.join("."), array_type, shape, bytes });
    }
    Ok(arrays)
}
