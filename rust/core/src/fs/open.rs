//! Opening files for reading, where another user may have put something else in their place.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::descriptor::apart;
use crate::{Error, IoContext, Result};

/// Opens a regular file for reading. A symlink, a pipe or a device in its place is refused at once.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    // Without `NONBLOCK`, opening a named pipe in its place would wait for a writer.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    regular(OpenOptions::new().read(true).custom_flags(flags).open(path))
}

/// A file that was opened without following links, if it is a regular one.
pub(crate) fn regular(opened: io::Result<File>) -> io::Result<File> {
    match opened {
        Ok(file) if file.metadata()?.is_file() => apart(file),
        Err(error) if error.raw_os_error() != Some(Errno::LOOP.raw_os_error()) => Err(error),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Whether opening failed because there is something else than a regular file.
pub(crate) fn is_not_regular(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none()
}

/// The most that a file may hold which is read whole: what this program writes is far smaller.
const MAX_READ: u64 = 64 << 20;

/// The whole of a small file. Never follows a symlink.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)
        .and_then(|file| file.take(MAX_READ + 1).read_to_end(&mut bytes))
        .context("read", path)?;
    if bytes.len() as u64 > MAX_READ {
        return Err(Error::corrupt(path, "the file", format!("it has more than {MAX_READ} bytes")));
    }
    Ok(bytes)
}

/// Asks the file server for the length and times of an open file, instead of the kernel's memory.
pub(crate) fn refresh(file: &File) {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, StatxFlags, statx};
        // Where it can't be asked, what the kernel knows has to do.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        let _ = statx(file, "", flags, StatxFlags::BASIC_STATS);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Whether the file server does not know an open file any more: it was replaced or removed.
pub(crate) fn is_stale(error: &Error) -> bool {
    let stale = Some(Errno::STALE.raw_os_error());
    matches!(error, Error::Io { source, .. } if source.raw_os_error() == stale)
}

/// As [`open_file`], where no folder of the path is a symlink either. `None` where one is, or the
/// system can't check that.
pub(crate) fn open_without_links(path: &Path) -> Option<io::Result<File>> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, Mode, ResolveFlags, openat2};
        use rustix::io::retry_on_intr;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let no_links = ResolveFlags::NO_SYMLINKS;
        match retry_on_intr(|| openat2(CWD, path, flags, Mode::empty(), no_links)) {
            Ok(file) => Some(regular(Ok(file.into()))),
            // Old kernels don't have it, and containers may not allow it.
            Err(Errno::LOOP | Errno::NOSYS | Errno::PERM | Errno::INVAL) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
    #[cfg(not(target_os = "linux"))]
    None
}
