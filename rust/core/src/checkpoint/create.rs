//! Makes a checkpoint: writes its files, then publishes it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use rustix::fs::statvfs;
use rustix::io::retry_on_intr;

use super::arrays::{ArrayType, FileLayout, MOST_HEADER, lay_out};
use super::dedup::{IdenticalFile, Previous};
use super::manifest::{
    ARRAYS_SUFFIX, ComponentRecord, FileRecord, MANIFEST, Manifest, PartialManifest, VALUES,
    check_size,
};
use super::recognition::open_replaceable;
use super::store::CheckpointStore;
use super::version::version_owner;
use super::write::{FileWriter, THREADED_FROM, UnsyncedFile, sync, write_files};
use crate::batch_system::BatchFacts;
use crate::fs::{PassedOver, PendingDir, names};
use crate::{Error, IoContext, Result, threads};

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

/// From how many bytes on deduplication pays: a small file is written faster than compared.
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
    /// Where its files are put, for [`CheckpointStore::write_components`].
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
    /// Finds the file of the previous checkpoint that has the same arrays.
    fn deduplicate(&mut self, previous: &Previous) {
        let Some(file) = self.file.as_mut().filter(|file| file.bytes >= LINKED_FROM) else {
            return;
        };
        let mut slices = vec![&file.layout.header[..]];
        let arrays = &self.component.arrays;
        slices.extend(file.layout.order.iter().map(|&index| arrays[index].bytes));
        file.identical = previous.identical_file(&self.component.name, file.bytes, &slices);
    }
}

struct PlannedFile {
    name: String,
    layout: FileLayout,
    bytes: u64,
    identical: Option<IdenticalFile>,
}

impl CheckpointStore {
    /// Makes a checkpoint; returns its directory once all is durable. One of the same id is
    /// replaced.
    pub fn create(
        &self,
        checkpoint_id: &str,
        components: &[Component<'_>],
        metadata: &[u8],
    ) -> Result<PathBuf> {
        let new = self.begin(checkpoint_id)?;
        let (partial, written) = self.write(new.path(), VALUES, components, metadata)?;
        self.commit(new, vec![partial], written)
    }

    /// Begins a checkpoint. It is invisible until it is published; dropping it removes its files.
    /// An error where its name is taken by what is no checkpoint.
    pub fn begin(&self, checkpoint_id: &str) -> Result<NewCheckpoint> {
        self.check_writable()?;
        check_new_id(checkpoint_id)?;
        self.make_base_dir()?;
        let directory = self.base_dir.join(checkpoint_id);
        if directory.symlink_metadata().is_ok() {
            match open_replaceable(&directory) {
                // Another process has removed it meanwhile.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                replaceable => {
                    self.check_spelling(checkpoint_id, &replaceable?.0)?;
                }
            }
        }
        // At most the checkpoints of one save wait to be deleted.
        self.background_delete.wait();
        let pending = PendingDir::create(&self.storage, &directory)?;
        Ok(NewCheckpoint { checkpoint_id: checkpoint_id.to_owned(), directory, pending })
    }

