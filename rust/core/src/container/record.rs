//! Records: everything in a file after its preamble and before its trailer.
//!
//! A record is a header of 64 bytes at a multiple of 64, some zeros, and a payload. The header says
//! all there is to know about the payload, so that a file whose index is missing can be walked from
//! record to record.

use std::ops::Range;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::schema::{ArraySpec, FieldSpec};
use crate::checksum;
use crate::error::FormatError;

/// Records begin at multiples of this, and so does every payload.
pub const ALIGNMENT: u64 = 64;
/// Bytes of a record's header.
pub const HEADER: usize = size_of::<RecordHeaderBytes>();
/// Raw payloads of at least this begin at a multiple of [`PAGE`].
pub const PAGE_ALIGNED_FROM: u64 = 512 * 1024;
/// The page size that large raw payloads are aligned to.
pub const PAGE: u64 = 4096;
/// Raw payloads have a checksum for each segment of this, so that one frame can be checked alone.
pub const SEGMENT: u64 = 1024 * 1024;
/// The same of coded payloads whose frames can be read alone: as much as takes little time to check,
/// in 2000 times of which a checksum takes next to nothing.
pub const CODED_SEGMENT: u64 = 16 * 1024;
/// The least segment that a reader takes.
const LEAST_SEGMENT: u64 = 4096;
/// The most bytes that one coded payload may decode to: what a reader must be ready to allocate.
pub const MAX_CODED: u64 = 64 * 1024 * 1024;
/// The most bytes that one byte of a coded payload may stand for: so a small file can't claim a
/// large array. Zeros take one byte for 120,000 at most.
pub const MAX_RATIO: u64 = 1 << 18;
/// The most bytes of a record that is not data: values, or which chunks there are.
pub const MAX_PLAIN: u64 = 1 << 30;
/// The codec number of bytes that are stored as they are.
pub const RAW: u8 = 0;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// What the entry is of.
    EntryHeader = 1,
    /// Frames of a field, or elements of an array.
    Data = 2,
    /// What of everything before it counts.
    Commit = 3,
    /// The tree of plain values.
    Tree = 4,
    /// The whole state, as one commit.
    Index = 5,
    /// The atoms, residues, chains and bonds.
    Topology = 6,
}

/// What a data record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The array of this number.
    Array(u32),
    /// The field of this number.
    Field(u32),
}

/// A record's header as it is stored.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RecordHeaderBytes {
    /// The low half of the checksum of all that follows in the header.
    own_checksum: U32,
    kind: u8,
    codec: u8,
    is_field: u8,
    segment_bits: u8,
    number: U32,
    padding: U32,
    first: U64,
    count: U64,
    first_row: U32,
    rows: U32,
    raw_bytes: U64,
    stored_bytes: U64,
    checksum: U64,
}

impl RecordHeaderBytes {
    /// Whether this would be a record of such a kind, were it whole.
    pub fn says(&self, kind: RecordKind) -> bool {
        self.kind == kind as u8
    }

    fn sum(&self) -> u32 {
        checksum(&self.as_bytes()[size_of::<U32>()..]) as u32
    }
}

