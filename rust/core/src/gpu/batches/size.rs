//! The largest batch that fits into given memory.

use super::model::{BatchShape, MemoryModel, Observation};
use super::peaks::{BatchOutcome, PeakRecord};
use crate::error::{GpuError, ItemTooLarge, Prediction};

/// The `gpu` of records of the machine's own memory.
pub const CPU: &str = "cpu";
/// The version whose observations count; another one may need other memory.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A batch never grows by more than this factor beyond what has been observed.
const MAX_GROWTH: u64 = 16;
/// The most items in a batch, however much memory there is.
pub const MAX_BATCH: u64 = 1 << 20;
/// The longest item that is thought of.
pub const MAX_LENGTH: u64 = 1 << 20;
/// An observed lack of memory still counts where there is a little more now.
const MORE_MEMORY: f64 = 1.05;

/// Memory that a batch may fill.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    /// What it is called in messages.
    pub name: String,
    /// The model of the GPU, or [`CPU`].
    pub gpu: String,
    /// MiB.
    pub free: f64,
    /// MiB, also of what is in use.
    pub total: f64,
}

/// What is known about a task and the memory that it may fill, at one moment.
#[derive(Debug)]
pub struct BatchSizer {
    /// The task.
    pub task: String,
    /// MiB that it is said to need.
    pub required: u64,
    /// The part of the memory that batches leave free.
    pub margin: f64,
    /// The memories: one per GPU, or the machine's.
    pub budgets: Vec<MemoryBudget>,
    /// What its batches have needed.
    pub records: Vec<PeakRecord>,
}

impl BatchSizer {
    /// The largest batch that fits into each of the memories.
    pub fn batch_size(&self, shape: BatchShape) -> Result<u64, GpuError> {
        let is_known =
            |budget: &MemoryBudget| self.records.iter().any(|record| record.is_for(budget));
        if !self.budgets.iter().any(is_known) {
            return self.by_requirement(&self.budgets);
        }
        let mut smallest = MAX_BATCH;
        for budget in &self.budgets {
            smallest = smallest.min(self.batch_in(shape, budget)?);
        }
        Ok(smallest)
    }

    /// The largest batch that fits into each single one of them; 0 where no item does, unless that
    /// is so everywhere. A task that fits only on all of them together runs one batch everywhere.
    pub fn batches(&self, shape: BatchShape) -> Result<Vec<u64>, GpuError> {
        let mut batches: Vec<u64> = Vec::with_capacity(self.budgets.len());
        for (place, budget) in self.budgets.iter().enumerate() {
            let is_alike =
                |other: &MemoryBudget| other.gpu == budget.gpu && other.free == budget.free;
            if let Some(known) = self.budgets[..place].iter().position(is_alike) {
                batches.push(batches[known]);
                continue;
            }
            match self.batch_in(shape, budget) {
                Err(error) if error.is_insufficient_memory() => batches.push(0),
                batch => batches.push(batch?),
            }
        }
        if batches.iter().all(|&batch| batch == 0) {
            batches.fill(self.batch_size(shape)?);
        }
        Ok(batches)
    }

    fn batch_in(&self, shape: BatchShape, budget: &MemoryBudget) -> Result<u64, GpuError> {
        let records: Vec<&PeakRecord> =
            self.records.iter().filter(|record| record.is_for(budget)).collect();
        if records.is_empty() {
            return self.by_requirement(std::slice::from_ref(budget));
        }
        self.by_observations(shape, budget, &records)
    }

    /// Without observations each item is taken to need what the task is said to need. Where a task
    /// fits only on several GPUs together, one batch is spread over them.
    fn by_requirement(&self, budgets: &[MemoryBudget]) -> Result<u64, GpuError> {
        let required = self.required as f64;
        let least = budgets.iter().map(|budget| budget.free).fold(f64::INFINITY, f64::min);
        let together: f64 = budgets.iter().map(|budget| budget.free).sum();
        let free = if least >= required { least } else { together };
        if free >= required {
            return Ok(((free * (1.0 - self.margin) / required) as u64).clamp(1, MAX_BATCH));
        }
        let task = &self.task;
        if budgets.iter().any(|budget| budget.gpu == CPU) {
            // What a task needs of a GPU says little about the machine's memory.
            log::warn!(
                target: crate::LOGGER,
                "{task} is said to need {required} MB and the machine has {free} MB free; one item \
                 at a time, and it may not fit"
            );
            return Ok(1);
        }
        Err(GpuError::RequirementTooLarge {
            task: task.clone(),
            required: self.required,
            free: budgets.iter().map(|budget| (budget.name.clone(), budget.free)).collect(),
        })
    }

