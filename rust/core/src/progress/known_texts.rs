//! Texts of tasks that were read and checked before.
//!
//! A reader looks again and again, while definitions never change and most messages have not. What
//! has the checksum of last time is what it was.

use std::sync::Arc;

use super::counter_file::{CounterFile, Words};
use super::definition::StoredDefinition;
use super::message;
use super::slot::TaskSlot;
use crate::Result;

/// What changes where a text does.
type Stamp = [u64; 3];

/// What tells whether the texts of a task are still those of the last reading.
#[derive(Debug, Default)]
pub(super) struct KnownTexts {
    definition: Option<Stamp>,
    message: Option<Stamp>,
}

impl KnownTexts {
    /// Reads the definition of slot `index`, where it is not what was read before.
    pub fn definition<W: Words>(
        &mut self,
        counters: &CounterFile<W>,
        slot: &TaskSlot<'_, W>,
        index: usize,
    ) -> Result<Option<StoredDefinition>> {
        let stamp = Some(StoredDefinition::stamp(slot));
        if self.definition == stamp {
            return Ok(None);
        }
        let read = slot
            .definition(index)
            .map_err(|damage| counters.damaged(format!("task {index}"), damage))?;
        self.definition = stamp;
        Ok(Some(read))
    }

    /// Reads the newest message of slot `index` into that of the last reading, where it is another.
    pub fn message<W: Words>(
        &mut self,
        counters: &CounterFile<W>,
        slot: &TaskSlot<'_, W>,
        index: usize,
        message: &mut Option<(u64, Arc<str>)>,
    ) {
        let stamp = message::stamp(slot);
        if self.message != stamp || stamp.is_none() {
            *message = stamp.and_then(|_| counters.message(slot, index));
            // Of a copy that was made while it was replaced, the message is a later one.
            self.message =
                stamp.filter(|stamp| message.as_ref().is_some_and(|message| message.0 == stamp[1]));
        }
    }
}
