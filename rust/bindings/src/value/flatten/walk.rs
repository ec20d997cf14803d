//! The walk over values, container by container.

use std::collections::HashMap;

use numpy::PyUntypedArray;
use proteinflex_core::Error;
use proteinflex_core::tree::{MAX_DEPTH, Tag, TreeWriter};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString,
    PyTuple,
};

use super::{Field, Flattened, Item, Leaf, Policy};
use crate::argument::{shown, wrong_type};
use crate::error::to_python;
use crate::hooks::hook;

/// One step from the root to the value at hand.
pub(super) enum Step<'py> {
    Key(Bound<'py, PyAny>),
    Index(usize),
    Inside,
}

/// A tree and its leaves, as far as the walk has come.
pub(super) struct Walk<'a, 'py> {
    pub(super) py: Python<'py>,
    pub(super) name: &'a str,
    pub(super) policy: Policy,
    pub(super) fields: Vec<&'a Field<'py>>,
    pub(super) tree: TreeWriter,
    pub(super) leaves: Vec<Leaf<'py>>,
    /// The numbers of leaves that were met before, by the address of the object.
    pub(super) seen: HashMap<*mut pyo3::ffi::PyObject, usize>,
    /// The objects of `seen`: an address says nothing once its object is gone.
    pub(super) kept: Vec<Bound<'py, PyAny>>,
    path: Vec<Step<'py>>,
    reducer: Option<Bound<'py, PyAny>>,
}

impl<'a, 'py> Walk<'a, 'py> {
    pub(super) fn new(
        py: Python<'py>,
        name: &'a str,
        policy: Policy,
        fields: Vec<&'a Field<'py>>,
    ) -> Self {
        Self {
            py,
            name,
            policy,
            fields,
            tree: TreeWriter::new(),
            leaves: Vec::new(),
            seen: HashMap::new(),
            kept: Vec::new(),
            path: Vec::new(),
            reducer: None,
        }
    }

