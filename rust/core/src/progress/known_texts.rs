//! Texts of tasks that were read and checked before.
//!
//! A reader looks again and again, while definitions never change and most messages have not. What
//! has the checksum of last time is what it was.

use super::counter_file::{CounterFile, Words};
use super::definition::StoredDefinition;
use super::message;
use super::shard_state::TaskState;
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
    /// Reads the definition and the newest message of slot `index` into `task`, where they are not
    /// what was read into it before.
    pub fn refresh<W: Words>(
        &mut self,
        task: &mut TaskState,
        counters: &CounterFile<W>,
        slot: &TaskSlot<'_, W>,
        index: usize,
    ) -> Result<()> {
        let definition = Some(StoredDefinition::stamp(slot));
        if self.definition != definition {
            let read = slot
                .definition(index)
                .map_err(|damage| counters.damaged(format!("task {index}"), damage))?;
            (task.id, task.name, task.parent) = (read.id, read.name, read.parent);
            self.definition = definition;
        }
        let message = message::stamp(slot);
        if self.message != message || message.is_none() {
            task.message = message.and_then(|_| counters.message(slot, index));
            // Of a copy that was made while it was replaced, the message is a later one.
            self.message = message
                .filter(|stamp| task.message.as_ref().is_some_and(|message| message.0 == stamp[1]));
        }
        Ok(())
    }
}
