//! The kind of file system that a directory is on, and what depends on it: whose clock tells when a
//! file was last used, how coarse times of modification are, and whether files may be mapped.
//!
//! The time of last use is the time of modification. Access times are no alternative: most systems
//! update them at most once a day, some never. The time of modification of a published file has no
//! other meaning, since the file is never written again.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens, utimensat};
use rustix::io::Errno;

use crate::{Error, Result};

/// Whether other machines may share a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesystemKind {
    /// Of this machine alone. Its clock is finer than the times that the file system sets itself.
    Local,
    /// Of several machines, whose clocks may differ: times come from the file server.
    Network,
}

impl FilesystemKind {
    /// The kind of the file system that holds `directory`.
    pub fn of(directory: &Path) -> Self {
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
        match rustix::fs::statfs(directory) {
            Ok(found) if NETWORK.contains(&(found.f_type as u32)) => Self::Network,
            _ => Self::Local,
        }
    }

    /// Two changes of a directory that are this far apart have different times of modification:
    /// several ticks of a local clock. Clients of a file server see changes late.
    pub(crate) fn mtime_granularity(self) -> Duration {
        match self {
            Self::Local => Duration::from_millis(50),
            Self::Network => Duration::from_secs(5),
        }
    }

    /// Marks the file at `path` as used now. Another user's file, or one on a read-only disk, stays
    /// as it is, which is no error: it only looks older than it is.
    pub(crate) fn touch(self, path: &Path) -> Result<()> {
        match utimensat(CWD, path, &self.now(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(error) if !is_not_permitted(error) => Err(Error::io("touch", path, error.into())),
            _ => Ok(()),
        }
    }

    /// Marks an open file as used now, where that is permitted.
    pub(crate) fn touch_open(self, file: &File) {
        // Without the mark it may be evicted sooner.
        let _ = futimens(file, &self.now());
    }

    fn now(self) -> Timestamps {
        let now = match self {
            Self::Network => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
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

fn is_not_permitted(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::ACCESS | Errno::ROFS)
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
            FilesystemKind::Local.touch(&path).unwrap();
            path.metadata().unwrap().modified().unwrap()
        };
        let times: Vec<_> = (0..20).map(|index| modified(&index.to_string())).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    }
}
