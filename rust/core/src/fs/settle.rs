//! Bytes before names: making sure that no name can survive a power cut without the bytes under it.
//!
//! Syncing a file, renaming it and syncing its directory makes a journaling file system commit twice. Ext4
//! with its journal needs one: once the bytes have been written out, what says where they are is in the
//! journal's current transaction or an earlier one, and a rename joins the current or a later one. A
//! transaction is only valid once the disk's own cache has been flushed, after the bytes were handed to
//! it. So the name is never durable before the bytes are, and a sync of the directory makes both so.
//! Everywhere else, also on ext4 without a journal, the file is synced.

use std::fs::File;
use std::io;

/// Makes sure that renames from now on become durable no sooner than the bytes of this file. Answers
/// `false` where nothing promises that: then the file is to be synced.
#[cfg(target_os = "linux")]
pub(super) fn settle(file: &File) -> io::Result<bool> {
    Ok(keeps_order(file) && super::writeback::write_out(file)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn settle(_file: &File) -> io::Result<bool> {
    Ok(false)
}

/// Whether the file is on ext4 with a journal.
#[cfg(target_os = "linux")]
fn keeps_order(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The device that was looked at last, and whether it has a journal in the lowest bit.
    static LAST: AtomicU64 = AtomicU64::new(u64::MAX);

    const EXT4: u32 = 0xef53;
    if !rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type as u32 == EXT4) {
        return false;
    }
    let Ok(device) = file.metadata().map(|found| found.dev()) else { return false };
    let last = LAST.load(Ordering::Relaxed);
    if last >> 1 == device {
        return last & 1 == 1;
    }
    let found = has_journal(device);
    LAST.store(device << 1 | u64::from(found), Ordering::Relaxed);
    found
}

/// Whether ext4 on this device says that a task writes its journal.
#[cfg(target_os = "linux")]
fn has_journal(device: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"))
        .ok()
        .and_then(|link| {
            let name = link.file_name()?.to_str()?.to_owned();
            std::fs::read_to_string(format!("/sys/fs/ext4/{name}/journal_task")).ok()
        })
        .is_some_and(|task| task.trim().parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn bytes_are_what_they_were_after_settling() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 100_000], 0).unwrap();
        // Whether it does anything depends on the file system.
        let _: bool = settle(&file).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 100_000]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_that_is_not_there_has_no_journal() {
        assert!(!has_journal(rustix::fs::makedev(4095, 1_000_000)));
    }
}
