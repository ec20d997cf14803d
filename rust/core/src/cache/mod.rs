//! A cache of entries in a directory, shared by processes.
//!
//! The directory is the truth. There is no index that could disagree with it: what is there is found
//! by listing, how recently an entry was used is its file's time of modification, and the limit is one
//! small settings file. Entries are immutable and appear whole, so readers need no lock; a lock only
//! keeps two writers from making room for the same bytes at once.

mod evict;
mod layout;
mod load;
mod lock;
mod room;
mod scan;
mod settings;
mod stats;
mod store;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

pub use layout::{Key, default_directory, kind_of};
pub use load::OpenEntry;
pub use lock::HeldLock;
pub use stats::{EntryInfo, Stats};
pub use store::{LiveEntry, PendingEntry};
pub use upkeep::{Cleanup, Verification};

use crate::fs::{Clock, Storage};
use crate::{Error, Result};
use evict::Candidates;
use layout::Layout;
use scan::Memory;
use settings::Remembered;

/// A cache directory that is open.
#[derive(Debug)]
pub struct Cache {
    storage: Arc<dyn Storage>,
    layout: Layout,
    clock: Clock,
    counters: Counters,
    /// What was found when the directory was looked at last.
    memory: Mutex<Memory>,
    /// What can be evicted next.
    candidates: Mutex<Option<Candidates>>,
    /// The limit that was read last.
    settings: Mutex<Option<Remembered>>,
}

/// What this process has seen happen.
#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    corrupt: AtomicU64,
}

impl Cache {
    /// Opens the cache in `directory`, making it where there is none.
    ///
    /// A limit that is given becomes the directory's, for all who share it, and what is then too much
    /// is evicted; `None` keeps the one that is set.
    pub fn open(
        storage: Arc<dyn Storage>,
        directory: &Path,
        max_bytes: Option<u64>,
    ) -> Result<Self> {
        let layout = Layout::prepare(&*storage, directory)?;
        let cache = Self {
            storage,
            clock: Clock::of(layout.root()),
            layout,
            counters: Counters::default(),
            memory: Mutex::default(),
            candidates: Mutex::default(),
            settings: Mutex::default(),
        };
        let current = settings::read(&cache.layout)?;
        if let Some(max_bytes) = max_bytes
            && Some(max_bytes) != current
        {
            settings::write(&cache.storage, &cache.layout, max_bytes)?;
            let mut room = cache.lock()?;
            cache.shrink_to(&mut room, max_bytes)?;
        }
        Ok(cache)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.layout.root()
    }

    /// The most bytes that entries may take.
    pub fn max_bytes(&self) -> Result<u64> {
        let found = match self.settings.try_lock() {
            Ok(mut remembered) => settings::read_if_changed(&self.layout, &mut remembered)?,
            Err(_) => settings::read(&self.layout)?,
        };
        Ok(found.unwrap_or(settings::DEFAULT_MAX_BYTES))
    }

    fn not_found(&self, key: &str) -> Error {
        Error::KeyNotFound {
            key: key.to_owned(),
            directory: self.directory().to_owned(),
            hint: ": it was never stored there, or was evicted or removed".to_owned(),
        }
    }

    fn entry_path(&self, key: &Key) -> PathBuf {
        self.layout.entry(key)
    }
}
