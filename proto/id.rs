//! Identifiers: UUIDv7 text for what the server names, short names for what people name.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is no identifier of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not a UUID in its hyphenated form.
    #[error("must be a UUID such as 0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11")]
    NotUuid,
    /// Not 1 to 63 characters of `[a-z0-9._-]`, starting with a letter or digit.
    #[error(
        "must be 1 to 63 characters of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
    )]
    NotName,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Parses the hyphenated text form, in either case.
            ///
            /// # Errors
            /// [`IdError::NotUuid`].
            pub fn parse(text: &str) -> Result<Self, IdError> {
                if text.len() != 36 {
                    return Err(IdError::NotUuid);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| IdError::NotUuid)
            }

            /// Wraps a UUID made elsewhere (the server makes version 7, RFC 9562 section 5.7).
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The 16 bytes, big-endian: version 7 sorts by time of creation.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Reads back what [`Self::as_bytes`] gave.
            ///
            /// # Errors
            /// [`IdError::NotUuid`] when there are not exactly 16 bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                Uuid::from_slice(bytes).map(Self).map_err(|_| IdError::NotUuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

uuid_id! {
    /// One seat bound to one device key.
    ActivationId
}
uuid_id! {
    /// One enrollment of a hardware key.
    DeviceId
}
uuid_id! {
    /// One request to update a license; its upgrade code carries the same id as `jti`.
    UpgradeId
}
uuid_id! {
    /// One quote for maintenance.
    QuoteId
}
uuid_id! {
    /// One order of maintenance.
    OrderId
}
uuid_id! {
    /// One mail in the outbox.
    MailId
}
uuid_id! {
    /// What a caller chose to make a retry safe (AIP-155). Any UUID version is accepted.
    RequestId
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        name_id! { $(#[$doc])* $name, |text| text }
    };
    ($(#[$doc:meta])* $name:ident, |$text:ident| $canonical:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses a short name: 1 to 63 characters of `[a-z0-9._-]`, starting with a letter or digit.
            ///
            /// # Errors
            /// [`IdError::NotName`].
            pub fn parse($text: &str) -> Result<Self, IdError> {
                let text = $canonical;
                let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                let all_ok = text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
                if first_ok && all_ok && text.len() <= 63 {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError::NotName)
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

name_id! {
    /// A product, such as `label-studio`.
    ProductId
}
name_id! {
    /// A vendor's maintenance programme, such as `teklynx-sma`.
    ProgrammeId
}
name_id! {
    /// A customer, the owner of licenses.
    CustomerId
}
name_id! {
    /// A partner (reseller); the last segment of its SPIFFE id.
    PartnerId
}
name_id! {
    /// A member of the vendor's staff; the last segment of a SPIFFE id.
    StaffId
}
name_id! {
    /// An edition of a product, such as `enterprise`; `free` is a Free Edition (S-28).
    Edition
}
name_id! {
    /// A purchased add-on, such as `mapi` (S-09, S-10).
    AddOn
}
name_id! {
    /// A license type that the vendor offers in an update (T-30), such as `single-user` or `network`.
    LicenseType
}
name_id! {
    /// A kind of license: `perpetual`, `subscription`, `free` (T-05).
    LicenseKind
}
name_id! {
    /// A type of maintenance contract, such as `gold` (T-06, T-07).
    TierId
}
name_id! {
    /// A region of the vendor's, such as `west-eu` (T-20).
    RegionId
}
name_id! {
    /// A software module with a list price of its own (V-12).
    ModuleId
}
name_id! {
    /// The number of a hardware key (P-17). Whatever case it is typed in, it is kept and compared in lower case: `D-1001` is `d-1001`.
    DongleNumber, |text| text.trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_bounded() {
        for good in ["acme", "0", "label-studio.10", &"a".repeat(63)] {
            assert!(PartnerId::parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "Acme",
            "-acme",
            "a b",
            "a\0",
            "\u{202e}a",
            "a/b",
            &"a".repeat(64),
        ] {
            assert_eq!(PartnerId::parse(bad), Err(IdError::NotName), "{bad:?}");
        }
    }

    #[test]
    fn every_spelling_of_a_dongle_number_is_one() {
        for spelling in ["d-1001", "D-1001", " D-1001\n"] {
            let number = DongleNumber::parse(spelling).map(|number| number.to_string());
            assert_eq!(number, Ok("d-1001".to_owned()), "{spelling:?}");
        }
        assert_eq!(DongleNumber::parse("D 1001"), Err(IdError::NotName));
    }

    #[test]
    fn uuids_have_one_form() {
        let text = "0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11";
        assert_eq!(
            ActivationId::parse(text).map(|id| id.to_string()),
            Ok(text.to_owned())
        );
        for bad in [
            "",
            "0198f1c25b7e7cc08a363f0d3f6f2a11",
            "{0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11}",
        ] {
            assert_eq!(ActivationId::parse(bad), Err(IdError::NotUuid), "{bad:?}");
        }
    }
}
