//! From Python values to a tree and the arrays beside it.

use std::collections::HashMap;

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::Error;
use proteinflex_core::tree::{MAX_DEPTH, Tag, TreeWriter};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString,
    PyTuple,
};

use super::LONG;
use crate::argument::{shown, wrong_type};
use crate::array;
use crate::error::to_python;

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
    /// An array: C-contiguous, of this dtype. Where `label` is set, the items are of a type that NumPy
    /// lacks, and the dtype only has its size.
    Array {
        /// The items in memory order; for Fortran order, the array is transposed.
        array: Bound<'py, PyUntypedArray>,
        /// Describes the dtype.
        dtype: String,
        /// What the items really are, such as `BF16`.
        label: Option<String>,
        /// Whether the array that was given is this one transposed.
        fortran: bool,
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
    /// The object that stands for it in the values.
    pub stands_in: Bound<'py, PyAny>,
    /// Describes its dtype.
    pub dtype: String,
    /// Its lengths, frames first.
    pub shape: Vec<usize>,
}

/// Walks `root`, which messages call `name`.
pub fn flatten<'py>(
    root: &Bound<'py, PyAny>,
    name: &str,
    policy: Policy,
) -> PyResult<Flattened<'py>> {
    flatten_with_fields(root, name, policy, &[])
}

/// Walks `root`, in which `fields` have the first numbers; leaves are numbered after them.
pub fn flatten_with_fields<'py>(
    root: &Bound<'py, PyAny>,
    name: &str,
    policy: Policy,
    fields: &[Field<'py>],
) -> PyResult<Flattened<'py>> {
    let mut walk = Walk {
        py: root.py(),
        name,
        policy,
        fields,
        tree: TreeWriter::new(),
        leaves: Vec::new(),
        seen: HashMap::new(),
        kept: Vec::new(),
        path: Vec::new(),
        reducer: None,
    };
    walk.value(root)?;
    let values = std::mem::take(&mut walk.tree);
    // Tensors share storages, and which part of one is needed is only known at the end.
    let storages = match walk.reducer.take() {
        Some(reducer) => reducer.call_method0("storages")?.cast_into::<PyList>()?,
        None => PyList::empty(root.py()),
    };
    walk.tree.list(2);
    walk.tree.list(length(storages.len(), name)?);
    for storage in storages.iter() {
        let (array, start, label, keys): (Bound<'py, PyAny>, u64, Option<String>, Vec<String>) =
            storage.extract()?;
        walk.tree.list(2);
        walk.array(array.cast::<PyUntypedArray>()?, label, keys)?;
        walk.tree.unsigned(start);
    }
    walk.tree.append(&values);
    Ok(Flattened { tree: walk.tree.finish(), leaves: walk.leaves })
}

enum Step<'py> {
    Key(Bound<'py, PyAny>),
    Index(usize),
    Inside,
}

struct Walk<'a, 'py> {
    py: Python<'py>,
    name: &'a str,
    policy: Policy,
    fields: &'a [Field<'py>],
    tree: TreeWriter,
    leaves: Vec<Leaf<'py>>,
    /// The numbers of leaves that were met before, by the address of the object.
    seen: HashMap<*mut pyo3::ffi::PyObject, usize>,
    /// The objects of `seen`: an address says nothing once its object is gone.
    kept: Vec<Bound<'py, PyAny>>,
    path: Vec<Step<'py>>,
    reducer: Option<Bound<'py, PyAny>>,
}

