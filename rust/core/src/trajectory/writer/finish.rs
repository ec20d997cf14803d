//! The end of a finished file: value tree, index and trailer.

use super::{EntryWriter, RAW_BYTES};
use crate::Result;
use crate::container::{Commit, END_BYTES, RecordKind, Trailer, checksum_of_records};
use crate::fs::{StorageFile, set_xattr_u64};

impl EntryWriter {
    /// Writes the value tree and the index. Returns how long the file is. The caller renames it and
    /// syncs its directory, which makes all durable: no name without the bytes.
    pub fn finish(self, tree: &[u8]) -> Result<u64> {
        self.finish_file(tree).map(|(length, _)| length)
    }

    /// As [`EntryWriter::finish`]; returns the file as well.
    pub fn finish_file(mut self, tree: &[u8]) -> Result<(u64, Box<dyn StorageFile>)> {
        self.file.check()?;
        if self.n_buffered > 0 {
            self.write_buffered()?;
        }
        if !self.uncommitted.first {
            // Should the power go before the file gets its name, this is what can be resumed.
            self.commit()?;
        }
        let (tree_at, tree_record) = self.file.append_plain(RecordKind::Tree, tree)?;
        let index = Commit {
            kept_frames: 0,
            n_frames: self.state.n_frames,
            tree: tree_at,
            schema: Some(self.state.schema.clone()),
            chunks: self.state.chunks().copied().collect(),
        };
        let topology = self.topology.map(|topology| topology.record);
        let content_id = self.state.content_id(self.header.kind, tree, topology)?;
        let (index, index_record) = self.file.append_plain(RecordKind::Index, &index.encode()?)?;
        let end = self.file.end();
        let padding = (end.next_multiple_of(64) - end) as usize;
        self.file.write(&vec![0; padding])?;
        let trailer = Trailer {
            index,
            length: self.file.end() + END_BYTES as u64,
            content_id,
            records: checksum_of_records([self.record, tree_record, index_record]),
            topology: topology.map_or(0, |record| record.checksum),
        };
        self.file.write(&trailer.encode())?;
        set_xattr_u64(self.file.file(), RAW_BYTES, self.raw_bytes());
        self.file.sync()?;
        Ok((self.file.end(), self.file.into_file()))
    }
}
