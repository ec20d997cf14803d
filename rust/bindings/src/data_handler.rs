//! `DataHandler`: the cache of structures and trajectories.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpy::PyUntypedArrayMethods;
use proteinflex_core::Error;
use proteinflex_core::cache::{Cache, Key, OpenEntry, default_directory, kind_of};
use proteinflex_core::fs::{Disk, NoSyncDisk, Storage};
use proteinflex_core::trajectory::{ArraySpec, DType, Encoding, EntryKind, FieldSpec, Profile};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::argument;
use crate::data_arguments::is_miss;
use crate::data_arguments::{
    bytes_of_gigabytes, checked_id, dict_of, metadata_tree, precision_of, profile_of,
};
use crate::entry::{Source, metadata as build_metadata};
use crate::error::to_python;
use crate::fields::{FRAMES, FieldData, is_per_frame};
use crate::store::{first_axis, is_array};
use crate::trajectory_writer::TrajectoryWriter;
use crate::value::{Policy, flatten, flatten_with_fields};

/// A bounded, checksummed, memory-mapped cache of structures and trajectories.
///
/// The directory may be shared by any number of threads and processes. An entry appears whole or not
/// at all, and stays readable for whoever has it open, whatever happens to it.
///
/// Parameters
/// ----------
/// cache_dir : str or path, optional
///     The directory; made where it is missing. Default: ``$PROTEINFLEX_CACHE_DIR``, else
///     ``proteinflex`` in the user's cache directory.
/// max_cache_size : float
///     The limit in GB (10**9 bytes). It belongs to the directory: passed here it is set for all who
///     share it, left out it stays what it is (100 where nobody set it).
/// enable_compression : bool
///     Whether to compress, without loss. Without, arrays are loaded as views of the file.
/// precision : float, optional
///     The spacing of the decimal grid that ``frames``, ``velocities`` and ``forces`` may be rounded
///     to, in the data's own unit: the error is at most half of it. Default: every bit is kept.
/// profile : {'default', 'archive'}
///     Fast to read, or smallest.
/// verify : bool
///     Whether checksums are verified when data is read.
/// durable : bool
///     Whether a store returns only once a power cut can't lose it. Without, it is as safe from the end
///     of the process, and after a power cut an entry of the last seconds may be missing or damaged,
///     which is noticed when it is loaded.
///
/// Raises
/// ------
/// InvalidArgumentError
///     An argument makes no sense.
/// OSError
///     The directory can't be made or read.
#[pyclass(subclass, frozen, module = "proteinflex_optimization._native")]
pub struct DataHandler {
    pub(crate) cache: Arc<Cache>,
    encoding: Encoding,
    verify: bool,
}

