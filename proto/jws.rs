//! The one signature format of Upkeep: JWS compact (RFC 7515), ES256 only, with an explicit `typ` and `kid` (RFC 8725).
//!
//! The bytes signed are the bytes carried: a text is verified first and decoded second, and never encoded again. The header never
//! chooses code: its algorithm is pinned, its `typ` must be the one that the caller asks for, and the only key it can name is one
//! that the caller already trusts. This module checks no dates and no devices; [`crate::check`] and the server do.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::encoding::{self, JsonError};
use crate::key::{PublicKey, Thumbprint, VerifyFn};

/// The most bytes that an artefact's text may have.
pub const MAX_LEN: usize = 16 * 1024;

/// What kind of artefact a text is: the JWS `typ`, so that none can stand in for another (RFC 8725 section 3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Typ {
    /// An activation certificate.
    Activation,
    /// A deactivation ticket.
    Ticket,
    /// A deactivation proof by a software device key.
    Proof,
    /// A deactivation receipt.
    Receipt,
    /// An upgrade code in its file form.
    Upgrade,
    /// An unlock code for a dongle.
    Unlock,
    /// A release manifest.
    Release,
    /// A certified key list.
    Keys,
}

impl Typ {
    /// Every kind, in the order of a license's life.
    pub const ALL: [Self; 8] = [
        Self::Activation,
        Self::Ticket,
        Self::Proof,
        Self::Receipt,
        Self::Upgrade,
        Self::Unlock,
        Self::Release,
        Self::Keys,
    ];

    /// The header's `typ`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activation => "upkeep-activation+jwt",
            Self::Ticket => "upkeep-ticket+jwt",
            Self::Proof => "upkeep-proof+jwt",
            Self::Receipt => "upkeep-receipt+jwt",
            Self::Upgrade => "upkeep-upgrade+jwt",
            Self::Unlock => "upkeep-unlock+jwt",
            Self::Release => "upkeep-release+jwt",
            Self::Keys => "upkeep-keys+jwt",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|typ| typ.as_str() == text)
    }
}

/// The claims of one kind of artefact.
pub trait Claims: Serialize + DeserializeOwned + PartialEq {
    /// The kind, which the header must state.
    const TYP: Typ;
}

/// Claims whose signature was verified; only [`verify`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified<C> {
    claims: C,
    kid: Thumbprint,
}

impl<C> Verified<C> {
    /// The claims.
    pub fn claims(&self) -> &C {
        &self.claims
    }

    /// The claims, giving up the evidence that they were verified.
    pub fn into_claims(self) -> C {
        self.claims
    }

    /// The key that signed.
    pub fn kid(&self) -> Thumbprint {
        self.kid
    }
}

/// Verifies an artefact of the kind `C` and then reads its claims.
///
/// Trust: `text` is untrusted. `find_key` gives the keys that the caller trusts for this kind; a key of another name than the one
/// asked for is not used. Checks, in this order, one error each: length, parts, header, `alg`, `typ`, `kid`, signature, claims.
///
/// # Errors
/// [`JwsError`] names the check that failed.
///
/// Source: RFC 7515 section 5.2; RFC 8725 sections 3.1, 3.2, 3.10, 3.11.
pub fn verify<C: Claims>(
    text: &str,
    find_key: impl FnOnce(&Thumbprint) -> Option<PublicKey>,
    verify: VerifyFn,
) -> Result<Verified<C>, JwsError> {
    if text.len() > MAX_LEN {
        return Err(JwsError::TooLong);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(JwsError::Parts)?;
    let (header, payload) = two_parts(signed)?;
    let kid = read_header(header, Some(C::TYP))?.kid;
    let key = find_key(&kid)
        .filter(|key| key.thumbprint() == kid)
        .ok_or(JwsError::UnknownKey)?;
    let signature = encoding::array_from_base64url(signature).ok_or(JwsError::SignatureForm)?;
    if !verify(&key, signed.as_bytes(), &signature) {
        return Err(JwsError::Signature);
    }
    let claims = read_claims(payload)?;
    Ok(Verified { claims, kid })
}

/// What a key signs: `header.payload`. It is made, stored durably, signed and only then sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningInput {
    text: String,
    typ: Typ,
    kid: Thumbprint,
}

