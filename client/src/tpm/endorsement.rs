//! The endorsement key and its certificate: what the maker put into the chip so that others can know it.
//!
//! Source: TCG EK Credential Profile for TPM Family 2.0, version 2.3, sections 2.2.1.4 and 2.2.1.5.

use upkeep::tpm::template::EkKind;
use zeroize::Zeroizing;

use super::command::Auth;
use super::error::TpmError;
use super::scope::{Loaded, Scope, TPM_RH_ENDORSEMENT};

impl Scope<'_> {
    /// The first endorsement certificate that is stored in the TPM, with what stands beside it of its chain: the leaf first, DER.
    ///
    /// # Errors
    /// [`TpmError::NoEndorsement`].
    pub(super) fn endorsement(&mut self) -> Result<(EkKind, Vec<Vec<u8>>), TpmError> {
        for kind in EkKind::ALL {
            let stored = self.nv_contents(kind.nv_index())?.unwrap_or_default();
            if let Some((certificate, _padding)) = split_der(&stored) {
                let mut certificates = vec![certificate.to_vec()];
                certificates.extend(self.endorsement_chain()?);
                return Ok((kind, certificates));
            }
        }
        Err(TpmError::NoEndorsement)
    }

    /// The kind of the first endorsement certificate, for reports.
    pub(super) fn endorsement_kind(&mut self) -> Result<Option<EkKind>, TpmError> {
        for kind in EkKind::ALL {
            if self.nv_public(kind.nv_index())?.is_some() {
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }

    /// The intermediate certificates that some makers store: one after the other, over as many indices as it takes.
    fn endorsement_chain(&mut self) -> Result<Vec<Vec<u8>>, TpmError> {
        let mut stored = Vec::new();
        for index in CHAIN {
            match self.nv_contents(index)? {
                Some(piece) => stored.extend_from_slice(&piece),
                None => break,
            }
        }
        let mut certificates = Vec::new();
        let mut rest = stored.as_slice();
        while let Some((certificate, behind)) = split_der(rest)
            && certificates.len() < MAX_INTERMEDIATES
        {
            certificates.push(certificate.to_vec());
            rest = behind;
        }
        Ok(certificates)
    }

    /// Makes the endorsement key again: from the template that the maker stored, or else from the profile's.
    fn endorsement_key(&mut self, kind: EkKind) -> Result<Loaded, TpmError> {
        let template = match self.nv_contents(template_index(kind))? {
            Some(stored) => stored,
            None => kind.template().to_bytes(),
        };
        self.create_primary(TPM_RH_ENDORSEMENT, &template)
    }

    /// Opens a credential with the endorsement key.
    ///
    /// # Errors
    /// [`TpmError::EndorsementMismatch`] when it is for another key than this TPM's.
    pub(super) fn open_credential(
        &mut self,
        kind: EkKind,
        attestation_key: &Loaded,
        blob: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<[u8; 32]>, TpmError> {
        let endorsement_key = self.endorsement_key(kind)?;
        let auth = match kind {
            EkKind::Rsa2048 | EkKind::P256 => {
                let session = self.start_policy()?;
                self.policy_secret(session)?;
                Auth::Policy(session)
            }
            // The high range has userWithAuth, so its empty password does.
            EkKind::P384 => Auth::EmptyPassword,
        };
        let opened = self
            .activate_credential(attestation_key, &endorsement_key, auth, blob, secret)
            .map(Zeroizing::new)
            .map_err(|error| match error.code() {
                Some(code) if code.is_integrity() => TpmError::EndorsementMismatch,
                _ => error,
            })?;
        <[u8; 32]>::try_from(opened.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| {
                TpmError::malformed("TPM2_ActivateCredential", "the secret is not 32 bytes")
            })
    }
}

/// The NV index of the template, where the maker stored one.
fn template_index(kind: EkKind) -> u32 {
    match kind {
        EkKind::Rsa2048 => 0x01C0_0004,
        EkKind::P256 => 0x01C0_000C,
        EkKind::P384 => 0x01C0_0017,
    }
}

/// The first DER SEQUENCE of `bytes` and what follows it; makers pad the index behind the certificate.
fn split_der(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = match bytes {
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        [0x30, 0x81, length, ..] => 3 + usize::from(*length),
        _ => return None,
    };
    bytes.split_at_checked(length)
}

/// Where certificate chains are stored; the profile has 256 indices for them, and a chain of some KiB takes few.
const CHAIN: std::ops::Range<u32> = 0x01C0_0100..0x01C0_0110;

/// As many as the server takes.
const MAX_INTERMEDIATES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_behind_a_certificate_is_cut_off() {
        let padded = [0x30, 0x82, 0, 2, 7, 8, 0xFF, 0xFF];
        assert_eq!(
            split_der(&padded),
            Some((&padded[..6], [0xFF, 0xFF].as_slice()))
        );
        let short = [0x30, 0x81, 1, 9];
        assert_eq!(split_der(&short), Some((short.as_slice(), [].as_slice())));
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        for bytes in [
            [].as_slice(),
            &[0; 8],
            &[0xFF; 8],
            &[0x30, 0x82, 1, 0, 0],
            &[0x30],
        ] {
            assert_eq!(split_der(bytes), None, "{bytes:?}");
        }
    }
}