#[pymethods]
impl DataHandler {
    #[new]
    #[pyo3(
        signature = (cache_dir=None, max_cache_size=None, enable_compression=true, *, precision=None,
                     profile=None, verify=true, durable=true),
        text_signature = "(cache_dir=None, max_cache_size=100.0, enable_compression=True, *, \
                          precision=None, profile='default', verify=True, durable=True)"
    )]
    #[expect(clippy::too_many_arguments, reason = "the documented arguments, and options")]
    fn new(
        py: Python<'_>,
        cache_dir: Option<&Bound<'_, PyAny>>,
        max_cache_size: Option<&Bound<'_, PyAny>>,
        enable_compression: bool,
        precision: Option<&Bound<'_, PyAny>>,
        profile: Option<&Bound<'_, PyAny>>,
        verify: bool,
        durable: bool,
    ) -> PyResult<Self> {
        let directory = match cache_dir {
            Some(directory) => argument::path(directory, "cache_dir")?,
            None => default_directory().map_err(to_python)?,
        };
        let max_bytes = max_cache_size.map(bytes_of_gigabytes).transpose()?;
        let encoding = Encoding {
            compress: enable_compression,
            precision: precision.map(precision_of).transpose()?,
            profile: profile.map_or(Ok(Profile::Default), profile_of)?,
        };
        let storage: Arc<dyn Storage> = if durable { Arc::new(Disk) } else { Arc::new(NoSyncDisk) };
        let cache = py.detach(|| Cache::open(storage, &directory, max_bytes)).map_err(to_python)?;
        Ok(Self { cache: Arc::new(cache), encoding, verify })
    }

    /// Store a structure; an older one of the same id is replaced.
    ///
    /// Parameters
    /// ----------
    /// structure_data : dict
    ///     Names and arrays (any dtype but object), torch tensors (which come back as arrays), numbers,
    ///     text, bytes, None, and lists, tuples or dicts of these.
    /// data_id : str
    ///     The name of the structure.
    /// metadata : dict, optional
    ///     Plain values that can be read without the data.
    ///
    /// Returns
    /// -------
    /// str
    ///     The key for `load_data`. It follows from the id, so a later run finds what this one stored.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     A value can't be stored; the message says where it is. Nothing was written.
    /// CacheFullError
    ///     It does not fit below the limit. Nothing was removed.
    #[pyo3(signature = (structure_data, data_id, metadata=None))]
    fn store_structure(
        &self,
        py: Python<'_>,
        structure_data: &Bound<'_, PyAny>,
        data_id: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        let id = checked_id(data_id)?;
        let metadata = metadata_tree(py, metadata)?;
        let data = dict_of(structure_data, "structure_data")?;
        let flattened = flatten(data.as_any(), "structure_data", Policy::Cache)?;
        let encoding = Encoding { precision: None, ..self.encoding };
        self.store(py, EntryKind::Structure, &id, metadata, encoding, &[], &flattened)
    }

    /// Store a trajectory; an older one of the same id is replaced.
    ///
    /// Parameters
    /// ----------
    /// trajectory_data : dict
    ///     ``frames``: (n_frames, n_atoms, 3) float32 or float64, or an iterable of frames or blocks of
    ///     them, which is never held in memory whole. Any further array whose first axis is n_frames is
    ///     per-frame data (``time``, ``box``, ``velocities``, ``energy``, …); anything else is stored
    ///     as in `store_structure`.
    /// data_id : str
    ///     The name of the trajectory.
    /// metadata : dict, optional
    ///     Plain values that can be read without the data.
    /// precision, profile
    ///     As for the constructor, for this trajectory.
    ///
    /// Returns
    /// -------
    /// str
    ///     The key for `load_data` and `open`.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     A field has a wrong shape, length or type; the message names it. Nothing was written.
    /// CacheFullError
    ///     It does not fit below the limit. Nothing was removed.
    #[pyo3(signature = (trajectory_data, data_id, metadata=None, *, precision=None, profile=None))]
    fn store_trajectory(
        &self,
        py: Python<'_>,
        trajectory_data: &Bound<'_, PyAny>,
        data_id: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        precision: Option<&Bound<'_, PyAny>>,
        profile: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        let id = checked_id(data_id)?;
        let encoding = self.encoding_with(precision, profile)?;
        let metadata = metadata_tree(py, metadata)?;
        let data = dict_of(trajectory_data, "trajectory_data")?;
        let name = |field: &str| format!("trajectory_data['{field}']");
        let Some(frames) = data.get_item(FRAMES)? else {
            return Err(to_python(Error::argument(
                "trajectory_data",
                argument::shown(data.keys().as_any()),
                "a dict with the key 'frames'",
            )));
        };
        if !is_array(&frames)? {
            return self.store_stream(py, &data, &frames, &id, metadata, encoding);
        }
        let coordinates = FieldData::new(FRAMES, &frames)?;
        coordinates.check_frames(&name(FRAMES))?;
        let shape = coordinates.array.shape().to_vec();
        let n_frames = coordinates.n_frames();
        let mut coordinates = Some(coordinates);
        let mut fields = Vec::new();
        let mut in_tree = Vec::new();
        for (key, value) in data.iter() {
            let Ok(key) = key.cast::<PyString>() else { continue };
            let key = key.to_str()?;
            let is_known = is_per_frame(key) && !value.is_none();
            if key == FRAMES {
                if let Some(field) = coordinates.take() {
                    in_tree.push(field.in_tree(value.clone(), n_frames)?);
                    fields.push(field);
                }
            } else if is_known || first_axis(&value)? == Some(n_frames) {
                let field = FieldData::new(key, &value)?;
                if is_known {
                    field.check_beside(&name(key), &shape)?;
                }
                if is_array(&value)? {
                    in_tree.push(field.in_tree(value.clone(), n_frames)?);
                    fields.push(field);
                }
            }
        }
        let flattened =
            flatten_with_fields(data.as_any(), "trajectory_data", Policy::Cache, &in_tree)?;
        self.store(py, EntryKind::Trajectory, &id, metadata, encoding, &fields, &flattened)
    }

    /// Load what was stored under a key.
    ///
    /// Parameters
    /// ----------
    /// cache_key : str
    ///     From `store_structure`, `store_trajectory` or `key_for`.
    ///
    /// Returns
    /// -------
    /// dict
    ///     Equal to what was stored: same names, dtypes, shapes and values. Arrays that were stored
    ///     uncompressed are read-only views of the mapped file; others are decoded on all cores.
    ///
    /// Raises
    /// ------
    /// CacheKeyError
    ///     Nothing is stored under this key (a `KeyError`).
    /// CorruptDataError
    ///     A checksum failed; the message names file and part. The entry is set aside.
    fn load_data<'py>(
        &self,
        py: Python<'py>,
        cache_key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let key = argument::text(cache_key, "cache_key")?;
        self.source_of(py, &key)?.load(py)
    }

    /// Write a trajectory frame by frame.
    ///
    /// What was flushed survives any crash; it becomes visible under its key when the writer is closed,
    /// which leaving its `with` block without an error does.
    ///
    /// Parameters
    /// ----------
    /// data_id, metadata, precision, profile
    ///     As in `store_trajectory`.
    /// resume : bool
    ///     Whether to go on with a trajectory of this id that was left unfinished, from its last
    ///     durable frame. Its metadata and precision stay what they were.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     Somebody else is writing this trajectory, or an argument makes no sense.
    #[pyo3(signature = (data_id, metadata=None, *, precision=None, profile=None, resume=false))]
    fn trajectory_writer(
        &self,
        py: Python<'_>,
        data_id: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        precision: Option<&Bound<'_, PyAny>>,
        profile: Option<&Bound<'_, PyAny>>,
        resume: bool,
    ) -> PyResult<TrajectoryWriter> {
        let id = checked_id(data_id)?;
        let encoding = self.encoding_with(precision, profile)?;
        let metadata = metadata_tree(py, metadata)?;
        let live = py
            .detach(|| self.cache.begin_trajectory(&id, metadata, encoding, resume))
            .map_err(to_python)?;
        Ok(TrajectoryWriter::new(Arc::clone(&self.cache), live))
    }

    /// The key of what is, or would be, stored under an id.
    #[pyo3(signature = (data_id, kind="trajectory"))]
    fn key_for(&self, data_id: &Bound<'_, PyAny>, kind: &str) -> PyResult<String> {
        let kind = kind_of(kind).map_err(to_python)?;
        Ok(Key::of(kind, &checked_id(data_id)?).to_string())
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> bool {
        key.extract::<String>().is_ok_and(|key| py.detach(|| self.cache.contains(&key)))
    }

    /// The keys of all entries of a kind ('structure', 'trajectory' or None for both), those used last
    /// first.
    #[pyo3(signature = (kind=None))]
    fn keys(&self, py: Python<'_>, kind: Option<&str>) -> PyResult<Vec<String>> {
        let kind = kind.map(kind_of).transpose().map_err(to_python)?;
        let keys = py.detach(|| self.cache.keys(kind)).map_err(to_python)?;
        Ok(keys.iter().map(Key::to_string).collect())
    }

    /// What is known of an entry without reading its data.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``data_id``, ``kind``, ``created`` and ``last_used`` (seconds since 1970), ``raw_bytes``,
    ///     ``stored_bytes``, ``saved_percent``, ``metadata``, ``arrays`` (name, dtype and shape of
    ///     each), ``pinned``.
    fn info<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let key = argument::text(key, "key")?;
        let info = py.detach(|| self.cache.info(&key)).map_err(to_python)?;
        let arrays = PyList::empty(py);
        let describe = |name: &str, dtype: &DType, shape: Vec<u64>| -> PyResult<()> {
            let array = PyDict::new(py);
            array.set_item("name", name)?;
            array.set_item("dtype", dtype.descr())?;
            array.set_item("shape", pyo3::types::PyTuple::new(py, shape)?)?;
            arrays.append(array)
        };
        for FieldSpec { name, dtype, item_shape } in &info.fields {
            let shape = std::iter::once(info.n_frames).chain(item_shape.iter().copied());
            describe(name, dtype, shape.collect())?;
        }
        for ArraySpec { name, dtype, shape, .. } in &info.arrays {
            describe(name, dtype, shape.clone())?;
        }
        let result = PyDict::new(py);
        result.set_item("key", &key)?;
        result.set_item("data_id", &info.data_id)?;
        result.set_item("kind", info.kind.name())?;
        result.set_item("created", info.created)?;
        result.set_item("last_used", info.last_used)?;
        result.set_item("raw_bytes", info.raw_bytes)?;
        result.set_item("stored_bytes", info.stored_bytes)?;
        result.set_item("saved_percent", saved_percent(info.raw_bytes, info.stored_bytes))?;
        result.set_item("metadata", build_metadata(py, &info.metadata, self.cache.directory())?)?;
        result.set_item("arrays", arrays)?;
        result.set_item("pinned", info.pinned)?;
        Ok(result)
    }

    /// Remove an entry. Whoever has it open reads on.
    fn remove(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let key = argument::text(key, "key")?;
        py.detach(|| self.cache.remove(&key)).map_err(to_python)
    }

    /// Keep an entry from being evicted.
    fn pin(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let key = argument::text(key, "key")?;
        py.detach(|| self.cache.pin(&key)).map_err(to_python)
    }

    /// Let an entry be evicted again.
    fn unpin(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let key = argument::text(key, "key")?;
        py.detach(|| self.cache.unpin(&key)).map_err(to_python)
    }

    /// Remove litter: what dead writers left, entries that were set aside, trajectories that nobody
    /// resumed for 30 days. Gives how many of each.
    fn cleanup<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let done = py.detach(|| self.cache.cleanup()).map_err(to_python)?;
        let result = PyDict::new(py);
        result.set_item("temporary", done.temporary)?;
        result.set_item("set_aside", done.quarantined)?;
        result.set_item("unfinished", done.unfinished)?;
        result.set_item("pins", done.pins)?;
        Ok(result)
    }

    /// Remove all entries, pinned ones too. Gives how many there were.
    fn clear(&self, py: Python<'_>) -> PyResult<usize> {
        py.detach(|| self.cache.clear()).map_err(to_python)
    }

    /// Evict the entries that were used least recently until at most `max_size` GB are left. Gives how
    /// many were evicted.
    fn prune(&self, py: Python<'_>, max_size: &Bound<'_, PyAny>) -> PyResult<usize> {
        let expected = "a number of GB, 0 or more";
        let size = argument::number(max_size, "max_size", expected)?;
        if !(0.0..1e12).contains(&size) {
            return Err(to_python(Error::argument("max_size", size, expected)));
        }
        py.detach(|| self.cache.prune((size * 1e9) as u64)).map_err(to_python)
    }

    /// Read back one entry, or all. Damaged ones are set aside.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``checked``: how many entries were read; ``ok``: whether all were whole; ``damaged``: for
    ///     each that was not, its ``key`` and ``reason``.
    #[pyo3(signature = (key=None))]
    fn verify<'py>(
        &self,
        py: Python<'py>,
        key: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let key = key.map(|key| argument::text(key, "key")).transpose()?;
        let found = py.detach(|| self.cache.verify(key.as_deref())).map_err(to_python)?;
        let damaged = PyList::empty(py);
        for one in &found {
            let reason = match &one.result {
                Err(error) => error.to_string(),
                Ok(report) if report.is_whole() => continue,
                Ok(report) => {
                    let reasons = report.damaged.iter().map(|chunk| chunk.error.to_string());
                    reasons.collect::<Vec<_>>().join("; ")
                }
            };
            let entry = PyDict::new(py);
            entry.set_item("key", one.key.as_str())?;
            entry.set_item("reason", reason)?;
            damaged.append(entry)?;
        }
        let result = PyDict::new(py);
        result.set_item("checked", found.len())?;
        result.set_item("ok", damaged.is_empty())?;
        result.set_item("damaged", damaged)?;
        Ok(result)
    }

    /// Load an entry, or compute and store it where there is none.
    ///
    /// Where several processes ask for the same entry at once, one computes and the others wait. An
    /// error of `function` is raised here and nothing is stored; the next who asks tries again. A
    /// damaged entry is computed again.
    ///
    /// Parameters
    /// ----------
    /// data_id : str
    ///     The name of the entry.
    /// function : callable
    ///     Gives the data to store: a dict, as for `store_structure` or `store_trajectory`.
    /// kind : {'structure', 'trajectory'}
    ///     How it is stored.
    /// metadata : dict, optional
    ///     As for `store_structure`.
    /// timeout : float, optional
    ///     The most seconds to wait for another process; then `TimeoutError`.
    ///
    /// Returns
    /// -------
    /// dict
    ///     As `load_data` gives it.
    #[pyo3(signature = (data_id, function, *, kind="structure", metadata=None, timeout=None))]
    fn get_or_compute<'py>(
        slf: &Bound<'py, Self>,
        data_id: &Bound<'py, PyAny>,
        function: &Bound<'py, PyAny>,
        kind: &str,
        metadata: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        const PAUSE: Duration = Duration::from_millis(20);
        let py = slf.py();
        let this = slf.get();
        let kind = kind_of(kind).map_err(to_python)?;
        let key = Key::of(kind, &checked_id(data_id)?);
        if !function.is_callable() {
            return Err(argument::wrong_type(function, "function", "a callable"));
        }
        let started = Instant::now();
        let _claim = loop {
            if this.cache.contains(key.as_str()) {
                match this.source_of(py, key.as_str()).and_then(|source| source.load(py)) {
                    // Damaged, and so set aside, or evicted since the look.
                    Err(error) if is_miss(py, &error)? => {}
                    found => return found,
                }
            }
            if let Some(claim) = py.detach(|| this.cache.try_claim(&key)).map_err(to_python)? {
                break claim;
            }
            if timeout.is_some_and(|timeout| started.elapsed().as_secs_f64() > timeout) {
                return Err(pyo3::exceptions::PyTimeoutError::new_err(format!(
                    "another process has been computing {} for more than {} s",
                    argument::shown(data_id),
                    timeout.unwrap_or_default()
                )));
            }
            py.detach(|| std::thread::sleep(PAUSE));
            py.check_signals()?;
        };
        if !this.cache.contains(key.as_str()) {
            let data = function.call0()?;
            let method = match kind {
                EntryKind::Structure => "store_structure",
                EntryKind::Trajectory => "store_trajectory",
            };
            slf.call_method1(method, (data, data_id, metadata))?;
        }
        this.source_of(py, key.as_str())?.load(py)
    }

    /// How full the cache is, and how it has been used.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``usage_percent``, ``used_bytes`` and ``max_bytes``; ``entries``, ``structures``,
    ///     ``trajectories`` and ``unfinished``; ``raw_bytes`` and ``saved_percent``; ``pinned_bytes``;
    ///     ``set_aside``; ``hits``, ``misses``, ``evictions`` and ``corrupt``, which count what this
    ///     object has seen; ``cache_dir``; ``memory``: ``resident_bytes`` and ``mapped_bytes`` of this
    ///     process.
    fn get_cache_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.cache.stats()).map_err(to_python)?;
        let result = PyDict::new(py);
        let usage = 100.0 * stats.used_bytes as f64 / stats.max_bytes.max(1) as f64;
        result.set_item("usage_percent", usage)?;
        result.set_item("used_bytes", stats.used_bytes)?;
        result.set_item("max_bytes", stats.max_bytes)?;
        result.set_item("entries", stats.structures + stats.trajectories)?;
        result.set_item("structures", stats.structures)?;
        result.set_item("trajectories", stats.trajectories)?;
        result.set_item("unfinished", stats.unfinished)?;
        result.set_item("raw_bytes", stats.raw_bytes)?;
        result.set_item("saved_percent", saved_percent(stats.raw_bytes, stats.stored_bytes))?;
        result.set_item("pinned_bytes", stats.pinned_bytes)?;
        result.set_item("set_aside", stats.quarantined)?;
        result.set_item("hits", stats.hits)?;
        result.set_item("misses", stats.misses)?;
        result.set_item("evictions", stats.evictions)?;
        result.set_item("corrupt", stats.corrupt)?;
        result.set_item("cache_dir", self.cache.directory().as_os_str())?;
        let memory = PyDict::new(py);
        memory.set_item("resident_bytes", proteinflex_core::memory::resident_bytes())?;
        memory.set_item("mapped_bytes", proteinflex_core::memory::mapped_bytes())?;
        result.set_item("memory", memory)?;
        Ok(result)
    }

    /// The directory.
    #[getter]
    fn cache_dir(&self) -> PathBuf {
        self.cache.directory().to_owned()
    }

    fn __repr__(&self) -> String {
        format!("<DataHandler {}>", self.cache.directory().display())
    }
}

