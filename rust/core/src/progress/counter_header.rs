//! The fixed header of a counter file, which never changes after the file is made.

use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{HEADER_BYTES, MAX_HOST_NAME, SLOT_BYTES, header, truncated};
use crate::error::ProgressDamage;
use crate::fs::{Boot, Identity};
use crate::{Error, Result, checksum};

/// Begins every counter file.
const MAGIC: [u8; 8] = *b"pfxprog\n";
/// The version of the format that this program writes and reads.
const FORMAT_VERSION: u32 = 1;
/// The bytes that the checksum is of.
const SUMMED: usize = offset_of!(CounterHeader, checksum);

/// The identity of a counter file, before the words that processes share.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct CounterHeader {
    magic: [u8; 8],
    format_version: U32,
    slot_bytes: U32,
    /// Microseconds since 1970.
    created: U64,
    /// Host and boot: eight ASCII digits.
    host: [u8; 8],
    generation: U64,
    /// Hashes of the machine and of its boot; 0 = unknown.
    machine: U64,
    boot: U64,
    /// xxh3-64 of the bytes before it.
    checksum: U64,
}

const _: () = assert!(offset_of!(CounterHeader, created) == header::CREATED * 8);
const _: () = assert!(offset_of!(CounterHeader, machine) == header::MACHINE * 8);

impl CounterHeader {
    /// The header of a new shard that is made at `created` microseconds since 1970.
    pub fn new(host: &str, boot: Boot, generation: u64, created: u64) -> Self {
        let mut name = [b' '; 8];
        for (to, from) in name.iter_mut().zip(host.bytes()) {
            *to = from;
        }
        let mut header = Self {
            magic: MAGIC,
            format_version: FORMAT_VERSION.into(),
            slot_bytes: (SLOT_BYTES as u32).into(),
            created: created.into(),
            host: name,
            generation: generation.into(),
            machine: boot.machine.into(),
            boot: boot.boot.into(),
            checksum: 0.into(),
        };
        header.checksum = header.sum().into();
        header
    }

    /// The header with the shared words behind it, all zero but for the name of the host and what
    /// file it is.
    pub fn page(&self, host_name: &str, file: Identity) -> [u8; HEADER_BYTES] {
        let mut page = [0; HEADER_BYTES];
        page[..size_of::<Self>()].copy_from_slice(self.as_bytes());
        let name = truncated(host_name, MAX_HOST_NAME).as_bytes();
        page[header::HOST_NAME * 8..][..name.len()].copy_from_slice(name);
        page[header::FILE * 8..][..8].copy_from_slice(&file.0.to_le_bytes());
        page[header::FILE * 8 + 8..][..8].copy_from_slice(&file.1.to_le_bytes());
        page
    }

    /// Refuses what is no counter file of this version.
    pub fn check(file: &File, path: &Path) -> Result<()> {
        let damaged = |damage: ProgressDamage| damage.in_file(path, "the header");
        let mut bytes = [0; size_of::<Self>()];
        file.read_exact_at(&mut bytes, 0).map_err(|error| {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                damaged(ProgressDamage::FileTooShort)
            } else {
                Error::io("read", path, error)
            }
        })?;
        let header: Self = zerocopy::transmute!(bytes);
        if header.magic == [0; 8] {
            return Err(damaged(ProgressDamage::Empty));
        }
        if header.magic != MAGIC {
            return Err(Error::NotThisFormat {
                path: path.to_owned(),
                expected: "a progress counter file",
                found: format!("it begins with {:?}", String::from_utf8_lossy(&header.magic)),
            });
        }
        let found = header.format_version.get();
        if found > FORMAT_VERSION {
            let supported = FORMAT_VERSION;
            return Err(Error::NewerFormat { path: path.to_owned(), found, supported });
        }
        if header.checksum.get() != header.sum()
            || found != FORMAT_VERSION
            || header.slot_bytes.get() != SLOT_BYTES as u32
        {
            return Err(damaged(ProgressDamage::Checksum));
        }
        Ok(())
    }

    /// Whether these words still are a header.
    pub fn is_whole(word: impl Fn(usize) -> u64) -> bool {
        let mut bytes = [0; size_of::<Self>()];
        for (index, to) in bytes.chunks_exact_mut(8).enumerate() {
            to.copy_from_slice(&word(index).to_le_bytes());
        }
        let header: Self = zerocopy::transmute!(bytes);
        header.magic == MAGIC && header.checksum.get() == header.sum()
    }

    fn sum(&self) -> u64 {
        checksum(&self.as_bytes()[..SUMMED])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_header_stay_as_they_are() {
        let boot = Boot { machine: 0x1122_3344_5566_7788, boot: 0x99aa_bbcc_ddee_ff00 };
        let page = CounterHeader::new("0a1b2c3d", boot, 3, 1_795_847_408_227_281);
        let page = page.page("node", (0x0102, 0x0304));
        let hex: String = page[..64].iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = "70667870726f670a0100000000040000d193d64e5061060030613162326333640300000000000000887766\
             554433221100ffeeddccbbaa99b2202497270dd75f";
        assert_eq!(hex, golden);
        assert_eq!(&page[448 * 8..449 * 8], b"node\0\0\0\0");
        assert_eq!(&page[456 * 8..458 * 8], b"\x02\x01\0\0\0\0\0\0\x04\x03\0\0\0\0\0\0");
        let others = [64..448 * 8, 449 * 8..456 * 8, 458 * 8..HEADER_BYTES];
        assert!(others.into_iter().flat_map(|range| &page[range]).all(|&byte| byte == 0));
    }
}
