//! TPMT_PUBLIC: the public part of a key, whose hash is the key's Name (TPM 2.0 Part 2 section 12.2.4).

use std::fmt;

use sha2::{Digest, Sha256};

use super::{Name, Reader, WireError, Writer, alg};
use crate::key::PublicKey;

/// The public area of an asymmetric key, TPMT_PUBLIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// The hash that the Name is made with, TPM_ALG_ID.
    pub name_alg: u16,
    /// What the TPM allows with the key.
    pub attributes: Attributes,
    /// The policy that must be satisfied to use it, at most 64 bytes; empty for none.
    pub auth_policy: Vec<u8>,
    /// The key itself.
    pub key: PublicKeyArea,
}

/// The parameters and the unique part of a key: TPMU_PUBLIC_PARMS and TPMU_PUBLIC_ID (Part 2 sections 12.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKeyArea {
    /// TPMS_ECC_PARMS and TPMS_ECC_POINT. The key derivation scheme is always none.
    Ecc {
        /// How the children of a storage key are encrypted.
        symmetric: Symmetric,
        /// The only scheme that the key signs with.
        scheme: Scheme,
        /// TPM_ECC_CURVE.
        curve: u16,
        /// Big-endian, at most 66 bytes, as received.
        x: Vec<u8>,
        /// Big-endian, at most 66 bytes, as received.
        y: Vec<u8>,
    },
    /// TPMS_RSA_PARMS and TPM2B_PUBLIC_KEY_RSA.
    Rsa {
        /// How the children of a storage key are encrypted.
        symmetric: Symmetric,
        /// The only scheme that the key signs with.
        scheme: Scheme,
        /// The modulus' length in bits.
        key_bits: u16,
        /// The public exponent; 0 stands for 65537.
        exponent: u32,
        /// Big-endian, at most 512 bytes.
        modulus: Vec<u8>,
    },
}

/// A symmetric algorithm, TPMT_SYM_DEF_OBJECT; only AES occurs (Part 2 section 11.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetric {
    /// None.
    Null,
    /// AES.
    Aes {
        /// The key's length in bits.
        key_bits: u16,
        /// The mode, TPM_ALG_ID.
        mode: u16,
    },
}

/// A signing scheme with its hash (TPM_ALG_ID), TPMT_ASYM_SCHEME; others than these do not occur (Part 2 section 11.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// None: the caller of the TPM chooses, or the key does not sign.
    Null,
    /// ECDSA.
    Ecdsa(u16),
    /// RSASSA-PKCS1-v1_5.
    Rsassa(u16),
    /// RSASSA-PSS.
    Rsapss(u16),
}

/// The attributes of an object, TPMA_OBJECT; reserved bits are clear (Part 2 section 8.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attributes(u32);

impl Attributes {
    /// The key never leaves its TPM.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// The key is gone after a TPM reset.
    pub const ST_CLEAR: Self = Self(1 << 2);
    /// The key never gets another parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM made the private part.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// The key's password authorises its use, whatever the policy says.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// Only the policy authorises administration, such as being certified.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// Wrong passwords do not lock the TPM.
    pub const NO_DA: Self = Self(1 << 10);
    /// A copy leaves only doubly encrypted.
    pub const ENCRYPTED_DUPLICATION: Self = Self(1 << 11);
    /// The key handles only what the TPM itself made.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// The key decrypts.
    pub const DECRYPT: Self = Self(1 << 17);
    /// The key signs.
    pub const SIGN: Self = Self(1 << 18);
    /// The key signs X.509 certificates that the TPM made.
    pub const X509_SIGN: Self = Self(1 << 19);

    const KNOWN: u32 = Self::FIXED_TPM.0
        | Self::ST_CLEAR.0
        | Self::FIXED_PARENT.0
        | Self::SENSITIVE_DATA_ORIGIN.0
        | Self::USER_WITH_AUTH.0
        | Self::ADMIN_WITH_POLICY.0
        | Self::NO_DA.0
        | Self::ENCRYPTED_DUPLICATION.0
        | Self::RESTRICTED.0
        | Self::DECRYPT.0
        | Self::SIGN.0
        | Self::X509_SIGN.0;

