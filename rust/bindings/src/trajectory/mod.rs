//! `Trajectory`: a stored trajectory of which only what is asked for is read.

mod chunks;
mod object;
mod selection;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use proteinflex_core::cache::{EntryInfo, OpenEntry, Verification};
use proteinflex_core::fs::PrivateMap;
use proteinflex_core::trajectory::{EntryKind, FieldSpec, Frames};
use proteinflex_core::{Error, checksum, interrupt};
use proteinflex_macros::catch_panics;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PySlice, PyTuple};

use crate::argument::{self, DEFAULT, Optional};
use crate::array;
use crate::data_handler::{DataHandler, report};
use crate::entry::EntryReader;
use crate::error::to_python;
use crate::fields::FRAMES;
use crate::hooks::hook;
use crate::path::PathObject;
use crate::value;
use chunks::FrameChunks;
use object::PythonSource;

/// A stored trajectory, of which only what is asked for is read.
///
/// It behaves like an array of shape (n_frames, n_atoms, 3): ``len(t)``, ``t[5]``, ``t[10:100:3]``,
/// ``t[::-1]``, ``t[[1, 3]]``, ``t[mask]``, ``t[..., :10, 0]``. Any thread may read. It pickles as
/// the directory and the key, as the path of its file, or as its URL. One of a cache stays readable
/// when its entry is evicted or replaced.
///
/// Made by `DataHandler.open` and `open_trajectory`.
///
/// Parameters
/// ----------
/// source : DataHandler, path or object
///     The cache, the file of a trajectory, or what reads ranges of an object that is one.
/// key : str, optional
///     In a cache: the key of a trajectory, the beginning of its key, or its ``data_id``.
#[pyclass(subclass, frozen, module = "proteinflex_optimization._native")]
pub struct Trajectory {
    reader: EntryReader,
    /// What reads the object that it is, where it is one.
    object: Option<Py<PyAny>>,
    /// Its file, copy on write, from the first time that frames are wanted in place.
    private: OnceLock<Option<Arc<PrivateMap>>>,
}

impl Trajectory {
    fn field(&self, name: &str) -> PyResult<(usize, &FieldSpec)> {
        let fields = self.reader.entry.fields();
        let number = FieldSpec::find(fields, name).map_err(to_python)?;
        Ok((number, &fields[number]))
    }

    fn coordinates(&self) -> PyResult<(usize, &FieldSpec)> {
        self.field(FRAMES)
    }
}

fn stored_trajectory(
    py: Python<'_>,
    handler: &DataHandler,
    key: &Bound<'_, PyAny>,
) -> PyResult<EntryReader> {
    let reader = handler.held_reader(py, key)?;
    if reader.entry.header().kind == EntryKind::Trajectory {
        return Ok(reader);
    }
    Err(argument::wrong_value(key, "key", "the key of a trajectory; load_data gives a structure"))
}

#[catch_panics]
#[pymethods]
impl Trajectory {
    #[new]
    #[pyo3(signature = (source, key=None))]
    fn new(
        py: Python<'_>,
        source: &Bound<'_, PyAny>,
        key: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (reader, object) = match (source.cast::<DataHandler>(), key) {
            (Ok(handler), Some(key)) => (stored_trajectory(py, handler.get(), key)?, None),
            (Err(_), None) if source.hasattr(object::METHOD)? => {
                let object = Arc::new(PythonSource::new(source)?);
                let open = || OpenEntry::of_trajectory_object(object);
                (EntryReader::open(py, open)?, Some(source.clone().unbind()))
            }
            (Err(_), None) => {
                let path = argument::path(source, "source")?;
                (EntryReader::open(py, || OpenEntry::of_trajectory_file(&path))?, None)
            }
            (Ok(_), None) => {
                return Err(argument::wrong_type(&py.None().into_bound(py), "key", "a str"));
            }
            (Err(_), Some(_)) => {
                return Err(argument::wrong_type(source, "source", "a DataHandler"));
            }
        };
        Ok(Self { reader, object, private: OnceLock::new() })
    }

