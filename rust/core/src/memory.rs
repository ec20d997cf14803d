//! How much memory this process uses.

use std::sync::atomic::{AtomicU64, Ordering};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_memory() {
        assert!(resident_bytes() > 100_000);
    }
}
