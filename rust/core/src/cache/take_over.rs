//! Beginning a trajectory, going on with one, and taking it over from another writer.
//!
//! One who resumes has only looked at first. The lease and the file are taken when there is
//! something to write: the file by renaming it where nobody writes it any more and it has no other
//! name, else by copying it.

use std::io;
use std::sync::Arc;

use super::Cache;
use super::growth::GrowingFile;
use super::in_progress::{EntryInProgress, Stage};
use super::layout::Key;
use super::load::{as_damage, check_owner};
use super::new_trajectory::{IfThere, NewTrajectory, check_topology};
use super::own_file::OwnFile;
use super::replaced::Replaces;
use super::unfinished_name::UnfinishedName;
use crate::error::CacheError;
use crate::fs::{
    FileClock, Lease, LeaseHolder, OpenMode, StorageFile, Taking, Temporary, WriterId,
    forget_listing, has_other_names, is_gone, lease_holder,
};
use crate::topology::Topology;
use crate::trajectory::{Entry, EntryKind, EntryWriter, check_not_newer};
use crate::{Error, IoContext, Result};

/// How often a trajectory that others take and give back meanwhile is looked for.
const ATTEMPTS: usize = 16;

impl Cache {
    /// Begins a trajectory that is written frame by frame, or goes on with the one of this name.
    ///
    /// One that was begun and has no durable frame counts as not there.
    pub fn begin_trajectory(
        &self,
        new: &NewTrajectory<'_>,
        if_there: IfThere,
    ) -> Result<EntryInProgress> {
        self.check_writable()?;
        let key = Key::of(EntryKind::Trajectory, new.data_id);
        self.prepare_folder(&key)?;
        check_not_newer(&self.entry_path(&key))?;
        let mut entry = EntryInProgress::new(key, new);
        if if_there == IfThere::Resume {
            self.find_resumed(&mut entry, new)?;
            return Ok(entry);
        }
        let (lease, ended) = match Lease::take(&self.storage, &self.layout.lease(&key))? {
            Taking::Taken(lease, ended) => (lease, ended),
            Taking::Refused(holder) => return Err(being_written(new, &holder)),
        };
        if if_there == IfThere::Refuse {
            if let Some(there) = self.frames_so_far(&key)? {
                let (data_id, n_frames) = (new.data_id.to_owned(), there.n_frames());
                let is_finished = matches!(there, Stage::Finished(_));
                return Err(CacheError::AlreadyThere { data_id, n_frames, is_finished }.into());
            }
            entry.replaces = Replaces::Only(None);
        }
        match if_there {
            IfThere::Aside => self.begin_aside(&mut entry, lease)?,
            _ => self.begin_own(&mut entry, lease, ended)?,
        }
        Ok(entry)
    }

    /// Finds the frames that a trajectory goes on after. They are taken when something is written.
    fn find_resumed(&self, entry: &mut EntryInProgress, new: &NewTrajectory<'_>) -> Result<()> {
        let (key, folder) = (entry.key, self.layout.folder(&entry.key));
        let clock = FileClock::of(&*self.storage, &folder);
        if let Some(holder) = lease_holder(&self.layout.lease(&key), &clock)? {
            return Err(being_written(new, &holder));
        }
        let stage = self.frames_so_far(&key)?;
        let replaced = match &stage {
            Some(Stage::Finished(finished)) => Some(finished.content_id().to_owned()),
            Some(_) => self.whole_entry(&key)?.map(|whole| whole.content_id().to_owned()),
            None => None,
        };
        entry.replaces = Replaces::Only(replaced);
        if let Some(stage) = stage
            && let Some(there) = stage.existing()
        {
            new.check_same(there)?;
            entry.stage = stage;
        }
        Ok(())
    }

