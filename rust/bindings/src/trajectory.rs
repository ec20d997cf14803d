//! `Trajectory`, the lazy handle, and `TrajectoryWriter`.

use std::sync::{Arc, OnceLock};

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::Error;
use proteinflex_core::fs::PrivateMap;
use proteinflex_core::trajectory::{EntryKind, FieldSpec, Frames};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySlice, PyTuple};

use crate::argument;
use crate::array;
use crate::data_handler::DataHandler;
use crate::entry::{Source, metadata as build_metadata};
use crate::error::to_python;
use crate::fields::FRAMES;
use crate::frame_chunks::FrameChunks;

/// A stored trajectory, of which only what is asked for is read.
///
/// It behaves like an array of shape (n_frames, n_atoms, 3): ``len(t)``, ``t[5]``, ``t[10:100:3]``,
/// ``t[::-1]``. Any thread may read. It pickles as the directory and the key, and stays readable when
/// its entry is evicted or replaced.
///
/// Made by `DataHandler.open`.
///
/// Parameters
/// ----------
/// handler : DataHandler
///     The cache.
/// key : str
///     The key of a trajectory in it.
#[pyclass(subclass, frozen, module = "proteinflex_optimization._native")]
pub struct Trajectory {
    source: Source,
    /// Its file, copy on write, from the first time that frames are wanted in place.
    private: OnceLock<Option<Arc<PrivateMap>>>,
}

impl Trajectory {
    fn field(&self, name: &str) -> Option<(usize, &FieldSpec)> {
        self.source.entry.fields().iter().enumerate().find(|(_, field)| field.name == name)
    }

    fn coordinates(&self) -> PyResult<(usize, &FieldSpec)> {
        self.field(FRAMES).ok_or_else(|| self.no_such_field(FRAMES))
    }

    fn no_such_field(&self, name: &str) -> PyErr {
        let known: Vec<_> =
            self.source.entry.fields().iter().map(|field| field.name.as_str()).collect();
        to_python(Error::argument("field", format!("{name:?}"), format!("one of {known:?}")))
    }

    /// The rows that `atoms` selects, whatever NumPy can index with.
    fn atoms(&self, field: &FieldSpec, atoms: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        let py = atoms.py();
        let expected = format!("indices, a mask or a slice of {} atoms", field.rows());
        let wrong = || to_python(Error::argument("atoms", argument::shown(atoms), &expected));
        if field.item_shape.is_empty() {
            return Err(to_python(Error::argument(
                "atoms",
                argument::shown(atoms),
                format!("None: the field {:?} has no atoms", field.name),
            )));
        }
        let numpy = py.import("numpy")?;
        let all = numpy.call_method1("arange", (field.rows(),))?;
        let atoms = if atoms.is_instance_of::<PySlice>() {
            atoms.clone()
        } else {
            let indices = numpy.call_method1("asarray", (atoms,))?;
            let is_empty = indices.getattr("size")?.extract::<usize>()? == 0;
            let kind: String = indices.getattr("dtype")?.getattr("kind")?.extract()?;
            if !matches!(kind.as_str(), "i" | "u" | "b") && !is_empty {
                return Err(wrong());
            }
            if is_empty { indices.call_method1("astype", ("int64",))? } else { indices }
        };
        let selected = all.get_item(atoms).map_err(|_| wrong())?;
        let selected = numpy.call_method1("atleast_1d", (selected,))?;
        selected.call_method0("tolist")?.extract().map_err(|_| wrong())
    }
}

#[pymethods]
impl Trajectory {
    #[new]
    fn new(
        py: Python<'_>,
        handler: &Bound<'_, DataHandler>,
        key: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let source = handler.get().held_source(py, key)?;
        if source.entry.header().kind != EntryKind::Trajectory {
            return Err(to_python(Error::argument(
                "key",
                argument::shown(key),
                "the key of a trajectory; load_data gives a structure",
            )));
        }
        Ok(Self { source, private: OnceLock::new() })
    }

    fn __len__(&self) -> usize {
        self.source.entry.n_frames() as usize
    }

