//! What a lease's file says: who has it.
//!
//! It is written once, and again in the same bytes as a sign of life: so one who reads it meanwhile
//! finds nothing half changed.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::owner::Owner;
use crate::checksum;

/// Bytes of the file: words, and spaces.
pub(super) const LENGTH: usize = 256;

const FORMAT: &str = "proteinflex-lease-1";

/// A host's name is cut to this many characters.
const MAX_HOST: usize = 64;

/// What tells a writer from every other one, of this process and of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WriterId(u64);

impl WriterId {
    /// One that nobody else has: of the process, a count, the time and random bits.
    pub fn unique() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let random = RandomState::new().hash_one(count);
        Self(checksum(format!("{} {count} {time} {random}", Owner::current()).as_bytes()))
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 16 || !is_hex {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The holder of a lease, as its file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeaseRecord {
    pub id: WriterId,
    pub owner: Owner,
    /// The name of the host, for messages.
    pub host: String,
}

impl LeaseRecord {
    /// A new holder: this process.
    pub fn of_this_process() -> Self {
        let name = Owner::host_name();
        let host: String = name.chars().filter(char::is_ascii_graphic).take(MAX_HOST).collect();
        let host = if host.is_empty() { "unnamed".to_owned() } else { host };
        Self { id: WriterId::unique(), owner: Owner::current(), host }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let words = format!("{FORMAT} {} {} {}", self.id, self.owner, self.host);
        let mut bytes = format!("{words} {:016x}", checksum(words.as_bytes())).into_bytes();
        bytes.resize(LENGTH - 1, b' ');
        bytes.push(b'\n');
        bytes
    }

    /// Reads the bytes of a file; `None` where they are not all there.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|_| bytes.len() == LENGTH)?;
        let (words, sum) = text.strip_suffix('\n')?.trim_end_matches(' ').rsplit_once(' ')?;
        if sum != format!("{:016x}", checksum(words.as_bytes())) {
            return None;
        }
        let mut words = words.split(' ');
        if words.next()? != FORMAT {
            return None;
        }
        let (id, owner) = (WriterId::parse(words.next()?)?, Owner::parse(words.next()?)?);
        let host = words.next()?;
        // Another user may have written it, and it is shown.
        let is_plain = host.bytes().all(|byte| byte.is_ascii_graphic()) && host.len() <= MAX_HOST;
        (is_plain && words.next().is_none()).then(|| Self { id, owner, host: host.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_nothing_else_is_one() {
        let record = LeaseRecord::of_this_process();
        let bytes = record.encode();
        assert_eq!(bytes.len(), LENGTH);
        assert_eq!(LeaseRecord::parse(&bytes), Some(record.clone()));
        for length in 0..LENGTH {
            assert_eq!(LeaseRecord::parse(&bytes[..length]), None, "{length}");
        }
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert_ne!(LeaseRecord::parse(&changed), Some(record.clone()), "{index}");
        }
        let hostile = LeaseRecord { host: "\x1b]0;x\x07".into(), ..record };
        assert_eq!(LeaseRecord::parse(&hostile.encode()), None);
        assert_ne!(WriterId::unique(), WriterId::unique());
    }
}
