//! Whose reservations: each user's are in a directory of that user, which no other can change.
//!
//! All stand in one directory, the root: `/tmp`, or the one that was named. It is used only where
//! nobody but root and this user could rename or remove what is in it: owned by one of the two,
//! and closed to other writers, or sticky. Whose a directory below it is, its owner tells and not
//! its name, so taking a name in advance gains nothing.

use std::fs::{File, Metadata, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::GpuError;
use crate::fs::{OpenDirectory, is_not_regular, list_directory, metadata_if_there, name_of};
use crate::{Error, IoContext, Result};

const PREFIX: &str = "proteinflex-gpu-";
/// Names that are tried where another user has taken the first.
const NAMES: u32 = 16;
/// The permission bits that let others than the owner write.
const WRITABLE: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// Of more files than this in a user's directory the rest is not looked at: no user has that many
/// jobs.
pub(super) const MAX_FILES: usize = 4096;

/// Refuses a directory in which others could change what this user writes. Whether it is there.
pub(in crate::gpu) fn check_directory(root: &Path) -> Result<bool> {
    let Some(metadata) = metadata_if_there(root)? else { return Ok(false) };
    if !metadata.is_dir() {
        return Err(unsafe_directory(root, "it is no directory of its own".to_owned()));
    }
    if !is_trusted(metadata.uid()) {
        let problem = format!(
            "it belongs to user {}, who could change what others keep there",
            metadata.uid()
        );
        return Err(unsafe_directory(root, problem));
    }
    let mode = metadata.mode();
    if mode & WRITABLE != 0 && mode & STICKY == 0 {
        let problem =
            format!("with mode {:04o} other users could change what is kept there", mode & 0o7777);
        return Err(unsafe_directory(root, problem));
    }
    Ok(true)
}

/// Makes the root, for this user alone to write in.
pub(super) fn create_root(root: &Path) -> Result<()> {
    if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|error| cannot_write(parent, error))?;
    }
    make_directory(root)
}

/// This user's directory below the root, made where it is missing.
pub(super) fn own_directory(root: &Path) -> Result<PathBuf> {
    let user = current_user();
    let mut taken_by = user;
    for number in 0..NAMES {
        let suffix = if number == 0 { String::new() } else { format!(".{number}") };
        let path = root.join(format!("{PREFIX}{user}{suffix}"));
        make_directory(&path)?;
        let metadata = std::fs::symlink_metadata(&path).context("look at", &path)?;
        if !metadata.is_dir() || metadata.uid() != user {
            taken_by = metadata.uid();
            continue;
        }
        if metadata.mode() & WRITABLE != 0 {
            return Err(too_open(&path, &metadata));
        }
        return Ok(path);
    }
    let problem = format!("user {taken_by} has taken all names of the directory of user {user}");
    Err(unsafe_directory(root, problem))
}

/// A directory that is readable by all, also where the umask forbids that, and writable by its
/// owner alone.
fn make_directory(path: &Path) -> Result<()> {
    match std::fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => {
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).context("share", path)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(cannot_write(path, error)),
    }
}

/// One user's directory, open, so that its files are found in it also where its name is taken away.
#[derive(Debug)]
pub(super) struct UserDirectory {
    directory: OpenDirectory,
    owner: u32,
}

/// The directories of all users; and those that can't be read.
pub(super) fn user_directories(root: &Path) -> Result<(Vec<UserDirectory>, Vec<PathBuf>)> {
    let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
    for path in list_directory(root).context("list", root)? {
        if !name_of(&path).is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        match UserDirectory::open(&path) {
            Ok(directory) => readable.push(directory),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => unreadable.push(path),
            // Something else, or gone.
            Err(error) if is_none(&error) => {}
            Err(error) => return Err(Error::io("open", &path, error)),
        }
    }
    Ok((readable, unreadable))
}

impl UserDirectory {
    fn open(path: &Path) -> std::io::Result<Self> {
        let directory = OpenDirectory::open(path)?;
        let owner = directory.owner()?;
        Ok(Self { directory, owner })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Whose it is.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// The names in it that end so; one more than [`MAX_FILES`] where there are more.
    pub fn names(&self, ending: &str) -> std::io::Result<Vec<String>> {
        let mut names = self.directory.names()?;
        names.retain(|name| name.ends_with(ending));
        names.truncate(MAX_FILES + 1);
        Ok(names)
    }

    /// Opens a file in it that its user has made; `None` where it is something else, or gone.
    pub fn open_file(&self, name: &str) -> std::io::Result<Option<(File, Metadata)>> {
        let file = match self.directory.open_file(name) {
            Ok(file) => file,
            Err(error) if is_none(&error) || is_not_regular(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        Ok((metadata.uid() == self.owner).then_some((file, metadata)))
    }
}

/// Whether an open failed for there is nothing of that kind: not there any more, a symlink, a
/// socket or a device without a driver, or no directory.
fn is_none(error: &std::io::Error) -> bool {
    let kinds = [Errno::NOENT, Errno::LOOP, Errno::NXIO, Errno::NODEV, Errno::NOTDIR];
    kinds.iter().any(|kind| error.raw_os_error() == Some(kind.raw_os_error()))
}

/// The user that files of this process belong to.
pub(super) fn current_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether this user need not fear that one: itself, or root. In a user namespace that knows few
/// users, as of an unprivileged container, root outside has the id of those that are not known.
fn is_trusted(user: u32) -> bool {
    user == 0 || user == current_user() || unmapped_user() == Some(user)
}

/// The id that files of unknown users have, unless a user of this namespace has it as well.
fn unmapped_user() -> Option<u32> {
    let overflow = std::fs::read_to_string("/proc/sys/fs/overflowuid").ok()?;
    let overflow: u32 = overflow.trim().parse().ok()?;
    let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    let is_mapped = map.lines().any(|line| {
        let mut fields = line.split_whitespace().filter_map(|field| field.parse::<u64>().ok());
        let (first, count) = (fields.next().unwrap_or(0), fields.nth(1).unwrap_or(u64::MAX));
        (first..first.saturating_add(count)).contains(&u64::from(overflow))
    });
    (!is_mapped).then_some(overflow)
}

fn unsafe_directory(path: &Path, problem: String) -> Error {
    let remedy = format!(
        "let root make it as one for all users (`install -d -o root -m 1777 {}`), or name \
         another in PROTEINFLEX_GPU_STATE_DIR or state_dir",
        path.display()
    );
    GpuError::UnsafeDirectory { path: path.to_owned(), problem, remedy }.into()
}

fn too_open(path: &Path, metadata: &Metadata) -> Error {
    let problem = format!("with mode {:04o} others can write in it", metadata.mode() & 0o7777);
    let remedy = format!("close it (`chmod 0755 {}`)", path.display());
    GpuError::UnsafeDirectory { path: path.to_owned(), problem, remedy }.into()
}

fn cannot_write(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::PermissionDenied || error.kind() == ErrorKind::ReadOnlyFilesystem
    {
        let problem = format!("user {} can't make it ({error})", current_user());
        return unsafe_directory(path, problem);
    }
    Error::io("create", path, error)
}
