//! Opening the file of an entry by its path, wherever it lies, or as an object elsewhere.
//!
//! Such a file is anyone's: it may be written over, cut or replaced by programs that know nothing
//! of caches. So it is only ever read, and checked each time, never mapped; and nothing is written,
//! locked or made beside it.

use std::fs::Metadata;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use super::OpenEntry;
use super::layout::{SUSPENDED, WRITING};
use crate::fs::{Content, OpenMode, RangeSource};
use crate::trajectory::{Entry, EntryKind};
use crate::{Error, IoContext, Result};

/// How the files begin that are most often taken for one: an offset, the bytes there, what it is.
const OTHER_FORMATS: [(usize, &[u8], &str); 12] = [
    (0, &[0, 0, 7, 0xcb], "an XTC trajectory"),
    (0, &[0, 0, 7, 0xc9], "a TRR trajectory"),
    (4, b"CORD", "a DCD trajectory"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"CDF", "a NetCDF file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PK\x03\x04", "a zip archive, as .npz files are"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"ATOM ", "a PDB file"),
    (0, b"HEADER", "a PDB file"),
    (0, b"CRYST1", "a PDB file"),
    (0, b"<", "an XML or HTML page"),
];

impl OpenEntry {
    /// Opens the file of a published trajectory, in a cache or not. Its head and index are verified
    /// now, its data when it is read. A symlink is followed, once, now.
    pub fn of_trajectory_file(path: &Path) -> Result<Self> {
        let real = path.canonicalize().context("open", path)?;
        let found = real.metadata().context("open", &real)?;
        if !found.is_file() {
            return Err(not_an_entry(&real, kind_of_file(&found)));
        }
        Self::of_trajectory(Content::open(&real, None, OpenMode::Long)?)
    }

    /// Opens a published trajectory that is an object elsewhere, by ranges of it.
    pub fn of_trajectory_object(source: Arc<dyn RangeSource>) -> Result<Self> {
        let opened = Self::of_trajectory(Content::remote(Arc::clone(&source))?);
        if let Err(Error::Corrupt { .. }) = &opened {
            source.distrust();
        }
        opened
    }

    fn of_trajectory(content: Content) -> Result<Self> {
        let (path, length) = (content.path().to_owned(), content.length());
        let start = content.read(0..length.min(16))?.unwrap_or_default().into_owned();
        let entry = Entry::of(content).map_err(|error| match error {
            Error::NotThisFormat { .. } => match format_of(&start) {
                Some(found) => not_an_entry(&path, found),
                None => error,
            },
            Error::Corrupt { .. } if is_unfinished(&path) => Error::argument(
                "path",
                format!("{path:?}"),
                "a finished trajectory, and this one is being written, or its writer was ended: \
                 trajectory_writer(data_id, resume=True) of its cache goes on with it",
            ),
            error => error,
        })?;
        if entry.header().kind != EntryKind::Trajectory {
            return Err(Error::argument(
                "path",
                format!("{path:?}"),
                format!(
                    "a trajectory, and this is the structure {:?}: load_data(data_id) of its \
                     cache gives it",
                    entry.header().data_id
                ),
            ));
        }
        Ok(Self::new(entry))
    }
}

fn not_an_entry(path: &Path, found: &str) -> Error {
    Error::NotThisFormat {
        path: path.to_owned(),
        expected: "the file of a trajectory (.fxt)",
        found: found.to_owned(),
    }
}

fn kind_of_file(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_dir() {
        "it is a directory; DataHandler(directory).open(key) opens a trajectory of a cache"
    } else if kind.is_fifo() {
        "it is a named pipe"
    } else if kind.is_socket() {
        "it is a socket"
    } else {
        "it is a device"
    }
}

fn format_of(start: &[u8]) -> Option<&'static str> {
    let is = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(magic));
    OTHER_FORMATS.iter().find(|(at, magic, _)| is(*at, magic)).map(|(_, _, found)| *found)
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with(WRITING) || name.ends_with(SUSPENDED)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files that this program does not write")]
mod tests {
    use std::io;

    use super::*;
    use crate::cache::Cache;
    use crate::fs::Disk;
    use crate::trajectory::Encoding;
    use crate::tree::TreeWriter;

    #[test]
    fn what_is_not_a_trajectory_is_refused_by_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let pipe = directory.path().join("pipe");
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let cases = [
            (directory.path().to_owned(), "it is a directory"),
            (pipe, "named pipe"),
            ("/dev/null".into(), "device"),
            (file("a", b""), "empty"),
            (file("b", &[0, 0, 7, 0xcb, 0, 0]), "an XTC trajectory"),
            (file("c", b"T\0\0\0CORD"), "a DCD trajectory"),
            (file("d", b"hello"), "other bytes"),
        ];
        for (path, expected) in cases {
            let error = OpenEntry::of_trajectory_file(&path).unwrap_err();
            assert!(matches!(error, Error::NotThisFormat { .. }), "{error:?}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        let missing = OpenEntry::of_trajectory_file(&directory.path().join("none")).unwrap_err();
        let Error::Io { source, .. } = missing else { panic!("{missing:?}") };
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_file_of_a_structure_is_refused_with_the_way_to_load_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(Arc::new(Disk), directory.path(), None).unwrap();
        let mut values = TreeWriter::new();
        values.text("villin");
        let values = values.finish();
        let pending = cache
            .begin(EntryKind::Structure, "villin", values.clone(), Encoding::plain(), None)
            .unwrap();
        let key = pending.publish(&values).unwrap();
        let error = OpenEntry::of_trajectory_file(&cache.entry_path(&key)).unwrap_err();
        assert!(error.to_string().contains("the structure \"villin\": load_data"), "{error}");
    }
}
