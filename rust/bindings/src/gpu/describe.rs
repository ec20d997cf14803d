//! GPUs and reservations as dicts.

use proteinflex_core::gpu::{ComputeMode, Lease, Sight};
use pyo3::prelude::*;
use pyo3::types::PyDict;

pub fn describe<'py>(py: Python<'py>, sight: &Sight) -> PyResult<Bound<'py, PyDict>> {
    let unit = &sight.unit;
    let processes = unit.processes.iter().map(|process| {
        let described = PyDict::new(py);
        described.set_item("pid", process.pid)?;
        described.set_item("memory", process.memory)?;
        Ok(described)
    });
    let key = unit.memory_key();
    let reservations = sight.holders.iter().map(|lease| {
        let described = holder(py, lease)?;
        described.set_item("memory", lease.memory_on(&key))?;
        Ok(described)
    });
    let mode = match unit.compute_mode {
        ComputeMode::Shared => "shared",
        ComputeMode::Exclusive => "exclusive",
        ComputeMode::Prohibited => "prohibited",
    };
    let described = PyDict::new(py);
    described.set_item("index", sight.index)?;
    described.set_item("name", &unit.name)?;
    described.set_item("memory_total", sight.memory_total())?;
    described.set_item("memory_free", sight.memory_free())?;
    described.set_item("compute_capability", unit.compute_capability)?;
    described.set_item("uuid", &unit.uuid)?;
    described.set_item("pci_bus_id", &unit.pci_bus_id)?;
    described.set_item("utilization", unit.utilization)?;
    described.set_item("memory_reserved_by_others", sight.reserved_by_others)?;
    described.set_item("memory_reserved_here", sight.reserved_here)?;
    described.set_item("processes", processes.collect::<PyResult<Vec<_>>>()?)?;
    described.set_item("reservations", reservations.collect::<PyResult<Vec<_>>>()?)?;
    described.set_item("status", unit.status.name())?;
    described.set_item("reason", unit.status.reason())?;
    described.set_item("compute_mode", mode)?;
    described.set_item("is_mig", unit.mig.is_some())?;
    let parent = unit.mig.as_ref().map(|place| place.parent_uuid.as_str());
    described.set_item("parent_uuid", parent)?;
    described.set_item("unified_memory", unit.unified)?;
    described.set_item("age", sight.told.elapsed().as_secs_f64())?;
    Ok(described)
}

pub fn holder<'py>(py: Python<'py>, lease: &Lease) -> PyResult<Bound<'py, PyDict>> {
    let described = PyDict::new(py);
    described.set_item("task", &lease.task)?;
    described.set_item("pid", lease.pid)?;
    described.set_item("user", lease.user)?;
    described.set_item("command", &lease.command)?;
    described.set_item("created", lease.created)?;
    Ok(described)
}
