//! The key that signs checkpoints of the ledger: Ed25519, as witnesses of transparency logs expect it.
//!
//! `keys/log.key` is the seed, 32 raw bytes; `keys/log.pub` the verifier key in the form of c2sp.org/signed-note, to be handed out.
//! They are made at the first start. The name of the log stands in the public file and stays, whatever becomes of the issuer.

use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use crate::audit::note::{self, Checkpoint, VerifierKey};
use crate::keys::file::{self, Access, KeyFileError};
use crate::keys::keys_dir;
use crate::random::{Random, bytes32};

/// The secret half.
const SECRET: &str = "log.key";

/// The half to hand out.
const PUBLIC: &str = "log.pub";

/// A log's key.
pub struct LogKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl LogKey {
    /// Opens the key of a data directory, or makes it.
    ///
    /// * `issuer` - the server's issuer, from which a new log takes its name.
    ///
    /// # Errors
    /// [`KeyFileError`]; one file without the other is refused.
    pub fn open_or_create(
        data_dir: &Path,
        issuer: &str,
        random: &dyn Random,
    ) -> Result<Self, KeyFileError> {
        let (secret, public) = paths(data_dir);
        if !secret.exists() && !public.exists() {
            let seed = zeroize::Zeroizing::new(bytes32(random));
            file::write_new(&secret, &*seed, Access::Owner)?;
        }
        // The public file follows from the secret one: a start that was interrupted between the two goes on here.
        let pair = pair(&secret)?;
        if !public.exists() {
            let verifier = VerifierKey::new(&name_of(issuer), public_of(&pair, &secret)?);
            file::write_new(
                &public,
                format!("{verifier}\n").as_bytes(),
                Access::Everyone,
            )?;
        }
        Self::with(data_dir, pair)
    }

    /// Opens the key of a data directory.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn open(data_dir: &Path) -> Result<Self, KeyFileError> {
        let pair = pair(&paths(data_dir).0)?;
        Self::with(data_dir, pair)
    }

    /// As [`Self::open_or_create`], but what is not there is not written: for a server that is opened to look at its records.
    ///
    /// # Errors
    /// As [`Self::open_or_create`].
    pub fn open_or_passing(
        data_dir: &Path,
        issuer: &str,
        random: &dyn Random,
    ) -> Result<Self, KeyFileError> {
        let (secret, public) = paths(data_dir);
        if public.exists() {
            return Self::open(data_dir);
        }
        let pair = match secret.exists() {
            true => pair(&secret)?,
            false => of_seed(&bytes32(random), &secret)?,
        };
        let verifier = VerifierKey::new(&name_of(issuer), public_of(&pair, &secret)?);
        Ok(Self { pair, verifier })
    }

    fn with(data_dir: &Path, pair: Ed25519KeyPair) -> Result<Self, KeyFileError> {
        let (secret, public) = paths(data_dir);
        let verifier = verifier(data_dir)?;
        match VerifierKey::new(verifier.name(), public_of(&pair, &secret)?) == verifier {
            true => Ok(Self { pair, verifier }),
            false => Err(KeyFileError::malformed(
                &public,
                "it is not the public half of log.key",
            )),
        }
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signed note of a checkpoint.
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let signature = self.pair.sign(checkpoint.text().as_bytes());
        let mut bytes = [0; 64];
        bytes
            .iter_mut()
            .zip(signature.as_ref())
            .for_each(|(to, from)| *to = *from);
        note::note(checkpoint, &self.verifier, &bytes)
    }
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogKey")
            .field(&self.verifier.to_string())
            .finish()
    }
}

/// The verifier key of a data directory.
///
/// # Errors
/// [`KeyFileError`].
pub fn verifier(data_dir: &Path) -> Result<VerifierKey, KeyFileError> {
    read_verifier(&paths(data_dir).1)
}

/// The verifier key in a file.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_verifier(path: &Path) -> Result<VerifierKey, KeyFileError> {
    let bytes = file::read_public(path)?;
    VerifierKey::parse(&String::from_utf8_lossy(&bytes))
        .map_err(|error| KeyFileError::malformed(path, error))
}

fn paths(data_dir: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let dir = keys_dir(data_dir);
    (dir.join(SECRET), dir.join(PUBLIC))
}

fn pair(path: &Path) -> Result<Ed25519KeyPair, KeyFileError> {
    of_seed(&file::read_secret(path)?, path)
}

fn of_seed(seed: &[u8], path: &Path) -> Result<Ed25519KeyPair, KeyFileError> {
    Ed25519KeyPair::from_seed_unchecked(seed)
        .map_err(|_| KeyFileError::malformed(path, "it must be exactly 32 bytes"))
}

fn public_of(pair: &Ed25519KeyPair, path: &Path) -> Result<[u8; 32], KeyFileError> {
    let public = pair.public_key().as_ref().try_into();
    public.map_err(|_| KeyFileError::malformed(path, "its public key has another length"))
}

/// A name without scheme, spaces and plus signs, as c2sp.org/tlog-checkpoint asks for.
fn name_of(issuer: &str) -> String {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    let rest = rest.trim_end_matches('/').replace(['+', ' '], "-");
    format!("{rest}/ledger")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where it likes")]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn the_key_is_made_once_keeps_its_name_and_signs_what_opens() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(keys_dir(dir.path())).unwrap();
        let open = |issuer| LogKey::open_or_create(dir.path(), issuer, &SystemRandom);
        let made = open("https://licenses.vendor.example").unwrap();
        assert_eq!(made.verifier().name(), "licenses.vendor.example/ledger");
        let again = open("https://elsewhere.example").unwrap();
        assert_eq!(again.verifier(), made.verifier());
        let checkpoint = Checkpoint {
            origin: made.verifier().name().to_owned(),
            size: 1,
            root: [0; 32],
            epoch: 1,
        };
        let note = again.sign(&checkpoint);
        assert_eq!(note::open(&note, made.verifier()).unwrap(), checkpoint);

        let (secret, public) = paths(dir.path());
        std::fs::remove_file(&secret).unwrap();
        assert!(matches!(open("x"), Err(KeyFileError::Missing { .. })));
        file::write_new(&secret, &[1; 32], Access::Owner).unwrap();
        assert!(matches!(open("x"), Err(KeyFileError::Malformed { .. })));
        // What was interrupted before the public half was written goes on.
        std::fs::remove_file(&public).unwrap();
        assert_eq!(open("x").unwrap().verifier().name(), "x/ledger");
    }
}