impl SigningInput {
    /// Encodes claims for the key named `kid`.
    ///
    /// # Errors
    /// [`JwsError::TooLong`] when the sealed text would be longer than [`MAX_LEN`]; [`JwsError::Claims`] when the claims would not be read back.
    pub fn new<C: Claims>(kid: Thumbprint, claims: &C) -> Result<Self, JwsError> {
        let typ = C::TYP;
        let unreadable = |error: serde_json::Error| JwsError::Claims(error.to_string());
        let json = serde_json::to_vec(claims).map_err(unreadable)?;
        // As [`read_claims`] will: what is read again is the same.
        let again: C = serde_json::from_slice(&json).map_err(unreadable)?;
        if again != *claims {
            return Err(JwsError::Claims(
                "a value is not in its canonical form".to_owned(),
            ));
        }
        let payload = encoding::base64url(&json);
        let text = format!("{}.{payload}", header(typ, &kid));
        if text.len() > MAX_INPUT_LEN {
            return Err(JwsError::TooLong);
        }
        Ok(Self { text, typ, kid })
    }

    /// Reads back a stored text. The payload is looked at as base64url only; [`SigningInput::claims`] reads it.
    ///
    /// # Errors
    /// [`JwsError`] for a text that is no header and payload of this profile.
    pub fn parse(text: &str) -> Result<Self, JwsError> {
        if text.len() > MAX_INPUT_LEN {
            return Err(JwsError::TooLong);
        }
        let (header, payload) = two_parts(text)?;
        let Header { typ, kid } = read_header(header, None)?;
        encoding::from_base64url(payload).ok_or(JwsError::Payload)?;
        Ok(Self {
            text: text.to_owned(),
            typ,
            kid,
        })
    }

    /// The same claims, byte for byte, for another key to sign.
    #[must_use]
    pub fn for_key(&self, kid: Thumbprint) -> Self {
        let payload = self.text.split_once('.').map_or("", |(_, payload)| payload);
        Self {
            text: format!("{}.{payload}", header(self.typ, &kid)),
            typ: self.typ,
            kid,
        }
    }

    /// The claims inside, for showing what is being signed. Trust in them is trust in where this text was stored.
    ///
    /// # Errors
    /// [`JwsError::Typ`] for another kind, [`JwsError::Claims`] and the like when they cannot be read.
    pub fn claims<C: Claims>(&self) -> Result<C, JwsError> {
        if self.typ != C::TYP {
            return Err(JwsError::Typ);
        }
        let (_, payload) = two_parts(&self.text)?;
        read_claims(payload)
    }

    /// The text `header.payload`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The bytes that the key signs: SHA-256, then ECDSA.
    pub fn signing_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The kind of artefact.
    pub fn typ(&self) -> Typ {
        self.typ
    }

    /// The key that must sign.
    pub fn kid(&self) -> Thumbprint {
        self.kid
    }

    /// The artefact's text: this input with its signature, `r || s`.
    pub fn seal(&self, signature: &[u8; 64]) -> String {
        format!("{}.{}", self.text, encoding::base64url(signature))
    }
}

/// Why a text is no artefact of the wanted kind. Nothing in it was acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    // The text is malformed.
    /// More than [`MAX_LEN`] bytes.
    #[error("an artefact has at most 16 KiB")]
    TooLong,
    /// Not three parts (two for a signing input).
    #[error("an artefact has three parts separated by dots")]
    Parts,
    /// The header is not canonical base64url of a JSON object.
    #[error("the header is not canonical base64url of one JSON object")]
    Header,
    /// The payload is not canonical base64url.
    #[error("the payload is not canonical base64url of one JSON object")]
    Payload,
    /// The signature is not canonical base64url of 64 bytes.
    #[error("the signature is not canonical base64url of 64 bytes")]
    SignatureForm,
    /// Header or claims name one member twice.
    #[error("a member stands twice")]
    Repeated,

    // The header asks for what this profile does not do.
    /// A header member other than `alg`, `kid` and `typ`, such as `jwk`, `x5c` or `crit`.
    #[error("the header has a member other than alg, kid and typ")]
    HeaderMember,
    /// An algorithm other than ES256, or none.
    #[error("the algorithm is not ES256")]
    Alg,
    /// Another kind of artefact.
    #[error("this is another kind of artefact (typ)")]
    Typ,
    /// The `kid` is missing or no thumbprint.
    #[error("the kid is missing or no key thumbprint")]
    Kid,

    // The signer is not trusted.
    /// No trusted key has this name.
    #[error(
        "the key that signed is not known: it may be newer than this installation, or not the vendor's"
    )]
    UnknownKey,
    /// The signature does not verify.
    #[error("the signature does not verify: the text was changed or cut")]
    Signature,

    // The signer is trusted but wrote something that this version does not read.
    /// A claim is unknown, missing, repeated or has a value that does not fit.
    #[error("the claims do not fit this kind of artefact: {0}")]
    Claims(String),
}

