//! The time left, where it can be told honestly, and unknown otherwise.
//!
//! A task that counts its own steps needs what is left over its rate, unless it stands still
//! ([`Pace::stands_still`]) or has been observed for less than a [`MAX_EXTRAPOLATION`]th of that
//! time.
//!
//! A group, which is the pipeline or a task whose steps are its children, mixes kinds of work:
//! steps of dynamics, frames, models. Its parts that run do so beside each other, so the slowest of
//! them tells. Of work that was not started the speed is unknown, unless the group has shown that
//! its parts are alike: several are finished, none of them makes up most of what is done, and the
//! group is about as fast as it was on the average.

use super::pace::Pace;

/// How many times the observed time an estimate may be. The beginning of a long task and a task
/// that hardly moves have no estimate.
const MAX_EXTRAPOLATION: f64 = 1000.0;
/// Finished parts from which others are inferred.
const MIN_ALIKE: usize = 3;
/// How much the rate may differ from the mean.
const MAX_CHANGE: f64 = 3.0;

/// Seconds for the steps that are left, given the seconds that were observed.
pub(super) fn time_left(left: f64, pace: Option<Pace>, observed: f64) -> Option<f64> {
    let pace = pace.filter(|pace| !pace.stands_still())?;
    let seconds = left.max(0.0) / pace.current_rate();
    (seconds <= MAX_EXTRAPOLATION * observed).then_some(seconds)
}

/// A part of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Steps of the group that it has finished.
    pub amount: f64,
    pub is_finished: bool,
    /// Seconds that it needs, where that is known.
    pub left: Option<f64>,
}

/// A pipeline or a task whose steps are its children.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub amount: f64,
    pub total: f64,
    /// Steps of parts that were started.
    pub started: f64,
    pub pace: Option<Pace>,
    /// Seconds that it was observed.
    pub observed: f64,
}

impl Group {
    /// Seconds left, from the parts that have not failed.
    pub fn time_left(&self, parts: impl Iterator<Item = Part> + Clone) -> Option<f64> {
        let mut open = parts.clone().filter(|part| !part.is_finished).map(|part| part.left);
        let slowest = open.try_fold(0.0f64, |longest, left| Some(longest.max(left?)));
        match slowest {
            Some(seconds) if self.started >= self.total => Some(seconds),
            _ if self.is_uniform(parts) => {
                time_left(self.total - self.amount, self.pace, self.observed)
            }
            _ => None,
        }
    }

    /// Whether its parts are alike, as far as they are known.
    fn is_uniform(&self, parts: impl Iterator<Item = Part>) -> bool {
        let (count, largest) = parts
            .filter(|part| part.is_finished)
            .fold((0, 0.0f64), |(count, largest), part| (count + 1, largest.max(part.amount)));
        let mean = self.amount / self.observed.max(1e-9);
        let is_steady = self.pace.is_some_and(|pace| {
            let change = pace.current_rate() / mean;
            (1.0 / MAX_CHANGE..=MAX_CHANGE).contains(&change)
        });
        count >= MIN_ALIKE && largest <= self.amount / 2.0 && is_steady
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: f64) -> Option<Pace> {
        Some(Pace { rate, idle: 0.5, gap: 1.0 })
    }

    fn part(amount: f64, is_finished: bool, left: Option<f64>) -> Part {
        Part { amount, is_finished, left }
    }

    fn left(group: Group, parts: &[Part]) -> Option<f64> {
        group.time_left(parts.iter().copied())
    }

    #[test]
    fn a_task_that_stands_still_or_has_hardly_begun_has_no_estimate() {
        assert_eq!(time_left(90.0, pace(10.0), 1.0), Some(9.0));
        assert_eq!(time_left(90.0, None, 1.0), None);
        assert_eq!(time_left(1e9, pace(1.0), 60.0), None);
        assert_eq!(time_left(1e9, pace(0.0), 60.0), None);
        let stuck = Pace { rate: 10.0, idle: 600.0, gap: 1.0 };
        assert_eq!(time_left(90.0, Some(stuck), 700.0), None);
        let in_large_pieces = Pace { rate: 10.0, idle: 600.0, gap: 500.0 };
        assert_eq!(time_left(90.0, Some(in_large_pieces), 700.0), Some(9.0));
    }

    #[test]
    fn the_slowest_of_the_running_parts_tells() {
        let group =
            Group { amount: 7.0, total: 12.0, started: 12.0, pace: pace(1.0), observed: 9.0 };
        let parts =
            [part(5.0, true, None), part(1.0, false, Some(4.0)), part(1.0, false, Some(30.0))];
        assert_eq!(left(group, &parts), Some(30.0));
        let parts = [part(5.0, true, None), part(2.0, false, None)];
        assert_eq!(left(group, &parts), None);
    }

    #[test]
    fn what_was_not_started_is_inferred_from_parts_that_are_alike_and_else_unknown() {
        let group =
            Group { amount: 4.0, total: 10.0, started: 4.0, pace: pace(1.0), observed: 5.0 };
        let alike = [part(1.0, true, None); 4];
        assert_eq!(left(group, &alike), Some(6.0));
        assert_eq!(left(group, &alike[..2]), None, "too few");
        let first_is_most = [part(3.0, true, None), part(0.5, true, None), part(0.5, true, None)];
        assert_eq!(left(group, &first_is_most), None);
        assert_eq!(left(Group { pace: pace(0.1), ..group }, &alike), None, "it has slowed down");
    }
}
