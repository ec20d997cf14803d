//! Progress that several processes share: counters in a mapped file.
//!
//! A directory holds one *shard* per host and boot: a counter file (`counter_file`) and, every few
//! minutes, a durable snapshot of it (`snapshot`). A process counts in the shard of its own host
//! only; a reader merges all shards (`merge`) and rolls the tasks up (`rollup`). So hosts never
//! write to each other's memory, and a reboot that leaves a counter file half written costs no more
//! than the updates after its last snapshot.
//!
//! An update is one relaxed atomic addition in the mapping: no lock, no clock, no allocation. The
//! kernel owns the page from then on, so an update that returned is not lost with the process.
//!
//! On a network file system nothing is mapped: a process and its forked children are a shard that
//! is in memory, and whose snapshot is written every second or so. Readers map nothing anywhere.
//!
//! `shared_progress` keeps the shards of a directory, `tracker` adds the background thread,
//! everything else is a layer below: `layout` → (`definition`, `message`) → `slot` → `counter_file`
//! → `active_time` → `shard_state` → `snapshot`, `merge` → `shard`, `view`.
//!
//! ```
//! use std::time::Duration;
//! use proteinflex_core::progress::{TaskDefinition, Tracker, TrackerOptions};
//!
//! # fn main() -> proteinflex_core::Result<()> {
//! let options = TrackerOptions {
//!     total_steps: None,
//!     auto_checkpoint: true,
//!     checkpoint_interval: Duration::from_secs(300),
//! };
//! let tracker = Tracker::open(None, &options)?;
//! let definition = TaskDefinition { id: "fold", name: "Folding", total: Some(4), parent: None };
//! let task = tracker.start(definition, None)?;
//! tracker.update(task, 1)?;
//! assert_eq!(tracker.progress()?.summary.percent, 25.0);
//! # Ok(())
//! # }
//! ```

mod active_time;
mod activity;
mod atomic_words;
mod counter_file;
mod counter_header;
mod definition;
mod estimate;
mod index;
mod jobs;
mod known_texts;
mod layout;
mod merge;
mod message;
mod other_shards;
mod pace;
mod position;
mod reader;
mod rollup;
mod sampling;
mod shard;
mod shard_lock;
mod shard_state;
mod shared_progress;
mod side_files;
mod slot;
mod snapshot;
mod status;
mod task_definition;
mod tracker;
mod view;
mod worker;
mod writers;

pub use reader::ProgressReader;
pub use shared_progress::SharedProgress;
pub use side_files::MAX_TASK_METADATA;
pub use status::Status;
pub use task_definition::TaskDefinition;
pub use tracker::{Task, Tracker, TrackerOptions};
pub use view::{Progress, Summary, TaskProgress};

/// Where the files are, inside the directory that the user names: hidden, so that it is never taken
/// for a checkpoint of the same directory.
pub const DIRECTORY: &str = ".progress";