impl From<JsonError> for JwsError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Duplicate => Self::Repeated,
            JsonError::Syntax | JsonError::NotObject => Self::Payload,
        }
    }
}

struct Header {
    typ: Typ,
    kid: Thumbprint,
}

/// The header's part of the text. Its length does not depend on the key.
fn header(typ: Typ, kid: &Thumbprint) -> String {
    let header = format!("{BEFORE_KID}{kid}{BEFORE_TYP}{}{BEHIND_TYP}", typ.as_str());
    encoding::base64url(header.as_bytes())
}

/// Reads what [`header`] wrote; `None` for another spelling, however good.
fn own_header(text: &[u8]) -> Option<Header> {
    let inner = text.strip_prefix(BEFORE_KID.as_bytes())?;
    let inner = str::from_utf8(inner.strip_suffix(BEHIND_TYP.as_bytes())?).ok()?;
    let (kid, typ) = inner.split_once(BEFORE_TYP)?;
    Some(Header {
        typ: Typ::parse(typ)?,
        kid: Thumbprint::parse(kid).ok()?,
    })
}

fn two_parts(text: &str) -> Result<(&str, &str), JwsError> {
    text.split_once('.')
        .filter(|(_, payload)| !payload.contains('.'))
        .ok_or(JwsError::Parts)
}

/// Reads the header, whose members are exactly `alg`, `kid` and `typ`; `wanted` is the kind it must state.
fn read_header(text: &str, wanted: Option<Typ>) -> Result<Header, JwsError> {
    let bytes = encoding::from_base64url(text).ok_or(JwsError::Header)?;
    // Nearly every header is one of ours, and needs no JSON.
    if let Some(own) = own_header(&bytes).filter(|own| wanted.is_none_or(|typ| typ == own.typ)) {
        return Ok(own);
    }
    let members = encoding::parse_object(&bytes).map_err(|error| match error {
        JsonError::Duplicate => JwsError::Repeated,
        JsonError::Syntax | JsonError::NotObject => JwsError::Header,
    })?;
    if !members
        .keys()
        .all(|name| ["alg", "kid", "typ"].contains(&name.as_str()))
    {
        return Err(JwsError::HeaderMember);
    }
    if text_of(&members, "alg") != Some(ALG) {
        return Err(JwsError::Alg);
    }
    let typ = text_of(&members, "typ")
        .and_then(Typ::parse)
        .filter(|typ| wanted.is_none_or(|wanted| wanted == *typ))
        .ok_or(JwsError::Typ)?;
    let kid = text_of(&members, "kid")
        .and_then(|kid| Thumbprint::parse(kid).ok())
        .ok_or(JwsError::Kid)?;
    Ok(Header { typ, kid })
}

/// Reads claims in their one form: decoding and encoding again must give the same members and values, so that a list cannot pass
/// for an object, `null` for an absent claim, or a second spelling for the first.
fn read_claims<C: Claims>(payload: &str) -> Result<C, JwsError> {
    let bytes = encoding::from_base64url(payload).ok_or(JwsError::Payload)?;
    let members = Value::Object(encoding::parse_object(&bytes)?);
    let claims = C::deserialize(&members).map_err(|error| JwsError::Claims(error.to_string()))?;
    if serde_json::to_value(&claims).is_ok_and(|again| again == members) {
        Ok(claims)
    } else {
        Err(JwsError::Claims(
            "a value is not in its canonical form".to_owned(),
        ))
    }
}

fn text_of<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str)
}

const ALG: &str = "ES256";
const BEFORE_KID: &str = r#"{"alg":"ES256","kid":""#;
const BEFORE_TYP: &str = r#"","typ":""#;
const BEHIND_TYP: &str = r#""}"#;
/// What remains for the signing input: a dot and 86 characters of signature come after it.
const MAX_INPUT_LEN: usize = MAX_LEN - 87;
