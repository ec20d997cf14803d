//! Frames in place in the file, for arrays that are views of it and may be written to.

use std::ops::Range;

use super::Entry;
use crate::Result;
use crate::container::{Chunk, RAW};
use crate::fs::PrivateMap;
use crate::trajectory::select::Frames;

impl Entry {
    /// Where frames of a field lie in the file, checked; `None` where they are coded or in
    /// several chunks, or can't be borrowed.
    pub fn frames_in_place(
        &self,
        field: usize,
        first: u64,
        count: u64,
    ) -> Result<Option<Range<usize>>> {
        let spec = self.field(field)?;
        Frames::range(first, count).check(self.n_frames)?;
        let stored = &self.fields[field].chunks;
        let holds_all = |chunk: &Chunk| {
            let header = &chunk.header;
            header.codec == RAW
                && u64::from(header.rows) == spec.rows()
                && header.first <= first
                && first + count <= header.first + chunk.used
        };
        let Some(index) = stored.all().iter().position(holds_all) else { return Ok(None) };
        let chunk = &stored.all()[index];
        let frame_bytes = spec.item_bytes()?;
        let start = ((first - chunk.header.first) * frame_bytes) as usize;
        let end = start + (count * frame_bytes) as usize;
        if stored.borrow(index, start..end)?.is_none() {
            return Ok(None);
        }
        let payload = chunk.header.payload(chunk.offset).map(|(payload, _)| payload as usize);
        Ok(payload.map(|payload| payload + start..payload + end))
    }

    /// The same file, mapped copy on write; `None` where it can't be mapped.
    pub fn private_map(&self) -> Result<Option<PrivateMap>> {
        self.content().map_private()
    }
}
