//! Early write-back: the disk works while the next part is still being made, and the memory of a
//! part that it has is used again for the next one. Without the latter a large file would push
//! everything else out of the page cache, and each of its pages would have to be allocated again.

use std::fs::File;
use std::io;

/// Asks the system to begin writing `length` bytes from `offset` on. It promises nothing and
/// reports nothing: a failure shows when the file is synced.
#[cfg(target_os = "linux")]
pub(super) fn begin(file: &File, offset: u64, length: u64) {
    use std::os::fd::AsRawFd;

    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the call takes no pointers, and the descriptor is open as long as `file` is borrowed.
    // With any numbers it changes neither memory nor the file's bytes.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn begin(_file: &File, _offset: u64, _length: u64) {}

/// Waits until these bytes are on their way to the disk no longer, and gives back the memory that
/// holds them. An error counts: a later sync of the same open file would not repeat it.
#[cfg(target_os = "linux")]
pub(super) fn finish(file: &File, offset: u64, length: u64) -> io::Result<()> {
    use std::num::NonZeroU64;
    use std::os::fd::AsRawFd;

    use rustix::fs::{Advice, fadvise};

    let (Ok(from), Ok(bytes)) = (i64::try_from(offset), i64::try_from(length)) else {
        return Ok(());
    };
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: as above.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), from, bytes, flags) };
    if result != 0 {
        let error = io::Error::last_os_error();
        // Some file systems don't have it: then the sync at the end does all.
        let is_missing =
            matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE));
        return if is_missing { Ok(()) } else { Err(error) };
    }
    // Advice that is not taken does no harm.
    let _ = fadvise(file, offset, NonZeroU64::new(length), Advice::DontNeed);
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn finish(_file: &File, _offset: u64, _length: u64) -> io::Result<()> {
    Ok(())
}
