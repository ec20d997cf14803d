//! The only place that touches the disk.
//!
//! Everything durable goes through [`Storage`], one small trait, so that tests can record, cut
//! short and fail every step. On top of it stands one way to do each thing: one atomic publish
//! ([`PendingFile`], [`PendingDir`]), one lock ([`FileLock`]), one mapped file ([`MappedFile`]),
//! shared memory as atomics (`SharedMap`, `SharedView`), one rule that turns names into paths
//! ([`names`]).

mod attribute;
mod content;
mod lease;
mod lock;
mod mapped;
pub mod names;
mod owner;
mod publish;
mod recency;
mod settle;
mod shared;
mod storage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod unsynced;
mod writeback;

pub use attribute::{keep_number, keep_number_at, number_of};
pub use content::{Content, open_published, open_without_links};
pub use lease::{claim_unused, mark_in_use};
pub use lock::{FileLock, LockKind};
pub use mapped::{MappedFile, PrivateMap};
pub use owner::Owner;
pub use publish::{
    PendingDir, PendingFile, create_dirs, publish_bytes, remove_abandoned, remove_tree,
    set_aside_name,
};
pub use recency::{Clock, is_on_network};
pub(crate) use shared::{SharedMap, SharedView};
pub use storage::{Disk, Storage, StorageFile, memory_file, write_all_at};
pub use unsynced::UnsyncedDisk;
