//! What the folders of a cache hold in total, kept in a file, so that a new process need not look at each of
//! very many entries to tell.
//!
//! The directory stays the truth. A total is believed only while its folder is the same and has not
//! changed: entries are never changed in place, and whatever appears in a folder or goes from it moves
//! the folder's times on, which nobody can set back. A total is kept only of a folder that had been left
//! alone for longer than such times are coarse, on a local file system, where they are told at once. The
//! file is replaced as a whole and has a checksum; where it is missing or damaged, the folders are listed.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Cache;
use super::scan::{Folder, Scan, Stamp};
use crate::checksum;
use crate::fs::{Clock, Owner, write_all_at};
use crate::trajectory::Kind;

/// A scan that had to list this many entries is worth remembering.
const WORTH_KEEPING: usize = 5000;
/// How long a folder has to have been left alone: a hundred times what its times are coarse.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// Of 256 folders there is nothing more to say.
const MOST_BYTES: u64 = (8 + 8 + 256 * RECORD + 8) as u64;

const MAGIC: [u8; 8] = *b"PFXtotal";
/// Of another version nothing is believed: the folders are listed.
const VERSION: u64 = 1;
/// Bytes of a record: the number of its folder, its stamp, what it holds.
const RECORD: usize = 8 * (1 + 5 + 4);

/// What some entries come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// How many structures there are.
    pub structures: u64,
    /// How many trajectories.
    pub trajectories: u64,
    /// What they take.
    pub stored_bytes: u64,
    /// What they would take uncompressed.
    pub raw_bytes: u64,
}

impl Total {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.structures += other.structures;
        self.trajectories += other.trajectories;
        self.stored_bytes += other.stored_bytes;
        self.raw_bytes += other.raw_bytes;
    }

    /// Of a folder, whose entries have been asked for their sizes.
    pub fn of(folder: &Folder) -> Self {
        let mut total = Self::default();
        for entry in &folder.entries {
            match entry.key.kind() {
                Kind::Structure => total.structures += 1,
                Kind::Trajectory => total.trajectories += 1,
            }
            total.stored_bytes += entry.bytes;
            total.raw_bytes += entry.raw_bytes.get().copied().unwrap_or(entry.bytes);
        }
        total
    }
}

/// The totals of folders, by the folders' numbers.
#[derive(Debug, Default)]
pub struct Totals(HashMap<u8, (Stamp, Total)>);

impl Totals {
    /// The total of a folder, if it is known as it is now.
    pub fn get(&self, name: &str, stamp: &Stamp) -> Option<Total> {
        let (known, total) = self.0.get(&number_of(name)?)?;
        (known == stamp).then_some(*total)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        for (&number, &((inode, mtime, mtime_nsec, ctime, ctime_nsec), total)) in &self.0 {
            let times = [mtime, mtime_nsec, ctime, ctime_nsec].map(|time| time as u64);
            let Total { structures, trajectories, stored_bytes, raw_bytes } = total;
            let numbers = [u64::from(number), inode].into_iter().chain(times);
            let numbers = numbers.chain([structures, trajectories, stored_bytes, raw_bytes]);
            bytes.extend(numbers.flat_map(u64::to_le_bytes));
        }
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
        let records = bytes.strip_prefix(&MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?;
        let records = records.chunks_exact(RECORD);
        if checksum(bytes) != u64_at(sum, 0) || !records.remainder().is_empty() {
            return None;
        }
        let parse = |record: &[u8]| {
            let at = |index: usize| u64_at(record, 8 * index);
            let [mtime, mtime_nsec, ctime, ctime_nsec] = [2, 3, 4, 5].map(|index| at(index) as i64);
            let total = Total {
                structures: at(6),
                trajectories: at(7),
                stored_bytes: at(8),
                raw_bytes: at(9),
            };
            Some((
                u8::try_from(at(0)).ok()?,
                ((at(1), mtime, mtime_nsec, ctime, ctime_nsec), total),
            ))
        };
        records.map(parse).collect::<Option<_>>().map(Self)
    }
}

/// The number of a folder of entries.
fn number_of(name: &str) -> Option<u8> {
    let is_name = name.len() == 2 && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    u8::from_str_radix(name, 16).ok().filter(|_| is_name)
}

impl Cache {
    /// The totals that an earlier scan has left.
    pub(super) fn known_totals(&self) -> Totals {
        let path = self.layout.totals();
        // Nobody's file of any size is read whole.
        let fits = |found: std::fs::Metadata| found.is_file() && found.len() <= MOST_BYTES;
        let bytes = path.symlink_metadata().is_ok_and(fits).then(|| std::fs::read(&path).ok());
        bytes.flatten().and_then(|bytes| Totals::parse(&bytes)).unwrap_or_default()
    }

    /// Keeps what a scan found, where that was much, with what was known before and still holds.
    pub(super) fn keep_totals(&self, scan: &Scan, mut known: Totals) {
        if self.clock != Clock::Local || scan.entries().count() < WORTH_KEEPING {
            return;
        }
        for (name, folder) in scan.listed() {
            let Some(number) = number_of(name) else { continue };
            if folder.growing.is_empty() && was_left_alone(folder) {
                known.0.insert(number, (folder.stamp, Total::of(folder)));
            } else {
                known.0.remove(&number);
            }
        }
        let target = self.layout.totals();
        let temporary = target.with_file_name(Owner::current().temporary_name("totals"));
        let written = self.storage.create_new(&temporary).and_then(|file| {
            write_all_at(&*file, &known.encode(), 0)?;
            self.storage.rename(&temporary, &target)
        });
        if written.is_err() {
            // Whoever can't write there does without.
            let _ = self.storage.remove_file(&temporary);
        }
    }
}

/// Whether a change after the listing of this folder began is sure to have moved its times on.
fn was_left_alone(folder: &Folder) -> bool {
    let (_, _, _, seconds, nanoseconds) = folder.stamp;
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds))
    else {
        return false;
    };
    let changed: SystemTime = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    folder.began.duration_since(changed).is_ok_and(|age| age >= LEFT_ALONE)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_come_back_only_whole_and_only_of_the_same_folder() {
        let stamp = (7, 1_700_000_000, 5, -3, 999_999_999);
        let total = Total { structures: 1, trajectories: 2, stored_bytes: 3, raw_bytes: u64::MAX };
        let totals = Totals(HashMap::from([(0xab, (stamp, total)), (0, (stamp, total))]));
        let bytes = totals.encode();
        let parsed = Totals::parse(&bytes).unwrap();
        assert_eq!(parsed.get("ab", &stamp), Some(total));
        assert_eq!(parsed.get("00", &stamp), Some(total));
        for other in ["AB", "ac", "0", "000", "zz", "+1"] {
            assert_eq!(parsed.get(other, &stamp), None, "{other}");
        }
        assert_eq!(parsed.get("ab", &(7, 1_700_000_000, 5, -3, 0)), None);
        for length in 0..bytes.len() {
            assert!(Totals::parse(&bytes[..length]).is_none());
        }
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(Totals::parse(&damaged).is_none(), "byte {index}");
        }
    }
}
