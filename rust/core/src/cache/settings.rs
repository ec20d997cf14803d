//! The limit of a cache directory: it belongs to the directory, not to whoever opens it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::fs::{Storage, publish_bytes};
use crate::{Error, Result, checksum};

/// The limit where nobody set one: 100 GB.
pub const DEFAULT_MAX_BYTES: u64 = 100_000_000_000;

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

/// A limit that was read, and what tells its file from a later one.
#[derive(Debug)]
pub struct Remembered {
    file: (u64, u64, i64, i64),
    max_bytes: Option<u64>,
}

/// The same as [`read`], without reading a file again that was read before: it is only ever replaced.
pub fn read_if_changed(
    layout: &Layout,
    remembered: &mut Option<Remembered>,
) -> Result<Option<u64>> {
    let found = match layout.settings().symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return read(layout),
    };
    let file = (found.ino(), found.len(), found.ctime(), found.ctime_nsec());
    match remembered {
        Some(known) if known.file == file => Ok(known.max_bytes),
        _ => {
            let max_bytes = read(layout)?;
            *remembered = Some(Remembered { file, max_bytes });
            Ok(max_bytes)
        }
    }
}

/// The limit that is set, if one is.
pub fn read(layout: &Layout) -> Result<Option<u64>> {
    let path = layout.settings();
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let damaged = |reason: String| Error::Corrupt {
        path: path.clone(),
        part: "the settings".to_owned(),
        reason,
        remedy: "remove this file, and open the cache with the limit that it should have",
    };
    let found: Settings =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if found.format != FORMAT {
        return Err(damaged(format!("its format is {:?}", found.format)));
    }
    if found.version > VERSION {
        return Err(Error::NewerFormat { path, found: found.version, supported: VERSION });
    }
    if found.checksum != Settings::of(found.max_bytes).checksum {
        return Err(damaged("its checksum does not match".to_owned()));
    }
    Ok(Some(found.max_bytes))
}

/// Sets the limit for all who share the directory.
pub fn write(storage: &Arc<dyn Storage>, layout: &Layout, max_bytes: u64) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(&Settings::of(max_bytes))
        .map_err(|error| Error::io("write", &layout.settings(), error.into()))?;
    text.push(b'\n');
    publish_bytes(storage, &layout.settings(), &text)
}
