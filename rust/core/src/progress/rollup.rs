//! The roll-up of a tree of tasks: finished amounts and fractions.
//!
//! A child counts as one step of its parent. A task's finished amount is the larger of its own
//! completed steps and its finished children, plus the fractions of its unfinished children; over
//! its total, and at most 1. That amount can step back: a task with 2 own steps and a child at one
//! half has 2.5, and 2 once that child is finished. So for tasks with children the largest amount
//! that was shown, the high-water mark, goes in, and no amount below it is returned.
//!
//! A task is finished when it was declared complete or all its steps are done, and none of its
//! children is open: of work that still runs nothing above it is complete. A failed child is not
//! open; its parent's owner decides.

use super::slot::DeclaredState;

/// What the roll-up needs of a task.
pub(super) struct RollUpInput {
    /// Always an earlier one.
    pub parent: Option<usize>,
    pub total: Option<u64>,
    pub done: u64,
    pub state: DeclaredState,
    pub high_water: f64,
}

/// The finished part of a task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RollUp {
    /// Finished steps, at most the total.
    pub amount: f64,
    /// 0 to 1; 0 for an unfinished task of unknown length.
    pub fraction: f64,
    /// Complete, and so are all of its children that have not failed.
    pub is_finished: bool,
    /// The larger of own completed steps and finished children, not cut at the total.
    pub counted: u64,
    /// Numbers of the children, in the order they were started.
    pub children: Vec<usize>,
}

/// Rolls up tasks of which each comes after its parent.
pub(super) fn roll_up(nodes: &[RollUpInput]) -> Vec<RollUp> {
    let mut rolled: Vec<RollUp> = nodes
        .iter()
        .map(|_| RollUp {
            amount: 0.0,
            fraction: 0.0,
            is_finished: false,
            counted: 0,
            children: Vec::new(),
        })
        .collect();
    let mut finished_children = vec![0u64; nodes.len()];
    let mut fractions = vec![0.0f64; nodes.len()];
    let mut has_open_child = vec![false; nodes.len()];
    // Backwards, children are done before their parents.
    for (index, node) in nodes.iter().enumerate().rev() {
        let counted = node.done.max(finished_children[index]);
        let is_leaf = rolled[index].children.is_empty();
        let mark = if is_leaf { 0.0 } else { node.high_water };
        let raw = (counted as f64 + fractions[index]).max(mark);
        let is_declared = node.state.is_completed() && !has_open_child[index];
        let (amount, fraction) = match node.total {
            Some(0) => (0.0, 1.0),
            Some(total) if is_declared => (total as f64, 1.0),
            Some(total) => {
                let amount = raw.min(total as f64);
                (amount, amount / total as f64)
            }
            None if is_declared => (raw, 1.0),
            None => (raw, 0.0),
        };
        let is_finished = fraction >= 1.0 && !has_open_child[index];
        if let Some(parent) = node.parent {
            if is_finished {
                finished_children[parent] += 1;
            } else {
                fractions[parent] += fraction;
            }
            let has_failed = node.state == DeclaredState::Failed;
            has_open_child[parent] |= has_open_child[index] || !(is_finished || has_failed);
            rolled[parent].children.push(index);
        }
        let of = &mut rolled[index];
        (of.amount, of.fraction, of.counted) = (amount, fraction, counted);
        of.is_finished = is_finished;
        of.children.reverse();
    }
    rolled
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(parent: Option<usize>, total: u64, done: u64) -> RollUpInput {
        RollUpInput {
            parent,
            total: Some(total),
            done,
            state: DeclaredState::Running,
            high_water: 0.0,
        }
    }

    #[test]
    fn a_child_counts_as_one_step_of_its_parent() {
        let rolled = roll_up(&[node(None, 3, 0), node(Some(0), 100, 10), node(Some(0), 4, 4)]);
        assert_eq!(rolled[0].amount, 1.1);
        assert_eq!(rolled[0].counted, 1);
        assert_eq!(rolled[0].children, [1, 2]);
        assert_eq!(rolled[2].fraction, 1.0);
    }

    #[test]
    fn own_steps_and_finished_children_are_not_added_up() {
        let rolled = roll_up(&[node(None, 4, 2), node(Some(0), 1, 1), node(Some(0), 2, 1)]);
        assert_eq!(rolled[0].amount, 2.5);
    }

    #[test]
    fn a_completed_task_is_whole_and_an_unknown_one_is_not_a_fraction() {
        let mut nodes = [node(None, 10, 3), node(None, 0, 0), node(None, 1, 5)];
        nodes[0].state = DeclaredState::Completed;
        nodes[1].total = None;
        nodes[1].done = 7;
        let rolled = roll_up(&nodes);
        assert_eq!((rolled[0].amount, rolled[0].fraction), (10.0, 1.0));
        assert_eq!((rolled[1].amount, rolled[1].fraction), (7.0, 0.0));
        assert_eq!((rolled[2].amount, rolled[2].counted), (1.0, 5));
    }

    #[test]
    fn no_task_is_finished_while_a_part_of_it_is_open() {
        let mut nodes = [node(None, 2, 2), node(Some(0), 1, 1), node(Some(1), 4, 1)];
        nodes[1].state = DeclaredState::Completed;
        let finished = |nodes: &[RollUpInput]| {
            roll_up(nodes).iter().map(|task| task.is_finished).collect::<Vec<_>>()
        };
        assert_eq!(finished(&nodes), [false; 3]);
        nodes[2].state = DeclaredState::Failed;
        assert_eq!(finished(&nodes), [true, true, false]);
        nodes[2].state = DeclaredState::Completed;
        assert_eq!(finished(&nodes), [true; 3]);
    }

    /// A tree, and steps taken in it one after the other.
    type Steps = Vec<(usize, u64)>;

    fn histories() -> impl Strategy<Value = (Steps, Steps)> {
        prop::collection::vec((any::<usize>(), 0..6u64), 1..12).prop_flat_map(|tree| {
            let steps = prop::collection::vec((0..tree.len(), 0..4u64), 0..40);
            (Just(tree), steps)
        })
    }

    proptest! {
        /// No task and no root of a tree ever goes back or beyond its total.
        #[test]
        fn shown_amounts_never_go_back((tree, steps) in histories()) {
            let mut nodes: Vec<RollUpInput> = tree
                .iter()
                .enumerate()
                .map(|(index, &(parent, total))| {
                    node((index > 0).then(|| parent % (index + 1)).filter(|&p| p < index), total, 0)
                })
                .collect();
            let mut before = roll_up(&nodes);
            for (task, step) in steps {
                if step == 3 {
                    nodes[task].state = DeclaredState::Completed;
                } else {
                    nodes[task].done += step;
                }
                for (node, rolled) in nodes.iter_mut().zip(&before) {
                    node.high_water = rolled.amount;
                }
                let after = roll_up(&nodes);
                for ((old, new), node) in before.iter().zip(&after).zip(&nodes) {
                    prop_assert!(new.amount >= old.amount && new.fraction >= old.fraction);
                    prop_assert!(new.amount <= node.total.unwrap() as f64 && new.fraction <= 1.0);
                }
                before = after;
            }
        }
    }
}
