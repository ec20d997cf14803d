//! The walk over values, container by container.

use std::collections::HashMap;

use numpy::PyUntypedArray;
use proteinflex_core::Error;
use proteinflex_core::tree::{MAX_DEPTH, Tag, TreeWriter};
use pyo3::prelude::*;
use pyo3::types::iter::BoundDictIterator;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString,
    PyTuple,
};

use super::{Field, Flattened, Item, Leaf, Policy};
use crate::argument::{shown, wrong_type};
use crate::error::to_python;
use crate::hooks::hook;

/// One step from the root to the value at hand.
#[derive(Clone)]
enum Step<'py> {
    Key(Bound<'py, PyAny>),
    Index(usize),
    Inside,
}

/// A container whose values are being walked: a copy of what was in it.
struct Open<'py> {
    values: Values<'py>,
    next: usize,
    /// The step to the value at hand.
    step: Option<Step<'py>>,
}

enum Values<'py> {
    /// Of a list, a tuple or a set.
    Items(Bound<'py, PyTuple>),
    /// The keys and values of a dict.
    Pairs(BoundDictIterator<'py>),
    /// What a value of another class is made of: its content, and attributes beside it.
    Reduced(Bound<'py, PyTuple>),
    /// The parts of such a content, which have no places of their own.
    Parts(Bound<'py, PyTuple>),
}

/// From this many items on, a copy of them may find too little memory.
const MANY: usize = 1 << 12;

/// What a value takes in the tree beside its text or bytes.
const SMALL: usize = 4096;

/// How many values are walked before signal handlers may run.
const BETWEEN_SIGNALS: u32 = 1 << 14;

/// A tree and its leaves, as far as the walk has come.
///
/// What is open is on a stack of its own and not on the thread's, which may be small.
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
    open: Vec<Open<'py>>,
    /// The key of the item at hand, of a dict of which some items are fields.
    top_key: Option<Bound<'py, PyAny>>,
    walked: u32,
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
            open: Vec::new(),
            top_key: None,
            walked: 0,
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
        self.tree.append(&values).map_err(to_python)?;
        Ok(Flattened { tree: self.tree.finish(), leaves: self.leaves })
    }

    /// The items of a dict, of which some are fields.
    pub(super) fn top(&mut self, items: &[(Bound<'py, PyAny>, Item<'py>)]) -> PyResult<()> {
        self.tree.map(length(items.len(), self.name)?);
        let mut fields = 0..;
        for (key, item) in items {
            self.top_key = None;
            self.key(key)?;
            self.top_key = Some(key.clone());
            match item {
                Item::Value(value) => self.value(value)?,
                Item::Field(_) => {
                    fields.next().into_iter().for_each(|number| self.field(number));
                }
            }
        }
        Ok(())
    }

    /// Any value, and all that is in it.
    pub(super) fn value(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        self.visit(value)?;
        while let Some(value) = self.next_value()? {
            self.walked += 1;
            if self.walked.is_multiple_of(BETWEEN_SIGNALS) {
                self.py.check_signals()?;
            }
            self.visit(&value)?;
        }
        Ok(())
    }

    /// The next value of the innermost container that has one.
    fn next_value(&mut self) -> PyResult<Option<Bound<'py, PyAny>>> {
        while let Some(open) = self.open.last_mut() {
            let number = open.next;
            open.next += 1;
            open.step = None;
            let (step, value) = match &mut open.values {
                Values::Items(items) if number < items.len() => {
                    (Step::Index(number), items.get_item(number)?)
                }
                Values::Reduced(parts) | Values::Parts(parts) if number < parts.len() => {
                    (Step::Inside, parts.get_item(number)?)
                }
                Values::Pairs(pairs) => {
                    let Some((key, value)) = pairs.next() else {
                        self.open.pop();
                        continue;
                    };
                    self.key(&key)?;
                    (Step::Key(key), value)
                }
                Values::Items(_) | Values::Reduced(_) | Values::Parts(_) => {
                    self.open.pop();
                    continue;
                }
            };
            if let Some(open) = self.open.last_mut() {
                open.step = Some(step);
            }
            return Ok(Some(value));
        }
        Ok(None)
    }

    /// Goes into a container, whose beginning is written.
    fn enter(&mut self, values: Values<'py>) -> PyResult<()> {
        if self.open.len() > MAX_DEPTH {
            let place: String = self.place().chars().take(80).collect();
            return Err(to_python(Error::argument(
                format!("{place}…"),
                format!("nested more than {MAX_DEPTH} deep, where a dataclass counts as 3"),
                "less depth; a value that contains itself can't be stored",
            )));
        }
        self.open.push(Open { values, next: 0, step: None });
        Ok(())
    }

    /// Writes a value that is plain, and the beginning of one that holds others.
    fn visit(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        self.reserve(SMALL)?;
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
            // The quick way has no error where there is too little memory.
            return match value.len() < MANY {
                true => self.items(&value.to_tuple()),
                false => self.items(&tuple_of(value.as_any())?),
            };
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

    pub(super) fn reserve(&mut self, bytes: usize) -> PyResult<()> {
        self.tree.reserve(bytes).map_err(to_python)
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
        let is_content = matches!(self.open.last(), Some(Open { values: Values::Reduced(_), .. }));
        self.enter(match is_content {
            true => Values::Parts(items.clone()),
            false => Values::Items(items.clone()),
        })
    }

    fn dict(&mut self, dict: &Bound<'py, PyDict>) -> PyResult<()> {
        let copy = dict.copy()?;
        if self.pickles() && copy.iter().any(|(key, _)| !is_key(&key, MAX_KEY_DEPTH)) {
            return self.reduced(copy.as_any());
        }
        self.tree.map(length(copy.len(), self.name)?);
        self.enter(Values::Pairs(copy.iter()))
    }

    fn key(&mut self, key: &Bound<'py, PyAny>) -> PyResult<()> {
        let is_of_root = self.open.len() <= 1 && self.top_key.is_none();
        if self.policy == Policy::Cache && is_of_root && !key.is_instance_of::<PyString>() {
            return Err(wrong_type(key, &format!("a key of {}", self.place()), "a str"));
        }
        if !is_key(key, MAX_KEY_DEPTH) {
            let expected = format!(
                "a plain str, int, float, bool, bytes, None or a tuple of these, nested at most \
                 {MAX_KEY_DEPTH} deep"
            );
            let argument = format!("a key of {}", self.place());
            if key.is_exact_instance_of::<PyTuple>() {
                // Not shown: printing a deep one takes more stack than a thread may have.
                let found = "a tuple of others, or a deeper one".to_owned();
                return Err(to_python(Error::InvalidType { argument, found, expected }));
            }
            return Err(wrong_type(key, &argument, &expected));
        }
        self.plain_key(key)
    }

    /// A key that was found to be one.
    fn plain_key(&mut self, key: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(items) = key.cast_exact::<PyTuple>() {
            self.tree.tag(Tag::Tuple);
            self.tree.list(length(items.len(), self.name)?);
            return items.iter().try_for_each(|item| self.plain_key(&item));
        }
        let of_numpy = if is_plain(key) { None } else { of_numpy(key) };
        self.visit(of_numpy.as_ref().unwrap_or(key))
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
            self.reserve(bits / 8 + SMALL)?;
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
        let parts = [Some(content), attributes];
        self.enter(Values::Reduced(PyTuple::new(
            self.py,
            parts.into_iter().flatten().collect::<Vec<_>>(),
        )?))
    }

    /// Whether what can't be stored otherwise is pickled.
    pub(super) fn pickles(&self) -> bool {
        self.policy == Policy::Checkpoint { pickle: true }
    }

    /// The steps from the root to the value at hand.
    fn path(&self) -> impl Iterator<Item = Step<'py>> {
        let top = self.top_key.iter().map(|key| Step::Key(key.clone()));
        let steps = self.open.iter().filter_map(|open| open.step.clone());
        top.chain(steps)
    }

    /// The place of the value at hand, as a user would write it.
    pub(super) fn place(&self) -> String {
        self.path().fold(self.name.to_owned(), |place, step| match step {
            Step::Key(key) => format!("{place}[{}]", shown(&key)),
            Step::Index(index) => format!("{place}[{index}]"),
            Step::Inside => place,
        })
    }

    /// The place of the value at hand, as the parts of a name.
    pub(super) fn keys(&self) -> Vec<String> {
        let part = |step: Step<'py>| match step {
            Step::Key(key) => key.str().ok().map(|key| key.to_string_lossy().into_owned()),
            Step::Index(index) => Some(index.to_string()),
            Step::Inside => None,
        };
        self.path().filter_map(part).collect()
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

/// How deep tuples in a key may be nested.
const MAX_KEY_DEPTH: usize = 16;

/// Whether a key is one that is stored, or a tuple of these, nested up to `depth`.
fn is_key(key: &Bound<'_, PyAny>, depth: usize) -> bool {
    is_plain(key)
        || key
            .cast_exact::<PyTuple>()
            .is_ok_and(|items| depth > 0 && items.iter().all(|item| is_key(&item, depth - 1)))
        || of_numpy(key).is_some()
}

/// Whether a key is stored as it is.
fn is_plain(key: &Bound<'_, PyAny>) -> bool {
    key.is_none()
        || key.is_exact_instance_of::<PyString>()
        || key.is_exact_instance_of::<PyInt>()
        || key.is_exact_instance_of::<PyFloat>()
        || key.is_exact_instance_of::<PyBool>()
        || key.is_exact_instance_of::<PyBytes>()
}

/// The plain key that a scalar of NumPy's is equal to, and is found by in a dict.
fn of_numpy<'py>(key: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = key.py();
    let numpy = py.import("numpy").ok()?;
    let is_a =
        |class| numpy.getattr(class).is_ok_and(|class| key.is_instance(&class).unwrap_or(false));
    // A duration is a number there, too, but of a unit.
    if is_a("timedelta64") || !(is_a("character") || is_a("number") || is_a("bool_")) {
        return None;
    }
    if let Ok(bytes) = key.cast::<PyBytes>() {
        return Some(PyBytes::new(py, bytes.as_bytes()).into_any());
    }
    // NumPy's own `str` and `item` leave out zeros at the end.
    let plain = match key.is_instance_of::<PyString>() {
        true => py.get_type::<PyString>().call_method1("__str__", (key,)),
        false => key.call_method0("item"),
    };
    // A `longdouble` stays one.
    plain.ok().filter(is_plain)
}

fn length(length: usize, name: &str) -> PyResult<u32> {
    let expected = "less than 2**32 values in one container";
    u32::try_from(length).map_err(|_| to_python(Error::argument(name, length, expected)))
}

/// What is in a list at one moment, or in a set of which nobody else knows. An error where there is
/// too little memory.
fn tuple_of<'py>(items: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    Ok(items.py().get_type::<PyTuple>().call1((items,))?.cast_into()?)
}

/// What is in a set at one moment. Copying lets no other thread in between, iterating may.
fn of_set<'py>(set: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    tuple_of(&set.call_method0("copy")?)
}
