//! The programmes that a server knows, by id. Reading the files is the caller's.

use std::collections::BTreeMap;

use upkeep::id::ProgrammeId;
use upkeep::serial::SerialNumber;

use super::error::{ProgrammeError, ProgrammeErrors};
use super::{CredentialKind, Programme};

/// A set of programmes with different ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programmes(BTreeMap<ProgrammeId, Programme>);

impl Programmes {
    /// The four programmes that come with the server: the vendors of the source documents.
    ///
    /// # Errors
    /// None in a released server: a test reads them all.
    pub fn built_in() -> Result<Self, ProgrammeErrors> {
        Self::load(&BUILT_IN)
    }

    /// Reads programmes from pairs of file name and text.
    ///
    /// # Errors
    /// Everything that is wrong in any of them, and ids that two files share.
    pub fn load<N, T>(files: &[(N, T)]) -> Result<Self, ProgrammeErrors>
    where
        N: AsRef<str>,
        T: AsRef<str>,
    {
        let mut found = BTreeMap::new();
        let mut origins: BTreeMap<ProgrammeId, &str> = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, text) in files {
            match Programme::parse(name.as_ref(), text.as_ref()) {
                Err(problems) => errors.extend(problems),
                Ok(programme) => {
                    let id = programme.id().clone();
                    if let Some(first) = origins.insert(id.clone(), name.as_ref()) {
                        let problem = format!("{id} is the id of {first} as well");
                        errors.push(ProgrammeError::new(name.as_ref(), "programme.id", problem));
                    }
                    found.insert(id, programme);
                }
            }
        }
        if errors.is_empty() {
            Ok(Self(found))
        } else {
            Err(ProgrammeErrors::new(errors))
        }
    }

    /// The programme called `id`.
    pub fn get(&self, id: &ProgrammeId) -> Option<&Programme> {
        self.0.get(id)
    }

    /// Whether any programme takes such a secret for this serial. Asked before a serial is looked up, so that the answer says
    /// nothing about whether the serial exists.
    pub fn any_takes(&self, serial: &SerialNumber, kind: CredentialKind) -> bool {
        self.iter()
            .any(|programme| programme.credential_kinds(serial).contains(&kind))
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Programme> {
        self.0.values()
    }
}

const BUILT_IN: [(&str, &str); 4] = [
    (
        "perkinelmer.toml",
        include_str!("../../../programmes/perkinelmer.toml"),
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
