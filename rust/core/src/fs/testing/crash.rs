//! What a power cut could leave of a recorded sequence of steps.
//!
//! The rules are the ones that every file system keeps, and no kinder: bytes are safe once their
//! file was synced, names once their directory was. Of all else, any part may be there: the states
//! below try all of it, none of it, each step alone, all but each step, each beginning, and the
//! last write torn in the middle.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::recorder::{Inode, Node, ROOT, Recorder, Step};

/// One state of the directory that a crash could have left.
#[derive(Debug, Clone)]
pub struct CrashState {
    description: String,
    /// How many of the recorded steps had been done when the power went.
    steps: usize,
    nodes: Vec<Node>,
}

impl CrashState {
    /// When the crash happened, and what was lost: for the message of a failing test.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How many of the recorded steps had been done when the power went.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Lays this state out in `directory`, which must be empty.
    pub fn rebuild(&self, directory: &Path) -> io::Result<()> {
        self.rebuild_node(ROOT, directory)
    }

    #[expect(clippy::disallowed_methods, reason = "this makes the state before the test begins")]
    fn rebuild_node(&self, inode: Inode, path: &Path) -> io::Result<()> {
        match &self.nodes[inode] {
            Node::File(bytes) => std::fs::write(path, bytes),
            Node::Directory(names) => {
                if inode != ROOT {
                    std::fs::create_dir(path)?;
                }
                names
                    .iter()
                    .try_for_each(|(name, &child)| self.rebuild_node(child, &path.join(name)))
            }
        }
    }
}

/// Which of the steps that nothing made durable are lost.
#[derive(Debug, Clone, Copy)]
enum Lost {
    Nothing,
    Everything,
    AllBut(usize),
    Only(usize),
    From(usize),
    /// This write and all after it, except for its first half.
    TornAt(usize),
}

impl Lost {
    /// Whether a step that nothing made durable is lost, wholly.
    fn takes(self, index: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::AllBut(kept) => index != kept,
            Self::Only(step) => index == step,
            Self::From(step) => index >= step,
            Self::TornAt(step) => index > step,
        }
    }
}

/// Every state that a crash could have left, at any point of what was recorded.
///
/// The states of one point differ in what was not yet durable there; bytes and names are lost
/// independently of each other.
pub fn crash_states(recorder: &Recorder) -> Vec<CrashState> {
    let steps = recorder.steps();
    let initial = recorder.initial();
    let mut states = Vec::new();
    for done in 0..=steps.len() {
        let (bytes, names) = not_durable(&steps[..done]);
        for lost_bytes in losses(&bytes, true) {
            for lost_names in losses(&names, false) {
                let nodes =
                    replay(&initial, &steps[..done], &bytes, lost_bytes, &names, lost_names);
                let description = format!(
                    "crash after step {done} of {}; bytes lost: {lost_bytes:?} of {bytes:?}; \
                     names lost: {lost_names:?} of {names:?}",
                    steps.len(),
                );
                states.push(CrashState { description, steps: done, nodes });
            }
        }
    }
    states
}

/// The steps whose effect nothing had made durable yet: on bytes, and on names.
fn not_durable(steps: &[Step]) -> (Vec<usize>, Vec<usize>) {
    let mut synced_files: HashMap<Inode, usize> = HashMap::new();
    let mut synced_directories: HashMap<Inode, usize> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::SyncFile { file } => synced_files.insert(*file, index),
            Step::SyncDirectory { directory } => synced_directories.insert(*directory, index),
            _ => None,
        };
    }
    let (mut bytes, mut names) = (Vec::new(), Vec::new());
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Write { file, .. } | Step::SetLength { file, .. }
                if synced_files.get(file).is_none_or(|&synced| synced < index) =>
            {
                bytes.push(index);
            }
            Step::Names { directory, .. }
                if synced_directories.get(directory).is_none_or(|&synced| synced < index) =>
            {
                names.push(index);
            }
            _ => {}
        }
    }
    (bytes, names)
}

/// The ways in which the steps `open` can be lost. Long sequences are probed at their last steps.
fn losses(open: &[usize], torn: bool) -> Vec<Lost> {
    const PROBED: usize = 6;
    let mut ways = vec![Lost::Nothing];
    if open.is_empty() {
        return ways;
    }
    ways.push(Lost::Everything);
    for &step in &open[open.len().saturating_sub(PROBED)..] {
        if open.len() > 1 {
            ways.extend([Lost::AllBut(step), Lost::Only(step), Lost::From(step)]);
        }
        if torn {
            ways.push(Lost::TornAt(step));
        }
    }
    ways
}

