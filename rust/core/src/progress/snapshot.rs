//! A durable, checksummed copy of a shard, published whole.
//!
//! The body is a header of thirteen words, the name of the host and two for each writer, then per
//! task eighteen words and three length-prefixed texts; its parser trusts no length before it is
//! checked against the bytes that are left.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::activity::Activity;
use super::layout::{
    MAX_HOST_NAME, MAX_ID, MAX_MESSAGE, MAX_NAME, MAX_TASKS, MAX_WRITERS, WRITER_WORDS,
};
use super::pace::Pace;
use super::position::Position;
use super::shard_state::{ShardState, TaskState};
use super::slot::DeclaredState;
use super::writers::{Entries, WriterSet, Writers};
use crate::fs::{Boot, SealedFormat, Storage, publish_bytes};
use crate::{IoContext, Result};

const FORMAT: SealedFormat = SealedFormat {
    magic: *b"pfxsnap\n",
    version: 1,
    // So that their length seldom changes.
    align: 16 << 10,
    file: "a progress snapshot",
    body: "the snapshot",
    remedy: "remove it to count from zero",
};
/// The longest snapshot that is read: of as many tasks as a board may have, with the longest texts.
const MAX_BYTES: u64 = (MAX_TASKS * LONGEST_TASK) as u64 + (1 << 20);
const LONGEST_TASK: usize = size_of::<TaskWords>() + MAX_ID + MAX_NAME + MAX_MESSAGE + 3 * 2;
/// The least that a task takes: its words and three empty texts.
const MIN_TASK: usize = size_of::<TaskWords>() + 3;

/// Begins the body.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ShardWords {
    /// Declared steps of the pipeline plus one; 0 = none.
    declared_total: U64,
    declared_version: U64,
    finished: U64,
    active: U64,
    created: U64,
    last_tick_wall: U64,
    machine: U64,
    boot: U64,
    /// When something was last updated, and the longest pause, microseconds.
    updated: U64,
    longest_pause: U64,
    /// 1 where there is no counter file beside it.
    is_alone: U64,
    writer_count: U64,
    task_count: U64,
}

/// A writer, after the shard.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WriterEntry {
    number: U64,
    /// Process and start time.
    owner: U64,
}

/// Begins a task.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TaskWords {
    /// Steps plus one; 0 = unknown.
    total: U64,
    /// The parent's place in the list plus one; 0 = none.
    parent: U64,
    added: U64,
    /// Signed.
    offset: U64,
    declared: U64,
    state: U64,
    version: U64,
    started: U64,
    ended: U64,
    /// Bits of a float.
    high_water: U64,
    has_rate: U64,
    /// Bits of a float.
    rate: U64,
    /// 0 = no message.
    message_version: U64,
    /// A bit for each writer that has it open.
    open: [U64; WRITER_WORDS],
}

/// A snapshot that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Snapshot {
    pub state: ShardState,
    /// Whether it is all that there is of its shard, and not a copy of a counter file.
    pub is_alone: bool,
}

/// Publishes a snapshot over the one before.
pub(super) fn write(
    storage: &Arc<dyn Storage>,
    path: &Path,
    state: &ShardState,
    is_alone: bool,
) -> Result<()> {
    publish_bytes(storage, path, &encode(state, is_alone))
}

/// Reads an open snapshot.
pub(super) fn read(file: &File, path: &Path) -> Result<Snapshot> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).context("read", path)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(FORMAT.damaged(path, format!("it has more than {MAX_BYTES} bytes")));
    }
    parse(&bytes, path)
}

fn encode(state: &ShardState, is_alone: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(128 + state.tasks.len() * 160);
    let shard = ShardWords {
        declared_total: state.declared_total.map_or(0, |total| total + 1).into(),
        declared_version: state.declared_version.into(),
        finished: state.finished.into(),
        active: state.active.into(),
        created: state.created.into(),
        last_tick_wall: state.last_tick_wall.into(),
        machine: state.boot.machine.into(),
        boot: state.boot.boot.into(),
        updated: state.activity.updated.into(),
        longest_pause: state.activity.longest_pause.into(),
        is_alone: u64::from(is_alone).into(),
        writer_count: (state.entries.len() as u64).into(),
        task_count: (state.tasks.len() as u64).into(),
    };
    body.extend_from_slice(shard.as_bytes());
    push_text(&mut body, &state.host_name);
    for &(number, owner) in &state.entries {
        let entry = WriterEntry { number: (number as u64).into(), owner: owner.into() };
        body.extend_from_slice(entry.as_bytes());
    }
    for task in &state.tasks {
        let (message_version, message) =
            task.message.as_ref().map_or((0, ""), |(version, text)| (*version, &**text));
        let words = TaskWords {
            total: task.position.total.map_or(0, |total| total + 1).into(),
            parent: task.parent.map_or(0, |parent| parent as u64 + 1).into(),
            added: task.position.added.into(),
            offset: (task.position.offset as u64).into(),
            declared: task.position.declared.into(),
            state: (task.state as u64).into(),
            version: task.version.into(),
            started: task.started.into(),
            ended: task.ended.into(),
            high_water: task.high_water.to_bits().into(),
            has_rate: u64::from(task.pace.is_some()).into(),
            rate: task.pace.map_or(0.0, |pace| pace.rate).to_bits().into(),
            message_version: message_version.into(),
            open: task.open.0.map(U64::new),
        };
        body.extend_from_slice(words.as_bytes());
        [&*task.id, &*task.name, message].iter().for_each(|text| push_text(&mut body, text));
    }
    FORMAT.seal(&body)
}

