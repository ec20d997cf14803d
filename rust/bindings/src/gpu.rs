//! `GPUManager`: arguments in, plain dicts and lists out. What it does is in the core.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proteinflex_core::Error;
use proteinflex_core::gpu::{
    self, ComputeMode, Cuda, DEFAULT_REQUIREMENTS, Environment, Lease, Manager, Settings, Shape,
    Sight,
};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyMapping, PyString, PyTuple};

use crate::argument;
use crate::error::to_python;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<GPUManager>()?;
    module.add_function(wrap_pyfunction!(is_out_of_memory, module)?)
}

/// Whether an error of this class and text says that memory ran out: torch's, the CUDA driver's,
/// cuBLAS's, cuDNN's, JAX's, OpenMM's, NCCL's or Python's own.
///
/// Parameters
/// ----------
/// class_name : str
///     The name of the exception's class.
/// message : str
///     The exception as text.
///
/// Returns
/// -------
/// bool
#[pyfunction]
fn is_out_of_memory(class_name: &Bound<'_, PyAny>, message: &Bound<'_, PyAny>) -> PyResult<bool> {
    let class = argument::text(class_name, "class_name")?;
    Ok(gpu::is_out_of_memory(&class, &argument::text(message, "message")?))
}

/// Asks torch and CUDA through Python.
#[derive(Debug)]
struct PythonCuda;

impl Cuda for PythonCuda {
    fn initialised(&self) -> Option<Vec<String>> {
        Python::attach(|py| {
            let module = py.import("proteinflex_optimization._cuda").ok()?;
            module.call_method0("initialised_uuids").ok()?.extract().ok()?
        })
    }

    fn asked(&self, environment: &Environment) -> Option<Vec<String>> {
        let seconds = gpu::timeout().as_secs_f64();
        Python::attach(|py| {
            let module = py.import("proteinflex_optimization._cuda").ok()?;
            let arguments = (environment.visible.as_deref(), environment.is_pci_order, seconds);
            module.call_method1("asked_uuids", arguments).ok()?.extract().ok()?
        })
    }
}

/// Finds GPUs, reserves their memory across all processes of the machine, and sizes batches.
///
/// Nothing is asked of the driver before the first method call, and nothing is written before the
/// first reservation or observation.
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
///     The part of a GPU's memory, 0 to below 1, that batches leave alone.
///
/// Raises
/// ------
/// InvalidArgumentError
///     An argument has the wrong type or makes no sense; the message names it.
#[pyclass(module = "proteinflex_optimization._native", subclass, frozen)]
pub struct GPUManager {
    manager: Manager,
}