    /// Writes components into the directory of a checkpoint that was begun here or by another
    /// process. `values` names the file of plain values; each process has its own. All is durable
    /// on return.
    pub fn write_components(
        &self,
        directory: &Path,
        values: &str,
        components: &[Component<'_>],
        metadata: &[u8],
    ) -> Result<PartialManifest> {
        self.check_writable()?;
        let (partial, written) = self.write(directory, values, components, metadata)?;
        sync(&*self.storage, &written)?;
        Ok(partial)
    }

    /// Publishes a checkpoint of what its processes wrote; the first one has the metadata.
    pub fn publish(&self, new: NewCheckpoint, partials: Vec<PartialManifest>) -> Result<PathBuf> {
        self.commit(new, partials, Vec::new())
    }

    fn write(
        &self,
        directory: &Path,
        values: &str,
        components: &[Component<'_>],
        metadata: &[u8],
    ) -> Result<(PartialManifest, Vec<UnsyncedFile>)> {
        let largest = components.iter().map(Component::array_bytes).max().unwrap_or(0);
        let previous = if largest < LINKED_FROM { None } else { self.previous() };
        let mut planned = Vec::with_capacity(components.len());
        let mut taken = Vec::new();
        for component in components {
            planned.push(plan(component, &mut taken)?);
        }
        let names = planned.iter().flat_map(|planned| &planned.names);
        check_size(names.map(|name| name.len() as u64).sum())?;
        if let Some(previous) = &previous {
            threads::run(|| {
                planned.par_iter_mut().for_each(|planned| planned.deduplicate(previous))
            });
        }
        let arrays: u64 = planned
            .iter()
            .filter_map(|planned| planned.file.as_ref())
            .filter(|file| file.identical.is_none())
            .map(|file| file.bytes)
            .sum();
        let trees: usize = components.iter().map(|component| component.tree.len()).sum();
        let total = arrays + (trees + metadata.len()) as u64;
        self.check_space(total)?;
        write_files(&*self.storage, directory, total, |writer| {
            let mut partial = PartialManifest::default();
            let mut file = writer.create(values)?;
            for planned in planned {
                let tree = planned.component.tree;
                let start = file.length;
                writer.write(&mut file, tree)?;
                let stored = match &planned.file {
                    None => None,
                    Some(file) => Some(self.store(writer, directory, planned.component, file)?),
                };
                partial.components.push(ComponentRecord {
                    name: planned.component.name.clone(),
                    values: values.to_owned(),
                    tree: (start, tree.len() as u64),
                    file: stored.as_ref().map(|stored| stored.name.clone()),
                    arrays: planned.names,
                });
                partial.files.extend(stored);
            }
            partial.metadata = (file.length, metadata.len() as u64);
            writer.write(&mut file, metadata)?;
            partial.files.push(writer.finish(file));
            Ok(partial)
        })
    }

    /// Adds the manifest, syncs what is not durable yet, publishes, and applies retention.
    fn commit(
        &self,
        new: NewCheckpoint,
        partials: Vec<PartialManifest>,
        mut written: Vec<UnsyncedFile>,
    ) -> Result<PathBuf> {
        let NewCheckpoint { checkpoint_id, directory, pending } = new;
        let mut manifest = Manifest::new(&checkpoint_id, partials);
        manifest.batch = BatchFacts::current();
        if manifest.size() >= THREADED_FROM {
            // Before the lock, so that no other process waits. Small files are synced with the
            // manifest.
            sync(&*self.storage, &written)?;
            written.clear();
        }
        let lock = self.lock()?;
        let listed = self.list_once()?;
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        // Later than every checkpoint there is, also where the clock was set back.
        let known = || listed.iter().filter_map(|info| info.manifest.as_ref().ok());
        let newest = known().map(|manifest| manifest.created_at).max().unwrap_or(0);
        manifest.created_at = now.max(newest.saturating_add(1));
        let ordinal = known().map(|manifest| manifest.ordinal).max().unwrap_or(0);
        manifest.ordinal = ordinal.saturating_add(1);
        manifest.is_milestone = self.retention.is_milestone(manifest.ordinal);
        let is_milestone = manifest.is_milestone;
        let replaced = self.publish_version(pending, &directory, manifest, written)?;
        // It is durable: what can't be tidied up now stays.
        let mut passed_over = PassedOver::default();
        let mut unpublished = passed_over.try_step(self.unpublish_orphans(&listed))?;
        unpublished.extend(replaced);
        let others = listed.into_iter().filter(|info| info.checkpoint_id != checkpoint_id);
        let others = others.collect();
        unpublished.extend(self.apply_retention(others, is_milestone, &mut passed_over)?);
        // Before anything is logged: a handler may save a checkpoint itself.
        drop(lock);
        if let Some(warning) = passed_over.warning(&self.has_told_stuck) {
            log::warn!(target: crate::LOGGER, "{warning}");
        }
        self.background_delete.start(&self.storage, &self.base_dir, unpublished);
        Ok(directory)
    }

    /// Stores the arrays of a component: as a hard link where the previous checkpoint has them.
    fn store(
        &self,
        writer: &mut FileWriter<'_>,
        directory: &Path,
        component: &Component<'_>,
        planned: &PlannedFile,
    ) -> Result<FileRecord> {
        if let Some(identical) = &planned.identical {
            let target = directory.join(&planned.name);
            if self.link(identical, &target)? {
                // Durable already, unless it was made with `durable=False`.
                let file = self.storage.open(&target).context("open", &target)?;
                writer.add_linked(file, target);
                let name = planned.name.clone();
                return Ok(FileRecord { name, linked: true, ..identical.record.clone() });
            }
        }
        let mut file = writer.create(&planned.name)?;
        writer.write(&mut file, &planned.layout.header)?;
        for &index in &planned.layout.order {
            writer.write(&mut file, component.arrays[index].bytes)?;
        }
        Ok(writer.finish(file))
    }

    fn check_space(&self, needed: u64) -> Result<()> {
        // A block for each of a few files, and the directory.
        const MARGIN: u64 = 64 << 10;
        let found = retry_on_intr(|| statvfs(&self.base_dir));
        let Ok(found) = found else { return Ok(()) };
        let available = found.f_bavail.saturating_mul(found.f_frsize);
        let needed = needed.saturating_add(MARGIN);
        // Some file systems report nothing.
        if found.f_blocks == 0 || needed <= available {
            return Ok(());
        }
        Err(Error::NoSpace { path: self.base_dir.clone(), needed, available })
    }
}

/// A directory may hold checkpoints and be one, so none is named as what is in a checkpoint.
fn check_new_id(id: &str) -> Result<()> {
    names::check("checkpoint_id", id)?;
    // Some file systems ignore case.
    let name = id.to_ascii_lowercase();
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_values = |name: &str| {
        let rest = name.strip_prefix(VALUES);
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(is_number))
    };
    if name == MANIFEST || is_values(&name) || version_owner(&name).is_some() {
        let expected = "another name, for files inside a checkpoint have this one";
        return Err(Error::argument("checkpoint_id", format!("{id:?}"), expected));
    }
    Ok(())
}

fn plan<'a>(component: &'a Component<'a>, taken: &mut Vec<String>) -> Result<Planned<'a>> {
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
    let layout = lay_out(&described)?;
    let header = layout.header.len() as u64;
    if header > 8 + MOST_HEADER {
        let found = format!(
            "{} arrays in {:?}, whose names and shapes take {header} bytes",
            names.len(),
            component.name
        );
        let expected =
            format!("at most {MOST_HEADER} bytes of them: fewer, larger arrays or shorter names");
        return Err(Error::argument("component_states", found, expected));
    }
    let bytes = layout.header.len() as u64 + component.array_bytes();
    let name = file_name(&component.name, taken);
    taken.push(name.clone());
    Ok(Planned {
        component,
        names,
        file: Some(PlannedFile { name, layout, bytes, identical: None }),
    })
}

/// A file name for a component: its own where it can be one, and no other's.
fn file_name(component: &str, taken: &[String]) -> String {
    const LONGEST: usize = 100;
    let mut stem = names::escape(component);
    if stem.len() > LONGEST || stem.is_empty() {
        stem = names::hashed("component", component);
    }
    // On file systems that ignore case, both would be one file.
    let is_taken = |name: &str| taken.iter().any(|taken| taken.eq_ignore_ascii_case(name));
    loop {
        let name = format!("{stem}{ARRAYS_SUFFIX}");
        if !is_taken(&name) {
            return name;
        }
        stem = names::hashed("component", &format!("{stem} {component}"));
    }
}

/// The names of arrays, made unique by a number where they repeat.
fn unique_names(arrays: &[Array<'_>]) -> Vec<String> {
    // The safetensors format reserves this one.
    let mut taken = HashSet::from(["__metadata__".to_owned()]);
    let mut counts = HashMap::new();
    let mut names = Vec::with_capacity(arrays.len());
    for array in arrays {
        let first = if array.name.is_empty() { "array" } else { array.name.as_str() };
        let mut name = first.to_owned();
        let count = counts.entry(first).or_insert(1);
        while !taken.insert(name.clone()) {
            *count += 1;
            name = format!("{first}#{count}");
        }
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_arrays_of_one_name_are_numbered_in_no_time() {
        let of_name = |name: &str| Array {
            name: name.to_owned(),
            array_type: ArrayType::of("|u1", 1),
            shape: vec![0],
            bytes: &[],
        };
        let mut arrays = vec![of_name("a#3"), of_name(""), of_name("__metadata__")];
        arrays.resize_with(100_000, || of_name("a"));
        let names = unique_names(&arrays);
        assert_eq!(names[..6], ["a#3", "array", "__metadata__#2", "a", "a#2", "a#4"]);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 100_000);
    }
}
