//! Files that have a name elsewhere, as in a copy of their directory by hard links (`cp -al`).
//!
//! To change such a file in place would change that copy, and two who go on with it would write
//! into one file. So it is copied, or left as it is.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use super::absence::metadata_if_there;
use super::directory::{list_directory, name_of};
use super::owner::Owner;
use crate::{IoContext, Result};

/// Whether a file system can't give a file a second name.
pub(crate) fn has_no_links(error: &io::Error) -> bool {
    [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK, Errno::XDEV]
        .iter()
        .any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

/// Whether a file has other names than this one and temporary ones beside it: it may have such a
/// one while it gets its name, and after a power cut then.
pub(crate) fn has_other_names(path: &Path) -> Result<bool> {
    let Some(found) = metadata_if_there(path)?.filter(|found| found.nlink() > 1) else {
        return Ok(false);
    };
    let folder = path.parent().unwrap_or(path);
    let mut temporary = 0;
    for beside in list_directory(folder).context("list", folder)? {
        if name_of(&beside).and_then(Owner::of_temporary).is_some()
            && metadata_if_there(&beside)?.is_some_and(|beside| beside.ino() == found.ino())
        {
            temporary += 1;
        }
    }
    // Counted after the temporary ones, which go away meanwhile and don't come back.
    Ok(metadata_if_there(path)?.is_some_and(|now| now.nlink() > 1 + temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_elsewhere_counts_and_a_temporary_one_beside_it_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert!(!has_other_names(&path).unwrap());
        drop(std::fs::File::create_new(&path).unwrap());
        assert!(!has_other_names(&path).unwrap());
        let temporary = directory.path().join(Owner::current().temporary_name("file"));
        std::fs::hard_link(&path, temporary).unwrap();
        assert!(!has_other_names(&path).unwrap());
        std::fs::hard_link(&path, directory.path().join("other")).unwrap();
        assert!(has_other_names(&path).unwrap());
    }
}
