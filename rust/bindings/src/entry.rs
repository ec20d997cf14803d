//! Open entries of the cache as Python values: views of the file where data is stored as it is,
//! arrays decoded straight into their final memory where it is compressed.

use std::sync::Arc;

use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::Error;
use proteinflex_core::cache::{Cache, OpenEntry};
use proteinflex_core::trajectory::{DType, Frames};
use pyo3::prelude::*;

use crate::array;
use crate::error::to_python;
use crate::fields::{damaged_dtype, shape_of, stored_dtype};
use crate::hooks::is_exception;
use crate::interrupt::{LONG, interruptible};
use crate::value::{ArrayReference, ArraySource, build};

/// An open entry and the cache that it is from, if any, which is told of damage.
#[derive(Clone)]
pub struct EntryReader {
    pub cache: Option<Arc<Cache>>,
    pub entry: Arc<OpenEntry>,
}

impl EntryReader {
    /// Of an entry that is opened without the GIL, and is in no cache.
    pub fn open(
        py: Python<'_>,
        open: impl FnOnce() -> Result<OpenEntry, Error> + Send,
    ) -> PyResult<Self> {
        let entry = Arc::new(py.detach(open).map_err(to_python)?);
        Ok(Self { cache: None, entry })
    }

    /// Runs `read` without the GIL; damage that it meets is reported to the cache.
    pub fn read<'a, T: Send>(
        &'a self,
        py: Python<'_>,
        read: impl FnOnce(&'a OpenEntry) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        py.detach(|| read(&self.entry).inspect_err(|error| self.report(error))).map_err(to_python)
    }

    /// As [`EntryReader::read`], where signals interrupt the reading of many `bytes`.
    pub fn read_bytes<'a, T: Send>(
        &'a self,
        py: Python<'_>,
        bytes: usize,
        read: impl FnOnce(&'a OpenEntry) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        if (bytes as u64) < LONG {
            return self.read(py, read);
        }
        interruptible(py, || read(&self.entry).inspect_err(|error| self.report(error)))
    }

    /// All values of the entry.
    pub fn load<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let tree = self.read(py, |entry| entry.tree())?;
        let values = build(py, &tree, self.entry.path(), None, false, self);
        values.inspect_err(|error| {
            if is_exception(py, error, "CorruptDataError") {
                let damage = self.damage(error.value(py).to_string());
                py.detach(|| self.report(&damage));
            }
        })
    }

    /// All values of the entry, with `...` in place of each per-frame field: no frame is read.
    pub fn load_beside_frames<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let tree = self.read(py, |entry| entry.tree())?;
        build(py, &tree, self.entry.path(), None, false, &BesideFrames(self))
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
        array::zeros(&dtype, &shape, |bytes| {
            let length = bytes.len();
            self.read_bytes(py, length, |entry| entry.read_frames(field, frames, atoms, bytes))
        })
    }

    /// The shape of what `frames` returns.
    pub fn frames_shape(&self, field: usize, frames: Frames, atoms: Option<&[u32]>) -> Vec<usize> {
        let mut shape = shape_of(&self.entry.fields()[field], frames.count);
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
        // In place it is checked whole, the first time.
        let size = usize::try_from(self.entry.stored_bytes()).unwrap_or(usize::MAX);
        if self.read_bytes(py, size, |entry| entry.view_frames(field))?.is_none() {
            return Ok(None);
        }
        let all = Frames::range(0, self.entry.n_frames());
        let shape = self.frames_shape(field, all, None);
        let spec = &self.entry.fields()[field];
        let dtype = self.dtype(py, &spec.name, &spec.dtype)?;
        array::view(&self.entry, |entry| view_frames(entry, field), &dtype, &shape).map(Some)
    }

    /// All frames of a field: in place, or else decoded.
    pub fn all_frames<'py>(&self, py: Python<'py>, field: usize) -> PyResult<Bound<'py, PyAny>> {
        match self.frames_in_place(py, field)? {
            Some(view) => Ok(view),
            None => self.decoded(py, field),
        }
    }

    /// All frames of a field, decoded into a new array.
    pub fn decoded<'py>(&self, py: Python<'py>, field: usize) -> PyResult<Bound<'py, PyAny>> {
        self.frames(py, field, Frames::range(0, self.entry.n_frames()), None)
    }

    /// An array of the entry, by its number among the arrays.
    fn whole_array<'py>(&self, py: Python<'py>, number: u32) -> PyResult<Bound<'py, PyAny>> {
        let spec = &self.entry.arrays()[number as usize];
        let mut shape: Vec<usize> = spec.shape.iter().map(|&length| length as usize).collect();
        if spec.fortran {
            shape.reverse();
        }
        let dtype = self.dtype(py, &spec.name, &spec.dtype)?;
        let size = shape.iter().fold(dtype.itemsize(), |size, &length| size.saturating_mul(length));
        let is_plain = self.read_bytes(py, size, |entry| entry.view_array(number))?.is_some();
        let array = if is_plain {
            array::view(&self.entry, |entry| view_array(entry, number), &dtype, &shape)?
        } else {
            array::zeros(&dtype, &shape, |bytes| {
                let length = bytes.len();
                self.read_bytes(py, length, |entry| entry.read_array(number, bytes))
            })?
        };
        if spec.fortran { array.getattr("T") } else { Ok(array) }
    }

    /// The dtype that the file names for `name`.
    pub fn dtype<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        stored: &DType,
    ) -> PyResult<Bound<'py, PyArrayDescr>> {
        stored_dtype(py, stored, |reason| {
            let error = damaged_dtype(self.entry.path(), name, reason);
            py.detach(|| self.report(&error));
            to_python(error)
        })
    }

    fn report(&self, error: &Error) {
        if let Some(cache) = &self.cache {
            cache.report(&self.entry, error);
        } else if let Error::Corrupt { .. } = error {
            self.entry.content().distrust();
        }
    }

    fn damage(&self, reason: impl ToString) -> Error {
        Error::corrupt(self.entry.path(), "the tree of values", reason)
    }

    /// The number among the arrays of what the tree calls `number`: fields come first.
    fn array_number(&self, number: usize) -> PyResult<Option<u32>> {
        match number.checked_sub(self.entry.fields().len()) {
            None => Ok(None),
            Some(number) if number < self.entry.arrays().len() => Ok(Some(number as u32)),
            Some(_) => Err(to_python(
                self.damage(format!("it refers to array {number}, which is not there")),
            )),
        }
    }
}

