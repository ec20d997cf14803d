//! A second writer of entries, made from `docs/format-trajectory.md` alone. It computes every
//! checksum and says anything it is told.

use proteinflex_core::checksum;

pub const HEAD: u8 = 1;
pub const DATA: u8 = 2;
pub const COMMIT: u8 = 3;
pub const TREE: u8 = 4;
pub const INDEX: u8 = 5;
pub const TOPOLOGY: u8 = 6;

const BLOCK: usize = 64;
const SEGMENT_BITS: u8 = 20;

/// A record's header; sizes and checksum of the payload are filled in where they are `None`.
#[derive(Debug, Clone, Default)]
pub struct Header {
    pub kind: u8,
    pub codec: u8,
    pub is_field: u8,
    /// The true one is that of raw payloads.
    pub segment_bits: Option<u8>,
    pub number: u32,
    pub padding: u32,
    pub first: u64,
    pub count: u64,
    pub first_row: u32,
    pub rows: u32,
    pub raw_bytes: Option<u64>,
    pub stored_bytes: Option<u64>,
}

impl Header {
    /// Elements of the first array, as they are.
    pub fn array(count: u64) -> Self {
        Self { kind: DATA, count, rows: 1, ..Self::default() }
    }

    /// Frames of the first field, as they are.
    pub fn frames(first: u64, count: u64, rows: u32) -> Self {
        Self { kind: DATA, is_field: 1, first, count, rows, ..Self::default() }
    }

    fn segment_bits(&self, payload: &[u8]) -> u8 {
        let is_long = payload.len() > 1 << SEGMENT_BITS;
        self.segment_bits.unwrap_or(if is_long { SEGMENT_BITS } else { 0 })
    }

    /// The checksums of the segments of a payload, if it has some.
    fn table(&self, payload: &[u8]) -> Vec<u8> {
        let bits = self.segment_bits(payload);
        if !(1..=20).contains(&bits) {
            return Vec::new();
        }
        let segments = payload.chunks(1 << bits);
        segments.flat_map(|segment| checksum(segment).to_le_bytes()).collect()
    }

    fn encode(&self, payload: &[u8]) -> [u8; BLOCK] {
        let length = payload.len() as u64;
        let mut bytes = [0; BLOCK];
        let segment_bits = self.segment_bits(payload);
        bytes[4..8].copy_from_slice(&[self.kind, self.codec, self.is_field, segment_bits]);
        bytes[8..12].copy_from_slice(&self.number.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.padding.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.count.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.first_row.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.rows.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.raw_bytes.unwrap_or(length).to_le_bytes());
        bytes[48..56].copy_from_slice(&self.stored_bytes.unwrap_or(length).to_le_bytes());
        let table = self.table(payload);
        let sum = checksum(if table.is_empty() { payload } else { &table });
        bytes[56..].copy_from_slice(&sum.to_le_bytes());
        let own = checksum(&bytes[4..]) as u32;
        bytes[..4].copy_from_slice(&own.to_le_bytes());
        bytes
    }
}

/// A chunk as a commit lists it.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub offset: u64,
    pub used: u64,
    pub header: [u8; BLOCK],
}

/// A commit, or an index.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    pub kept: u64,
    pub n_frames: u64,
    pub schema: String,
    pub chunks: Vec<Chunk>,
    /// Other numbers than the true ones.
    pub schema_bytes: Option<u32>,
    pub n_chunks: Option<u32>,
    /// Where the tree is said to be; where it is, if `None`.
    pub tree: Option<u64>,
}

/// A file in the making.
pub struct Forge {
    bytes: Vec<u8>,
    /// Where the last commit ends.
    committed: u64,
    /// The checksum of the last record of each kind.
    sums: [u64; 256],
}

impl Forge {
    /// A preamble and a head.
    pub fn new() -> Self {
        Self::with_head(1, 0, &description("x"), b"")
    }

    pub fn with_head(version: u32, features: u32, description: &str, metadata: &[u8]) -> Self {
        let mut bytes = b"\x89PFX\r\n\x1a\n".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(features.to_le_bytes());
        let mut forge = Self { bytes: sealed(bytes), committed: 0, sums: [0; 256] };
        let mut head = (description.len() as u32).to_le_bytes().to_vec();
        head.extend(description.as_bytes());
        head.extend(metadata);
        forge.record(&Header { kind: HEAD, ..Header::default() }, &head);
        forge
    }

