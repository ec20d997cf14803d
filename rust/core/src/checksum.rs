//! The one checksum of every format: xxh3-64.
//!
//! It finds accidents, not attacks: an attacker who can write a file can also write its checksum.

use std::fmt;

use twox_hash::XxHash3_64;

/// The xxh3-64 checksum of `bytes`, with seed 0.
pub fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// A checksum of bytes that arrive in parts.
#[derive(Clone)]
pub struct Checksum(XxHash3_64);

impl Checksum {
    /// A checksum of nothing yet.
    pub fn new() -> Self {
        Self(XxHash3_64::new())
    }

    /// Adds `bytes` to what has been summed so far.
    pub fn update(&mut self, bytes: &[u8]) {
        std::hash::Hasher::write(&mut self.0, bytes);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u64 {
        std::hash::Hasher::finish(&self.0)
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({:#018x})", self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_sum_to_the_whole() {
        let bytes: Vec<u8> = (0..10_000u32).map(|i| (i * 31) as u8).collect();
        let mut parts = Checksum::new();
        for part in bytes.chunks(777) {
            parts.update(part);
        }
        assert_eq!(parts.value(), checksum(&bytes));
    }

    #[test]
    fn matches_the_published_xxh3_vectors() {
        // XXH3_64bits of the empty string, seed 0, from the xxHash specification.
        assert_eq!(checksum(b""), 0x2d06_8005_38d3_94c2);
    }
}
