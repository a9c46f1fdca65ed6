//! TPMT_SIGNATURE: who signed is not in it, only how (TPM 2.0 Part 2 section 11.3.4).

use super::public::{MAX_COORDINATE, MAX_MODULUS, padded};
use super::{Reader, WireError, Writer, alg};

/// A signature by a TPM's key, TPMT_SIGNATURE. Schemes that evidence never has are refused by the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// TPMS_SIGNATURE_ECDSA.
    Ecdsa {
        /// TPM_ALG_ID.
        hash: u16,
        /// Big-endian, at most 66 bytes, as received.
        r: Vec<u8>,
        /// Big-endian, at most 66 bytes, as received.
        s: Vec<u8>,
    },
    /// TPMS_SIGNATURE_RSASSA.
    Rsassa {
        /// TPM_ALG_ID.
        hash: u16,
        /// At most 512 bytes.
        signature: Vec<u8>,
    },
    /// TPMS_SIGNATURE_RSAPSS.
    Rsapss {
        /// TPM_ALG_ID.
        hash: u16,
        /// At most 512 bytes.
        signature: Vec<u8>,
    },
}

impl Signature {
    /// Reads a TPMT_SIGNATURE of at most 8 KiB.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes)?;
        let scheme = reader.u16()?;
        let hash = match scheme {
            alg::ECDSA | alg::RSASSA | alg::RSAPSS => reader.u16()?,
            other => {
                return Err(WireError::Value {
                    field: "TPMI_ALG_SIG_SCHEME",
                    value: other.into(),
                });
            }
        };
        let signature = if scheme == alg::ECDSA {
            Self::Ecdsa {
                hash,
                r: reader.sized(MAX_COORDINATE)?.to_vec(),
                s: reader.sized(MAX_COORDINATE)?.to_vec(),
            }
        } else {
            let signature = reader.sized(MAX_MODULUS)?.to_vec();
            if scheme == alg::RSASSA {
                Self::Rsassa { hash, signature }
            } else {
                Self::Rsapss { hash, signature }
            }
        };
        reader.finish()?;
        Ok(signature)
    }

    /// The TPMT_SIGNATURE: the very bytes that [`Self::parse`] accepted.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Ecdsa { hash, r, s } => writer.u16(alg::ECDSA).u16(*hash).sized(r).sized(s),
            Self::Rsassa { hash, signature } => writer.u16(alg::RSASSA).u16(*hash).sized(signature),
            Self::Rsapss { hash, signature } => writer.u16(alg::RSAPSS).u16(*hash).sized(signature),
        };
        writer.finish()
    }

    /// An ECDSA signature with SHA-256 in 64 bytes, `r || s` (IEEE P1363), unless a number is longer than 32 bytes. Some TPMs leave out
    /// leading zeros. Whether the numbers are in range is for who verifies.
    pub fn ecdsa_p1363(&self) -> Option<[u8; 64]> {
        match self {
            Self::Ecdsa { hash, r, s } if *hash == alg::SHA256 => {
                [padded(r)?, padded(s)?].concat().try_into().ok()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ecdsa(r: &[u8], s: &[u8]) -> Signature {
        Signature::Ecdsa {
            hash: alg::SHA256,
            r: r.to_vec(),
            s: s.to_vec(),
        }
    }

    #[test]
    fn a_signature_has_one_encoding() {
        for signature in [
            ecdsa(&[1; 32], &[2; 32]),
            Signature::Rsassa {
                hash: alg::SHA256,
                signature: vec![3; 256],
            },
            Signature::Rsapss {
                hash: alg::SHA384,
                signature: vec![3; 512],
            },
        ] {
            let mut bytes = signature.to_bytes();
            assert_eq!(Signature::parse(&bytes).as_ref(), Ok(&signature));
            bytes.push(0);
            assert_eq!(Signature::parse(&bytes), Err(WireError::Trailing));
        }
        let long = Signature::Rsassa {
            hash: alg::SHA256,
            signature: vec![3; 513],
        };
        let refused = Signature::parse(&long.to_bytes());
        assert_eq!(refused, Err(WireError::TooLong));
    }

    #[test]
    fn numbers_are_padded_in_front() {
        let mut expected = [0; 64];
        expected[31] = 1;
        expected[63] = 2;
        assert_eq!(ecdsa(&[1], &[2]).ecdsa_p1363(), Some(expected));
        assert_eq!(ecdsa(&[0; 33], &[2]).ecdsa_p1363(), None);
        let sha1 = Signature::Ecdsa {
            hash: alg::SHA1,
            r: vec![1],
            s: vec![2],
        };
        assert_eq!(sha1.ecdsa_p1363(), None);
    }
}
