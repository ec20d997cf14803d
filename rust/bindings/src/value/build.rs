//! From a tree and the arrays beside it to Python values.

use std::collections::HashMap;
use std::path::Path;

use proteinflex_core::error::TreeError;
use proteinflex_core::tree::{Tag, Token, TreeReader};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyComplex, PyDict, PyFrozenSet, PyList, PySet, PyString, PyTuple};

use crate::array;
use crate::error::to_python;
use crate::hooks::hook;

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
    fn restorer(&self) -> &'static str {
        "Restorer"
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
}

impl<'py> Builder<'_, 'py> {
    fn value(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        Ok(match self.reader.next_token().map_err(to_python)? {
            Token::Nil => py.None().into_bound(py),
            Token::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
            Token::Integer(value) => value.into_pyobject(py)?.into_any(),
            Token::Unsigned(value) => value.into_pyobject(py)?.into_any(),
            Token::Float(value) => value.into_pyobject(py)?.into_any(),
            Token::Text(text) => PyString::new(py, text).into_any(),
            Token::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Token::List(length) => {
                let from = self.values(length)?;
                PyList::new(py, self.made.drain(from..))?.into_any()
            }
            Token::Map(length) => {
                let dict = PyDict::new(py);
                for _ in 0..length {
                    let key = self.value()?;
                    let value = self.value()?;
                    self.checked(dict.set_item(key, value))?;
                }
                dict.into_any()
            }
            Token::Tag(tag) => self.tagged(tag)?,
        })
    }

    fn tagged(&mut self, tag: Tag) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        Ok(match tag {
            Tag::Tuple => {
                let from = self.listed_values()?;
                PyTuple::new(py, self.made.drain(from..))?.into_any()
            }
            Tag::Set => {
                let from = self.listed_values()?;
                let set = PySet::new(py, self.made.drain(from..));
                self.checked(set)?.into_any()
            }
            Tag::FrozenSet => {
                let from = self.listed_values()?;
                let set = PyFrozenSet::new(py, self.made.drain(from..));
                self.checked(set)?.into_any()
            }
            Tag::Complex => {
                self.reader.expect_list_of(2).map_err(to_python)?;
                let (real, imaginary) = (self.float()?, self.float()?);
                PyComplex::from_doubles(py, real, imaginary).into_any()
            }
            Tag::BigInteger => {
                let bytes = self.reader.expect_bytes().map_err(to_python)?;
                let options = PyDict::new(py);
                options.set_item("signed", true)?;
                let arguments = (PyBytes::new(py, bytes), "little");
                py.get_type::<pyo3::types::PyInt>().call_method(
                    "from_bytes",
                    arguments,
                    Some(&options),
                )?
            }
            Tag::LooseText => {
                let bytes = PyBytes::new(py, self.reader.expect_bytes().map_err(to_python)?);
                let text = bytes.call_method1("decode", ("utf-8", "surrogatepass"));
                self.checked(text)?
            }
            Tag::Scalar => {
                self.reader.expect_list_of(2).map_err(to_python)?;
                let dtype = self.reader.expect_text().map_err(to_python)?;
                let bytes = PyBytes::new(py, self.reader.expect_bytes().map_err(to_python)?);
                let dtype = self.checked(array::dtype(py, dtype))?;
                // One item, copied out of the bytes; indexing with () gives the scalar itself.
                let items = py.import("numpy")?.call_method1("frombuffer", (bytes, dtype));
                self.checked(items.and_then(|items| items.call_method1("reshape", ((),))))?
                    .get_item(PyTuple::empty(py))?
            }
            Tag::Array => {
                let reference = self.reference()?;
                match self.loaded.get(&reference.number) {
                    Some(array) => array.clone(),
                    None => {
                        let array = self.source.array(py, &reference)?;
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
                let content = self.value()?;
                let restorer = self.restorer()?;
                restorer.call_method1("restore", (name, content))?
            }
        })
    }

    /// Makes the next `length` values; tells from where on they are in `made`.
    fn values(&mut self, length: usize) -> PyResult<usize> {
        let from = self.made.len();
        for _ in 0..length {
            let value = self.value()?;
            self.made.push(value);
        }
        Ok(from)
    }

    fn listed_values(&mut self) -> PyResult<usize> {
        let length = self.reader.expect_list().map_err(to_python)?;
        self.values(length)
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
        let made = hook(self.py, self.source.restorer())?.call1(arguments)?;
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

/// Whether Python refuses a value as such, so that what describes it is wrong.
pub fn is_refusal(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyValueError>(py)
}
