//! Who holds a lock, as far as the system says.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

/// Describes who holds the `flock` of a file.
pub(super) fn describe(file: &File) -> String {
    let holder = std::fs::read_to_string("/proc/locks")
        .ok()
        .zip(file.metadata().ok())
        .and_then(|(locks, found)| pid_of_holder(&locks, found.dev(), found.ino()));
    match holder {
        Some(pid) => process(pid),
        None => "a process that can't be seen from here (of another machine or container)".into(),
    }
}

/// The process that holds the lock of this inode, in the words of `/proc/locks`:
/// `1: FLOCK  ADVISORY  WRITE 1234 00:2f:567 0 EOF`.
fn pid_of_holder(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let of_device = format!("{:02x}:{:02x}", rustix::fs::major(device), rustix::fs::minor(device));
    let mut elsewhere = None;
    for line in locks.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, place, ..] = words[..] else { continue };
        let Some((found_device, found_inode)) = place.rsplit_once(':') else { continue };
        if found_inode.parse() != Ok(inode) {
            continue;
        }
        // A process of another namespace has the id 0.
        let pid = pid.parse().ok().filter(|&pid| pid > 0);
        if found_device == of_device {
            return pid;
        }
        // A layered file system shows another device here than there.
        elsewhere = pid;
    }
    elsewhere
}

fn process(pid: u32) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
    let command = read("comm").map_or(String::new(), |name| {
        format!(" ({})", name.trim().chars().filter(|c| !c.is_control()).collect::<String>())
    });
    let is_stopped = read("status").is_ok_and(|text| {
        text.lines().any(|line| line.starts_with("State:") && line.contains("stopped"))
    });
    let remedy =
        if is_stopped { format!(", which is stopped: kill -CONT {pid}") } else { "".into() };
    format!("process {pid}{command}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_device_and_inode_and_waiters_are_none() {
        let locks = "1: POSIX  ADVISORY  WRITE 1 08:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 08:02:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 34 08:01:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 56 08:01:77 0 EOF\n";
        let device = rustix::fs::makedev(8, 1);
        assert_eq!(pid_of_holder(locks, device, 77), Some(34));
        assert_eq!(pid_of_holder(locks, rustix::fs::makedev(0, 50), 77), Some(34));
        assert_eq!(pid_of_holder(locks, device, 78), None);
    }
}
