//! Which entry a name means: a key, the beginning of one, or the `data_id` that it was stored by.

use super::Cache;
use super::layout::Key;
use crate::Result;
use crate::error::CacheError;
use crate::trajectory::EntryKind;

impl Cache {
    /// The key of the entry that `name` means, which may be the beginning of a key: to look at one.
    /// A whole key is returned as it is, stored or not.
    pub fn resolve(&self, name: &str) -> Result<Key> {
        self.resolve_as(name, None)
    }

    /// As [`Cache::resolve`], for a caller that wants an entry of this kind where the id has both.
    pub fn resolve_as(&self, name: &str, preferred: Option<EntryKind>) -> Result<Key> {
        if let Some(key) = Key::parse(name) {
            return Ok(key);
        }
        let mut found = self.stored_by(name)?;
        if found.is_empty() && is_beginning(name) {
            let entries = self.scan()?;
            found = entries.entries().map(|entry| entry.key).collect();
            found.retain(|key| key.as_str().starts_with(name));
        }
        if found.iter().any(|key| Some(key.kind()) == preferred) {
            found.retain(|key| Some(key.kind()) == preferred);
        }
        self.only(name, found)
    }

    /// The key of the entry that is there and that `name` means, a whole key or an id. An id may look
    /// like the beginning of a key, of another entry once its own is gone: so what removes takes none.
    pub(super) fn resolve_whole(&self, name: &str) -> Result<Key> {
        let found = match Key::parse(name) {
            Some(key) if self.has(&key)? => vec![key],
            Some(_) => Vec::new(),
            None => self.stored_by(name)?,
        };
        self.only(name, found)
    }

    fn only(&self, name: &str, found: Vec<Key>) -> Result<Key> {
        match found.as_slice() {
            [key] => Ok(*key),
            [] => Err(self.not_found(name)),
            _ => Err(self.ambiguous(name, found)),
        }
    }

    /// The key of the entry that `name` means, which is there.
    pub(super) fn resolve_stored(&self, name: &str) -> Result<Key> {
        self.or_unfinished(self.resolve(name).and_then(|key| match self.has(&key)? {
            true => Ok(key),
            false => Err(self.not_found(name)),
        }))
    }

    /// The entries that were stored by this id: a structure, a trajectory or both.
    fn stored_by(&self, data_id: &str) -> Result<Vec<Key>> {
        let mut found = Vec::new();
        for kind in [EntryKind::Structure, EntryKind::Trajectory] {
            let key = Key::of(kind, data_id);
            if self.has(&key)? {
                found.push(key);
            }
        }
        Ok(found)
    }

    fn ambiguous(&self, name: &str, mut keys: Vec<Key>) -> crate::Error {
        /// More candidates than this help nobody.
        const SHOWN: usize = 8;
        keys.sort_unstable();
        let describe = |key: &Key| {
            // An entry that was removed meanwhile is still told by its key.
            let id = self.open_entry_unmarked(key).map(|entry| entry.header().data_id.clone());
            id.map_or_else(|_| key.to_string(), |id| format!("{key} ({id:?})"))
        };
        CacheError::Ambiguous {
            name: name.to_owned(),
            candidates: keys.iter().take(SHOWN).map(describe).collect(),
            others: keys.len().saturating_sub(SHOWN),
            directory: self.directory().to_owned(),
        }
        .into()
    }
}

/// The beginning of a key has at least this many digits, as users' names such as `t-300` are short.
const MIN_DIGITS: usize = 6;

/// Whether a text can be the beginning of a key: the letter of its kind, `-`, and some digits.
fn is_beginning(text: &str) -> bool {
    let digits = text.strip_prefix("s-").or_else(|| text.strip_prefix("t-")).unwrap_or_default();
    digits.len() >= MIN_DIGITS
        && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
