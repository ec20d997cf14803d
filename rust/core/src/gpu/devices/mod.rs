//! The GPUs of this machine: what the driver reports of them, and what CUDA calls each here.
//!
//! It queries the driver through [`super::nvml`] and CUDA through the [`Cuda`] trait; it knows
//! nothing of reservations, tasks or batches.

mod environment;
mod identity;
mod links;
mod mps;
mod poller;
mod scan;
mod visible;

pub use environment::Environment;
pub use identity::Cuda;
pub(super) use identity::{CudaOrder, visible};
pub(super) use links::{Link, LinkTable, link_table};
pub(super) use mps::limit as mps_limit;
pub(super) use poller::Poller;
pub use scan::{ComputeMode, DeviceInfo, Status};
pub(super) use scan::{MIB, Scan, scan};
pub(super) use visible::{Mask, VISIBLE_VARIABLE};