    /// Reads the 32 bits.
    ///
    /// # Errors
    /// [`WireError::Value`] for a reserved bit.
    pub fn parse(bits: u32) -> Result<Self, WireError> {
        if bits & !Self::KNOWN == 0 {
            Ok(Self(bits))
        } else {
            Err(WireError::Value {
                field: "TPMA_OBJECT",
                value: bits,
            })
        }
    }

    /// The 32 bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Both sets together.
    pub const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Whether every bit of `wanted` is set.
    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({:#010x})", self.0)
    }
}

impl Public {
    /// Reads a TPMT_PUBLIC of at most 8 KiB, without the length of a TPM2B_PUBLIC before it.
    ///
    /// # Errors
    /// [`WireError`]. Object types, schemes and ciphers that evidence never has are refused here too.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes)?;
        let object_type = reader.u16()?;
        let name_alg = reader.u16()?;
        let attributes = Attributes::parse(reader.u32()?)?;
        let auth_policy = reader.sized(MAX_DIGEST)?.to_vec();
        let key = match object_type {
            alg::ECC => PublicKeyArea::parse_ecc(&mut reader)?,
            alg::RSA => PublicKeyArea::parse_rsa(&mut reader)?,
            other => return Err(refused("TPMI_ALG_PUBLIC", other)),
        };
        reader.finish()?;
        Ok(Self {
            name_alg,
            attributes,
            auth_policy,
            key,
        })
    }

    /// The TPMT_PUBLIC: the very bytes that [`Self::parse`] accepted.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .u16(match self.key {
                PublicKeyArea::Ecc { .. } => alg::ECC,
                PublicKeyArea::Rsa { .. } => alg::RSA,
            })
            .u16(self.name_alg)
            .u32(self.attributes.bits())
            .sized(&self.auth_policy);
        match &self.key {
            PublicKeyArea::Ecc {
                symmetric,
                scheme,
                curve,
                x,
                y,
            } => {
                symmetric.write(&mut writer);
                scheme.write(&mut writer);
                writer.u16(*curve).u16(alg::NULL).sized(x).sized(y);
            }
            PublicKeyArea::Rsa {
                symmetric,
                scheme,
                key_bits,
                exponent,
                modulus,
            } => {
                symmetric.write(&mut writer);
                scheme.write(&mut writer);
                writer.u16(*key_bits).u32(*exponent).sized(modulus);
            }
        }
        writer.finish()
    }

    /// The key's Name, for a key whose `name_alg` is SHA-256.
    pub fn name(&self) -> Name {
        name_of(&self.to_bytes())
    }

    /// The key as a point on P-256, if it is one. Some TPMs leave out leading zeros of a coordinate.
    pub fn p256(&self) -> Option<PublicKey> {
        match &self.key {
            PublicKeyArea::Ecc { curve, x, y, .. } if *curve == super::curve::P256 => {
                PublicKey::from_coordinates(&padded(x)?, &padded(y)?).ok()
            }
            _ => None,
        }
    }
}

impl PublicKeyArea {
    fn parse_ecc(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let symmetric = Symmetric::parse(reader)?;
        let scheme = Scheme::parse(reader)?;
        let curve = reader.u16()?;
        match reader.u16()? {
            alg::NULL => {}
            other => return Err(refused("TPMT_KDF_SCHEME", other)),
        }
        Ok(Self::Ecc {
            symmetric,
            scheme,
            curve,
            x: reader.sized(MAX_COORDINATE)?.to_vec(),
            y: reader.sized(MAX_COORDINATE)?.to_vec(),
        })
    }

    fn parse_rsa(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self::Rsa {
            symmetric: Symmetric::parse(reader)?,
            scheme: Scheme::parse(reader)?,
            key_bits: reader.u16()?,
            exponent: reader.u32()?,
            modulus: reader.sized(MAX_MODULUS)?.to_vec(),
        })
    }
}

impl Symmetric {
    /// AES with a 128-bit key in CFB mode.
    pub const AES_128_CFB: Self = Self::Aes {
        key_bits: 128,
        mode: alg::CFB,
    };
    /// AES with a 256-bit key in CFB mode.
    pub const AES_256_CFB: Self = Self::Aes {
        key_bits: 256,
        mode: alg::CFB,
    };

