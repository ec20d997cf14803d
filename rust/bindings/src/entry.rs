//! Entries of the cache as Python values: views of the mapping where data is plain, arrays decoded
//! straight into their final memory where it is coded.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::Error;
use proteinflex_core::cache::{Cache, OpenEntry};
use proteinflex_core::trajectory::{DType, Frames};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::array;
use crate::error::to_python;
use crate::value::{ArrayReference, Beside, build};

/// An open entry and the cache that it is from, which is told of damage.
#[derive(Clone)]
pub struct Source {
    pub cache: Arc<Cache>,
    pub entry: Arc<OpenEntry>,
}

impl Source {
    /// Runs `read` without the GIL; damage that it meets is reported to the cache.
    pub fn read<'a, T: Send>(
        &'a self,
        py: Python<'_>,
        read: impl FnOnce(&'a OpenEntry) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        py.detach(|| read(&self.entry).inspect_err(|error| self.cache.report(&self.entry, error)))
            .map_err(to_python)
    }

    /// All values of the entry.
    pub fn load<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let tree = self.read(py, |entry| entry.tree())?;
        let path = self.entry.path().to_owned();
        let mut beside = EntryArrays { py, source: self, loaded: HashMap::new() };
        let values = build(py, &tree, &path, None, false, &mut beside);
        values.inspect_err(|error| self.report(py, error))
    }

    /// Some frames of a field, decoded into a new array.
    pub fn frames<'py>(
        &self,
        py: Python<'py>,
        field: usize,
        frames: Frames,
        atoms: Option<&[u32]>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let shape = self.frames_shape(field, frames, atoms);
        let spec = &self.entry.fields()[field];
        let dtype = self.dtype(py, &spec.name, &spec.dtype)?;
        array::filled(&dtype, &shape, |bytes| {
            self.read(py, |entry| entry.read_frames(field, frames, atoms, bytes))
        })
    }

    /// The shape of what `frames` gives.
    pub fn frames_shape(&self, field: usize, frames: Frames, atoms: Option<&[u32]>) -> Vec<usize> {
        let item = &self.entry.fields()[field].item_shape;
        let mut shape = vec![frames.count as usize];
        shape.extend(item.iter().map(|&length| length as usize));
        if let Some(atoms) = atoms {
            shape[1] = atoms.len();
        }
        shape
    }

    /// All frames of a field as a read-only view of the mapping, where they lie plain in one piece.
    pub fn frames_in_place<'py>(
        &self,
        py: Python<'py>,
        field: usize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.read(py, |entry| entry.view_frames(field))?.is_none() {
            return Ok(None);
        }
        let all = Frames::range(0, self.entry.n_frames());
        let shape = self.frames_shape(field, all, None);
        let spec = &self.entry.fields()[field];
        let dtype = self.dtype(py, &spec.name, &spec.dtype)?;
        array::view(&self.entry, |entry| view_frames(entry, field), &dtype, &shape).map(Some)
    }

    /// A whole array of the entry, by its number among the arrays.
    pub fn array<'py>(&self, py: Python<'py>, number: u32) -> PyResult<Bound<'py, PyAny>> {
        let spec = &self.entry.arrays()[number as usize];
        let mut shape: Vec<usize> = spec.shape.iter().map(|&length| length as usize).collect();
        if spec.fortran {
            shape.reverse();
        }
        let dtype = self.dtype(py, &spec.name, &spec.dtype)?;
        let is_plain = self.read(py, |entry| entry.view_array(number))?.is_some();
        let array = if is_plain {
            array::view(&self.entry, |entry| view_array(entry, number), &dtype, &shape)?
        } else {
            array::filled(&dtype, &shape, |bytes| {
                self.read(py, |entry| entry.read_array(number, bytes))
            })?
        };
        if spec.fortran { array.getattr("T") } else { Ok(array) }
    }

    /// The dtype that the file names: one that NumPy has, without objects, of the size that it says.
    fn dtype<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        stored: &DType,
    ) -> PyResult<Bound<'py, PyArrayDescr>> {
        let damaged = |reason: String| {
            let part = format!("the type of {name:?}");
            let error = Error::corrupt(self.entry.path(), part, reason);
            self.cache.report(&self.entry, &error);
            to_python(error)
        };
        let dtype = array::dtype(py, stored.descr()).map_err(|error| damaged(error.to_string()))?;
        if dtype.itemsize() as u64 != stored.item_size() {
            let (found, said) = (dtype.itemsize(), stored.item_size());
            return Err(damaged(format!("{} has {found} bytes, not {said}", stored.descr())));
        }
        Ok(dtype)
    }

    fn report(&self, py: Python<'_>, error: &PyErr) {
        let damaged = py
            .import("proteinflex_optimization.errors")
            .and_then(|errors| errors.getattr("CorruptDataError"))
            .is_ok_and(|class| error.is_instance(py, &class));
        if damaged {
            let reason = error.value(py).to_string();
            let error = Error::corrupt(self.entry.path(), "the tree of values", reason);
            self.cache.report(&self.entry, &error);
        }
    }
}

