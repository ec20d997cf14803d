//! Bytes that are read by ranges from elsewhere than a file: an object store, a web server.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use crate::Result;

/// The bytes of one range, in the memory in which they arrived.
pub type RangeBytes = Box<dyn AsRef<[u8]> + Send + Sync>;

/// An object of which ranges are read. It is one version of it: where another has taken its place,
/// reading is an error.
pub trait RangeSource: fmt::Debug + Send + Sync {
    /// What it is called in messages: its URL, without credentials.
    fn path(&self) -> &Path;

    /// Its length in bytes.
    fn length(&self) -> u64;

    /// The bytes of these ranges, all of which lie inside the object; of each as many as were asked
    /// for. It may have several requests in flight, and looks for [`crate::interrupt`] while it
    /// waits.
    fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<RangeBytes>>;

    /// Something of what was read is damaged: nothing of it may come from a cache again.
    fn distrust(&self) {}
}
