//! What a reader that goes from frame to frame will ask for again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::Seekable;

/// Bytes of opened blocks that are kept.
const MOST: usize = 64 * 1024 * 1024;

/// The blocks of a field that were last read in part.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The group that the decoded blocks are of.
    group: usize,
    /// Blocks that can only be decoded as a whole.
    decoded: HashMap<usize, Arc<Vec<u8>>>,
    /// Blocks that were opened, of any group.
    opened: HashMap<usize, Arc<Seekable>>,
    opened_bytes: usize,
    /// The group and the part of it that the last single frame was in.
    part: Option<(usize, usize)>,
    /// That part of the blocks.
    parts: HashMap<usize, Arc<Vec<u8>>>,
}

impl Recent {
    /// A decoded block.
    pub fn decoded(&self, index: usize) -> Option<Arc<Vec<u8>>> {
        self.lock().decoded.get(&index).map(Arc::clone)
    }

    /// Keeps a decoded block, until one of another group is.
    pub fn keep_decoded(&self, group: usize, index: usize, bytes: &Arc<Vec<u8>>) {
        let mut kept = self.lock();
        if kept.group != group {
            kept.group = group;
            kept.decoded.clear();
        }
        kept.decoded.insert(index, Arc::clone(bytes));
    }

    /// An opened block.
    pub fn opened(&self, index: usize) -> Option<Arc<Seekable>> {
        self.lock().opened.get(&index).map(Arc::clone)
    }

    /// Keeps an opened block, until too many are.
    pub fn keep_opened(&self, index: usize, opened: &Arc<Seekable>) {
        let mut kept = self.lock();
        if kept.opened_bytes + opened.memory() > MOST {
            kept.opened.clear();
            kept.opened_bytes = 0;
        }
        if kept.opened.insert(index, Arc::clone(opened)).is_none() {
            kept.opened_bytes += opened.memory();
        }
    }

    /// Notes that a single frame of this part of a group is wanted; answers whether the one before
    /// was of it, too.
    pub fn again(&self, part: (usize, usize)) -> bool {
        let mut kept = self.lock();
        let again = kept.part == Some(part);
        if !again {
            kept.part = Some(part);
            kept.parts.clear();
        }
        again
    }

    /// A part of a block, decoded.
    pub fn part(&self, part: (usize, usize), index: usize) -> Option<Arc<Vec<u8>>> {
        let kept = self.lock();
        kept.parts.get(&index).filter(|_| kept.part == Some(part)).map(Arc::clone)
    }

    /// Keeps a part of a block, while frames of it are asked for.
    pub fn keep_part(&self, part: (usize, usize), index: usize, bytes: &Arc<Vec<u8>>) {
        let mut kept = self.lock();
        if kept.part == Some(part) {
            kept.parts.insert(index, Arc::clone(bytes));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
