//! The limit of a cache directory: it belongs to the directory, for all processes that share it.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::error::SettingsError;
use crate::fs::{Storage, publish_bytes, read_file};
use crate::{Error, IoContext, Result, checksum};

/// The limit where none was set: 100 GB.
pub(super) const DEFAULT_MAX_BYTES: u64 = 100_000_000_000;

const FORMAT: &str = "proteinflex-cache";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Settings {
    format: String,
    version: u32,
    max_bytes: u64,
    /// Of all the above, so that damage is not taken for a limit of a few bytes.
    checksum: String,
}

impl Settings {
    fn of(max_bytes: u64) -> Self {
        let summed = format!("{FORMAT} {VERSION} {max_bytes}");
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            max_bytes,
            checksum: format!("{:016x}", checksum(summed.as_bytes())),
        }
    }
}

/// What any version has.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// The limit that is set, if one is.
pub(super) fn read(layout: &Layout) -> Result<Option<u64>> {
    let path = layout.settings();
    let text = match read_file(&path) {
        Ok(text) => text,
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let damaged = |reason: SettingsError| Error::Corrupt {
        path: path.clone(),
        part: "the settings file".to_owned(),
        reason: reason.to_string(),
        remedy: "remove this file, and open the cache with the limit that it should have",
    };
    let not_json = |error| damaged(SettingsError::Json(error));
    let head: Head = serde_json::from_slice(&text).map_err(not_json)?;
    if head.format != FORMAT {
        return Err(damaged(SettingsError::Format { found: head.format }));
    }
    if head.version > VERSION {
        return Err(Error::NewerFormat { path, found: head.version, supported: VERSION });
    }
    let found: Settings = serde_json::from_slice(&text).map_err(not_json)?;
    if found.checksum != Settings::of(found.max_bytes).checksum {
        return Err(damaged(SettingsError::Checksum));
    }
    Ok(Some(found.max_bytes))
}

/// Sets the limit for all processes that share the directory.
pub(super) fn write(storage: &Arc<dyn Storage>, layout: &Layout, max_bytes: u64) -> Result<()> {
    let mut text =
        serde_json::to_vec_pretty(&Settings::of(max_bytes)).context("write", &layout.settings())?;
    text.push(b'\n');
    publish_bytes(storage, &layout.settings(), &text)
}
