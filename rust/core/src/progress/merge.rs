//! Several parts as one board.
//!
//! Counts add up, because every part counts only what happened on its own host. Of states and
//! messages the latest holds. Working time of parts that were worked on at the same time is the
//! longest of them, and of parts that followed each other the sum.

use std::collections::HashMap;

use super::slot::State;
use super::state::PartState;

/// A task of the whole board.
#[derive(Debug, Clone)]
pub(super) struct MergedTask {
    pub id: String,
    pub name: String,
    pub total: Option<u64>,
    /// Always an earlier task.
    pub parent: Option<usize>,
    pub done: u64,
    pub state: State,
    pub stamp: u64,
    /// Working time since the start, or until the end, nanoseconds.
    pub elapsed: u64,
    pub has_ended: bool,
    pub best: f64,
    pub rate: Option<f64>,
    pub message: Option<(u64, String)>,
    /// The slot in this process's own part.
    pub slot: Option<usize>,
}

/// The whole board.
#[derive(Debug, Clone, Default)]
pub(super) struct Merged {
    pub tasks: Vec<MergedTask>,
    pub plan: Option<u64>,
    pub is_finished: bool,
    pub is_alive: bool,
    pub elapsed: u64,
    pub rate: Option<f64>,
}

/// Merges parts; `own` is this process's one among them.
pub(super) fn merge(parts: Vec<PartState>, own: Option<usize>) -> Merged {
    let groups = overlapping(&parts);
    let group_count = groups.iter().max().map_or(0, |last| last + 1);
    let active = |part: usize| parts[part].active;
    let mut merged = Merged {
        plan: parts.iter().max_by_key(|part| part.plan_stamp).and_then(|part| part.plan),
        is_finished: parts.iter().map(|part| part.finished).max().is_some_and(|last| last & 1 == 1),
        is_alive: parts.iter().any(|part| part.is_alive),
        elapsed: sum_of_longest(&groups, group_count, active),
        rate: freshest(&parts).and_then(|part| part.rate),
        tasks: Vec::new(),
    };
    let is_single = parts.len() == 1;
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut times: Vec<Vec<u64>> = Vec::new();
    for (number, part) in parts.into_iter().enumerate() {
        let mut place_of = Vec::with_capacity(part.tasks.len());
        for (slot, task) in part.tasks.into_iter().enumerate() {
            let end = if task.ended == 0 { part.active } else { task.ended };
            let elapsed = end.saturating_sub(task.started);
            let place = if is_single { None } else { places.get(&task.id).copied() };
            let place = place.unwrap_or_else(|| {
                let place = merged.tasks.len();
                if !is_single {
                    places.insert(task.id.clone(), place);
                    times.push(vec![0; group_count]);
                }
                merged.tasks.push(MergedTask {
                    id: task.id,
                    name: task.name,
                    total: task.total,
                    parent: task.parent.map(|parent| place_of[parent]),
                    done: 0,
                    state: task.state,
                    stamp: 0,
                    elapsed,
                    has_ended: false,
                    best: 0.0,
                    rate: None,
                    message: None,
                    slot: None,
                });
                place
            });
            place_of.push(place);
            let into = &mut merged.tasks[place];
            into.done = into.done.saturating_add(task.done);
            into.best = into.best.max(task.best);
            into.has_ended |= task.ended != 0;
            if task.stamp >= into.stamp {
                (into.state, into.stamp) = (task.state, task.stamp);
            }
            if task.message.as_ref().map(|message| message.0)
                > into.message.as_ref().map(|message| message.0)
            {
                into.message = task.message;
            }
            if part.is_alive || is_single {
                into.rate = task.rate.or(into.rate);
            }
            if own == Some(number) {
                into.slot = Some(slot);
            }
            if let Some(times) = times.get_mut(place) {
                let longest = &mut times[groups[number]];
                *longest = elapsed.max(*longest);
            }
        }
    }
    for (task, times) in merged.tasks.iter_mut().zip(&times) {
        task.elapsed = sum(times);
    }
    merged
}

/// The part that was worked on last: its rates are the ones to believe.
fn freshest(parts: &[PartState]) -> Option<&PartState> {
    parts.iter().max_by_key(|part| (part.is_alive, part.alive_wall))
}

/// For each part, which group of parts overlapping in time it belongs to.
fn overlapping(parts: &[PartState]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&part| parts[part].created);
    let mut groups = vec![0; parts.len()];
    let (mut group, mut until) = (0, None);
    for part in order {
        if until.is_some_and(|until| parts[part].created > until) {
            group += 1;
        }
        groups[part] = group;
        until = until.max(Some(parts[part].alive_wall));
    }
    groups
}

fn sum_of_longest(groups: &[usize], count: usize, of: impl Fn(usize) -> u64) -> u64 {
    let mut longest = vec![0u64; count];
    for (part, &group) in groups.iter().enumerate() {
        longest[group] = longest[group].max(of(part));
    }
    sum(&longest)
}

/// Times in a file can be anything.
fn sum(times: &[u64]) -> u64 {
    times.iter().fold(0, |sum, &time| sum.saturating_add(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_make_no_sense_do_not_overflow() {
        let part = |created| PartState {
            active: u64::MAX,
            created,
            alive_wall: created,
            ..PartState::default()
        };
        assert_eq!(merge(vec![part(1), part(2)], None).elapsed, u64::MAX);
    }
}
