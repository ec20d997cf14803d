//! How much memory this process uses, and getting a lot of it: an error where there is none, for a
//! plain vector would end the process.

use std::alloc::{Layout, alloc_zeroed};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

use crate::{Error, Result};

/// Bytes of published files that are mapped at the moment.
pub(crate) static MAPPED: AtomicU64 = AtomicU64::new(0);

/// Bytes of this process that are in memory, or 0 where the system doesn't tell.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Bytes of published files that this process has mapped. Only what was touched of them is in
/// memory, and the system takes it back when it needs the room.
pub fn mapped_bytes() -> u64 {
    MAPPED.load(Ordering::Relaxed)
}

/// An error where the limit of this process's address space (`RLIMIT_AS`) leaves less than so many bytes,
/// for `purpose`: libraries that need memory end the process where they get none. Without a limit the
/// system gives what it has not got, and this is free.
pub fn check_limit(bytes: u64, purpose: &str) -> Result<()> {
    let Some(limit) = getrlimit(Resource::As).current else { return Ok(()) };
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let used = pages.unwrap_or(0) * rustix::param::page_size() as u64;
    if used.saturating_add(bytes) <= limit {
        return Ok(());
    }
    Err(Error::OutOfMemory { bytes: bytes as usize, purpose: purpose.to_owned() })
}

/// As many zeros, for `purpose`. The system maps their pages when they are written to.
pub fn zeroed(bytes: usize, purpose: &str) -> Result<Vec<u8>> {
    if bytes == 0 {
        return Ok(Vec::new());
    }
    let out_of_memory = || Error::OutOfMemory { bytes, purpose: purpose.to_owned() };
    let layout = Layout::array::<u8>(bytes).map_err(|_| out_of_memory())?;
    // SAFETY: the layout is not empty. The memory comes from the global allocator with the layout of
    // a vector of `bytes` bytes, all of which are initialised.
    unsafe {
        let data = alloc_zeroed(layout);
        if data.is_null() {
            return Err(out_of_memory());
        }
        Ok(Vec::from_raw_parts(data, bytes, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_there_is_an_error_and_what_is_there_is_zero() {
        for bytes in [usize::MAX, isize::MAX as usize] {
            let error = zeroed(bytes, "a test").unwrap_err();
            assert!(error.to_string().contains("a test"), "{error}");
        }
        assert_eq!(zeroed(1000, "a test").unwrap(), vec![0; 1000]);
        assert!(zeroed(0, "a test").unwrap().is_empty());
    }

    #[test]
    fn a_running_process_has_memory() {
        assert!(resident_bytes() > 100_000);
    }
}
