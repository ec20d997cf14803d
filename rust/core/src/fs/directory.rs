//! A directory that is open: its files are found below it, also where its name is taken away.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, openat, renameat, unlinkat};
use rustix::io::retry_on_intr;

use super::descriptor::apart;
use super::open::regular;

/// A directory that was opened once. It stays the same one when it is renamed or replaced.
#[derive(Debug)]
pub struct OpenDirectory {
    handle: OwnedFd,
    path: PathBuf,
}

/// What tells a file or a directory from any other: device and inode.
pub(crate) type Identity = (u64, u64);

/// That of a file.
pub(crate) fn identity_of(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The paths of all that is in a directory, which may be behind a symlink. What a signal cuts short is
/// tried again, which `std::fs::read_dir` does not do.
pub(crate) fn list_directory(path: &Path) -> io::Result<Vec<PathBuf>> {
    let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
    let handle = retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))?;
    let mut paths = Vec::new();
    for entry in Dir::new(handle)? {
        match entry?.file_name().to_bytes() {
            b"." | b".." => {}
            name => paths.push(path.join(OsStr::from_bytes(name))),
        }
    }
    Ok(paths)
}

/// The name of a file that was listed, where it is UTF-8.
pub(crate) fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

impl OpenDirectory {
    /// Opens a directory. A symlink in its place is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle = retry_on_intr(|| openat(CWD, path, DIRECTORY, Mode::empty()))?;
        Ok(Self { handle: apart(handle)?, path: path.to_owned() })
    }

    /// Opens a directory in it. A symlink in its place is refused.
    pub fn open_directory(&self, name: &str) -> io::Result<Self> {
        let handle = retry_on_intr(|| openat(&self.handle, name, DIRECTORY, Mode::empty()))?;
        Ok(Self { handle: apart(handle)?, path: self.path.join(name) })
    }

    /// Opens a regular file in it for reading. Anything else under this name is refused at once.
    pub fn open_file(&self, name: &str) -> io::Result<File> {
        // Without `NONBLOCK`, opening a named pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| openat(&self.handle, name, flags, Mode::empty()));
        regular(opened.map(File::from).map_err(io::Error::from))
    }

    /// The names in it that are UTF-8.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in retry_on_intr(|| Dir::read_from(&self.handle))? {
            match entry?.file_name().to_str() {
                Ok(".." | ".") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it from any other.
    pub(crate) fn identity(&self) -> io::Result<Identity> {
        let found = fstat(&self.handle)?;
        Ok((found.st_dev, found.st_ino))
    }

    /// Whose it is.
    pub(crate) fn owner(&self) -> io::Result<u32> {
        Ok(fstat(&self.handle)?.st_uid)
    }

    /// Moves a file or directory into it: a file over an older one.
    pub(super) fn move_in(&self, from: &Path, name: &str) -> io::Result<()> {
        Ok(renameat(CWD, from, &self.handle, name)?)
    }

    /// Removes a file that is in it.
    pub(super) fn remove_file(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, AtFlags::empty())?)
    }
}
