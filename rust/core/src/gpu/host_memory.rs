//! The machine's own memory: what there is to work with where there is no GPU.

use std::path::Path;

use crate::memory;

/// Memory of the machine, or of the part of it that this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMemory {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that could be allocated without swapping.
    pub available: u64,
}

/// What this process may use: the machine's memory, or less where a control group or a limit of the
/// process itself (`ulimit -v`, as Grid Engine's `h_vmem`) allows less.
pub fn read() -> Option<HostMemory> {
    let machine = parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = control_groups().filter_map(|group| group_memory(&group));
    let own = memory::limits()
        .map(|(total, used)| HostMemory { total, available: total.saturating_sub(used) });
    Some(groups.chain(own).fold(machine, |memory, limit| HostMemory {
        total: memory.total.min(limit.total),
        available: memory.available.min(limit.available),
    }))
}

fn parse_meminfo(text: &str) -> Option<HostMemory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(HostMemory { total: field("MemTotal")?, available: field("MemAvailable")? })
}

/// This process's control group and all above it, of which each may set a limit.
fn control_groups() -> impl Iterator<Item = std::path::PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let root = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Path::new("/sys/fs/cgroup/memory")
            }
            _ => continue,
        };
        let own = root.join(path.trim_start_matches('/'));
        groups
            .extend(own.ancestors().take_while(|path| path.starts_with(root)).map(Path::to_owned));
    }
    groups.into_iter()
}

/// The limit of one group (version 2 or 1 of control groups), and what is left of it. Its file
/// cache counts as available, for the kernel drops it before it refuses memory.
fn group_memory(group: &Path) -> Option<HostMemory> {
    let number =
        |name: &str| std::fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let total = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let statistics = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cache = ["total_inactive_file ", "inactive_file "].iter().find_map(|name| {
        statistics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    });
    let used = used.saturating_sub(cache.unwrap_or(0));
    Some(HostMemory { total, available: total.saturating_sub(used) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read_in_bytes() {
        let text = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n";
        let expected = HostMemory { total: 1_024_000, available: 614_400 };
        assert_eq!(parse_meminfo(text), Some(expected));
        assert_eq!(parse_meminfo("MemTotal: lots"), None);
    }

    #[test]
    fn a_groups_limit_counts_its_file_cache_as_available() {
        let group = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            #[expect(clippy::disallowed_methods, reason = "a made-up control group")]
            std::fs::write(group.path().join(name), text).unwrap();
        };
        write("memory.max", "1000\n");
        write("memory.current", "900\n");
        write("memory.stat", "anon 500\ninactive_file 300\n");
        let expected = HostMemory { total: 1000, available: 400 };
        assert_eq!(group_memory(group.path()), Some(expected));
        write("memory.max", "max\n");
        assert_eq!(group_memory(group.path()), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = read().unwrap();
        assert!(memory.available > 0 && memory.available <= memory.total);
    }
}