impl DataHandler {
    /// Opens an entry, to be read now and then.
    pub fn held_source(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Source> {
        let key = argument::text(key, "cache_key")?;
        let entry = py.detach(|| self.cache.hold(&key)).map_err(to_python)?;
        Ok(self.source(entry))
    }

    /// Opens an entry, to be read at once.
    fn source_of(&self, py: Python<'_>, key: &str) -> PyResult<Source> {
        let entry = py.detach(|| self.cache.load(key)).map_err(to_python)?;
        Ok(self.source(entry))
    }

    fn source(&self, entry: OpenEntry) -> Source {
        if !self.verify {
            entry.skip_checksums();
        }
        Source { cache: Arc::clone(&self.cache), entry: Arc::new(entry) }
    }

    fn encoding_with(
        &self,
        precision: Option<&Bound<'_, PyAny>>,
        profile: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Encoding> {
        let mut encoding = self.encoding;
        if let Some(precision) = precision {
            encoding.precision = Some(precision_of(precision)?);
        }
        if let Some(profile) = profile {
            encoding.profile = profile_of(profile)?;
        }
        Ok(encoding)
    }
}

fn saved_percent(raw: u64, stored: u64) -> f64 {
    if raw == 0 { 0.0 } else { 100.0 * (1.0 - stored as f64 / raw as f64) }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<DataHandler>()
}
