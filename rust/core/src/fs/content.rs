//! What is in a file, or in an object elsewhere, and how it gets into memory.
//!
//! Access to a mapping beyond the end of a truncated file ends the process, and so does access to
//! one on a network file system when the server has lost the file. So bytes are *read*, which gives
//! an error instead. Only what is borrowed is mapped, only with a permit, and only after the file's
//! length was checked. Small files are read whole at once.
//!
//! At most half of the files that a process may have open are kept open here. Those beyond are
//! opened again for each read, by their name, and have to be what they were: of the same length and
//! with the same last bytes, which in an entry tell its content from any other. Inodes would not
//! do: some network file systems give a new number at each look, others the same to another file.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::race::OnceBox;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use rustix::process::{Resource, getrlimit};

use super::mapped::{MapPermit, MappedFile, PrivateMap};
use super::open::open_file;
use super::range_source::RangeSource;
use super::remote::{Prefetched, RemoteContent};
use crate::memory::{reserve, zeroed};
use crate::{Error, IoContext, Result};

/// Files of up to this many bytes are read whole.
const READ_WHOLE: u64 = 64 * 1024;
/// Alignment of bytes that are borrowed in place, in memory as in the file.
const ALIGNMENT: usize = 64;
/// The last bytes of a file, by which it is known again.
const TAIL: u64 = 64;

/// The bytes of an open file, or of an object that is read by ranges.
#[derive(Debug)]
pub struct Content {
    path: PathBuf,
    length: u64,
    inode: u64,
    /// The whole file, and where in the vector it begins, aligned.
    whole: Option<(Vec<u8>, usize)>,
    file: Handle,
    map: OnceBox<MappedFile>,
    permit: Option<MapPermit>,
}

/// How the file is found.
#[derive(Debug)]
enum Handle {
    Kept(KeptFile),
    /// By its name, with these last bytes.
    Named(Vec<u8>),
    /// There is none.
    Remote(RemoteContent),
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// It is read soon. A small one, which is in memory then, is not kept open.
    Brief,
    /// It is to stay open while it is used, if not too many are.
    Long,
    /// As brief, of a file that may have no name by which it is found again: it stays open in any
    /// case if it is not in memory.
    Unnamed,
    /// It grows, so that it could not be known again: it stays open in any case.
    Growing,
}

impl Content {
    /// Opens the file at `path`. Never follows a symlink. With a `permit` it can be mapped.
    pub fn open(path: &Path, permit: Option<MapPermit>, mode: OpenMode) -> Result<Self> {
        let file = open_file(path).context("open", path)?;
        Self::of(file, path, permit, mode)
    }

    /// As [`Content::open`], of a file that is open.
    pub(crate) fn of(
        file: File,
        path: &Path,
        permit: Option<MapPermit>,
        mode: OpenMode,
    ) -> Result<Self> {
        let found = file.metadata().context("inspect", path)?;
        if !found.is_file() {
            let (path, expected) = (path.to_owned(), "a file");
            return Err(Error::NotThisFormat { path, expected, found: "something else".into() });
        }
        let (path, length, inode) = (path.to_owned(), found.len(), found.ino());
        let whole = match length {
            ..=READ_WHOLE => {
                let mut bytes: Vec<u8> = zeroed(length as usize + ALIGNMENT, "bytes of a file")?;
                let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
                read_at(&file, &path, &mut bytes[start..start + length as usize], 0)?;
                Some((bytes, start))
            }
            _ => None,
        };
        let is_wanted = whole.is_none() || matches!(mode, OpenMode::Long | OpenMode::Growing);
        let must_keep = matches!(mode, OpenMode::Unnamed | OpenMode::Growing);
        let kept = is_wanted.then(|| Counted::new(must_keep)).flatten();
        let handle = match (kept, &whole) {
            (Some(counted), _) => Handle::Kept(KeptFile { file, _counted: counted }),
            (None, Some((bytes, start))) => {
                let bytes = &bytes[*start..start + length as usize];
                Handle::Named(bytes[bytes.len().saturating_sub(TAIL as usize)..].to_vec())
            }
            (None, None) => Handle::Named(tail(&file, &path, length)?),
        };
        Ok(Self { path, length, inode, whole, file: handle, map: OnceBox::new(), permit })
    }

    /// The object behind `source`, whose two ends are read now.
    pub fn remote(source: Arc<dyn RangeSource>) -> Result<Self> {
        let (path, length) = (source.path().to_owned(), source.length());
        let file = Handle::Remote(RemoteContent::open(source)?);
        Ok(Self { path, length, inode: 0, whole: None, file, map: OnceBox::new(), permit: None })
    }

