//! Beginning an entry, and continuing one.

use std::path::Path;

use super::{Beginning, EntryWriter, StoredTopology, Uncommitted};
use crate::Result;
use crate::container::{
    Appender, Encoding, EntryHeader, FileState, RecordKind, Schema, encode_entry_header, recover,
};
use crate::fs::StorageFile;
use crate::topology::Topology;
use crate::trajectory::chunking::{chunk_frames, frame_size};
use crate::trajectory::topology::{counts_of, encode_topology};

impl EntryWriter {
    /// Begins an entry in `file`, which is empty. `path` is for messages. What is written before
    /// the first flush does not survive a crash, the beginning of the file included.
    pub fn create(
        file: Box<dyn StorageFile>,
        path: &Path,
        header: &EntryHeader,
        encoding: Encoding,
    ) -> Result<Self> {
        Self::create_with_topology(file, path, header, encoding, None)
    }

    /// The same, of an entry that holds its topology.
    pub fn create_with_topology(
        file: Box<dyn StorageFile>,
        path: &Path,
        header: &EntryHeader,
        encoding: Encoding,
        topology: Option<&Topology>,
    ) -> Result<Self> {
        let payload = encode_entry_header(header, encoding, topology.map(counts_of))?;
        let mut file = Appender::create(file, path)?;
        let (_, record) = file.append_plain(RecordKind::EntryHeader, &payload)?;
        let mut stored = None;
        if let Some(topology) = topology {
            let (record, payload) = encode_topology(topology);
            let (_, record) = file.append(record, &payload)?;
            stored = Some(StoredTopology { record, n_atoms: topology.n_atoms() as u64 });
        }
        let uncommitted = Uncommitted { first: true, ..Uncommitted::default() };
        let beginning = Beginning { record, header: header.clone(), encoding, topology: stored };
        Ok(Self::new(file, beginning, FileState::default(), uncommitted, None))
    }

    /// Continues an entry that was not finished, from the last state that was made durable.
    pub fn resume(file: Box<dyn StorageFile>, path: &Path) -> Result<Self> {
        let recovered = recover(file.file(), path)?;
        let file = Appender::resume(file, path, recovered.end, recovered.end)?;
        let first = recovered.state.schema == Schema::default();
        let uncommitted = Uncommitted { first, ..Uncommitted::after(recovered.state.n_frames) };
        let beginning = Beginning::of(
            recovered.record,
            recovered.header,
            recovered.encoding,
            recovered.topology,
        );
        Ok(Self::new(file, beginning, recovered.state, uncommitted, recovered.tree))
    }

    pub(in crate::trajectory) fn new(
        file: Appender,
        beginning: Beginning,
        state: FileState,
        uncommitted: Uncommitted,
        continued_tree: Option<Vec<u8>>,
    ) -> Self {
        let mut writer = Self {
            file,
            record: beginning.record,
            header: beginning.header,
            encoding: beginning.encoding,
            topology: beginning.topology,
            state,
            uncommitted,
            continued_tree,
            chunk_frames: 1,
            buffered: Vec::new(),
            n_buffered: 0,
            n_partial: 0,
            partial_chunks: 0,
        };
        writer.prepare();
        writer
    }

    pub(super) fn prepare(&mut self) {
        let frame_bytes = self.fields().iter().map(frame_size).sum();
        self.chunk_frames = chunk_frames(frame_bytes, self.encoding.profile);
        self.buffered = vec![Vec::new(); self.state.schema.fields.len()];
    }
}
