//! A durable, checksummed copy of a part, published whole.
//!
//! Magic, version, length of the body, checksum of the body, body. The body is a list of
//! little-endian words and length-prefixed texts; its parser believes no length before it is checked
//! against what is left.

use std::path::Path;
use std::sync::Arc;

use super::layout::{MAX_ID, MAX_MESSAGE, MAX_NAME, MAX_TASKS};
use super::slot::State;
use super::state::{PartState, TaskState};
use crate::fs::{Storage, publish_bytes, read_file};
use crate::{Error, Result, checksum};

const MAGIC: &[u8; 8] = b"pfxsnap\n";
const VERSION: u32 = 1;
/// Magic, version and four unused bytes, length, checksum.
const PRELUDE: usize = 32;
/// The least that a task takes: eleven words and three empty texts.
const LEAST_TASK: usize = 11 * 8 + 3;

/// Publishes a snapshot over the one before.
pub(super) fn write(storage: &Arc<dyn Storage>, path: &Path, state: &PartState) -> Result<()> {
    publish_bytes(storage, path, &encode(state))
}

/// Reads a snapshot; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<PartState>> {
    let bytes = match read_file(path) {
        Ok(bytes) => bytes,
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    parse(&bytes, path).map(Some)
}

fn encode(state: &PartState) -> Vec<u8> {
    let mut body = Vec::with_capacity(128 + state.tasks.len() * 160);
    let words = |body: &mut Vec<u8>, words: &[u64]| {
        body.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    words(
        &mut body,
        &[
            state.plan.map_or(0, |plan| plan + 1),
            state.plan_stamp,
            state.finished,
            state.active,
            state.created,
            state.alive_wall,
            state.tasks.len() as u64,
        ],
    );
    for task in &state.tasks {
        let (stamp, message) =
            task.message.as_ref().map_or((0, ""), |(stamp, text)| (*stamp, text.as_str()));
        words(
            &mut body,
            &[
                task.total.map_or(0, |total| total + 1),
                task.parent.map_or(0, |parent| parent as u64 + 1),
                task.done,
                task.state as u64,
                task.stamp,
                task.started,
                task.ended,
                task.best.to_bits(),
                u64::from(task.rate.is_some()),
                task.rate.unwrap_or(0.0).to_bits(),
                stamp,
            ],
        );
        for text in [&task.id, &task.name, message] {
            // The limits of all three are below 256.
            body.push(text.len() as u8);
            body.extend_from_slice(text.as_bytes());
        }
    }
    let mut bytes = Vec::with_capacity(PRELUDE + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u64::from(VERSION).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&checksum(&body).to_le_bytes());
    bytes.append(&mut body);
    bytes
}

fn parse(bytes: &[u8], path: &Path) -> Result<PartState> {
    let damaged = |reason: &str| super::counters::torn(path, "the snapshot", reason);
    let mut prelude = Parser { bytes };
    let magic = prelude.take(8).ok_or_else(|| damaged("it is too short"))?;
    if magic != MAGIC {
        return Err(Error::NotThisFormat {
            path: path.to_owned(),
            expected: "a progress snapshot",
            found: format!("it begins with {:?}", String::from_utf8_lossy(magic)),
        });
    }
    let [version, length, sum] = prelude.words().ok_or_else(|| damaged("it is too short"))?;
    if version as u32 > VERSION {
        let found = version as u32;
        return Err(Error::NewerFormat { path: path.to_owned(), found, supported: VERSION });
    }
    let body = prelude.bytes;
    if length != body.len() as u64 {
        return Err(damaged("its length is wrong"));
    }
    if checksum(body) != sum {
        return Err(damaged("its checksum does not match"));
    }
    parse_body(body).ok_or_else(|| damaged("its list of tasks makes no sense"))
}

fn parse_body(body: &[u8]) -> Option<PartState> {
    let mut parser = Parser { bytes: body };
    let [plan, plan_stamp, finished, active, created, alive_wall, count] = parser.words()?;
    let count = usize::try_from(count).ok()?;
    if count > MAX_TASKS || count > parser.bytes.len() / LEAST_TASK {
        return None;
    }
    let mut tasks = Vec::with_capacity(count);
    for index in 0..count {
        tasks.push(parser.task(index)?);
    }
    parser.bytes.is_empty().then_some(PartState {
        plan: plan.checked_sub(1),
        plan_stamp,
        finished,
        active,
        is_alive: false,
        created,
        alive_wall,
        rate: None,
        tasks,
    })
}

struct Parser<'a> {
    bytes: &'a [u8],
}

