//! Looking at a store without taking it: beside the server that uses it, and without changing a byte.
//!
//! What is seen is what the disk showed at that moment; a server that is at work moves on.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::entry::Head;
use super::error::StoreError;
use super::fs::{Access, Fs, FsFile, RealFs};
use super::home;
use super::ledger::Ledger;
use super::marker::Marker;

/// What a look at a store found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The ledger's last sound entry.
    pub head: Head,
    /// When that was written, in milliseconds since 1970 UTC.
    pub written_at_unix_ms: Option<i64>,
    /// What a start would make of the index.
    pub index: IndexState,
    /// The size of the reserve in bytes; `None` when it was given up.
    pub reserve: Option<u64>,
    /// The process that holds the store, as far as this machine tells.
    pub holder: Option<u32>,
}

/// What the index's marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// It was closed at this entry.
    Closed(u64),
    /// It is open, or was left open by a process of this run of the machine: it is believed.
    Open,
    /// It was left open when the machine stopped, or is a copy of an open one: the next start makes it anew.
    LeftOpen,
    /// The marker is missing, as after a fault of the index, or unreadable: the next start makes the index anew.
    Unknown,
}

/// Looks at the store in `dir`: the format, the ends of the ledger's segments, every entry of the last one.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Damaged`], [`StoreError::Newer`], [`StoreError::Io`].
pub fn look(dir: &Path) -> Result<Look, StoreError> {
    let fs = Untouched;
    home::check_store(&fs, dir)?;
    home::check_format(&fs, dir)?;
    let (head, written_at_unix_ms) = Ledger::look(&fs, &dir.join("ledger"))?;
    Ok(Look {
        head,
        written_at_unix_ms,
        index: Marker::read(&fs, dir)?.index_state(&fs),
        reserve: std::fs::metadata(dir.join("reserve"))
            .ok()
            .map(|found| found.len()),
        holder: holder(dir),
    })
}

/// Asks the system rather than the lock: trying it could get in the way of a server that starts just now.
///
/// Source: proc_locks(5): `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF`.
fn holder(dir: &Path) -> Option<u32> {
    let lock = std::fs::metadata(dir.join("lock")).ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    holder_in(&locks, lock.dev(), lock.ino())
}

fn holder_in(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let held = |begin: &str, end: &str| {
        locks.lines().find_map(|line| {
            let mut fields = line
                .split_whitespace()
                .skip_while(|field| *field != "WRITE");
            let pid = fields.nth(1)?.parse().ok()?;
            let file = fields.next()?;
            (file.starts_with(begin) && file.ends_with(end)).then_some(pid)
        })
    };
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    // btrfs and overlayfs have no disk of their own, and `stat` makes up another minor number for their files than stands here.
    held(&file, &file).or_else(|| match major {
        0 => held("00:", &format!(":{inode}")),
        _ => None,
    })
}

/// The disk, read only. What would change it is left undone: whoever looks wants no repair.
struct Untouched;

impl Fs for Untouched {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFs.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealFs.exists(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        match access {
            Access::Read => RealFs.open(path, access),
            Access::Write | Access::Create => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_tree(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn boot_id(&self) -> Option<String> {
        RealFs.boot_id()
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        RealFs.free(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_who_locks_this_file_and_not_another_of_its_number() {
        let locks = "\
1: POSIX  ADVISORY  WRITE 11 fd:01:77 0 EOF
2: FLOCK  ADVISORY  WRITE 12 103:0a:77 0 EOF
3: FLOCK  ADVISORY  READ 13 08:02:77 0 EOF
4: FLOCK  ADVISORY  WRITE 14 08:02:77 0 EOF
5: FLOCK  ADVISORY  WRITE 15 00:2f:78 0 EOF
6: FLOCK  ADVISORY  WRITE 16 00:30:78 0 EOF
";
        let on = |major, minor| rustix::fs::makedev(major, minor);
        assert_eq!(holder_in(locks, on(8, 2), 77), Some(14));
        assert_eq!(holder_in(locks, on(0x103, 10), 77), Some(12));
        assert_eq!(holder_in(locks, on(8, 3), 77), None);
        assert_eq!(holder_in(locks, on(8, 2), 7), None);
        // Where devices are made up, the right one comes first and any other will do.
        assert_eq!(holder_in(locks, on(0, 0x30), 78), Some(16));
        assert_eq!(holder_in(locks, on(0, 0x31), 78), Some(15));
        assert_eq!(holder_in(locks, on(0, 0x31), 77), None);
    }
}