    /// Whether each read may be a request to a server.
    pub fn is_remote(&self) -> bool {
        matches!(self.file, Handle::Remote(_))
    }

    /// Fetches what will be read, at once, if it is elsewhere.
    pub(crate) fn prefetch(
        &self,
        ranges: impl IntoIterator<Item = Range<u64>>,
    ) -> Result<Prefetched<'_>> {
        match &self.file {
            Handle::Remote(remote) => remote.prefetch(ranges.into_iter().collect()),
            Handle::Kept(_) | Handle::Named(_) => Ok(Prefetched::nothing()),
        }
    }

    /// Whether no request is needed to read this range.
    pub(crate) fn is_at_hand(&self, range: Range<u64>) -> bool {
        match &self.file {
            Handle::Remote(remote) => remote.has(&range),
            Handle::Kept(_) | Handle::Named(_) => true,
        }
    }

    /// Says that something of it was found damaged, to a source that may keep a copy of that.
    pub fn distrust(&self) {
        if let Handle::Remote(remote) = &self.file {
            remote.distrust();
        }
    }

    /// Where the file was when it was opened, or the URL.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Its inode, which on a local file system tells it from another file of the same name.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The file, where it was kept open.
    pub fn file(&self) -> Option<&File> {
        match &self.file {
            Handle::Kept(kept) => Some(&kept.file),
            Handle::Named(_) | Handle::Remote(_) => None,
        }
    }

    /// The bytes in this range, or `None` where it lies outside the file.
    pub fn read(&self, range: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        if range.start > range.end || range.end > self.length {
            return Ok(None);
        }
        if let Some(bytes) = self.in_memory(&range) {
            return Ok(Some(Cow::Borrowed(bytes)));
        }
        if let Handle::Remote(remote) = &self.file {
            return Ok(Some(Cow::Owned(remote.read(range)?)));
        }
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let bytes = self.with_file(|file| read_new(file, &self.path, range.start, length))?;
        Ok(Some(Cow::Owned(bytes)))
    }

    /// Reads the bytes from `start` on, all of which lie inside the file.
    pub(crate) fn read_into(&self, start: u64, out: &mut [u8]) -> Result<()> {
        if let Some(bytes) = self.in_memory(&(start..start.saturating_add(out.len() as u64))) {
            out.copy_from_slice(bytes);
            return Ok(());
        }
        if let Handle::Remote(remote) = &self.file {
            return remote.read_into(start, out);
        }
        self.with_file(|file| read_at(file, &self.path, out, start))
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
        // A mapping that is there already stays, also where the name is gone.
        if self.map.get().is_none() || self.file().is_some() {
            self.with_file(|file| {
                self.check_length(file)?;
                if self.map.get().is_none() {
                    // Another thread's mapping would be as good.
                    let map = MappedFile::of(file, &self.path, permit)?;
                    let _ = self.map.set(Box::new(map));
                }
                Ok(())
            })?;
        }
        let bytes = self.map.get().map(MappedFile::bytes);
        Ok(bytes.and_then(|bytes| bytes.get(range.start as usize..range.end as usize)))
    }

    /// The file mapped copy on write; `None` without a permit.
    pub(crate) fn map_private(&self) -> Result<Option<PrivateMap>> {
        let Some(permit) = self.permit else { return Ok(None) };
        self.with_file(|file| {
            self.check_length(file)?;
            PrivateMap::of(file, &self.path, permit).map(Some)
        })
    }

    fn in_memory(&self, range: &Range<u64>) -> Option<&[u8]> {
        let (bytes, start) = self.whole.as_ref()?;
        let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
        let end = start + self.length as usize;
        bytes.get(*start..end)?.get(range)
    }

    fn with_file<T>(&self, work: impl FnOnce(&File) -> Result<T>) -> Result<T> {
        let tail = match &self.file {
            Handle::Kept(kept) => return work(&kept.file),
            Handle::Named(tail) => tail,
            Handle::Remote(_) => {
                let source = io::ErrorKind::Unsupported.into();
                return Err(Error::io("open as a file", &self.path, source));
            }
        };
        let file = open_file(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => gone(&self.path),
            _ => Error::io("open", &self.path, error),
        })?;
        if !is_same(&file, &self.path, self.length, tail)? {
            return Err(gone(&self.path));
        }
        work(&file)
    }

    fn check_length(&self, file: &File) -> Result<()> {
        let found = file.metadata().context("inspect", &self.path)?;
        if found.len() == self.length {
            return Ok(());
        }
        let reason = "its length has changed since it was opened";
        Err(Error::corrupt(&self.path, "the file", reason))
    }
}

