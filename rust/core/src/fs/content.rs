//! What is in a file, and how it gets into memory.
//!
//! Access to a mapping beyond the end of a truncated file ends the process, and so does access to
//! one on a network file system when the server has lost the file. So bytes that are copied or
//! decoded once are *read*, which gives an error instead. Only what is borrowed in place is mapped,
//! only with a permit, and only after the file's length was checked. Small files are read whole at
//! once.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

use super::mapped::{MapPermit, MappedFile, PrivateMap};
use super::open::open_file;
use crate::{Error, Result, memory};

/// Files of up to this many bytes are read whole: a mapping costs more.
const READ_WHOLE: u64 = 64 * 1024;
/// Alignment of bytes that are borrowed in place, in memory as in the file.
const ALIGNMENT: usize = 64;

/// The bytes of an open file.
#[derive(Debug)]
pub struct Content {
    path: PathBuf,
    length: u64,
    inode: u64,
    /// The whole file, and where in the vector it begins, aligned.
    whole: Option<(Vec<u8>, usize)>,
    file: Option<KeptFile>,
    map: OnceLock<MappedFile>,
    permit: Option<MapPermit>,
}

impl Content {
    /// Opens the file at `path`. Never follows a symlink. With a `permit` it can be mapped; with
    /// `hold` it stays open even where it is read whole.
    pub fn open(path: &Path, permit: Option<MapPermit>, hold: bool) -> Result<Self> {
        let file = open_file(path).map_err(|error| Error::io("open", path, error))?;
        Self::of(file, path, permit, hold)
    }

    /// As [`Content::open`], of a file that is open.
    pub(crate) fn of(
        file: File,
        path: &Path,
        permit: Option<MapPermit>,
        hold: bool,
    ) -> Result<Self> {
        let found = file.metadata().map_err(|error| Error::io("inspect", path, error))?;
        if !found.is_file() {
            let (path, expected) = (path.to_owned(), "a file");
            return Err(Error::NotThisFormat { path, expected, found: "something else".into() });
        }
        let (length, inode) = (found.len(), found.ino());
        let mut content = Self {
            path: path.to_owned(),
            length,
            inode,
            whole: None,
            file: None,
            map: OnceLock::new(),
            permit,
        };
        if length <= READ_WHOLE {
            let mut bytes = vec![0; length as usize + ALIGNMENT];
            let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
            file.read_exact_at(&mut bytes[start..start + length as usize], 0)
                .map_err(|error| content.failed(error))?;
            content.whole = Some((bytes, start));
            if !hold {
                return Ok(content);
            }
        }
        let must_keep = length > READ_WHOLE && permit.is_none();
        match (KeptFile::keep(file, must_keep), permit) {
            (Ok(kept), _) => content.file = Some(kept),
            // Too many files are open to keep this one: its mapping serves instead.
            (Err(file), Some(permit)) if length > READ_WHOLE => {
                let map = MappedFile::of(&file, path, permit)?;
                if map.bytes().len() as u64 != length {
                    return Err(content.damaged("its length has changed"));
                }
                content.map = OnceLock::from(map);
            }
            (Err(_), _) => {}
        }
        Ok(content)
    }

    /// Where the file was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Its inode, which tells it from another file of the same name.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The file, where it was kept open.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref().map(|kept| &kept.file)
    }

    /// The bytes in this range, or `None` where it lies outside the file.
    pub fn read(&self, range: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        if range.start > range.end || range.end > self.length {
            return Ok(None);
        }
        if let Some(bytes) = self.in_memory(&range) {
            return Ok(Some(Cow::Borrowed(bytes)));
        }
        let Some(file) = self.file() else {
            return self.borrow(range).map(|bytes| bytes.map(Cow::Borrowed));
        };
        let mut bytes = memory::zeroed((range.end - range.start) as usize, "a part of a file")?;
        file.read_exact_at(&mut bytes, range.start).map_err(|error| self.failed(error))?;
        Ok(Some(Cow::Owned(bytes)))
    }

    /// The bytes in this range in place, or `None` where they lie outside the file or can't be
    /// mapped.
    pub(crate) fn borrow(&self, range: Range<u64>) -> Result<Option<&[u8]>> {
        if range.start > range.end || range.end > self.length {
            return Ok(None);
        }
        if let Some(bytes) = self.in_memory(&range) {
            return Ok(Some(bytes));
        }
        let Some(permit) = self.permit else { return Ok(None) };
        if let Some(file) = self.file() {
            let found = file.metadata().map_err(|error| Error::io("inspect", &self.path, error))?;
            if found.len() != self.length {
                return Err(self.damaged("its length has changed since it was opened"));
            }
            if self.map.get().is_none() {
                // Another thread's mapping would be as good.
                let _ = self.map.set(MappedFile::of(file, &self.path, permit)?);
            }
        }
        let bytes = self.map.get().map(MappedFile::bytes);
        Ok(bytes.and_then(|bytes| bytes.get(range.start as usize..range.end as usize)))
    }

    /// The file mapped copy on write; `None` without a permit, or where the file was not kept open
    /// and its name is gone or another file's.
    pub(crate) fn map_private(&self) -> Result<Option<PrivateMap>> {
        let Some(permit) = self.permit else { return Ok(None) };
        let reopened = match self.file() {
            Some(_) => None,
            None => match open_file(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io("open", &self.path, error)),
            },
        };
        let Some(file) = self.file().or(reopened.as_ref()) else { return Ok(None) };
        let found = file.metadata().map_err(|error| Error::io("inspect", &self.path, error))?;
        if found.ino() != self.inode {
            return Ok(None);
        }
        if found.len() != self.length {
            return Err(self.damaged("its length has changed since it was opened"));
        }
        PrivateMap::of(file, &self.path, permit).map(Some)
    }

    fn in_memory(&self, range: &Range<u64>) -> Option<&[u8]> {
        let (bytes, start) = self.whole.as_ref()?;
        bytes.get(start + range.start as usize..start + range.end as usize)
    }

    fn failed(&self, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return self.damaged("it is shorter than when it was opened");
        }
        Error::io("read", &self.path, error)
    }

    fn damaged(&self, reason: &str) -> Error {
        Error::corrupt(&self.path, "the file", reason)
    }
}

