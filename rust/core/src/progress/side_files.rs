//! Files beside the counters: a few opaque bytes each, in a file of their own. Users' metadata of
//! tasks is kept so, and what batch jobs say of themselves.
//!
//! Both are descriptive and may be replaced at any time, so they stay out of the counters: a task
//! without metadata costs nothing. A file is published whole. A damaged one is logged once and
//! left out, because no job should stop for it.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::layout::MAX_ID;
use super::shard::open_directory;
use crate::fs::{OpenDirectory, SealedFormat, Storage, create_dirs, if_there, publish_bytes};
use crate::per_process::try_lock;
use crate::{Error, IoContext, Result, checksum};

const FORMAT: SealedFormat = SealedFormat {
    magic: *b"pfxmeta\n",
    version: 1,
    align: 1,
    file: "metadata of a task, or facts of a batch job",
    body: "its body",
    remedy: "remove it",
};
/// The folder of users' metadata.
const NAME: &str = "metadata";
/// The most bytes that a task may have.
pub const MAX_TASK_METADATA: usize = 64 << 10;
/// A directory that changed this recently may change again at the same modification time.
const MTIME_GRANULARITY: Duration = Duration::from_secs(2);

/// Values by the ids that they belong to.
pub(super) type ById = HashMap<String, Vec<u8>>;

/// The files of one folder, by the ids that they belong to.
#[derive(Debug)]
pub(super) struct SideFiles {
    /// `None` where the progress is in memory only.
    directory: Option<PathBuf>,
    /// The name of the folder, and the most bytes of a value and of all together.
    name: &'static str,
    limit: usize,
    total_limit: usize,
    /// Only ever tried: a fork may have copied it locked.
    cache: Mutex<FileCache>,
}

#[derive(Debug, Default)]
struct FileCache {
    /// The modification time of the directory when it was listed, once too old to be ambiguous.
    listed: Option<SystemTime>,
    /// How often it was listed or written into, in memory.
    listings: u64,
    values: ById,
    warnings: Vec<String>,
}

impl SideFiles {
    /// Users' metadata of tasks beside the counters in `directory`.
    pub fn new(directory: Option<&Path>) -> Self {
        Self::in_folder(directory, NAME, MAX_TASK_METADATA, usize::MAX)
    }

    /// Values of at most `limit` bytes in the folder `name` beside the counters, of which at most
    /// about `total_limit` bytes are read.
    pub fn in_folder(
        directory: Option<&Path>,
        name: &'static str,
        limit: usize,
        total_limit: usize,
    ) -> Self {
        let directory = directory.map(|directory| directory.join(name));
        Self { directory, name, limit, total_limit, cache: Mutex::default() }
    }

    /// Replaces the value of an id.
    pub fn write(&self, storage: &Arc<dyn Storage>, id: &str, value: &[u8]) -> Result<()> {
        self.check(value)?;
        let Some(directory) = &self.directory else { return self.keep(id, value) };
        // A symlink in its place is refused, not followed.
        if directory.symlink_metadata().is_err() {
            create_dirs(&**storage, directory)?;
        }
        open_directory(directory)?;
        let name = format!("{:016x}", checksum(id.as_bytes()));
        publish_bytes(storage, &directory.join(name), &encode(id, value))
    }

    /// Replaces the value of an id in memory only.
    pub fn keep(&self, id: &str, value: &[u8]) -> Result<()> {
        self.check(value)?;
        if let Some(mut cache) = try_lock(&self.cache) {
            cache.values.insert(id.to_owned(), value.to_owned());
            cache.listings += 1;
        }
        Ok(())
    }

    fn check(&self, value: &[u8]) -> Result<()> {
        if value.len() <= self.limit {
            return Ok(());
        }
        let expected = format!("at most {} bytes", self.limit);
        Err(Error::argument(self.name, format!("{} bytes", value.len()), expected))
    }

    /// All values.
    pub fn read(&self) -> ById {
        match try_lock(&self.cache) {
            Some(mut cache) => self.refresh(&mut cache),
            None => self.refresh(&mut FileCache::default()),
        }
    }

    /// All values, unless they are those of the listing of this number; and the number.
    pub fn read_since(&self, listing: u64) -> Option<(u64, ById)> {
        let mut cache = try_lock(&self.cache)?;
        let values = self.refresh(&mut cache);
        (cache.listings != listing).then_some((cache.listings, values))
    }

    /// Logs the damage that was found, each file once. Not for the background thread.
    pub fn log_warnings(&self) {
        // Without the lock: a logger may come back here.
        let warnings = try_lock(&self.cache).map(|mut cache| std::mem::take(&mut cache.warnings));
        for warning in warnings.unwrap_or_default() {
            log::warn!(target: crate::LOGGER, "{warning}");
        }
    }

