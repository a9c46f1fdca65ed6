//! The published verification keys: a JSON Web Key Set (RFC 7517) of P-256 keys, and the look-up by `kid`.
//!
//! A key's name is always recomputed from its point; a `kid` that says otherwise refuses the set. Trust in a set comes from
//! where it was read: compiled into the product, or fetched over TLS.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::encoding::{self, JsonError};
use crate::key::{KeyError, PublicKey, Thumbprint};

/// The verification keys that are trusted now: the signing one and those that verify until they are retired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<(Thumbprint, PublicKey)>);

impl KeySet {
    /// A set of these keys in this order; a key given twice stands once.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let mut set = Self::default();
        for key in keys {
            let thumbprint = key.thumbprint();
            if set.get(&thumbprint).is_none() {
                set.0.push((thumbprint, key));
            }
        }
        set
    }

    /// Reads a JWKS document of at most 64 KiB. Keys of other types are passed over (RFC 7517 section 5).
    ///
    /// # Errors
    /// [`JwksError`]. One bad P-256 key refuses the whole set: a set is published whole or not at all.
    pub fn parse(json: &[u8]) -> Result<Self, JwksError> {
        if json.len() > MAX_LEN {
            return Err(JwksError::TooLong);
        }
        let document = encoding::parse_object(json)?;
        let keys = document.get("keys").and_then(Value::as_array);
        let mut set = Self::default();
        for jwk in keys.ok_or(JwksError::NotSet)? {
            let members = jwk.as_object().ok_or(JwksError::NotSet)?;
            if text(members, "kty") != Some("EC") || text(members, "crv") != Some("P-256") {
                continue;
            }
            let key = read_jwk(members)?;
            let thumbprint = key.thumbprint();
            if set.get(&thumbprint).is_some() {
                return Err(JwksError::Repeated);
            }
            set.0.push((thumbprint, key));
        }
        Ok(set)
    }

    /// The JWKS document: each key with `kty`, `crv`, `x`, `y`, `kid`, `alg` "ES256" and `use` "sig".
    pub fn to_json(&self) -> String {
        let keys: Vec<Jwk> = self.keys().map(PublicKey::to_jwk).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    /// The key of this name.
    pub fn get(&self, kid: &Thumbprint) -> Option<&PublicKey> {
        self.0
            .iter()
            .find(|(name, _)| name == kid)
            .map(|(_, key)| key)
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter().map(|(_, key)| key)
    }
}

/// A verification key as a JWK, in the form that we publish (RFC 7517, RFC 7518 section 6.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Always `EC`.
    pub kty: String,
    /// Always `P-256`.
    pub crv: String,
    /// 32 bytes, base64url without padding.
    pub x: String,
    /// 32 bytes, base64url without padding.
    pub y: String,
    /// The RFC 7638 thumbprint.
    pub kid: Thumbprint,
    /// Always `ES256`.
    pub alg: String,
    /// Always `sig`.
    #[serde(rename = "use")]
    pub key_use: String,
}

/// The point of a JWK in our own form; every other member must be as [`PublicKey::to_jwk`] writes it.
impl TryFrom<&Jwk> for PublicKey {
    type Error = JwksError;

    fn try_from(jwk: &Jwk) -> Result<Self, JwksError> {
        let coordinate = |text| encoding::array_from_base64url::<32>(text).ok_or(KeyError::Jwk);
        let key = Self::from_coordinates(&coordinate(&jwk.x)?, &coordinate(&jwk.y)?)?;
        if key.to_jwk() == *jwk {
            Ok(key)
        } else {
            Err(KeyError::Jwk.into())
        }
    }
}

impl PublicKey {
    /// The key as a JWK, with its thumbprint as `kid`.
    pub fn to_jwk(&self) -> Jwk {
        Jwk {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: encoding::base64url(self.x()),
            y: encoding::base64url(self.y()),
            kid: self.thumbprint(),
            alg: "ES256".to_owned(),
            key_use: "sig".to_owned(),
        }
    }

    /// Reads one JWK. Members that say nothing about the key are passed over.
    ///
    /// # Errors
    /// [`JwksError`]: as [`KeySet::parse`], and [`KeyError::Jwk`] for a key of another type.
    pub fn from_jwk(json: &[u8]) -> Result<Self, JwksError> {
        if json.len() > MAX_LEN {
            return Err(JwksError::TooLong);
        }
        read_jwk(&encoding::parse_object(json)?)
    }
}

/// Why a document is no set of verification keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// More than 64 KiB.
    #[error("a key set has at most 64 KiB")]
    TooLong,
    /// Not JSON, or a member stands twice.
    #[error("the key set is no well-formed JSON object, or repeats a member")]
    Json,
    /// No `keys` list of objects.
    #[error("a key set is an object with a list \"keys\" of objects")]
    NotSet,
    /// A key that is no P-256 point.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key for another algorithm or use.
    #[error("the key is not for verifying ES256 signatures (alg, use or key_ops says otherwise)")]
    Purpose,
    /// The `kid` is not the key's thumbprint.
    #[error("a kid is not the RFC 7638 thumbprint of its key")]
    Kid,
    /// One key stands twice.
    #[error("the key set names one key twice")]
    Repeated,
    /// A secret key stands in a public document.
    #[error("the key set contains a private key: withdraw it and make a new key")]
    Private,
}

