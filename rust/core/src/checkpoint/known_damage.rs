//! Files that this process has found damaged. No checkpoint is linked to them: a job that saves its
//! state again writes it whole.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use crate::fs::{Identity, identity_of};
use crate::per_process::try_lock;

/// Device and inode of each. Only ever tried: a fork may have copied it locked.
static FOUND: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// Notes that a file is damaged.
pub(super) fn note(file: &File) {
    if let (Ok(found), Some(mut known)) = (file.metadata(), try_lock(&FOUND)) {
        known.insert(identity_of(&found));
    }
}

/// Whether the file at a path was found damaged.
pub(super) fn is_known(path: &Path) -> bool {
    try_lock(&FOUND).is_some_and(|known| {
        !known.is_empty()
            && path.symlink_metadata().is_ok_and(|found| known.contains(&identity_of(&found)))
    })
}
