//! The names of the files of trajectories that are not finished.
//!
//! Each writer writes a file of its own, whose name has a number and the writer's id. One that goes
//! on with another's frames has the next number: so the file of the highest number counts, and no
//! file is ever written by two. A writer that has let go says so by the suffix: such a file changes
//! no more and is taken by renaming it, which one of several rivals can do.

use super::layout::{Key, SUSPENDED, WRITING};
use crate::fs::WriterId;

/// A file's name: `t-ab….3-0123456789abcdef.writing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnfinishedName {
    pub key: Key,
    /// One more than that of the file which this one goes on with.
    pub number: u64,
    pub writer: WriterId,
    /// Whether the writer has let go of it.
    pub is_suspended: bool,
}

impl UnfinishedName {
    /// Reads a file's name.
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, is_suspended) = match name.strip_suffix(WRITING) {
            Some(stem) => (stem, false),
            None => (name.strip_suffix(SUSPENDED)?, true),
        };
        let (key, rest) = stem.split_once('.')?;
        let (number, writer) = rest.split_once('-')?;
        let (key, writer) = (Key::parse(key)?, WriterId::parse(writer)?);
        let name = Self { key, number: number.parse().ok()?, writer, is_suspended };
        (name.number < u64::MAX).then_some(name)
    }

    /// The file's name.
    pub fn file_name(&self) -> String {
        let suffix = if self.is_suspended { SUSPENDED } else { WRITING };
        format!("{}.{}-{}{suffix}", self.key, self.number, self.writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::EntryKind;

    #[test]
    fn names_are_read_as_they_were_made_and_no_others_are() {
        let key = Key::of(EntryKind::Trajectory, "md");
        let writer = WriterId::unique();
        for is_suspended in [false, true] {
            let name = UnfinishedName { key, number: 12, writer, is_suspended };
            assert_eq!(UnfinishedName::parse(&name.file_name()), Some(name));
        }
        for text in [
            format!("{key}.writing"),
            format!("{key}.1-{writer}.fxt"),
            format!("{key}.-1-{writer}.writing"),
            format!("{key}.1-{writer}0.writing"),
            format!("{key}.{}-{writer}.writing", u64::MAX),
            format!(".{key}.1-{writer}.writing"),
        ] {
            assert_eq!(UnfinishedName::parse(&text), None, "{text}");
        }
    }
}