    /// The frames of an unfinished trajectory or, where there is none, of a finished one.
    fn frames_so_far(&self, key: &Key) -> Result<Option<Stage>> {
        for _ in 0..ATTEMPTS {
            if let Some(file) = self.unfinished_files(key)?.into_iter().next() {
                match as_damage(Entry::open_unfinished(&file.path)) {
                    Ok(entry) if entry.n_frames() > 0 => {
                        check_owner(&entry, key, &file.path)?;
                        self.check_newest(key, &entry)?;
                        return Ok(Some(Stage::Waiting { entry, file }));
                    }
                    Ok(_) => {}
                    // It is taken, published or removed at this moment, or was some time ago.
                    Err(Error::Io { source, .. }) if is_gone(&source) => {
                        forget_listing(&*self.storage, &self.layout.folder(key));
                        continue;
                    }
                    Err(Error::Corrupt { path, part, reason, .. }) => {
                        let remedy =
                            "pass overwrite=True to write the trajectory from its beginning";
                        return Err(Error::Corrupt { path, part, reason, remedy });
                    }
                    Err(error) => return Err(error),
                }
            }
            return match self.open_entry(key, OpenMode::Long) {
                Ok(finished) => Ok(Some(Stage::Finished(finished))),
                Err(Error::Cache(CacheError::KeyNotFound { .. })) => Ok(None),
                Err(error) => Err(error),
            };
        }
        let error = io::Error::other("other processes take it and give it back all the time");
        Err(Error::io("find the frames of", &self.entry_path(key), error))
    }

    /// Refuses to go on with an unfinished trajectory where a whole one was stored after it was
    /// begun: one would replace the other, and which of them is wanted can't be known.
    fn check_newest(&self, key: &Key, unfinished: &Entry) -> Result<()> {
        match self.whole_entry(key)? {
            Some(whole) if whole.header().created > unfinished.header().created => {
                Err(CacheError::Superseded {
                    data_id: whole.header().data_id.clone(),
                    unfinished: unfinished.n_frames(),
                    stored: whole.n_frames(),
                }
                .into())
            }
            _ => Ok(()),
        }
    }

    /// Takes the lease and the file of a trajectory that was only looked at.
    pub(super) fn claim(&self, entry: &mut EntryInProgress) -> Result<()> {
        self.prepare_folder(&entry.key)?;
        let (lease, ended) = match Lease::take(&self.storage, &self.layout.lease(&entry.key))? {
            Taking::Taken(lease, ended) => (lease, ended),
            Taking::Refused(holder) => return Err(entry.lose(&holder.description())),
        };
        // Looked for after a file was made in the folder, which no client then lists from memory.
        let now = self.frames_so_far(&entry.key)?;
        if !entry.stage.is_still(now.as_ref()) {
            let reason = "another writer has changed or removed it since it was opened here";
            return Err(entry.lose(reason));
        }
        self.begin_own(entry, lease, ended)
    }

    /// Makes the writer's own file, with the frames so far. `ended` is a writer that has ended.
    fn begin_own(
        &self,
        entry: &mut EntryInProgress,
        lease: Lease,
        ended: Option<WriterId>,
    ) -> Result<()> {
        let key = entry.key;
        let older = self.unfinished_files(&key)?;
        older.iter().try_for_each(|file| check_not_newer(&file.path))?;
        let number = older.first().map_or(0, |file| file.name.number) + 1;
        let name = UnfinishedName { key, number, writer: lease.id(), is_suspended: false };
        let folder = self.layout.folder(&key);
        let own = OwnFile::new(&self.storage, &folder, name, lease);
        // A writer that is only believed to be gone may come back: its file stays its own. One with
        // other names is that of a copy of the directory as well.
        let is_free = match &entry.stage {
            Stage::Waiting { file, .. } => {
                (file.name.is_suspended || ended == Some(file.name.writer))
                    && !has_other_names(&file.path)?
            }
            _ => false,
        };
        let Some(writer) = self.own_writer(entry, &own, is_free)? else { return Ok(()) };
        if !own.is_own()? {
            if !is_free {
                self.remove_if_there(own.path())?;
            }
            return Err(entry.lose("another writer has taken it over"));
        }
        if writer.n_frames() != entry.n_frames() {
            return Err(entry.lose("another writer has changed it since it was opened here"));
        }
        for file in &older {
            self.remove_if_there(&file.path)?;
        }
        // No older file comes back beside the published one after a power cut.
        self.storage.sync_dir(&folder).context("sync", &folder)?;
        entry.stage = Stage::Written { writer: Box::new(writer), own };
        Ok(())
    }

