//! The kind of file system that a directory is on, and what depends on it: whose clock tells when a
//! file was last used, how coarse times of modification are, and whether files may be mapped.
//!
//! The time of last use is the time of modification. Access times are no alternative: most systems
//! update them at most once a day, some never. The time of modification of a published file has no
//! other meaning, since the file is never written again.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens, statfs, utimensat,
};
use rustix::io::{Errno, retry_on_intr};

use crate::{Error, Result};

/// Whether other machines may share a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesystemKind {
    /// Of this machine alone. Its clock is finer than the times that the file system sets itself.
    Local,
    /// Of several machines, or not known to be of one: clocks may differ, so times come from the
    /// file server, and another machine may change a file at any moment.
    Network,
}

/// The numbers by which Linux names file systems of disks and memory (`linux/magic.h`). All others
/// count as network: there are too many of those to list, and new ones appear.
///
/// overlayfs is one of them, as containers have nothing else: the layer that it writes is on the
/// host's disk, as the kernel refuses most network file systems for it, and nobody may change the
/// layers below while it is mounted.
const LOCAL: [u32; 28] = [
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x9584_58f6, // hugetlbfs
    0x2fc1_2fc1, // zfs
    0xf2f5_2010, // f2fs
    0xca45_1a4e, // bcachefs
    0x5265_4973, // reiserfs
    0x5234_5362, // reiser4
    0x3153_464a, // jfs
    0x0000_3434, // nilfs2
    0x794c_7630, // overlayfs
    0x2011_bab0, // exfat
    0x0000_4d44, // vfat
    0x7366_746e, // ntfs3
    0x5346_544e, // ntfs
    0x0000_482b, // hfsplus
    0x7371_7368, // squashfs
    0xe0f5_e1e2, // erofs
    0x28cd_3d45, // cramfs
    0x0000_9660, // iso9660
    0x1501_3346, // udf
    0x2405_1905, // ubifs
    0x0000_72b6, // jffs2
    0x0001_1954, // ufs
    0x0000_138f, // minix
];

impl FilesystemKind {
    /// The kind of the file system that holds `directory`; network where the system doesn't tell.
    pub fn of(directory: &Path) -> Self {
        let found = retry_on_intr(|| statfs(directory));
        let Ok(found) = found else { return Self::Network };
        #[cfg(target_os = "linux")]
        return Self::of_magic(found.f_type as u32);
        #[cfg(not(target_os = "linux"))]
        {
            /// `MNT_LOCAL` of `sys/mount.h`.
            const LOCAL_FLAG: u64 = 0x1000;
            if found.f_flags as u64 & LOCAL_FLAG != 0 { Self::Local } else { Self::Network }
        }
    }

    /// The kind of what Linux calls by this number.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    fn of_magic(magic: u32) -> Self {
        if LOCAL.contains(&magic) { Self::Local } else { Self::Network }
    }

    /// Two changes of a directory that are this far apart have different times of modification:
    /// several ticks of a local clock. Clients of a file server see changes late.
    pub(crate) fn mtime_granularity(self) -> Duration {
        match self {
            Self::Local => Duration::from_millis(50),
            Self::Network => Duration::from_secs(5),
        }
    }

    /// Marks the file at `path` as used now. Another user's file that can't be written to, or one on
    /// a read-only disk, stays as it is, which is no error: it only looks older than it is.
    pub(crate) fn touch(self, path: &Path) -> Result<()> {
        match self.mark(|times| utimensat(CWD, path, times, AtFlags::SYMLINK_NOFOLLOW)) {
            Err(error) if !is_not_permitted(error) => Err(Error::io("touch", path, error.into())),
            _ => Ok(()),
        }
    }

    /// Marks an open file as used now, where that is permitted.
    pub(crate) fn touch_open(self, file: &File) {
        // Without the mark it may be evicted sooner.
        let _ = self.mark(|times| futimens(file, times));
    }

    /// Sets times by `set`: those of another user's file that may be written to only both, to now.
    fn mark(self, set: impl Fn(&Timestamps) -> rustix::io::Result<()>) -> rustix::io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        set(&self.now()).or_else(|error| match error {
            Errno::PERM => set(&Timestamps { last_access: now, last_modification: now }),
            _ => Err(error),
        })
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
    fn what_is_not_known_to_be_local_is_a_network() {
        let local = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1];
        for magic in local {
            assert_eq!(FilesystemKind::of_magic(magic), FilesystemKind::Local, "{magic:#x}");
        }
        let network = [
            ("NFS", 0x6969),
            ("SMB", 0x517b),
            ("CIFS", 0xff53_4d42),
            ("SMB 2", 0xfe53_4d42),
            ("Ceph", 0x00c3_6400),
            ("AFS", 0x5346_414f),
            ("kAFS", 0x6b41_4653),
            ("9P, virtiofs by some", 0x0102_1997),
            ("FUSE: sshfs, GlusterFS, virtiofs", 0x6573_5546),
            ("Lustre", 0x0bd0_0bd0),
            ("GPFS", 0x4750_4653),
            ("BeeGFS", 0x1983_0326),
            ("PanFS", 0xaad7_aaea),
            ("WekaFS", 0x4057_454b),
            ("OrangeFS", 0x2003_0528),
            ("GFS2", 0x0116_1970),
            ("OCFS2", 0x7461_636f),
            ("Coda", 0x7375_7245),
            ("VirtualBox", 0x786f_4256),
            ("eCryptfs, above anything", 0xf15f),
            ("unknown", 0x1234_5678),
        ];
        for (name, magic) in network {
            assert_eq!(FilesystemKind::of_magic(magic), FilesystemKind::Network, "{name}");
        }
        assert_eq!(FilesystemKind::of(Path::new("/nowhere/at/all")), FilesystemKind::Network);
    }

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
