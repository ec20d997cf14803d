//! Entries: a file is an error or its data, whichever way it is asked for.

use std::path::Path;

use proteinflex_core::Error;
use proteinflex_core::trajectory::{Entry, Frames};

use super::place::place;
use super::reseal::reseal;

/// Entries that say they are larger are opened and not read: a run should take microseconds.
const MOST_BYTES: u64 = 1 << 22;

/// The bytes as a finished and as an unfinished file.
pub fn container(data: &[u8]) {
    let path = place("entry", data);
    drop(read(Entry::open(&path), &path));
    drop(read(Entry::open_unfinished(&path), &path));
}

/// The same after every checksum was recomputed, so that only the content can be wrong.
pub fn container_resealed(data: &[u8]) {
    let mut file = data.to_vec();
    reseal(&mut file);
    container(&file);
}

fn read(opened: Result<Entry, Error>, path: &Path) -> Result<(), Error> {
    let entry = checked(opened)?;
    assert_eq!(entry.path(), path);
    drop(checked(entry.tree().map(std::borrow::Cow::into_owned)));
    let topology = checked(entry.topology());
    if entry.raw_bytes() > MOST_BYTES {
        return Ok(());
    }
    let is_whole = entry.verify().is_ok_and(|report| report.is_whole());
    assert!(topology.is_ok() || !is_whole, "verify did not see what topology does");
    for (number, spec) in entry.arrays().iter().enumerate() {
        let mut out = vec![0; spec.bytes()? as usize];
        let read = checked(entry.read_array(number as u32, &mut out));
        assert!(read.is_ok() || !is_whole, "verify did not see what read_array does");
        if let Ok(Some(view)) = entry.view_array(number as u32) {
            assert!(view == out && read.is_ok());
            assert!(view.is_empty() || view.as_ptr().addr().is_multiple_of(64));
        }
    }
    for field in 0..entry.fields().len() {
        read_field(&entry, field, is_whole)?;
    }
    Ok(())
}

fn read_field(entry: &Entry, field: usize, is_whole: bool) -> Result<(), Error> {
    let spec = &entry.fields()[field];
    let (item, n_frames) = (spec.item_bytes()? as usize, entry.n_frames());
    if item == 0 {
        return entry.read_frames(field, Frames::range(0, n_frames), None, &mut []);
    }
    let mut all = vec![0; item * n_frames as usize];
    let read = checked(entry.read_frames(field, Frames::range(0, n_frames), None, &mut all));
    assert!(read.is_ok() || !is_whole, "verify did not see what read_frames does");
    if read.is_err() || n_frames == 0 {
        return Ok(());
    }
    if let Ok(Some(view)) = entry.view_frames(field) {
        assert!(view == all);
    }
    // Backwards, every second frame, the last row and then the first.
    let backwards = Frames { start: n_frames - 1, count: n_frames.div_ceil(2), step: -2 };
    let last = (spec.rows() - 1) as u32;
    let atoms = [last, 0];
    let row = item / spec.rows() as usize;
    let mut some = vec![0; 2 * row * backwards.count as usize];
    entry.read_frames(field, backwards, Some(&atoms), &mut some)?;
    for (index, found) in some.chunks_exact(2 * row).enumerate() {
        let start = backwards.at(index as u64) as usize * item;
        let frame = &all[start..start + item];
        assert!(found[..row] == frame[item - row..] && found[row..] == frame[..row]);
    }
    Ok(())
}

/// Any error is about the file.
fn checked<T>(result: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &result {
        let is_about_the_file = matches!(
            error,
            Error::Corrupt { .. } | Error::NotThisFormat { .. } | Error::NewerFormat { .. }
        );
        assert!(is_about_the_file, "{error}");
    }
    result
}