#[pymethods]
impl GPUManager {
    #[new]
    #[pyo3(
        signature = (required_memory=None, prefer_single_gpu=None, *, state_dir=None, safety_margin=None),
        text_signature = "(required_memory=None, prefer_single_gpu=False, *, state_dir=None, safety_margin=0.05)"
    )]
    fn new(
        required_memory: Option<&Bound<'_, PyAny>>,
        prefer_single_gpu: Option<&Bound<'_, PyAny>>,
        state_dir: Option<&Bound<'_, PyAny>>,
        safety_margin: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        const MARGIN: &str = "a part of the memory, from 0 to below 1";
        let settings = Settings {
            required: requirements(required_memory)?,
            prefer_single: prefer_single_gpu
                .map_or(Ok(false), |value| truth(value, "prefer_single_gpu"))?,
            state_dir: state_dir.map(|value| argument::path(value, "state_dir")).transpose()?,
            safety_margin: safety_margin
                .map_or(Ok(0.05), |value| argument::number(value, "safety_margin", MARGIN))?,
        };
        let manager = Manager::new(settings, Box::new(PythonCuda)).map_err(to_python)?;
        Ok(Self { manager })
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

    /// The part of a GPU's memory that batches leave alone.
    #[getter]
    fn safety_margin(&self) -> f64 {
        self.manager.settings().safety_margin
    }

    /// Where reservations and observations are kept, where that was said.
    #[getter]
    fn state_dir(&self) -> Option<PathBuf> {
        self.manager.settings().state_dir.clone()
    }

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
    ///         MB; free is what a new process could allocate;
    ///     ``memory_reserved_by_others``, ``memory_reserved_here``
    ///         MB that processes have reserved through this package, used already or not;
    ///     ``utilization``
    ///         percent, or None where the driver doesn't tell;
    ///     ``processes``
    ///         list of dicts with ``pid`` and ``memory`` (MB or None);
    ///     ``reservations``
    ///         list of dicts with ``task``, ``pid``, ``user``, ``command``, ``created``, ``memory``;
    ///     ``status``, ``reason``
    ///         ``'ok'`` and None; or ``'denied'``, ``'lost'`` or ``'unreadable'`` and why. Such a GPU
    ///         has no memory, and is never selected;
    ///     ``compute_mode``, ``is_mig``, ``parent_uuid``, ``unified_memory``
    ///         what limits its use.
    ///
    ///     Empty where there is no NVIDIA driver; one INFO message says why.
    ///
    /// Raises
    /// ------
    /// GPUError
    ///     The driver is there and does not work or does not answer; the message names the remedy.
    fn get_available_gpus<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let sights = py.detach(|| self.manager.available()).map_err(to_python)?;
        let described: PyResult<Vec<_>> = sights.iter().map(|sight| describe(py, sight)).collect();
        PyList::new(py, described?)
    }

    /// Reserves GPUs that hold a task, until they are released or this process ends.
    ///
    /// With ``prefer_single_gpu`` one GPU where one suffices; otherwise every visible GPU that can
    /// hold the task by itself. Where none can, the smallest well-connected set that can together.
    /// A task that holds GPUs already keeps them.
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
        py.detach(|| self.manager.allocate(&task, most)).map_err(to_python)
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
        let timeout = timeout.map(seconds).transpose()?;
        let most = optional_count(max_gpus, "max_gpus")?;
        let mut interrupted = None;
        let found = py.detach(|| {
            self.manager.wait(&task, most, timeout, &mut || {
                Python::attach(|py| py.check_signals()).map_err(|error| {
                    interrupted = Some(error);
                    Error::Gpu("the waiting was interrupted".to_owned())
                })
            })
        });
        match interrupted {
            Some(error) => Err(error),
            None => found.map_err(to_python),
        }
    }

    /// Gives reserved GPUs back. What isn't reserved is no error.
    ///
    /// Parameters
    /// ----------
    /// task : str, optional
    ///     The task; by default all of them.
    #[pyo3(signature = (task=None))]
    fn release_gpus(&self, py: Python<'_>, task: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let task = task.map(|task| argument::text(task, "task")).transpose()?;
        py.detach(|| self.manager.release(task.as_deref())).map_err(to_python)
    }

    /// All reservations on this machine, of every process and user, oldest first.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     ``task``, ``pid``, ``user``, ``command``, ``created`` (seconds since 1970) and ``memory``
    ///     (dict of GPU UUID to MB).
    fn reservations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let leases = py.detach(|| self.manager.reservations()).map_err(to_python)?;
        let described: PyResult<Vec<_>> = leases
            .iter()
            .map(|lease| {
                let memory: BTreeMap<&str, u64> =
                    lease.shares.iter().map(|share| (share.uuid.as_str(), share.memory)).collect();
                let described = holder(py, lease)?;
                described.set_item("memory", memory)?;
                Ok(described)
            })
            .collect();
        PyList::new(py, described?)
    }

    /// The largest batch that fits on each of these GPUs.
    ///
    /// From a model of what batches of this task have needed on such a GPU, see ``observe``; without
    /// any observation, from ``required_memory`` per item.
    ///
    /// Parameters
    /// ----------
    /// task : str
    ///     One of the tasks in ``required_memory``.
    /// gpu_indices : sequence of int
    ///     The GPUs, each of which is to run such batches. Empty: the machine's own memory.
    /// length : int, optional
    ///     Residues of the longest item in the batch.
    /// chunk : int, optional
    ///     Residues that the network does at a time in cubic operations, if it is set to chunks.
    ///
    /// Returns
    /// -------
    /// int
    ///     At least 1.
    ///
    /// Raises
    /// ------
    /// InsufficientGPUMemoryError
    ///     Not even one item fits; the message says what would.
    #[pyo3(signature = (task, gpu_indices, *, length=None, chunk=None))]
    fn get_optimal_batch_size(
        &self,
        py: Python<'_>,
        task: &Bound<'_, PyAny>,
        gpu_indices: &Bound<'_, PyAny>,
        length: Option<&Bound<'_, PyAny>>,
        chunk: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let task = argument::text(task, "task")?;
        let indices = indices(gpu_indices)?;
        let (length, chunk) = (optional_size(length, "length")?, optional_size(chunk, "chunk")?);
        py.detach(|| self.manager.batch_size(&task, &indices, length, chunk)).map_err(to_python)
    }

    /// Groups proteins by length into batches that fit, and gives each GPU its share.
    ///
    /// A batch is padded to its longest protein. The cut into batches is the one with the least
    /// padded pairs of residues, and the batches are spread so that the GPUs end at about the same
    /// time.
    ///
    /// Parameters
    /// ----------
    /// task : str
    ///     One of the tasks in ``required_memory``.
    /// lengths : sequence of int
    ///     Residues of each protein.
    /// gpu_indices : sequence of int
    ///     The GPUs; empty: the CPU.
    /// chunk : int, optional
    ///     Residues done at a time in cubic operations.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     ``items`` (places in ``lengths``), ``length`` (the longest of them) and ``gpu`` (its
    ///     index, or None on the CPU), the most work first.
    ///
    /// Raises
    /// ------
    /// InsufficientGPUMemoryError
    ///     The longest protein does not fit; the message says what would.
    #[pyo3(signature = (task, lengths, gpu_indices, *, chunk=None))]
    fn plan_batches<'py>(
        &self,
        py: Python<'py>,
        task: &Bound<'_, PyAny>,
        lengths: &Bound<'_, PyAny>,
        gpu_indices: &Bound<'_, PyAny>,
        chunk: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let task = argument::text(task, "task")?;
        let lengths = counts(lengths, "lengths", 1, "a list of numbers of residues")?;
        let gpus = indices(gpu_indices)?;
        let chunk = optional_size(chunk, "chunk")?;
        let batches = py
            .detach(|| self.manager.plan_batches(&task, &lengths, &gpus, chunk))
            .map_err(to_python)?;
        let described: PyResult<Vec<_>> = batches
            .into_iter()
            .map(|batch| {
                let described = PyDict::new(py);
                described.set_item("items", batch.items)?;
                described.set_item("length", batch.length)?;
                described.set_item("gpu", gpus.get(batch.gpu))?;
                Ok(described)
            })
            .collect();
        PyList::new(py, described?)
    }

    /// Remembers, for all later runs, how much memory a batch has needed.
    ///
    /// Parameters
    /// ----------
    /// task : str
    ///     One of the tasks in ``required_memory``.
    /// batch_size : int
    ///     Items in the batch.
    /// peak_mb : float
    ///     The most MB that the process had in use on one GPU, as ``nvidia-smi`` shows it.
    /// length : int, optional
    ///     Residues of the longest item.
    /// chunk : int, optional
    ///     Residues done at a time in cubic operations.
    /// gpu_indices : sequence of int, optional
    ///     The GPUs that it ran on, or none for the CPU. By default those that the task holds.
    #[pyo3(signature = (task, batch_size, peak_mb, length=None, *, chunk=None, gpu_indices=None))]
    #[expect(clippy::too_many_arguments, reason = "they are the documented ones")]
    fn observe(
        &self,
        py: Python<'_>,
        task: &Bound<'_, PyAny>,
        batch_size: &Bound<'_, PyAny>,
        peak_mb: &Bound<'_, PyAny>,
        length: Option<&Bound<'_, PyAny>>,
        chunk: Option<&Bound<'_, PyAny>>,
        gpu_indices: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let task = argument::text(task, "task")?;
        let shape = shape(batch_size, length, chunk)?;
        let peak = argument::number(peak_mb, "peak_mb", "MB, more than 0")?;
        let indices = gpu_indices.map(indices).transpose()?;
        py.detach(|| self.manager.observe(&task, shape, peak, indices.as_deref()))
            .map_err(to_python)
    }

    /// Remembers, for all later runs, that a batch ran out of memory. Arguments as of ``observe``.
    #[pyo3(signature = (task, batch_size, length=None, *, chunk=None, gpu_indices=None))]
    fn observe_out_of_memory(
        &self,
        py: Python<'_>,
        task: &Bound<'_, PyAny>,
        batch_size: &Bound<'_, PyAny>,
        length: Option<&Bound<'_, PyAny>>,
        chunk: Option<&Bound<'_, PyAny>>,
        gpu_indices: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let task = argument::text(task, "task")?;
        let shape = shape(batch_size, length, chunk)?;
        let indices = gpu_indices.map(indices).transpose()?;
        py.detach(|| self.manager.observe_out_of_memory(&task, shape, indices.as_deref()))
            .map_err(to_python)
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
        let sights = self.seen(py, gpu_indices)?;
        let uuids: Vec<&str> = sights.iter().map(|sight| sight.unit.uuid.as_str()).collect();
        let environment = PyDict::new(py);
        environment.set_item("CUDA_VISIBLE_DEVICES", uuids.join(","))?;
        Ok(environment)
    }

    /// Whether this manager has reserved GPUs for a task in this process.
    #[pyo3(name = "_holds")]
    fn holds(&self, task: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.manager.holds(&argument::text(task, "task")?).map_err(to_python)
    }

    /// Raises what `observe` would raise for these arguments.
    #[pyo3(name = "_check_batch", signature = (task, batch_size, length=None, chunk=None))]
    fn check_batch(
        &self,
        task: &Bound<'_, PyAny>,
        batch_size: &Bound<'_, PyAny>,
        length: Option<&Bound<'_, PyAny>>,
        chunk: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let task = argument::text(task, "task")?;
        let shape = shape(batch_size, length, chunk)?;
        self.manager.check_batch(&task, &shape).map_err(to_python)
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
        let budget = |sight: &Sight| {
            let described = PyDict::new(py);
            described.set_item("index", sight.index)?;
            described.set_item("uuid", &sight.unit.uuid)?;
            described.set_item("memory_total", sight.unit.memory_total)?;
            described.set_item("budget", sight.budget(&task))?;
            described.set_item("reserved", sight.reserved_for(&task))?;
            described.set_item("used_here", sight.used_here)?;
            Ok(described)
        };
        let budgets: PyResult<Vec<_>> = self.seen(py, gpu_indices)?.iter().map(budget).collect();
        PyList::new(py, budgets?)
    }

    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let settings = self.manager.settings();
        let positional = (settings.required.clone(), settings.prefer_single).into_pyobject(py)?;
        let named = PyDict::new(py);
        named.set_item("state_dir", settings.state_dir.clone())?;
        named.set_item("safety_margin", settings.safety_margin)?;
        Ok((positional, named))
    }

    fn __repr__(&self) -> String {
        let settings = self.manager.settings();
        let tasks: Vec<String> =
            settings.required.iter().map(|(task, memory)| format!("{task} {memory} MB")).collect();
        format!("<GPUManager {}>", tasks.join(", "))
    }
}

