//! Making a checkpoint.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::CheckpointStore;
use super::arrays::{ArrayType, plan};
use super::manifest::{ComponentRecord, FileRecord, MANIFEST, Manifest, VALUES};
use crate::fs::{LockKind, PendingDir, StorageFile, names, write_all_at};
use crate::{Checksum, Error, Result};

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

impl CheckpointStore {
    /// Makes a checkpoint; returns its directory once all is durable. One of the same id is replaced.
    pub fn create(
        &self,
        checkpoint_id: &str,
        components: &[Component<'_>],
        metadata: &[u8],
    ) -> Result<PathBuf> {
        names::check("checkpoint_id", checkpoint_id)?;
        let directory = self.base_dir.join(checkpoint_id);
        if directory.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            let error = std::io::Error::from_raw_os_error(rustix::io::Errno::NOTDIR.raw_os_error());
            return Err(Error::io("replace", &directory, error));
        }
        let pending = PendingDir::create(&self.storage, &directory)?;
        let mut manifest = Manifest::new(checkpoint_id, 0);
        let mut values = self.file(pending.path(), VALUES)?;
        for component in components {
            let start = values.length;
            values.write(component.tree)?;
            let mut record = ComponentRecord {
                name: component.name.clone(),
                tree: (start, component.tree.len() as u64),
                file: None,
                arrays: Vec::new(),
            };
            if !component.arrays.is_empty() {
                let file = file_name(&component.name, &manifest);
                record.arrays = unique_names(&component.arrays);
                manifest.files.push(self.write_arrays(
                    pending.path(),
                    &file,
                    component,
                    &record.arrays,
                )?);
                record.file = Some(file);
            }
            manifest.components.push(record);
        }
        manifest.metadata = (values.length, metadata.len() as u64);
        values.write(metadata)?;
        manifest.files.push(values.finish()?);

        // The rest is quick, and no two processes do it at the same time.
        let _lock = self.lock(LockKind::Exclusive)?;
        manifest.created_at = self.next_time()?;
        let mut file = self.file(pending.path(), MANIFEST)?;
        file.write(&manifest.to_bytes()?)?;
        file.finish()?;
        pending.publish()?;
        self.retain(checkpoint_id)?;
        Ok(directory)
    }

    fn write_arrays(
        &self,
        directory: &Path,
        file_name: &str,
        component: &Component<'_>,
        names: &[String],
    ) -> Result<FileRecord> {
        let described: Vec<_> = component
            .arrays
            .iter()
            .zip(names)
            .map(|(array, name)| (name.as_str(), array.array_type, array.shape.as_slice()))
            .collect();
        let plan = plan(&described)?;
        let mut file = self.file(directory, file_name)?;
        file.write(&plan.header)?;
        for index in plan.order {
            file.write(component.arrays[index].bytes)?;
        }
        file.finish()
    }

    fn file(&self, directory: &Path, name: &str) -> Result<SummedFile> {
        let path = directory.join(name);
        let file =
            self.storage.create_new(&path).map_err(|error| Error::io("create", &path, error))?;
        Ok(SummedFile {
            file,
            path,
            name: name.to_owned(),
            length: 0,
            sum: Checksum::new(),
            buffer: Vec::new(),
        })
    }

    /// Now, but later than all checkpoints there are, whatever the clock says.
    fn next_time(&self) -> Result<u64> {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let newest = self.list()?.last().map_or(0, |listed| listed.created_at);
        Ok(now.max(newest + 1))
    }
}

/// A file that is summed while it is written.
struct SummedFile {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    name: String,
    length: u64,
    sum: Checksum,
    buffer: Vec<u8>,
}

impl SummedFile {
    /// Writes `bytes` by way of a buffer: another thread may change an array while it is stored, and
    /// what is summed has to be what is written.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        const BUFFER: usize = 1 << 20;
        for part in bytes.chunks(BUFFER) {
            self.buffer.clear();
            self.buffer.extend_from_slice(part);
            self.sum.update(&self.buffer);
            write_all_at(&*self.file, &self.buffer, self.length)
                .map_err(|error| Error::io("write", &self.path, error))?;
            self.length += part.len() as u64;
        }
        Ok(())
    }

    fn finish(self) -> Result<FileRecord> {
        self.file.sync().map_err(|error| Error::io("sync", &self.path, error))?;
        let checksum = format!("{:016x}", self.sum.value());
        Ok(FileRecord { name: self.name, bytes: self.length, checksum })
    }
}

/// A file name for a component: its own where it can be one, and no other's.
fn file_name(component: &str, manifest: &Manifest) -> String {
    const LONGEST: usize = 100;
    let mut stem = names::escape(component);
    if stem.len() > LONGEST || stem.is_empty() {
        stem = names::hashed("component", component);
    }
    let mut name = format!("{stem}.safetensors");
    // File systems that ignore case would take two for one.
    let taken = |name: &str| manifest.files.iter().any(|file| file.name.eq_ignore_ascii_case(name));
    if taken(&name) {
        name = format!("{}.safetensors", names::hashed("component", component));
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
