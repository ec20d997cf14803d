//! Batches: how much memory they need, how many items fit, and which GPU runs which.
//!
//! Numbers in, numbers out: beside what everything uses it calls [`crate::fs`] alone, to keep
//! observed peaks. It knows no driver, no GPU's state and no reservation.

mod model;
mod oom;
mod peaks;
mod plan;
mod size;

pub use model::BatchShape;
pub use oom::is_out_of_memory;
pub use peaks::{BatchOutcome, PeakRecord, PeakStore};
pub use plan::PlannedBatch;
pub(super) use plan::plan;
pub(super) use size::{BatchSizer, CPU, MAX_BATCH, MAX_LENGTH, MemoryBudget, VERSION};
