//! The layer that touches the disk.
//!
//! Everything durable goes through [`Storage`], one small trait, so that tests can record, cut
//! short and fail every step. Files and directories are published in one way: the file is synced,
//! renamed, and its directory synced ([`publish_bytes`], [`PendingDir`]). Above that there are
//! locks ([`FileLock`]) and leases ([`Lease`]), the bytes of files and of objects elsewhere
//! ([`Content`], [`RangeSource`]), shared words
//! (`SharedMap`, `WordCopy`) and the rule that turns names into paths ([`names`]).
//!
//! ```
//! use std::sync::Arc;
//!
//! use proteinflex_core::fs::{Disk, Storage, publish_bytes};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let path = temporary.path().join("settings.json");
//! let storage: Arc<dyn Storage> = Arc::new(Disk);
//! publish_bytes(&storage, &path, b"{}")?; // There whole, or not at all.
//! assert_eq!(std::fs::read(&path)?, b"{}");
//! # Ok(())
//! # }
//! ```

mod absence;
mod clock;
mod coalesce;
mod content;
mod descriptor;
mod directory;
mod fallback;
mod filesystem;
mod group;
mod heartbeat;
mod home;
mod in_use;
mod lease;
mod lease_record;
mod links;
mod lock;
mod lock_holder;
mod mapped;
pub mod names;
mod no_sync;
mod open;
mod owner;
mod passed_over;
mod publish;
mod range_source;
mod remote;
mod sealed;
mod shared;
mod sigbus;
mod storage;
mod temporary;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod writeback;
mod xattr;

pub(crate) use absence::{
    if_there, is_absent, is_directory, is_gone, list_if_there, metadata_if_there,
};
pub(crate) use clock::{FileClock, forget_listing};
pub use content::{Content, OpenMode};
pub(crate) use descriptor::apart;
pub use directory::OpenDirectory;
pub(crate) use directory::{Identity, identity_of, list_directory, name_of};
pub(crate) use fallback::{Failure, create_with_fallback};
pub use filesystem::FilesystemKind;
pub(crate) use group::share;
pub use home::expand_home;
pub(crate) use home::{absolute, absolute_of, path_of};
pub(crate) use in_use::{lock_shared, try_lock_exclusive};
pub(crate) use lease::{Lease, LeaseHolder, Taking, lease_holder, remove_stale_lease};
pub(crate) use lease_record::WriterId;
pub(crate) use links::{has_no_links, has_other_names};
pub(crate) use lock::{FileLock, LockKind};
pub use mapped::{MapPermit, PrivateMap};
pub use no_sync::NoSyncDisk;
pub(crate) use open::{
    is_not_regular, is_stale, open_file, open_without_links, read_file, refresh, regular,
};
pub(crate) use owner::{Boot, TEMPORARY};
pub use owner::{Owner, Sight};
pub(crate) use passed_over::PassedOver;
pub use publish::{PendingDir, publish_bytes, remove_orphaned};
pub(crate) use publish::{
    create_dirs, is_orphaned, last_modified, orphaned, remove_orphan, remove_tree,
};
pub use range_source::{RangeBytes, RangeSource};
pub(crate) use remote::Prefetched;
pub(crate) use sealed::SealedFormat;
pub(crate) use shared::{SharedMap, WordCopy};
pub(crate) use sigbus::{Faults, install as keep_fault_handler};
pub use storage::{Disk, Storage, StorageFile, write_all_at};
pub(crate) use storage::{link_or_rename, memory_file};
pub(crate) use temporary::Temporary;
pub(crate) use xattr::{set_xattr_u64, set_xattr_u64_at, xattr_u64};
