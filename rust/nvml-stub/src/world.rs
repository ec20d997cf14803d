//! The world that the stub shows: a text file, read again whenever it has changed, or once where
//! [`STILL_VARIABLE`] is set: then a call costs as little as the driver's quick ones.
//!
//! Lines are `key = value`; `#` begins a comment. Before the first section stand the machine's
//! keys, then one `[gpu]` section per GPU, each followed by the `[mig]` sections of its instances.
//! Memory is in MiB. Faults are keys too, of the machine or of one GPU:
//!
//! - `err.FUNCTION = CODE` or `CODE@N`: return that code, or only from the Nth call on;
//! - `err.* = CODE`: the same for every function;
//! - `sleep.FUNCTION = SECONDS`: hang for that long first;
//! - `missing = FUNCTION, …`: return FUNCTION_NOT_FOUND, as an older driver does.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Names the file that describes the world.
pub const WORLD_VARIABLE: &str = "NVML_STUB_WORLD";

/// Says that the world will not change.
pub const STILL_VARIABLE: &str = "NVML_STUB_STILL";

/// The keys of one section.
#[derive(Debug, Default, Clone)]
pub struct Keys(BTreeMap<String, String>);

impl Keys {
    /// The text of a key, or nothing where it is not given.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The number of a key, or `default`.
    pub fn number(&self, key: &str, default: u64) -> u64 {
        self.text(key).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// The parts of a key that lists things with commas.
    pub fn list(&self, key: &str) -> impl Iterator<Item = &str> {
        self.text(key).unwrap_or("").split(',').map(str::trim).filter(|part| !part.is_empty())
    }
}

/// A GPU and its MIG instances.
#[derive(Debug, Default, Clone)]
pub struct Gpu {
    /// The keys of the GPU itself.
    pub keys: Keys,
    /// The keys of each instance.
    pub instances: Vec<Keys>,
}

/// A machine with its driver and GPUs.
#[derive(Debug, Default, Clone)]
pub struct World {
    /// The keys before the first section.
    pub keys: Keys,
    /// The GPUs, in the driver's order.
    pub gpus: Vec<Gpu>,
}

impl World {
    fn parse(text: &str) -> Self {
        let mut world = Self::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or("").trim();
            match line {
                "" => {}
                "[gpu]" => world.gpus.push(Gpu::default()),
                "[mig]" => {
                    if let Some(gpu) = world.gpus.last_mut() {
                        gpu.instances.push(Keys::default());
                    }
                }
                _ => {
                    let Some((key, value)) = line.split_once('=') else { continue };
                    let keys = match world.gpus.last_mut() {
                        None => &mut world.keys,
                        Some(gpu) => gpu.instances.last_mut().unwrap_or(&mut gpu.keys),
                    };
                    keys.0.insert(key.trim().to_owned(), value.trim().to_owned());
                }
            }
        }
        world
    }
}

/// The world as its file is now, or nothing where there is no such file.
pub fn now() -> Option<Arc<World>> {
    type Seen = ((u64, u64, i64, i64), Arc<World>);
    static SEEN: Mutex<Option<Seen>> = Mutex::new(None);
    static STILL: LazyLock<Option<Arc<World>>> = LazyLock::new(|| {
        std::env::var_os(STILL_VARIABLE)?;
        let text = std::fs::read_to_string(std::env::var_os(WORLD_VARIABLE)?).ok()?;
        Some(Arc::new(World::parse(&text)))
    });
    if let Some(world) = &*STILL {
        return Some(Arc::clone(world));
    }
    let path = std::env::var_os(WORLD_VARIABLE)?;
    let metadata = std::fs::metadata(&path).ok()?;
    let version = (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, world)) = &*seen
        && *known == version
    {
        return Some(Arc::clone(world));
    }
    let world = Arc::new(World::parse(&std::fs::read_to_string(&path).ok()?));
    *seen = Some((version, Arc::clone(&world)));
    Some(world)
}
