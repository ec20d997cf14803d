//! Which GPUs there are, and who has reserved how much of them.

use std::collections::BTreeMap;

use proteinflex_core::gpu::DeviceView;
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::GPUManager;
use super::arguments::{indices, optional_count, seconds};
use super::describe::{describe, holder};
use crate::argument;
use crate::error::to_python;
use crate::interrupt::interruptible;

#[catch_panics]
#[pymethods]
impl GPUManager {
    /// The GPUs that this process can see.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     For each GPU or MIG instance, in CUDA's order:
    ///
    ///     ``index``
    ///         what torch and CUDA call it here (``cuda:{index}``); None where they can't show it;
    ///     ``name``, ``uuid``, ``pci_bus_id``, ``compute_capability``
    ///         which one it is;
    ///     ``memory_total``, ``memory_free``
    ///         MB; free is what a new process could allocate; both at most what
    ///         ``CUDA_MPS_PINNED_DEVICE_MEM_LIMIT`` leaves to this process;
    ///     ``memory_reserved_by_others``, ``memory_reserved_here``
    ///         MB that processes have reserved through this package, used already or not;
    ///     ``memory_unreserved``
    ///         MB that a task may be given: what is free, less what is reserved and not in use yet;
    ///     ``utilization``
    ///         percent, or None where the driver doesn't report it;
    ///     ``processes``
    ///         list of dicts with ``pid`` and ``memory`` (MB or None);
    ///     ``reservations``
    ///         list of dicts with ``task``, ``pid``, ``user``, ``command``, ``created``, ``memory``;
    ///     ``status``, ``reason``
    ///         ``'ok'`` and None; or ``'denied'``, ``'lost'`` or ``'unreadable'`` and why. Such a GPU
    ///         has no memory, and is never selected;
    ///     ``obstacle``
    ///         why nothing may be put on it now, however much memory it has, or None: the above, or its
    ///         compute mode;
    ///     ``compute_mode``, ``is_mig``, ``parent_uuid``, ``unified_memory``
    ///         what limits its use;
    ///     ``age``
    ///         the seconds since the driver reported all this. With ``poll_interval`` it is that of the
    ///         latest background query, and nothing is waited for; reservations are always those
    ///         of this moment.
    ///
    ///     Empty where there is no NVIDIA driver; one INFO message says why.
    ///
    /// Raises
    /// ------
    /// GPUError
    ///     The driver is there and does not work or does not return; the message names the remedy.
    fn get_available_gpus<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let views = interruptible(py, || self.manager.available())?;
        let described: PyResult<Vec<_>> = views.iter().map(|view| describe(py, view)).collect();
        PyList::new(py, described?)
    }

    /// Reserve GPUs that hold a task, until they are released or this process ends.
    ///
    /// With ``prefer_single_gpu`` one GPU where one suffices; otherwise every visible GPU that can
    /// hold the task by itself. Where none can, the smallest well-connected set that can together.
    /// A task that holds GPUs already keeps them, and with ``max_gpus`` is given the first of them.
    /// What others wait for (``wait_for_gpus``) is not taken.
    ///
    /// Parameters
    /// ----------
    /// task : str
    ///     One of the tasks in ``required_memory``.
    /// max_gpus : int, optional
    ///     How many GPUs at most.
    ///
    /// Returns
    /// -------
    /// list of int
    ///     The indices, best first. Empty where there is no NVIDIA driver: work on the CPU.
    ///
    /// Raises
    /// ------
    /// InsufficientGPUMemoryError
    ///     There is not so much free; the message says what each GPU has and who holds it.
    /// UnknownTaskError
    ///     The task is not in ``required_memory``.
    /// GPUError
    ///     The driver does not work.
    /// OSError
    ///     The reservation can't be written.
    #[pyo3(signature = (task, *, max_gpus=None))]
    fn allocate_gpus(
        &self,
        py: Python<'_>,
        task: &Bound<'_, PyAny>,
        max_gpus: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<usize>> {
        let task = argument::text(task, "task")?;
        let most = optional_count(max_gpus, "max_gpus")?;
        interruptible(py, || self.manager.allocate(&task, most))
    }

    /// Like ``allocate_gpus``, and waits until there is enough memory.
    ///
    /// Parameters
    /// ----------
    /// task : str
    ///     One of the tasks in ``required_memory``.
    /// timeout : float or None
    ///     Seconds to wait at most; None: as long as it takes.
    /// max_gpus : int, optional
    ///     How many GPUs at most.
    ///
    /// Returns
    /// -------
    /// list of int
    ///     The indices, best first. Those who wait are served in the order in which they came.
    ///
    /// Raises
    /// ------
    /// InsufficientGPUMemoryError
    ///     The time is over, or no GPU of this machine is that large (said at once).
    #[pyo3(signature = (task, timeout, *, max_gpus=None))]
    fn wait_for_gpus(
        &self,
        py: Python<'_>,
        task: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        max_gpus: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<usize>> {
        let task = argument::text(task, "task")?;
        const EXPECTED: &str = "seconds from 0 to 1e19, or None to wait as long as it takes";
        let timeout = timeout.map(|value| seconds(value, "timeout", EXPECTED)).transpose()?;
        let most = optional_count(max_gpus, "max_gpus")?;
        interruptible(py, || self.manager.wait(&task, most, timeout))
    }

    /// Release reserved GPUs. What isn't reserved is no error.
    ///
    /// Parameters
    /// ----------
    /// task : str, optional
    ///     The task; by default all of them.
    #[pyo3(signature = (task=None))]
    fn release_gpus(&self, py: Python<'_>, task: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let task = task.map(|task| argument::text(task, "task")).transpose()?;
        interruptible(py, || self.manager.release(task.as_deref()))
    }

    /// All reservations on this machine, of every process and user, oldest first.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     ``task``, ``pid``, ``user``, ``command``, ``created`` (datetime, UTC) and ``memory``
    ///     (dict of GPU UUID to MB).
    fn reservations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let reservations = interruptible(py, || self.manager.reservations())?;
        let described: PyResult<Vec<_>> = reservations
            .iter()
            .map(|one| {
                let memory: BTreeMap<&str, u64> =
                    one.shares.iter().map(|share| (share.uuid.as_str(), share.memory)).collect();
                let described = holder(py, one)?;
                described.set_item("memory", memory)?;
                Ok(described)
            })
            .collect();
        PyList::new(py, described?)
    }

    /// The environment in which a child process sees just these GPUs, as 0, 1, … in this order,
    /// however CUDA would number them there.
    ///
    /// Parameters
    /// ----------
    /// gpu_indices : sequence of int
    ///     GPUs that this process sees.
    ///
    /// Returns
    /// -------
    /// dict of str to str
    ///     To be merged into ``os.environ`` of the child.
    fn cuda_env<'py>(
        &self,
        py: Python<'py>,
        gpu_indices: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let views = self.seen(py, gpu_indices)?;
        let uuids: Vec<&str> = views.iter().map(|view| view.device.uuid.as_str()).collect();
        let environment = PyDict::new(py);
        environment.set_item("CUDA_VISIBLE_DEVICES", uuids.join(","))?;
        Ok(environment)
    }

    /// Whether this manager has reserved GPUs for a task in this process.
    #[pyo3(name = "_holds")]
    fn holds(&self, task: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.manager.holds(&argument::text(task, "task")?).map_err(to_python)
    }

    /// What this process may use of each of these GPUs for a task: dicts with ``index``, ``uuid``,
    /// ``memory_total``, ``budget`` (MB in all, with what it uses already), ``reserved`` and
    /// ``used_here`` (MB).
    #[pyo3(name = "_budgets")]
    fn budgets<'py>(
        &self,
        py: Python<'py>,
        task: &Bound<'_, PyAny>,
        gpu_indices: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let task = argument::text(task, "task")?;
        self.manager.required(&task).map_err(to_python)?;
        let budget = |view: &DeviceView| {
            let described = PyDict::new(py);
            described.set_item("index", view.index)?;
            described.set_item("uuid", &view.device.uuid)?;
            described.set_item("memory_total", view.memory_total())?;
            described.set_item("budget", view.budget(&task))?;
            described.set_item("reserved", view.reserved_for(&task))?;
            described.set_item("used_here", view.used_here)?;
            Ok(described)
        };
        let budgets: PyResult<Vec<_>> = self.seen(py, gpu_indices)?.iter().map(budget).collect();
        PyList::new(py, budgets?)
    }
}

impl GPUManager {
    fn seen(&self, py: Python<'_>, gpu_indices: &Bound<'_, PyAny>) -> PyResult<Vec<DeviceView>> {
        let indices = indices(gpu_indices)?;
        interruptible(py, || self.manager.chosen(&indices))
    }
}
