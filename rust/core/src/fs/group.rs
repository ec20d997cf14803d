//! Directories that a group shares.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// What a group has been given (`chgrp`, `chmod 2770`): it owns what is made there and may write.
const SHARED: u32 = 0o2020;
const READ: u32 = 0o040;
const WRITE: u32 = 0o020;

/// Lets the group write to what was made in a directory that is its own, where it may read it: the
/// usual umask, 022, is meant for files of one user, and would let only one of the group store.
pub(crate) fn share(made: &File, path: &Path) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new(".")).metadata();
    if !directory.is_ok_and(|found| found.mode() & SHARED == SHARED) {
        return;
    }
    if let Ok(mode) = made.metadata().map(|found| found.mode() & 0o7777)
        && mode & READ != 0
        && mode & WRITE == 0
    {
        // Some file systems have no modes.
        let _ = made.set_permissions(Permissions::from_mode(mode | WRITE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Disk, FileLock, LockKind, Storage};

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    fn directory(mode: u32) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
        directory
    }

    #[test]
    fn what_is_made_in_a_directory_of_a_group_may_be_written_by_the_group() {
        for (of, is_shared) in [(0o2770, true), (0o2775, true), (0o770, false), (0o2755, false)] {
            let top = directory(of);
            let made = ["file", "folder", "lock"].map(|name| top.path().join(name));
            Disk.create_new(&made[0]).unwrap();
            Disk.create_dir(&made[1]).unwrap();
            drop(FileLock::acquire(&made[2], LockKind::Shared).unwrap());
            for path in &made {
                // The umask of who runs this may let the group write anyway, or not even read.
                let mode = mode(path);
                let may_read = mode & READ != 0;
                assert!(!is_shared || !may_read || mode & WRITE != 0, "{mode:o} in {of:o}");
            }
            if is_shared && mode(&made[1]) & READ != 0 {
                Disk.create_dir(&made[1].join("inner")).unwrap();
                assert_eq!(mode(&made[1].join("inner")) & SHARED, SHARED, "and so on below");
            }
        }
    }

    #[test]
    fn what_the_group_may_not_read_stays_private() {
        let top = directory(0o2770);
        let path = top.path().join("file");
        Disk.create_new(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        share(&File::open(&path).unwrap(), &path);
        assert_eq!(mode(&path), 0o600);
    }
}
