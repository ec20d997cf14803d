//! Where readers find the bytes: a directory in memory, for each thread its own.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

thread_local! {
    static DIRECTORY: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

/// The directory, which stays for the whole run.
pub fn directory() -> PathBuf {
    DIRECTORY.with(|directory| {
        let make = || {
            let memory = Path::new("/dev/shm");
            let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
            tempfile::tempdir_in(parent).expect("a directory can be made")
        };
        directory.get_or_init(make).path().to_owned()
    })
}

/// A file with these bytes: a new one each time, since the one before may still be mapped.
#[expect(clippy::disallowed_methods, reason = "a hostile file is made by hand")]
pub fn place(name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory().join(name);
    let _ = std::fs::remove_file(&path);
    std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("one can be made");
    std::fs::write(&path, bytes).expect("a file can be written");
    path
}
