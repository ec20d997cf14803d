//! A file that goes on in memory where the disk takes no more.
//!
//! For bytes that are to be read back whether they can be kept or not. What was written before is
//! copied, so the file holds all of it, on disk or in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::storage::{Storage, StorageFile, copy_buffer, memory_file, write_all_at};

/// Why a file is in memory; empty as long as it is on disk.
pub(crate) type Failure = Arc<OnceLock<io::Error>>;

#[derive(Debug)]
struct FallbackFile {
    disk: Box<dyn StorageFile>,
    memory: OnceLock<Box<dyn StorageFile>>,
    failure: Failure,
}

/// Creates a file as [`Storage::create_new`] does; where that, or a later write, fails, it is in
/// memory, and the failure is noted. Creating and writing it fail only where memory does.
pub(crate) fn create_with_fallback(
    storage: &dyn Storage,
    path: &Path,
) -> io::Result<(Box<dyn StorageFile>, Failure)> {
    let failure = Failure::default();
    let disk = match storage.create_new(path) {
        Ok(disk) => disk,
        Err(error) => {
            let _ = failure.set(error);
            return Ok((memory_file()?, failure));
        }
    };
    let noted = Arc::clone(&failure);
    Ok((Box::new(FallbackFile { disk, memory: OnceLock::new(), failure: noted }), failure))
}

impl FallbackFile {
    fn current(&self) -> &dyn StorageFile {
        self.memory.get().map_or(&*self.disk, |memory| &**memory)
    }

    /// Runs a step; if the disk fails it, everything moves to memory, and it is run there.
    fn step<T>(&self, step: impl Fn(&dyn StorageFile) -> io::Result<T>) -> io::Result<T> {
        match step(self.current()) {
            Err(error)
                if self.memory.get().is_none() && error.kind() != io::ErrorKind::Interrupted =>
            {
                let memory = memory_file()?;
                let _ = self.failure.set(error);
                self.copy_to(&*memory)?;
                step(&**self.memory.get_or_init(|| memory))
            }
            result => result,
        }
    }

    fn copy_to(&self, memory: &dyn StorageFile) -> io::Result<()> {
        let (mut bytes, mut offset) = (copy_buffer(u64::MAX)?, 0);
        loop {
            match self.disk.file().read_at(&mut bytes, offset)? {
                0 => return Ok(()),
                count => {
                    write_all_at(memory, &bytes[..count], offset)?;
                    offset += count as u64;
                }
            }
        }
    }
}

impl StorageFile for FallbackFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.step(|file| file.write_at(bytes, offset))
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.step(|file| file.allocate(length))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.step(|file| file.set_len(length))
    }

    fn sync(&self) -> io::Result<()> {
        self.step(|file| file.sync())
    }

    fn file(&self) -> &File {
        self.current().file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Disk;
    use crate::fs::testing::{Fault, fail_each_step};

    #[test]
    fn a_file_whose_disk_fails_at_any_step_holds_everything_all_the_same() {
        let disk: Arc<dyn Storage> = Arc::new(Disk);
        let fault = Fault::Error(rustix::io::Errno::NOSPC);
        let steps = fail_each_step(&disk, fault, |storage, step| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let (file, failure) = create_with_fallback(&*storage, &path).unwrap();
            for part in 0..3u8 {
                write_all_at(&*file, &[part; 5], u64::from(part) * 5).unwrap();
            }
            file.sync().unwrap();
            let mut bytes = [9; 15];
            file.file().read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(bytes, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2], "{step}");
            let error = failure.get().map(io::Error::kind);
            assert!(error.is_none_or(|kind| kind == io::ErrorKind::StorageFull), "{step}");
        });
        assert!(steps >= 5, "{steps}");
    }
}
