//! The methods that remove entries, keep and verify them, and say how full the cache is.

use proteinflex_core::cache::Key;
use proteinflex_core::trajectory::EntryKind;
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::{DataHandler, report};
use crate::argument::{self, DEFAULT, Optional};
use crate::interrupt::{interruptible, polling};

#[catch_panics]
#[pymethods]
impl DataHandler {
    /// Remove an entry, by its whole key or its ``data_id``. Where it is open, it stays readable.
    fn remove(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let key = argument::text(key, "key")?;
        polling(py, || self.cache.remove(&key))
    }

    /// Keep an entry from being evicted.
    fn pin(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let key = argument::text(key, "key")?;
        polling(py, || self.cache.pin(&key))
    }

    /// Let an entry be evicted again.
    fn unpin(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let key = argument::text(key, "key")?;
        polling(py, || self.cache.unpin(&key))
    }

    /// Remove files that dead writers left, damaged entries in quarantine, and trajectories that were
    /// not resumed for 30 days.
    ///
    /// Parameters
    /// ----------
    /// dry_run : bool
    ///     Only count what would be removed.
    ///
    /// Returns
    /// -------
    /// dict
    ///     How many of each: ``temporary``, ``quarantined``, ``unfinished``, ``pins``.
    #[pyo3(signature = (*, dry_run=DEFAULT), text_signature = "($self, *, dry_run=False)")]
    fn cleanup<'py>(&self, py: Python<'py>, dry_run: Optional<'_>) -> PyResult<Bound<'py, PyDict>> {
        let dry_run = dry_run.flag("dry_run", false)?;
        let clean = || if dry_run { self.cache.leftovers() } else { self.cache.cleanup() };
        report::cleanup(py, &interruptible(py, clean)?)
    }

    /// Remove a trajectory that waits to be resumed, by its key or id; returns whether it was there
    /// and nobody was writing it.
    fn remove_unfinished(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let text = argument::text(key, "key")?;
        let key = Key::parse(&text).unwrap_or_else(|| Key::of(EntryKind::Trajectory, &text));
        polling(py, || self.cache.remove_unfinished(&key))
    }

    /// List the trajectories that are being written, or wait to be resumed; the one written to last
    /// comes first.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     ``key`` and ``data_id``; ``n_frames``, those that are durable; ``stored_bytes``;
    ///     ``last_written`` (datetime, UTC); ``writer`` and ``host``, the id and the machine of
    ///     the process that is writing it, None where none is. One that can't be seen from here is
    ///     told as long as it gave a sign of life within a minute. ``data_id`` and ``n_frames`` are
    ///     None where the file can't be read.
    fn unfinished<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        report::unfinished(py, &interruptible(py, || self.cache.unfinished())?)
    }

    /// Remove all entries, pinned ones too; returns how many there were.
    fn clear(&self, py: Python<'_>) -> PyResult<usize> {
        interruptible(py, || self.cache.clear())
    }

    /// Evict the least recently used entries until at most `max_size` GB (10**9 bytes) are left;
    /// returns how many were evicted.
    fn prune(&self, py: Python<'_>, max_size: &Bound<'_, PyAny>) -> PyResult<usize> {
        let expected = "a number of GB (10**9 bytes) from 0 to 1e12";
        let size = argument::number(max_size, "max_size", expected)?;
        if !(0.0..1e12).contains(&size) {
            return Err(argument::wrong_value(max_size, "max_size", expected));
        }
        interruptible(py, || self.cache.prune((size * 1e9) as u64))
    }

    /// Read back one entry, or all. Damaged ones are moved to quarantine.
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
        let found = interruptible(py, || self.cache.verify(key.as_deref()))?;
        report::verification(py, &found)
    }

    /// How full the cache is, and how it has been used.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``usage_percent``, ``used_bytes`` and ``max_bytes``; ``entries``, ``structures``,
    ///     ``trajectories`` and ``unfinished``; ``raw_bytes`` and ``saved_percent``; ``pinned_bytes``;
    ///     ``quarantined``; ``hits``, ``misses``, ``evictions`` and ``corrupt``, which count what this
    ///     object has seen; ``cache_dir``; ``memory``: ``resident_bytes`` and ``mapped_bytes`` of this
    ///     process.
    fn get_cache_stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = interruptible(py, || self.cache.stats())?;
        report::stats(py, &stats, self.cache.directory())
    }
}
