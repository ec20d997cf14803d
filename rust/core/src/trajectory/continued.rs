//! Continuing an entry in another file: its records are copied, not encoded again, so frames that
//! were rounded once stay what they are.

use std::path::Path;

use super::reader::Entry;
use super::value_tree::fields_tree;
use super::writer::{Beginning, EntryWriter, Uncommitted};
use crate::container::{Appender, RecordKind, recover};
use crate::error::FormatError;
use crate::fs::{Content, StorageFile, open_file, write_all_at};
use crate::{Error, IoContext, Result};

/// Bytes that are copied at a time.
const COPIED: u64 = 4 << 20;

impl EntryWriter {
    /// Begins a file, which is empty, with everything that a finished entry holds. `path` is for
    /// messages. As after [`EntryWriter::create`], nothing is durable before the first flush.
    pub fn continue_finished(
        file: Box<dyn StorageFile>,
        path: &Path,
        finished: &Entry,
    ) -> Result<Self> {
        let end = finished.records_end();
        copy(finished.content(), &*file, path, end)?;
        // What was written over time ends with a commit of everything; what was stored at once has
        // none at all.
        let recovered = recover(file.file(), path)?;
        let state = finished.state();
        let is_committed = recovered.state == state;
        if !is_committed && recovered.state.chunks().next().is_some() {
            let part = "its last commit";
            return Err(Error::corrupt(finished.path(), part, FormatError::Coverage));
        }
        let mut file = Appender::resume(file, path, end, recovered.end)?;
        let tree = finished.tree()?.into_owned();
        let (tree, tree_at) = if tree == fields_tree(&state.schema.fields, state.n_frames) {
            (None, 0)
        } else {
            let (offset, _) = file.append_plain(RecordKind::Tree, &tree)?;
            (Some(tree), offset)
        };
        let uncommitted = Uncommitted {
            committed: if is_committed { state.n_frames } else { 0 },
            kept_frames: if is_committed { state.n_frames } else { 0 },
            tree: tree_at,
            schema: true,
            chunks: if is_committed { Vec::new() } else { state.chunks().copied().collect() },
            first: !is_committed,
        };
        let (header, encoding) = (finished.header().clone(), finished.encoding());
        let beginning = Beginning::of(recovered.record, header, encoding, recovered.topology);
        Ok(Self::new(file, beginning, state, uncommitted, tree))
    }

    /// Begins a file, which is empty, with the durable frames of an unfinished one, whose writer
    /// may still add to it. All of them are durable here, too.
    pub fn continue_unfinished(
        file: Box<dyn StorageFile>,
        path: &Path,
        unfinished: &Path,
    ) -> Result<Self> {
        let source = open_file(unfinished).context("open", unfinished)?;
        let end = recover(&source, unfinished)?.end;
        let copied = file.copy_from(&source, end).and_then(|()| file.sync());
        copied.context("copy", unfinished)?;
        Self::resume(file, path)
    }
}

/// Copies the first `end` bytes of an entry.
fn copy(from: &Content, to: &dyn StorageFile, path: &Path, end: u64) -> Result<()> {
    let cut = || Error::corrupt(from.path(), "its records", FormatError::CutShort);
    for start in (0..end).step_by(COPIED as usize) {
        let bytes = from.read(start..end.min(start + COPIED))?.ok_or_else(cut)?;
        write_all_at(to, &bytes, start).context("write", path)?;
    }
    Ok(())
}
