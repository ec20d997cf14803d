//! What a walk puts beside the tree, and what the tree says of it.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::Error;
use proteinflex_core::tree::Tag;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::walk::Walk;
use super::{Leaf, LeafData, Policy};
use crate::argument::wrong_type;
use crate::array;
use crate::error::to_python;
use crate::value::LONG;

impl<'py> Walk<'_, 'py> {
    pub(super) fn text(&mut self, value: &Bound<'py, PyString>) -> PyResult<()> {
        match value.to_str() {
            Ok(text) if text.len() < LONG => {
                self.reserve(text.len())?;
                self.tree.text(text);
            }
            Ok(_) if self.policy == Policy::Metadata => return Err(self.too_long()),
            Ok(_) => {
                self.tree.tag(Tag::LongText);
                self.beside(value.as_any(), |value| Ok(LeafData::Text(value.cast_into()?)))?;
            }
            Err(_) => {
                let bytes = value.call_method1("encode", ("utf-8", "surrogatepass"))?;
                self.reserve(bytes.len()?)?;
                self.tree.tag(Tag::LooseText);
                self.tree.bytes(bytes.cast::<PyBytes>()?.as_bytes());
            }
        }
        Ok(())
    }

    pub(super) fn bytes(&mut self, value: &Bound<'py, PyBytes>) -> PyResult<()> {
        if value.as_bytes().len() < LONG {
            self.reserve(value.as_bytes().len())?;
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

    pub(super) fn scalar(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let dtype = value.getattr("dtype")?.cast_into::<numpy::PyArrayDescr>()?;
        // A subclass would come back as the class that it is of.
        let is_plain = value.get_type().getattr("__module__")?.eq("numpy")?
            && value.get_type().name()? != "record";
        if !is_plain || dtype.has_object() {
            return match self.pickles() {
                true => self.reduced(value),
                false => Err(self.unsupported(value)),
            };
        }
        self.tree.tag(Tag::Scalar);
        self.tree.list(2);
        self.tree.text(&array::description(&dtype)?);
        self.tree.bytes(value.call_method0("tobytes")?.cast::<PyBytes>()?.as_bytes());
        Ok(())
    }

    pub(super) fn numpy_array(&mut self, value: &Bound<'py, PyUntypedArray>) -> PyResult<()> {
        let is_plain = array::is_plain(value)?;
        if self.pickles() && (!is_plain || value.dtype().has_object()) {
            return self.reduced(value.as_any());
        }
        if !is_plain {
            return Err(wrong_type(value, &self.place(), array::PLAIN));
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
    pub(super) fn array(
        &mut self,
        value: &Bound<'py, PyUntypedArray>,
        label: Option<String>,
        keys: Vec<String>,
    ) -> PyResult<()> {
        let fortran = value.is_fortran_contiguous() && !value.is_c_contiguous();
        let dtype = array::description(&value.dtype())?;
        let address = value.as_ptr();
        let number = match self.seen.get(&address) {
            Some(&number) => number,
            None => {
                // A view of our own, whose shape nobody else can change.
                let array = if fortran {
                    value.getattr("T")?
                } else if value.is_c_contiguous() {
                    value.call_method0("view")?
                } else {
                    // Not `ascontiguousarray`, which gives an array without dimensions one.
                    let options = PyDict::new(self.py);
                    options.set_item("order", "C")?;
                    self.py.import("numpy")?.call_method("asarray", (value,), Some(&options))?
                };
                let array = array.cast_into::<PyUntypedArray>()?;
                let (dtype, _held) = (dtype.clone(), array::hold(&array)?);
                let data = LeafData::Array { array, dtype, label, fortran, _held };
                self.leaves.push(Leaf { keys, data });
                self.kept.push(value.as_any().clone());
                self.seen.insert(address, self.leaves.len() - 1);
                self.leaves.len() - 1
            }
        };
        self.reference(self.fields.len() + number, &dtype, value.shape(), fortran);
        Ok(())
    }

    /// Writes a reference to a field.
    pub(super) fn field(&mut self, number: usize) {
        let field = self.fields[number];
        self.reference(number, &field.dtype, &field.shape, false);
    }

    fn reference(&mut self, number: usize, dtype: &str, shape: &[usize], fortran: bool) {
        let shape: Vec<u64> = shape.iter().map(|&length| length as u64).collect();
        self.tree.array(number as u64, dtype, &shape, fortran);
    }

    fn too_long(&self) -> PyErr {
        let expected = format!("less than {} KiB; more belongs into the data", LONG >> 10);
        to_python(Error::argument(self.place(), "a long text", expected))
    }
}
