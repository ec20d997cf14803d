//! Files apart from the standard ones.
//!
//! In a process that was started without them (`>&-`, some daemons), the next file that is opened
//! is number 1, and what any library prints is written into it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::io::fcntl_dupfd_cloexec;

/// The first descriptor that is no standard file's.
const FIRST: RawFd = 3;

/// The same open file under a number that no standard file has.
pub(crate) fn apart<T: AsFd + From<OwnedFd>>(opened: T) -> io::Result<T> {
    if opened.as_fd().as_raw_fd() >= FIRST {
        return Ok(opened);
    }
    Ok(fcntl_dupfd_cloexec(opened, FIRST)?.into())
}
