//! What a trajectory that is published may take the place of.

use std::sync::atomic::Ordering;

use super::Cache;
use super::layout::Key;
use super::load::OpenEntry;
use crate::error::CacheError;
use crate::trajectory::check_not_newer;
use crate::{Error, Result};

/// Which entry of its key may be replaced.
#[derive(Debug)]
pub(super) enum Replaces {
    /// Any, unless the cache keeps what is stored.
    Any,
    /// The one of this content, which was there when its writer began, or none.
    Only(Option<String>),
}

impl Cache {
    /// Refuses to replace an entry of a newer version, and one that has appeared since the writer
    /// began; of a cache that keeps what is stored, any. Asked again when it is published, under the
    /// lock of those who publish.
    pub(super) fn check_replaceable(&self, key: &Key, replaces: &Replaces) -> Result<()> {
        check_not_newer(&self.entry_path(key))?;
        let known = match replaces {
            Replaces::Any if !self.keeps_stored.load(Ordering::Relaxed) => return Ok(()),
            Replaces::Any => None,
            Replaces::Only(known) => known.as_deref(),
        };
        let other = self.whole_entry(key)?.filter(|there| known != Some(there.content_id()));
        let Some(there) = other else { return Ok(()) };
        let (data_id, n_frames) = (&there.header().data_id, there.n_frames());
        let reason = match replaces {
            Replaces::Any => "one was stored under this name meanwhile, and stays".to_owned(),
            Replaces::Only(_) => format!(
                "one of {n_frames} frames was stored under this name since this writer began, and \
                 stays; what this one wrote waits unfinished: remove({data_id:?}) drops the stored \
                 one, and then resume=True goes on with it; remove_unfinished({data_id:?}) drops it"
            ),
        };
        let what = format!("{} {data_id:?}", there.header().kind.name());
        Err(Error::WriterConflict { what, reason })
    }

    /// The finished entry of a key, unless it is damaged: that is no better than none.
    pub(super) fn whole_entry(&self, key: &Key) -> Result<Option<OpenEntry>> {
        match self.open_entry_unmarked(key) {
            Ok(entry) => Ok(Some(entry)),
            Err(Error::Cache(CacheError::KeyNotFound { .. }) | Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
