//! What is in a cache directory, found by listing it.
//!
//! Listing 100,000 entries takes a tenth of a second, so what was found is cached for each folder.
//! A folder is listed again once its time of modification has changed. Such times are coarse, so an
//! unchanged time proves an unchanged folder only if it was listed well after that time. A folder's
//! time says nothing of when entries were used; who needs to know that inspects the entry.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rayon::prelude::*;

use super::Cache;
use super::layout::{Key, SUFFIX};
use super::unfinished_name::UnfinishedName;
use crate::fs::{Owner, PassedOver, list_if_there, metadata_if_there, name_of};
use crate::per_process::try_lock;
use crate::{Error, IoContext, Result, threads};

/// More files or folders than this are looked at on all threads.
pub(super) const FILES_WORTH_THREADS: usize = 8;

/// A published entry as a listing shows it.
#[derive(Debug, Clone)]
pub(super) struct EntryStat {
    pub key: Key,
    pub bytes: u64,
    pub last_used: SystemTime,
    inode: u64,
    /// Its size before compression, once it was asked for.
    pub raw_bytes: OnceLock<u64>,
}

/// A file that is not published yet: an entry in progress or a temporary file.
#[derive(Debug, Clone)]
pub(super) struct PartialFile {
    pub path: PathBuf,
    /// The name of an entry in progress; a temporary file has none.
    pub in_progress: Option<UnfinishedName>,
    /// The process that a temporary file belongs to.
    pub owner: Option<Owner>,
    pub bytes: u64,
    pub last_written: SystemTime,
}

impl PartialFile {
    /// Whether it counts towards a limit: entries in progress do, and temporary files once they are
    /// so large that space is made for them as they grow.
    pub fn counts(&self, max_bytes: u64) -> bool {
        self.in_progress.is_some() || self.bytes > growth_step(max_bytes)
    }
}

/// Space for a growing file is made in steps of this part of the limit.
const GROWTH_PART: u64 = 64;
/// The bytes that such a step has at least and at most.
const GROWTH: RangeInclusive<u64> = 64 << 10..=64 << 20;

/// In which steps space is made for a growing file. For an entry of no more than one step, space is
/// made when it is published.
pub(super) fn growth_step(max_bytes: u64) -> u64 {
    (max_bytes / GROWTH_PART).clamp(*GROWTH.start(), *GROWTH.end())
}

/// What distinguishes one state of a folder from a later one: its inode and times.
type FolderVersion = (u64, i64, i64, i64, i64);

/// A folder as it was listed.
#[derive(Debug)]
struct Folder {
    version: FolderVersion,
    /// When this version was first seen, which is no earlier than it was made.
    first_seen: Instant,
    /// When listing began.
    listed: Instant,
    entries: Vec<EntryStat>,
    partial: Vec<PartialFile>,
}

impl Folder {
    /// Whether the listing is sure to show everything that has the same time of modification.
    fn is_conclusive(&self, mtime_granularity: Duration) -> bool {
        self.listed - self.first_seen >= mtime_granularity
    }
}

/// The folders that were listed, by their names.
#[derive(Debug, Default)]
pub(super) struct ScanCache(HashMap<String, Arc<Folder>>);

/// What is in the directory.
#[derive(Debug)]
pub(super) struct Scan {
    folders: Vec<(String, Arc<Folder>)>,
    /// Entries in progress and temporary files.
    pub partial: Vec<PartialFile>,
    /// Folders that another user has closed: nobody knows what is in them.
    pub closed: PassedOver,
}

/// The caches of which the log says that a folder is closed.
static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

impl Scan {
    /// All published entries, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &EntryStat> {
        self.folders.iter().flat_map(|(_, folder)| &folder.entries)
    }

    /// All entries in progress, also those that wait to be resumed: of each the file that counts.
    pub fn in_progress(&self) -> impl Iterator<Item = (&PartialFile, Key)> {
        let mut newest: HashMap<Key, (u64, &PartialFile)> = HashMap::new();
        for file in &self.partial {
            let Some(name) = file.in_progress else { continue };
            let found = newest.entry(name.key).or_insert((name.number, file));
            if (name.number, file.bytes) > (found.0, found.1.bytes) {
                *found = (name.number, file);
            }
        }
        newest.into_iter().map(|(key, (_, file))| (file, key))
    }

    /// The bytes that count towards a limit.
    pub fn used_bytes(&self, max_bytes: u64) -> u64 {
        let partial = self.partial.iter().filter(|file| file.counts(max_bytes));
        let entries = self.entries().map(|entry| entry.bytes);
        entries.chain(partial.map(|file| file.bytes)).sum::<u64>()
    }
}

impl Cache {
    /// Lists the directory; an entry that was listed before may have an older time of last use.
    pub(super) fn scan(&self) -> Result<Scan> {
        // A forked child must not wait for a thread that it does not have, so nothing waits.
        match try_lock(&self.scan_cache) {
            Some(mut cache) => self.scan_with(&mut cache),
            None => self.scan_uncached(),
        }
    }

    /// Lists the directory, with the times at which entries were last used.
    pub(super) fn scan_uncached(&self) -> Result<Scan> {
        self.scan_with(&mut ScanCache::default())
    }

