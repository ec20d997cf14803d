//! How much memory this process uses, and getting a lot of it: an error where there is none, for a
//! plain vector would end the process.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use zerocopy::FromZeros;

use crate::error::NoMemory;
use crate::{Error, Result};

/// Bytes of published files that are mapped at the moment.
pub(crate) static MAPPED: AtomicU64 = AtomicU64::new(0);

/// Bytes that large pieces leave of a limit: what is small (a message, what a thread keeps for
/// itself) is taken without asking, and ends the process where there is none. Several threads may
/// take large pieces at the same time.
const HEADROOM: u64 = 8 << 20;

/// Bytes of a large piece.
const LARGE: usize = 64 << 10;

/// Room for as many values as a file or a caller says.
pub(crate) fn try_reserve<T>(count: usize) -> Result<Vec<T>, NoMemory> {
    let mut values = Vec::new();
    let bytes = checked_bytes::<T>(count)?;
    values.try_reserve_exact(count).map_err(|_| NoMemory { bytes })?;
    Ok(values)
}

/// The same, filled with zeros, which fresh pages of the system are already.
pub(crate) fn try_zeroed<T: FromZeros>(count: usize) -> Result<Vec<T>, NoMemory> {
    let bytes = checked_bytes::<T>(count)?;
    T::new_vec_zeroed(count).map_err(|_| NoMemory { bytes })
}

/// Bytes of `count` values: an error where little memory would be left, see [`HEADROOM`].
fn checked_bytes<T>(count: usize) -> Result<usize, NoMemory> {
    let bytes = count.saturating_mul(size_of::<T>());
    if bytes >= LARGE && !is_within_limit(bytes as u64) {
        return Err(NoMemory { bytes });
    }
    Ok(bytes)
}

/// As [`try_reserve`]; the error says what for.
pub(crate) fn reserve<T>(count: usize, purpose: &str) -> Result<Vec<T>> {
    try_reserve(count).map_err(|NoMemory { bytes }| out_of_memory(bytes, purpose))
}

/// As [`try_zeroed`]; the error says what for.
pub(crate) fn zeroed<T: FromZeros>(count: usize, purpose: &str) -> Result<Vec<T>> {
    try_zeroed(count).map_err(|NoMemory { bytes }| out_of_memory(bytes, purpose))
}

fn out_of_memory(bytes: usize, purpose: &str) -> Error {
    Error::OutOfMemory { bytes, purpose: purpose.to_owned() }
}

/// Bytes of this process that are in memory, or 0 where the system doesn't tell.
pub fn resident_bytes() -> u64 {
    status_bytes(1)
}

/// A field of the kernel's sizes of this process, 0 where the system doesn't tell. It is looked at
/// where there may be no memory left, so this takes none.
fn status_bytes(field: usize) -> u64 {
    let mut text = [0; 256];
    let pages = File::open("/proc/self/statm")
        .and_then(|mut file| file.read(&mut text))
        .ok()
        .and_then(|length| str::from_utf8(&text[..length]).ok())
        .and_then(|text| text.split_whitespace().nth(field)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// The limits of this process's address space and data (`ulimit -v`, `ulimit -d`) in bytes, each
/// with what counts towards it already.
pub fn limits() -> impl Iterator<Item = (u64, u64)> {
    [limit(Resource::As, 0), limit(Resource::Data, 5)].into_iter().flatten()
}

fn limit(limit: Resource, field: usize) -> Option<(u64, u64)> {
    Some((getrlimit(limit).current?, status_bytes(field)))
}

/// Bytes of published files that this process has mapped. Only what was touched of them is in
/// memory, and the system takes it back when it needs the room.
pub fn mapped_bytes() -> u64 {
    MAPPED.load(Ordering::Relaxed)
}

/// An error where the limits of this process leave less than `bytes` and [`HEADROOM`], for
/// `purpose`: libraries that need memory end the process where they get none. Without a limit the
/// system gives what it has not got, and this is free.
pub fn check_limit(bytes: u64, purpose: &str) -> Result<()> {
    match is_within_limit(bytes) {
        true => Ok(()),
        false => Err(out_of_memory(bytes as usize, purpose)),
    }
}

/// As [`check_limit`], for steps of which the system says what has failed.
pub(crate) fn check_room(bytes: u64) -> io::Result<()> {
    if is_within_limit(bytes) { Ok(()) } else { Err(Errno::NOMEM.into()) }
}

/// As [`check_room`], for what only takes addresses: files that are mapped to be read.
pub(crate) fn check_addresses(bytes: u64) -> io::Result<()> {
    let is_left = limit(Resource::As, 0).is_none_or(|limit| leaves(limit, bytes));
    if is_left { Ok(()) } else { Err(Errno::NOMEM.into()) }
}

fn is_within_limit(bytes: u64) -> bool {
    limits().all(|limit| leaves(limit, bytes))
}

/// Whether `bytes` more leave something of a limit.
fn leaves((limit, used): (u64, u64), bytes: u64) -> bool {
    used.saturating_add(bytes).saturating_add(HEADROOM) <= limit
}

/// Room for more values in those that grow: for twice as many, or where there is too little memory
/// for just these. The error says what for.
pub(crate) fn reserve_more<T>(values: &mut Vec<T>, more: usize, purpose: &str) -> Result<()> {
    let (length, capacity) = (values.len(), values.capacity());
    if capacity - length >= more {
        return Ok(());
    }
    let mut reserve = |count: usize| {
        let bytes = checked_bytes::<T>(count)?;
        values.try_reserve_exact(count - length).map_err(|_| NoMemory { bytes })
    };
    let needed = length.saturating_add(more);
    reserve(needed.max(2 * capacity))
        .or_else(|_| reserve(needed))
        .map_err(|NoMemory { bytes }| out_of_memory(bytes, purpose))
}

/// A copy of `bytes`, for `purpose`.
pub fn copied(bytes: &[u8], purpose: &str) -> Result<Vec<u8>> {
    let mut copy = reserve(bytes.len(), purpose)?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_there_is_not_is_an_error() {
        assert_eq!(zeroed::<u32>(3, "three").unwrap(), [0; 3]);
        let error = zeroed::<u64>(usize::MAX / 16, "all").unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    }

    #[test]
    fn large_pieces_leave_some_of_a_limit() {
        let limit = (100 << 20, 50 << 20);
        assert!(leaves(limit, (50 << 20) - HEADROOM));
        assert!(!leaves(limit, (50 << 20) - HEADROOM + 1));
        assert!(!leaves(limit, u64::MAX));
    }

    #[test]
    fn a_running_process_has_memory() {
        assert!(resident_bytes() > 100_000);
    }
}
