//! Numbers in extended attributes, which a listing of a directory gets without opening any file.
//!
//! They are created, moved and removed with their file, and can't disagree with one that is never
//! changed. Not every file system has them, and not every copy keeps them: they are a cache of what
//! is in the file.

use std::fs::File;
use std::path::Path;

use rustix::fs::{XattrFlags, fsetxattr, lgetxattr, lsetxattr};

/// Sets an attribute of an open file, where the file system has attributes.
pub(crate) fn set_xattr_u64(file: &File, name: &str, number: u64) {
    // A reader does without it.
    let _ = fsetxattr(file, qualified(name), &number.to_le_bytes(), XattrFlags::empty());
}

/// Sets an attribute of the file at `path`, where file system and permissions allow it.
pub(crate) fn set_xattr_u64_at(path: &Path, name: &str, number: u64) {
    let _ = lsetxattr(path, qualified(name), &number.to_le_bytes(), XattrFlags::empty());
}

/// The value of an attribute, if the file has it.
pub(crate) fn xattr_u64(path: &Path, name: &str) -> Option<u64> {
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
    use rustix::io::Errno;

    /// Whether the file system has attributes, asked without the code under test.
    fn has_attributes(file: &File) -> bool {
        let set = fsetxattr(file, "user.proteinflex.probe", &[1], XattrFlags::empty());
        set != Err(Errno::OPNOTSUPP)
    }

    #[test]
    fn an_attribute_that_was_set_is_found_wherever_there_are_attributes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::options().create_new(true).write(true).open(&path).unwrap();
        assert_eq!(xattr_u64(&path, "raw_bytes"), None);
        set_xattr_u64(&file, "raw_bytes", 1 << 40);
        let expected = |number| has_attributes(&file).then_some(number);
        assert_eq!(xattr_u64(&path, "raw_bytes"), expected(1 << 40));
        set_xattr_u64_at(&path, "raw_bytes", 7);
        assert_eq!(xattr_u64(&path, "raw_bytes"), expected(7));
        assert_eq!(xattr_u64(&directory.path().join("none"), "raw_bytes"), None);
    }

    #[test]
    fn an_attribute_of_another_length_is_no_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::options().create_new(true).write(true).open(&path).unwrap();
        for bytes in [&[1u8; 7][..], &[1; 9]] {
            let set = fsetxattr(&file, qualified("raw_bytes"), bytes, XattrFlags::empty());
            assert!(set.is_ok() || !has_attributes(&file));
            assert_eq!(xattr_u64(&path, "raw_bytes"), None);
        }
    }
}