fn replay(
    initial: &[Node],
    steps: &[Step],
    bytes: &[usize],
    lost_bytes: Lost,
    names: &[usize],
    lost_names: Lost,
) -> Vec<Node> {
    let mut nodes = initial.to_vec();
    for (index, step) in steps.iter().enumerate() {
        let (open, lost) = match step {
            Step::Names { .. } => (names, lost_names),
            _ => (bytes, lost_bytes),
        };
        if open.contains(&index) && lost.takes(index) {
            continue;
        }
        match step {
            Step::Write { file, offset, bytes } => {
                let torn = matches!(lost, Lost::TornAt(step) if step == index);
                let kept = if torn { &bytes[..bytes.len() / 2] } else { &bytes[..] };
                write(file_of(&mut nodes, *file), *offset, kept);
            }
            Step::SetLength { file, length } => {
                file_of(&mut nodes, *file).resize(*length as usize, 0);
            }
            Step::Names { directory, changes } => {
                rename(directory_of(&mut nodes, *directory), changes);
            }
            Step::SyncFile { .. } | Step::SyncDirectory { .. } => {}
        }
    }
    nodes
}

fn write(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if file.len() < end {
        file.resize(end, 0);
    }
    file[start..end].copy_from_slice(bytes);
}

fn rename(names: &mut BTreeMap<OsString, Inode>, changes: &[(OsString, Option<Inode>)]) {
    for (name, inode) in changes {
        match inode {
            Some(inode) => names.insert(name.clone(), *inode),
            None => names.remove(name),
        };
    }
}

#[expect(clippy::panic, reason = "a recorder that mixes files and directories is broken")]
fn file_of(nodes: &mut [Node], inode: Inode) -> &mut Vec<u8> {
    match &mut nodes[inode] {
        Node::File(bytes) => bytes,
        Node::Directory(_) => panic!("inode {inode} is a directory"),
    }
}

#[expect(clippy::panic, reason = "a recorder that mixes files and directories is broken")]
fn directory_of(nodes: &mut [Node], inode: Inode) -> &mut BTreeMap<OsString, Inode> {
    match &mut nodes[inode] {
        Node::Directory(names) => names,
        Node::File(_) => panic!("inode {inode} is a file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::write_all_at;
    use std::collections::BTreeSet;

    fn contents(state: &CrashState, name: &str) -> Option<Vec<u8>> {
        let directory = tempfile::tempdir().unwrap();
        state.rebuild(directory.path()).unwrap();
        std::fs::read(directory.path().join(name)).ok()
    }

    #[test]
    fn a_rename_without_a_sync_can_leave_an_empty_file() {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(directory.path()).unwrap();
        let storage = recorder.storage();
        let file = storage.create_new(&directory.path().join("new")).unwrap();
        write_all_at(&*file, b"text", 0).unwrap();
        storage.rename(&directory.path().join("new"), &directory.path().join("name")).unwrap();
        storage.sync_dir(directory.path()).unwrap();
        let seen: BTreeSet<_> =
            crash_states(&recorder).iter().map(|state| contents(state, "name")).collect();
        let expected = [None, Some(b"".to_vec()), Some(b"te".to_vec()), Some(b"text".to_vec())];
        assert_eq!(seen, BTreeSet::from(expected));
    }

    #[test]
    fn a_name_that_follows_a_sync_is_never_there_without_the_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(directory.path()).unwrap();
        let storage = recorder.storage();
        let file = storage.create_new(&directory.path().join("new")).unwrap();
        write_all_at(&*file, b"text", 0).unwrap();
        file.sync().unwrap();
        storage.rename(&directory.path().join("new"), &directory.path().join("name")).unwrap();
        let states = crash_states(&recorder);
        let seen: BTreeSet<_> = states.iter().map(|state| contents(state, "name")).collect();
        assert_eq!(seen, BTreeSet::from([None, Some(b"text".to_vec())]));
    }

    #[test]
    fn what_was_synced_is_in_every_later_state() {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(directory.path()).unwrap();
        let storage = recorder.storage();
        let path = directory.path().join("file");
        let file = storage.create_new(&path).unwrap();
        write_all_at(&*file, b"safe", 0).unwrap();
        file.sync().unwrap();
        storage.sync_dir(directory.path()).unwrap();
        let synced = recorder.steps().len();
        write_all_at(&*file, b" lost", 4).unwrap();
        storage.remove_file(&path).unwrap();
        for state in crash_states(&recorder).iter().filter(|state| state.steps() >= synced) {
            let bytes = contents(state, "file");
            assert!(
                bytes.as_ref().is_none_or(|bytes| bytes.starts_with(b"safe")),
                "{}: {bytes:?}",
                state.description()
            );
        }
    }
}
