//! Entries that are stored at once, and how any entry is published.

use std::path::{Path, PathBuf};

use super::Cache;
use super::evict::SpaceRequest;
use super::growth::GrowingFile;
use super::layout::{Key, SUFFIX};
use super::load::OpenEntry;
use super::replaced::Replaces;
use super::scan::growth_step;
use crate::fs::{Failure, Owner, StorageFile, create_with_fallback, memory_file};
use crate::topology::Topology;
use crate::trajectory::{
    Encoding, EntryHeader, EntryKind, EntryWriter, FieldSpec, check_not_newer,
};
use crate::{Error, IoContext, Result};

/// An entry that is being written under a temporary name.
#[derive(Debug)]
pub struct PendingEntry<'a> {
    cache: &'a Cache,
    key: Key,
    temporary: PathBuf,
    writer: Option<EntryWriter>,
    /// Up to which size space has been made; 0 as long as it is made at the end.
    reserved: u64,
    /// Of an entry that is read back whether it can be stored or not: why it can't.
    kept: Option<NotStored>,
    published: bool,
    /// The process whose file it is: a forked child has a copy of this value, too.
    process: u32,
}

/// What keeps an entry from being stored.
#[derive(Debug, Default)]
struct NotStored {
    /// The disk failed, and the file is in memory.
    disk: Failure,
    /// There is no space below the limit, or no folder for it.
    refused: Option<Error>,
}

impl NotStored {
    fn take(&mut self, path: &Path) -> Option<Error> {
        self.refused.take().or_else(|| {
            // The entry's file may still share the failure, so it is not taken out.
            let error = self.disk.get()?;
            let again = match error.raw_os_error() {
                Some(code) => std::io::Error::from_raw_os_error(code),
                None => std::io::Error::new(error.kind(), error.to_string()),
            };
            Some(Error::io("write", path, again))
        })
    }
}

/// An entry that is open and was to be stored.
#[derive(Debug)]
pub struct KeptEntry {
    /// What was written.
    pub entry: OpenEntry,
    /// Why it is not in the cache, where it isn't.
    pub not_stored: Option<Error>,
}

impl Cache {
    /// Begins an entry that is stored at once.
    pub fn begin(
        &self,
        kind: EntryKind,
        data_id: &str,
        metadata: Vec<u8>,
        encoding: Encoding,
        topology: Option<&Topology>,
    ) -> Result<PendingEntry<'_>> {
        self.check_writable()?;
        let key = Key::of(kind, data_id);
        self.prepare_folder(&key)?;
        check_not_newer(&self.entry_path(&key))?;
        let temporary = self.temporary_for(&key);
        let file = self.storage.create_new(&temporary).context("create", &temporary)?;
        // From here on, dropping `pending` removes the file again.
        let mut pending = PendingEntry::new(self, key, temporary, None);
        let head = EntryHeader::now(kind, data_id, metadata);
        pending.create(file, &head, encoding, topology)?;
        Ok(pending)
    }

    /// Begins an entry that is read back by [`PendingEntry::publish_and_open`] whether it can be
    /// stored or not: where the disk or the limit has no space, it goes on without.
    pub fn begin_kept(
        &self,
        kind: EntryKind,
        data_id: &str,
        metadata: Vec<u8>,
        encoding: Encoding,
        topology: Option<&Topology>,
    ) -> Result<PendingEntry<'_>> {
        let key = Key::of(kind, data_id);
        let temporary = self.temporary_for(&key);
        let (file, kept) = match self.prepare_folder(&key) {
            Ok(()) => {
                let created = create_with_fallback(&*self.storage, &temporary);
                let (file, disk) = created.context("create", &temporary)?;
                (file, NotStored { disk, refused: None })
            }
            Err(error) => {
                let file = memory_file().context("create", &temporary)?;
                (file, NotStored { refused: Some(error), ..NotStored::default() })
            }
        };
        let kept = Some(kept);
        let mut pending = PendingEntry::new(self, key, temporary, kept);
        let head = EntryHeader::now(kind, data_id, metadata);
        pending.create(file, &head, encoding, topology)?;
        Ok(pending)
    }

    /// A name beside that of an entry that nobody else has.
    pub(super) fn temporary_for(&self, key: &Key) -> PathBuf {
        let name = Owner::current().temporary_name(&format!("{key}{SUFFIX}"));
        self.entry_path(key).with_file_name(name)
    }

    /// Makes space for a finished and synced file of `bytes`, and moves it into place within its
    /// folder.
    pub(super) fn publish(
        &self,
        key: &Key,
        from: &Path,
        bytes: u64,
        rescan: bool,
        replaces: &Replaces,
    ) -> Result<()> {
        let mut lock = self.lock()?;
        self.check_replaceable(key, replaces)?;
        let request = SpaceRequest { key: *key, bytes, file: from, replaces: true, rescan };
        let others = self.make_space(&mut lock, &request)?;
        self.filesystem.touch(from)?;
        let target = self.entry_path(key);
        lock.update(others + bytes, || {
            self.storage.rename(from, &target).context("publish", &target)
        })?;
        // Others may publish meanwhile: one commit of the file system makes several names durable.
        drop(lock);
        let folder = target.parent().unwrap_or_else(|| self.directory());
        self.storage.sync_dir(folder).context("sync", folder)
    }
}

