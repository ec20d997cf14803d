//! `DataHandler`: the cache of structures and trajectories. Its methods that store and remove are in
//! `storing` and `upkeep`.

mod arguments;
mod claims;
mod compute;
mod importing;
pub mod report;
mod store;
mod storing;
mod upkeep;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proteinflex_core::cache::{Cache, Key, OpenEntry, default_directory, kind_of};
use proteinflex_core::error::printable_path;
use proteinflex_core::fs::{Disk, NoSyncDisk, Storage};
use proteinflex_core::trajectory::{Encoding, Precision, Profile};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyTuple};

use crate::argument::{self, DEFAULT, Optional};
use crate::entry::EntryReader;
use crate::error::to_python;
use crate::interrupt::interruptible;
use crate::late::Late;
use crate::path::PathObject;
use arguments::{by_field, bytes_of_gigabytes};
pub use arguments::{checked_id, precision_of, profile_of};

/// A bounded, compressed, checksummed cache of structures and trajectories.
///
/// The directory may be shared by any number of threads and processes. An entry appears whole or
/// not at all, and an open one stays readable after it is removed, evicted or replaced.
///
/// Wherever a key is taken, the ``data_id`` of the entry will do, if only one entry can be meant; and so
/// will the beginning of its key, of six digits at least, but for `remove`, `remove_unfinished` and
/// ``in``.
/// ``len(handler)``, ``key in handler``, ``for key in handler`` and ``handler[key]``, which is
/// `load_data`, work as for a dict.
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
/// precision : float or dict, optional
///     The spacing of the decimal grid that coordinates may be rounded to, in their own unit (Å, where
///     an integration stores them): the error is at most half of it. All other fields keep every bit.
///     A dict tells it by field, ``{'frames': 0.001, 'velocities': 0.01, 'forces': 1.0}``, each in the
///     unit of its field (Å, Å/ps, kJ/mol/nm); a field that is not named keeps every bit, and ``{}``
///     means that all do. Big-endian fields have none. Default: every bit is kept.
/// profile : {'default', 'archive'}
///     Fast to read, or smallest.
/// verify : bool
///     Whether checksums are verified when data is read.
/// durable : bool
///     Whether a store returns only once a power cut can't lose it. Without, it is as safe from the end
///     of the process, and after a power cut an entry of the last seconds may be missing or damaged,
///     which is noticed when it is loaded.
/// read_only : bool
///     Whether to open the directory to look at it: nothing is made, locked or changed there, loading
///     is no use of an entry, and a change is an `InvalidArgumentError`. There has to be a cache.
///
/// Raises
/// ------
/// InvalidArgumentError
///     An argument makes no sense.
/// ProteinFlexError
///     With `read_only`: no cache is there.
/// OSError
///     The directory can't be made or read.
#[pyclass(subclass, frozen, module = "proteinflex_optimization._native")]
pub struct DataHandler(Late<Opened>);

impl Deref for DataHandler {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.0
    }
}

/// What `__init__` makes.
pub struct Opened {
    cache: Arc<Cache>,
    encoding: Encoding,
    verify: bool,
    durable: bool,
    read_only: bool,
}

