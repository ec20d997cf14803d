//! Batch sizes, and the observations that they are estimated from.

use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::GPUManager;
use super::arguments::{counts, indices, optional_size, shape};
use crate::argument;
use crate::error::to_python;
use crate::interrupt::{interruptible, polling};

#[catch_panics]
#[pymethods]
impl GPUManager {
    /// The largest batch that fits on each of these GPUs.
    ///
    /// From a model of what batches of this task have needed on such a GPU, see ``observe``;
    /// without any observation, from ``required_memory`` per item.
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
        interruptible(py, || self.manager.batch_size(&task, &indices, length, chunk))
    }

    /// Group proteins by length into batches that fit, and assign each batch to a GPU.
    ///
    /// A batch is padded to its longest protein. The partition into batches is the one with the
    /// least padded pairs of residues, and the batches are assigned so that the GPUs end at about
    /// the same time.
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
    ///     ``items`` (indices into ``lengths``), ``length`` (the longest of them) and ``gpu`` (its
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
        let batches =
            interruptible(py, || self.manager.plan_batches(&task, &lengths, &gpus, chunk))?;
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

    /// Remember, for all later runs, how much memory a batch has needed.
    ///
    /// Parameters
    /// ----------
    /// task : str
    ///     One of the tasks in ``required_memory``.
    /// batch_size : int
    ///     Items in the batch.
    /// peak_mb : float
    ///     The most MB that the process had in use on one GPU, as ``nvidia-smi`` shows it; at most
    ///     what the GPU has.
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
        let peak = argument::number(peak_mb, "peak_mb", "MB, a finite number above 0")?;
        let indices = gpu_indices.map(indices).transpose()?;
        polling(py, || self.manager.observe(&task, shape, peak, indices.as_deref()))
    }

    /// Forget what was observed of a task, on all GPUs and on the CPU.
    ///
    /// For a peak that was wrong, or a task that needs less memory than it did.
    ///
    /// Parameters
    /// ----------
    /// task : str
    ///     One of the tasks in ``required_memory``.
    fn clear_observations(&self, py: Python<'_>, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let task = argument::text(task, "task")?;
        polling(py, || self.manager.clear_observations(&task))
    }

    /// Remember, for all later runs, that a batch ran out of memory.
    ///
    /// Parameters
    /// ----------
    /// task, batch_size, length, chunk, gpu_indices
    ///     As of ``observe``.
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
        polling(py, || self.manager.observe_out_of_memory(&task, shape, indices.as_deref()))
    }

    /// The batch size as an int; raises what `observe` would raise for these arguments.
    #[pyo3(name = "_check_batch", signature = (task, batch_size, length=None, chunk=None))]
    fn check_batch(
        &self,
        task: &Bound<'_, PyAny>,
        batch_size: &Bound<'_, PyAny>,
        length: Option<&Bound<'_, PyAny>>,
        chunk: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let task = argument::text(task, "task")?;
        let shape = shape(batch_size, length, chunk)?;
        self.manager.check_batch(&task, &shape).map_err(to_python)?;
        Ok(shape.batch)
    }
}
