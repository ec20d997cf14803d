//! Making a checkpoint.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;

use super::CheckpointStore;
use super::arrays::{ArrayType, Plan, plan};
use super::manifest::{ComponentRecord, FileRecord, MANIFEST, Manifest, Part, VALUES};
use super::reuse::{Previous, SameFile};
use super::write::{LARGE, Writer, Written, sync, write_files};
use crate::fs::{LockKind, PendingDir, names};
use crate::{Error, Result, threads};

/// A component to store.
#[derive(Debug)]
pub struct Component<'a> {
    /// Its name.
    pub name: String,
    /// Its plain values.
    pub tree: &'a [u8],
    /// The arrays that the tree refers to, by number.
    pub arrays: Vec<Array<'a>>,
}

/// An array to store.
#[derive(Debug)]
pub struct Array<'a> {
    /// Its name, for people and other programs; made unique where it is not.
    pub name: String,
    /// What its items are.
    pub array_type: ArrayType,
    /// Its lengths.
    pub shape: Vec<usize>,
    /// Its items, in memory order.
    pub bytes: &'a [u8],
}

/// From how many bytes on a link is worth looking for: a small file is written in no time.
const LINKED_FROM: u64 = 256 << 10;

impl Component<'_> {
    fn array_bytes(&self) -> u64 {
        self.arrays.iter().map(|array| array.bytes.len() as u64).sum()
    }
}

/// A checkpoint that is being made, perhaps by several processes.
#[derive(Debug)]
pub struct NewCheckpoint {
    checkpoint_id: String,
    directory: PathBuf,
    pending: PendingDir,
}

impl NewCheckpoint {
    /// Where its files are put, for [`CheckpointStore::write_part`].
    pub fn path(&self) -> &Path {
        self.pending.path()
    }
}

/// A component with the file that its arrays make.
struct Planned<'a> {
    component: &'a Component<'a>,
    names: Vec<String>,
    file: Option<PlannedFile>,
}

impl Planned<'_> {
    /// Finds out whether an earlier checkpoint has the same arrays.
    fn look_in(&mut self, previous: &Previous) {
        let Some(file) = self.file.as_mut().filter(|file| file.bytes >= LINKED_FROM) else {
            return;
        };
        let mut places = vec![&file.plan.header[..]];
        let arrays = &self.component.arrays;
        places.extend(file.plan.order.iter().map(|&index| arrays[index].bytes));
        file.same = previous.same(&self.component.name, file.bytes, &places);
    }
}

struct PlannedFile {
    name: String,
    plan: Plan,
    bytes: u64,
    /// A file of an earlier checkpoint that has the same bytes.
    same: Option<SameFile>,
}

impl CheckpointStore {
    /// Makes a checkpoint; returns its directory once all is durable. One of the same id is replaced.
    pub fn create(
        &self,
        checkpoint_id: &str,
        components: &[Component<'_>],
        metadata: &[u8],
    ) -> Result<PathBuf> {
        let new = self.begin(checkpoint_id)?;
        let (part, written) = self.write(new.path(), VALUES, components, metadata)?;
        self.seal(new, vec![part], written)
    }

    /// Begins a checkpoint. Nothing of it can be seen before it is published; dropped, it is gone.
    pub fn begin(&self, checkpoint_id: &str) -> Result<NewCheckpoint> {
        names::check("checkpoint_id", checkpoint_id)?;
        let directory = self.base_dir.join(checkpoint_id);
        if directory.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            let error = std::io::Error::from_raw_os_error(rustix::io::Errno::NOTDIR.raw_os_error());
            return Err(Error::io("replace", &directory, error));
        }
        // Not more than one checkpoint waits to be removed.
        self.sweeper.wait();
        let pending = PendingDir::create(&self.storage, &directory)?;
        Ok(NewCheckpoint { checkpoint_id: checkpoint_id.to_owned(), directory, pending })
    }

