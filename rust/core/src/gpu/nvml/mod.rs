//! The NVIDIA driver: its library, the one thread that calls it, and when a call must be done.
//!
//! Of the rest of the crate it calls only what everything uses; which queries make sense is up to
//! [`super::devices`].

mod deadline;
mod driver;
mod fork_guard;
pub(super) mod nvml_ffi;

pub(super) use deadline::Deadline;
pub(super) use driver::{LIBRARY_VARIABLE, LOOK, query};