    fn refresh(&self, cache: &mut FileCache) -> ById {
        let Some(directory) = &self.directory else { return cache.values.clone() };
        let changed = directory.symlink_metadata().and_then(|found| found.modified()).ok();
        if changed.is_none() || changed == cache.listed {
            return cache.values.clone();
        }
        let parent = directory.parent().unwrap_or(directory);
        let listed = OpenDirectory::open(parent)
            .and_then(|parent| parent.open_directory(self.name))
            .and_then(|directory| Ok((directory.names()?, directory)));
        let (names, open) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                let error = Error::io("read", directory, error);
                cache.warnings.push(format!("{error}; continuing without {}", self.name));
                cache.listed = changed;
                return cache.values.clone();
            }
        };
        let is_unambiguous = changed.is_some_and(|changed| {
            changed.elapsed().is_ok_and(|elapsed| elapsed > MTIME_GRANULARITY)
        });
        cache.listed = changed.filter(|_| is_unambiguous);
        cache.listings += 1;
        cache.values.clear();
        let mut read_bytes = 0;
        // Anything else is a temporary file of a writer.
        for name in names.iter().filter(|name| name.len() == 16) {
            if read_bytes >= self.total_limit {
                let (folder, limit) = (directory.display(), self.total_limit);
                let warning = format!("{folder}: more than {limit} bytes; the rest is left out");
                cache.warnings.push(warning);
                break;
            }
            match read(&open, name, self.limit) {
                Ok(Some((id, value))) => {
                    read_bytes += value.len();
                    cache.values.insert(id, value);
                }
                Ok(None) => {}
                Err(error) => cache.warnings.push(format!("{error}; continuing without it")),
            }
        }
        cache.values.clone()
    }
}

fn encode(id: &str, value: &[u8]) -> Vec<u8> {
    let body = [&[id.len() as u8], id.as_bytes(), value].concat();
    FORMAT.seal(&body)
}

/// The id and the value in a file; `None` where it is gone by now.
fn read(directory: &OpenDirectory, name: &str, limit: usize) -> Result<Option<(String, Vec<u8>)>> {
    let path = directory.path().join(name);
    let mut bytes = Vec::new();
    // One byte more than there may be, which is damage.
    let most = (32 + 1 + MAX_ID + limit + 1) as u64;
    let read = directory.open_file(name).and_then(|file| file.take(most).read_to_end(&mut bytes));
    let read = if_there(read).context("read", &path)?;
    read.map(|_| parse(&bytes, &path, limit)).transpose()
}

fn parse(bytes: &[u8], path: &Path, limit: usize) -> Result<(String, Vec<u8>)> {
    let body = FORMAT.unseal(bytes, path)?;
    let parts = || {
        let (&length, rest) = body.split_first()?;
        let (id, value) = rest.split_at_checked(usize::from(length))?;
        let is_sound = id.len() <= MAX_ID && value.len() <= limit;
        let id = String::from_utf8(id.to_vec()).ok().filter(|_| is_sound)?;
        Some((id, value.to_vec()))
    };
    parts().ok_or_else(|| FORMAT.damaged(path, "its body cannot be parsed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn metadata_reads_back_and_damage_is_found(
            id in "\\PC{1,40}", value in prop::collection::vec(any::<u8>(), 0..80),
            at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let mut bytes = encode(&id, &value);
            prop_assert_eq!(parse(&bytes, Path::new("x"), MAX_TASK_METADATA).unwrap(), (id, value));
            let at = at.index(bytes.len());
            prop_assert!(parse(&bytes[..at], Path::new("x"), MAX_TASK_METADATA).is_err());
            bytes[at] ^= flip;
            prop_assert!(parse(&bytes, Path::new("x"), MAX_TASK_METADATA).is_err());
        }
    }

    #[test]
    fn the_bytes_of_a_file_stay_as_they_are() {
        let hex: String = encode("a", b"value").iter().map(|byte| format!("{byte:02x}")).collect();
        let golden =
            "7066786d6574610a01000000000000000700000000000000b5315846f79ba382016176616c7565";
        assert_eq!(hex, golden);
    }

    #[test]
    fn a_folder_that_holds_too_much_is_read_in_part_and_that_is_logged() {
        let directory = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(crate::fs::Disk);
        let store = SideFiles::in_folder(Some(directory.path()), "jobs", 100, 250);
        for id in ["a", "b", "c", "d"] {
            store.write(&storage, id, &[7; 100]).unwrap();
        }
        assert_eq!(store.read().len(), 3);
        assert!(store.cache.lock().unwrap().warnings[0].contains("more than 250 bytes"));
    }

    #[test]
    fn a_folder_that_can_not_be_read_is_logged_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the test puts a file in its place")]
        std::fs::write(directory.path().join("jobs"), "").unwrap();
        let jobs = SideFiles::in_folder(Some(directory.path()), "jobs", 100, 100);
        assert!(jobs.read().is_empty());
        assert!(jobs.cache.lock().unwrap().warnings[0].ends_with("; continuing without jobs"));
        let error = jobs.keep("a", &[0; 101]).unwrap_err().to_string();
        assert!(error.starts_with("jobs"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_logged_and_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(crate::fs::Disk);
        let metadata = SideFiles::new(Some(directory.path()));
        for id in ["a", "b"] {
            metadata.write(&storage, id, b"value").unwrap();
        }
        let path = directory.path().join("metadata").join(format!("{:016x}", checksum(b"a")));
        #[expect(clippy::disallowed_methods, reason = "the test damages a file")]
        std::fs::write(path, "nothing").unwrap();
        assert_eq!(metadata.read().into_keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(metadata.cache.lock().unwrap().warnings.len(), 1);
    }
}
