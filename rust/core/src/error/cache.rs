//! What can go wrong with a cache.

use std::path::{Path, PathBuf};

use super::printable::printable_path;

/// What is known of a trajectory that was asked for, and is not finished.
#[derive(Debug)]
#[non_exhaustive]
pub enum UnfinishedFrames {
    /// Somebody is writing it.
    BeingWritten {
        /// Who, and since when it has given no sign of life.
        holder: String,
    },
    /// It waits to be resumed.
    Waiting {
        /// The user's name for it.
        data_id: String,
        /// How many frames are durable.
        n_frames: u64,
    },
    /// Its file is damaged.
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// A request that a cache can't fulfil as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// Nothing is stored under this key.
    #[error("{}", not_found(key, directory, unfinished.as_ref()))]
    KeyNotFound {
        /// The key that was asked for.
        key: String,
        /// The cache directory that was searched.
        directory: PathBuf,
        /// The trajectory of this key that is not finished.
        unfinished: Option<UnfinishedFrames>,
    },
    /// More than one entry may be meant.
    #[error(
        "{name:?} may mean more than one entry of {directory}: {}{}; use a whole key",
        .candidates.join(", "),
        if *.others > 0 { format!(" and {others} others") } else { String::new() },
        directory = printable_path(directory)
    )]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The key and the id of some of them.
        candidates: Vec<String>,
        /// How many more there are.
        others: usize,
        /// The cache directory.
        directory: PathBuf,
    },
    /// A folder of the cache is something else, which may lead out of it.
    #[error(
        "{path} is {found}: expected a folder of the cache itself, as nothing outside of it is read \
         or removed; remove it, or open the directory that it leads to",
        path = printable_path(path)
    )]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// An entry is larger than the whole cache may be.
    #[error(
        "the entry takes {bytes} bytes and the limit of {directory} is {max_bytes}: raise \
         max_cache_size, or store less",
        directory = printable_path(directory)
    )]
    EntryTooLarge {
        /// The size of the entry.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
        /// The cache directory.
        directory: PathBuf,
    },
    /// What can't be evicted leaves too little space for an entry.
    #[error(
        "{bytes} bytes don't fit into {directory}: of its {max_bytes} bytes, all but {evictable} \
         are taken by pinned entries and trajectories that are being written; unpin or remove some, \
         or raise max_cache_size",
        directory = printable_path(directory)
    )]
    Full {
        /// The size of the entry.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
        /// The bytes of entries that could be evicted.
        evictable: u64,
        /// The cache directory.
        directory: PathBuf,
    },
    /// A trajectory was to be begun under a name that has one.
    #[error(
        "data_id={data_id:?} is not valid: expected the name of no trajectory, and {} of {n_frames} \
         frames is there; pass resume=True to go on with it, or overwrite=True to replace it",
        if *is_finished { "one" } else { "an unfinished one" }
    )]
    AlreadyThere {
        /// The user's name for the trajectory.
        data_id: String,
        /// How many frames it has.
        n_frames: u64,
        /// Whether it was finished, or waits to be resumed.
        is_finished: bool,
    },
    /// A whole trajectory was stored after an unfinished one of the same name was left.
    #[error(
        "data_id={data_id:?} is not valid: expected the name of one trajectory, and an unfinished \
         one of {unfinished} frames waits there beside a newer one of {stored} frames; \
         remove_unfinished(data_id) keeps the newer one, remove(data_id) the unfinished one, and \
         overwrite=True replaces both"
    )]
    Superseded {
        /// The user's name for both.
        data_id: String,
        /// How many frames the unfinished one has.
        unfinished: u64,
        /// How many the newer one has.
        stored: u64,
    },
    /// An entry was to be copied from elsewhere to a key of which a trajectory is unfinished.
    #[error(
        "key={key:?} is not valid: expected the key of no unfinished trajectory, and one is being \
         written or waits to be resumed in {directory}; finish it, or drop it by \
         remove_unfinished({key:?})",
        directory = printable_path(directory)
    )]
    Unfinished {
        /// The key.
        key: String,
        /// The cache directory.
        directory: PathBuf,
    },
    /// There is no cache to be looked at.
    #[error("there is no cache in {directory}: {found}", directory = printable_path(directory))]
    NoCache {
        /// The directory.
        directory: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// A change of a cache that was opened for reading only.
    #[error(
        "the cache in {directory} was opened with read_only=True: open it without to change it",
        directory = printable_path(directory)
    )]
    ReadOnly {
        /// The cache directory.
        directory: PathBuf,
    },
    /// Another process, or another writer of this one, is writing the trajectory.
    #[error(
        "data_id={data_id:?} is not valid: expected a trajectory that no other writer has open, \
         and {holder}; {remedy}"
    )]
    BeingWritten {
        /// The user's name for the trajectory.
        data_id: String,
        /// Who writes it, and when it gave its last sign of life.
        holder: String,
        /// What to do.
        remedy: String,
    },
}

fn not_found(key: &str, directory: &Path, unfinished: Option<&UnfinishedFrames>) -> String {
    let directory = printable_path(directory);
    match unfinished {
        Some(UnfinishedFrames::BeingWritten { holder }) => format!(
            "trajectory {key:?} in {directory} is unfinished: {holder}; it can be read once that \
             writer is closed"
        ),
        Some(UnfinishedFrames::Waiting { data_id, n_frames }) => format!(
            "trajectory {data_id:?} in {directory} is unfinished: {n_frames} durable frames wait; \
             trajectory_writer({data_id:?}, resume=True) goes on with them, and once it is closed \
             they can be read; remove_unfinished({data_id:?}) drops them"
        ),
        Some(UnfinishedFrames::Damaged { path }) => format!(
            "trajectory {} in {directory} is unfinished, and its file {} is damaged: \
             trajectory_writer(…, overwrite=True) writes it from its beginning",
            without_secrets(key),
            printable_path(path)
        ),
        None => format!(
            "nothing is stored under {} in {directory}: it was never stored there, or was \
             evicted or removed{}",
            without_secrets(key),
            if begins_as_key(key) {
                "; of a key, a whole one is expected, or its first 6 digits at least where nothing \
                 is removed"
            } else {
                ""
            }
        ),
    }
}

/// An id as it is shown: of a URL with a user or a query, the scheme alone.
fn without_secrets(key: &str) -> String {
    match key.split_once("://") {
        Some((scheme, rest)) if rest.contains(['@', '?']) => format!("\"{scheme}://…\""),
        _ => format!("{key:?}"),
    }
}

/// Whether a text looks like the beginning of a key, as a person may have typed it.
fn begins_as_key(text: &str) -> bool {
    let digits = text.strip_prefix("s-").or_else(|| text.strip_prefix("t-")).unwrap_or_default();
    (1..32).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Why the settings of a cache directory can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("{0}")]
    Json(serde_json::Error),
    #[error("its format is {found:?}")]
    Format { found: String },
    #[error("its checksum does not match")]
    Checksum,
}
