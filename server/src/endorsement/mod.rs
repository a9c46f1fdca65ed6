//! The endorsement CAs of a server: those that are built in, those of the operator's own directory, and what is denied.
//!
//! What each is worth is decided here, by whoever lists it; the verifier ([`crate::attest`]) only sees the outcome. Nothing is
//! fetched and nothing in evidence has a say. The directory is read when the server starts:
//! ```text
//! <data>/endorsements/   endorsements.toml  *.pem   CAs, each with class, source and SHA-256
//!                        deny.toml                  endorsement keys, CAs and firmware that are believed no more
//! ```

mod authority;
mod built_in;
mod deny;
mod manifest;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::attest::{DenyList, EndorsementClass, Endorsements};
use crate::config::Settings;
pub use crate::endorsement::authority::{Authority, Origin, certificate_der};
use crate::endorsement::manifest::Entry;
use crate::keys::file::{self, Access};

/// Which endorsements a server takes: what `[endorsements]` in the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementSettings {
    /// Whether the built-in CAs count.
    pub built_in: bool,
    /// The operator's directory; without one `<data_dir>/endorsements`, which may be absent.
    pub directory: Option<PathBuf>,
    /// Whether test CAs may be classed as hardware: for trying things out with software TPMs only.
    pub allow_test_roots: bool,
}

impl Default for EndorsementSettings {
    fn default() -> Self {
        Self {
            built_in: true,
            directory: None,
            allow_test_roots: false,
        }
    }
}

/// All that evidence is measured by, with what people want to know about it.
#[derive(Clone, Debug)]
pub struct Bundle {
    authorities: Vec<Authority>,
    deny: DenyList,
    allow_test_roots: bool,
}

impl Bundle {
    /// Reads what `settings` name. Hashes are recomputed; dates are not looked at, since an outdated CA vouches for nothing anyway.
    ///
    /// # Errors
    /// [`EndorsementErrors`] with every mistake; a test CA classed as hardware is one.
    pub fn read(settings: &Settings) -> Result<Self, EndorsementErrors> {
        let chosen = &settings.endorsements;
        let mut mistakes = Vec::new();
        let mut authorities = Vec::new();
        if chosen.built_in {
            built_in::add_to(&mut authorities, &mut mistakes);
        }
        let directory = directory(settings);
        manifest::add_directory(&directory, &mut authorities, &mut mistakes);
        let deny = deny::read(&directory.join(DENY)).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            DenyList::default()
        });
        if !chosen.allow_test_roots {
            mistakes.extend(authorities.iter().filter_map(posing));
        }
        if mistakes.is_empty() {
            Ok(Self {
                authorities,
                deny,
                allow_test_roots: chosen.allow_test_roots,
            })
        } else {
            Err(EndorsementErrors(mistakes))
        }
    }

    /// The CAs: the built-in ones by name of file, then the operator's.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// What is believed no more.
    pub fn deny(&self) -> &DenyList {
        &self.deny
    }

    /// What the verifier takes.
    pub fn endorsements(&self) -> Endorsements {
        let anchors = self.authorities.iter().map(|one| one.anchor().clone());
        let endorsements = Endorsements::new(anchors.collect(), self.deny.clone());
        if self.allow_test_roots {
            endorsements
        } else {
            endorsements.without_software_chips()
        }
    }

    /// What keeps CAs from vouching at `at`: one line each, none when all is well.
    pub fn unfit(&self, at: DateTime<Utc>) -> Vec<String> {
        let unfit = self.authorities.iter().filter_map(|one| {
            let why = one.anchor().check(at).err()?;
            Some(format!("{} ({}): {why}", one.name(), one.file()))
        });
        unfit.collect()
    }
}

/// The endorsements of a server, for its verifier.
///
/// # Errors
/// As [`Bundle::read`].
pub fn load_endorsements(settings: &Settings) -> Result<Endorsements, EndorsementErrors> {
    Ok(Bundle::read(settings)?.endorsements())
}

/// Where the operator's own CAs and the deny list are.
pub fn directory(settings: &Settings) -> PathBuf {
    settings
        .endorsements
        .directory
        .clone()
        .unwrap_or_else(|| settings.data_dir.join("endorsements"))
}

/// A CA that is to be added.
#[derive(Clone, Debug)]
pub struct Addition<'a> {
    /// The certificate: PEM with one certificate, or DER.
    pub bytes: &'a [u8],
    /// What it vouches for.
    pub class: EndorsementClass,
    /// Where it was obtained, in words that another person can follow.
    pub source: &'a str,
    /// The name for people; without one the certificate's common name.
    pub name: Option<&'a str>,
}

/// Adds a CA to the operator's directory. A running server takes it at its next start.
///
/// # Errors
/// [`EndorsementError`]: it is no CA, its key is listed already, or it is a test CA classed as hardware.
pub fn add(settings: &Settings, addition: &Addition<'_>) -> Result<Authority, EndorsementError> {
    let held = Bundle::read(settings).map_err(|e| EndorsementError::new("the bundle", e))?;
    let directory = directory(settings);
    let entry = Entry::new(addition)?;
    let made = Authority::new(&entry, addition.bytes, Origin::Own)?;
    let mut all = held.authorities().iter();
    if let Some(twin) = all.find(|one| one.key_id() == made.key_id()) {
        return Err(EndorsementError::new(
            made.name(),
            format_args!(
                "its key is listed already, as {:?} ({}), class {}",
                twin.name(),
                twin.file(),
                twin.class().as_str()
            ),
        ));
    }
    if let Some(mistake) = posing(&made).filter(|_| !settings.endorsements.allow_test_roots) {
        return Err(mistake);
    }
    make_directory(&directory)?;
    let file = directory.join(made.file());
    file::write_new(&file, made.pem().as_bytes(), Access::Everyone)
        .map_err(|e| EndorsementError::new(made.file(), e))?;
    manifest::append(&directory, &entry)?;
    Ok(made)
}

/// One mistake in the endorsements: what is wrong with which file or CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementError {
    what: String,
    why: String,
}

impl EndorsementError {
    pub(crate) fn new(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self {
            what: what.to_string(),
            why: why.to_string(),
        }
    }
}

impl fmt::Display for EndorsementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endorsements: {}: {}", self.what, self.why)
    }
}

impl std::error::Error for EndorsementError {}

/// Every mistake in the endorsements, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementErrors(Vec<EndorsementError>);

impl fmt::Display for EndorsementErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for EndorsementErrors {}

/// A test CA that would make anybody's software count as hardware.
fn posing(one: &Authority) -> Option<EndorsementError> {
    let hardware = matches!(
        one.class(),
        EndorsementClass::Chip | EndorsementClass::Dongle
    );
    (hardware && one.is_test()).then(|| {
        EndorsementError::new(
            one.file(),
            format_args!(
                "{:?} is a test CA and is classed {}: whoever has its key makes any number of TPMs; class it \"software\", or leave it out (endorsements.allow_test_roots is for trials only)",
                one.name(),
                one.class().as_str()
            ),
        )
    })
}

fn make_directory(directory: &Path) -> Result<(), EndorsementError> {
    fs::create_dir_all(directory).map_err(|e| EndorsementError::new(directory.display(), e))
}

/// The text of a file that may be absent.
fn optional(path: &Path) -> Result<Option<String>, EndorsementError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(EndorsementError::new(path.display(), e)),
    }
}

const DENY: &str = "deny.toml";

/// Whether a text is a deny list.
pub(crate) fn is_deny_list(text: &str) -> bool {
    deny::parse(text).is_ok()
}

#[cfg(test)]
mod tests;