impl ArraySource for EntryReader {
    fn array<'py>(
        &self,
        py: Python<'py>,
        reference: &ArrayReference,
    ) -> PyResult<Bound<'py, PyAny>> {
        let array = match self.array_number(reference.number)? {
            Some(number) => self.whole_array(py, number)?,
            None => self.all_frames(py, reference.number)?,
        };
        let found = array.cast::<PyUntypedArray>()?;
        if found.shape() != reference.shape {
            return Err(to_python(self.damage(format!(
                "an array has the shape {:?} where it says {:?}",
                found.shape(),
                reference.shape
            ))));
        }
        Ok(array)
    }

    fn long<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyAny>> {
        let number = self
            .array_number(number)?
            .ok_or_else(|| to_python(self.damage("it takes a field for text")))?;
        self.whole_array(py, number)?.call_method0("tobytes")
    }
}

/// What an entry has beside its per-frame fields.
struct BesideFrames<'a>(&'a EntryReader);

impl ArraySource for BesideFrames<'_> {
    fn array<'py>(
        &self,
        py: Python<'py>,
        reference: &ArrayReference,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.0.array_number(reference.number)? {
            Some(_) => self.0.array(py, reference),
            None => Ok(py.Ellipsis().into_bound(py)),
        }
    }

    fn long<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyAny>> {
        self.0.long(py, number)
    }
}

fn view_frames(entry: &OpenEntry, field: usize) -> PyResult<&[u8]> {
    Ok(entry.view_frames(field).map_err(to_python)?.unwrap_or_default())
}

fn view_array(entry: &OpenEntry, number: u32) -> PyResult<&[u8]> {
    Ok(entry.view_array(number).map_err(to_python)?.unwrap_or_default())
}
