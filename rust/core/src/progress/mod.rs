//! Progress boards: counters in a mapped file that every process may bump, and anyone may read.
//!
//! A directory holds one *part* per host and boot: a counter file ([`counters`]) and, now and then, a
//! durable snapshot of it ([`snapshot`]). A process adds to the part of its own host only; what a
//! reader shows is all parts merged ([`merge`]) and rolled up ([`rollup`]). So hosts never write to
//! each other's memory, and a reboot that leaves a counter file half written costs no more than what
//! happened after its last snapshot.
//!
//! An update is one relaxed atomic addition in the mapping: no lock, no clock, no allocation. The
//! kernel owns the page from then on, so nothing that returned is lost with the process.
//!
//! `board` keeps the parts of a directory, `tracker` adds the background thread, everything else is
//! a layer below: `layout` → `counters` → (`slot`, `message`) → `index`, `activity`.
//!
//! ```
//! use std::time::Duration;
//!
//! use proteinflex_core::progress::{Options, TaskDefinition, Tracker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let directory = temporary.path();
//! let options = Options {
//!     total_steps: None,
//!     auto_checkpoint: false,
//!     checkpoint_interval: Duration::from_secs(300),
//! };
//! let tracker = Tracker::open(Some(directory), &options)?;
//! let fold = TaskDefinition { id: "fold", name: "Folding", total: Some(10), parent: None };
//! let task = tracker.start(fold)?;
//! tracker.update(task, 4)?;
//! assert_eq!(tracker.progress()?.percent, 40.0);
//! # Ok(())
//! # }
//! ```

mod activity;
mod board;
mod counters;
mod definition;
mod index;
mod layout;
mod merge;
mod message;
mod metadata;
mod parts;
mod rollup;
mod rules;
mod sampling;
mod slot;
mod snapshot;
mod state;
mod tracker;
mod view;
mod words;
mod worker;

pub use board::Board;
pub use layout::{MAX_ID, MAX_MESSAGE, MAX_NAME, MAX_TASKS};
pub use metadata::MAX_METADATA;
pub use parts::Reader;
pub use rules::TaskDefinition;
pub use tracker::{Options, Task, Tracker};
pub use view::{Progress, Status, TaskProgress};

/// Where a board keeps its files, inside the directory that the user names: hidden, so that it can
/// never be taken for a checkpoint of the same directory.
pub const DIRECTORY: &str = ".progress";
