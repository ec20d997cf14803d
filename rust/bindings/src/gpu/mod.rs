//! `GPUManager`: arguments in, plain dicts and lists out. The work is done in the core.

use std::collections::BTreeMap;
use std::path::Path;

use proteinflex_core::gpu::{Manager, Settings};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::argument::{self, DEFAULT, Optional};
use crate::error::to_python;
use crate::late::Late;
use crate::path::PathObject;

mod arguments;
mod batches;
mod cuda;
mod describe;
mod out_of_memory;
mod reservations;

use arguments::{requirements, seconds};
use cuda::PythonCuda;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<GPUManager>()?;
    module.add_function(wrap_pyfunction!(out_of_memory::is_out_of_memory, module)?)
}

/// Finds GPUs, reserves their memory across all processes of the machine, and sizes batches.
///
/// The driver is not queried before the first method call, and nothing is written before the first
/// reservation or observation.
///
/// Parameters
/// ----------
/// required_memory : dict of str to int, optional
///     The memory that each task needs, in MB (MiB, as ``nvidia-smi`` prints). By default
///     ``{'prediction': 16000, 'dynamics': 8000}``.
/// prefer_single_gpu : bool
///     Give a task one GPU where one suffices, rather than every GPU that can hold it.
/// state_dir : path, optional
///     Where reservations and observed memory peaks are kept; processes that are to see each other
///     must name the same. By default ``$PROTEINFLEX_GPU_STATE_DIR``, else one directory for all
///     users of the machine and one per user for what was observed.
/// safety_margin : float
///     The part of a GPU's memory, 0 to below 1, that batches leave free.
/// poll_interval : float, optional
///     Seconds, 0.1 or more. A background thread then queries the driver that often, from the first
///     ``get_available_gpus`` on, which returns the latest result without waiting. By default there
///     is no such thread. Reservations and batches always query the driver.
///
/// Raises
/// ------
/// InvalidArgumentError
///     An argument has the wrong type or makes no sense; the message names it.
#[pyclass(module = "proteinflex_optimization._native", subclass, frozen)]
pub struct GPUManager {
    manager: Late<Manager>,
}

#[catch_panics]
#[pymethods]
impl GPUManager {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs),
           text_signature = "(required_memory=None, prefer_single_gpu=False, *, state_dir=None, safety_margin=0.05, poll_interval=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { manager: Late::new() }
    }

    #[pyo3(signature = (required_memory=None, prefer_single_gpu=DEFAULT, *, state_dir=None,
                        safety_margin=DEFAULT, poll_interval=None))]
    fn __init__(
        &self,
        required_memory: Option<&Bound<'_, PyAny>>,
        prefer_single_gpu: Optional<'_>,
        state_dir: Option<&Bound<'_, PyAny>>,
        safety_margin: Optional<'_>,
        poll_interval: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        const MARGIN: &str = "a part of the memory, from 0 to below 1";
        let settings = Settings {
            required: requirements(required_memory)?,
            prefer_single: prefer_single_gpu.flag("prefer_single_gpu", false)?,
            state_dir: state_dir.map(|value| argument::path(value, "state_dir")).transpose()?,
            safety_margin: safety_margin
                .passed()
                .map_or(Ok(0.05), |value| argument::number(value, "safety_margin", MARGIN))?,
            poll_interval: poll_interval
                .map(|value| seconds(value, "poll_interval", "seconds from 0 to 1e19, or None"))
                .transpose()?,
        };
        self.manager.fill(Manager::new(settings, Box::new(PythonCuda)).map_err(to_python)?)
    }

    /// The memory that each task needs, in MB.
    #[getter]
    fn required_memory(&self) -> BTreeMap<String, u64> {
        self.manager.settings().required.clone()
    }

    /// Whether a task gets one GPU where one suffices.
    #[getter]
    fn prefer_single_gpu(&self) -> bool {
        self.manager.settings().prefer_single
    }

    /// The part of a GPU's memory that batches leave free.
    #[getter]
    fn safety_margin(&self) -> f64 {
        self.manager.settings().safety_margin
    }

    /// The seconds between two background queries, if there are any.
    #[getter]
    fn poll_interval(&self) -> Option<f64> {
        self.manager.settings().poll_interval.map(|interval| interval.as_secs_f64())
    }

    /// Where reservations and observations are kept, where that was said.
    #[getter]
    fn state_dir(&self) -> Option<PathObject<&Path>> {
        self.manager.settings().state_dir.as_deref().map(PathObject)
    }

    /// The arguments that make another one like it.
    fn _arguments<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let settings = self.manager.settings();
        let positional = (settings.required.clone(), settings.prefer_single).into_pyobject(py)?;
        let named = PyDict::new(py);
        named.set_item("state_dir", settings.state_dir.as_deref().map(PathObject))?;
        named.set_item("safety_margin", settings.safety_margin)?;
        named.set_item("poll_interval", self.poll_interval()?)?;
        Ok((positional, named))
    }

    fn __repr__(&self) -> String {
        let settings = self.manager.settings();
        let tasks: Vec<String> =
            settings.required.iter().map(|(task, memory)| format!("{task} {memory} MB")).collect();
        format!("<GPUManager {}>", tasks.join(", "))
    }
}
