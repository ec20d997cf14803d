//! A file layer that does everything for real, except that it doesn't wait for the disk, and
//! remembers each step.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fs::{NoSyncDisk, OpenDirectory, Storage, StorageFile};

/// A file or directory, independent of its name.
pub type Inode = usize;

/// The directory in which everything happens.
pub(super) const ROOT: Inode = 0;

/// One step that changed something. Only steps that succeeded are kept.
#[derive(Debug, Clone)]
pub enum Step {
    /// `bytes` were written into a file.
    Write {
        /// Into which file.
        file: Inode,
        /// From which byte on.
        offset: u64,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// A file was given this length.
    SetLength {
        /// Which file.
        file: Inode,
        /// Its new length; where it is longer than before, zeros fill it.
        length: u64,
    },
    /// A file's bytes became durable.
    SyncFile {
        /// Which file.
        file: Inode,
    },
    /// Names of one directory changed, all at once: each now stands for this inode, or for none.
    Names {
        /// In which directory.
        directory: Inode,
        /// What changed.
        changes: Vec<(OsString, Option<Inode>)>,
    },
    /// A directory's names became durable.
    SyncDirectory {
        /// Which directory.
        directory: Inode,
    },
}

/// What was there before the first step: durable, and the beginning of every crash state.
#[derive(Debug, Clone)]
pub(super) enum Node {
    File(Vec<u8>),
    Directory(BTreeMap<OsString, Inode>),
}

#[derive(Debug, Default)]
struct Recording {
    /// What was there at the start, and an empty node for each one made since.
    nodes: Vec<Option<Node>>,
    /// The names as they are now.
    names: HashMap<Inode, BTreeMap<OsString, Inode>>,
    steps: Vec<Step>,
}

/// A [`Storage`] that does everything on the real disk, below one directory, and remembers it.
#[derive(Debug, Clone)]
pub struct Recorder {
    root: PathBuf,
    state: Arc<Mutex<Recording>>,
}

impl Recorder {
    /// Begins to record what happens below `root`. What is there already counts as durable.
    pub fn new(root: &Path) -> io::Result<Self> {
        let mut state = Recording::default();
        state.read_directory(root)?;
        Ok(Self { root: root.to_owned(), state: Arc::new(Mutex::new(state)) })
    }

    /// This recorder, for the code under test.
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// All steps so far.
    pub fn steps(&self) -> Vec<Step> {
        self.lock().steps.clone()
    }