/// Adds a text and its length: the limits of all texts are below 256 bytes.
fn push_text(body: &mut Vec<u8>, text: &str) {
    body.push(text.len() as u8);
    body.extend_from_slice(text.as_bytes());
}

fn parse(bytes: &[u8], path: &Path) -> Result<Snapshot> {
    let body = FORMAT.unseal(bytes, path)?;
    parse_body(body).ok_or_else(|| FORMAT.damaged(path, "its list of tasks cannot be parsed"))
}

fn parse_body(body: &[u8]) -> Option<Snapshot> {
    let (shard, mut rest) = ShardWords::ref_from_prefix(body).ok()?;
    let host_name = parse_text(&mut rest, MAX_HOST_NAME)?;
    let writers = usize::try_from(shard.writer_count.get()).ok().filter(|&n| n <= MAX_WRITERS)?;
    let (writers, after) = <[WriterEntry]>::ref_from_prefix_with_elems(rest, writers).ok()?;
    rest = after;
    let entries: Entries =
        writers.iter().map(|entry| (entry.number.get() as usize, entry.owner.get())).collect();
    if entries.iter().any(|&(number, owner)| number >= MAX_WRITERS || owner == 0) {
        return None;
    }
    let is_alone = match shard.is_alone.get() {
        flag @ (0 | 1) => flag == 1,
        _ => return None,
    };
    let count = usize::try_from(shard.task_count.get()).ok()?;
    if count > MAX_TASKS || count > rest.len() / MIN_TASK {
        return None;
    }
    let tasks = (0..count).map(|index| parse_task(&mut rest, index)).collect::<Option<_>>()?;
    let state = ShardState {
        declared_total: shard.declared_total.get().checked_sub(1),
        declared_version: shard.declared_version.get(),
        finished: shard.finished.get(),
        active: shard.active.get(),
        created: shard.created.get(),
        last_tick_wall: shard.last_tick_wall.get(),
        host_name,
        boot: Boot { machine: shard.machine.get(), boot: shard.boot.get() },
        activity: Activity {
            updated: shard.updated.get(),
            longest_pause: shard.longest_pause.get(),
        },
        entries,
        tasks,
        ..ShardState::default()
    };
    rest.is_empty().then_some(Snapshot { state, is_alone })
}

fn parse_task(rest: &mut &[u8], index: usize) -> Option<TaskState> {
    let (words, texts) = TaskWords::ref_from_prefix(rest).ok()?;
    *rest = texts;
    let state = DeclaredState::of(words.state.get())?;
    let high_water = f64::from_bits(words.high_water.get());
    let (parent, rate) = (words.parent.get(), f64::from_bits(words.rate.get()));
    if parent > index as u64 || !high_water.is_finite() || high_water < 0.0 || !rate.is_finite() {
        return None;
    }
    let (id, name) = (parse_text(rest, MAX_ID)?, parse_text(rest, MAX_NAME)?);
    let text = parse_text(rest, MAX_MESSAGE)?;
    let message_version = words.message_version.get();
    Some(TaskState {
        id: id.into(),
        name: name.into(),
        parent: (parent as usize).checked_sub(1),
        position: Position {
            added: words.added.get(),
            offset: words.offset.get() as i64,
            declared: words.declared.get(),
            total: words.total.get().checked_sub(1),
        },
        state,
        version: words.version.get(),
        started: words.started.get(),
        ended: words.ended.get(),
        high_water,
        pace: (words.has_rate.get() == 1).then(|| Pace { rate, ..Pace::default() }),
        message: (message_version != 0).then(|| (message_version, text.into())),
        open: WriterSet(words.open.map(U64::get)),
        writers: Writers::default(),
    })
}