    fn by_observations(
        &self,
        shape: BatchShape,
        budget: &MemoryBudget,
        records: &[&PeakRecord],
    ) -> Result<u64, GpuError> {
        let observed: Vec<Observation> =
            records.iter().filter_map(|record| record.observed()).collect();
        let (shape, observed) = comparable(shape, observed);
        let seen = observed.iter().map(|seen| seen.shape.batch).max().unwrap_or(1);
        let most = seen.saturating_mul(MAX_GROWTH).min(MAX_BATCH);
        let model = MemoryModel::fit(&observed);
        let predicted = match &model {
            Some(model) => model
                .largest_batch(shape, budget.free, self.margin, most)
                .max(MemoryModel::largest_seen(&observed, shape, budget.free, self.margin)),
            None => {
                let fitting = budget.free * (1.0 - self.margin) / self.required as f64;
                (fitting as u64).clamp(1, MAX_BATCH)
            }
        };
        // What has failed with items no larger fails again.
        let failed = records
            .iter()
            .filter(|record| match record.outcome {
                BatchOutcome::OutOfMemory(free) => {
                    budget.free <= free * MORE_MEMORY && shape.covers(&record.shape)
                }
                BatchOutcome::Peak(_) => false,
            })
            .map(|record| record.shape.batch)
            .min();
        let batch = failed.map_or(predicted, |failed| predicted.min(failed - 1));
        if batch >= 1 {
            return Ok(batch);
        }
        let (free, margin) = (budget.free, self.margin);
        Err(GpuError::ItemTooLarge(Box::new(ItemTooLarge {
            task: self.task.clone(),
            length: shape.length,
            free,
            place: budget.name.clone(),
            gpu: budget.gpu.clone(),
            prediction: model.map(|model| prediction(&model, shape, free, margin)),
        })))
    }
}

/// What a model says about an item that does not fit: how much it needs, and what would fit.
fn prediction(model: &MemoryModel, shape: BatchShape, free: f64, margin: f64) -> Prediction {
    const CHUNKS: [u64; 5] = [512, 256, 128, 64, 32];
    let need = model.need(&shape, margin);
    let Some(length) = shape.length else {
        return Prediction { need, fitting_length: None, fitting_chunk: None };
    };
    let longest = model.largest_length(shape, free, margin, MAX_LENGTH.min(length));
    let is_smaller = |&chunk: &u64| chunk < shape.chunk.unwrap_or(length);
    let fits =
        |&chunk: &u64| model.need(&BatchShape { chunk: Some(chunk), ..shape }, margin) <= free;
    Prediction {
        need,
        fitting_length: (longest > 0).then_some(longest),
        fitting_chunk: CHUNKS.into_iter().filter(is_smaller).find(fits),
    }
}

impl PeakRecord {
    fn is_for(&self, budget: &MemoryBudget) -> bool {
        self.gpu == budget.gpu && self.version == VERSION
    }

    fn observed(&self) -> Option<Observation> {
        match self.outcome {
            BatchOutcome::Peak(peak) => Some(Observation { shape: self.shape, peak }),
            BatchOutcome::OutOfMemory(_) => None,
        }
    }
}

/// Observations with lengths and such without can't be mixed. Asked without a length, the longest
/// item seen is meant; asked with one where no length was ever told, the items are taken to be
/// alike.
fn comparable(shape: BatchShape, observed: Vec<Observation>) -> (BatchShape, Vec<Observation>) {
    let (with, without): (Vec<_>, Vec<_>) =
        observed.into_iter().partition(|seen| seen.shape.length.is_some());
    match shape.length {
        Some(_) if !with.is_empty() => (shape, with),
        Some(_) => (BatchShape { length: None, ..shape }, without),
        None if !without.is_empty() => (shape, without),
        None => {
            let longest = with.iter().filter_map(|seen| seen.shape.length).max();
            (BatchShape { length: longest, ..shape }, with)
        }
    }
}
