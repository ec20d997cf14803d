//! Caches, checkpoints, progress boards and GPU selection for long protein computations.
//!
//! Every part keeps its state in plain files, so that each process, host or later run that opens
//! the same directory sees the same truth. The crate knows no Python.
//!
//! Calls go down only: `cache` → `trajectory` → `codec` and `container`, which do not know each
//! other; `checkpoint`, `progress` and `gpu` stand beside them; all of them but `codec` use `fs`, and
//! only `fs` touches the disk.

pub mod cache;
pub mod checkpoint;
pub mod codec;
pub mod error;
pub mod fs;
pub mod gpu;
pub mod memory;
pub mod progress;
pub mod threads;
pub mod trajectory;
pub mod tree;

mod checksum;
mod container;
mod scalar;

pub use checksum::{Checksum, checksum};
pub use error::{Error, Result};
pub use scalar::ScalarType;