/// Reads bytes that the file had when it was opened.
fn read_at(file: &File, path: &Path, out: &mut [u8], start: u64) -> Result<()> {
    file.read_exact_at(out, start).map_err(|error| failed(path, error))
}

/// The same, into new memory, which is not filled with zeros before.
fn read_new(file: &File, path: &Path, start: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = reserve(length, "bytes of a file")?;
    while bytes.len() < length {
        let from = start + bytes.len() as u64;
        match pread(file, spare_capacity(&mut bytes), from) {
            Ok(0) => return Err(failed(path, io::ErrorKind::UnexpectedEof.into())),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(failed(path, error.into())),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn failed(path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Error::corrupt(path, "the file", "it is shorter than when it was opened");
    }
    if error.raw_os_error() == Some(Errno::STALE.raw_os_error()) {
        return gone(path);
    }
    Error::io("read", path, error)
}

fn tail(file: &File, path: &Path, length: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length.min(TAIL) as usize];
    let start = length - bytes.len() as u64;
    read_at(file, path, &mut bytes, start)?;
    Ok(bytes)
}

fn is_same(file: &File, path: &Path, length: u64, expected: &[u8]) -> Result<bool> {
    let found = file.metadata().context("inspect", path)?;
    Ok(found.size() == length && tail(file, path, length)? == expected)
}

/// The file is not there any more under its name, or another one is.
fn gone(path: &Path) -> Error {
    let action = "find what was opened before, which was replaced or removed, at";
    Error::io(action, path, Errno::STALE.into())
}

/// A file that stays open.
#[derive(Debug)]
struct KeptFile {
    file: File,
    _counted: Counted,
}

/// Counts a file that is kept open towards what the process may have open.
#[derive(Debug)]
struct Counted;

/// How many files are kept open.
static KEPT: AtomicU64 = AtomicU64::new(0);

impl Counted {
    /// Counts one more, if that leaves half of what the process may open for others, or if it must.
    fn new(must: bool) -> Option<Self> {
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 2;
        let before = KEPT.fetch_add(1, Ordering::Relaxed);
        // Dropped, it is not counted any more.
        let counted = Self;
        (before < most || must).then_some(counted)
    }
}

impl Drop for Counted {
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
                let content = Content::open(&path, permit, OpenMode::Brief).unwrap();
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
        let content = Content::open(&path, Some(permit()), OpenMode::Long).unwrap();
        let borrowed = content.borrow(128..200).unwrap().unwrap();
        assert_eq!(borrowed.as_ptr().align_offset(ALIGNMENT), 0);
    }

    #[test]
    fn a_truncated_file_gives_an_error_and_no_signal() {
        for (length, left) in [(1_000_000, 10), (1_000_000, 999_999), (70_000, 0)] {
            let (_directory, path, bytes) = written(length);
            let content = Content::open(&path, Some(permit()), OpenMode::Long).unwrap();
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
    fn a_file_that_is_not_kept_open_is_found_again_or_known_to_be_gone() {
        for length in [1000, 1_000_000] {
            let (directory, path, bytes) = written(length);
            let mut content = Content::open(&path, Some(permit()), OpenMode::Long).unwrap();
            let file = File::open(&path).unwrap();
            content.file = Handle::Named(tail(&file, &path, length as u64).unwrap());
            content.whole = None;
            assert!(content.file().is_none());
            let range = 10..length as u64 - 10;
            let expected = &bytes[10..length - 10];
            assert_eq!(*content.read(range.clone()).unwrap().unwrap(), *expected);

            // Another name for the same content is as good.
            let copy = directory.path().join("copy");
            std::fs::copy(&path, &copy).unwrap();
            std::fs::rename(&copy, &path).unwrap();
            assert_eq!(*content.read(range.clone()).unwrap().unwrap(), *expected);

            let mut other = bytes.clone();
            other[length - 1] ^= 1;
            std::fs::write(&path, &other).unwrap();
            let spoilers: [&dyn Fn(); 3] = [
                &|| {},
                &|| File::options().write(true).open(&path).unwrap().set_len(9).unwrap(),
                &|| std::fs::remove_file(&path).unwrap(),
            ];
            for spoil in spoilers {
                spoil();
                for error in [
                    content.read(range.clone()).unwrap_err(),
                    content.borrow(range.clone()).unwrap_err(),
                    content.map_private().unwrap_err(),
                ] {
                    let text = error.to_string();
                    assert!(text.contains("replaced or removed"), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_pipe_or_a_directory_in_place_of_a_file_is_refused_at_once() {
        let (directory, _, _) = written(1);
        assert!(Content::open(directory.path(), None, OpenMode::Long).is_err());
        let pipe = directory.path().join("pipe");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(Content::open(&pipe, None, OpenMode::Long).is_err());
    }
}
