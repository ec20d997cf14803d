//! How CUDA numbers the GPUs, through Python.

use std::time::Duration;

use proteinflex_core::gpu::{Cuda, Environment};
use pyo3::prelude::*;

use crate::hooks::hook;

/// torch and CUDA, through Python.
#[derive(Debug)]
pub struct PythonCuda;

impl Cuda for PythonCuda {
    fn initialised(&self) -> Option<Vec<String>> {
        Python::attach(|py| hook(py, "initialised_uuids").ok()?.call0().ok()?.extract().ok()?)
    }

    fn queried(&self, environment: &Environment, limit: Duration) -> Option<Vec<String>> {
        let seconds = limit.as_secs_f64();
        Python::attach(|py| {
            let arguments = (environment.visible.as_deref(), environment.is_pci_order, seconds);
            hook(py, "queried_uuids").ok()?.call1(arguments).ok()?.extract().ok()?
        })
    }
}