impl<'py> Walk<'_, 'py> {
    fn value(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
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
            self.tree.list(length(value.len(), self.name)?);
            return self.items(value.iter());
        } else if let Ok(value) = value.cast_exact::<PyTuple>() {
            self.tree.tag(Tag::Tuple);
            self.tree.list(length(value.len(), self.name)?);
            return self.items(value.iter());
        } else if let Ok(value) = value.cast_exact::<PyBytes>() {
            return self.bytes(value);
        } else {
            return self.other(value);
        }
        Ok(())
    }

    fn other(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Some(number) = self.fields.iter().position(|field| field.stands_in.is(value)) {
            let field = &self.fields[number];
            self.reference(number, &field.dtype, &field.shape, false);
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
            self.tree.list(length(value.len(), self.name)?);
            return self.items(value.iter());
        }
        if let Ok(value) = value.cast_exact::<PyFrozenSet>() {
            self.tree.tag(Tag::FrozenSet);
            self.tree.list(length(value.len(), self.name)?);
            return self.items(value.iter());
        }
        if value.is_instance(&self.py.import("numpy")?.getattr("generic")?)? {
            return self.scalar(value);
        }
        self.reduced(value)
    }

    fn items(&mut self, items: impl Iterator<Item = Bound<'py, PyAny>>) -> PyResult<()> {
        for (index, item) in items.enumerate() {
            self.inside(Step::Index(index), |walk| walk.value(&item))?;
        }
        Ok(())
    }

    fn dict(&mut self, dict: &Bound<'py, PyDict>) -> PyResult<()> {
        self.tree.map(length(dict.len(), self.name)?);
        for (key, value) in dict.iter() {
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
        let plain = key.is_none()
            || key.is_exact_instance_of::<PyString>()
            || key.is_exact_instance_of::<PyInt>()
            || key.is_exact_instance_of::<PyFloat>()
            || key.is_exact_instance_of::<PyBool>()
            || key.is_exact_instance_of::<PyBytes>();
        if !plain {
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

    fn text(&mut self, value: &Bound<'py, PyString>) -> PyResult<()> {
        match value.to_str() {
            Ok(text) if text.len() < LONG => self.tree.text(text),
            Ok(_) if self.policy == Policy::Metadata => return Err(self.too_long()),
            Ok(_) => {
                self.tree.tag(Tag::LongText);
                self.beside(value.as_any(), |value| Ok(LeafData::Text(value.cast_into()?)))?;
            }
            Err(_) => {
                let bytes = value.call_method1("encode", ("utf-8", "surrogatepass"))?;
                self.tree.tag(Tag::LooseText);
                self.tree.bytes(bytes.cast::<PyBytes>()?.as_bytes());
            }
        }
        Ok(())
    }

    fn bytes(&mut self, value: &Bound<'py, PyBytes>) -> PyResult<()> {
        if value.as_bytes().len() < LONG {
            self.tree.bytes(value.as_bytes());
            return Ok(());
        }
        if self.policy == Policy::Metadata {
            return Err(self.too_long());
        }
        self.tree.tag(Tag::LongBytes);
        self.beside(value.as_any(), |value| Ok(LeafData::Bytes(value.cast_into()?)))
    }

    /// Writes the number of a leaf, and adds it where it is new.
    fn beside(
        &mut self,
        value: &Bound<'py, PyAny>,
        make: impl FnOnce(Bound<'py, PyAny>) -> PyResult<LeafData<'py>>,
    ) -> PyResult<()> {
        let address = value.as_ptr();
        let number = match self.seen.get(&address) {
            Some(&number) => number,
            None => {
                let leaf = Leaf { keys: self.keys(), data: make(value.clone())? };
                self.leaves.push(leaf);
                self.kept.push(value.clone());
                self.seen.insert(address, self.leaves.len() - 1);
                self.leaves.len() - 1
            }
        };
        self.tree.unsigned((self.fields.len() + number) as u64);
        Ok(())
    }

    fn scalar(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let dtype = value.getattr("dtype")?.cast_into::<numpy::PyArrayDescr>()?;
        if dtype.has_object() {
            return Err(self.unsupported(value));
        }
        self.tree.tag(Tag::Scalar);
        self.tree.list(2);
        self.tree.text(&array::dtype_description(&dtype)?);
        self.tree.bytes(value.call_method0("tobytes")?.cast::<PyBytes>()?.as_bytes());
        Ok(())
    }

    fn numpy_array(&mut self, value: &Bound<'py, PyUntypedArray>) -> PyResult<()> {
        let class = value.get_type();
        let is_plain = class.is(self.py.import("numpy")?.getattr("ndarray")?)
            || class.is(self.py.import("numpy")?.getattr("memmap")?);
        if !is_plain {
            let expected = "a plain numpy.ndarray; subclasses such as masked arrays would lose what \
                            they add";
            return Err(wrong_type(value, &self.place(), expected));
        }
        if value.dtype().has_object() {
            let expected = "an array of numbers, booleans, times, fixed-length text or records; \
                            object arrays can't be stored";
            return Err(wrong_type(value, &self.place(), expected));
        }
        if self.policy == Policy::Metadata {
            let expected = "a plain value; arrays belong into the data";
            return Err(wrong_type(value, &self.place(), expected));
        }
        let keys = self.keys();
        self.array(value, None, keys)
    }

    /// Writes a reference to an array, and adds it where it is new.
    fn array(
        &mut self,
        value: &Bound<'py, PyUntypedArray>,
        label: Option<String>,
        keys: Vec<String>,
    ) -> PyResult<()> {
        let fortran = value.is_fortran_contiguous() && !value.is_c_contiguous();
        let dtype = array::dtype_description(&value.dtype())?;
        let address = value.as_ptr();
        let number = match self.seen.get(&address) {
            Some(&number) => number,
            None => {
                let array = if fortran {
                    value.getattr("T")?
                } else {
                    // Not `ascontiguousarray`, which gives an array without dimensions one.
                    let options = PyDict::new(self.py);
                    options.set_item("order", "C")?;
                    self.py.import("numpy")?.call_method("asarray", (value,), Some(&options))?
                };
                let array = array.cast_into::<PyUntypedArray>()?;
                let data = LeafData::Array { array, dtype: dtype.clone(), label, fortran };
                self.leaves.push(Leaf { keys, data });
                self.kept.push(value.as_any().clone());
                self.seen.insert(address, self.leaves.len() - 1);
                self.leaves.len() - 1
            }
        };
        self.reference(self.fields.len() + number, &dtype, value.shape(), fortran);
        Ok(())
    }

    fn reference(&mut self, number: usize, dtype: &str, shape: &[usize], fortran: bool) {
        let shape: Vec<u64> = shape.iter().map(|&length| length as u64).collect();
        self.tree.array(number as u64, dtype, &shape, fortran);
    }

    /// Asks Python what a value of another class is made of.
    fn reduced(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let reducer = match &self.reducer {
            Some(reducer) => reducer.clone(),
            None => {
                let (checkpoint, pickle) = match self.policy {
                    Policy::Checkpoint { pickle } => (true, pickle),
                    _ => (false, false),
                };
                let states = self.py.import("proteinflex_optimization._states")?;
                let reducer = states.getattr("Reducer")?.call1((checkpoint, pickle))?;
                self.reducer = Some(reducer.clone());
                reducer
            }
        };
        let keys = self.keys();
        let found = reducer.call_method1("reduce", (value, self.place(), keys))?;
        if found.is_none() {
            return Err(self.unsupported(value));
        }
        let (tag, content): (Option<String>, Bound<'py, PyAny>) = found.extract()?;
        match tag {
            // The value itself, in a form that is known here.
            None => self.inside(Step::Inside, |walk| walk.value(&content)),
            Some(tag) => {
                self.tree.tag(Tag::Extension);
                self.tree.list(2);
                self.tree.text(&tag);
                self.inside(Step::Inside, |walk| walk.value(&content))
            }
        }
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
    fn place(&self) -> String {
        self.path.iter().fold(self.name.to_owned(), |place, step| match step {
            Step::Key(key) => format!("{place}[{}]", shown(key)),
            Step::Index(index) => format!("{place}[{index}]"),
            Step::Inside => place,
        })
    }

    /// The place of the value at hand, as the parts of a name.
    fn keys(&self) -> Vec<String> {
        let part = |step: &Step<'py>| match step {
            Step::Key(key) => key.str().ok().map(|key| key.to_string_lossy().into_owned()),
            Step::Index(index) => Some(index.to_string()),
            Step::Inside => None,
        };
        self.path.iter().filter_map(part).collect()
    }

    fn unsupported(&self, value: &Bound<'py, PyAny>) -> PyErr {
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

    fn too_long(&self) -> PyErr {
        let expected = format!("less than {} KiB; more belongs into the data", LONG >> 10);
        to_python(Error::argument(self.place(), "a long text", expected))
    }
}

fn length(length: usize, name: &str) -> PyResult<u32> {
    let expected = "less than 2**32 values in one container";
    u32::try_from(length).map_err(|_| to_python(Error::argument(name, length, expected)))
}
