//! Reads a checkpoint: verifies first, then returns.
//!
//! Bytes are read, never looked at through a mapping, so a file that somebody cuts short is an
//! error like any other. Only once they are verified is a file mapped, for views that the caller
//! wants.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::arrays::locate;
use super::current::read_current;
use super::manifest::{ComponentRecord, FileRecord, Manifest, VALUES, damaged};
use super::store::CheckpointStore;
use super::stored_file::StoredFile;
use crate::error::{CheckpointDamage, CheckpointError};
use crate::fs::{FilesystemKind, OpenDirectory, PrivateMap};
use crate::tree::{Tag, Token, TreeReader};
use crate::{Error, Result, interrupt, memory, threads};

/// How many files are opened before any is read: an open one stays readable when it is replaced.
const OPENED_AHEAD: usize = 64;

/// A component that was read.
#[derive(Debug)]
pub struct LoadedComponent {
    /// Its name.
    pub name: String,
    /// Its plain values.
    pub tree: Vec<u8>,
    /// The file of its arrays, writable in memory only; `None` where it has none.
    pub map: Option<Arc<PrivateMap>>,
    /// Where each array is in that file, by number.
    pub arrays: Vec<Range<usize>>,
}

/// What to read of a checkpoint, and how.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// The components; `None` for all.
    pub components: Option<&'a [String]>,
    /// Whether every byte is verified first.
    pub verify: bool,
    /// Whether arrays may be views of mapped files. On a network file system none is.
    pub views: bool,
}

impl Load<'_> {
    /// Everything, verified, in memory of its own.
    pub const ALL: Self = Self { components: None, verify: true, views: false };
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
    /// Reads the checkpoint in `path`. Warns where it was saved under another id.
    pub fn load(path: &Path, load: Load<'_>) -> Result<(Manifest, Vec<LoadedComponent>)> {
        let read = |directory: &OpenDirectory, manifest: Manifest| {
            let components = read_components(directory, &manifest, load)?;
            Ok((manifest, components))
        };
        let found = read_current(path, read, |_| true)?;
        warn_of_another_name(path, &found.0.checkpoint_id);
        Ok(found)
    }

    /// Reads the plain values of all components and where their arrays are; of the arrays nothing
    /// is read or checked.
    pub fn outline(path: &Path) -> Result<Vec<LoadedComponent>> {
        let read = |directory: &OpenDirectory, manifest: Manifest| {
            let outlined = |component: &ComponentRecord| {
                let values =
                    StoredFile::open(directory, record(&manifest, directory, &component.values)?)?;
                let tree = values.read_verified(within(&values, component.tree)?)?;
                let arrays = match &component.file {
                    None => Vec::new(),
                    Some(name) => {
                        let file =
                            StoredFile::open(directory, record(&manifest, directory, name)?)?;
                        file.locate(&component.arrays)?
                    }
                };
                Ok(LoadedComponent { name: component.name.clone(), tree, map: None, arrays })
            };
            manifest.components.iter().map(outlined).collect()
        };
        read_current(path, read, |_| true)
    }

    /// Reads back all of the checkpoint in `path`: every byte, and what a load would look up. With
    /// the id that it was saved under; warns where that is another.
    pub fn verify(path: &Path) -> Result<(String, Vec<FileCheck>)> {
        let read = |directory: &OpenDirectory, manifest: Manifest| {
            let interrupt = interrupt::current();
            let check = |(record, opened): (&FileRecord, _)| FileCheck {
                name: record.name.clone(),
                bytes: record.bytes,
                damage: interrupt
                    .scope(|| {
                        let file = opened_or_open(opened, directory, record)?;
                        check_file(&file, &manifest, record)
                    })
                    .err(),
            };
            let opened = open_ahead(directory, &manifest.files);
            let files = &manifest.files;
            let checks =
                threads::run(|| files.par_iter().zip(opened).map(check).collect::<Vec<_>>());
            Ok((manifest.checkpoint_id.clone(), checks))
        };
        let is_whole =
            |(_, checks): &(_, Vec<FileCheck>)| checks.iter().all(|check| check.damage.is_none());
        let found = read_current(path, read, is_whole)?;
        warn_of_another_name(path, &found.0);
        Ok(found)
    }
}

impl Manifest {
    /// The tree of the metadata, verified.
    pub(super) fn read_metadata(&self, directory: &OpenDirectory) -> Result<Vec<u8>> {
        let values = StoredFile::open(directory, record(self, directory, VALUES)?)?;
        values.read_verified(within(&values, self.metadata)?)
    }
}

fn warn_of_another_name(path: &Path, id: &str) {
    if path.file_name().is_some_and(|name| name != id) {
        let path = path.display();
        log::warn!(target: crate::LOGGER,
            "{path} was saved as the checkpoint {id:?}, and renamed or copied since"
        );
    }
}

