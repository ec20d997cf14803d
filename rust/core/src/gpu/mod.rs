//! GPUs: which there are, which to take, and how much fits.
//!
//! [`scan`] asks the driver, on a thread of its own ([`driver`]); [`identity`] finds out what CUDA
//! calls each GPU in this process ([`visible`] reads its mask); [`lease`] keeps reservations that
//! every process of the machine sees; [`view`] puts these together, [`select`] chooses, and
//! [`allocate`] takes, under one lock. [`poller`] asks in the background where that is wanted. [`model`] learns what batches need, [`store`] keeps that, and
//! [`batch`] sizes the next one, and [`plan`] many of them.
//!
//! A GPU is known by its UUID throughout; numbers exist only where users see them.
//!
//! ```
//! use proteinflex_core::gpu::is_out_of_memory;
//!
//! assert!(is_out_of_memory("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB"));
//! assert!(!is_out_of_memory("ValueError", "lengths must be positive"));
//! ```

mod allocate;
mod batch;
mod call;
mod driver;
mod fork_guard;
mod host;
mod identity;
mod lease;
mod manager;
mod model;
mod mps;
mod oom;
mod per_process;
mod plan;
mod poller;
mod raw;
mod scan;
mod select;
mod settings;
mod store;
mod topology;
mod view;
mod visible;

pub use call::{DEFAULT_TIMEOUT, LIBRARY_VARIABLE, TIMEOUT_VARIABLE};
pub use identity::{Cuda, Environment};
pub use lease::{Held, Lease, Registry, Share, Turn};
pub use manager::{Manager, STATE_VARIABLE};
pub use model::{Model, Observation, Shape};
pub use oom::is_out_of_memory;
pub use plan::PlannedBatch;
pub use scan::{ComputeMode, GpuProcess, MigPlace, Status, Unit};
pub use settings::{DEFAULT_REQUIREMENTS, Settings};
pub use store::{Outcome, Record, Store};
pub use view::Sight;
pub use visible::Mask;

const LOGGER: &str = "proteinflex_optimization";
