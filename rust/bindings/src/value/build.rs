//! From a tree and the arrays beside it to Python values.

use std::collections::HashMap;
use std::path::Path;

use numpy::PyArrayDescrMethods;
use proteinflex_core::error::TreeError;
use proteinflex_core::tree::{Tag, Token, TreeReader};
use pyo3::exceptions::{PyMemoryError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyTuple};

use super::create;
use crate::array;
use crate::error::to_python;
use crate::hooks::{hook, is_exception};

/// What a tree says of an array beside it.
#[derive(Debug, Clone)]
pub struct ArrayReference {
    /// Its number.
    pub number: usize,
    /// Describes its dtype.
    pub dtype: String,
    /// Its lengths, as it was given.
    pub shape: Vec<usize>,
    /// Whether its items lie in Fortran order.
    pub fortran: bool,
}

/// Loads what is stored beside a tree.
pub trait ArraySource {
    /// The array that the tree refers to.
    fn array<'py>(
        &self,
        py: Python<'py>,
        reference: &ArrayReference,
    ) -> PyResult<Bound<'py, PyAny>>;
    /// Long bytes.
    fn long<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyAny>>;
    /// A long text.
    fn long_text<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyAny>> {
        self.long(py, number)?.call_method0("decode")
    }
    /// The hook that makes values of classes.
    fn restorer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        hook(py, "PlainRestorer")
    }
}

/// Makes the values of the tree that was found in the file at `path`. Tensors go to `device`.
pub fn build<'py>(
    py: Python<'py>,
    tree: &[u8],
    path: &Path,
    device: Option<&Bound<'py, PyAny>>,
    pickle: bool,
    source: &dyn ArraySource,
) -> PyResult<Bound<'py, PyAny>> {
    let reader = TreeReader::new(tree, path).map_err(to_python)?;
    let mut builder = Builder {
        py,
        reader,
        source,
        loaded: HashMap::new(),
        path,
        restorer: None,
        storages: PyList::empty(py),
        made: Vec::new(),
        open: Vec::new(),
        read: 0,
    };
    builder.reader.expect_list_of(2).map_err(to_python)?;
    for _ in 0..builder.reader.expect_list().map_err(to_python)? {
        let storage = builder.value()?;
        builder.storages.append(storage)?;
    }
    builder.restorer = Some((device.cloned(), pickle, None));
    let value = builder.value()?;
    builder.reader.finish().map_err(to_python)?;
    Ok(value)
}

/// Device, whether pickles may be loaded, and the restorer once it is needed.
type Restorer<'py> = (Option<Bound<'py, PyAny>>, bool, Option<Bound<'py, PyAny>>);

struct Builder<'a, 'py> {
    py: Python<'py>,
    reader: TreeReader<'a>,
    source: &'a dyn ArraySource,
    /// The arrays so far by their number: two references to one give the same object.
    loaded: HashMap<usize, Bound<'py, PyAny>>,
    path: &'a Path,
    restorer: Option<Restorer<'py>>,
    storages: Bound<'py, PyList>,
    /// The values so far of all lists that are being made: one stack, instead of memory for each.
    made: Vec<Bound<'py, PyAny>>,
    /// What is being made, the innermost last: not on the thread's stack, which may be small.
    open: Vec<Open<'py>>,
    read: u32,
}

/// A value of which others are still to be read.
struct Open<'py> {
    kind: Kind<'py>,
    /// How many.
    missing: usize,
    /// Where those that were read begin in `made`.
    from: usize,
}

enum Kind<'py> {
    List,
    Tuple,
    Set,
    FrozenSet,
    Map {
        dict: Bound<'py, PyDict>,
        key: Option<Bound<'py, PyAny>>,
    },
    /// Of a class that Python restores.
    Extension(String),
}

