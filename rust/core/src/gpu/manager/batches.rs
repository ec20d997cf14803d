//! What a manager does with batches: it gathers their memory and their records.

use super::Manager;
use crate::error::GpuError;
use crate::gpu::batches::{
    BatchOutcome, BatchShape, BatchSizer, CPU, MAX_BATCH, MAX_LENGTH, MemoryBudget, PeakRecord,
    PlannedBatch, VERSION, plan,
};
use crate::gpu::devices::MIB;
use crate::gpu::host_memory;
use crate::gpu::reservations::DeviceView;
use crate::{Error, Result};

impl Manager {
    /// The largest batch that fits on each of these GPUs (not on all together); without any, into
    /// the machine's memory.
    pub fn batch_size(
        &self,
        task: &str,
        indices: &[usize],
        length: Option<u64>,
        chunk: Option<u64>,
    ) -> Result<u64> {
        check_size("length", length)?;
        check_size("chunk", chunk)?;
        Ok(self.sizer(task, indices)?.batch_size(BatchShape { batch: 1, length, chunk })?)
    }

    fn sizer(&self, task: &str, indices: &[usize]) -> Result<BatchSizer> {
        Ok(BatchSizer {
            required: self.required(task)?,
            budgets: self.budgets(task, indices)?,
            records: self.store()?.load(task)?,
            task: task.to_owned(),
            margin: self.settings().safety_margin,
        })
    }

    /// Groups items of these lengths into batches that fit, and assigns each to one of the GPUs.
    pub fn plan_batches(
        &self,
        task: &str,
        lengths: &[u64],
        indices: &[usize],
        chunk: Option<u64>,
    ) -> Result<Vec<PlannedBatch>> {
        for &length in lengths {
            check_size("lengths", Some(length))?;
        }
        check_size("chunk", chunk)?;
        let sizer = self.sizer(task, indices)?;
        plan(lengths, sizer.budgets.len(), |length| {
            Ok(sizer.batches(BatchShape { batch: 1, length: Some(length), chunk })?)
        })
    }

    /// Records what a batch has needed, on the GPUs with these indices or on those that the task
    /// holds, or without any in the machine's memory.
    pub fn observe(
        &self,
        task: &str,
        shape: BatchShape,
        peak: f64,
        indices: Option<&[usize]>,
    ) -> Result<()> {
        if !(peak > 0.0 && peak.is_finite()) {
            return Err(Error::argument(
                "peak_mb",
                format!("{peak:?}"),
                "MB, a finite number above 0",
            ));
        }
        self.record(task, shape, indices, Some(peak))
    }

    /// Records that a batch ran out of memory.
    pub fn observe_out_of_memory(
        &self,
        task: &str,
        shape: BatchShape,
        indices: Option<&[usize]>,
    ) -> Result<()> {
        self.record(task, shape, indices, None)
    }

    /// Removes all records of a task's batches.
    pub fn clear_observations(&self, task: &str) -> Result<()> {
        self.required(task)?;
        self.store()?.remove(task)
    }

    /// Records the peak of a batch, or that it ran out of memory.
    fn record(
        &self,
        task: &str,
        shape: BatchShape,
        indices: Option<&[usize]>,
        peak: Option<f64>,
    ) -> Result<()> {
        self.check_batch(task, &shape)?;
        let budgets = match indices {
            Some(indices) => self.budgets(task, indices)?,
            None => {
                let views = self.scan_views()?;
                let mut reserved = self.reserved(task, &views);
                if reserved.is_empty() {
                    let usable = views.iter().filter(|view| view.device.is_ok());
                    reserved.extend(usable.filter_map(|view| view.index).take(1));
                }
                self.budgets(task, &reserved)?
            }
        };
        if let Some(peak) = peak {
            check_peak(peak, &budgets)?;
        }
        // Of several GPUs of one model the one with the least memory limits the batch.
        let tightest = budgets.into_iter().min_by(|one, other| one.free.total_cmp(&other.free));
        let Some(budget) = tightest else { return Ok(()) };
        let record = PeakRecord {
            outcome: peak.map_or(BatchOutcome::OutOfMemory(budget.free), BatchOutcome::Peak),
            gpu: budget.gpu,
            version: VERSION.to_owned(),
            shape,
        };
        self.store()?.add(task, record)
    }

    /// Whether this can be a batch of this task.
    pub fn check_batch(&self, task: &str, shape: &BatchShape) -> Result<()> {
        self.required(task)?;
        if !(1..=MAX_BATCH).contains(&shape.batch) {
            return Err(Error::argument("batch_size", shape.batch, format!("1 to {MAX_BATCH}")));
        }
        check_size("length", shape.length)?;
        check_size("chunk", shape.chunk)
    }

    fn budgets(&self, task: &str, indices: &[usize]) -> Result<Vec<MemoryBudget>> {
        if indices.is_empty() {
            let memory = host_memory::read().ok_or(GpuError::UnknownHostMemory)?;
            return Ok(vec![MemoryBudget {
                name: "the machine".to_owned(),
                gpu: CPU.to_owned(),
                free: (memory.available / MIB) as f64,
                total: (memory.total / MIB) as f64,
            }]);
        }
        let budget = |view: &DeviceView| MemoryBudget {
            name: format!("GPU {}", view.index.unwrap_or_default()),
            gpu: view.device.name.clone(),
            free: view.budget(task) as f64,
            total: view.memory_total() as f64,
        };
        Ok(self.chosen(indices)?.iter().map(budget).collect())
    }
}

/// Refuses a peak that no memory could hold, such as one in bytes: it would keep every later batch
/// from being proposed.
fn check_peak(peak: f64, budgets: &[MemoryBudget]) -> Result<()> {
    let largest = budgets.iter().max_by(|one, other| one.total.total_cmp(&other.total));
    let Some(largest) = largest.filter(|largest| peak > largest.total) else { return Ok(()) };
    let MemoryBudget { name, gpu, total, .. } = largest;
    let expected = format!(
        "MB (MiB, as nvidia-smi prints), at most the {total} MB of {name} ({gpu}); gpu_indices= says \
         where it ran"
    );
    Err(Error::argument("peak_mb", format!("{peak:?}"), expected))
}

fn check_size(argument: &str, size: Option<u64>) -> Result<()> {
    match size {
        Some(size) if size == 0 || size > MAX_LENGTH => {
            Err(Error::argument(argument, size, format!("1 to {MAX_LENGTH} residues, or None")))
        }
        _ => Ok(()),
    }
}
