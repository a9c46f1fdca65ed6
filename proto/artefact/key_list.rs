//! The certified key list: which keys sign for a vendor, as the vendor's offline root says.

use serde::{Deserialize, Serialize};

use super::{ClaimError, Issuer, Readable, shown};
use crate::jwks::Jwk;
use crate::jws::{Claims, Typ};
use crate::key::{PublicKey, Thumbprint};

/// The issuing keys of a server, certified by the vendor's root key, so that a product that pins the root learns new keys without
/// being built again. [`crate::trust::TrustedKeys`] says what a product does with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "KeyListWire", into = "KeyListWire")]
pub struct KeyList {
    iss: Issuer,
    iat: u64,
    sequence: u64,
    keys: Vec<CertifiedKey>,
}

impl KeyList {
    /// The list number `sequence`, of 1 to [`MAX_KEYS`] keys.
    ///
    /// * `iat` - when it is certified, in seconds since 1970.
    /// * `sequence` - from 1; each list of a root has a higher one than the list before.
    ///
    /// # Errors
    /// [`ClaimError::KeyList`] for no key, too many, one that stands twice, or the number 0.
    pub fn new(
        iss: Issuer,
        iat: u64,
        sequence: u64,
        keys: Vec<CertifiedKey>,
    ) -> Result<Self, ClaimError> {
        let mut names: Vec<_> = keys.iter().map(CertifiedKey::kid).collect();
        names.sort_unstable_by_key(|kid| *kid.as_bytes());
        names.dedup();
        if sequence == 0 || !(1..=MAX_KEYS).contains(&keys.len()) || names.len() != keys.len() {
            return Err(ClaimError::KeyList);
        }
        Ok(Self {
            iss,
            iat,
            sequence,
            keys,
        })
    }

    /// Whose keys these are.
    pub fn issuer(&self) -> &Issuer {
        &self.iss
    }

    /// When it was certified, in seconds since 1970.
    pub fn issued_at(&self) -> u64 {
        self.iat
    }

    /// Its number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The keys.
    pub fn keys(&self) -> &[CertifiedKey] {
        &self.keys
    }

    /// The key of this name.
    pub fn get(&self, kid: &Thumbprint) -> Option<&CertifiedKey> {
        self.keys.iter().find(|key| key.kid == *kid)
    }
}

impl Claims for KeyList {
    const TYP: Typ = Typ::Keys;
}

impl Readable for KeyList {
    fn readable(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("Keys of", self.iss.to_string()),
            ("List number", self.sequence.to_string()),
            ("Certified", shown(self.iat)),
        ];
        rows.extend(self.keys.iter().map(|key| ("Key", key.to_string())));
        rows
    }
}

/// One issuing key in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CertifiedKeyWire", into = "CertifiedKeyWire")]
pub struct CertifiedKey {
    key: PublicKey,
    kid: Thumbprint,
    state: KeyState,
    not_before: u64,
    signs_until: Option<u64>,
}

impl CertifiedKey {
    /// * `not_before` - when it begins to sign, in seconds since 1970.
    /// * `signs_until` - when it signs no more (exclusive); `None` while nobody has decided that.
    pub fn new(key: PublicKey, state: KeyState, not_before: u64, signs_until: Option<u64>) -> Self {
        let kid = key.thumbprint();
        Self {
            key,
            kid,
            state,
            not_before,
            signs_until,
        }
    }

    /// The same key after a list that leaves it out: it verifies no more.
    #[must_use]
    pub(crate) fn ended(self) -> Self {
        let state = match self.state {
            KeyState::Revoked => KeyState::Revoked,
            KeyState::Next | KeyState::Signing | KeyState::Verifying | KeyState::Retired => {
                KeyState::Retired
            }
        };
        Self { state, ..self }
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its name.
    pub fn kid(&self) -> Thumbprint {
        self.kid
    }

    /// What it was good for when the list was certified.
    pub fn state(&self) -> KeyState {
        self.state
    }

    /// When it begins to sign, in seconds since 1970.
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// When it signs no more (exclusive), in seconds since 1970.
    pub fn signs_until(&self) -> Option<u64> {
        self.signs_until
    }
}

/// One line: name, state, window.
impl std::fmt::Display for CertifiedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kid, state) = (self.kid, self.state.as_str());
        write!(f, "{kid} {state}, signs from {}", shown(self.not_before))?;
        match self.signs_until {
            Some(end) => write!(f, " until {}", shown(end)),
            None => Ok(()),
        }
    }
}

/// The life of an issuing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "the life of a key is these five")]
pub enum KeyState {
    /// Published, and does not sign yet.
    Next,
    /// Signs.
    Signing,
    /// Signs no more; what it signed counts.
    Verifying,
    /// What it signed counts no more.
    Retired,
    /// It fell into other hands: nothing that it signed counts, whatever it says of the day.
    Revoked,
}

impl KeyState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Verifying => "verifying",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }

    /// Whether what such a key signed counts.
    pub fn verifies(self) -> bool {
        match self {
            // A list may be carried for weeks: a key that was to come then signs now.
            Self::Next | Self::Signing | Self::Verifying => true,
            Self::Retired | Self::Revoked => false,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyListWire {
    iss: Issuer,
    iat: u64,
    sequence: u64,
    keys: Vec<CertifiedKey>,
}

impl TryFrom<KeyListWire> for KeyList {
    type Error = ClaimError;

    fn try_from(wire: KeyListWire) -> Result<Self, ClaimError> {
        Self::new(wire.iss, wire.iat, wire.sequence, wire.keys)
    }
}

impl From<KeyList> for KeyListWire {
    fn from(list: KeyList) -> Self {
        Self {
            iss: list.iss,
            iat: list.iat,
            sequence: list.sequence,
            keys: list.keys,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertifiedKeyWire {
    jwk: Jwk,
    state: KeyState,
    not_before: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signs_until: Option<u64>,
}

impl TryFrom<CertifiedKeyWire> for CertifiedKey {
    type Error = ClaimError;

    fn try_from(wire: CertifiedKeyWire) -> Result<Self, ClaimError> {
        let key = PublicKey::try_from(&wire.jwk).map_err(|_| ClaimError::KeyList)?;
        // A window that ends before it begins is a mistake of whoever wrote the list.
        if wire.signs_until.is_some_and(|end| end < wire.not_before) {
            return Err(ClaimError::KeyList);
        }
        Ok(Self::new(
            key,
            wire.state,
            wire.not_before,
            wire.signs_until,
        ))
    }
}

impl From<CertifiedKey> for CertifiedKeyWire {
    fn from(key: CertifiedKey) -> Self {
        Self {
            jwk: key.key.to_jwk(),
            state: key.state,
            not_before: key.not_before,
            signs_until: key.signs_until,
        }
    }
}

/// So many fit into one artefact.
pub const MAX_KEYS: usize = 24;