impl GPUManager {
    fn seen(&self, py: Python<'_>, gpu_indices: &Bound<'_, PyAny>) -> PyResult<Vec<Sight>> {
        let indices = indices(gpu_indices)?;
        py.detach(|| self.manager.chosen(&indices)).map_err(to_python)
    }
}

fn describe<'py>(py: Python<'py>, sight: &Sight) -> PyResult<Bound<'py, PyDict>> {
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
    described.set_item("memory_total", unit.memory_total)?;
    described.set_item("memory_free", unit.memory_free)?;
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
    Ok(described)
}

fn holder<'py>(py: Python<'py>, lease: &Lease) -> PyResult<Bound<'py, PyDict>> {
    let described = PyDict::new(py);
    described.set_item("task", &lease.task)?;
    described.set_item("pid", lease.pid)?;
    described.set_item("user", lease.user)?;
    described.set_item("command", &lease.command)?;
    described.set_item("created", lease.created)?;
    Ok(described)
}

fn requirements(value: Option<&Bound<'_, PyAny>>) -> PyResult<BTreeMap<String, u64>> {
    const EXPECTED: &str = "a dict of task names to MB, such as {'prediction': 16000}";
    let Some(value) = value else {
        let known = DEFAULT_REQUIREMENTS.map(|(task, memory)| (task.to_owned(), memory));
        return Ok(BTreeMap::from(known));
    };
    let Ok(mapping) = value.cast::<PyMapping>() else {
        return Err(argument::wrong_type(value, "required_memory", EXPECTED));
    };
    let mut required = BTreeMap::new();
    for item in mapping.items()?.iter() {
        let (task, memory): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let task = argument::text(&task, "required_memory: the name of a task")?;
        let named = format!("required_memory[{task:?}]");
        required.insert(task, megabytes(&memory, &named)?);
    }
    Ok(required)
}