/// A record's header, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the record is.
    pub kind: RecordKind,
    /// How the payload is coded.
    pub codec: u8,
    /// What the data belongs to. Records other than data have array 0 here.
    pub target: Target,
    /// Each segment of two to the power of this many bytes of the payload has a checksum; if none,
    /// only the payload as a whole.
    pub segment_bits: u8,
    /// Zeros between the header and the payload.
    pub padding: u32,
    /// The first frame, or the first element of an array; of a commit, where its record is.
    pub first: u64,
    /// How many frames or elements; of a commit, where the one before it ends.
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
            segment_bits: 0,
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

    /// The header of data that is stored as it is: these frames of a field and rows of each, or
    /// these elements of an array.
    pub fn data(target: Target, items: Range<u64>, rows: Range<u32>, bytes: usize) -> Self {
        Self {
            kind: RecordKind::Data,
            codec: RAW,
            target,
            segment_bits: 0,
            padding: 0,
            first: items.start,
            count: items.end - items.start,
            first_row: rows.start,
            rows: rows.end - rows.start,
            raw_bytes: bytes as u64,
            stored_bytes: bytes as u64,
            checksum: 0,
        }
    }

    /// The header as it is stored.
    pub fn encode(&self) -> RecordHeaderBytes {
        let (is_field, number) = match self.target {
            Target::Array(number) => (0, number),
            Target::Field(number) => (1, number),
        };
        let mut bytes = RecordHeaderBytes {
            own_checksum: 0.into(),
            kind: self.kind as u8,
            codec: self.codec,
            is_field,
            segment_bits: self.segment_bits,
            number: number.into(),
            padding: self.padding.into(),
            first: self.first.into(),
            count: self.count.into(),
            first_row: self.first_row.into(),
            rows: self.rows.into(),
            raw_bytes: self.raw_bytes.into(),
            stored_bytes: self.stored_bytes.into(),
            checksum: self.checksum.into(),
        };
        bytes.own_checksum = bytes.sum().into();
        bytes
    }

    /// Reads a header, or says why these bytes are none.
    pub fn parse(bytes: &RecordHeaderBytes) -> Result<Self, FormatError> {
        if bytes.own_checksum != bytes.sum() {
            return Err(FormatError::HeaderChecksum);
        }
        let kind = match bytes.kind {
            1 => RecordKind::EntryHeader,
            2 => RecordKind::Data,
            3 => RecordKind::Commit,
            4 => RecordKind::Tree,
            5 => RecordKind::Index,
            6 => RecordKind::Topology,
            found => return Err(FormatError::Unknown { what: "kind", found }),
        };
        let target = match bytes.is_field {
            0 => Target::Array(bytes.number.get()),
            1 => Target::Field(bytes.number.get()),
            found => return Err(FormatError::Unknown { what: "target", found }),
        };
        let header = Self {
            kind,
            codec: bytes.codec,
            target,
            segment_bits: bytes.segment_bits,
            padding: bytes.padding.get(),
            first: bytes.first.get(),
            count: bytes.count.get(),
            first_row: bytes.first_row.get(),
            rows: bytes.rows.get(),
            raw_bytes: bytes.raw_bytes.get(),
            stored_bytes: bytes.stored_bytes.get(),
            checksum: bytes.checksum.get(),
        };
        let (stored, raw) = (header.stored_bytes, header.raw_bytes);
        if u64::from(header.padding) >= PAGE {
            return Err(FormatError::Padding { found: header.padding });
        }
        let is_segment = |bits: u8| {
            1u64.checked_shl(bits.into())
                .is_some_and(|bytes| (LEAST_SEGMENT..=SEGMENT).contains(&bytes))
        };
        if header.segment_bits != 0 && !is_segment(header.segment_bits) {
            return Err(FormatError::Unknown { what: "segment size", found: header.segment_bits });
        }
        if header.codec == RAW && stored != raw {
            return Err(FormatError::RawSizes { stored, raw });
        }
        // A coded payload larger than its data would have been stored raw.
        let is_plausible = raw <= MAX_CODED && stored <= raw && raw / MAX_RATIO <= stored;
        let is_too_long = header.kind != RecordKind::Data && stored > MAX_PLAIN;
        if is_too_long || header.codec != RAW && !is_plausible {
            return Err(FormatError::ImplausibleSize { stored, raw });
        }
        Ok(header)
    }

    /// Checks that data of this size is what frames of `spec` need.
    pub fn fits_field(&self, spec: &FieldSpec) -> bool {
        let rows = spec.rows();
        let size = u64::from(self.rows)
            .checked_mul(spec.row_bytes())
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

    /// With a checksum for each segment of `bytes`, where the payload has more.
    pub fn in_segments(mut self, bytes: u64) -> Self {
        self.segment_bits = if self.stored_bytes > bytes { bytes.ilog2() as u8 } else { 0 };
        self
    }

    /// Bytes of what has a checksum of its own: a segment, or all of the payload.
    pub fn segment_bytes(&self) -> u64 {
        if self.segment_bits == 0 { self.stored_bytes } else { 1 << self.segment_bits }
    }

    /// Bytes of the table of segment checksums after the payload.
    pub fn table_bytes(&self) -> u64 {
        if self.segment_bits == 0 {
            0
        } else {
            self.stored_bytes.div_ceil(self.segment_bytes()) * 8
        }
    }

    /// The checksum of these bytes as a payload.
    pub fn checksum_of(&self, payload: &[u8]) -> u64 {
        if self.segment_bits == 0 {
            return checksum(payload);
        }
        let segments = payload.chunks(self.segment_bytes() as usize);
        let table: Vec<U64> = segments.map(|segment| checksum(segment).into()).collect();
        checksum(table.as_bytes())
    }

    /// Where the payload is in the file, for a record at `offset`; `None` beyond all files.
    pub fn payload(&self, offset: u64) -> Option<(u64, u64)> {
        let start = offset.checked_add(HEADER as u64 + u64::from(self.padding))?;
        Some((start, start.checked_add(self.stored_bytes)?))
    }

    /// Where the record ends with all it has, and its table begins.
    pub fn end(&self, offset: u64) -> Option<(u64, u64)> {
        let (_, end) = self.payload(offset)?;
        if self.table_bytes() == 0 {
            return Some((end, end));
        }
        let table = end.checked_next_multiple_of(8)?;
        Some((table, table.checked_add(self.table_bytes())?))
    }
}
