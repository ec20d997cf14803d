//! What is in a cache directory: found by listing it.
//!
//! Listing 100,000 entries takes a tenth of a second, so what was found is remembered, folder by
//! folder. A folder's own time of modification says whether files have appeared in it or gone since. It
//! advances in steps, so that alone is taken for proof only once the listing is well after it. It says
//! nothing of when entries were used: who needs to know that looks at the entry.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use rayon::prelude::*;

use super::Cache;
use super::layout::{Key, SUFFIX, WRITING};
use super::store::growth_step;
use crate::fs::{Clock, Owner, keep_number_at, number_of};
use crate::trajectory::RAW_BYTES;
use crate::{Error, Result, threads};

/// Listings of more folders than this are done on all threads.
const WORTH_THREADS: usize = 8;

/// An entry as its directory shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub key: Key,
    pub bytes: u64,
    pub last_used: SystemTime,
    inode: u64,
    /// Its size before compression, once somebody asked for it.
    pub raw_bytes: OnceLock<u64>,
}

/// A file that is not an entry yet.
#[derive(Debug, Clone)]
pub struct Growing {
    pub path: PathBuf,
    /// The key of the trajectory that is written there; a store in progress has none.
    pub trajectory: Option<Key>,
    /// Who stores there; nobody in particular in the case of a trajectory.
    pub owner: Option<Owner>,
    pub bytes: u64,
    pub last_used: SystemTime,
}

impl Growing {
    /// Whether it counts towards a limit: trajectories that are being written do, and stores in
    /// progress once they are so large that they make room as they grow.
    pub fn counts(&self, max_bytes: u64) -> bool {
        self.trajectory.is_some() || self.bytes > growth_step(max_bytes)
    }
}

/// What tells one state of a folder from a later one.
pub type Stamp = (u64, i64, i64, i64, i64);

/// A folder as it was found.
#[derive(Debug)]
pub struct Folder {
    pub stamp: Stamp,
    /// When this stamp was first met, which was not before it was made.
    met: Instant,
    /// When listing began.
    listed: Instant,
    pub entries: Vec<Listed>,
    pub growing: Vec<Growing>,
}

impl Folder {
    fn is_settled(&self, after: Duration) -> bool {
        self.listed - self.met >= after
    }
}

/// The folders that were listed, by their names.
#[derive(Debug, Default)]
pub struct Memory(HashMap<String, Arc<Folder>>);

/// What is in the directory.
#[derive(Debug)]
pub struct Scan {
    folders: Vec<(String, Arc<Folder>)>,
    /// Trajectories that are being written or wait to be resumed, and stores in progress.
    pub growing: Vec<Growing>,
}

impl Scan {
    /// All published entries, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &Listed> {
        self.folders.iter().flat_map(|(_, folder)| &folder.entries)
    }

    /// All trajectories that are being written or wait to be resumed.
    pub fn unfinished(&self) -> impl Iterator<Item = (&Growing, Key)> {
        self.growing.iter().filter_map(|file| Some((file, file.trajectory?)))
    }

    /// What counts towards a limit.
    pub fn used_bytes(&self, max_bytes: u64) -> u64 {
        let growing = self.growing.iter().filter(|file| file.counts(max_bytes));
        let entries = self.entries().map(|entry| entry.bytes);
        entries.chain(growing.map(|file| file.bytes)).sum::<u64>()
    }
}

impl Cache {
    /// What is there; of entries that were found before, as they were found then.
    pub(super) fn scan(&self) -> Result<Scan> {
        // A forked child must not wait for a thread that it does not have, so nobody waits.
        match self.memory.try_lock() {
            Ok(mut memory) => self.scan_with(&mut memory),
            Err(_) => self.scan_with(&mut Memory::default()),
        }
    }

    /// What is there, with the times at which entries were last used.
    pub(super) fn scan_afresh(&self) -> Result<Scan> {
        self.scan_with(&mut Memory::default())
    }

    fn scan_with(&self, memory: &mut Memory) -> Result<Scan> {
        let mut known = std::mem::take(&mut memory.0);
        let (mut folders, mut changed) = (Vec::new(), Vec::new());
        for folder in list(&self.layout.entries())? {
            let Ok(name) = folder.file_name().into_string() else { continue };
            let now = Instant::now();
            // The folders are ours; a link to elsewhere is not followed.
            let Some(found) = inspect(&folder)?.filter(Metadata::is_dir) else { continue };
            let stamp = stamp(&found);
            match known.remove(&name) {
                Some(before) if before.stamp == stamp && before.is_settled(self.settling()) => {
                    folders.push((name, before));
                }
                before => {
                    let same = before.as_ref().filter(|before| before.stamp == stamp);
                    let met = same.map_or(now, |before| before.met);
                    changed.push((name, folder.path(), stamp, met, before));
                }
            }
        }
        let relist = |(name, path, stamp, met, before): (String, PathBuf, _, _, _)| {
            let before: Option<Arc<Folder>> = before;
            Ok((name, Arc::new(list_folder(&path, stamp, met, before.as_deref())?)))
        };
        let listed: Result<Vec<_>> = if changed.len() > WORTH_THREADS {
            threads::run(|| changed.into_par_iter().map(relist).collect())
        } else {
            changed.into_iter().map(relist).collect()
        };
        folders.extend(listed?);
        let mut growing = Vec::new();
        for file in folders.iter().flat_map(|(_, folder)| &folder.growing) {
            // These grow, which changes no folder.
            if let Some(found) = look(&file.path)? {
                let last_used = modified(&file.path, &found)?;
                growing.push(Growing { bytes: found.len(), last_used, ..file.clone() });
            }
        }
        memory.0 =
            folders.iter().map(|(name, folder)| (name.clone(), Arc::clone(folder))).collect();
        Ok(Scan { folders, growing })
    }

