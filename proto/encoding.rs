//! Text forms of bytes and the strict reading of JSON that all artefacts share. Private: other modules give it a meaning.
//!
//! One meaning has one text here: base64 without padding and without stray bits (RFC 4648 section 3.5), JSON objects without
//! repeated members (RFC 8725 section 2.4 names the attacks that laxness allows).

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Bytes as base64url without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// The bytes of canonical base64url without padding, else `None`.
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

/// Exactly `N` bytes of canonical base64url without padding, else `None`.
pub(crate) fn array_from_base64url<const N: usize>(text: &str) -> Option<[u8; N]> {
    from_base64url(text)?.try_into().ok()
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Exactly `N` bytes of lower-case hexadecimal, else `None`.
pub(crate) fn array_from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// Why bytes are no JSON object that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonError {
    /// Not UTF-8, not JSON, followed by something, nested too deep, or with a number that is no integer.
    Syntax,
    /// JSON, but no object.
    NotObject,
    /// An object, at any depth, names one member twice.
    Duplicate,
}

/// Reads one JSON object, integers only, refusing repeated members at every depth. serde_json bounds the depth at 128.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut duplicate = false;
    let value = StrictValue(&mut duplicate)
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(JsonError::NotObject),
        Err(_) if duplicate => Err(JsonError::Duplicate),
        Err(_) => Err(JsonError::Syntax),
    }
}

/// Builds a [`Value`] and notes in the flag when it stopped at a repeated member.
struct StrictValue<'a>(&'a mut bool);

impl<'de> DeserializeSeed<'de> for StrictValue<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with integers only")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(StrictValue(&mut *self.0))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if members.contains_key(&name) {
                *self.0 = true;
                return Err(A::Error::custom("repeated member"));
            }
            let value = entries.next_value_seed(StrictValue(&mut *self.0))?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_one_reading() {
        for (text, error) in [
            ("", JsonError::Syntax),
            ("{}x", JsonError::Syntax),
            ("{\"a\":1.0}", JsonError::Syntax),
            ("{\"a\":-0}", JsonError::Syntax),
            ("[]", JsonError::NotObject),
            ("{\"a\":1,\"a\":1}", JsonError::Duplicate),
            ("{\"a\":1,\"\\u0061\":1}", JsonError::Duplicate),
            ("{\"a\":[{\"b\":1,\"b\":2}]}", JsonError::Duplicate),
        ] {
            assert_eq!(parse_object(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(
            parse_object("[".repeat(100_000).as_bytes()),
            Err(JsonError::Syntax)
        );
        assert!(parse_object(b" {\"a\":[1,{\"a\":null}]} ").is_ok());
    }

    #[test]
    fn base64url_has_one_text() {
        assert_eq!(array_from_base64url("AAE"), Some([0_u8, 1]));
        for bad in ["AAF", "AAE=", "AA+", "AA E", "AAE\n", "A"] {
            assert_eq!(from_base64url(bad), None, "{bad:?}");
        }
    }
}
