//! Read-ahead: the next frames are decoded while the caller works on the last ones.
//!
//! One thread per iteration is at most two blocks ahead: one is ready, one is being decoded. Of
//! what is elsewhere, another one fetches what is decoded after that. They end with the iteration.
//! In a forked child, which has no such thread, the rest is decoded when it is asked for.

use std::ops::Deref;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::reader::Entry;
use super::select::{Frames, Selection};
use super::waves::in_waves;
use crate::interrupt::{self, Interrupt};
use crate::memory::zeroed;
use crate::{Error, Result, threads};

/// How long the caller's interrupt may go unnoticed while it waits.
const PAUSE: Duration = Duration::from_millis(50);

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
    remaining: Remaining,
    ready: Option<Receiver<Result<FrameBlock>>>,
    /// Ends the thread where it waits for a server.
    interrupt: Interrupt,
    process: u32,
}

/// What is still to be decoded.
#[derive(Debug, Clone, Copy)]
struct Remaining {
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
        let remaining = Remaining { field, next: 0, n_frames, block: block.max(1), frame_bytes };
        let (process, interrupt) = (process::id(), Interrupt::new());
        // A single block is decoded when it is asked for.
        let ready = match n_frames > remaining.block {
            true => spawn(Arc::clone(&entry), remaining, interrupt.clone()),
            false => None,
        };
        Ok(Self { entry, remaining, ready, interrupt, process })
    }
}

impl<E: Deref<Target = Entry> + Send + Sync + 'static> Iterator for ReadAhead<E> {
    type Item = Result<FrameBlock>;

    fn next(&mut self) -> Option<Self::Item> {
        self.detach_after_fork();
        let next = match &self.ready {
            // A thread that ended early has sent an error, or panicked: then this one decodes.
            Some(ready) => match wait(ready) {
                Ok(next) => Some(next),
                Err(Disconnected) => self.remaining.decode_next(&*self.entry),
            },
            None => self.remaining.decode_next(&*self.entry),
        };
        match &next {
            Some(Ok(block)) => self.remaining.next = block.first + block.count,
            // After an error there is nothing more.
            _ => self.remaining.next = self.remaining.n_frames,
        }
        next
    }
}

impl<E> ReadAhead<E> {
    /// In a forked child, leaks the channel: the thread at its other end is not there to release
    /// it.
    fn detach_after_fork(&mut self) {
        if self.process != process::id() {
            std::mem::forget(self.ready.take());
        }
    }
}

impl<E> Drop for ReadAhead<E> {
    fn drop(&mut self) {
        // Else the channel is dropped, and the thread ends after its current block.
        self.detach_after_fork();
        self.interrupt.request();
    }
}

impl Remaining {
    fn decode_next<E: Deref<Target = Entry>>(mut self, entry: &E) -> Option<Result<FrameBlock>> {
        self.take().map(|(first, count)| {
            let mut bytes = zeroed((count * self.frame_bytes) as usize, "frames")?;
            let frames = Frames::range(first, count);
            // The caller waits for the first one; later, it works on one core itself.
            let reserved = usize::from(first > 0);
            let selection = Selection { frames, atoms: None };
            entry.read_selection(self.field, selection, reserved, &mut bytes)?;
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

/// The thread at the other end has ended.
struct Disconnected;

/// Waits for the next block, or until the end of this thread's work is asked for.
fn wait(ready: &Receiver<Result<FrameBlock>>) -> Result<Result<FrameBlock>, Disconnected> {
    loop {
        match ready.recv_timeout(PAUSE) {
            Ok(next) => return Ok(next),
            Err(RecvTimeoutError::Disconnected) => return Err(Disconnected),
            Err(RecvTimeoutError::Timeout) if interrupt::is_requested() => {
                return Ok(Err(Error::Interrupted));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Starts decoding; `None` where there can be no thread.
fn spawn<E: Deref<Target = Entry> + Send + Sync + 'static>(
    entry: Arc<E>,
    remaining: Remaining,
    interrupt: Interrupt,
) -> Option<Receiver<Result<FrameBlock>>> {
    let (sender, ready) = sync_channel(1);
    let decode = move || match entry.content().is_remote() {
        true => interrupt.scope(|| decode_remote(&*entry, remaining, &sender)),
        false => decode_all(&*entry, remaining, &sender),
    };
    let thread = threads::builder("proteinflex-ahead").and_then(|thread| thread.spawn(decode));
    thread.ok().map(|_| ready)
}

fn decode_all<E: Deref<Target = Entry>>(
    entry: &E,
    mut remaining: Remaining,
    sender: &SyncSender<Result<FrameBlock>>,
) {
    while let Some(block) = remaining.decode_next(entry) {
        let failed = block.is_err();
        remaining.take();
        if sender.send(block).is_err() || failed {
            break;
        }
    }
}

/// The same of an entry that is elsewhere. What is fetched ahead grows with each step, so that a
/// caller who stops early has moved little.
fn decode_remote<E: Deref<Target = Entry>>(
    entry: &E,
    mut remaining: Remaining,
    sender: &SyncSender<Result<FrameBlock>>,
) {
    let blocks = std::iter::from_fn(|| {
        let block = remaining;
        let (first, count) = remaining.take()?;
        let selection = Selection { frames: Frames::range(first, count), atoms: None };
        Some((block, entry.needs(block.field, selection)))
    });
    let decode = |wave: Vec<Remaining>| {
        for block in wave {
            if let Some(decoded) = block.decode_next(entry) {
                // Nobody waits any more where it can't be sent.
                sender.send(Ok(decoded?)).map_err(|_| Error::Interrupted)?;
            }
        }
        Ok(())
    };
    if let Err(error) = in_waves(entry.content(), blocks, 0, decode) {
        // As above.
        let _ = sender.send(Err(error));
    }
}
