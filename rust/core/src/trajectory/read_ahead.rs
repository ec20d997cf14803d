//! Decoding the next frames while the last ones are looked at.
//!
//! One thread per iteration is at most two blocks ahead: one is ready, one is being decoded. It ends
//! with the iteration. In a forked child, which has no such thread, the rest is decoded when it is asked
//! for.

use std::ops::Deref;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::{Entry, Frames};
use crate::{Result, threads};

/// A block of frames, one after the other.
#[derive(Debug)]
pub struct FrameBlock {
    /// The first frame.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

/// The frames of a field, block by block.
#[derive(Debug)]
pub struct ReadAhead<E> {
    entry: Arc<E>,
    plan: Plan,
    ready: Option<Receiver<Result<FrameBlock>>>,
    process: u32,
}

/// What is still to be decoded.
#[derive(Debug, Clone, Copy)]
struct Plan {
    field: usize,
    next: u64,
    n_frames: u64,
    /// Frames of a block.
    block: u64,
    frame_bytes: u64,
}

impl<E: Deref<Target = Entry> + Send + Sync + 'static> ReadAhead<E> {
    /// All frames of a field of `entry` that it has, `block` of them at a time.
    pub fn new(entry: Arc<E>, field: usize, block: u64) -> Result<Self> {
        let n_frames = entry.n_frames();
        let frame_bytes = match entry.fields().get(field) {
            Some(spec) => spec.item_bytes()?,
            None => 0,
        };
        let plan = Plan { field, next: 0, n_frames, block: block.max(1), frame_bytes };
        let process = process::id();
        // A single block is decoded when it is asked for.
        let ready = if n_frames > plan.block { spawn(Arc::clone(&entry), plan) } else { None };
        Ok(Self { entry, plan, ready, process })
    }
}

impl<E: Deref<Target = Entry> + Send + Sync + 'static> Iterator for ReadAhead<E> {
    type Item = Result<FrameBlock>;

    fn next(&mut self) -> Option<Self::Item> {
        self.leave_to_parent();
        let next = match &self.ready {
            // A thread that ended early has sent why, or died of a panic: then this one goes on.
            Some(ready) => ready.recv().ok().or_else(|| self.plan.decode_next(&*self.entry)),
            None => self.plan.decode_next(&*self.entry),
        };
        match &next {
            Some(Ok(block)) => self.plan.next = block.first + block.count,
            // After an error there is nothing more.
            _ => self.plan.next = self.plan.n_frames,
        }
        next
    }
}

impl<E> ReadAhead<E> {
    /// In a forked child, forgets the thread, which isn't there to let go of what it holds.
    fn leave_to_parent(&mut self) {
        if self.process != process::id() {
            std::mem::forget(self.ready.take());
        }
    }
}

impl<E> Drop for ReadAhead<E> {
    fn drop(&mut self) {
        // Otherwise nobody receives any more, and the thread ends with the block it is at.
        self.leave_to_parent();
    }
}

impl Plan {
    fn decode_next<E: Deref<Target = Entry>>(mut self, entry: &E) -> Option<Result<FrameBlock>> {
        self.take().map(|(first, count)| {
            let mut bytes = vec![0; (count * self.frame_bytes) as usize];
            let frames = Frames::range(first, count);
            // For the first one somebody waits; then one core is theirs.
            let others = threads::count().saturating_sub(usize::from(first > 0)).max(1);
            entry.read_frames_by(others, self.field, frames, None, &mut bytes)?;
            Ok(FrameBlock { first, count, bytes })
        })
    }

    /// The next block: its first frame, and how many it has.
    fn take(&mut self) -> Option<(u64, u64)> {
        let count = self.block.min(self.n_frames - self.next);
        let first = self.next;
        self.next += count;
        (count > 0).then_some((first, count))
    }
}

/// Starts decoding; `None` where there can be no thread.
fn spawn<E: Deref<Target = Entry> + Send + Sync + 'static>(
    entry: Arc<E>,
    mut plan: Plan,
) -> Option<Receiver<Result<FrameBlock>>> {
    let (sender, ready) = sync_channel(1);
    let decode = move || {
        while let Some(block) = plan.decode_next(&*entry) {
            let failed = block.is_err();
            plan.take();
            if sender.send(block).is_err() || failed {
                break;
            }
        }
    };
    let name = "proteinflex-ahead".to_owned();
    std::thread::Builder::new().name(name).spawn(decode).ok().map(|_| ready)
}
