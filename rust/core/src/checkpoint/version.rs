//! Names of the directories of checkpoints that have replaced others: unique, and telling their
//! owner.

use std::path::Path;

use crate::fs::{Owner, TEMPORARY};

const PREFIX: &str = "version-";

/// The name of a directory of files that replace older ones, from that of their temporary
/// directory.
pub(super) fn version_name(temporary: &Path) -> String {
    let name = temporary.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let owner = name.trim_end_matches(TEMPORARY);
    let owner = owner.rsplit_once('.').map_or(owner, |(_, owner)| owner);
    format!("{PREFIX}{owner}")
}

/// The owner of a directory that [`version_name`] named.
pub(super) fn version_owner(name: &str) -> Option<Owner> {
    let owner = name.strip_prefix(PREFIX)?;
    Owner::of_temporary(&format!(".version.{owner}{TEMPORARY}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_names_the_owner_of_its_temporary_directory() {
        let temporary = Owner::current().temporary_name("step.7");
        let name = version_name(Path::new(&temporary));
        assert_eq!(version_owner(&name), Some(Owner::current()));
        assert!(!name.contains('.'), "{name}");
        assert_eq!(version_owner("version-2"), None);
    }
}
