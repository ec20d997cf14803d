//! Early write-back: the disk works while the next part is still being made.

use std::fs::File;

/// Asks the system to begin writing `length` bytes from `offset` on. It promises nothing and reports
/// nothing: a failure shows when the file is synced.
#[cfg(target_os = "linux")]
pub(super) fn begin(file: &File, offset: u64, length: u64) {
    use std::os::fd::AsRawFd;

    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the call takes no pointers, and the descriptor is open as long as `file` is borrowed.
    // Whatever the numbers, it changes neither memory nor the file's bytes.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn begin(_file: &File, _offset: u64, _length: u64) {}