    fn parse(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        match reader.u16()? {
            alg::NULL => Ok(Self::Null),
            alg::AES => Ok(Self::Aes {
                key_bits: reader.u16()?,
                mode: reader.u16()?,
            }),
            other => Err(refused("TPMT_SYM_DEF_OBJECT", other)),
        }
    }

    fn write(self, writer: &mut Writer) {
        match self {
            Self::Null => writer.u16(alg::NULL),
            Self::Aes { key_bits, mode } => writer.u16(alg::AES).u16(key_bits).u16(mode),
        };
    }
}

impl Scheme {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        match reader.u16()? {
            alg::NULL => Ok(Self::Null),
            alg::ECDSA => reader.u16().map(Self::Ecdsa),
            alg::RSASSA => reader.u16().map(Self::Rsassa),
            alg::RSAPSS => reader.u16().map(Self::Rsapss),
            other => Err(refused("TPMT_ASYM_SCHEME", other)),
        }
    }

    fn write(self, writer: &mut Writer) {
        match self {
            Self::Null => writer.u16(alg::NULL),
            Self::Ecdsa(hash) => writer.u16(alg::ECDSA).u16(hash),
            Self::Rsassa(hash) => writer.u16(alg::RSASSA).u16(hash),
            Self::Rsapss(hash) => writer.u16(alg::RSAPSS).u16(hash),
        };
    }
}

/// The SHA-256 Name of the bytes of a TPMT_PUBLIC or a TPMS_NV_PUBLIC, as received (TPM 2.0 Part 1 section 16).
pub fn name_of(bytes: &[u8]) -> Name {
    Name::from_digest(Sha256::digest(bytes).into())
}

/// A big-endian number in 32 bytes, unless it has more.
pub(super) fn padded(number: &[u8]) -> Option<[u8; 32]> {
    let mut array = [0; 32];
    let start = array.len().checked_sub(number.len())?;
    array.get_mut(start..)?.copy_from_slice(number);
    Some(array)
}

fn refused(field: &'static str, value: u16) -> WireError {
    WireError::Value {
        field,
        value: value.into(),
    }
}

/// A digest, at most SHA-512's.
const MAX_DIGEST: usize = 64;
/// A coordinate, at most P-521's.
pub(super) const MAX_COORDINATE: usize = 66;
/// An RSA modulus or signature, at most of 4096 bits.
pub(super) const MAX_MODULUS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::template;

    #[test]
    fn what_the_specification_reserves_is_refused() {
        let good = template::storage_root().to_bytes();
        assert_eq!(Public::parse(&good), Ok(template::storage_root()));
        for bit in [0, 3, 8, 9, 12, 13, 14, 15, 20, 21, 30, 31] {
            let mut bytes = good.clone();
            bytes[4 + 3 - bit / 8] ^= 1 << (bit % 8);
            let refused = Public::parse(&bytes);
            assert!(
                matches!(
                    refused,
                    Err(WireError::Value {
                        field: "TPMA_OBJECT",
                        ..
                    })
                ),
                "bit {bit}: {refused:?}"
            );
        }
    }

    #[test]
    fn unknown_kinds_are_refused() {
        let good = template::attestation_key("acme").to_bytes();
        // The type, then behind the empty policy: symmetric, scheme; behind scheme, hash and curve: the KDF.
        for (at, field) in [
            (0, "TPMI_ALG_PUBLIC"),
            (10, "TPMT_SYM_DEF_OBJECT"),
            (12, "TPMT_ASYM_SCHEME"),
            (18, "TPMT_KDF_SCHEME"),
        ] {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            let refused = Public::parse(&bytes);
            assert!(
                matches!(refused, Err(WireError::Value { field: named, .. }) if named == field),
                "{field}: {refused:?}"
            );
        }
    }

    #[test]
    fn short_coordinates_are_padded_and_long_ones_refused() {
        assert_eq!(padded(&[1]).map(|array| array[31]), Some(1));
        assert_eq!(padded(&[0; 32]), Some([0; 32]));
        assert_eq!(padded(&[0; 33]), None);
        assert!(template::attestation_key("acme").p256().is_none());
    }
}