    /// Writes components into the directory of a checkpoint that was begun here or by another process.
    /// `values` names the file of plain values; each part has its own. All is durable by the end.
    pub fn write_part(
        &self,
        directory: &Path,
        values: &str,
        components: &[Component<'_>],
        metadata: &[u8],
    ) -> Result<Part> {
        let (part, written) = self.write(directory, values, components, metadata)?;
        sync(&written)?;
        Ok(part)
    }

    /// Publishes a checkpoint of these parts, the first of which has the metadata.
    pub fn publish(&self, new: NewCheckpoint, parts: Vec<Part>) -> Result<PathBuf> {
        self.seal(new, parts, Vec::new())
    }

    fn write(
        &self,
        directory: &Path,
        values: &str,
        components: &[Component<'_>],
        metadata: &[u8],
    ) -> Result<(Part, Vec<Written>)> {
        let largest = components.iter().map(Component::array_bytes).max().unwrap_or(0);
        let previous = if largest < LINKED_FROM { None } else { self.previous() };
        let mut planned = Vec::with_capacity(components.len());
        let mut taken = Vec::new();
        for component in components {
            planned.push(planned_of(component, &mut taken)?);
        }
        if let Some(previous) = &previous {
            threads::run(|| planned.par_iter_mut().for_each(|planned| planned.look_in(previous)));
        }
        let arrays: u64 = planned
            .iter()
            .filter_map(|planned| planned.file.as_ref())
            .filter(|file| file.same.is_none())
            .map(|file| file.bytes)
            .sum();
        let trees: usize = components.iter().map(|component| component.tree.len()).sum();
        let total = arrays + (trees + metadata.len()) as u64;
        self.check_space(total)?;
        write_files(&*self.storage, directory, total, |writer| {
            let mut part = Part::default();
            let mut file = writer.create(values)?;
            for planned in planned {
                let tree = planned.component.tree;
                let start = file.length;
                writer.write(&mut file, tree)?;
                let stored = match &planned.file {
                    None => None,
                    Some(plan) => Some(self.store(writer, directory, planned.component, plan)?),
                };
                part.components.push(ComponentRecord {
                    name: planned.component.name.clone(),
                    values: values.to_owned(),
                    tree: (start, tree.len() as u64),
                    file: stored.as_ref().map(|stored| stored.name.clone()),
                    arrays: planned.names,
                });
                part.files.extend(stored);
            }
            part.metadata = (file.length, metadata.len() as u64);
            writer.write(&mut file, metadata)?;
            part.files.push(writer.finish(file));
            Ok(part)
        })
    }

    /// Adds the manifest, makes all durable that is not, and publishes.
    fn seal(
        &self,
        new: NewCheckpoint,
        parts: Vec<Part>,
        mut written: Vec<Written>,
    ) -> Result<PathBuf> {
        let NewCheckpoint { checkpoint_id, directory, pending } = new;
        let mut manifest = Manifest::new(&checkpoint_id, parts);
        if manifest.size() >= LARGE {
            // Nobody else has to wait for this. What is small is synced with the manifest.
            sync(&written)?;
            written.clear();
        }
        // The rest is quick, and no two processes do it at the same time.
        let _lock = self.lock(LockKind::Exclusive)?;
        let listed = self.list()?;
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        // Later than all checkpoints there are, whatever the clock says.
        manifest.created_at = now.max(listed.last().map_or(0, |newest| newest.created_at) + 1);
        let ordinals = listed.iter().filter_map(|listed| listed.manifest.as_ref().ok());
        manifest.ordinal = 1 + ordinals.map(|manifest| manifest.ordinal).max().unwrap_or(0);
        let bytes = manifest.to_bytes()?;
        let ((), last) = write_files(&*self.storage, pending.path(), 0, |writer| {
            let mut file = writer.create(MANIFEST)?;
            writer.write(&mut file, &bytes)?;
            writer.finish(file);
            Ok(())
        })?;
        written.extend(last);
        sync(&written)?;
        let mut hidden: Vec<PathBuf> = pending.publish_over()?.into_iter().collect();
        let others = listed.into_iter().filter(|listed| listed.checkpoint_id != checkpoint_id);
        hidden.extend(self.retain(others.collect(), manifest.ordinal)?);
        self.sweeper.remove(&self.storage, &self.base_dir, hidden);
        Ok(directory)
    }

    /// Stores the arrays of a component: by a link where an earlier checkpoint has them, else anew.
    fn store(
        &self,
        writer: &mut Writer<'_>,
        directory: &Path,
        component: &Component<'_>,
        planned: &PlannedFile,
    ) -> Result<FileRecord> {
        if let Some(same) = &planned.same {
            let target = directory.join(&planned.name);
            if self.link(same, &target)? {
                // It is durable already, unless who made it didn't wait for that.
                let file = self
                    .storage
                    .open(&target)
                    .map_err(|error| Error::io("open", &target, error))?;
                writer.adopt(file, target);
                let name = planned.name.clone();
                return Ok(FileRecord { name, linked: true, ..same.record.clone() });
            }
        }
        let mut file = writer.create(&planned.name)?;
        writer.write(&mut file, &planned.plan.header)?;
        for &index in &planned.plan.order {
            writer.write(&mut file, component.arrays[index].bytes)?;
        }
        Ok(writer.finish(file))
    }

    fn check_space(&self, needed: u64) -> Result<()> {
        // A block for each of a few files, and the directory.
        const MARGIN: u64 = 64 << 10;
        let Ok(found) = rustix::fs::statvfs(&self.base_dir) else { return Ok(()) };
        let available = found.f_bavail.saturating_mul(found.f_frsize);
        // Some file systems don't tell.
        if found.f_blocks == 0 || needed.saturating_add(MARGIN) <= available {
            return Ok(());
        }
        Err(Error::NoSpace { path: self.base_dir.clone(), needed, available })
    }
}

fn planned_of<'a>(component: &'a Component<'a>, taken: &mut Vec<String>) -> Result<Planned<'a>> {
    if component.arrays.is_empty() {
        return Ok(Planned { component, names: Vec::new(), file: None });
    }
    let names = unique_names(&component.arrays);
    let described: Vec<_> = component
        .arrays
        .iter()
        .zip(&names)
        .map(|(array, name)| (name.as_str(), array.array_type, array.shape.as_slice()))
        .collect();
    let plan = plan(&described)?;
    let bytes = plan.header.len() as u64 + component.array_bytes();
    let name = file_name(&component.name, taken);
    taken.push(name.clone());
    Ok(Planned { component, names, file: Some(PlannedFile { name, plan, bytes, same: None }) })
}

/// A file name for a component: its own where it can be one, and no other's.
fn file_name(component: &str, taken: &[String]) -> String {
    const LONGEST: usize = 100;
    let mut stem = names::escape(component);
    if stem.len() > LONGEST || stem.is_empty() {
        stem = names::hashed("component", component);
    }
    let name = format!("{stem}.safetensors");
    // File systems that ignore case would take two for one.
    if taken.iter().any(|taken| taken.eq_ignore_ascii_case(&name)) {
        return format!("{}.safetensors", names::hashed("component", component));
    }
    name
}

/// The names of arrays, those that repeat with a number.
fn unique_names(arrays: &[Array<'_>]) -> Vec<String> {
    // The one name that the format keeps for itself.
    let mut taken = HashSet::from(["__metadata__".to_owned()]);
    let unique = |array: &Array<'_>| {
        let first = if array.name.is_empty() { "array" } else { &array.name };
        let mut name = first.to_owned();
        let mut count = 1;
        while !taken.insert(name.clone()) {
            count += 1;
            name = format!("{first}#{count}");
        }
        name
    };
    arrays.iter().map(unique).collect()
}
