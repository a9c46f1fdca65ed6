//! What is kept of a key that lives in a TPM.

use std::fmt;

use serde::{Deserialize, Serialize};
use upkeep::key::PublicKey;
use upkeep::tpm::template::EkKind;
use upkeep::tpm::{Name, NvPublic, Public};

/// A device key in a TPM: its wrapped private part and what belongs to it.
///
/// Kept on disk as it is: without the TPM that made it, it is of no use to anybody.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct TpmKey {
    pub(super) vendor: String,
    pub(super) endorsement: EkKind,
    /// The Name of the attestation key, by which its TPM is known again.
    pub(super) attestation_key: Name,
    pub(super) private: Vec<u8>,
    pub(super) public: Vec<u8>,
    pub(super) counter: NvPublic,
    pub(super) value: u64,
    key: PublicKey,
}

/// What a TPM shows of itself and of a new key: the evidence before its statements.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The new key.
    pub key: TpmKey,
    /// The endorsement certificate and what the TPM holds of its chain: the leaf first, DER.
    pub ek_certificates: Vec<Vec<u8>>,
    /// TPMT_PUBLIC of the attestation key.
    pub ak_public: Vec<u8>,
    /// TPMT_PUBLIC of the device key.
    pub device_public: Vec<u8>,
    /// TPMS_NV_PUBLIC of the counter, after its increment.
    pub nv_public: Vec<u8>,
    /// Whether the counter was defined for this key.
    pub is_new_counter: bool,
}

/// A statement of the TPM and the signature on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// TPMS_ATTEST, the bytes that were signed.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE by the attestation key.
    pub signature: Vec<u8>,
}

impl TpmKey {
    pub(super) fn new(
        vendor: &str,
        endorsement: EkKind,
        attestation_key: Name,
        private: Vec<u8>,
        public: Vec<u8>,
        counter: NvPublic,
        value: u64,
    ) -> Result<Self, InvalidTpmKey> {
        let key = Public::parse(&public)
            .ok()
            .and_then(|public| public.p256())
            .ok_or(InvalidTpmKey("it is no P-256 key"))?;
        Ok(Self {
            vendor: vendor.to_owned(),
            endorsement,
            attestation_key,
            private,
            public,
            counter,
            value,
            key,
        })
    }

    /// The public key that its signatures verify with.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// TPMT_PUBLIC of the key.
    pub fn device_public(&self) -> &[u8] {
        &self.public
    }

    /// The counter, after its increment.
    pub fn counter(&self) -> &NvPublic {
        &self.counter
    }

    /// Where the counter has to stand for this key to sign.
    pub fn value(&self) -> u64 {
        self.value
    }
}

/// Without the wrapped private part: useless elsewhere, and no business of a log.
impl fmt::Debug for TpmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmKey")
            .field("vendor", &self.vendor)
            .field("endorsement", &self.endorsement)
            .field("index", &format_args!("{:#010x}", self.counter.index))
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// A [`TpmKey`] in a file: bytes in base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    vendor: String,
    endorsement: EndorsementText,
    attestation_key: Name,
    private: Bytes,
    public: Bytes,
    counter: Bytes,
    value: u64,
}

#[derive(Serialize, Deserialize)]
enum EndorsementText {
    #[serde(rename = "RSA_2048")]
    Rsa2048,
    #[serde(rename = "P256")]
    P256,
    #[serde(rename = "P384")]
    P384,
}

impl From<TpmKey> for Text {
    fn from(key: TpmKey) -> Self {
        Self {
            vendor: key.vendor,
            endorsement: match key.endorsement {
                EkKind::Rsa2048 => EndorsementText::Rsa2048,
                EkKind::P256 => EndorsementText::P256,
                EkKind::P384 => EndorsementText::P384,
            },
            attestation_key: key.attestation_key,
            private: Bytes(key.private),
            public: Bytes(key.public),
            counter: Bytes(key.counter.to_bytes()),
            value: key.value,
        }
    }
}

impl TryFrom<Text> for TpmKey {
    type Error = InvalidTpmKey;

    fn try_from(text: Text) -> Result<Self, Self::Error> {
        let endorsement = match text.endorsement {
            EndorsementText::Rsa2048 => EkKind::Rsa2048,
            EndorsementText::P256 => EkKind::P256,
            EndorsementText::P384 => EkKind::P384,
        };
        let counter =
            NvPublic::parse(&text.counter.0).map_err(|_| InvalidTpmKey("its counter is none"))?;
        Self::new(
            &text.vendor,
            endorsement,
            text.attestation_key,
            text.private.0,
            text.public.0,
            counter,
            text.value,
        )
    }
}

/// What a file says is no key of a TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TPM key can't be read: {0}")]
pub struct InvalidTpmKey(&'static str);

/// Bytes as base64 text.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let text = String::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}