fn read_components(
    directory: &OpenDirectory,
    manifest: &Manifest,
    load: Load<'_>,
) -> Result<Vec<LoadedComponent>> {
    let wanted = wanted(manifest, load.components)?;
    let views = load.views && FilesystemKind::of(directory.path()) == FilesystemKind::Local;
    let mut files = BTreeMap::new();
    for &index in &wanted {
        let component = &manifest.components[index];
        for (name, views) in [(Some(&component.values), false), (component.file.as_ref(), views)] {
            let Some(name) = name.filter(|name| !files.contains_key(name.as_str())) else {
                continue;
            };
            files.insert(name.as_str(), (record(manifest, directory, name)?, views));
        }
    }
    let opened = open_ahead(directory, files.values().map(|&(record, _)| record));
    let files: Vec<_> = files.into_iter().zip(opened).collect();
    let read = |((name, (record, views)), opened)| {
        let file = opened_or_open(opened, directory, record)?;
        let map = if views { file.map(load.verify)? } else { file.read(load.verify)? };
        Ok((name, (file.header()?, Arc::new(map))))
    };
    let interrupt = interrupt::current();
    let read = |file| interrupt.scope(|| read(file));
    let files: Result<BTreeMap<&str, _>> =
        threads::run(|| files.into_par_iter().map(read).collect());
    let files = files?;
    let finish = |index: usize| {
        let component = &manifest.components[index];
        let (_, values) = &files[component.values.as_str()];
        let tree = values.bytes().get(range(component.tree));
        let tree = tree.ok_or_else(|| damaged(values.path(), CheckpointDamage::TreeBeyondEnd))?;
        let tree = memory::copied(tree, "plain values")?;
        let (map, arrays) = match &component.file {
            None => (None, Vec::new()),
            Some(name) => {
                let (header, map) = &files[name.as_str()];
                let arrays = locate(header, map.len(), &component.arrays);
                let arrays = arrays.map_err(|damage| damaged(map.path(), damage))?;
                (Some(Arc::clone(map)), arrays)
            }
        };
        Ok(LoadedComponent { name: component.name.clone(), tree, map, arrays })
    };
    wanted.into_iter().map(finish).collect()
}

/// The files of these records: of the first ones opened, `None` of the others.
fn open_ahead<'a>(
    directory: &OpenDirectory,
    records: impl IntoIterator<Item = &'a FileRecord>,
) -> Vec<Option<Result<StoredFile<'a>>>> {
    let open =
        |(index, record)| (index < OPENED_AHEAD).then(|| StoredFile::open(directory, record));
    records.into_iter().enumerate().map(open).collect()
}

fn opened_or_open<'a>(
    opened: Option<Result<StoredFile<'a>>>,
    directory: &OpenDirectory,
    record: &'a FileRecord,
) -> Result<StoredFile<'a>> {
    opened.unwrap_or_else(|| StoredFile::open(directory, record))
}

/// Verifies a file, and that the components which are in it can be found there.
fn check_file(file: &StoredFile<'_>, manifest: &Manifest, record: &FileRecord) -> Result<()> {
    file.verify()?;
    for component in &manifest.components {
        if component.values == record.name {
            let tree = file.read_range(within(file, component.tree)?)?;
            walk(&tree, file.path(), component)?;
        }
        if component.file.as_ref() == Some(&record.name) {
            file.locate(&component.arrays)?;
        }
    }
    if record.name == VALUES {
        let metadata = file.read_range(within(file, manifest.metadata)?)?;
        walk(&metadata, file.path(), &ComponentRecord::default())?;
    }
    Ok(())
}

/// Goes through a tree to its end, which refers to no array that the component does not have.
fn walk(tree: &[u8], path: &Path, component: &ComponentRecord) -> Result<()> {
    let check_array = |number: u64| {
        if number < component.arrays.len() as u64 {
            return Ok(());
        }
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        Err(CheckpointError::MissingArray { component: component.name.clone(), number })
    };
    let mut reader = TreeReader::new(tree, path)?;
    let mut missing = 1usize;
    while missing > 0 {
        missing -= 1;
        missing += match reader.next_token()? {
            Token::List(length) => length,
            Token::Map(length) => 2 * length,
            Token::Tag(Tag::Array) => {
                reader.expect_list_of(4)?;
                check_array(reader.expect_count()?)?;
                3
            }
            Token::Tag(Tag::LongText | Tag::LongBytes) => {
                check_array(reader.expect_count()?)?;
                0
            }
            Token::Tag(_) => 1,
            _ => 0,
        };
    }
    reader.finish()
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

fn record<'a>(
    manifest: &'a Manifest,
    directory: &OpenDirectory,
    name: &str,
) -> Result<&'a FileRecord> {
    manifest
        .file(name)
        .ok_or_else(|| damaged(&directory.path().join(name), CheckpointDamage::NotInManifest))
}

/// A part of a file as first byte and length, if it is inside.
fn within(file: &StoredFile<'_>, (start, length): (u64, u64)) -> Result<Range<u64>> {
    let end = start.checked_add(length).filter(|&end| end <= file.size());
    let end = end.ok_or_else(|| damaged(file.path(), CheckpointDamage::TreeBeyondEnd))?;
    Ok(start..end)
}

/// As a range of memory; one that no memory has where it makes no sense.
fn range((start, length): (u64, u64)) -> Range<usize> {
    let bound = |bound: u64| usize::try_from(bound).unwrap_or(usize::MAX);
    bound(start)..bound(start.saturating_add(length))
}
