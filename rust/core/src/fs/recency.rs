//! When a file was last used, kept as its time of modification.
//!
//! Access times are no use: most systems update them at most once a day, some never. The time of
//! modification of a published file means nothing else, for nobody writes it again.

use std::fs::File;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens, utimensat};
use rustix::io::Errno;

use crate::{Error, Result};

/// Whose clock tells when files of a directory were used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// This machine's, which is finer than the stamps that its file systems make themselves.
    Local,
    /// The file server's: those of its clients may differ.
    Server,
}

impl Clock {
    /// The clock for files in `directory`.
    pub fn of(directory: &Path) -> Self {
        if is_on_network(directory) { Self::Server } else { Self::Local }
    }

    /// Marks the file at `path` as used now. A file of another user's, or on a read-only disk, stays as
    /// it is, which is no error: it only looks older than it is.
    pub fn touch(self, path: &Path) -> Result<()> {
        match utimensat(CWD, path, &self.now(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(error) if !is_not_ours(error) => Err(Error::io("touch", path, error.into())),
            _ => Ok(()),
        }
    }

    /// Marks an open file as used now, where that can be.
    pub fn touch_open(self, file: &File) {
        // Where it can't be marked, it may be evicted sooner, no more.
        let _ = futimens(file, &self.now());
    }

    fn now(self) -> Timestamps {
        let now = match self {
            Self::Server => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
            Self::Local => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timespec { tv_sec: now.as_secs() as _, tv_nsec: now.subsec_nanos().into() }
            }
        };
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: now,
        }
    }
}

fn is_not_ours(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::ACCESS | Errno::ROFS)
}

/// Whether other machines may share the file system that holds `path`.
pub fn is_on_network(path: &Path) -> bool {
    // From linux/magic.h: NFS, SMB, CIFS, Ceph, AFS, 9P, FUSE, Lustre and GPFS.
    const NETWORK: [u32; 10] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x00c3_6400,
        0x5346_414f,
        0x0102_1997,
        0x6573_5546,
        0x0bd0_0bd0,
        0x4750_4653,
    ];
    rustix::fs::statfs(path).is_ok_and(|found| NETWORK.contains(&(found.f_type as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_uses_have_later_times() {
        let directory = tempfile::tempdir().unwrap();
        let modified = |name: &str| {
            let path = directory.path().join(name);
            drop(std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap());
            Clock::of(directory.path()).touch(&path).unwrap();
            path.metadata().unwrap().modified().unwrap()
        };
        let times: Vec<_> = (0..20).map(|index| modified(&index.to_string())).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    }
}