/// A file that stays open, which counts towards what the process may have open.
#[derive(Debug)]
struct KeptFile {
    file: File,
}

/// How many files are kept open.
static KEPT: AtomicU64 = AtomicU64::new(0);

impl KeptFile {
    /// Keeps a file open if that leaves half of what the process may open for others, or if
    /// `must_keep`; else returns it.
    fn keep(file: File, must_keep: bool) -> std::result::Result<Self, File> {
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 2;
        if KEPT.fetch_add(1, Ordering::Relaxed) >= most && !must_keep {
            KEPT.fetch_sub(1, Ordering::Relaxed);
            return Err(file);
        }
        Ok(Self { file })
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files are truncated while they are read")]
mod tests {
    use super::*;

    fn permit() -> MapPermit {
        // SAFETY: the tests truncate a file only after their last access to its mapping.
        unsafe { MapPermit::new() }
    }

    fn written(length: usize) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let bytes: Vec<u8> = (0..length).map(|index| (index * 7 % 251) as u8).collect();
        let file = File::options().create_new(true).write(true).open(&path).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        (directory, path, bytes)
    }

    #[test]
    fn any_range_is_read_and_borrowed_as_it_is_in_the_file() {
        for length in [0, 100, READ_WHOLE as usize, READ_WHOLE as usize + 1, 1_000_000] {
            let (_directory, path, bytes) = written(length);
            for permit in [Some(permit()), None] {
                let content = Content::open(&path, permit, false).unwrap();
                for range in [0..length, length / 3..length / 2, length..length] {
                    let found = range.start as u64..range.end as u64;
                    assert_eq!(
                        *content.read(found.clone()).unwrap().unwrap(),
                        bytes[range.clone()]
                    );
                    let borrowed = content.borrow(found).unwrap();
                    let may_borrow = permit.is_some() || length <= READ_WHOLE as usize;
                    assert_eq!(borrowed, may_borrow.then_some(&bytes[range]));
                }
                assert!(content.read(0..length as u64 + 1).unwrap().is_none());
                assert!(content.borrow(length as u64 + 1..length as u64 + 1).unwrap().is_none());
            }
        }
    }

    #[test]
    fn bytes_borrowed_from_memory_are_aligned_as_in_the_file() {
        let (_directory, path, _) = written(1000);
        let content = Content::open(&path, Some(permit()), true).unwrap();
        let borrowed = content.borrow(128..200).unwrap().unwrap();
        assert_eq!(borrowed.as_ptr().align_offset(ALIGNMENT), 0);
    }

    #[test]
    fn a_truncated_file_gives_an_error_and_no_signal() {
        for (length, left) in [(1_000_000, 10), (1_000_000, 999_999), (70_000, 0)] {
            let (_directory, path, bytes) = written(length);
            let content = Content::open(&path, Some(permit()), true).unwrap();
            assert!(content.borrow(0..length as u64).unwrap().is_some());
            File::options().write(true).open(&path).unwrap().set_len(left).unwrap();
            for error in [
                content.read(0..length as u64).unwrap_err(),
                content.borrow(0..length as u64).unwrap_err(),
            ] {
                assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            }
            drop(bytes);
        }
    }

    #[test]
    fn a_pipe_or_a_directory_in_place_of_a_file_is_refused_at_once() {
        let (directory, _, _) = written(1);
        assert!(Content::open(directory.path(), None, true).is_err());
        let pipe = directory.path().join("pipe");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(Content::open(&pipe, None, true).is_err());
    }
}
