//! The files of a trajectory that is not finished, and which of them counts.

use std::path::PathBuf;

use super::Cache;
use super::layout::Key;
use super::unfinished_name::UnfinishedName;
use crate::Result;
use crate::fs::{list_if_there, name_of};

/// An unfinished file, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnfinishedFile {
    pub name: UnfinishedName,
    pub path: PathBuf,
}

impl Cache {
    /// The unfinished files of a trajectory, the one that counts first. More than one are there
    /// while a writer goes on with another's frames, and after it ended meanwhile.
    pub(super) fn unfinished_files(&self, key: &Key) -> Result<Vec<UnfinishedFile>> {
        let mut found = Vec::new();
        for file in list_if_there(&self.layout.folder(key))? {
            let name = name_of(&file).and_then(UnfinishedName::parse);
            if let Some(name) = name.filter(|name| name.key == *key) {
                let bytes = file.symlink_metadata().map_or(0, |found| found.len());
                found.push((bytes, UnfinishedFile { name, path: file }));
            }
        }
        // Two of one number were made by a writer that lost its lease before anything was written
        // to its file, and by the one who has it: of these the longer one has more.
        found.sort_by_key(|(bytes, file)| std::cmp::Reverse((file.name.number, *bytes)));
        Ok(found.into_iter().map(|(_, file)| file).collect())
    }
}
