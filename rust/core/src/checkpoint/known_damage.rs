//! Files that this process has found damaged. No checkpoint is linked to them: a job that saves its
//! state again writes it whole.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;

use crate::fs::Identity;

/// Device and inode of each. Only ever tried: a fork may have copied it locked.
static FOUND: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// Notes that a file is damaged.
pub(super) fn note(file: &File) {
    if let (Ok(found), Ok(mut known)) = (file.metadata(), FOUND.try_lock()) {
        known.insert(identity(&found));
    }
}

/// Whether the file at a path was found damaged.
pub(super) fn is_known(path: &Path) -> bool {
    FOUND.try_lock().is_ok_and(|known| {
        !known.is_empty()
            && path.symlink_metadata().is_ok_and(|found| known.contains(&identity(&found)))
    })
}

fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}
