//! TPMS_ATTEST: a statement that a TPM made and an attestation key signed (TPM 2.0 Part 2 section 10.12).

use super::{Reader, WireError, Writer};

/// A TPM's statement about a key or an NV index, TPMS_ATTEST. Of the other kinds none is evidence here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attest {
    /// The qualified Name of the signing key, at most 66 bytes.
    pub qualified_signer: Vec<u8>,
    /// The caller's qualifyingData, at most 66 bytes.
    pub extra_data: Vec<u8>,
    /// The TPM's clock when it spoke.
    pub clock: ClockInfo,
    /// The TPM's firmware version; its form is the maker's.
    pub firmware: u64,
    /// What is stated.
    pub body: Attested,
}

/// TPMS_CLOCK_INFO (Part 2 section 10.11.1). For keys of the owner hierarchy the TPM obfuscates the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds that the TPM was powered; only `TPM2_Clear` sets it back.
    pub clock: u64,
    /// TPM resets since the last `TPM2_Clear`.
    pub reset_count: u32,
    /// Restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Whether no greater value of the clock was ever reported; clear after a power cut.
    pub safe: bool,
}

/// What a statement is about: TPMU_ATTEST, of the kinds that evidence holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attested {
    /// TPMS_CERTIFY_INFO, by TPM2_Certify: this key lives in the TPM.
    Certify {
        /// The key's Name, at most 66 bytes.
        name: Vec<u8>,
        /// Its qualified Name, at most 66 bytes.
        qualified_name: Vec<u8>,
    },
    /// TPMS_NV_CERTIFY_INFO, by TPM2_NV_Certify: this stands in the index.
    Nv {
        /// The index' Name, at most 66 bytes.
        index_name: Vec<u8>,
        /// Where in the index the contents begin.
        offset: u16,
        /// The contents, at most 2048 bytes.
        contents: Vec<u8>,
    },
}

impl Attest {
    /// Reads a TPMS_ATTEST of at most 8 KiB: the magic first, then the type, then the rest.
    ///
    /// # Errors
    /// [`AttestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AttestError> {
        let mut reader = Reader::new(bytes)?;
        if reader.u32()? != TPM_GENERATED {
            return Err(AttestError::Magic);
        }
        let attested = reader.u16()?;
        if !matches!(attested, TPM_ST_ATTEST_CERTIFY | TPM_ST_ATTEST_NV) {
            return Err(AttestError::Type(attested));
        }
        let attest = Self {
            qualified_signer: reader.sized(MAX_NAME)?.to_vec(),
            extra_data: reader.sized(MAX_EXTRA)?.to_vec(),
            clock: ClockInfo {
                clock: reader.u64()?,
                reset_count: reader.u32()?,
                restart_count: reader.u32()?,
                safe: reader.yes_no()?,
            },
            firmware: reader.u64()?,
            body: if attested == TPM_ST_ATTEST_CERTIFY {
                Attested::Certify {
                    name: reader.sized(MAX_NAME)?.to_vec(),
                    qualified_name: reader.sized(MAX_NAME)?.to_vec(),
                }
            } else {
                Attested::Nv {
                    index_name: reader.sized(MAX_NAME)?.to_vec(),
                    offset: reader.u16()?,
                    contents: reader.sized(MAX_CONTENTS)?.to_vec(),
                }
            },
        };
        reader.finish()?;
        Ok(attest)
    }

    /// The TPMS_ATTEST: the very bytes that [`Self::parse`] accepted.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .u32(TPM_GENERATED)
            .u16(match self.body {
                Attested::Certify { .. } => TPM_ST_ATTEST_CERTIFY,
                Attested::Nv { .. } => TPM_ST_ATTEST_NV,
            })
            .sized(&self.qualified_signer)
            .sized(&self.extra_data)
            .u64(self.clock.clock)
            .u32(self.clock.reset_count)
            .u32(self.clock.restart_count)
            .u8(self.clock.safe.into())
            .u64(self.firmware);
        match &self.body {
            Attested::Certify {
                name,
                qualified_name,
            } => writer.sized(name).sized(qualified_name),
            Attested::Nv {
                index_name,
                offset,
                contents,
            } => writer.sized(index_name).u16(*offset).sized(contents),
        };
        writer.finish()
    }
}

/// Why bytes are no statement of a TPM about a key or an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// It does not begin with TPM_GENERATED_VALUE, so a TPM may have signed it without having made it.
    #[error("the attested data does not begin with TPM_GENERATED: no TPM made it")]
    Magic,
    /// It is a statement of another kind, TPM_ST.
    #[error("the attested data is of the kind {0:#06x}, neither a certified key nor NV contents")]
    Type(u16),
    /// It is malformed.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// TPM_GENERATED_VALUE, which no key of a TPM signs over data from outside (Part 2 section 6.2).
const TPM_GENERATED: u32 = 0xff54_4347;
// TPM_ST (Part 2 section 6.9).
const TPM_ST_ATTEST_NV: u16 = 0x8014;
const TPM_ST_ATTEST_CERTIFY: u16 = 0x8017;
/// TPM2B_NAME: a hash algorithm and at most a SHA-512.
const MAX_NAME: usize = 66;
/// TPM2B_DATA: as long as a TPMT_HA, at most a hash algorithm and a SHA-512.
const MAX_EXTRA: usize = 66;
/// TPM2B_MAX_NV_BUFFER, as the largest TPMs have it.
const MAX_CONTENTS: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(body: Attested) -> Attest {
        Attest {
            qualified_signer: vec![1; 34],
            extra_data: vec![2; 32],
            clock: ClockInfo {
                clock: 3,
                reset_count: 4,
                restart_count: 5,
                safe: true,
            },
            firmware: 6,
            body,
        }
    }

    fn nv() -> Attest {
        sample(Attested::Nv {
            index_name: vec![7; 34],
            offset: 0,
            contents: vec![0, 0, 0, 0, 0, 0, 0, 8],
        })
    }

    #[test]
    fn a_statement_has_one_encoding() {
        let key = sample(Attested::Certify {
            name: vec![7; 34],
            qualified_name: vec![8; 34],
        });
        for attest in [key, nv()] {
            assert_eq!(Attest::parse(&attest.to_bytes()), Ok(attest));
        }
        assert_eq!(nv().to_bytes().len(), 149);
    }

    #[test]
    fn magic_and_kind_come_first() {
        let mut bytes = nv().to_bytes();
        bytes[5] = 0x1c;
        // Cut short, so that the order of the checks shows.
        bytes.truncate(7);
        assert_eq!(Attest::parse(&bytes), Err(AttestError::Type(0x801c)));
        bytes[5] = 0x14;
        assert_eq!(Attest::parse(&bytes), Err(WireError::Truncated.into()));
        bytes[0] = b'X';
        assert_eq!(Attest::parse(&bytes), Err(AttestError::Magic));
    }

    #[test]
    fn nothing_follows_and_the_safe_flag_is_a_bit() {
        let mut bytes = nv().to_bytes();
        bytes.push(0);
        assert_eq!(Attest::parse(&bytes), Err(WireError::Trailing.into()));
        bytes.pop();
        let safe = 4 + 2 + 36 + 34 + 16;
        assert_eq!(bytes[safe], 1);
        bytes[safe] = 2;
        assert!(matches!(Attest::parse(&bytes), Err(AttestError::Wire(_))));
    }
}
