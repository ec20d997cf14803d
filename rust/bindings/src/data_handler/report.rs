//! What the cache tells of itself and its entries, as dicts.

use std::path::Path;

use proteinflex_core::cache::{Cleanup, EntryInfo, Stats, Unfinished, Verification};
use proteinflex_core::memory;
use proteinflex_core::trajectory::{DType, saved_percent};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::arguments::by_field;
use crate::path::PathText;
use crate::timestamp::timestamp;
use crate::value::metadata;

/// The dict of `DataHandler.info`.
pub fn info<'py>(
    py: Python<'py>,
    info: &EntryInfo,
    directory: &Path,
) -> PyResult<Bound<'py, PyDict>> {
    let arrays = PyList::empty(py);
    for field in &info.fields {
        arrays.append(array(py, &field.name, &field.dtype, field.shape(info.n_frames))?)?;
    }
    for spec in &info.arrays {
        arrays.append(array(py, &spec.name, &spec.dtype, spec.shape.clone())?)?;
    }
    let result = PyDict::new(py);
    result.set_item("key", info.key.as_str())?;
    result.set_item("data_id", &info.data_id)?;
    result.set_item("kind", info.kind.name())?;
    result.set_item("created", timestamp(py, info.created)?)?;
    result.set_item("last_used", timestamp(py, info.last_used)?)?;
    result.set_item("raw_bytes", info.raw_bytes)?;
    result.set_item("stored_bytes", info.stored_bytes)?;
    result.set_item("saved_percent", saved_percent(info.raw_bytes, info.stored_bytes))?;
    result.set_item("n_frames", info.frames())?;
    result.set_item("n_atoms", info.n_atoms())?;
    result.set_item("n_residues", info.n_residues())?;
    result.set_item("n_chains", info.n_chains())?;
    result.set_item("has_topology", info.topology.is_some())?;
    result.set_item("metadata", metadata(py, &info.metadata, directory)?)?;
    result.set_item("arrays", arrays)?;
    result.set_item("precision", by_field(py, info.precision)?)?;
    result.set_item("pinned", info.pinned)?;
    Ok(result)
}

fn array<'py>(
    py: Python<'py>,
    name: &str,
    dtype: &DType,
    shape: Vec<u64>,
) -> PyResult<Bound<'py, PyDict>> {
    let array = PyDict::new(py);
    array.set_item("name", name)?;
    array.set_item("dtype", dtype.descr())?;
    array.set_item("shape", PyTuple::new(py, shape)?)?;
    Ok(array)
}

/// The dict of `DataHandler.cleanup`.
pub fn cleanup<'py>(py: Python<'py>, done: &Cleanup) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    result.set_item("temporary", done.temporary)?;
    result.set_item("quarantined", done.quarantined)?;
    result.set_item("unfinished", done.unfinished)?;
    result.set_item("pins", done.pins)?;
    Ok(result)
}

/// The list of `DataHandler.unfinished`.
pub fn unfinished<'py>(py: Python<'py>, found: &[Unfinished]) -> PyResult<Bound<'py, PyList>> {
    let rows = PyList::empty(py);
    for one in found {
        let row = PyDict::new(py);
        row.set_item("key", one.key.as_str())?;
        row.set_item("data_id", &one.data_id)?;
        row.set_item("n_frames", one.n_frames)?;
        row.set_item("stored_bytes", one.stored_bytes)?;
        row.set_item("last_written", timestamp(py, one.last_written)?)?;
        row.set_item("writer", one.writer.as_ref().map(|writer| writer.process))?;
        row.set_item("host", one.writer.as_ref().map(|writer| &writer.host))?;
        rows.append(row)?;
    }
    Ok(rows)
}

/// The dict of `DataHandler.verify`.
pub fn verification<'py>(
    py: Python<'py>,
    checked: &[Verification],
) -> PyResult<Bound<'py, PyDict>> {
    let damaged = PyList::empty(py);
    for one in checked {
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
    result.set_item("checked", checked.len())?;
    result.set_item("ok", damaged.is_empty())?;
    result.set_item("damaged", damaged)?;
    Ok(result)
}

/// The dict of `DataHandler.get_cache_stats`.
pub fn stats<'py>(
    py: Python<'py>,
    stats: &Stats,
    directory: &Path,
) -> PyResult<Bound<'py, PyDict>> {
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
    result.set_item("quarantined", stats.quarantined)?;
    result.set_item("hits", stats.hits)?;
    result.set_item("misses", stats.misses)?;
    result.set_item("evictions", stats.evictions)?;
    result.set_item("corrupt", stats.corrupt)?;
    result.set_item("cache_dir", PathText(directory))?;
    let used = PyDict::new(py);
    used.set_item("resident_bytes", memory::resident_bytes())?;
    used.set_item("mapped_bytes", memory::mapped_bytes())?;
    result.set_item("memory", used)?;
    Ok(result)
}
