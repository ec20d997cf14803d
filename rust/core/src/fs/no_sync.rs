//! The real file system, without waiting for the disk.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{Disk, OpenDirectory, Storage, StorageFile};

/// As [`Disk`] without syncs. What was written survives the end of the process, however it ends,
/// but not a power cut; after one, checksums tell what is whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSyncDisk;

#[derive(Debug)]
struct NoSyncFile(Box<dyn StorageFile>);

impl Storage for NoSyncDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(NoSyncFile(Disk.create_new(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(NoSyncFile(Disk.open(path)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Disk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn rename_into(&self, from: &Path, directory: &OpenDirectory, name: &str) -> io::Result<()> {
        Disk.rename_into(from, directory, name)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Disk.remove_file(path)
    }

    fn remove_from(&self, directory: &OpenDirectory, name: &str) -> io::Result<()> {
        Disk.remove_from(directory, name)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        Disk.remove_dir(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        Disk.remove_dir_all(path)
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for NoSyncFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn copy_from(&self, source: &File, length: u64) -> io::Result<()> {
        self.0.copy_from(source, length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.0.allocate(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn file(&self) -> &File {
        self.0.file()
    }
}