/// MB as whole MiB, a fraction rounded up.
fn megabytes(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<u64> {
    const EXPECTED: &str = "MB, a number above 0";
    let number = argument::number(value, argument, EXPECTED)?;
    // Beyond 2^53 MiB neither floats nor GPUs go.
    if number > 0.0 && number <= (1u64 << 53) as f64 {
        return Ok(number.ceil() as u64);
    }
    Err(to_python(Error::argument(argument, argument::shown(value), EXPECTED)))
}

fn truth(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<bool> {
    match value.cast::<PyBool>() {
        Ok(truth) => Ok(truth.is_true()),
        Err(_) => Err(argument::wrong_type(value, argument, "True or False")),
    }
}

fn seconds(value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    const EXPECTED: &str = "seconds, 0 or more, or None to wait as long as it takes";
    let number = argument::number(value, "timeout", EXPECTED)?;
    let invalid = || to_python(Error::argument("timeout", argument::shown(value), EXPECTED));
    Duration::try_from_secs_f64(number).map_err(|_| invalid())
}

fn optional_count(value: Option<&Bound<'_, PyAny>>, argument: &str) -> PyResult<Option<usize>> {
    Ok(optional_size(value, argument)?.map(|count| usize::try_from(count).unwrap_or(usize::MAX)))
}

fn optional_size(value: Option<&Bound<'_, PyAny>>, argument: &str) -> PyResult<Option<u64>> {
    value.map(|value| argument::count(value, argument, 1)).transpose()
}

fn shape(
    batch_size: &Bound<'_, PyAny>,
    length: Option<&Bound<'_, PyAny>>,
    chunk: Option<&Bound<'_, PyAny>>,
) -> PyResult<Shape> {
    Ok(Shape {
        batch: argument::count(batch_size, "batch_size", 1)?,
        length: optional_size(length, "length")?,
        chunk: optional_size(chunk, "chunk")?,
    })
}

fn indices(value: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    const EXPECTED: &str = "a list of GPU indices, such as allocate_gpus gives";
    let indices = counts(value, "gpu_indices", 0, EXPECTED)?;
    Ok(indices.into_iter().map(|index| usize::try_from(index).unwrap_or(usize::MAX)).collect())
}

fn counts(
    value: &Bound<'_, PyAny>,
    argument: &str,
    least: u64,
    expected: &str,
) -> PyResult<Vec<u64>> {
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
        return Err(argument::wrong_type(value, argument, expected));
    }
    let Ok(items) = value.try_iter() else {
        return Err(argument::wrong_type(value, argument, expected));
    };
    let count = |(place, item): (usize, PyResult<Bound<'_, PyAny>>)| {
        argument::count(&item?, &format!("{argument}[{place}]"), least)
    };
    items.enumerate().map(count).collect()
}
