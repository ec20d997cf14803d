//! GPUs and reservations as dicts.

use proteinflex_core::gpu::{ComputeMode, DeviceView, Reservation};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::timestamp::timestamp;

pub fn describe<'py>(py: Python<'py>, view: &DeviceView) -> PyResult<Bound<'py, PyDict>> {
    let device = &view.device;
    let processes = device.processes.iter().map(|process| {
        let described = PyDict::new(py);
        described.set_item("pid", process.pid)?;
        described.set_item("memory", process.memory)?;
        Ok(described)
    });
    let key = device.memory_key();
    let reservations = view.holders.iter().map(|one| {
        let described = holder(py, one)?;
        described.set_item("memory", one.memory_on(&key))?;
        Ok(described)
    });
    let mode = match device.compute_mode {
        ComputeMode::Shared => "shared",
        ComputeMode::Exclusive => "exclusive",
        ComputeMode::Prohibited => "prohibited",
    };
    let described = PyDict::new(py);
    described.set_item("index", view.index)?;
    described.set_item("name", &device.name)?;
    described.set_item("memory_total", view.memory_total())?;
    described.set_item("memory_free", view.memory_free())?;
    described.set_item("compute_capability", device.compute_capability)?;
    described.set_item("uuid", &device.uuid)?;
    described.set_item("pci_bus_id", &device.pci_bus_id)?;
    described.set_item("utilization", device.utilization)?;
    described.set_item("memory_reserved_by_others", view.reserved_by_others)?;
    described.set_item("memory_reserved_here", view.reserved_here)?;
    described.set_item("memory_unreserved", view.unreserved())?;
    described.set_item("processes", processes.collect::<PyResult<Vec<_>>>()?)?;
    described.set_item("reservations", reservations.collect::<PyResult<Vec<_>>>()?)?;
    described.set_item("status", device.status.name())?;
    described.set_item("reason", device.status.reason())?;
    described.set_item("obstacle", view.obstacle())?;
    described.set_item("compute_mode", mode)?;
    described.set_item("is_mig", device.mig.is_some())?;
    let parent = device.mig.as_ref().map(|place| place.parent_uuid.as_str());
    described.set_item("parent_uuid", parent)?;
    described.set_item("unified_memory", device.unified)?;
    described.set_item("age", view.sampled_at.elapsed().as_secs_f64())?;
    Ok(described)
}

pub fn holder<'py>(py: Python<'py>, reservation: &Reservation) -> PyResult<Bound<'py, PyDict>> {
    let described = PyDict::new(py);
    described.set_item("task", &reservation.task)?;
    described.set_item("pid", reservation.pid)?;
    described.set_item("user", reservation.user)?;
    described.set_item("command", &reservation.command)?;
    described.set_item("created", timestamp(py, reservation.created)?)?;
    Ok(described)
}