    /// Adds a record.
    pub fn record(&mut self, header: &Header, payload: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        let offset = self.bytes.len() as u64;
        let mut header = header.clone();
        if header.kind == COMMIT {
            (header.first, header.count) = (offset, self.committed);
        }
        let encoded = header.encode(payload);
        self.sums[usize::from(header.kind)] = sum_in(&encoded);
        self.bytes.extend(encoded);
        self.bytes.resize(self.bytes.len() + header.padding as usize, 0);
        self.bytes.extend(payload);
        let table = header.table(payload);
        if !table.is_empty() {
            self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
            self.bytes.extend(table);
        }
        if matches!(header.kind, HEAD | TOPOLOGY | COMMIT) {
            self.committed = self.bytes.len() as u64;
        }
        offset
    }

    /// Adds data, all of which counts.
    pub fn data(&mut self, header: &Header, payload: &[u8]) -> Chunk {
        let offset = self.record(header, payload);
        Chunk { offset, used: header.count, header: header.encode(payload) }
    }

    pub fn commit(&mut self, commit: &Commit) {
        let payload = encode(commit, 0);
        self.record(&Header { kind: COMMIT, ..Header::default() }, &payload);
    }

    /// The file as an interrupted writer leaves it.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds tree, index and trailer.
    pub fn finish(mut self, index: &Commit) -> Vec<u8> {
        let tree = self.record(&Header { kind: TREE, ..Header::default() }, b"tree");
        let payload = encode(index, tree);
        let at = self.record(&Header { kind: INDEX, ..Header::default() }, &payload);
        self.finish_at(at)
    }

    /// Adds a trailer that points to `index`.
    pub fn finish_at(mut self, index: u64) -> Vec<u8> {
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        let mut trailer = b"\x89PFXend\n".to_vec();
        trailer.extend(index.to_le_bytes());
        trailer.extend((self.bytes.len() as u64 + BLOCK as u64).to_le_bytes());
        trailer.extend([5; 16]);
        let of = |kind: u8| self.sums[usize::from(kind)];
        let sums: Vec<u8> =
            [HEAD, TREE, INDEX].into_iter().flat_map(|kind| of(kind).to_le_bytes()).collect();
        trailer.extend(checksum(&sums).to_le_bytes());
        trailer.extend(of(TOPOLOGY).to_le_bytes());
        self.bytes.extend(sealed(trailer));
        self.bytes
    }
}

/// The checksum of a payload, in the header of its record.
fn sum_in(header: &[u8; BLOCK]) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|at| header[56 + at]))
}

fn encode(commit: &Commit, tree: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [commit.kept, commit.n_frames, commit.tree.unwrap_or(tree)] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(commit.schema_bytes.unwrap_or(commit.schema.len() as u32).to_le_bytes());
    bytes.extend(commit.n_chunks.unwrap_or(commit.chunks.len() as u32).to_le_bytes());
    bytes.extend(commit.schema.as_bytes());
    for chunk in &commit.chunks {
        bytes.extend(chunk.offset.to_le_bytes());
        bytes.extend(chunk.used.to_le_bytes());
        bytes.extend(chunk.header);
    }
    bytes
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(BLOCK - 8, 0);
    let sum = checksum(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// The description in a head.
pub fn description(data_id: &str) -> String {
    format!(
        r#"{{"kind":"trajectory","data_id":"{data_id}","created":1.0,
            "encoding":{{"compress":true,"precision":null,"profile":"default"}}}}"#
    )
}

/// A schema of one array, or of one field.
pub fn array(descr: &str, item_size: u64, shape: &str) -> String {
    let spec = spec(descr, item_size);
    format!(r#"{{"fields":[],"lossy":[],"arrays":[{{{spec},"shape":{shape},"fortran":false}}]}}"#)
}

pub fn field(descr: &str, item_size: u64, shape: &str) -> String {
    let spec = spec(descr, item_size);
    format!(r#"{{"fields":[{{{spec},"item_shape":{shape}}}],"lossy":[false],"arrays":[]}}"#)
}

fn spec(descr: &str, item_size: u64) -> String {
    format!(r#""name":"x","dtype":{{"descr":"{descr}","item_size":{item_size}}}"#)
}
