//! A cache of entries in a directory, shared by processes.
//!
//! There is no index: the entries are found by listing the directory, the time of an entry's last
//! use is its file's time of modification, and the limit is a small settings file. Entries are
//! immutable and published whole, so readers need no lock; a lock only keeps two writers from using
//! the same free space.
//!
//! ```
//! use std::sync::Arc;
//!
//! use proteinflex_core::cache::Cache;
//! use proteinflex_core::fs::Disk;
//! use proteinflex_core::trajectory::{Encoding, EntryKind};
//! use proteinflex_core::tree::TreeWriter;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temporary = tempfile::tempdir()?;
//! # let directory = temporary.path();
//! // At most 1 GB, for all processes that open this directory.
//! let cache = Cache::open(Arc::new(Disk), directory, Some(1_000_000_000))?;
//!
//! let mut values = TreeWriter::new();
//! values.text("villin headpiece");
//! let values = values.finish();
//! let entry = cache.begin(EntryKind::Structure, "protein1", values.clone(), Encoding::plain(), None)?;
//! let key = entry.publish(&values)?; // Durable, and there for everyone.
//!
//! assert_eq!(cache.load(key.as_str())?.tree()?, values);
//! assert_eq!(cache.stats()?.structures, 1);
//! # Ok(())
//! # }
//! ```

mod claim;
mod entry_file;
mod evict;
mod growth;
mod in_progress;
mod incoming;
mod layout;
mod load;
mod maintenance;
mod new_trajectory;
mod own_file;
mod replaced;
mod resolve;
mod scan;
mod settings;
mod stats;
mod store;
mod take_over;
mod unfinished;
mod unfinished_file;
mod unfinished_name;
mod usage;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub use claim::{Claim, ClaimHolder, Claiming};
pub use in_progress::EntryInProgress;
pub use incoming::IncomingEntry;
pub use layout::{Key, default_directory, kind_of};
pub use load::OpenEntry;
pub use maintenance::{Cleanup, Verification};
pub use new_trajectory::{IfThere, Named, NewTrajectory};
pub use stats::{EntryInfo, Stats};
pub use store::{KeptEntry, PendingEntry};
pub use unfinished::{Unfinished, UnfinishedWriter};

use crate::error::CacheError;
use crate::fs::{FilesystemKind, Storage};
use crate::trajectory::check_variables;
use crate::{Error, Result};
use layout::Layout;
use scan::ScanCache;

/// A cache directory that is open.
#[derive(Debug)]
pub struct Cache {
    storage: Arc<dyn Storage>,
    layout: Layout,
    filesystem: FilesystemKind,
    counters: Counters,
    scan_cache: Mutex<ScanCache>,
    /// The limit when it was opened, for a directory whose settings are removed meanwhile.
    opened_with: Option<u64>,
    is_read_only: bool,
    /// Whether an entry that is there is never replaced.
    keeps_stored: AtomicBool,
}

/// Events that this process has seen.
#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    corrupt: AtomicU64,
    /// Whether the log says that something can't be removed.
    has_told_stuck: AtomicBool,
}

impl Cache {
    /// Opens the cache in `directory`, making it where there is none.
    ///
    /// A limit that is given becomes the directory's, for all processes that share it, and entries
    /// beyond it are evicted; `None` keeps the limit that is set.
    pub fn open(
        storage: Arc<dyn Storage>,
        directory: &Path,
        max_bytes: Option<u64>,
    ) -> Result<Self> {
        check_variables()?;
        let layout = Layout::prepare(&storage, directory)?;
        let mut cache = Self::of(storage, layout, false);
        let current = settings::read(&cache.layout)?;
        cache.opened_with = max_bytes.or(current);
        if let Some(max_bytes) = max_bytes
            && Some(max_bytes) != current
        {
            settings::write(&cache.storage, &cache.layout, max_bytes)?;
            let mut lock = cache.lock()?;
            cache.shrink_to(&mut lock, max_bytes)?;
        }
        Ok(cache)
    }

    /// Opens the cache in `directory` to look at it. Nothing is ever changed there: nothing is
    /// made, locked, marked as used or moved to quarantine. An error where there is no cache.
    pub fn open_read_only(storage: Arc<dyn Storage>, directory: &Path) -> Result<Self> {
        check_variables()?;
        Ok(Self::of(storage, Layout::find(directory)?, true))
    }

    fn of(storage: Arc<dyn Storage>, layout: Layout, is_read_only: bool) -> Self {
        Self {
            storage,
            filesystem: FilesystemKind::of(layout.root()),
            layout,
            counters: Counters::default(),
            scan_cache: Mutex::default(),
            opened_with: None,
            is_read_only,
            keeps_stored: AtomicBool::new(false),
        }
    }

    /// The same cache as on a file system of this kind.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn assuming(mut self, filesystem: FilesystemKind) -> Self {
        self.filesystem = filesystem;
        self
    }

    /// An error where the cache was opened for reading only.
    fn check_writable(&self) -> Result<()> {
        if self.is_read_only {
            let directory = self.directory().to_owned();
            return Err(CacheError::ReadOnly { directory }.into());
        }
        Ok(())
    }

    /// Whether it was opened to look at it.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// From now on, storing what another process has stored meanwhile is an error.
    pub fn keep_stored(&self) {
        self.keeps_stored.store(true, Ordering::Relaxed);
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.layout.root()
    }

    /// The limit: the most bytes that entries may take.
    pub fn max_bytes(&self) -> Result<u64> {
        let set = settings::read(&self.layout)?.or(self.opened_with);
        Ok(set.unwrap_or(settings::DEFAULT_MAX_BYTES))
    }

    /// Runs a step. Where that finds a folder missing, what is missing of the directory is made
    /// first: any of it may be removed while it is in use. But not what leads to it, which is gone
    /// where a file system was unmounted.
    fn with_folders<T>(&self, step: impl Fn() -> Result<T>) -> Result<T> {
        let may_make = || !self.is_read_only && self.directory().parent().is_some_and(Path::is_dir);
        match step() {
            Err(Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound && may_make() =>
            {
                Layout::prepare(&self.storage, self.directory())?;
                if let (Some(limit), None) = (self.opened_with, settings::read(&self.layout)?) {
                    settings::write(&self.storage, &self.layout, limit)?;
                }
                step()
            }
            done => done,
        }
    }

    /// Makes the folder of an entry, where it is missing.
    fn prepare_folder(&self, key: &Key) -> Result<()> {
        self.with_folders(|| self.layout.prepare_folder(&*self.storage, key))
    }

    fn not_found(&self, key: &str) -> Error {
        let directory = self.directory().to_owned();
        CacheError::KeyNotFound { key: key.to_owned(), directory, unfinished: None }.into()
    }

    fn entry_path(&self, key: &Key) -> PathBuf {
        self.layout.entry(key)
    }
}
