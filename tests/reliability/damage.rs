//! What a power cut may do to sled's files, which the simulated disk does not see: they were never synced.

use std::path::{Path, PathBuf};

use crate::coin::Coin;

/// Deletes, shortens, garbles or leaves the index in a data directory.
///
/// * `closed` - a copy of the index as it was closed and synced, while nothing durable says that it was opened again: then only
///   what has changed since can be lost.
pub(crate) fn damage(data: &Path, coin: &mut Coin, closed: Option<&Path>) {
    let (index, old) = (data.join("index"), data.join("index.old"));
    if let Some(closed) = closed {
        mix(&index, closed, coin);
        return;
    }
    if !index.exists() {
        return;
    }
    if old.exists() && coin.one_in(2) {
        // The rename was never made durable.
        std::fs::remove_dir_all(&index).unwrap();
        std::fs::rename(&old, &index).unwrap();
    }
    let files = files(&index);
    match coin.below(6) {
        0 => {}
        1 => std::fs::remove_dir_all(&index).unwrap(),
        2 => {
            for file in files {
                if coin.one_in(2) {
                    std::fs::remove_file(file).unwrap();
                }
            }
        }
        way => {
            for file in files {
                let mut bytes = std::fs::read(&file).unwrap();
                let length = bytes.len();
                match way {
                    3 => bytes.truncate(coin.below(length + 1)),
                    4 => bytes.fill(0),
                    _ => {
                        for page in bytes.chunks_mut(4096) {
                            if coin.one_in(3) {
                                page.fill(coin.toss() as u8);
                            }
                        }
                    }
                }
                std::fs::write(&file, bytes).unwrap();
            }
        }
    }
}

/// Each page of what was changed since the index was closed is there or not.
fn mix(index: &Path, closed: &Path, coin: &mut Coin) {
    let relative = |dir: &Path| -> Vec<PathBuf> {
        let inside = files(dir).into_iter();
        inside
            .map(|path| path.strip_prefix(dir).unwrap().to_owned())
            .collect()
    };
    let mut names = relative(closed);
    names.extend(relative(index));
    names.sort();
    names.dedup();
    for name in names {
        let (now, then) = (index.join(&name), closed.join(&name));
        let (new, old) = (std::fs::read(&now).ok(), std::fs::read(&then).ok());
        let left = match (new, old) {
            (new, old) if new == old => continue,
            (Some(new), Some(old)) => {
                let length = if coin.one_in(2) { new.len() } else { old.len() };
                let mut bytes = vec![0; length];
                for (at, page) in bytes.chunks_mut(4096).enumerate() {
                    let from = if coin.one_in(2) { &new } else { &old };
                    let from = from.get(at * 4096..).unwrap_or_default();
                    let length = from.len().min(page.len());
                    page[..length].copy_from_slice(&from[..length]);
                }
                Some(bytes)
            }
            (new, old) => {
                if coin.one_in(2) {
                    new
                } else {
                    old
                }
            }
        };
        match left {
            Some(bytes) => std::fs::write(&now, bytes).unwrap(),
            None => drop(std::fs::remove_file(&now)),
        }
    }
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&path, target).unwrap();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