const WRITER: &str = "the writer is there until the entry is published";

impl<'a> PendingEntry<'a> {
    fn new(cache: &'a Cache, key: Key, temporary: PathBuf, kept: Option<NotStored>) -> Self {
        let process = std::process::id();
        Self { cache, key, temporary, writer: None, reserved: 0, kept, published: false, process }
    }

    fn create(
        &mut self,
        file: Box<dyn StorageFile>,
        head: &EntryHeader,
        encoding: Encoding,
        topology: Option<&Topology>,
    ) -> Result<()> {
        let path = &self.temporary;
        let created = EntryWriter::create_with_topology(file, path, head, encoding, topology);
        self.writer = Some(created?);
        Ok(())
    }

    /// What takes the arrays and frames.
    pub fn writer(&mut self) -> &mut EntryWriter {
        self.writer.as_mut().expect(WRITER)
    }

    /// Adds frames as [`EntryWriter::append`] does. For many of them, space is made as they are
    /// written.
    pub fn append(&mut self, n_frames: u64, fields: &[&[u8]]) -> Result<()> {
        let raw_bytes = fields.iter().map(|bytes| bytes.len() as u64).sum();
        self.write(raw_bytes, |writer, before| writer.append_in_parts(n_frames, fields, before))
    }

    /// Adds a field of all frames so far as [`EntryWriter::add_field`] does, and makes space
    /// likewise.
    pub fn add_field(&mut self, spec: FieldSpec, lossy: bool, bytes: &[u8]) -> Result<()> {
        let raw_bytes = bytes.len() as u64;
        self.write(raw_bytes, |writer, before| writer.add_field(spec, lossy, bytes, before))
    }

    /// Has `write` write `raw_bytes` bytes. What it is given makes space for each part of many.
    fn write(
        &mut self,
        raw_bytes: u64,
        write: impl FnOnce(
            &mut EntryWriter,
            &mut dyn FnMut(&EntryWriter, u64) -> Result<()>,
        ) -> Result<()>,
    ) -> Result<()> {
        let step = growth_step(self.cache.max_bytes()?);
        let mut writer = self.writer.take().expect(WRITER);
        let is_little = self.reserved == 0 && writer.raw_bytes().saturating_add(raw_bytes) <= step;
        let written = write(&mut writer, &mut |writer, raw_bytes| match is_little {
            true => Ok(()),
            false => self.make_space_beside(writer, raw_bytes),
        });
        self.writer = Some(writer);
        written
    }

    /// Makes space for `raw_bytes` more than the writer, which has been taken out, has written.
    fn make_space_beside(&mut self, writer: &EntryWriter, raw_bytes: u64) -> Result<()> {
        // The entry under this key stays until this one replaces it, but its space counts as free.
        let file = GrowingFile { key: self.key, path: &self.temporary, replaces: true };
        let grown = self.cache.grow(file, writer, self.reserved, raw_bytes);
        match &mut self.kept {
            None => self.reserved = grown?,
            Some(kept) if kept.refused.is_some() => {}
            Some(kept) => match grown {
                Ok(reserved) => self.reserved = reserved,
                Err(error) => kept.refused = Some(error),
            },
        }
        Ok(())
    }

    /// Finishes the entry and makes it visible; an older one of the same id is replaced.
    pub fn publish(mut self, tree: &[u8]) -> Result<Key> {
        let writer = self.writer.take().expect(WRITER);
        let bytes = writer.finish(tree)?;
        self.publish_file(bytes)?;
        Ok(self.key)
    }

    /// As [`PendingEntry::publish`]; returns what was written, from the very file, which no
    /// eviction or removal takes away again. An entry that can't be stored is returned all the
    /// same.
    pub fn publish_and_open(mut self, tree: &[u8]) -> Result<KeptEntry> {
        let writer = self.writer.take().expect(WRITER);
        let (bytes, file) = writer.finish_file(tree)?;
        let target = self.cache.entry_path(&self.key);
        let file = file.file().try_clone().context("open", &target)?;
        // Before others can find, evict or damage it.
        let entry = self.cache.open_written(&self.key, &target, file)?;
        let mut not_stored = self.kept.as_mut().and_then(|kept| kept.take(&target));
        if not_stored.is_none() {
            not_stored = self.publish_file(bytes).err();
        }
        Ok(KeptEntry { entry, not_stored })
    }

    fn publish_file(&mut self, bytes: u64) -> Result<()> {
        let rescan = self.reserved > 0;
        self.cache.publish(&self.key, &self.temporary, bytes, rescan, &Replaces::Any)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for PendingEntry<'_> {
    fn drop(&mut self) {
        if !self.published && self.process == std::process::id() {
            // Best effort: an orphaned temporary file names its owner.
            let _ = self.cache.storage.remove_file(&self.temporary);
        }
    }
}
