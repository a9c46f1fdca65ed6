//! The keys of a data directory under a passphrase, for a backup that shall hold them.
//!
//! Layout: a line of text with the format, 16 bytes of salt, then what AES-256-GCM makes of the files (RandomizedNonceKey of
//! aws-lc-rs: the nonce is drawn by the library), with all before it as associated data. The key is argon2id of the passphrase with
//! 64 MiB, 3 passes, 1 lane (RFC 9106 section 4, second choice, but one lane).
//!
//! Inside: for each file its name below `keys/` and its bytes, each after a length (u32, big-endian).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use argon2::{Algorithm, Argon2, ParamsBuilder, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::keys::file::{self, Access, KeyFileError};
use crate::keys::{Beside, keys_dir};
use crate::random::Random;

/// The first line.
const FORMAT: &[u8] = b"UPKEEP SEALED KEYS 1\n";

const SALT_BYTES: usize = 16;

/// For the tag, and for certificates that grow while they are sealed.
const SPARE_BYTES: usize = 64 * 1024;

/// A shorter passphrase is refused.
pub const MIN_PASSPHRASE: usize = 12;

/// Why keys could not be sealed or unsealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A key file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The passphrase is too short.
    #[error("the passphrase has less than {MIN_PASSPHRASE} characters; take a longer one")]
    Short,
    /// The passphrase is another, or the bytes were changed.
    #[error("the sealed keys do not open: the passphrase is another one, or the file was changed")]
    Closed,
    /// It is something else.
    #[error("these are no sealed keys of a form that this release knows")]
    Malformed,
}

/// Seals everything in `keys/` of a data directory.
///
/// # Errors
/// [`SealError::Short`], [`SealError::File`].
pub fn seal(data_dir: &Path, passphrase: &str, random: &dyn Random) -> Result<Vec<u8>, SealError> {
    check(passphrase)?;
    let root = keys_dir(data_dir);
    let files = files(&root)?;
    // Reserved at once: a vector that grows leaves copies of the secrets behind.
    let bytes: usize = files.iter().map(|path| room(path)).sum();
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes.saturating_add(SPARE_BYTES)));
    for path in files {
        let name = path.strip_prefix(&root).unwrap_or(&path);
        let secret = match read(&path) {
            // A customer's key goes when the customer is forgotten, also in this moment.
            Err(KeyFileError::Missing { .. }) if name.starts_with("customers") => continue,
            secret => secret?,
        };
        for part in [name.to_string_lossy().as_bytes(), &secret] {
            let length = u32::try_from(part.len()).map_err(|_| SealError::Malformed)?;
            plain.extend_from_slice(&length.to_be_bytes());
            plain.extend_from_slice(part);
        }
    }
    let mut sealed = FORMAT.to_vec();
    let mut salt = [0; SALT_BYTES];
    random.fill(&mut salt);
    sealed.extend_from_slice(&salt);
    let key = key(passphrase, &salt)?;
    let nonce = key.seal_in_place_append_tag(Aad::from(&sealed), &mut *plain);
    let nonce = nonce.map_err(|_| SealError::Malformed)?;
    sealed.extend_from_slice(nonce.as_ref());
    sealed.extend_from_slice(&plain);
    Ok(sealed)
}

/// Whether keys can be sealed under a passphrase.
///
/// # Errors
/// [`SealError::Short`].
pub fn check(passphrase: &str) -> Result<(), SealError> {
    match passphrase.chars().count() < MIN_PASSPHRASE {
        true => Err(SealError::Short),
        false => Ok(()),
    }
}

/// The bytes that a file takes, its name and both lengths among them; more than it takes.
fn room(path: &Path) -> usize {
    let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
    usize::try_from(bytes)
        .unwrap_or(0)
        .saturating_add(path.as_os_str().len())
        .saturating_add(8)
}

/// Keys that were unsealed, in memory.
pub struct Unsealed(Zeroizing<Vec<u8>>);

/// Opens sealed keys.
///
/// # Errors
/// [`SealError::Closed`] for another passphrase; [`SealError::Malformed`].
pub fn unseal(sealed: &[u8], passphrase: &str) -> Result<Unsealed, SealError> {
    let rest = sealed.strip_prefix(FORMAT).ok_or(SealError::Malformed)?;
    let (salt, rest) = rest
        .split_first_chunk::<SALT_BYTES>()
        .ok_or(SealError::Malformed)?;
    let (nonce, body) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(SealError::Malformed)?;
    let bound = sealed.get(..FORMAT.len() + SALT_BYTES).unwrap_or_default();
    let key = key(passphrase, salt)?;
    let mut plain = Zeroizing::new(body.to_vec());
    let opened = key.open_in_place(Nonce::from(nonce), Aad::from(bound), &mut plain);
    let length = opened.map_err(|_| SealError::Closed)?.len();
    plain.truncate(length);
    Ok(Unsealed(plain))
}