impl<'a> Parser<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn words<const N: usize>(&mut self) -> Option<[u64; N]> {
        let bytes = self.take(N * 8)?;
        let mut words = [0; N];
        for (word, part) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(part.try_into().ok()?);
        }
        Some(words)
    }

    fn text(&mut self, limit: usize) -> Option<String> {
        let length = usize::from(*self.take(1)?.first()?);
        if length > limit {
            return None;
        }
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn task(&mut self, index: usize) -> Option<TaskState> {
        let [total, parent, done, state, stamp, started, ended, best, has_rate, rate, message] =
            self.words()?;
        let state = match state {
            0 => State::Running,
            1 => State::Completed,
            2 => State::Failed,
            _ => return None,
        };
        let (best, rate) = (f64::from_bits(best), f64::from_bits(rate));
        if parent > index as u64 || !best.is_finite() || best < 0.0 || !rate.is_finite() {
            return None;
        }
        let (id, name) = (self.text(MAX_ID)?, self.text(MAX_NAME)?);
        let text = self.text(MAX_MESSAGE)?;
        Some(TaskState {
            id,
            name,
            total: total.checked_sub(1),
            parent: (parent as usize).checked_sub(1),
            done,
            state,
            stamp,
            started,
            ended,
            best,
            rate: (has_rate == 1).then_some(rate),
            message: (message != 0).then_some((message, text)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task(index: usize) -> impl Strategy<Value = TaskState> {
        let text = "\\PC{0,40}";
        (
            (text, text, prop::option::of(0..u64::MAX - 1), prop::option::of(0..index.max(1))),
            (any::<u64>(), 0..3u8, any::<u64>(), any::<u64>(), any::<u64>(), 0.0..1e12f64),
            (prop::option::of(0.0..1e9f64), prop::option::of((1..u64::MAX, text))),
        )
            .prop_map(move |((id, name, total, parent), counts, (rate, message))| {
                let (done, state, stamp, started, ended, best) = counts;
                let state = [State::Running, State::Completed, State::Failed][state as usize];
                let parent = parent.filter(|_| index > 0);
                TaskState {
                    id,
                    name,
                    total,
                    parent,
                    done,
                    state,
                    stamp,
                    started,
                    ended,
                    best,
                    rate,
                    message,
                }
            })
    }

    fn part() -> impl Strategy<Value = PartState> {
        (0..20usize)
            .prop_flat_map(|count| (0..count).map(task).collect::<Vec<_>>())
            .prop_map(|tasks| PartState { plan: Some(7), active: 5, tasks, ..PartState::default() })
    }

    proptest! {
        #[test]
        fn a_snapshot_reads_back_as_written(state in part()) {
            let read = parse(&encode(&state), Path::new("snapshot")).unwrap();
            prop_assert_eq!(read, state);
        }

        /// Damage anywhere is found: no flipped byte or cut reads as another state.
        #[test]
        fn damage_is_found(state in part(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let whole = encode(&state);
            let mut bytes = whole.clone();
            let at = at.index(bytes.len());
            // Four bytes beside the version mean nothing.
            prop_assume!(!(12..16).contains(&at));
            bytes[at] ^= flip;
            prop_assert!(parse(&bytes, Path::new("snapshot")).is_err());
            prop_assert!(parse(&whole[..at], Path::new("snapshot")).is_err());
        }

        /// Whatever the bytes of the body, parsing ends and doesn't panic.
        #[test]
        fn any_body_is_parsed_or_refused(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_body(&body);
        }
    }
}