    fn __len__(&self) -> usize {
        self.reader.entry.n_frames() as usize
    }

    /// (n_frames, n_atoms, 3).
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let (field, _) = self.coordinates()?;
        let all = Frames::range(0, self.reader.entry.n_frames());
        PyTuple::new(py, self.reader.frames_shape(field, all, None))
    }

    /// The number of frames.
    #[getter]
    fn n_frames(&self) -> u64 {
        self.reader.entry.n_frames()
    }

    /// The number of atoms.
    #[getter]
    fn n_atoms(&self) -> PyResult<u64> {
        Ok(self.coordinates()?.1.rows())
    }

    /// The dtype of the coordinates.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let spec = self.coordinates()?.1;
        Ok(self.reader.dtype(py, &spec.name, &spec.dtype)?.into_any())
    }

    /// The times of the frames, or None where none were stored: an array of n_frames numbers, of the
    /// dtype and in the unit that they were stored with (ps, where an integration stores them).
    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let field = self.reader.entry.fields().iter().position(|field| field.name == "time");
        field.map(|field| self.reader.decoded(py, field)).transpose()
    }

    /// The metadata it was stored with.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let entry = &self.reader.entry;
        value::metadata(py, &entry.header().metadata, entry.path())
    }

    /// The names of the per-frame fields.
    #[getter]
    fn fields(&self) -> Vec<String> {
        self.reader.entry.fields().iter().map(|field| field.name.clone()).collect()
    }

    /// The key it is stored under, or would be in a cache.
    #[getter]
    fn key(&self) -> String {
        self.reader.entry.key().to_string()
    }

    /// The name it was stored by.
    #[getter]
    fn data_id(&self) -> String {
        self.reader.entry.header().data_id.clone()
    }

    /// The directory of its cache; None where it was opened by its file.
    #[getter]
    fn cache_dir(&self) -> Option<PathObject<&Path>> {
        self.reader.cache.as_ref().map(|cache| PathObject(cache.directory()))
    }

    /// Its file, which `open_trajectory` opens, where it was when it was opened. None where it is
    /// an object elsewhere.
    #[getter]
    fn path(&self) -> Option<PathObject<&Path>> {
        self.object.is_none().then(|| PathObject(self.reader.entry.path()))
    }

    /// The URL of the object that it is, without credentials; None where it is a file.
    #[getter]
    fn url(&self) -> Option<String> {
        self.object.is_some().then(|| self.reader.entry.path().to_string_lossy().into_owned())
    }

    /// Text that differs where the content does. Equal content has equal ids where it was coded
    /// alike, whatever its name and metadata: of ``enable_compression=False`` it is another one.
    #[getter]
    fn content_id(&self) -> String {
        self.reader.entry.content_id().to_owned()
    }

    /// Text that differs where `content_id` or the metadata do.
    fn _version(&self) -> String {
        let entry = &self.reader.entry;
        format!("{}-{:016x}", entry.content_id(), checksum(&entry.header().metadata))
    }

    /// Bytes of all fields, uncompressed.
    #[getter]
    fn raw_bytes(&self) -> u64 {
        self.reader.entry.raw_bytes()
    }

    /// Bytes of the file.
    #[getter]
    fn stored_bytes(&self) -> u64 {
        self.reader.entry.stored_bytes()
    }

    /// How much smaller the file is than its data, as in `DataHandler.info`.
    #[getter]
    fn _saved_percent(&self) -> f64 {
        self.reader.entry.saved_percent()
    }

    /// How many frames are decoded together.
    #[getter]
    fn chunk_frames(&self) -> PyResult<u64> {
        Ok(self.reader.entry.chunk_frames(self.coordinates()?.0).max(1))
    }

    /// Read frames of some or all atoms.
    ///
    /// Parameters
    /// ----------
    /// start, stop, step : int, optional
    ///     Which frames, as in a slice; a negative step reads backwards.
    /// atoms : optional
    ///     Which atoms, of a field that has an item for each: indices, a mask or a slice. Default:
    ///     all.
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
    ///     No such field or atom, `atoms` of a field without, or `out` does not fit.
    /// CorruptDataError
    ///     A checksum failed; the message names file and chunk.
    #[pyo3(signature = (start=None, stop=None, step=None, atoms=None, field=DEFAULT, out=None),
           text_signature = "($self, start=None, stop=None, step=None, atoms=None, \
                             field='frames', out=None)")]
    #[expect(clippy::too_many_arguments, reason = "the documented method")]
    fn read<'py>(
        &self,
        py: Python<'py>,
        start: Option<&Bound<'py, PyAny>>,
        stop: Option<&Bound<'py, PyAny>>,
        step: Option<&Bound<'py, PyAny>>,
        atoms: Option<&Bound<'py, PyAny>>,
        field: Optional<'py>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let field = field.text("field", FRAMES)?;
        let (number, spec) = self.field(&field)?;
        let frames = self.frames(py, start, stop, step)?;
        let atoms = atoms.map(|atoms| self.atoms(spec, atoms)).transpose()?;
        let Some(out) = out else {
            return self.reader.frames(py, number, frames, atoms.as_deref());
        };
        let expected = self.reader.frames_shape(number, frames, atoms.as_deref());
        let target = out
            .cast::<PyUntypedArray>()
            .map_err(|_| argument::wrong_type(out, "out", "a numpy.ndarray"))?;
        let dtype = self.reader.dtype(py, &spec.name, &spec.dtype)?;
        let fits = target.shape() == expected
            && target.dtype().eq(&dtype)?
            && target.is_c_contiguous()
            && array::is_writable(target);
        if !fits {
            return Err(to_python(Error::argument(
                "out",
                format!("shape {:?} of {}", target.shape(), target.dtype()),
                format!("a writable, C-contiguous array of shape {expected:?} and dtype {dtype}"),
            )));
        }
        array::fill(target, |bytes| {
            let (length, atoms) = (bytes.len(), atoms.as_deref());
            let read = |entry: &'_ OpenEntry| entry.read_frames(number, frames, atoms, bytes);
            self.reader.read_bytes(py, length, read)
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
    #[pyo3(signature = (n_frames=None, *, field=DEFAULT),
           text_signature = "($self, n_frames=None, *, field='frames')")]
    fn iter_chunks(
        &self,
        n_frames: Option<&Bound<'_, PyAny>>,
        field: Optional<'_>,
    ) -> PyResult<FrameChunks> {
        let field = field.text("field", FRAMES)?;
        let (number, _) = self.field(&field)?;
        let block = match n_frames {
            Some(n_frames) => argument::count(n_frames, "n_frames", 1)?,
            None => self.reader.entry.chunk_frames(number).max(1),
        };
        FrameChunks::new(self.reader.clone(), number, block)
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let (field, _) = this.coordinates()?;
        if let Ok(slice) = index.cast::<PySlice>() {
            return this.reader.frames(py, field, this.sliced(slice)?, None);
        }
        let is_number = !index.is_instance_of::<PyBool>()
            && !index.is_instance_of::<PyUntypedArray>()
            && index.hasattr("__index__")?;
        if !is_number {
            return hook(py, "select_frames")?.call1((slf, index));
        }
        let n_frames = this.reader.entry.n_frames() as i64;
        let number = argument::integer(index, "index", "an int")?;
        let frame = if number < 0 { number + n_frames } else { number };
        if !(0..n_frames).contains(&frame) {
            return Err(PyIndexError::new_err(format!(
                "frame {number} of a trajectory of {n_frames} frames"
            )));
        }
        let one = this.reader.frames(py, field, Frames::range(frame as u64, 1), None)?;
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
            if copy == Some(true) { None } else { self.reader.frames_in_place(py, field)? };
        let frames = match view {
            Some(view) => view,
            None if copy == Some(false) => {
                return Err(PyValueError::new_err(
                    "copy=False: a trajectory that is compressed, or in no cache on a local disk, has \
                     to be read into a new array",
                ));
            }
            None => self.reader.decoded(py, field)?,
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

    /// What reads the object that it is; None where it is a file.
    #[getter]
    fn _object<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.object.as_ref().map(|object| object.bind(py).clone())
    }

    /// What is known of it without reading frames, as `DataHandler.info` tells it of an entry.
    fn _info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let entry = &self.reader.entry;
        let info = EntryInfo::of(entry, entry.header().created, false);
        report::info(py, &info, entry.path())
    }

    /// The profile that it was stored with.
    fn _profile(&self) -> &'static str {
        self.reader.entry.encoding().profile.name()
    }

    /// Read all back and name what is damaged, as `DataHandler.verify`.
    fn _verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = self.reader.read_bytes(py, usize::MAX, |entry| {
            let report = entry.verify()?;
            if !report.is_whole() {
                entry.content().distrust();
            }
            interrupt::check().map(|()| report)
        })?;
        let key = *self.reader.entry.key();
        report::verification(py, &[Verification { key, result: Ok(report) }])
    }

    /// The topology as `decode_topology` takes it; None where none was stored.
    fn _topology<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let read = |entry: &OpenEntry| Ok(entry.topology()?.map(|found| found.encode()));
        Ok(self.reader.read(py, read)?.map(|bytes| PyBytes::new(py, &bytes)))
    }

    /// The arrays and values that belong to no frame, by name: no frame is read.
    fn _beside_frames<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let values = self.reader.load_beside_frames(py)?.cast_into::<PyDict>()?;
        for field in self.reader.entry.fields() {
            if values.contains(&field.name)? {
                values.del_item(&field.name)?;
            }
        }
        Ok(values)
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
        let (number, spec) = self.field(field)?;
        let frames = Frames::range(start, stop.saturating_sub(start));
        let found = self.reader.read(py, |entry| {
            let range = entry.frames_in_place(number, frames.start, frames.count)?;
            if range.is_some() && self.private.get().is_none() {
                // What can't be mapped (more than memory, say) is copied like what is coded.
                // Another thread may have been faster: then its map is the one that stays.
                let _ = self.private.set(entry.private_map().unwrap_or(None).map(Arc::new));
            }
            Ok(range)
        })?;
        let (Some(range), Some(Some(map))) = (found, self.private.get()) else { return Ok(None) };
        let shape = self.reader.frames_shape(number, frames, None);
        let dtype = self.reader.dtype(py, &spec.name, &spec.dtype)?;
        array::private_view(map, range, &dtype, &shape).map(Some)
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
        let (entry, version) = (&self.reader.entry, self._version()?);
        if let Some(object) = &self.object {
            let open = hook(py, "reopen_trajectory_object")?;
            return (open, (object, version)).into_pyobject(py);
        }
        let Some(cache) = &self.reader.cache else {
            let open = hook(py, "reopen_trajectory_file")?;
            return (open, (PathObject(entry.path()), version)).into_pyobject(py);
        };
        let open = hook(py, "reopen_trajectory")?;
        let directory = PathObject(cache.directory());
        let arguments = (directory, entry.key().as_str(), version, cache.is_read_only());
        (open, arguments).into_pyobject(py)
    }

    fn __repr__(&self) -> PyResult<String> {
        let entry = &self.reader.entry;
        let (n_frames, n_atoms) = (entry.n_frames(), self.n_atoms()?);
        let saved = entry.saved_percent();
        Ok(format!("<Trajectory {n_frames} frames × {n_atoms} atoms, {saved:.0} % saved>"))
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Before there are threads: see `array::prepare`.
    module.py().get_type::<FrameChunks>();
    module.add_function(wrap_pyfunction!(object::is_interrupted, module)?)?;
    module.add_class::<Trajectory>()
}