impl From<JsonError> for JwksError {
    fn from(_: JsonError) -> Self {
        Self::Json
    }
}

fn read_jwk(members: &Map<String, Value>) -> Result<PublicKey, JwksError> {
    if members.contains_key("d") {
        return Err(JwksError::Private);
    }
    if text(members, "kty") != Some("EC") || text(members, "crv") != Some("P-256") {
        return Err(KeyError::Jwk.into());
    }
    let coordinate = |name| {
        text(members, name)
            .and_then(encoding::array_from_base64url::<32>)
            .ok_or(KeyError::Jwk)
    };
    let key = PublicKey::from_coordinates(&coordinate("x")?, &coordinate("y")?)?;
    for (name, wanted) in [("alg", "ES256"), ("use", "sig")] {
        if members.get(name).is_some_and(|value| value != wanted) {
            return Err(JwksError::Purpose);
        }
    }
    if members
        .get("key_ops")
        .is_some_and(|ops| *ops != serde_json::json!(["verify"]))
    {
        return Err(JwksError::Purpose);
    }
    let kid = String::from(key.thumbprint());
    if members.get("kid").is_some_and(|value| *value != kid) {
        return Err(JwksError::Kid);
    }
    Ok(key)
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str)
}

const MAX_LEN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::key::SigningKey;

    fn key(seed: u8) -> PublicKey {
        let key = SigningKey::from_seed(&[seed; 32]).expect("test key");
        key.public_key().clone()
    }

    #[test]
    fn a_set_survives_its_text() {
        let set = KeySet::new([key(1), key(2), key(1)]);
        assert_eq!(set.keys().count(), 2);
        assert_eq!(KeySet::parse(set.to_json().as_bytes()).as_ref(), Ok(&set));
        assert_eq!(set.get(&key(2).thumbprint()), Some(&key(2)));
        assert_eq!(set.get(&key(3).thumbprint()), None);
    }

    #[test]
    fn keys_of_other_types_are_passed_over() {
        let json = KeySet::new([key(1)])
            .to_json()
            .replace("[{", r#"[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"#);
        assert_eq!(KeySet::parse(json.as_bytes()), Ok(KeySet::new([key(1)])));
    }

    #[test]
    fn bad_sets_are_refused_by_name() {
        let good = KeySet::new([key(1)]).to_json();
        let jwk = key(1).to_jwk();
        let other = key(2).to_jwk();
        let again = serde_json::to_string(&jwk).expect("jwk");
        for (json, error) in [
            (String::new(), JwksError::Json),
            ("{}".to_owned(), JwksError::NotSet),
            (r#"{"keys":[1]}"#.to_owned(), JwksError::NotSet),
            (" ".repeat(MAX_LEN + 1), JwksError::TooLong),
            (good.replace("sig", "enc"), JwksError::Purpose),
            (good.replace("ES256", "HS256"), JwksError::Purpose),
            (good.replace("\"sig\"", "null"), JwksError::Purpose),
            (
                good.replace("[{", r#"[{"key_ops":["sign"],"#),
                JwksError::Purpose,
            ),
            (good.replace("[{", r#"[{"d":"AAAA","#), JwksError::Private),
            (
                good.replace(&String::from(jwk.kid), &String::from(other.kid)),
                JwksError::Kid,
            ),
            (
                good.replace(&jwk.x, &other.x),
                JwksError::Key(KeyError::Curve),
            ),
            (good.replace(&jwk.x, "AAAA"), JwksError::Key(KeyError::Jwk)),
            (
                good.replace(&jwk.y, &format!("{}=", jwk.y)),
                JwksError::Key(KeyError::Jwk),
            ),
            (
                good.replace("[{", &format!("[{again},{{")),
                JwksError::Repeated,
            ),
            (good.replace("[{", r#"[{"kty":"EC","#), JwksError::Json),
        ] {
            assert_eq!(
                KeySet::parse(json.as_bytes()).err(),
                Some(error),
                "{json:.200}"
            );
        }
    }

    #[test]
    fn one_jwk_is_read_without_its_optional_members() {
        let jwk = key(1).to_jwk();
        let json = format!(
            r#"{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#,
            jwk.x, jwk.y
        );
        assert_eq!(PublicKey::from_jwk(json.as_bytes()), Ok(key(1)));
        let octets = br#"{"kty":"oct","k":"AAAA"}"#;
        assert_eq!(
            PublicKey::from_jwk(octets),
            Err(JwksError::Key(KeyError::Jwk))
        );
    }
}