/// What a token begins.
enum Begun<'py> {
    Value(Bound<'py, PyAny>),
    Open(Kind<'py>, usize),
}

/// How many values are read before signal handlers may run.
const BETWEEN_SIGNALS: u32 = 1 << 14;

impl<'py> Builder<'_, 'py> {
    /// The next value, with all that is in it.
    fn value(&mut self) -> PyResult<Bound<'py, PyAny>> {
        loop {
            self.read += 1;
            if self.read.is_multiple_of(BETWEEN_SIGNALS) {
                self.py.check_signals()?;
            }
            let mut value = match self.begin()? {
                Begun::Value(value) => value,
                Begun::Open(kind, missing) => {
                    let open = Open { kind, missing, from: self.made.len() };
                    if missing > 0 {
                        self.open.push(open);
                        continue;
                    }
                    self.end(open)?
                }
            };
            // It may be the last one of what it is in, and that likewise.
            loop {
                let Some(open) = self.open.last_mut() else { return Ok(value) };
                open.missing -= 1;
                let is_complete = open.missing == 0;
                self.add(value)?;
                if !is_complete {
                    break;
                }
                match self.open.pop() {
                    Some(open) => value = self.end(open)?,
                    None => break,
                }
            }
        }
    }

    /// Adds a value to what is innermost.
    fn add(&mut self, value: Bound<'py, PyAny>) -> PyResult<()> {
        match self.open.last_mut() {
            Some(Open { kind: Kind::Map { dict, key }, .. }) => match key.take() {
                None => *key = Some(value),
                Some(key) => {
                    let set = dict.set_item(key, value);
                    self.checked(set)?;
                }
            },
            _ => {
                if self.made.try_reserve(1).is_err() {
                    let message = "there is none left for the values that are read";
                    return Err(PyMemoryError::new_err(message));
                }
                self.made.push(value);
            }
        }
        Ok(())
    }

    /// Makes what has all its values.
    fn end(&mut self, open: Open<'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        Ok(match open.kind {
            Kind::List => create::list(py, self.made.drain(open.from..))?,
            Kind::Tuple => create::tuple(py, self.made.drain(open.from..))?,
            Kind::Set => {
                let set = PySet::new(py, self.made.drain(open.from..));
                self.checked(set)?.into_any()
            }
            Kind::FrozenSet => {
                let set = PyFrozenSet::new(py, self.made.drain(open.from..));
                self.checked(set)?.into_any()
            }
            Kind::Map { dict, .. } => dict.into_any(),
            Kind::Extension(name) => {
                let content = self.made.pop();
                self.restorer()?.call_method1("restore", (name, content))?
            }
        })
    }

    fn begin(&mut self) -> PyResult<Begun<'py>> {
        let py = self.py;
        Ok(Begun::Value(match self.reader.next_token().map_err(to_python)? {
            Token::Nil => py.None().into_bound(py),
            Token::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
            Token::Integer(value) => create::integer(py, value)?,
            Token::Unsigned(value) => create::unsigned(py, value)?,
            Token::Float(value) => create::float(py, value)?,
            Token::Text(text) => create::text(py, text)?,
            Token::Bytes(bytes) => create::bytes(py, bytes)?.into_any(),
            Token::List(length) => return Ok(Begun::Open(Kind::List, length)),
            Token::Map(length) => {
                let kind = Kind::Map { dict: create::dict(py)?, key: None };
                return Ok(Begun::Open(kind, 2 * length));
            }
            Token::Tag(tag) => return self.tagged(tag),
        }))
    }

    fn tagged(&mut self, tag: Tag) -> PyResult<Begun<'py>> {
        let py = self.py;
        Ok(Begun::Value(match tag {
            Tag::Tuple => return self.listed(Kind::Tuple),
            Tag::Set => return self.listed(Kind::Set),
            Tag::FrozenSet => return self.listed(Kind::FrozenSet),
            Tag::Complex => {
                self.reader.expect_list_of(2).map_err(to_python)?;
                let (real, imaginary) = (self.float()?, self.float()?);
                create::complex(py, real, imaginary)?
            }
            Tag::BigInteger => {
                let bytes = self.reader.expect_bytes().map_err(to_python)?;
                let options = PyDict::new(py);
                options.set_item("signed", true)?;
                let arguments = (create::bytes(py, bytes)?, "little");
                py.get_type::<pyo3::types::PyInt>().call_method(
                    "from_bytes",
                    arguments,
                    Some(&options),
                )?
            }
            Tag::LooseText => {
                let bytes = create::bytes(py, self.reader.expect_bytes().map_err(to_python)?)?;
                let text = bytes.call_method1("decode", ("utf-8", "surrogatepass"));
                self.checked(text)?
            }
            Tag::Scalar => {
                self.reader.expect_list_of(2).map_err(to_python)?;
                let description = self.reader.expect_text().map_err(to_python)?;
                let bytes = self.reader.expect_bytes().map_err(to_python)?;
                let scalar = scalar(py, description, bytes);
                self.checked(scalar)?
            }
            Tag::Array => {
                let reference = self.reference()?;
                match self.loaded.get(&reference.number) {
                    Some(array) => array.clone(),
                    None => {
                        let array = self.checked(self.source.array(py, &reference))?;
                        self.loaded.insert(reference.number, array.clone());
                        array
                    }
                }
            }
            Tag::LongText => {
                let number = self.reader.expect_count().map_err(to_python)? as usize;
                self.checked(self.source.long_text(py, number))?
            }
            Tag::LongBytes => {
                let number = self.reader.expect_count().map_err(to_python)? as usize;
                self.source.long(py, number)?
            }
            Tag::Extension => {
                self.reader.expect_list_of(2).map_err(to_python)?;
                let name = self.reader.expect_text().map_err(to_python)?.to_owned();
                return Ok(Begun::Open(Kind::Extension(name), 1));
            }
        }))
    }

    fn listed(&mut self, kind: Kind<'py>) -> PyResult<Begun<'py>> {
        let length = self.reader.expect_list().map_err(to_python)?;
        Ok(Begun::Open(kind, length))
    }

    fn float(&mut self) -> PyResult<f64> {
        self.reader.expect_float().map_err(to_python)
    }

    fn reference(&mut self) -> PyResult<ArrayReference> {
        self.reader.expect_list_of(4).map_err(to_python)?;
        let number = self.reader.expect_count().map_err(to_python)? as usize;
        let dtype = self.reader.expect_text().map_err(to_python)?.to_owned();
        let dimensions = self.reader.expect_list().map_err(to_python)?;
        let shape = (0..dimensions)
            .map(|_| Ok(self.reader.expect_count().map_err(to_python)? as usize))
            .collect::<PyResult<Vec<_>>>()?;
        let fortran = self.reader.expect_bool().map_err(to_python)?;
        Ok(ArrayReference { number, dtype, shape, fortran })
    }

    fn restorer(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let Some((device, pickle, restorer)) = &mut self.restorer else {
            return Err(to_python(self.reader.damaged(TreeError::StorageNotArray)));
        };
        if let Some(restorer) = restorer {
            return Ok(restorer.clone());
        }
        let path = self.path.display().to_string();
        let arguments = (&self.storages, device.as_ref(), *pickle, path);
        let made = self.source.restorer(self.py)?.call1(arguments)?;
        *restorer = Some(made.clone());
        Ok(made)
    }

    /// What Python refuses in a tree (a list as a key) is damage of the file; too little memory for
    /// it is not.
    fn checked<T>(&self, result: PyResult<T>) -> PyResult<T> {
        result.map_err(|error| match is_refusal(self.py, &error) {
            true => {
                let reason = error.to_string();
                to_python(self.reader.damaged(TreeError::Unusable { reason }))
            }
            false => error,
        })
    }
}

