//! How CUDA numbers the GPUs, through Python.

use std::time::Duration;

use proteinflex_core::gpu::{Cuda, Environment};
use pyo3::prelude::*;

/// torch and CUDA, through Python.
#[derive(Debug)]
pub struct PythonCuda;

impl Cuda for PythonCuda {
    fn initialised(&self) -> Option<Vec<String>> {
        Python::attach(|py| {
            let module = py.import("proteinflex_optimization._cuda").ok()?;
            module.call_method0("initialised_uuids").ok()?.extract().ok()?
        })
    }

    fn queried(&self, environment: &Environment, limit: Duration) -> Option<Vec<String>> {
        let seconds = limit.as_secs_f64();
        Python::attach(|py| {
            let module = py.import("proteinflex_optimization._cuda").ok()?;
            let arguments = (environment.visible.as_deref(), environment.is_pci_order, seconds);
            module.call_method1("queried_uuids", arguments).ok()?.extract().ok()?
        })
    }
}
