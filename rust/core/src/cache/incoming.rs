//! Entries that come as a whole file from elsewhere: another cache, or an object store.
//!
//! The file is written by others under a temporary name in the folder where it will be published.
//! It is then read back: every checksum is verified and the key compared before it becomes visible,
//! and what was stored here meanwhile stays.

use std::path::Path;

use super::Cache;
use super::evict::SpaceRequest;
use super::growth::GrowingFile;
use super::layout::Key;
use super::load::{OpenEntry, check_owner};
use crate::error::CacheError;
use crate::fs::{Content, OpenMode, Temporary, link_or_rename, open_file, set_xattr_u64};
use crate::trajectory::{Entry, RAW_BYTES};
use crate::{Error, IoContext, Result, interrupt};

/// An entry that is being copied into the cache. Dropped, its file is removed.
#[derive(Debug)]
pub struct IncomingEntry<'a> {
    cache: &'a Cache,
    key: Key,
    /// Removed in any case: what was published has another name, too.
    temporary: Temporary,
    bytes: u64,
}

impl Cache {
    /// Begins to copy an entry of `bytes`, for which space is made. An error where a trajectory of
    /// this key is unfinished here: it could not be resumed beside a finished one.
    pub fn begin_incoming(&self, key: &str, bytes: u64) -> Result<IncomingEntry<'_>> {
        self.check_writable()?;
        let key = Key::parse(key).ok_or_else(|| {
            Error::argument(
                "key",
                format!("{key:?}"),
                "the whole key of an entry, as keys() has it",
            )
        })?;
        self.prepare_folder(&key)?;
        if !self.unfinished_files(&key)?.is_empty() {
            let directory = self.directory().to_owned();
            return Err(CacheError::Unfinished { key: key.to_string(), directory }.into());
        }
        let temporary = Temporary::new(&self.storage, self.temporary_for(&key));
        let path = temporary.path();
        self.make_space_up_to(GrowingFile { key, path, replaces: true }, bytes)?;
        self.storage.create_new(path).context("create", path)?;
        Ok(IncomingEntry { cache: self, key, temporary, bytes })
    }
}

impl IncomingEntry<'_> {
    /// The file to write to, which is there and empty.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Verifies every byte that was written, and makes the entry visible; returns whether it was,
    /// as one that is stored here by now is left alone.
    pub fn publish(self) -> Result<bool> {
        let (cache, path) = (self.cache, self.path());
        let opened = self.verified()?;
        let file = cache.storage.open(path).context("open", path)?;
        set_xattr_u64(file.file(), RAW_BYTES, opened.raw_bytes());
        file.sync().context("sync", path)?;
        let mut lock = cache.lock()?;
        if cache.has(&self.key)? {
            return Ok(false);
        }
        let (key, bytes) = (self.key, self.bytes);
        let request = SpaceRequest { key, bytes, file: path, replaces: true, rescan: true };
        let others = cache.make_space(&mut lock, &request)?;
        cache.filesystem.touch(path)?;
        let target = cache.entry_path(&key);
        let is_new = lock.update(others + bytes, || {
            // One may be stored by now by a process that the lock does not reach.
            link_or_rename(&*cache.storage, path, &target).context("publish", &target)
        })?;
        drop(lock);
        let folder = target.parent().unwrap_or_else(|| cache.directory());
        cache.storage.sync_dir(folder).context("sync", folder)?;
        Ok(is_new)
    }

    /// Reads everything back. The file was written by others, so it is not mapped.
    fn verified(&self) -> Result<OpenEntry> {
        let path = self.path();
        let file = open_file(path).context("open", path)?;
        let content = Content::of(file, path, None, OpenMode::Unnamed)?;
        if content.length() != self.bytes {
            let reason = format!("it has {} bytes of {}", content.length(), self.bytes);
            return Err(Error::corrupt(path, "its end", reason));
        }
        let opened = OpenEntry::new(Entry::of(content)?);
        check_owner(&opened, &self.key, path)?;
        let report = opened.verify()?;
        interrupt::check()?;
        match report.damaged.into_iter().next() {
            Some(damage) => Err(damage.error),
            None => Ok(opened),
        }
    }
}