    pub(super) fn initial(&self) -> Vec<Node> {
        let nodes = &self.lock().nodes;
        nodes.iter().map(|node| node.clone().unwrap_or(Node::File(Vec::new()))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory that holds `path`, and the last part of it.
    fn locate<'a>(&self, state: &Recording, path: &'a Path) -> io::Result<(Inode, &'a OsStr)> {
        let outside = || {
            let text = format!("{} is not below {}", path.display(), self.root.display());
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        let name = path.file_name().ok_or_else(outside)?;
        let parent = path.parent().ok_or_else(outside)?;
        Ok((self.directory(state, parent)?, name))
    }

    fn directory(&self, state: &Recording, path: &Path) -> io::Result<Inode> {
        let unknown = |name: &Path| {
            let text = format!("{} was not made through this recorder", name.display());
            io::Error::new(io::ErrorKind::NotFound, text)
        };
        let relative = path.strip_prefix(&self.root).map_err(|_| unknown(path))?;
        relative.iter().try_fold(ROOT, |directory, name| {
            let names = state.names.get(&directory).ok_or_else(|| unknown(path))?;
            names.get(name).copied().ok_or_else(|| unknown(path))
        })
    }

    /// Remembers that names of one directory changed.
    fn change(
        &self,
        state: &mut Recording,
        directory: Inode,
        changes: Vec<(OsString, Option<Inode>)>,
    ) {
        let names = state.names.entry(directory).or_default();
        for (name, inode) in &changes {
            match inode {
                Some(inode) => names.insert(name.clone(), *inode),
                None => names.remove(name),
            };
        }
        state.steps.push(Step::Names { directory, changes });
    }

    /// Moves names between or inside directories: both ends together where it is one directory.
    fn relink(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let (from_directory, from_name) = self.locate(&state, from)?;
        let (to_directory, to_name) = self.locate(&state, to)?;
        let inode_at = |state: &Recording, directory: Inode, name: &OsStr| {
            state.names.get(&directory).and_then(|names| names.get(name).copied())
        };
        let moved = inode_at(&state, from_directory, from_name);
        if from_directory == to_directory {
            let changes = vec![(from_name.to_owned(), None), (to_name.to_owned(), moved)];
            self.change(&mut state, from_directory, changes);
        } else {
            self.change(&mut state, to_directory, vec![(to_name.to_owned(), moved)]);
            self.change(&mut state, from_directory, vec![(from_name.to_owned(), None)]);
        }
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let (directory, name) = self.locate(&state, path)?;
        self.change(&mut state, directory, vec![(name.to_owned(), None)]);
        Ok(())
    }
}

impl Recording {
    /// Reads what is there at the start.
    fn read_directory(&mut self, path: &Path) -> io::Result<Inode> {
        let inode = self.nodes.len();
        self.nodes.push(None);
        let mut names = BTreeMap::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let child = if entry.file_type()?.is_dir() {
                self.read_directory(&entry.path())?
            } else {
                self.nodes.push(Some(Node::File(std::fs::read(entry.path())?)));
                self.nodes.len() - 1
            };
            names.insert(entry.file_name(), child);
        }
        self.names.insert(inode, names.clone());
        self.nodes[inode] = Some(Node::Directory(names));
        Ok(inode)
    }
}

impl Storage for Recorder {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = NoSyncDisk.create_new(path)?;
        let mut state = self.lock();
        let (directory, name) = self.locate(&state, path)?;
        let inode = state.nodes.len();
        state.nodes.push(Some(Node::File(Vec::new())));
        self.change(&mut state, directory, vec![(name.to_owned(), Some(inode))]);
        Ok(Box::new(RecordedFile { file, inode, recorder: self.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = NoSyncDisk.open(path)?;
        let state = self.lock();
        let (directory, name) = self.locate(&state, path)?;
        let inode = state
            .names
            .get(&directory)
            .and_then(|names| names.get(name).copied())
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(RecordedFile { file, inode, recorder: self.clone() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        NoSyncDisk.create_dir(path)?;
        let mut state = self.lock();
        let (directory, name) = self.locate(&state, path)?;
        let inode = state.nodes.len();
        state.nodes.push(Some(Node::Directory(BTreeMap::new())));
        state.names.insert(inode, BTreeMap::new());
        self.change(&mut state, directory, vec![(name.to_owned(), Some(inode))]);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        NoSyncDisk.rename(from, to)?;
        self.relink(from, to)
    }

    fn rename_into(&self, from: &Path, directory: &OpenDirectory, name: &str) -> io::Result<()> {
        NoSyncDisk.rename_into(from, directory, name)?;
        self.relink(from, &directory.path().join(name))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        NoSyncDisk.link(from, to)?;
        let mut state = self.lock();
        let (directory, name) = self.locate(&state, from)?;
        let inode = state.names.get(&directory).and_then(|names| names.get(name).copied());
        let (directory, name) = self.locate(&state, to)?;
        self.change(&mut state, directory, vec![(name.to_owned(), inode)]);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        NoSyncDisk.remove_file(path)?;
        self.unlink(path)
    }

    fn remove_from(&self, directory: &OpenDirectory, name: &str) -> io::Result<()> {
        NoSyncDisk.remove_from(directory, name)?;
        self.unlink(&directory.path().join(name))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        NoSyncDisk.remove_dir(path)?;
        self.unlink(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        NoSyncDisk.sync_dir(path)?;
        let mut state = self.lock();
        let directory = self.directory(&state, path)?;
        state.steps.push(Step::SyncDirectory { directory });
        Ok(())
    }
}

#[derive(Debug)]
struct RecordedFile {
    file: Box<dyn StorageFile>,
    inode: Inode,
    recorder: Recorder,
}

impl RecordedFile {
    fn record(&self, step: Step) {
        self.recorder.lock().steps.push(step);
    }
}

impl StorageFile for RecordedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.file.write_at(bytes, offset)?;
        self.record(Step::Write { file: self.inode, offset, bytes: bytes[..written].to_vec() });
        Ok(written)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let before = self.file.file().metadata()?.len();
        self.file.allocate(length)?;
        self.record(Step::SetLength { file: self.inode, length: length.max(before) });
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.record(Step::SetLength { file: self.inode, length });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        self.record(Step::SyncFile { file: self.inode });
        Ok(())
    }

    fn file(&self) -> &File {
        self.file.file()
    }
}