fn parse_text(rest: &mut &[u8], limit: usize) -> Option<String> {
    let (&length, bytes) = rest.split_first()?;
    let (text, bytes) = bytes.split_at_checked(usize::from(length))?;
    *rest = bytes;
    (text.len() <= limit).then(|| String::from_utf8(text.to_vec()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task(index: usize) -> impl Strategy<Value = TaskState> {
        let text = "\\PC{0,40}";
        (
            (text, text, prop::option::of(0..u64::MAX - 1), prop::option::of(0..index.max(1))),
            (any::<u64>(), any::<i64>(), any::<u64>(), any::<[u64; WRITER_WORDS]>()),
            (0..5u64, any::<u64>(), any::<u64>(), any::<u64>(), 0.0..1e12f64),
            (prop::option::of(0.0..1e9f64), prop::option::of((1..u64::MAX, text))),
        )
            .prop_map(
                move |((id, name, total, parent), position, counts, (rate, message))| {
                    let (added, offset, declared, open) = position;
                    let (state, version, started, ended, high_water) = counts;
                    TaskState {
                        id: id.into(),
                        name: name.into(),
                        parent: parent.filter(|_| index > 0),
                        position: Position { added, offset, declared, total },
                        state: DeclaredState::of(state).unwrap(),
                        version,
                        started,
                        ended,
                        high_water,
                        pace: rate.map(|rate| Pace { rate, ..Pace::default() }),
                        message: message.map(|(version, text)| (version, text.into())),
                        open: WriterSet(open),
                        writers: Writers::default(),
                    }
                },
            )
    }

    fn shard() -> impl Strategy<Value = ShardState> {
        (0..20usize).prop_flat_map(|count| (0..count).map(task).collect::<Vec<_>>()).prop_map(
            |tasks| ShardState {
                declared_total: Some(7),
                active: 5,
                host_name: "node".to_owned(),
                entries: vec![(3, 7), (MAX_WRITERS - 1, u64::MAX)],
                tasks,
                ..ShardState::default()
            },
        )
    }

    /// As the first release of the format wrote it.
    const GOLDEN: &str = "706678736e61700a0100000000000000a801000000000000c08fc4980bda7f83080000000000\
         0000010000000000000002000000000000000300000000000000040000000000000005000000000000000600\
         0000000000000700000000000000120000000000000013000000000000000100000000000000010000000000\
         00000200000000000000046e6f6465000100000000000011000000000000000b000000000000000000000000\
         0000000500000000000000feffffffffffffff090000000000000002000000000000000b000000000000000c\
         000000000000000d0000000000000000000000000004400100000000000000000000000000e03f0e00000000\
         0000000100000000000000000000000000000000000000000000000000000000000000020000000000000001\
         6102c384016d0000000000000000010000000000000001000000000000000000000000000000000000000000\
         000001000000000000000f000000000000001000000000000000000000000000000000000000000000000000\
         0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
         00000000000000000000000000000000000001620000";

    #[test]
    fn the_bytes_of_a_snapshot_stay_as_they_are() {
        let task = TaskState {
            id: "a".into(),
            name: "Ä".into(),
            parent: None,
            position: Position { added: 5, offset: -2, declared: 9, total: Some(10) },
            state: DeclaredState::Failed,
            version: 11,
            started: 12,
            ended: 13,
            high_water: 2.5,
            pace: Some(Pace { rate: 0.5, ..Pace::default() }),
            message: Some((14, "m".into())),
            open: WriterSet([1, 0, 0, 0, 2]),
            writers: Writers::default(),
        };
        let child = TaskState {
            id: "b".into(),
            parent: Some(0),
            position: Position { added: 1, ..Position::default() },
            state: DeclaredState::Completed,
            version: 15,
            started: 16,
            ..TaskState::default()
        };
        let state = ShardState {
            declared_total: Some(7),
            declared_version: 1,
            finished: 2,
            active: 3,
            created: 4,
            last_tick_wall: 5,
            host_name: "node".to_owned(),
            boot: Boot { machine: 6, boot: 7 },
            activity: Activity { updated: 18, longest_pause: 19 },
            entries: vec![(256, 17)],
            tasks: vec![task, child],
            ..ShardState::default()
        };
        let bytes = encode(&state, true);
        let (used, zeros) = bytes.split_at(GOLDEN.len() / 2);
        let hex: String = used.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert!(bytes.len() == FORMAT.align && zeros.iter().all(|&byte| byte == 0));
    }

    proptest! {
        #[test]
        fn a_snapshot_reads_back_as_written(state in shard()) {
            let read = parse(&encode(&state, true), Path::new("snapshot")).unwrap();
            prop_assert_eq!(read, Snapshot { state, is_alone: true });
        }

        /// No flipped byte and no truncation reads as another state.
        #[test]
        fn damage_is_found(state in shard(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let whole = encode(&state, false);
            let mut bytes = whole.clone();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(parse(&bytes, Path::new("snapshot")).is_err());
            prop_assert!(parse(&whole[..at], Path::new("snapshot")).is_err());
        }

        /// Parsing any bytes ends and doesn't panic.
        #[test]
        fn any_body_is_parsed_or_refused(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_body(&body);
        }
    }
}
