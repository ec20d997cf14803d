//! What is wrong with a checkpoint, and with the files of one.

use std::path::PathBuf;

use safetensors::SafeTensorError;

use super::printable::printable_path;

/// A checkpoint can't be made, found or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is no checkpoint in this directory.
    #[error(
        "{} holds no checkpoint: expected a path that create_checkpoint or latest() gave",
        printable_path(path)
    )]
    NotFound {
        /// The directory that was to be read.
        path: PathBuf,
    },
    /// No checkpoint has this id.
    #[error(
        "there is no checkpoint {checkpoint_id:?} in {}: there are {known:?}",
        printable_path(base_dir)
    )]
    UnknownId {
        /// The id that was asked for.
        checkpoint_id: String,
        /// The directory of checkpoints.
        base_dir: PathBuf,
        /// The ids that there are.
        known: Vec<String>,
    },
    /// The place of a checkpoint is taken by a directory that was never one.
    #[error(
        "{} is there and is no checkpoint: expected a checkpoint or a name that is free; choose \
         another id, or move it away; it was left as it is",
        printable_path(path)
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// The file system takes two ids for one.
    #[error(
        "the checkpoint {checkpoint_id:?} would take the place of {found:?}, from which the file \
         system of {} does not tell it: choose another id; it was left as it is",
        printable_path(base_dir)
    )]
    SameName {
        /// The id that was to be stored.
        checkpoint_id: String,
        /// The id that is there.
        found: String,
        /// The directory of checkpoints.
        base_dir: PathBuf,
    },
    /// There are no checkpoints to be looked at.
    #[error("there are no checkpoints in {}: {found}", printable_path(base_dir))]
    NoneHere {
        /// The directory.
        base_dir: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// A change of checkpoints that were opened for reading only.
    #[error(
        "the checkpoints in {} were opened with read_only=True: open them without to change them",
        printable_path(base_dir)
    )]
    ReadOnly {
        /// The directory.
        base_dir: PathBuf,
    },
    /// Another process removed the checkpoint that was being replaced.
    #[error(
        "{} was removed by another process while it was replaced, and is not there; save it again",
        printable_path(path)
    )]
    RemovedMeanwhile {
        /// The directory that it had.
        path: PathBuf,
    },
    /// The arrays of a component make no safetensors file.
    #[error("the arrays can't be described as safetensors: {0}")]
    Safetensors(SafeTensorError),
    /// What describes a checkpoint can't be written as JSON.
    #[error("{what} can't be written as JSON: {error}")]
    Json {
        /// The manifest, a partial one or the header of a safetensors file.
        what: &'static str,
        /// The writer's error.
        error: serde_json::Error,
    },
    /// What another process sent is not a partial manifest.
    #[error("what another process sent is no partial manifest of a checkpoint: {0}")]
    InvalidPartialManifest(serde_json::Error),
    /// The thread that writes files ended before it had all of them. Its own error says why.
    #[error("the writing thread has stopped")]
    WriterStopped,
    /// A tree refers to an array that its component does not have.
    #[error("the component {component:?} refers to array {number}, which is not there")]
    MissingArray {
        /// The component's name.
        component: String,
        /// The array's number.
        number: usize,
    },
    /// A thread that was saving panicked.
    #[error("saving {checkpoint_id:?} failed unexpectedly")]
    Panicked {
        /// The checkpoint that was being made.
        checkpoint_id: String,
    },
    /// A save in the background was begun by the process that this one was forked from.
    #[error("the checkpoint is being made by the process that this one was forked from")]
    OtherProcess,
    /// A checkpoint of several processes was published or abandoned before.
    #[error("this checkpoint was published or abandoned before")]
    AlreadyFinished,
}

/// How a file of a checkpoint differs from what was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointDamage {
    /// The manifest is too large to be one.
    #[error("it has {bytes} bytes")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// The manifest has no room for its checksum, or a file of arrays not for what its header says.
    #[error("it ends too early")]
    Truncated,
    /// The manifest's own checksum is that of other bytes.
    #[error("its checksum does not match")]
    ManifestChecksum,
    /// The manifest is not the JSON that it should be.
    #[error("{0}")]
    Json(serde_json::Error),
    /// The manifest names a file that is not one of its directory.
    #[error("it names the file {name:?}")]
    FileName {
        /// The name.
        name: String,
    },
    /// A component needs a file that the manifest does not list.
    #[error("the manifest does not name it")]
    NotInManifest,
    /// A directory, a symlink or the like in place of a file.
    #[error("it is not a regular file")]
    NotAFile,
    /// Something else in place of the directory of a checkpoint's files.
    #[error("it is not a directory")]
    NotADirectory,
    /// A file is not there.
    #[error("it is missing")]
    Missing,
    /// A file is of another size.
    #[error("it has {found} bytes instead of {expected}")]
    Size {
        /// Its size.
        found: u64,
        /// Its size by the manifest.
        expected: u64,
    },
    /// The manifest has checksums of more or fewer segments than a file has.
    #[error("the manifest has checksums of {expected} segments and it has {found}")]
    SegmentCount {
        /// How many segments the file has.
        found: usize,
        /// How many checksums the manifest has.
        expected: usize,
    },
    /// The bytes of a segment changed.
    #[error("the checksum from byte {first_byte} on is {found} instead of {expected}")]
    SegmentChecksum {
        /// Where the segment begins.
        first_byte: u64,
        /// The checksum of its bytes.
        found: String,
        /// Its checksum by the manifest.
        expected: String,
    },
    /// The manifest places a tree outside the file of values.
    #[error("the manifest names a part beyond its end")]
    TreeBeyondEnd,
    /// A file of arrays lacks one.
    #[error("the array {name:?} is missing")]
    MissingArray {
        /// The array's name.
        name: String,
    },
}
