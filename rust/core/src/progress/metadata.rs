//! What a task's owner wants to be known about it: a few bytes that this
//! library doesn't look into, one file each.
//!
//! It is descriptive and may be replaced at any time, so it stays out of the counters: a task without
//! metadata pays nothing. A file is published whole. One that is damaged is told once and left out,
//! because no job should stop for it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, SystemTime};

use super::layout::MAX_ID;
use crate::fs::{Storage, create_dirs, publish_bytes, read_file};
use crate::{Error, Result, checksum};

const MAGIC: &[u8; 8] = b"pfxmeta\n";
const VERSION: u64 = 1;
/// Magic, version, length and checksum of the body.
const PRELUDE: usize = 32;
/// The most bytes that a task may have.
pub const MAX_METADATA: usize = 64 << 10;
/// A directory that changed so lately may change again within the same tick of its clock.
const SETTLED: Duration = Duration::from_secs(2);

type ById = HashMap<String, Vec<u8>>;

/// The metadata of a board's tasks, by their ids.
#[derive(Debug)]
pub(super) struct Metadata {
    /// `None` where the board is in memory only.
    directory: Option<PathBuf>,
    /// Only ever tried: a fork may have copied it locked.
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When the directory had last changed as it was listed, and whether it had settled by then.
    listed: Option<SystemTime>,
    values: ById,
    notes: Vec<String>,
}

impl Metadata {
    /// The metadata beside the counters in `directory`.
    pub fn new(directory: Option<&Path>) -> Self {
        let directory = directory.map(|directory| directory.join("metadata"));
        Self { directory, seen: Mutex::default() }
    }

    /// Replaces the metadata of a task.
    pub fn write(&self, storage: &Arc<dyn Storage>, id: &str, value: &[u8]) -> Result<()> {
        if value.len() > MAX_METADATA {
            let expected = format!("at most {MAX_METADATA} bytes");
            return Err(Error::argument("metadata", format!("{} bytes", value.len()), expected));
        }
        let Some(directory) = &self.directory else {
            if let Ok(mut seen) = self.seen.try_lock() {
                seen.values.insert(id.to_owned(), value.to_owned());
            }
            return Ok(());
        };
        create_dirs(&**storage, directory)?;
        let name = format!("{:016x}", checksum(id.as_bytes()));
        publish_bytes(storage, &directory.join(name), &encode(id, value))
    }

    /// All of it.
    pub fn read(&self) -> ById {
        match self.seen.try_lock() {
            Ok(mut seen) => self.refresh(&mut seen),
            Err(TryLockError::Poisoned(seen)) => self.refresh(&mut seen.into_inner()),
            Err(TryLockError::WouldBlock) => self.refresh(&mut Seen::default()),
        }
    }

    /// Logs what there is to say, each thing once. Not for the background thread.
    pub fn report(&self) {
        if let Ok(mut seen) = self.seen.try_lock() {
            for note in seen.notes.drain(..) {
                log::warn!("{note}");
            }
        }
    }

    fn refresh(&self, seen: &mut Seen) -> ById {
        let Some(directory) = &self.directory else { return seen.values.clone() };
        let changed = directory.metadata().and_then(|found| found.modified()).ok();
        if changed.is_none() || changed == seen.listed {
            return seen.values.clone();
        }
        let has_settled =
            changed.is_some_and(|changed| changed.elapsed().is_ok_and(|elapsed| elapsed > SETTLED));
        seen.listed = changed.filter(|_| has_settled);
        seen.values.clear();
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            // Anything else is a temporary file of a writer.
            if name.len() != 16 {
                continue;
            }
            match read(&entry.path()) {
                Ok(Some((id, value))) => {
                    seen.values.insert(id, value);
                }
                Ok(None) => {}
                Err(error) => seen.notes.push(format!("{error}; continuing without it")),
            }
        }
        seen.values.clone()
    }
}

fn encode(id: &str, value: &[u8]) -> Vec<u8> {
    let mut body = vec![id.len() as u8];
    body.extend_from_slice(id.as_bytes());
    body.extend_from_slice(value);
    let mut bytes = MAGIC.to_vec();
    for word in [VERSION, body.len() as u64, checksum(&body)] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.append(&mut body);
    bytes
}

/// The id and the value in a file; `None` where it is gone by now.
fn read(path: &Path) -> Result<Option<(String, Vec<u8>)>> {
    match read_file(path) {
        Ok(bytes) => parse(&bytes, path).map(Some),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(bytes: &[u8], path: &Path) -> Result<(String, Vec<u8>)> {
    let damaged = |reason: &str| super::counters::torn(path, "the metadata of a task", reason);
    let word = |index: usize| {
        let word = bytes.get(index * 8..index * 8 + 8)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    };
    if !bytes.starts_with(MAGIC) {
        return Err(damaged("it doesn't begin like one"));
    }
    let version = word(1).ok_or_else(|| damaged("it is too short"))?;
    if version > VERSION {
        let (found, supported) = (version as u32, VERSION as u32);
        return Err(Error::NewerFormat { path: path.to_owned(), found, supported });
    }
    let body = bytes.get(PRELUDE..).ok_or_else(|| damaged("it is too short"))?;
    if word(2) != Some(body.len() as u64) || word(3) != Some(checksum(body)) {
        return Err(damaged("its checksum does not match"));
    }
    let parts = || {
        let (&length, rest) = body.split_first()?;
        let (id, value) = rest.split_at_checked(usize::from(length))?;
        let is_sound = id.len() <= MAX_ID && value.len() <= MAX_METADATA;
        let id = String::from_utf8(id.to_vec()).ok().filter(|_| is_sound)?;
        Some((id, value.to_vec()))
    };
    parts().ok_or_else(|| damaged("its parts make no sense"))
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
            prop_assert_eq!(parse(&bytes, Path::new("x")).unwrap(), (id, value));
            let at = at.index(bytes.len());
            prop_assert!(parse(&bytes[..at], Path::new("x")).is_err());
            bytes[at] ^= flip;
            prop_assert!(parse(&bytes, Path::new("x")).is_err());
        }
    }

    #[test]
    fn a_damaged_file_is_told_and_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(crate::fs::Disk);
        let metadata = Metadata::new(Some(directory.path()));
        for id in ["a", "b"] {
            metadata.write(&storage, id, b"value").unwrap();
        }
        let path = directory.path().join("metadata").join(format!("{:016x}", checksum(b"a")));
        #[expect(clippy::disallowed_methods, reason = "the test damages a file")]
        std::fs::write(path, "nothing").unwrap();
        assert_eq!(metadata.read().into_keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(metadata.seen.lock().unwrap().notes.len(), 1);
    }
}