#[catch_panics]
#[pymethods]
impl DataHandler {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs),
           text_signature = "(cache_dir=None, max_cache_size=100.0, enable_compression=True, *, \
                          precision=None, profile='default', verify=True, durable=True, \
                          read_only=False)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self(Late::new())
    }

    #[pyo3(
        signature = (cache_dir=None, max_cache_size=None, enable_compression=DEFAULT, *,
                     precision=None, profile=DEFAULT, verify=DEFAULT, durable=DEFAULT,
                     read_only=DEFAULT)
    )]
    #[expect(clippy::too_many_arguments, reason = "the documented arguments, and options")]
    fn __init__(
        &self,
        py: Python<'_>,
        cache_dir: Option<&Bound<'_, PyAny>>,
        max_cache_size: Option<&Bound<'_, PyAny>>,
        enable_compression: Optional<'_>,
        precision: Option<&Bound<'_, PyAny>>,
        profile: Optional<'_>,
        verify: Optional<'_>,
        durable: Optional<'_>,
        read_only: Optional<'_>,
    ) -> PyResult<()> {
        let verify = verify.flag("verify", true)?;
        let durable = durable.flag("durable", true)?;
        let read_only = read_only.flag("read_only", false)?;
        let directory = match cache_dir {
            Some(directory) => argument::path(directory, "cache_dir")?,
            None => default_directory().map_err(to_python)?,
        };
        let max_bytes = max_cache_size.map(bytes_of_gigabytes).transpose()?;
        if read_only && let Some(size) = max_cache_size {
            let expected = "none with read_only=True: the limit belongs to the directory";
            return Err(argument::wrong_value(size, "max_cache_size", expected));
        }
        let encoding = Encoding {
            compress: enable_compression.flag("enable_compression", true)?,
            precision: precision.map_or(Ok(Precision::EXACT), precision_of)?,
            profile: profile.passed().map_or(Ok(Profile::Default), profile_of)?,
        };
        let storage: Arc<dyn Storage> = if durable { Arc::new(Disk) } else { Arc::new(NoSyncDisk) };
        let open = || match read_only {
            true => Cache::open_read_only(storage, &directory),
            false => Cache::open(storage, &directory, max_bytes),
        };
        let cache = interruptible(py, open)?;
        self.0.fill(Opened { cache: Arc::new(cache), encoding, verify, durable, read_only })
    }

    /// Load what was stored under a key.
    ///
    /// Parameters
    /// ----------
    /// cache_key : str
    ///     From `store_structure`, `store_trajectory` or `key_for`; the ``data_id``, or the beginning
    ///     of a key of six digits at least, where only one entry can be meant.
    ///
    /// Returns
    /// -------
    /// dict
    ///     Equal to what was stored: same names, dtypes, shapes and values. Arrays that were stored
    ///     uncompressed are read-only views of the mapped file, on a local file system; others are
    ///     read, checked and decoded on all cores. A view shows what is in the file: should another
    ///     program write to that, it changes, and should one cut the file, access to the missing
    ///     part ends the process. `numpy.array(view)` is a copy without that risk.
    ///
    /// Raises
    /// ------
    /// CacheKeyError
    ///     Nothing is stored under this key (a `KeyError`).
    /// InvalidArgumentError
    ///     More than one entry can be meant; the message lists them.
    /// CorruptDataError
    ///     A checksum failed; the message names file and part. The entry is moved to quarantine.
    fn load_data<'py>(
        &self,
        py: Python<'py>,
        cache_key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let key = argument::text(cache_key, "cache_key")?;
        self.reader(py, &key)?.load(py)
    }

    /// The key of what is, or would be, stored under an id.
    ///
    /// Parameters
    /// ----------
    /// data_id : str
    ///     The name of the entry.
    /// kind : {'trajectory', 'structure'}
    ///     As what it is stored. `get_or_compute` and `memoize` store structures unless they are told
    ///     otherwise, so what they keep has a key of ``kind='structure'``.
    ///
    /// Returns
    /// -------
    /// str
    ///     The key.
    #[pyo3(signature = (data_id, kind=DEFAULT),
           text_signature = "($self, data_id, kind='trajectory')")]
    fn key_for(&self, data_id: &Bound<'_, PyAny>, kind: Optional<'_>) -> PyResult<String> {
        let kind = kind_of(&kind.text("kind", "trajectory")?).map_err(to_python)?;
        Ok(Key::of(kind, &checked_id(data_id)?).to_string())
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(key) = key.extract::<String>() else { return Ok(false) };
        py.detach(|| self.cache.contains(&key)).map_err(to_python)
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.load_data(py, key)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        py.detach(|| self.cache.len()).map_err(to_python)
    }

    /// An empty cache is still one: `handler or DataHandler()` has to keep it.
    fn __bool__(&self) -> bool {
        true
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(py, self.keys(py, None)?)?.try_iter()
    }

    /// The keys of all entries of a kind ('structure', 'trajectory' or None for both), those used
    /// last first.
    #[pyo3(signature = (kind=None))]
    fn keys(&self, py: Python<'_>, kind: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
        let kind = kind.map(|kind| argument::text(kind, "kind")).transpose()?;
        let kind = kind.as_deref().map(kind_of).transpose().map_err(to_python)?;
        let keys = py.detach(|| self.cache.keys(kind)).map_err(to_python)?;
        Ok(keys.iter().map(Key::to_string).collect())
    }

    /// Describe an entry without reading its data.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``key``, ``data_id``, ``kind``, ``created`` and ``last_used`` (datetime, UTC),
    ///     ``raw_bytes``, ``stored_bytes``, ``saved_percent``, ``n_frames``, ``n_atoms``, ``n_residues``
    ///     and ``n_chains`` (None where it has none), ``has_topology``, ``metadata``, ``arrays`` (name,
    ///     dtype and shape of each), ``precision`` (the spacing of each field that was rounded),
    ///     ``pinned``.
    fn info<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let key = argument::text(key, "key")?;
        let info = py.detach(|| self.cache.info(&key)).map_err(to_python)?;
        report::info(py, &info, self.cache.directory())
    }

    /// Load an entry, or compute and store it where there is none.
    ///
    /// What is returned is what was stored, from its file, whether it was computed now or before:
    /// both have the same values, types and precision. A value that was computed is returned
    /// also where others evict, remove or clear it meanwhile; where it can't be stored (the limit or
    /// the disk has no space for it), that is a warning in the log.
    ///
    /// Where several threads or processes ask for the same entry at once, one computes and the
    /// others wait; every 10 s, and then less and less often, a warning says for whom. An error of
    /// `function` is raised here and nothing is stored; the next call tries again. A damaged entry
    /// is computed again.
    ///
    /// Parameters
    /// ----------
    /// data_id : str
    ///     The name of the entry.
    /// function : callable
    ///     Called without arguments; returns the dict for `store_structure` or `store_trajectory`. It
    ///     may compute other entries, and not this one. That is an error at once in the thread that
    ///     computes it; a function that waits for another thread or process which asks for this entry
    ///     waits for itself, which only `timeout` ends.
    /// kind : {'structure', 'trajectory'}
    ///     How it is stored; ``key_for(data_id, kind)`` tells its key.
    /// metadata : dict, optional
    ///     As for `store_structure`.
    /// timeout : float, optional
    ///     The most seconds to wait for another thread or process. Default: no limit.
    ///
    /// Returns
    /// -------
    /// dict
    ///     As from `load_data`.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     `function` asks for the entry that it is computing, what it returns can't be stored, or an
    ///     argument makes no sense.
    /// TimeoutError
    ///     Another thread or process, which the message names, has been computing the entry for longer
    ///     than `timeout`.
    #[pyo3(signature = (data_id, function, *, kind=DEFAULT, metadata=None, timeout=None),
           text_signature = "($self, data_id, function, *, kind='structure', metadata=None, \
                             timeout=None)")]
    fn get_or_compute<'py>(
        slf: &Bound<'py, Self>,
        data_id: &Bound<'py, PyAny>,
        function: &Bound<'py, PyAny>,
        kind: Optional<'py>,
        metadata: Option<&Bound<'py, PyAny>>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let kind = kind_of(&kind.text("kind", "structure")?).map_err(to_python)?;
        let timeout = timeout.map(argument::seconds).transpose()?;
        compute::load_or_compute(slf, data_id, function, kind, metadata, timeout)
    }

    /// Copies an entry from elsewhere, if none is stored under its key: `fill` is called with the
    /// path of an empty file and writes the `n_bytes` of the entry to it. They are verified before
    /// the entry appears. Returns whether it did, or one was stored under the key meanwhile.
    fn _adopt(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        n_bytes: u64,
        fill: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let key = argument::text(key, "key")?;
        let incoming = interruptible(py, || self.cache.begin_incoming(&key, n_bytes))?;
        fill.call1((PathObject(incoming.path()),))?;
        interruptible(py, || incoming.publish())
    }

    /// The directory.
    #[getter]
    fn cache_dir(&self) -> PathObject<&Path> {
        PathObject(self.cache.directory())
    }

    /// A handler pickles as its directory and its options. The limit belongs to the directory.
    fn _arguments<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<((PathObject<PathBuf>,), Bound<'py, PyDict>)> {
        // Of the process that unpickles it another directory may be the current one.
        let directory = self.cache.directory();
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let options = PyDict::new(py);
        options.set_item("enable_compression", self.encoding.compress)?;
        options.set_item("precision", by_field(py, self.encoding.precision)?)?;
        options.set_item("profile", self.encoding.profile.name())?;
        options.set_item("verify", self.verify)?;
        options.set_item("durable", self.durable)?;
        options.set_item("read_only", self.read_only)?;
        Ok(((PathObject(directory),), options))
    }

    fn __repr__(&self) -> String {
        format!("<DataHandler {}>", printable_path(self.cache.directory()))
    }
}

impl DataHandler {
    /// Opens an entry, to be read at any time later.
    pub fn held_reader(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<EntryReader> {
        let key = argument::text(key, "key")?;
        let entry = py.detach(|| self.cache.hold(&key)).map_err(to_python)?;
        Ok(self.reader_of(entry))
    }

    /// Opens an entry, to be read at once.
    fn reader(&self, py: Python<'_>, key: &str) -> PyResult<EntryReader> {
        let entry = py.detach(|| self.cache.load(key)).map_err(to_python)?;
        Ok(self.reader_of(entry))
    }

    fn reader_of(&self, entry: OpenEntry) -> EntryReader {
        if !self.verify {
            entry.skip_checksums();
        }
        EntryReader { cache: Some(Arc::clone(&self.cache)), entry: Arc::new(entry) }
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(claims::_let_go_of_claims, module)?)?;
    module.add_class::<DataHandler>()
}
