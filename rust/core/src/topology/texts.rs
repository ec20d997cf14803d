//! A column of texts of which most repeat: each distinct one once, and which one each item is.

use std::collections::{HashMap, HashSet};

use crate::{Error, Result};

/// The longest text, in bytes: names and ids have few.
pub const MAX_TEXT: usize = 255;

/// Texts by dictionary, in the order in which they first appear.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts {
    distinct: Vec<String>,
    index: Vec<u32>,
}

impl Texts {
    /// The same text `count` times.
    pub fn repeated(text: &str, count: usize) -> Self {
        std::iter::repeat_n(text, count).collect()
    }

    /// Texts that `index` takes from `distinct`, each of which may be there several times or
    /// unused.
    pub fn of(distinct: &[String], index: &[u32]) -> Option<Self> {
        let texts = index.iter().map(|&at| distinct.get(at as usize).map(String::as_str));
        texts.collect()
    }

    /// The parts that [`Texts::distinct`] and [`Texts::index`] gave; `None` where they could not
    /// have.
    pub(super) fn from_parts(distinct: Vec<String>, index: Vec<u32>) -> Option<Self> {
        let mut seen = 0;
        for &at in &index {
            if at > seen {
                return None;
            }
            seen += u32::from(at == seen);
        }
        let texts = Self { distinct, index };
        let known: HashSet<&str> = texts.distinct.iter().map(|text| &**text).collect();
        let is_canonical = seen as usize == texts.distinct.len() && known.len() == seen as usize;
        is_canonical.then_some(texts)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Each text once, in the order in which they first appear.
    pub fn distinct(&self) -> &[String] {
        &self.distinct
    }

    /// For each text, which of [`Texts::distinct`] it is.
    pub fn index(&self) -> &[u32] {
        &self.index
    }

    /// One of them.
    pub fn get(&self, at: usize) -> &str {
        &self.distinct[self.index[at] as usize]
    }

    /// Refuses what no file holds. `column` is what an error calls them.
    pub(super) fn check(&self, column: &str) -> Result<()> {
        let is_refused = |text: &&String| text.len() > MAX_TEXT || text.contains('\0');
        match self.distinct.iter().find(is_refused) {
            None => Ok(()),
            Some(text) => {
                let expected = format!("texts of at most {MAX_TEXT} bytes, without NUL");
                Err(Error::argument(column, format!("{text:?}"), expected))
            }
        }
    }
}

impl<'a> FromIterator<&'a str> for Texts {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut made = Self::default();
        for text in texts {
            let next = known.len() as u32;
            let at = *known.entry(text).or_insert_with(|| {
                made.distinct.push(text.to_owned());
                next
            });
            made.index.push(at);
        }
        made
    }
}