/// The NumPy scalar of a dtype that has these bytes.
fn scalar<'py>(py: Python<'py>, description: &str, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let dtype = array::dtype(py, description)?;
    // NumPy gives a NUL as the bytes of an empty text.
    let bytes = if dtype.itemsize() == 0 { &[] } else { bytes };
    if bytes.len() != dtype.itemsize() {
        let message = format!("{} bytes can't be one item of {description}", bytes.len());
        return Err(PyValueError::new_err(message));
    }
    // As items of arrays, bytes and text would lose the NULs at their ends.
    match dtype.kind() {
        b'S' => py.import("numpy")?.call_method1("bytes_", (create::bytes(py, bytes)?,)),
        b'U' => {
            let encoding = if description.starts_with('>') { "utf-32-be" } else { "utf-32-le" };
            let encoded = create::bytes(py, bytes)?;
            let text = encoded.call_method1("decode", (encoding, "surrogatepass"))?;
            py.import("numpy")?.call_method1("str_", (text,))
        }
        // Indexing with () gives the scalar itself.
        _ => array::zeros(&dtype, &[], |item| {
            item.copy_from_slice(bytes);
            Ok(())
        })?
        .get_item(PyTuple::empty(py)),
    }
}

/// Whether Python refuses a value as such, so that what describes it is wrong. An error of this
/// package, as for a variable of the environment, says itself what is.
pub fn is_refusal(py: Python<'_>, error: &PyErr) -> bool {
    (error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyValueError>(py))
        && !is_exception(py, error, "ProteinFlexError")
}