    /// The tree: the storages of tensors, and the values.
    pub(super) fn finish(mut self) -> PyResult<Flattened<'py>> {
        let values = std::mem::take(&mut self.tree);
        // Tensors share storages, and which part of one is needed is only known at the end.
        let storages: Vec<Storage<'py>> = match self.reducer.take() {
            Some(reducer) => reducer.call_method0("storages")?.extract()?,
            None => Vec::new(),
        };
        self.tree.list(2);
        self.tree.list(length(storages.len(), self.name)?);
        for (array, start, label, keys) in storages {
            self.tree.list(2);
            self.array(array.cast::<PyUntypedArray>()?, label, keys)?;
            self.tree.unsigned(start);
        }
        self.tree.append(&values);
        Ok(Flattened { tree: self.tree.finish(), leaves: self.leaves })
    }

    /// The items of a dict, of which some are fields.
    pub(super) fn top(&mut self, items: &[(Bound<'py, PyAny>, Item<'py>)]) -> PyResult<()> {
        self.tree.map(length(items.len(), self.name)?);
        let mut fields = 0..;
        for (key, item) in items {
            self.key(key)?;
            self.inside(Step::Key(key.clone()), |walk| match item {
                Item::Value(value) => walk.value(value),
                Item::Field(_) => {
                    fields.next().into_iter().for_each(|number| walk.field(number));
                    Ok(())
                }
            })?;
        }
        Ok(())
    }

    /// Any value.
    pub(super) fn value(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if value.is_none() {
            self.tree.nil();
        } else if let Ok(value) = value.cast_exact::<PyBool>() {
            self.tree.bool(value.is_true());
        } else if let Ok(value) = value.cast_exact::<PyInt>() {
            return self.integer(value);
        } else if let Ok(value) = value.cast_exact::<PyFloat>() {
            self.tree.float(value.value());
        } else if let Ok(value) = value.cast_exact::<PyString>() {
            return self.text(value);
        } else if let Ok(value) = value.cast_exact::<PyDict>() {
            return self.dict(value);
        } else if let Ok(value) = value.cast_exact::<PyList>() {
            return self.items(&value.to_tuple());
        } else if let Ok(value) = value.cast_exact::<PyTuple>() {
            self.tree.tag(Tag::Tuple);
            return self.items(value);
        } else if let Ok(value) = value.cast_exact::<PyBytes>() {
            return self.bytes(value);
        } else {
            return self.other(value);
        }
        Ok(())
    }

    fn other(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Some(number) = self.fields.iter().position(|field| field.object.is(value)) {
            self.field(number);
            return Ok(());
        }
        if let Ok(value) = value.cast_exact::<PyComplex>() {
            self.tree.tag(Tag::Complex);
            self.tree.list(2);
            self.tree.float(value.real());
            self.tree.float(value.imag());
            return Ok(());
        }
        if let Ok(value) = value.cast::<PyUntypedArray>() {
            return self.numpy_array(value);
        }
        if let Ok(value) = value.cast_exact::<PySet>() {
            self.tree.tag(Tag::Set);
            return self.items(&of_set(value)?);
        }
        if let Ok(value) = value.cast_exact::<PyFrozenSet>() {
            self.tree.tag(Tag::FrozenSet);
            return self.items(&of_set(value)?);
        }
        if value.is_instance(&self.py.import("numpy")?.getattr("generic")?)? {
            return self.scalar(value);
        }
        self.reduced(value)
    }

    fn items(&mut self, items: &Bound<'py, PyTuple>) -> PyResult<()> {
        self.tree.list(length(items.len(), self.name)?);
        for (index, item) in items.iter().enumerate() {
            self.inside(Step::Index(index), |walk| walk.value(&item))?;
        }
        Ok(())
    }

    fn dict(&mut self, dict: &Bound<'py, PyDict>) -> PyResult<()> {
        let copy = dict.copy()?;
        if self.pickles() && copy.keys().iter().any(|key| !is_key(&key)) {
            return self.reduced(copy.as_any());
        }
        self.tree.map(length(copy.len(), self.name)?);
        for (key, value) in copy.iter() {
            self.key(&key)?;
            self.inside(Step::Key(key), |walk| walk.value(&value))?;
        }
        Ok(())
    }

    fn key(&mut self, key: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(items) = key.cast_exact::<PyTuple>() {
            self.tree.tag(Tag::Tuple);
            self.tree.list(length(items.len(), self.name)?);
            for item in items.iter() {
                self.inside(Step::Inside, |walk| walk.key(&item))?;
            }
            return Ok(());
        }
        if self.policy == Policy::Cache && self.path.is_empty() && !key.is_instance_of::<PyString>()
        {
            return Err(wrong_type(key, &format!("a key of {}", self.place()), "a str"));
        }
        if !is_key(key) {
            let expected = "a str, int, float, bool, bytes, None or a tuple of these";
            return Err(wrong_type(key, &format!("a key of {}", self.place()), expected));
        }
        self.value(key)
    }

    fn integer(&mut self, value: &Bound<'py, PyInt>) -> PyResult<()> {
        if let Ok(small) = value.extract::<i64>() {
            self.tree.integer(small);
        } else if let Ok(positive) = value.extract::<u64>() {
            self.tree.unsigned(positive);
        } else {
            let bits: usize = value.call_method0("bit_length")?.extract()?;
            let options = PyDict::new(self.py);
            options.set_item("signed", true)?;
            let bytes = value.call_method("to_bytes", (bits / 8 + 1, "little"), Some(&options))?;
            self.tree.tag(Tag::BigInteger);
            self.tree.bytes(bytes.cast::<PyBytes>()?.as_bytes());
        }
        Ok(())
    }

    /// Asks Python what a value of another class is made of.
    pub(super) fn reduced(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let reducer = match &self.reducer {
            Some(reducer) => reducer.clone(),
            None => {
                let (checkpoint, pickle) = match self.policy {
                    Policy::Checkpoint { pickle } => (true, pickle),
                    _ => (false, false),
                };
                let reducer = hook(self.py, "Reducer")?.call1((checkpoint, pickle))?;
                self.reducer = Some(reducer.clone());
                reducer
            }
        };
        let keys = self.keys();
        let found = reducer.call_method1("reduce", (value, self.place(), keys))?;
        if found.is_none() {
            return Err(self.unsupported(value));
        }
        let (tag, content, attributes): Reduced<'py> = found.extract()?;
        if attributes.is_some() {
            self.tree.tag(Tag::Extension);
            self.tree.list(2);
            self.tree.text("attributes");
            self.tree.list(2);
        }
        // Without a tag it is the value itself, in a form that is known here.
        if let Some(tag) = tag {
            self.tree.tag(Tag::Extension);
            self.tree.list(2);
            self.tree.text(&tag);
        }
        self.inside(Step::Inside, |walk| walk.value(&content))?;
        match attributes {
            Some(attributes) => self.inside(Step::Inside, |walk| walk.value(&attributes)),
            None => Ok(()),
        }
    }

    /// Whether what can't be stored otherwise is pickled.
    pub(super) fn pickles(&self) -> bool {
        self.policy == Policy::Checkpoint { pickle: true }
    }

    fn inside(
        &mut self,
        step: Step<'py>,
        walk: impl FnOnce(&mut Self) -> PyResult<()>,
    ) -> PyResult<()> {
        if self.path.len() == MAX_DEPTH {
            let place: String = self.place().chars().take(80).collect();
            return Err(to_python(Error::argument(
                format!("{place}…"),
                format!("nested more than {MAX_DEPTH} deep"),
                "less depth; a value that contains itself can't be stored",
            )));
        }
        self.path.push(step);
        let result = walk(self);
        self.path.pop();
        result
    }

    /// The place of the value at hand, as a user would write it.
    pub(super) fn place(&self) -> String {
        self.path.iter().fold(self.name.to_owned(), |place, step| match step {
            Step::Key(key) => format!("{place}[{}]", shown(key)),
            Step::Index(index) => format!("{place}[{index}]"),
            Step::Inside => place,
        })
    }

    /// The place of the value at hand, as the parts of a name.
    pub(super) fn keys(&self) -> Vec<String> {
        let part = |step: &Step<'py>| match step {
            Step::Key(key) => key.str().ok().map(|key| key.to_string_lossy().into_owned()),
            Step::Index(index) => Some(index.to_string()),
            Step::Inside => None,
        };
        self.path.iter().filter_map(part).collect()
    }

    pub(super) fn unsupported(&self, value: &Bound<'py, PyAny>) -> PyErr {
        let expected = match self.policy {
            Policy::Cache => {
                "arrays, numbers, text, bytes, None and lists, tuples or dicts of these"
            }
            Policy::Metadata => "numbers, text, bytes, None and lists, tuples or dicts of these",
            Policy::Checkpoint { .. } => {
                "arrays, tensors, plain values, containers, dates, paths, enums or dataclasses; \
                 allow_pickle=True stores anything that pickle can"
            }
        };
        wrong_type(value, &self.place(), expected)
    }
}

/// What a value is made of: a class's tag, the content, and attributes beside it.
type Reduced<'py> = (Option<String>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

/// The memory of tensors: array, first byte, what its items really are, name.
type Storage<'py> = (Bound<'py, PyAny>, u64, Option<String>, Vec<String>);

/// Whether a key is one that is stored as it is, or a tuple of these.
fn is_key(key: &Bound<'_, PyAny>) -> bool {
    key.is_none()
        || key.is_exact_instance_of::<PyString>()
        || key.is_exact_instance_of::<PyInt>()
        || key.is_exact_instance_of::<PyFloat>()
        || key.is_exact_instance_of::<PyBool>()
        || key.is_exact_instance_of::<PyBytes>()
        || key.cast_exact::<PyTuple>().is_ok_and(|items| items.iter().all(|item| is_key(&item)))
}

fn length(length: usize, name: &str) -> PyResult<u32> {
    let expected = "less than 2**32 values in one container";
    u32::try_from(length).map_err(|_| to_python(Error::argument(name, length, expected)))
}

/// What is in a set at one moment. Copying lets no other thread in between, iterating may.
fn of_set<'py>(set: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    let items = set.call_method0("copy")?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(set.py(), items)
}