impl Unsealed {
    /// Lays them down as `keys/` of a data directory that has none.
    ///
    /// # Errors
    /// [`SealError`]; nothing is there then.
    pub fn lay_down(&self, data_dir: &Path) -> Result<(), SealError> {
        let target = keys_dir(data_dir);
        if target.exists() {
            return Err(KeyFileError::Exists { path: target }.into());
        }
        let beside = Beside::new(data_dir)?;
        let mut left: &[u8] = &self.0;
        // One sync for all files of a directory: there is a key for each customer.
        let mut files: BTreeMap<(PathBuf, bool), Vec<File<'_>>> = BTreeMap::new();
        while !left.is_empty() {
            let (name, rest) = part(left).ok_or(SealError::Malformed)?;
            let (secret, rest) = part(rest).ok_or(SealError::Malformed)?;
            left = rest;
            let name = Path::new(std::str::from_utf8(name).map_err(|_| SealError::Malformed)?);
            if !name
                .components()
                .all(|one| matches!(one, Component::Normal(_)))
            {
                return Err(SealError::Malformed);
            }
            let path = beside.directory().join(name);
            let dir = path.parent().unwrap_or(beside.directory()).to_owned();
            let place = files.entry((dir, is_public(name))).or_default();
            place.push((path, secret));
        }
        for ((dir, is_public), files) in &files {
            file::make_directory(dir)?;
            let access = match is_public {
                true => Access::Everyone,
                false => Access::Owner,
            };
            let files: Vec<_> = files
                .iter()
                .map(|(path, secret)| (path.as_path(), *secret))
                .collect();
            file::write_new_all(dir, &files, access)?;
        }
        beside.rename(&target)?;
        Ok(())
    }
}

fn key(passphrase: &str, salt: &[u8; SALT_BYTES]) -> Result<RandomizedNonceKey, SealError> {
    let mut params = ParamsBuilder::new();
    params.m_cost(64 * 1024).t_cost(3).p_cost(1);
    let params = params.build().map_err(|_| SealError::Malformed)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(|_| SealError::Malformed)?;
    RandomizedNonceKey::new(&AES_256_GCM, &*key).map_err(|_| SealError::Malformed)
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Certificates and public keys are for everybody, all else for the owner alone.
fn is_public(name: &Path) -> bool {
    name.extension()
        .is_some_and(|kind| kind == "crt" || kind == "pub")
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    match is_public(path) {
        true => file::read_public(path).map(Zeroizing::new),
        false => file::read_secret(path),
    }
}

/// All files below a directory, sorted.
fn files(dir: &Path) -> Result<Vec<PathBuf>, KeyFileError> {
    let io = |source| KeyFileError::Io {
        path: dir.to_owned(),
        attempt: "read",
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".new-") {
            // A file that is being written, or that a crash left.
            continue;
        }
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

/// Where a file belongs, and what is in it.
type File<'a> = (PathBuf, &'a [u8]);

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where it likes")]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    const PASSPHRASE: &str = "correct horse battery";

    #[test]
    fn what_was_sealed_is_laid_down_again_and_opens_for_nobody_else() {
        let from = tempfile::tempdir().unwrap();
        let keys = keys_dir(from.path());
        file::make_directory(&keys.join("customers")).unwrap();
        file::write_new(&keys.join("pepper"), &[1; 32], Access::Owner).unwrap();
        file::write_new(&keys.join("ca.crt"), b"PEM", Access::Everyone).unwrap();
        file::write_new(&keys.join("customers/c1.key"), &[2; 32], Access::Owner).unwrap();
        // A key that is being written has a name of its own, and counts when it is there.
        fs::write(keys.join("customers/.new-half"), b"half").unwrap();
        let sealed = seal(from.path(), PASSPHRASE, &SystemRandom).unwrap();
        assert!(
            !sealed
                .windows(8)
                .any(|part| part == [1; 8] || part == [2; 8])
        );
        assert!(matches!(
            seal(from.path(), "too short", &SystemRandom),
            Err(SealError::Short)
        ));

        let to = tempfile::tempdir().unwrap();
        let refused = unseal(&sealed, "another passphrase").map(drop);
        assert!(matches!(refused, Err(SealError::Closed)));
        for at in [0, 25, 40, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(unseal(&changed, PASSPHRASE).is_err(), "byte {at}");
        }
        assert!(!keys_dir(to.path()).exists());
        let unsealed = unseal(&sealed, PASSPHRASE).unwrap();
        unsealed.lay_down(to.path()).unwrap();
        let laid = keys_dir(to.path());
        assert_eq!(*file::read_secret(&laid.join("pepper")).unwrap(), [1; 32]);
        assert_eq!(
            *file::read_secret(&laid.join("customers/c1.key")).unwrap(),
            [2; 32]
        );
        assert_eq!(file::read_public(&laid.join("ca.crt")).unwrap(), b"PEM");
        assert!(!laid.join("customers/.new-half").exists());
        assert!(matches!(
            unsealed.lay_down(to.path()),
            Err(SealError::File(KeyFileError::Exists { .. }))
        ));
    }
}
