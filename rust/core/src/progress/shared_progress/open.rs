//! Opening the progress of a directory: which shard to count in.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::keep::Saving;
use super::{Location, SharedProgress};
use crate::fs::{
    Boot, Disk, FilesystemKind, OpenDirectory, Owner, SharedMap, Storage, absolute, create_dirs,
    has_other_names, remove_orphaned,
};
use crate::progress::DIRECTORY;
use crate::progress::active_time::IDLE_LIMIT;
use crate::progress::counter_file::CounterFile;
use crate::progress::index::TaskIndex;
use crate::progress::jobs::JobStore;
use crate::progress::other_shards::{Newer, OtherShards};
use crate::progress::shard::{ShardName, ShardReader, list, open_directory};
use crate::progress::side_files::SideFiles;
use crate::progress::writers::NO_WRITER;
use crate::{IoContext, Result};

impl SharedProgress {
    /// Progress in memory, shared with forked children of this process only.
    pub fn in_memory() -> Result<Self> {
        let counters = CounterFile::in_memory("memory", Boot::default(), 0)?;
        let progress = Self::new(Arc::new(Disk), None, counters, u64::MAX);
        progress.writer()?;
        progress.tick();
        Ok(progress)
    }

    fn new(
        storage: Arc<dyn Storage>,
        location: Option<Location>,
        counters: CounterFile<SharedMap>,
        idle_limit: u64,
    ) -> Self {
        let directory = location.as_ref().map(|location| location.directory.as_path());
        Self {
            index: TaskIndex::new(),
            metadata: SideFiles::new(directory),
            jobs: JobStore::new(directory),
            writer: AtomicUsize::new(NO_WRITER),
            storage,
            location,
            counters,
            idle_limit,
        }
    }

    /// Opens the progress in the directory `root`, or creates it there.
    pub fn open(storage: &Arc<dyn Storage>, root: &Path) -> Result<Self> {
        Self::open_as(storage, root, Owner::current().host())
    }

    /// [`SharedProgress::open`] under the name of a given host and boot.
    pub fn open_as(storage: &Arc<dyn Storage>, root: &Path, host: &str) -> Result<Self> {
        Self::open_on(storage, root, host, FilesystemKind::of)
    }

    /// [`SharedProgress::open_as`] on a file system whose kind `kind_of` tells.
    pub(super) fn open_on(
        storage: &Arc<dyn Storage>,
        root: &Path,
        host: &str,
        kind_of: impl Fn(&Path) -> FilesystemKind,
    ) -> Result<Self> {
        let root = absolute(root)?;
        let path = root.join(DIRECTORY);
        // Refused before anything is made below it.
        if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            open_directory(&path)?;
        }
        create_dirs(&**storage, &path)?;
        let directory = open_directory(&path)?;
        let identity = directory.identity().context("inspect", &path)?;
        let opened = match kind_of(&path) {
            FilesystemKind::Local => open_shard(storage, &directory, host)?,
            FilesystemKind::Network => None,
        };
        let is_in_memory = opened.is_none();
        let (name, counters) = match opened {
            Some(opened) => opened,
            None => {
                let name = ShardName { host: host.to_owned(), generation: unique() };
                let boot = boot_of(host);
                let counters = CounterFile::in_memory(host, boot, name.generation)?;
                (name, counters)
            }
        };
        if let Err(error) = remove_orphaned(&**storage, &path) {
            log::warn!(target: crate::LOGGER, "{error}; it stays, and the work goes on without");
        }
        let others = OtherShards::new(path.clone(), host.to_owned());
        others.states_in(&directory, std::slice::from_ref(&name), Newer::Refuse)?;
        let location = Location {
            root,
            identity,
            name,
            others,
            is_in_memory,
            saving: Saving::default(),
            directory: path,
        };
        let progress = Self::new(Arc::clone(storage), Some(location), counters, IDLE_LIMIT);
        progress.writer()?;
        progress.refresh_index()?;
        progress.log_warnings();
        progress.tick();
        progress.counters.mend()?;
        progress.save(true)?;
        Ok(progress)
    }
}

/// Opens the newest intact shard of this host, which is of this directory alone, or makes the next
/// one. `None` where the file system can't make one in one step.
fn open_shard(
    storage: &Arc<dyn Storage>,
    directory: &OpenDirectory,
    host: &str,
) -> Result<Option<(ShardName, CounterFile<SharedMap>)>> {
    let (mut newest, mut intact, mut warning) = (None, None, None);
    for name in list(directory)? {
        let (is_own, generation) = (name.host == host, name.generation);
        // Every shard has to be readable, or the shown counts would be less than the real ones.
        let mut reader = ShardReader::new(name, host);
        let shard = reader.read(directory, FilesystemKind::Local)?;
        if is_own {
            newest = newest.max(Some(generation));
            if shard.is_intact {
                intact = intact.max(Some(generation));
                warning = reader.take_warning().or(warning);
            }
        }
    }
    let name_of = |generation| ShardName { host: host.to_owned(), generation };
    // One that a copy of the directory has as well stays as it is.
    if let Some(generation) = intact
        && has_other_names(&name_of(generation).counters(directory.path()))?
    {
        intact = None;
    }
    let name = name_of(intact.unwrap_or(newest.map_or(0, |newest: u64| newest + 1)));
    let path = name.counters(directory.path());
    let boot = boot_of(host);
    // Whoever is faster makes it, and all open that one.
    if intact.is_none() && !CounterFile::create(storage, &path, host, boot, name.generation)? {
        return Ok(None);
    }
    if let Some(warning) = warning {
        log::warn!(target: crate::LOGGER, "{warning}");
    }
    Ok(Some((name, CounterFile::open(storage, &path)?)))
}

fn boot_of(host: &str) -> Boot {
    if host == Owner::current().host() { Boot::current() } else { Boot::default() }
}

/// A generation that no other process, of any host, takes for itself.
fn unique() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Keys of the standard library's hash maps are random. Room for a next one is left.
    RandomState::new().hash_one((std::process::id(), std::time::Instant::now())) >> 2 | 1
}
