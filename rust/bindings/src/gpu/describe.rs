//! GPUs and reservations as dicts.

use proteinflex_core::gpu::{ComputeMode, Lease, Sight};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

pub fn describe<'py>(py: Python<'py>, sight: &Sight) -> PyResult<Bound<'py, PyDict>> {
    let unit = &sight.unit;
    let processes = unit.processes.iter().map(|process| {
        let described = PyDict::new(py);
        described.set_item(intern!(py, "pid"), process.pid)?;
        described.set_item(intern!(py, "memory"), process.memory)?;
        Ok(described)
    });
    let key = unit.memory_key();
    let reservations = sight.holders.iter().map(|lease| {
        let described = holder(py, lease)?;
        described.set_item(intern!(py, "memory"), lease.memory_on(&key))?;
        Ok(described)
    });
    let mode = match unit.compute_mode {
        ComputeMode::Shared => "shared",
        ComputeMode::Exclusive => "exclusive",
        ComputeMode::Prohibited => "prohibited",
    };
    let described = PyDict::new(py);
    described.set_item(intern!(py, "index"), sight.index)?;
    described.set_item(intern!(py, "name"), &unit.name)?;
    described.set_item(intern!(py, "memory_total"), sight.memory_total())?;
    described.set_item(intern!(py, "memory_free"), sight.memory_free())?;
    described.set_item(intern!(py, "compute_capability"), unit.compute_capability)?;
    described.set_item(intern!(py, "uuid"), &unit.uuid)?;
    described.set_item(intern!(py, "pci_bus_id"), &unit.pci_bus_id)?;
    described.set_item(intern!(py, "utilization"), unit.utilization)?;
    described.set_item(intern!(py, "memory_reserved_by_others"), sight.reserved_by_others)?;
    described.set_item(intern!(py, "memory_reserved_here"), sight.reserved_here)?;
    described.set_item(intern!(py, "processes"), processes.collect::<PyResult<Vec<_>>>()?)?;
    described.set_item(intern!(py, "reservations"), reservations.collect::<PyResult<Vec<_>>>()?)?;
    described.set_item(intern!(py, "status"), unit.status.name())?;
    described.set_item(intern!(py, "reason"), unit.status.reason())?;
    described.set_item(intern!(py, "compute_mode"), mode)?;
    described.set_item(intern!(py, "is_mig"), unit.mig.is_some())?;
    let parent = unit.mig.as_ref().map(|place| place.parent_uuid.as_str());
    described.set_item(intern!(py, "parent_uuid"), parent)?;
    described.set_item(intern!(py, "unified_memory"), unit.unified)?;
    described.set_item(intern!(py, "age"), sight.told.elapsed().as_secs_f64())?;
    Ok(described)
}

pub fn holder<'py>(py: Python<'py>, lease: &Lease) -> PyResult<Bound<'py, PyDict>> {
    let described = PyDict::new(py);
    described.set_item(intern!(py, "task"), &lease.task)?;
    described.set_item(intern!(py, "pid"), lease.pid)?;
    described.set_item(intern!(py, "user"), lease.user)?;
    described.set_item(intern!(py, "command"), &lease.command)?;
    described.set_item(intern!(py, "created"), lease.created)?;
    Ok(described)
}
