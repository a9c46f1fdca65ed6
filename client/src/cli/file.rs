//! Files that a person names: read with a limit, `-` for standard input, and written whole or not at all.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use upkeep::armor;
use upkeep::artefact::ReleaseManifest;
use zeroize::Zeroizing;

use crate::cli::exit::Failure;
use crate::cli::output;

/// A file, or `-` for standard input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Standard input or output.
    Standard,
    /// A file.
    File(PathBuf),
}

impl FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "-" => Self::Standard,
            path => Self::File(path.into()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("standard input"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The text of at most 64 KiB at this place.
///
/// # Errors
/// Exit 2: it can't be read, is longer, or is no UTF-8 text.
pub(super) fn read(place: &Place) -> Result<Zeroizing<String>, Failure> {
    let read = match place {
        Place::Standard => read_limited(io::stdin().lock()),
        Place::File(path) => File::open(path).and_then(read_limited),
    };
    let bytes = read.map_err(|error| unreadable(place, error))?;
    if bytes.len() > MAX_LEN {
        return Err(unreadable(place, "it has more than 64 KiB"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(unreadable(place, "it is no text (UTF-8)")),
    }
}

/// As [`read`], for a file.
///
/// # Errors
/// As [`read`].
pub(super) fn read_path(path: &Path) -> Result<Zeroizing<String>, Failure> {
    read(&Place::File(path.to_owned()))
}

/// The signed text of the release manifest in a file, armoured or bare, if one was named.
///
/// # Errors
/// Exit 2 when the file can't be read, 9 when it holds something else.
pub(super) fn read_manifest(path: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(path) = path else {
        return Ok(None);
    };
    let text = read_path(path)?;
    armor::read_either::<ReleaseManifest>(&text)
        .map(Some)
        .map_err(|error| {
            Failure::artefact(
                format_args!("{} is no release manifest: {error}", path.display()),
                "use the file that the vendor ships with the build",
            )
        })
}

/// Writes `text` to a file, or prints it. What is there already is replaced only when `replaceable` says so.
///
/// # Errors
/// Exit 2 when another file is in the way, exit 1 when the system refuses.
pub(super) fn write(
    place: &Place,
    text: &str,
    replaceable: impl FnOnce(&str) -> bool,
) -> Result<(), Failure> {
    let path = match place {
        Place::Standard => {
            return output::line(text.trim_end());
        }
        Place::File(path) => path,
    };
    check_free(path, replaceable)?;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = File::create(&part)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&part, path));
    written.map_err(|error| {
        // What is left of a failed attempt helps nobody.
        let _ = fs::remove_file(&part);
        Failure::fault(
            format_args!("{} can't be written: {error}", path.display()),
            "make room there or name another file, then run the same command again: nothing is lost",
        )
    })
}

/// Whether [`write()`] would refuse to replace what is at `path`.
///
/// # Errors
/// Exit 2.
pub(super) fn check_free(
    path: &Path,
    replaceable: impl FnOnce(&str) -> bool,
) -> Result<(), Failure> {
    let free = match fs::symlink_metadata(path) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(_) => read_path(path).is_ok_and(|text| replaceable(&text)),
    };
    if free {
        return Ok(());
    }
    Err(Failure::usage(
        format_args!(
            "{} is another file, and it is not overwritten",
            path.display()
        ),
        "name a file that does not exist yet",
    ))
}

fn read_limited(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let limit = u64::try_from(MAX_LEN).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::new());
    source.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(place: &Place, why: impl fmt::Display) -> Failure {
    Failure::usage(
        format_args!("{place} can't be read: {why}"),
        "check the file's name and content",
    )
}

const MAX_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("a.txt");
        let place = Place::File(path.clone());
        write(&place, "first\n", |_| false).expect("free");
        assert!(write(&place, "second\n", |_| false).is_err());
        assert_eq!(fs::read_to_string(&path).expect("there"), "first\n");
        write(&place, "second\n", |old| old == "first\n").expect("ours");
        assert_eq!(fs::read_to_string(&path).expect("there"), "second\n");
    }

    #[test]
    fn long_and_binary_files_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("a");
        fs::write(&path, vec![b'a'; MAX_LEN]).expect("write");
        assert!(read_path(&path).is_ok());
        fs::write(&path, vec![b'a'; MAX_LEN + 1]).expect("write");
        assert!(read_path(&path).is_err());
        fs::write(&path, [0xff, 0xfe]).expect("write");
        assert!(read_path(&path).is_err());
        assert!(read_path(dir.path()).is_err());
    }
}
