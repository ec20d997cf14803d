//! Caches, checkpoints, progress tracking and GPU selection for long protein computations.
//!
//! Every part keeps its state in plain files, so that each process, host or later run that opens
//! the same directory sees the same state. The crate knows no Python.
//!
//! Calls go down only: `cache` → `trajectory` → `container`, `codec`; `checkpoint`, `progress` and
//! `gpu` stand beside them, on `fs`. `docs/architecture.md` says what may call what, and
//! `tests/integration/layers.rs` checks it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use proteinflex_core::cache::Cache;
//! use proteinflex_core::fs::Disk;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! let cache = Cache::open(Arc::new(Disk), &temporary.path().join("cache"), None)?;
//! // Errors say what was asked, what was found and what to do.
//! let error = cache.load("s-00000000000000000000000000000000").unwrap_err();
//! assert!(error.to_string().contains("nothing is stored under"));
//! # Ok(())
//! # }
//! ```

// Comments are for maintainers, too: `cargo doc --document-private-items` has what they link to.
#![allow(rustdoc::private_intra_doc_links)]

pub mod batch_system;
pub mod cache;
pub mod checkpoint;
pub mod codec;
pub mod error;
pub mod fs;
pub mod gpu;
pub mod interrupt;
pub mod memory;
pub mod progress;
pub mod threads;
pub mod topology;
pub mod trajectory;
pub mod tree;

mod checksum;
mod clock;
mod container;
mod per_process;
mod scalar;
mod variables;

pub use checksum::{Checksum, checksum};
pub(crate) use error::IoContext;
pub use error::{Error, Result};
pub use scalar::ScalarType;

/// The logger of this package, in Python's hierarchy.
pub const LOGGER: &str = "proteinflex_optimization";