    /// How long after a change a listing has to begin to be sure to show all that the same time of
    /// modification stands for: several steps of a local clock; a network's clients are told late.
    fn settling(&self) -> Duration {
        match self.clock {
            Clock::Local => Duration::from_millis(50),
            Clock::Server => Duration::from_secs(5),
        }
    }

    /// Finds the sizes of entries before compression. A listing tells those; an entry that is older than
    /// that, or was copied without its attributes, is opened once.
    pub(super) fn find_raw_bytes(&self, scan: &Scan) {
        let entries: Vec<&Listed> =
            scan.entries().filter(|entry| entry.raw_bytes.get().is_none()).collect();
        let find = |entry: &&Listed| {
            let path = self.entry_path(&entry.key);
            let raw_bytes = number_of(&path, RAW_BYTES).unwrap_or_else(|| {
                // A damaged entry counts as it is; who loads it will be told.
                self.open_entry_quietly(&entry.key).map_or(entry.bytes, |opened| {
                    keep_number_at(&path, RAW_BYTES, opened.raw_bytes());
                    opened.raw_bytes()
                })
            });
            // Whoever was faster found the same.
            let _ = entry.raw_bytes.set(raw_bytes);
        };
        if entries.len() > WORTH_THREADS {
            threads::run(|| entries.par_iter().for_each(find));
        } else {
            entries.iter().for_each(find);
        }
    }

    /// The keys that are pinned.
    pub(super) fn pins(&self) -> Result<HashSet<Key>> {
        let pins = self.layout.root().join("pins");
        let names = list(&pins)?;
        Ok(names.iter().filter_map(|entry| Key::parse(entry.file_name().to_str()?)).collect())
    }
}

fn list_folder(path: &Path, stamp: Stamp, met: Instant, before: Option<&Folder>) -> Result<Folder> {
    let known: HashMap<Key, &Listed> =
        before.iter().flat_map(|before| &before.entries).map(|entry| (entry.key, entry)).collect();
    let mut folder = Folder {
        stamp,
        met,
        listed: Instant::now(),
        entries: Vec::new(),
        growing: Vec::new(),
    };
    for file in list(path)? {
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        let key = |suffix| name.strip_suffix(suffix).and_then(Key::parse);
        let (entry, trajectory, owner) = (key(SUFFIX), key(WRITING), Owner::of_temporary(name));
        if entry.is_none() && trajectory.is_none() && owner.is_none() {
            continue;
        }
        let path = file.path();
        let Some(found) = inspect(&file)?.filter(Metadata::is_file) else { continue };
        let (bytes, last_used, inode) = (found.len(), modified(&path, &found)?, found.ino());
        if let Some(key) = entry {
            let same = known.get(&key).filter(|old| (old.inode, old.bytes) == (inode, bytes));
            let raw_bytes = same.map_or_else(OnceLock::new, |old| old.raw_bytes.clone());
            folder.entries.push(Listed { key, bytes, last_used, inode, raw_bytes });
        } else {
            folder.growing.push(Growing { path, trajectory, owner, bytes, last_used });
        }
    }
    Ok(folder)
}

fn stamp(found: &Metadata) -> Stamp {
    (found.ino(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec())
}

/// What is known of a file, if it is still there.
fn inspect(file: &std::fs::DirEntry) -> Result<Option<Metadata>> {
    if_there(&file.path(), file.metadata())
}

/// The same, of a regular file, by its path.
fn look(path: &Path) -> Result<Option<Metadata>> {
    Ok(if_there(path, path.symlink_metadata())?.filter(Metadata::is_file))
}

fn if_there(path: &Path, found: io::Result<Metadata>) -> Result<Option<Metadata>> {
    match found {
        Ok(found) => Ok(Some(found)),
        // Removed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("inspect", path, error)),
    }
}

fn modified(path: &Path, found: &Metadata) -> Result<SystemTime> {
    found.modified().map_err(|error| Error::io("inspect", path, error))
}

/// What a directory holds; nothing where it is gone.
pub fn list(path: &Path) -> Result<Vec<std::fs::DirEntry>> {
    let list_error = |error| Error::io("list", path, error);
    match std::fs::read_dir(path) {
        Ok(entries) => entries.collect::<io::Result<_>>().map_err(list_error),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(list_error(error)),
    }
}
