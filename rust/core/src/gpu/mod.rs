//! GPUs: which there are, which to take, and how much fits.
//!
//! [`scan`] asks the driver, on a thread of its own ([`driver`]); [`identity`] finds out what CUDA
//! calls each GPU in this process ([`visible`] reads its mask); [`lease`] keeps reservations that
//! every process of the machine sees; [`view`] puts these together, [`select`] chooses, and
//! [`manager`] does it under one lock. [`model`] learns what batches need, [`store`] keeps that, and
//! [`batch`] sizes the next one.
//!
//! A GPU is known by its UUID throughout; numbers exist only where users see them.

mod batch;
mod driver;
mod host;
mod identity;
mod lease;
mod manager;
mod model;
mod oom;
mod per_process;
mod raw;
mod scan;
mod select;
mod store;
mod topology;
mod view;
mod visible;

pub use driver::{DEFAULT_TIMEOUT, LIBRARY_VARIABLE, TIMEOUT_VARIABLE};
pub use identity::{Cuda, Environment};
pub use lease::{Lease, Share};
pub use manager::{DEFAULT_REQUIREMENTS, Manager, STATE_VARIABLE, Settings};
pub use model::{Model, Observation, Shape};
pub use oom::is_out_of_memory;
pub use scan::{ComputeMode, GpuProcess, MigPlace, Status, Unit};
pub use store::{Outcome, Record, Store};
pub use view::Sight;
pub use visible::Mask;

const LOGGER: &str = "proteinflex_optimization";