    fn scan_with(&self, cache: &mut ScanCache) -> Result<Scan> {
        self.layout.check()?;
        let granularity = self.filesystem.mtime_granularity();
        let mut known = std::mem::take(&mut cache.0);
        let (mut folders, mut changed) = (Vec::new(), Vec::new());
        for folder in list_if_there(&self.layout.entries())? {
            let Some(name) = name_of(&folder).map(str::to_owned) else { continue };
            let now = Instant::now();
            // A symlink is not followed.
            let Some(found) = metadata_if_there(&folder)?.filter(Metadata::is_dir) else {
                continue;
            };
            let version = version(&found);
            match known.remove(&name) {
                Some(before) if before.version == version && before.is_conclusive(granularity) => {
                    folders.push((name, before));
                }
                before => {
                    let same = before.as_ref().filter(|before| before.version == version);
                    let first_seen = same.map_or(now, |before| before.first_seen);
                    changed.push((name, folder, version, first_seen, before));
                }
            }
        }
        let relist = |(name, path, version, first_seen, before): (String, PathBuf, _, _, _)| {
            let before: Option<Arc<Folder>> = before;
            Ok((name, Arc::new(list_folder(&path, version, first_seen, before.as_deref())?)))
        };
        let listed: Vec<Result<(String, Arc<Folder>)>> = if changed.len() > FILES_WORTH_THREADS {
            threads::run(|| changed.into_par_iter().map(relist).collect())
        } else {
            changed.into_iter().map(relist).collect()
        };
        let mut closed = PassedOver::default();
        for folder in listed {
            folders.extend(match folder {
                Err(error) if is_denied(&error) => closed.try_step(Err::<Option<_>, _>(error))?,
                folder => Some(folder?),
            });
        }
        let mut partial = Vec::new();
        for file in folders.iter().flat_map(|(_, folder)| &folder.partial) {
            // They grow, which changes no folder.
            if let Some(found) = metadata_if_there(&file.path)?.filter(Metadata::is_file) {
                let last_written = modified(&file.path, &found)?;
                partial.push(PartialFile { bytes: found.len(), last_written, ..file.clone() });
            }
        }
        cache.0 = folders.iter().map(|(name, folder)| (name.clone(), Arc::clone(folder))).collect();
        Ok(Scan { folders, partial, closed })
    }

    /// Logs which folder a scan could not look into; not to be called under a lock.
    pub(super) fn tell_closed(&self, scan: &Scan) {
        if let Some(warning) = self.closed_warning(scan) {
            log::warn!(target: crate::LOGGER, "{warning}");
        }
    }

    /// What the log is to say of folders that a scan could not look into, once in a process.
    pub(super) fn closed_warning(&self, scan: &Scan) -> Option<String> {
        let warning = scan.closed.warning(&AtomicBool::new(false))?;
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(self.directory().to_owned()).then_some(warning)
    }

    /// The keys that are pinned.
    pub(super) fn pins(&self) -> Result<HashSet<Key>> {
        let pins = list_if_there(&self.layout.pins())?;
        Ok(pins.iter().filter_map(|pin| Key::parse(name_of(pin)?)).collect())
    }
}

fn list_folder(
    path: &Path,
    version: FolderVersion,
    first_seen: Instant,
    before: Option<&Folder>,
) -> Result<Folder> {
    let known: HashMap<Key, &EntryStat> =
        before.iter().flat_map(|before| &before.entries).map(|entry| (entry.key, entry)).collect();
    let mut folder = Folder {
        version,
        first_seen,
        listed: Instant::now(),
        entries: Vec::new(),
        partial: Vec::new(),
    };
    for path in list_if_there(path)? {
        let Some(name) = name_of(&path) else { continue };
        let key = |suffix| name.strip_suffix(suffix).and_then(Key::parse);
        let (entry, owner) = (key(SUFFIX), Owner::of_temporary(name));
        let in_progress = UnfinishedName::parse(name);
        if entry.is_none() && in_progress.is_none() && owner.is_none() {
            continue;
        }
        let Some(found) = metadata_if_there(&path)?.filter(Metadata::is_file) else { continue };
        let (bytes, modified, inode) = (found.len(), modified(&path, &found)?, found.ino());
        if let Some(key) = entry {
            let same = known.get(&key).filter(|old| (old.inode, old.bytes) == (inode, bytes));
            let raw_bytes = same.map_or_else(OnceLock::new, |old| old.raw_bytes.clone());
            folder.entries.push(EntryStat { key, bytes, last_used: modified, inode, raw_bytes });
        } else {
            let last_written = modified;
            folder.partial.push(PartialFile { path, in_progress, owner, bytes, last_written });
        }
    }
    Ok(folder)
}

fn version(found: &Metadata) -> FolderVersion {
    (found.ino(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec())
}

fn modified(path: &Path, found: &Metadata) -> Result<SystemTime> {
    found.modified().context("inspect", path)
}

/// Whether permissions deny what was to be done.
fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
}

/// What was found; the default in a folder that another user has closed.
pub(super) fn unless_closed<T: Default>(found: Result<T>) -> Result<T> {
    found.or_else(|error| if is_denied(&error) { Ok(T::default()) } else { Err(error) })
}

/// Whether this is a folder, and no symlink.
pub(super) fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}