    /// (n_frames, n_atoms, 3).
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let (field, _) = self.coordinates()?;
        let all = Frames::range(0, self.source.entry.n_frames());
        PyTuple::new(py, self.source.frames_shape(field, all, None))
    }

    /// The number of frames.
    #[getter]
    fn n_frames(&self) -> u64 {
        self.source.entry.n_frames()
    }

    /// The number of atoms.
    #[getter]
    fn n_atoms(&self) -> PyResult<u64> {
        Ok(self.coordinates()?.1.rows())
    }

    /// The dtype of the coordinates.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(array::dtype(py, self.coordinates()?.1.dtype.descr())?.into_any())
    }

    /// The times of the frames, or None where none were stored.
    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let all = Frames::range(0, self.source.entry.n_frames());
        self.field("time").map(|(field, _)| self.source.frames(py, field, all, None)).transpose()
    }

    /// The metadata it was stored with.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let entry = &self.source.entry;
        build_metadata(py, &entry.header().metadata, entry.path())
    }

    /// The names of the per-frame fields.
    #[getter]
    fn fields(&self) -> Vec<String> {
        self.source.entry.fields().iter().map(|field| field.name.clone()).collect()
    }

    /// The key it is stored under.
    #[getter]
    fn key(&self) -> String {
        self.source.entry.key().to_string()
    }

    /// The name it was stored by.
    #[getter]
    fn data_id(&self) -> String {
        self.source.entry.header().data_id.clone()
    }

    /// The directory of its cache.
    #[getter]
    fn cache_dir(&self) -> std::path::PathBuf {
        self.source.cache.directory().to_owned()
    }

    /// Text that is the same for the same content, and only for it.
    #[getter]
    fn content_id(&self) -> String {
        self.source.entry.content_id().to_owned()
    }

    /// Bytes of all fields, uncompressed.
    #[getter]
    fn raw_bytes(&self) -> u64 {
        self.source.entry.raw_bytes()
    }

    /// Bytes of the file.
    #[getter]
    fn stored_bytes(&self) -> u64 {
        self.source.entry.stored_bytes()
    }

    /// How many frames are decoded together.
    #[getter]
    fn chunk_frames(&self) -> PyResult<u64> {
        Ok(self.source.entry.chunk_frames(self.coordinates()?.0).max(1))
    }

    /// Read frames of some or all atoms.
    ///
    /// Parameters
    /// ----------
    /// start, stop, step : int, optional
    ///     Which frames, as in a slice; a negative step reads backwards.
    /// atoms : optional
    ///     Which atoms: indices, a mask or a slice. Default: all.
    /// field : str
    ///     Which of `fields`.
    /// out : ndarray, optional
    ///     Where to put them: C-contiguous, writable, of the right shape and dtype.
    ///
    /// Returns
    /// -------
    /// ndarray
    ///     (n, n_atoms, 3) for the coordinates; `out` where it is given.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     No such field or atom, or `out` does not fit.
    /// CorruptDataError
    ///     A checksum failed; the message names file and chunk.
    #[pyo3(signature = (start=None, stop=None, step=None, atoms=None, field="frames", out=None))]
    #[expect(clippy::too_many_arguments, reason = "the documented method")]
    fn read<'py>(
        &self,
        py: Python<'py>,
        start: Option<&Bound<'py, PyAny>>,
        stop: Option<&Bound<'py, PyAny>>,
        step: Option<&Bound<'py, PyAny>>,
        atoms: Option<&Bound<'py, PyAny>>,
        field: &str,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (number, spec) = self.field(field).ok_or_else(|| self.no_such_field(field))?;
        let frames = self.frames(py, start, stop, step)?;
        let atoms = atoms.map(|atoms| self.atoms(spec, atoms)).transpose()?;
        let Some(out) = out else {
            return self.source.frames(py, number, frames, atoms.as_deref());
        };
        let expected = self.source.frames_shape(number, frames, atoms.as_deref());
        let target = out
            .cast::<PyUntypedArray>()
            .map_err(|_| argument::wrong_type(out, "out", "a numpy.ndarray"))?;
        let dtype = array::dtype(py, spec.dtype.descr())?;
        let fits = target.shape() == expected
            && target.dtype().eq(&dtype)?
            && target.is_c_contiguous()
            && target.getattr("flags")?.getattr("writeable")?.extract::<bool>()?;
        if !fits {
            return Err(to_python(Error::argument(
                "out",
                format!("shape {:?} of {}", target.shape(), target.dtype()),
                format!("a writable, C-contiguous array of shape {expected:?} and dtype {dtype}"),
            )));
        }
        array::fill_in_place(target, |bytes| {
            self.source.read(py, |entry| entry.read_frames(number, frames, atoms.as_deref(), bytes))
        })?;
        Ok(out.clone())
    }

    /// Go through the frames, some at a time; the next ones are decoded meanwhile, by a thread.
    ///
    /// Parameters
    /// ----------
    /// n_frames : int, optional
    ///     How many frames at a time; the last time there may be fewer. Default: as many as are decoded
    ///     together. At most two such blocks are in memory beside the one that was given last.
    /// field : str
    ///     Which of `fields`.
    ///
    /// Returns
    /// -------
    /// iterator of ndarray
    ///     (n, n_atoms, 3) for the coordinates.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     No such field, or `n_frames` is not a positive number.
    /// CorruptDataError
    ///     A checksum failed: once all frames before have been given.
    #[pyo3(signature = (n_frames=None, *, field="frames"))]
    fn iter_chunks(
        &self,
        n_frames: Option<&Bound<'_, PyAny>>,
        field: &str,
    ) -> PyResult<FrameChunks> {
        let (number, _) = self.field(field).ok_or_else(|| self.no_such_field(field))?;
        let block = match n_frames {
            Some(n_frames) => argument::count(n_frames, "n_frames", 1)?,
            None => self.source.entry.chunk_frames(number).max(1),
        };
        FrameChunks::new(self.source.clone(), number, block)
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (field, _) = self.coordinates()?;
        if let Ok(index) = index.cast::<PyTuple>() {
            // t[frames, atoms]
            if index.len() == 2 && index.get_item(0)?.is_instance_of::<PySlice>() {
                let frames = self.sliced(index.get_item(0)?.cast::<PySlice>()?)?;
                let atoms = self.atoms(&self.source.entry.fields()[field], &index.get_item(1)?)?;
                return self.source.frames(py, field, frames, Some(&atoms));
            }
            return Err(argument::wrong_type(index, "index", "an int, a slice, or (slice, atoms)"));
        }
        if let Ok(slice) = index.cast::<PySlice>() {
            return self.source.frames(py, field, self.sliced(slice)?, None);
        }
        let n_frames = self.source.entry.n_frames() as i64;
        let number = argument::integer(index, "index", "an int or a slice")?;
        let frame = if number < 0 { number + n_frames } else { number };
        if !(0..n_frames).contains(&frame) {
            return Err(PyIndexError::new_err(format!(
                "frame {number} of a trajectory of {n_frames} frames"
            )));
        }
        let one = self.source.frames(py, field, Frames::range(frame as u64, 1), None)?;
        one.get_item(0)
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (field, _) = self.coordinates()?;
        let view =
            if copy == Some(true) { None } else { self.source.frames_in_place(py, field)? };
        let frames = match view {
            Some(view) => view,
            None if copy == Some(false) => {
                return Err(PyValueError::new_err(
                    "copy=False: a compressed trajectory has to be decoded into a new array",
                ));
            }
            None => {
                let all = Frames::range(0, self.source.entry.n_frames());
                self.source.frames(py, field, all, None)?
            }
        };
        match dtype {
            None => Ok(frames),
            Some(dtype) => {
                let options = PyDict::new(py);
                options.set_item("copy", false)?;
                frames.call_method("astype", (dtype,), Some(&options))
            }
        }
    }

    /// Frames in place, or None where they are coded or in pieces.
    ///
    /// The array is writable: what is written to it is seen by later calls of this object, and
    /// never by the file.
    #[pyo3(signature = (start, stop, field="frames"))]
    fn _frames_in_place<'py>(
        &self,
        py: Python<'py>,
        start: u64,
        stop: u64,
        field: &str,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (number, spec) = self.field(field).ok_or_else(|| self.no_such_field(field))?;
        let frames = Frames::range(start, stop.saturating_sub(start));
        let found = self.source.read(py, |entry| {
            let range = entry.frames_in_place(number, frames.start, frames.count)?;
            if range.is_some() && self.private.get().is_none() {
                // What can't be mapped (more than memory, say) is copied like what is coded. Another
                // thread may have been faster: then its map is the one that stays.
                let _ = self.private.set(entry.private_map().unwrap_or(None).map(Arc::new));
            }
            Ok(range)
        })?;
        let (Some(range), Some(Some(map))) = (found, self.private.get()) else { return Ok(None) };
        let shape = self.source.frames_shape(number, frames, None);
        array::private_view(map, range, &array::dtype(py, spec.dtype.descr())?, &shape).map(Some)
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) {
        // The mapping goes with the last reference; arrays that are views of it keep it.
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let open = py.import("proteinflex_optimization.data_handler")?.getattr("reopen")?;
        let entry = &self.source.entry;
        let arguments = (self.source.cache.directory(), entry.key().as_str(), entry.content_id());
        (open, arguments).into_pyobject(py)
    }

    fn __repr__(&self) -> PyResult<String> {
        let entry = &self.source.entry;
        let (n_frames, n_atoms) = (entry.n_frames(), self.n_atoms()?);
        let (raw, stored) = (entry.raw_bytes() as f64, entry.stored_bytes() as f64);
        let saved = if raw == 0.0 { 0.0 } else { 100.0 * (1.0 - stored / raw) };
        Ok(format!("<Trajectory {n_frames} frames × {n_atoms} atoms, {saved:.0} % saved>"))
    }
}

impl Trajectory {
    fn frames(
        &self,
        py: Python<'_>,
        start: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, PyAny>>,
        step: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Frames> {
        let slice = py.get_type::<PySlice>().call1((start, stop, step))?;
        let named = |name: &str, value: Option<&Bound<'_, PyAny>>| match value {
            Some(value) => argument::integer(value, name, "an int or None").map(drop),
            None => Ok(()),
        };
        named("start", start)?;
        named("stop", stop)?;
        named("step", step)?;
        self.sliced(slice.cast::<PySlice>()?)
    }

    fn sliced(&self, slice: &Bound<'_, PySlice>) -> PyResult<Frames> {
        let indices = slice.indices(self.source.entry.n_frames() as isize)?;
        Ok(Frames {
            start: indices.start.max(0) as u64,
            count: indices.slicelength as u64,
            step: indices.step as i64,
        })
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Trajectory>()
}
