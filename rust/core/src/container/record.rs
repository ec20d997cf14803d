//! Records: everything in a file after its preamble and before its trailer.
//!
//! A record is a header of 64 bytes at a multiple of 64, some zeros, and a payload. The header says
//! all there is to know about the payload, so that a file whose index is missing can be walked from
//! record to record.

use super::bytes::{u32_at, u64_at};
use super::schema::{ArraySpec, FieldSpec};
use crate::checksum;

/// Records begin at multiples of this, and so does every payload.
pub const ALIGNMENT: u64 = 64;
/// Bytes of a record's header.
pub const HEADER: usize = 64;
/// Raw payloads of at least this begin at a multiple of [`PAGE`].
pub const PAGE_ALIGNED_FROM: u64 = 64 * 1024;
/// The page size that large raw payloads are aligned to.
pub const PAGE: u64 = 4096;
/// Raw payloads are checksummed in segments of this, so that one frame can be checked alone.
pub const SEGMENT: u64 = 1024 * 1024;
/// The most bytes that one coded payload may decode to: what a reader must be ready to allocate.
pub const MAX_CODED: u64 = 256 * 1024 * 1024;
/// The codec number of bytes that are stored as they are.
pub const RAW: u8 = 0;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// What the entry is of.
    Head = 1,
    /// Frames of a field, or elements of an array.
    Data = 2,
    /// What of everything before it counts.
    Commit = 3,
    /// The tree of plain values.
    Tree = 4,
    /// The whole state, as one commit.
    Index = 5,
}

/// What a data record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The array of this number.
    Array(u32),
    /// The field of this number.
    Field(u32),
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the record is.
    pub kind: RecordKind,
    /// How the payload is coded.
    pub codec: u8,
    /// What the data belongs to. Records other than data have array 0 here.
    pub target: Target,
    /// Zeros between the header and the payload.
    pub padding: u32,
    /// The first frame, or the first element of an array.
    pub first: u64,
    /// How many frames or elements.
    pub count: u64,
    /// The first row (atom) of each frame.
    pub first_row: u32,
    /// How many rows.
    pub rows: u32,
    /// Bytes of the payload when decoded.
    pub raw_bytes: u64,
    /// Bytes of the payload as it is stored.
    pub stored_bytes: u64,
    /// The payload's checksum; that of the table of segments where there is one.
    pub checksum: u64,
}

impl RecordHeader {
    /// The header of a record that is not data.
    pub fn plain(kind: RecordKind, payload: &[u8]) -> Self {
        Self {
            kind,
            codec: RAW,
            target: Target::Array(0),
            padding: 0,
            first: 0,
            count: 0,
            first_row: 0,
            rows: 0,
            raw_bytes: payload.len() as u64,
            stored_bytes: payload.len() as u64,
            checksum: checksum(payload),
        }
    }

    /// The header as it is stored.
    pub fn encode(&self) -> [u8; HEADER] {
        let (is_field, number) = match self.target {
            Target::Array(number) => (0, number),
            Target::Field(number) => (1, number),
        };
        let mut bytes = [0; HEADER];
        bytes[4..8].copy_from_slice(&[self.kind as u8, self.codec, is_field, 0]);
        bytes[8..12].copy_from_slice(&number.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.padding.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.count.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.first_row.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.rows.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.raw_bytes.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.stored_bytes.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.checksum.to_le_bytes());
        let own = checksum(&bytes[4..]) as u32;
        bytes[..4].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// Reads a header, or says why these bytes are none.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, &'static str> {
        if u32_at(bytes, 0) != checksum(&bytes[4..]) as u32 {
            return Err("its header's checksum does not match");
        }
        let kind = match bytes[4] {
            1 => RecordKind::Head,
            2 => RecordKind::Data,
            3 => RecordKind::Commit,
            4 => RecordKind::Tree,
            5 => RecordKind::Index,
            _ => return Err("its kind is unknown"),
        };
        let number = u32_at(bytes, 8);
        let target = match bytes[6] {
            0 => Target::Array(number),
            1 => Target::Field(number),
            _ => return Err("its target is unknown"),
        };
        let header = Self {
            kind,
            codec: bytes[5],
            target,
            padding: u32_at(bytes, 12),
            first: u64_at(bytes, 16),
            count: u64_at(bytes, 24),
            first_row: u32_at(bytes, 32),
            rows: u32_at(bytes, 36),
            raw_bytes: u64_at(bytes, 40),
            stored_bytes: u64_at(bytes, 48),
            checksum: u64_at(bytes, 56),
        };
        if u64::from(header.padding) >= PAGE {
            return Err("its padding is too long");
        }
        if header.codec == RAW && header.stored_bytes != header.raw_bytes {
            return Err("it is stored as it is, and its two sizes differ");
        }
        // A coded payload larger than its data would have been stored raw.
        if header.codec != RAW
            && (header.raw_bytes > MAX_CODED || header.stored_bytes > header.raw_bytes)
        {
            return Err("its size is implausible");
        }
        Ok(header)
    }

    /// Checks that data of this size is what frames of `spec` need.
    pub fn fits_field(&self, spec: &FieldSpec) -> bool {
        let rows = spec.rows();
        let row_bytes = spec.item_bytes().unwrap_or(0).checked_div(rows).unwrap_or(0);
        let size = u64::from(self.rows)
            .checked_mul(row_bytes)
            .and_then(|frame| frame.checked_mul(self.count));
        self.first.checked_add(self.count).is_some()
            && u64::from(self.first_row) + u64::from(self.rows) <= rows
            && size == Some(self.raw_bytes)
            && self.raw_bytes > 0
    }

    /// Checks that data of this size is what elements of `spec` need.
    pub fn fits_array(&self, spec: &ArraySpec) -> bool {
        let end = self.first.checked_add(self.count);
        end.is_some_and(|end| end <= spec.elements())
            && (self.first_row, self.rows) == (0, 1)
            && self.count.checked_mul(spec.dtype.item_size()) == Some(self.raw_bytes)
            && self.raw_bytes > 0
    }

    /// Bytes of the table of segment checksums after the payload.
    pub fn table_bytes(&self) -> u64 {
        if self.codec == RAW && self.raw_bytes > SEGMENT {
            self.raw_bytes.div_ceil(SEGMENT) * 8
        } else {
            0
        }
    }

    /// Where the payload is in the file, for a record at `offset`; `None` beyond all files.
    pub fn payload(&self, offset: u64) -> Option<(u64, u64)> {
        let start = offset.checked_add(HEADER as u64 + u64::from(self.padding))?;
        Some((start, start.checked_add(self.stored_bytes)?))
    }

    /// Where the record ends with all it has, and its table begins.
    pub fn end(&self, offset: u64) -> Option<(u64, u64)> {
        let (_, end) = self.payload(offset)?;
        let table = end.checked_next_multiple_of(8)?;
        Some((table, table.checked_add(self.table_bytes())?))
    }
}

/// The checksums of the segments of raw bytes, as they are stored.
pub fn segment_table(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(SEGMENT as usize).flat_map(|segment| checksum(segment).to_le_bytes()).collect()
}
