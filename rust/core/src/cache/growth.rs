//! Space for files that are written over a long time: made in steps, as they grow.

use std::path::Path;

use super::Cache;
use super::evict::SpaceRequest;
use super::layout::Key;
use super::scan::growth_step;
use crate::Result;
use crate::trajectory::EntryWriter;

/// A file that grows.
#[derive(Debug, Clone, Copy)]
pub(super) struct GrowingFile<'a> {
    pub key: Key,
    pub path: &'a Path,
    /// Whether it replaces the entry that is stored under its key.
    pub replaces: bool,
}

impl Cache {
    /// Makes space before frames of `raw_bytes` are appended to a file for which there is space up
    /// to a size of `reserved`; returns up to which size there is space now.
    ///
    /// How much the frames will take is estimated by what those before them took.
    pub(super) fn grow(
        &self,
        file: GrowingFile<'_>,
        writer: &EntryWriter,
        reserved: u64,
        raw_bytes: u64,
    ) -> Result<u64> {
        let bytes = writer.stored_bytes();
        let max_bytes = self.max_bytes()?;
        let estimate = match writer.raw_bytes() {
            _ if !writer.encoding().compress => raw_bytes,
            // Nothing is known of how well the first frames compress.
            0 => raw_bytes.min(max_bytes.saturating_sub(bytes)),
            before => (raw_bytes as f64 * (bytes as f64 / before as f64).min(1.0)) as u64,
        };
        if bytes + estimate <= reserved {
            return Ok(reserved);
        }
        let step = growth_step(max_bytes).min(max_bytes.saturating_sub(bytes)).max(1);
        let wanted = bytes + estimate.max(step);
        self.make_space_up_to(file, wanted)?;
        Ok(wanted)
    }

    /// Makes space for a file up to a size of `bytes`.
    pub(super) fn make_space_up_to(&self, file: GrowingFile<'_>, bytes: u64) -> Result<()> {
        let mut lock = self.lock()?;
        let GrowingFile { key, path, replaces } = file;
        let request = SpaceRequest { key, bytes, file: path, replaces, rescan: true };
        let others = self.make_space(&mut lock, &request)?;
        lock.record(others + bytes);
        Ok(())
    }
}
