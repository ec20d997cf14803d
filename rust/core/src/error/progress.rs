//! What can go wrong with progress: a task that no process declared, and files that are damaged.

use std::fmt;
use std::path::Path;

use super::Error;

/// A request that the declared tasks do not allow.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgressError {
    /// A task that no process has started.
    #[error("unknown task {task:?}: start_task declares one; {known}")]
    UnknownTask {
        /// The task that was asked for.
        task: String,
        /// The tasks that there are.
        known: KnownTasks,
    },
    /// A parent that no process has started.
    #[error(
        "unknown task {parent:?}: it is the parent_task of {task:?} and has to be started first; \
         {known}"
    )]
    UnknownParent {
        /// The task that was to be started.
        task: String,
        /// Its missing parent.
        parent: String,
        /// The tasks that there are.
        known: KnownTasks,
    },
}

/// The first tasks of a tracker, as an error lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTasks {
    /// The ids of the first ones.
    pub first: Vec<String>,
    /// How many there are.
    pub count: usize,
}

impl fmt::Display for KnownTasks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = self.first.iter().map(|id| format!("{id:?}")).collect::<Vec<_>>().join(", ");
        match self.count.saturating_sub(self.first.len()) {
            _ if self.count == 0 => formatter.write_str("no task has been started"),
            0 => write!(formatter, "the known ones are {listed}"),
            more => write!(formatter, "known are {listed} and {more} more"),
        }
    }
}

/// How a counter file is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgressDamage {
    #[error("the file is too short for it")]
    FileTooShort,
    #[error("it is empty")]
    Empty,
    #[error("its checksum does not match")]
    Checksum,
    #[error("it counts {slots} tasks")]
    TaskCount { slots: u64 },
    #[error("the file has {found} bytes, {slots} tasks need {needed}")]
    TooFewBytes { found: u64, slots: u64, needed: u64 },
    #[error("there is no extent {extent}")]
    NoSuchExtent { extent: usize },
    #[error("it lost a task")]
    LostTask,
    #[error("texts of {id} and {name} bytes")]
    TextLengths { id: usize, name: usize },
    #[error("the {text} is not UTF-8")]
    NotUtf8 { text: &'static str },
    #[error("its parent is task {parent}, which is not an earlier one")]
    ParentNotEarlier { parent: u64 },
}

impl ProgressDamage {
    /// The error for damage in `part` of the file at `path`, with what a person can do about it.
    pub fn in_file(self, path: &Path, part: impl Into<String>) -> Error {
        Error::Corrupt {
            path: path.to_owned(),
            part: part.into(),
            reason: self.to_string(),
            remedy: "opening the directory resumes from the snapshot beside it, where there is \
                     one; else remove the file to count from zero",
        }
    }
}