    /// The writer of that file: what waits is renamed where it `is_free`, else copied. `None` where
    /// there is nothing to begin.
    fn own_writer(
        &self,
        entry: &mut EntryInProgress,
        own: &OwnFile,
        is_free: bool,
    ) -> Result<Option<EntryWriter>> {
        let path = own.path();
        let writer = match &entry.stage {
            Stage::Written { .. } | Stage::Lost { .. } => return Ok(None),
            Stage::New { header, encoding, topology } => self.create_own(own, |file| {
                let topology = topology.as_deref();
                EntryWriter::create_with_topology(file, path, header, *encoding, topology)
            }),
            Stage::Finished(finished) => {
                let bytes = finished.records_end();
                self.make_space_up_to(
                    GrowingFile { key: entry.key, path, replaces: false },
                    bytes,
                )?;
                entry.reserved = bytes;
                self.create_own(own, |file| EntryWriter::continue_finished(file, path, finished))
            }
            // Of several that take it, one can rename it.
            Stage::Waiting { file, .. } if is_free => match self.storage.rename(&file.path, path) {
                Ok(()) => self.open_own(own),
                Err(error) if is_gone(&error) => {
                    Err(entry.lose("another writer has just taken it"))
                }
                Err(error) => Err(Error::io("take over", &file.path, error)),
            },
            Stage::Waiting { file, .. } => {
                self.create_own(own, |new| EntryWriter::continue_unfinished(new, path, &file.path))
            }
        };
        writer.map(Some)
    }

    /// Makes the file of a writer that leaves nothing unfinished.
    fn begin_aside(&self, entry: &mut EntryInProgress, lease: Lease) -> Result<()> {
        let Stage::New { header, encoding, .. } = &entry.stage else { return Ok(()) };
        let own = OwnFile::temporary(&self.storage, self.temporary_for(&entry.key), lease);
        let writer = self.create_own(&own, |file| {
            EntryWriter::create_with_topology(file, own.path(), header, *encoding, None)
        })?;
        entry.stage = Stage::Written { writer: Box::new(writer), own };
        Ok(())
    }

    /// Lets a trajectory hold its topology. One that has frames keeps what it has: it is compared,
    /// and without a topology it goes on without, unless that is `required`.
    pub fn set_topology(
        &self,
        entry: &mut EntryInProgress,
        wanted: &Arc<Topology>,
        required: bool,
    ) -> Result<()> {
        entry.check_usable()?;
        let n_frames = entry.n_frames();
        let stored = match &mut entry.stage {
            Stage::New { topology, .. } => {
                *topology = Some(Arc::clone(wanted));
                return Ok(());
            }
            Stage::Written { writer, own } if writer.is_untouched() => {
                // Begun without: another file takes its place, whole.
                let (header, encoding) = (writer.header().clone(), writer.encoding());
                **writer = self.create_own(own, |file| {
                    let topology = Some(&**wanted);
                    let path = own.path();
                    EntryWriter::create_with_topology(file, path, &header, encoding, topology)
                })?;
                return Ok(());
            }
            _ => self.read_back(entry, Entry::topology)?,
        };
        check_topology(&entry.data_id, n_frames, stored.as_ref(), wanted, required)
    }

    /// Creates a writer's own file. It gets its name once its beginning is durable, so one that
    /// can't be resumed later is damaged.
    fn create_own(
        &self,
        own: &OwnFile,
        begin: impl FnOnce(Box<dyn StorageFile>) -> Result<EntryWriter>,
    ) -> Result<EntryWriter> {
        let path = own.path();
        let mut temporary = Temporary::beside(&self.storage, path)?;
        let folder = path.parent().unwrap_or_else(|| self.directory());
        let file = self.storage.create_new(temporary.path()).context("begin", path)?;
        let mut writer = begin(file)?;
        writer.flush()?;
        self.storage.rename(temporary.path(), path).context("begin", path)?;
        temporary.keep();
        self.storage.sync_dir(folder).context("begin", path)?;
        Ok(writer)
    }

    /// Opens a writer's own file that was another's.
    fn open_own(&self, own: &OwnFile) -> Result<EntryWriter> {
        let path = own.path();
        let file = self.storage.open(path).context("open", path)?;
        // What the former writer has written counts, also what it has not synced.
        file.sync().context("sync", path)?;
        EntryWriter::resume(file, path)
    }
}

fn being_written(new: &NewTrajectory<'_>, holder: &LeaseHolder) -> Error {
    let (data_id, holder, remedy) = (new.data_id.to_owned(), holder.description(), holder.remedy());
    CacheError::BeingWritten { data_id, holder, remedy }.into()
}
