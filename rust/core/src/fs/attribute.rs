//! Numbers that are kept with a file, so that listing a directory tells them without opening any.
//!
//! They are extended attributes: they come into being with a file, move and vanish with it, and can't
//! disagree with one that is never changed. Where a file system has none, or a copy has left them
//! behind, the file itself is to be asked.

use std::fs::File;
use std::path::Path;

use rustix::fs::{XattrFlags, fsetxattr, lgetxattr, lsetxattr};

/// Keeps a number with an open file, where the file system can.
pub fn keep_number(file: &File, name: &str, number: u64) {
    // Whoever reads it does without, so a failure is none.
    let _ = fsetxattr(file, qualified(name), &number.to_le_bytes(), XattrFlags::empty());
}

/// Keeps a number with the file at `path`, where the file system and its permissions allow it.
pub fn keep_number_at(path: &Path, name: &str, number: u64) {
    let _ = lsetxattr(path, qualified(name), &number.to_le_bytes(), XattrFlags::empty());
}

/// The number that was kept, if one was.
pub fn number_of(path: &Path, name: &str) -> Option<u64> {
    let mut bytes = [0; 8];
    let length = lgetxattr(path, qualified(name), &mut bytes).ok()?;
    (length == bytes.len()).then_some(u64::from_le_bytes(bytes))
}

fn qualified(name: &str) -> String {
    format!("user.proteinflex.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_kept_is_found_and_one_that_was_not_is_not() {
        // Not every file system has attributes; then nothing is ever found.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::options().create_new(true).write(true).open(&path).unwrap();
        assert_eq!(number_of(&path, "raw_bytes"), None);
        keep_number(&file, "raw_bytes", 1 << 40);
        assert!(matches!(number_of(&path, "raw_bytes"), None | Some(0x100_0000_0000)));
        assert_eq!(number_of(&directory.path().join("none"), "raw_bytes"), None);
    }
}
