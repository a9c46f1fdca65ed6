//! The programmes that a server knows, by id and revision. Reading the files is the caller's.

use std::collections::BTreeMap;

use upkeep::id::ProgrammeId;
use upkeep::serial::SerialNumber;

use super::error::{ProgrammeError, ProgrammeErrors};
use super::{CredentialKind, Programme};

/// A set of programmes. Of each there may be several revisions: new licenses are sold under the newest, and a contract keeps the
/// one that it was bought under (N-12).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programmes(BTreeMap<ProgrammeId, BTreeMap<u32, Programme>>);

impl Programmes {
    /// The programmes that come with the server: the vendors of the source documents.
    ///
    /// # Errors
    /// None in a released server: a test reads them all.
    pub fn built_in() -> Result<Self, ProgrammeErrors> {
        Self::load(&BUILT_IN)
    }

    /// Reads programmes from pairs of file name and text.
    ///
    /// # Errors
    /// Everything that is wrong in any of them, and revisions that two files share.
    pub fn load<N, T>(files: &[(N, T)]) -> Result<Self, ProgrammeErrors>
    where
        N: AsRef<str>,
        T: AsRef<str>,
    {
        let mut found = Self::default();
        let mut origins: BTreeMap<(ProgrammeId, u32), &str> = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, text) in files {
            match Programme::parse(name.as_ref(), text.as_ref()) {
                Err(problems) => errors.extend(problems),
                Ok(programme) => {
                    let (id, revision) = (programme.id().clone(), programme.revision());
                    let origin = origins.insert((id.clone(), revision), name.as_ref());
                    if let Some(first) = origin {
                        let problem = format!("{first} holds {id} in revision {revision} as well");
                        errors.push(ProgrammeError::new(name.as_ref(), "programme.rev", problem));
                    }
                    found.insert(programme);
                }
            }
        }
        if errors.is_empty() {
            Ok(found)
        } else {
            Err(ProgrammeErrors::new(errors))
        }
    }

    /// The programme called `id` in its newest revision: the one that is sold.
    pub fn current(&self, id: &ProgrammeId) -> Option<&Programme> {
        self.0.get(id)?.values().next_back()
    }

    /// The programme called `id` in one revision.
    pub fn get(&self, id: &ProgrammeId, revision: u32) -> Option<&Programme> {
        self.0.get(id)?.get(&revision)
    }

    /// Adds a revision, in place of the same one.
    pub fn insert(&mut self, programme: Programme) {
        self.0
            .entry(programme.id().clone())
            .or_default()
            .insert(programme.revision(), programme);
    }

    /// Whether any programme takes such a secret for this serial. Asked before a serial is looked up, so that the answer says
    /// nothing about whether the serial exists.
    pub fn any_takes(&self, serial: &SerialNumber, kind: CredentialKind) -> bool {
        self.revisions()
            .any(|programme| programme.credential_kinds(serial).contains(&kind))
    }

    /// The newest revision of each, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Programme> {
        self.0
            .values()
            .filter_map(|known| known.values().next_back())
    }

    /// Every revision of each.
    pub fn revisions(&self) -> impl Iterator<Item = &Programme> {
        self.0.values().flat_map(BTreeMap::values)
    }
}

/// The names and texts of the built-in files.
pub fn built_in_files() -> impl Iterator<Item = (&'static str, &'static str)> {
    BUILT_IN.into_iter()
}

const BUILT_IN: [(&str, &str); 5] = [
    (
        "perkinelmer.toml",
        include_str!("../../../programmes/perkinelmer.toml"),
    ),
    (
        "seetec-maintenance.toml",
        include_str!("../../../programmes/seetec-maintenance.toml"),
    ),
    (
        "seetec.toml",
        include_str!("../../../programmes/seetec.toml"),
    ),
    (
        "smartertools.toml",
        include_str!("../../../programmes/smartertools.toml"),
    ),
    (
        "teklynx.toml",
        include_str!("../../../programmes/teklynx.toml"),
    ),
];
