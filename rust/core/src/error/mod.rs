//! What can go wrong, said so that a person knows what to do next.

mod cache;
mod checkpoint;
mod codec;
mod container;
mod gpu;
mod printable;
mod progress;
mod trajectory;
mod tree;

use std::path::{Path, PathBuf};

pub(crate) use cache::SettingsError;
pub use cache::{CacheError, UnfinishedFrames};
pub(crate) use checkpoint::CheckpointDamage;
pub use checkpoint::CheckpointError;
pub use codec::{AtomProblem, DecodeError};
pub use container::FormatError;
pub use gpu::{GpuError, GpuRow, Holder, InsufficientMemory, ItemTooLarge, Prediction};
pub use printable::{printable, printable_path};
pub(crate) use progress::ProgressDamage;
pub use progress::{KnownTasks, ProgressError};
pub use trajectory::ChunkError;
pub use tree::TreeError;

/// There is not enough memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoMemory {
    pub bytes: usize,
}

/// The result of anything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Each message says what was asked, what was found, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument has a value that makes no sense.
    #[error("{argument}={value} is not valid: expected {expected}")]
    InvalidArgument {
        /// The argument's name, as the caller knows it.
        argument: String,
        /// The value it had.
        value: String,
        /// What would have been right.
        expected: String,
    },
    /// An argument, or a value inside one, has a type that can't be used.
    #[error("{argument} is {found}: expected {expected}")]
    InvalidType {
        /// The argument, or the path to the value inside it.
        argument: String,
        /// What was found there.
        found: String,
        /// What would have been right.
        expected: String,
    },
    /// A file does not hold what was written to it.
    #[error("{path}: {part} is damaged ({reason}); {remedy}", path = printable_path(path))]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// The part of the file: a chunk, the index, the header.
        part: String,
        /// How the damage shows.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A file is of a later format version than this program knows.
    #[error(
        "{path}: format version {found} is newer than {supported}, the newest this version \
             reads; upgrade proteinflex-optimization",
        path = printable_path(path)
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// A file is not of the expected format at all.
    #[error("{path} is not {expected} ({found})", path = printable_path(path))]
    NotThisFormat {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        expected: &'static str,
        /// What it looks like.
        found: String,
    },
    /// Another writer has what this one was writing, or has stored it; or this one belongs to
    /// another process.
    #[error("{what}: {reason}")]
    WriterConflict {
        /// What was being written.
        what: String,
        /// Who has it, and what that means.
        reason: String,
    },
    /// A cache can't fulfil a request.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A checkpoint can't be made, found or used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A GPU, its driver or its memory can't be used.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A task that nobody declared.
    #[error("unknown task {task:?}: {hint}")]
    UnknownTask {
        /// The task that was asked for.
        task: String,
        /// The known tasks, or how to declare one.
        hint: String,
    },
    /// A request that the declared tasks of a progress tracker do not allow.
    #[error(transparent)]
    Progress(#[from] ProgressError),
    /// A lock was held by another for too long.
    #[error(
        "{path} has been locked for more than {seconds} s by {holder}; wait for its end, or end it, \
         and try again",
        path = printable_path(path)
    )]
    LockTimeout {
        /// The lock's file.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
        /// Who holds it.
        holder: String,
    },
    /// Its caller asked for the end of the work: see [`crate::interrupt`].
    #[error("interrupted; nothing was published")]
    Interrupted,
    /// There is too little memory.
    #[error("{bytes} bytes of memory are needed for {purpose}, and there are none")]
    OutOfMemory {
        /// How many.
        bytes: usize,
        /// What for.
        purpose: String,
    },
    /// The disk has less room than what is to be written.
    #[error(
        "cannot write to {path}: {needed} bytes are needed, and only {available} bytes are free; free \
         {} more, or choose another disk",
        needed.saturating_sub(*available),
        path = printable_path(path)
    )]
    NoSpace {
        /// The directory.
        path: PathBuf,
        /// How many bytes are to be written, with what the file system needs beside them.
        needed: u64,
        /// How many there is room for.
        available: u64,
    },
    /// A [`crate::fs::RangeSource`] failed, in its own words.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// The operating system said no.
    #[error("cannot {action} {path}: {source}", path = printable_path(path))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl Error {
    /// An argument with a value that makes no sense.
    pub fn argument(
        argument: impl Into<String>,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::InvalidArgument {
            argument: argument.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    /// A system error while doing `action` (a verb) to `path`.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// Damage in `part` of the file at `path`.
    pub fn corrupt(path: &Path, part: impl Into<String>, reason: impl ToString) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            part: part.into(),
            reason: reason.to_string(),
            remedy: "remove it and store the data again",
        }
    }
}

/// Says of a system error what was being done, and to which file.
pub(crate) trait IoContext<T> {
    /// `action` is a verb.
    fn context(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> IoContext<T> for Result<T, E> {
    fn context(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::io(action, path, error.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_path_that_is_no_text_is_shown_with_escapes() {
        let path = Path::new(OsStr::from_bytes(b"run\xff"));
        let directory = path.to_owned();
        let found = "nothing";
        for error in [
            Error::corrupt(path, "the head", "cut"),
            Error::io("open", path, std::io::Error::other("no")),
            CheckpointError::NotFound { path: path.to_owned() }.into(),
            CacheError::NoCache { directory, found }.into(),
            GpuError::ReservationNotKept { path: path.to_owned(), problem: found }.into(),
        ] {
            assert!(error.to_string().contains("run\\xff"), "{error}");
        }
    }
}