fn view_frames(entry: &OpenEntry, field: usize) -> PyResult<&[u8]> {
    Ok(entry.view_frames(field).map_err(to_python)?.unwrap_or_default())
}

fn view_array(entry: &OpenEntry, number: u32) -> PyResult<&[u8]> {
    Ok(entry.view_array(number).map_err(to_python)?.unwrap_or_default())
}

/// The arrays beside an entry's tree.
struct EntryArrays<'a, 'py> {
    py: Python<'py>,
    source: &'a Source,
    loaded: HashMap<usize, Bound<'py, PyAny>>,
}

impl EntryArrays<'_, '_> {
    fn damaged(&self, reason: impl ToString) -> PyErr {
        to_python(Error::corrupt(self.source.entry.path(), "the tree of values", reason))
    }

    /// The number among the arrays of what the tree calls `number`: fields come first.
    fn array_number(&self, number: usize) -> PyResult<Option<u32>> {
        let entry = &self.source.entry;
        match number.checked_sub(entry.fields().len()) {
            None => Ok(None),
            Some(number) if number < entry.arrays().len() => Ok(Some(number as u32)),
            Some(_) => {
                Err(self.damaged(format!("it refers to array {number}, which is not there")))
            }
        }
    }
}

impl<'py> Beside<'py> for EntryArrays<'_, 'py> {
    fn array(&mut self, reference: &ArrayReference) -> PyResult<Bound<'py, PyAny>> {
        if let Some(loaded) = self.loaded.get(&reference.number) {
            return Ok(loaded.clone());
        }
        let source = self.source;
        let array = match self.array_number(reference.number)? {
            Some(number) => source.array(self.py, number)?,
            None => match source.frames_in_place(self.py, reference.number)? {
                Some(view) => view,
                None => {
                    let all = Frames::range(0, source.entry.n_frames());
                    source.frames(self.py, reference.number, all, None)?
                }
            },
        };
        let found = array.cast::<PyUntypedArray>()?;
        if found.shape() != reference.shape {
            return Err(self.damaged(format!(
                "an array has the shape {:?} where it says {:?}",
                found.shape(),
                reference.shape
            )));
        }
        self.loaded.insert(reference.number, array.clone());
        Ok(array)
    }

    fn long(&mut self, number: usize) -> PyResult<Bound<'py, PyBytes>> {
        let number =
            self.array_number(number)?.ok_or_else(|| self.damaged("it takes a field for text"))?;
        let array = self.source.array(self.py, number)?;
        Ok(array.call_method0("tobytes")?.cast_into()?)
    }
}

/// What metadata holds.
pub fn metadata<'py>(py: Python<'py>, tree: &[u8], path: &Path) -> PyResult<Bound<'py, PyAny>> {
    build(py, tree, path, None, false, &mut NothingBeside(path))
}

struct NothingBeside<'a>(&'a Path);

impl<'py> Beside<'py> for NothingBeside<'_> {
    fn array(&mut self, _: &ArrayReference) -> PyResult<Bound<'py, PyAny>> {
        Err(to_python(Error::corrupt(self.0, "the metadata", "it refers to an array")))
    }

    fn long(&mut self, _: usize) -> PyResult<Bound<'py, PyBytes>> {
        Err(to_python(Error::corrupt(self.0, "the metadata", "it refers to long text")))
    }
}
