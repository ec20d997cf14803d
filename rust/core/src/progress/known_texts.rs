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
/// Its number, and the text.
type Message = (u64, Arc<str>);

/// The texts of one task, with what tells whether they are still the same.
#[derive(Debug, Default)]
pub(super) struct KnownTexts {
    definition: Option<(Stamp, StoredDefinition)>,
    message: Option<(Stamp, Message)>,
}

impl KnownTexts {
    /// The definition of the task in `slot`, the one with the number `index`.
    pub fn definition<W: Words>(
        &mut self,
        counters: &CounterFile<W>,
        slot: &TaskSlot<'_, W>,
        index: usize,
    ) -> Result<StoredDefinition> {
        let stamp = StoredDefinition::stamp(slot);
        if let Some((known, definition)) = &self.definition
            && *known == stamp
        {
            return Ok(definition.clone());
        }
        let definition = slot
            .definition(index)
            .map_err(|damage| counters.damaged(format!("task {index}"), damage))?;
        self.definition = Some((stamp, definition.clone()));
        Ok(definition)
    }

    /// Its newest message.
    pub fn message<W: Words>(
        &mut self,
        counters: &CounterFile<W>,
        slot: &TaskSlot<'_, W>,
        index: usize,
    ) -> Option<Message> {
        let stamp = message::stamp(slot)?;
        if let Some((known, message)) = &self.message
            && *known == stamp
        {
            return Some(message.clone());
        }
        let message = counters.message(slot, index)?;
        // Of a copy that was made while it was replaced, the message is a later one.
        self.message = (stamp[1] == message.0).then(|| (stamp, message.clone()));
        Some(message)
    }
}
