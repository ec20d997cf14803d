//! The file layer: every step of durable I/O, as one small trait.
//!
//! Code above this module never creates, writes, renames or removes a file in any other way. That
//! is what lets the crash tests rebuild each state that a power cut could leave behind.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FallocateFlags, OFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

use super::descriptor::apart;
use super::directory::list_directory;
use super::open::regular;
use super::{OpenDirectory, group, writeback};
use crate::interrupt;
use crate::memory::try_zeroed;

/// The steps that change a directory tree.
pub trait Storage: Debug + Send + Sync {
    /// Creates a file that must not exist yet, for reading and writing. Never follows a symlink.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Opens an existing file for reading and writing. Never follows a symlink.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Creates a directory that must not exist yet.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Moves a file over another one, or a directory to a free name, in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// [`Storage::rename`] into an open directory, wherever that is by now.
    fn rename_into(&self, from: &Path, directory: &OpenDirectory, name: &str) -> io::Result<()>;
    /// Gives a file a second name, which must be free, where the file system can. Never follows a
    /// symlink.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a file of an open directory, wherever that is by now.
    fn remove_from(&self, directory: &OpenDirectory, name: &str) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all in it. Never leaves it through a symlink; one in its place is
    /// removed itself.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        for path in list_directory(path)? {
            if path.symlink_metadata()?.is_dir() {
                self.remove_dir_all(&path)?;
            } else {
                self.remove_file(&path)?;
            }
        }
        self.remove_dir(path)
    }
    /// Makes the names inside a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// The steps that change a file.
pub trait StorageFile: Debug + Send + Sync {
    /// Writes some of `bytes` at `offset`; may be short. Use [`write_all_at`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Copies the first `length` bytes of another file, which was not read by its position yet,
    /// into this one, which is empty.
    fn copy_from(&self, source: &File, length: u64) -> io::Result<()> {
        let mut bytes = copy_buffer(length)?;
        let mut offset = 0;
        while offset < length {
            let part = bytes.len().min((length - offset) as usize);
            source.read_exact_at(&mut bytes[..part], offset)?;
            write_all_at(self, &bytes[..part], offset)?;
            offset += part as u64;
        }
        Ok(())
    }
    /// Reserves disk space for the first `length` bytes, and extends the file to them.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Truncates or extends the file. Not for files that are mapped.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Asks the system to begin writing these bytes to the disk. Promises nothing: it is there so
    /// that [`StorageFile::sync`] has less to wait for.
    fn begin_sync(&self, _offset: u64, _length: u64) {}
    /// Waits for what [`StorageFile::begin_sync`] began, and gives back the memory that holds these
    /// bytes. They are not durable before [`StorageFile::sync`]; an error means that they are lost.
    fn finish_sync(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Ok(())
    }
    /// Makes the file's bytes durable. After an error, what was written is to be taken as lost.
    fn sync(&self) -> io::Result<()>;
    /// The file itself, to read, map or lock it. Never to write.
    fn file(&self) -> &File;
}

/// Bytes of a piece. Between two pieces a write can be interrupted.
const PIECE: usize = 8 << 20;

/// Bytes that are copied at a time.
const COPIED: usize = 1 << 20;

/// Memory for a piece of `length` bytes.
pub(super) fn copy_buffer(length: u64) -> io::Result<Vec<u8>> {
    let length = COPIED.min(usize::try_from(length).unwrap_or(COPIED));
    try_zeroed(length).map_err(|_| io::ErrorKind::OutOfMemory.into())
}

/// Writes all of `bytes` at `offset`, through short writes and signals. An error where the work of
/// this thread was interrupted (see [`crate::interrupt`]) before the end of a long write.
pub fn write_all_at(
    file: &(impl StorageFile + ?Sized),
    mut bytes: &[u8],
    mut offset: u64,
) -> io::Result<()> {
    let start = offset;
    while !bytes.is_empty() {
        if offset > start {
            interrupt::check().map_err(io::Error::other)?;
        }
        match file.write_at(&bytes[..bytes.len().min(PIECE)], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives a file a name that is free, or returns `false`. Where there are links it has its old name,
/// too, and else it replaces what takes the name at that moment.
pub(crate) fn link_or_rename(storage: &dyn Storage, from: &Path, to: &Path) -> io::Result<bool> {
    match storage.link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(_) => storage.rename(from, to).map(|()| true),
    }
}

/// A file without a name, in memory, gone with the last process that has it open. Children inherit
/// it, so it can grow on either side of a fork.
pub fn memory_file() -> io::Result<Box<dyn StorageFile>> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{MemfdFlags, memfd_create};
        match memfd_create("proteinflex", MemfdFlags::CLOEXEC) {
            Ok(file) => return Ok(Box::new(DiskFile(apart(file)?.into()))),
            // Linux before 3.17, as on RHEL 7.
            Err(Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let name = super::Owner::current().temporary_name("memory");
    let path = std::env::temp_dir().join(name);
    let file = Disk.create_new(&path)?;
    Disk.remove_file(&path)?;
    Ok(file)
}

/// The real file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

#[derive(Debug)]
struct DiskFile(File);

/// The umask decides who may read and write, but see [`group`].
const FILE_MODE: u32 = 0o666;

impl Storage for Disk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)?;
        group::share(&file, path);
        Ok(Box::new(DiskFile(apart(file)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        Ok(Box::new(DiskFile(regular(file)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)?;
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits() as i32;
        if let Ok(made) = OpenOptions::new().read(true).custom_flags(flags).open(path) {
            group::share(&made, path);
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the layer that all others use")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn rename_into(&self, from: &Path, directory: &OpenDirectory, name: &str) -> io::Result<()> {
        directory.move_in(from, name)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        // Without flags, `linkat` takes a symlink for what it is.
        Ok(rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())?)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the layer that all others use")]
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_from(&self, directory: &OpenDirectory, name: &str) -> io::Result<()> {
        directory.remove_file(name)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the layer that all others use")]
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        // It opens each directory once and works below it.
        loop {
            match std::fs::remove_dir_all(path) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                removed => return removed,
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the layer that all others use")]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl StorageFile for DiskFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn copy_from(&self, source: &File, length: u64) -> io::Result<()> {
        let mut source = io::Read::take(source, length);
        loop {
            // In the kernel, or by sharing the blocks, where the file system can.
            match io::copy(&mut source, &mut &self.0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) if source.limit() == 0 => return Ok(()),
                copied => return copied.and(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        // A file system in memory ends it for any signal.
        let allocate = || fallocate(&self.0, FallocateFlags::empty(), 0, length);
        match retry_on_intr(allocate) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.fill(length),
            Err(error) => Err(error.into()),
        }
    }

    fn begin_sync(&self, offset: u64, length: u64) {
        writeback::begin(&self.0, offset, length);
    }

    fn finish_sync(&self, offset: u64, length: u64) -> io::Result<()> {
        writeback::finish(&self.0, offset, length)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the layer that all others use")]
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the layer that all others use")]
    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn file(&self) -> &File {
        &self.0
    }
}

impl DiskFile {
    /// Reserves space by writing zeros after the end, where the file system has no `fallocate`.
    fn fill(&self, length: u64) -> io::Result<()> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let mut end = self.0.metadata()?.len();
        while end < length {
            let part = (length - end).min(ZEROS.len() as u64) as usize;
            write_all_at(self, &ZEROS[..part], end)?;
            end += part as u64;
        }
        Ok(())
    }
}
