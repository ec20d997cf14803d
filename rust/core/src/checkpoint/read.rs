//! Reads a checkpoint: verifies first, then returns.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::arrays::locate;
use super::checksums;
use super::manifest::{ARRAYS_SUFFIX, FileRecord, Manifest, VALUES, damaged};
use super::replace::directory_of;
use super::store::CheckpointStore;
use crate::error::{CheckpointDamage, CheckpointError};
use crate::fs::{MapPermit, PrivateMap};
use crate::{Error, Result, threads};

/// A component that was read.
#[derive(Debug)]
pub struct LoadedComponent {
    /// Its name.
    pub name: String,
    /// Its plain values.
    pub tree: Vec<u8>,
    /// The file of its arrays, copy on write; `None` where it has none.
    pub map: Option<Arc<PrivateMap>>,
    /// Where each array is in that file, by number.
    pub arrays: Vec<Range<usize>>,
}

/// The result of verifying one file.
#[derive(Debug)]
pub struct FileCheck {
    /// The file.
    pub name: String,
    /// Its size by the manifest.
    pub bytes: u64,
    /// What is wrong with it, if anything.
    pub damage: Option<Error>,
}

impl CheckpointStore {
    /// Reads the components of the checkpoint in `path` that are named, or all of them; with
    /// `verify`, every byte of them is checked first.
    pub fn load(
        path: &Path,
        components: Option<&[String]>,
        verify: bool,
    ) -> Result<(Manifest, Vec<LoadedComponent>)> {
        Self::load_and_check(path, components, |_| verify)
    }

    /// Reads the plain values of all components and where their arrays are; of the arrays nothing is
    /// read or checked.
    pub fn outline(path: &Path) -> Result<Vec<LoadedComponent>> {
        Ok(Self::load_and_check(path, None, |file| !file.ends_with(ARRAYS_SUFFIX))?.1)
    }

    fn load_and_check(
        path: &Path,
        components: Option<&[String]>,
        is_checked: impl Fn(&str) -> bool,
    ) -> Result<(Manifest, Vec<LoadedComponent>)> {
        let _lock = path.parent().and_then(Self::read_lock);
        let directory = directory_of(path);
        let manifest = Manifest::read(&directory).map_err(|error| not_found(path, error))?;
        let wanted = wanted(&manifest, components)?;
        let mut maps = Maps::new();
        for &index in &wanted {
            let component = &manifest.components[index];
            for name in component.file.iter().chain([&component.values]) {
                if !maps.contains_key(name.as_str()) {
                    let record = record(&manifest, &directory, name)?;
                    maps.insert(name, (open(&directory, record)?, record));
                }
            }
        }
        maps_checked(&maps, is_checked)?;
        let finish = |index: usize| {
            let component = &manifest.components[index];
            let map = component.file.as_ref().map(|name| Arc::clone(&maps[name.as_str()].0));
            let arrays = match &map {
                None => Vec::new(),
                Some(map) => locate(map.bytes(), &component.arrays)
                    .map_err(|damage| damaged(map.path(), damage))?,
            };
            let tree = tree(&maps[component.values.as_str()].0, component.tree)?.to_vec();
            Ok(LoadedComponent { name: component.name.clone(), tree, map, arrays })
        };
        let loaded = wanted.into_iter().map(finish).collect::<Result<Vec<_>>>()?;
        drop(maps);
        Ok((manifest, loaded))
    }

    /// Reads back every file of the checkpoint in `path`.
    pub fn verify(path: &Path) -> Result<Vec<FileCheck>> {
        let _lock = path.parent().and_then(Self::read_lock);
        let directory = directory_of(path);
        let manifest = Manifest::read(&directory).map_err(|error| not_found(path, error))?;
        let check_file = |record: &FileRecord| FileCheck {
            name: record.name.clone(),
            bytes: record.bytes,
            damage: open(&directory, record).and_then(|map| check(&map, record)).err(),
        };
        Ok(threads::run(|| manifest.files.par_iter().map(check_file).collect()))
    }
}

impl Manifest {
    /// The tree of the metadata, read from the values file.
    pub fn metadata_tree(&self, directory: &Path) -> Result<Vec<u8>> {
        let values = open(directory, record(self, directory, VALUES)?)?;
        Ok(tree(&values, self.metadata)?.to_vec())
    }
}

type Maps<'a> = BTreeMap<&'a str, (Arc<PrivateMap>, &'a FileRecord)>;

/// Verifies the files that are to be checked, on all cores.
fn maps_checked(maps: &Maps<'_>, is_checked: impl Fn(&str) -> bool) -> Result<()> {
    let checked: Vec<_> =
        maps.iter().filter(|(name, _)| is_checked(name)).map(|(_, found)| found).collect();
    if checked.is_empty() {
        return Ok(());
    }
    threads::run(|| checked.par_iter().try_for_each(|(map, record)| check(map, record)))
}

fn wanted(manifest: &Manifest, components: Option<&[String]>) -> Result<Vec<usize>> {
    let Some(components) = components else {
        return Ok((0..manifest.components.len()).collect());
    };
    let find = |name: &String| {
        manifest.components.iter().position(|component| component.name == *name).ok_or_else(|| {
            let known: Vec<_> =
                manifest.components.iter().map(|component| component.name.as_str()).collect();
            Error::argument("components", format!("{name:?}"), format!("some of {known:?}"))
        })
    };
    components.iter().map(find).collect()
}

fn record<'a>(manifest: &'a Manifest, directory: &Path, name: &str) -> Result<&'a FileRecord> {
    manifest
        .file(name)
        .ok_or_else(|| damaged(&directory.join(name), CheckpointDamage::NotInManifest))
}

fn open(directory: &Path, record: &FileRecord) -> Result<Arc<PrivateMap>> {
    let path = directory.join(&record.name);
    let size = match path.symlink_metadata() {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => return Err(damaged(&path, CheckpointDamage::NotAFile)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(damaged(&path, CheckpointDamage::Missing));
        }
        Err(error) => return Err(Error::io("inspect", &path, error)),
    };
    if size != record.bytes {
        let damage = CheckpointDamage::Size { found: size, expected: record.bytes };
        return Err(damaged(&path, damage));
    }
    // SAFETY: the file is one that the manifest of a published checkpoint names. It was complete
    // and synced before the checkpoint got its name, and checkpoints are only replaced and removed.
    let permit = unsafe { MapPermit::new() };
    PrivateMap::open(&path, permit).map(Arc::new)
}

fn check(map: &PrivateMap, record: &FileRecord) -> Result<()> {
    checksums::verify(map.bytes(), record.segment_bytes, &record.checksums)
        .map_err(|damage| damaged(map.path(), damage))
}

fn tree(values: &PrivateMap, (start, length): (u64, u64)) -> Result<&[u8]> {
    start
        .checked_add(length)
        .and_then(|end| values.bytes().get(start as usize..end as usize))
        .ok_or_else(|| damaged(values.path(), CheckpointDamage::TreeBeyondEnd))
}

fn not_found(path: &Path, error: Error) -> Error {
    match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            CheckpointError::NotFound { path: path.to_owned() }.into()
        }
        other => other,
    }
}
