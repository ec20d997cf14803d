//! GPUs: which there are, which to take, and how much fits.
//!
//! Bottom to top: [`nvml`] (the driver) < [`devices`] (the GPUs, and what CUDA calls them) <
//! [`reservations`] (who holds what, and what to take); [`batches`] (how much fits) stands beside
//! them; [`manager`] puts all of them together. A GPU is known by its UUID throughout; indices
//! exist only where users see them.
//!
//! ```
//! use proteinflex_core::gpu::is_out_of_memory;
//!
//! assert!(is_out_of_memory("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB"));
//! assert!(!is_out_of_memory("ValueError", "lengths must be positive"));
//! ```

mod batches;
mod devices;
mod host_memory;
mod manager;
mod nvml;
mod reservations;

pub use batches::{
    BatchOutcome, BatchShape, PeakRecord, PeakStore, PlannedBatch, is_out_of_memory,
};
pub use devices::{ComputeMode, Cuda, Environment};
pub use manager::{DEFAULT_REQUIREMENTS, Manager, Settings};
pub use reservations::{DeviceView, Registry, Reservation, Share};
