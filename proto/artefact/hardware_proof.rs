//! A TPM's proof of deactivation, as it travels: the counter's attest and its signature, with what tells which activation ended.
//!
//! It is no JWS, because a restricted key signs none. Nothing in it is verified here, and it names no key: attestation key and counter are
//! those of the enrollment on record.

use prost::Message;

use crate::armor::{self, ArmorError, Label};
use crate::encoding;
use crate::id::ActivationId;
use crate::serial::SerialNumber;
use crate::tpm::{Attest, Attested, Signature};

/// A TPM's statement that the counter of an activation has moved on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardwareProof {
    /// The activation that ended.
    pub activation_id: ActivationId,
    /// The ticket that it answers, the whole text, at most 4096 bytes; `None` for a proof that was made without one.
    pub ticket: Option<String>,
    /// TPMS_ATTEST by TPM2_NV_Certify, at most 1024 bytes. Its extraData is B of `deactivate` or `deactivate-offline`.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE over it, at most 1024 bytes.
    pub signature: Vec<u8>,
}

impl HardwareProof {
    /// The text for a call or a form: base64url of the message, without a dot, so that it is never taken for a JWS.
    pub fn to_text(&self) -> String {
        encoding::base64url(&self.to_bytes())
    }

    /// A file with the proof, and above it what a person wants to know.
    ///
    /// * `serial` - the license, where it is known.
    pub fn to_file(&self, serial: Option<&SerialNumber>) -> String {
        let serial = serial.map(|serial| ("License serial number", serial.to_string()));
        let counter = self
            .counter()
            .map(|value| ("Counter of the TPM", value.to_string()));
        let lines: Vec<_> = serial
            .into_iter()
            .chain([("Activation", self.activation_id.to_string())])
            .chain(counter)
            .collect();
        armor::write_bytes(Label::HardwareProof, &lines, &self.to_bytes())
    }

    /// Reads a text or a file, whichever it is.
    ///
    /// # Errors
    /// [`HardwareProofError`].
    pub fn read_either(text: &str) -> Result<Self, HardwareProofError> {
        if text.contains("-----") {
            return match armor::read_bytes(text.as_bytes())? {
                (Label::HardwareProof, content) => Self::from_bytes(&content),
                (found, _) => Err(ArmorError::Label { found }.into()),
            };
        }
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return Err(HardwareProofError::TooLong);
        }
        let bytes = encoding::from_base64url(text).ok_or(HardwareProofError::Text)?;
        Self::from_bytes(&bytes)
    }

    /// The counter's value that the proof states; nothing is decided by it before it is verified.
    fn counter(&self) -> Option<u64> {
        match Attest::parse(&self.attest).ok()?.body {
            Attested::Nv { contents, .. } => contents.try_into().ok().map(u64::from_be_bytes),
            Attested::Certify { .. } => None,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        Fields {
            activation_id: self.activation_id.as_bytes().to_vec(),
            ticket: self.ticket.clone().unwrap_or_default(),
            attest: self.attest.clone(),
            signature: self.signature.clone(),
        }
        .encode_to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, HardwareProofError> {
        if bytes.len() > MAX_BYTES {
            return Err(HardwareProofError::TooLong);
        }
        let fields = Fields::decode(bytes).map_err(|_| HardwareProofError::Form)?;
        // Protobuf skips unknown fields and takes repeated ones: a proof has one encoding only.
        if fields.encode_to_vec() != bytes {
            return Err(HardwareProofError::Form);
        }
        if fields.ticket.len() > MAX_TICKET
            || fields.attest.len() > MAX_PART
            || fields.signature.len() > MAX_PART
        {
            return Err(HardwareProofError::TooLong);
        }
        if Attest::parse(&fields.attest).is_err() || Signature::parse(&fields.signature).is_err() {
            return Err(HardwareProofError::Form);
        }
        Ok(Self {
            activation_id: ActivationId::from_slice(&fields.activation_id)
                .map_err(|_| HardwareProofError::Form)?,
            ticket: Some(fields.ticket).filter(|ticket| !ticket.is_empty()),
            attest: fields.attest,
            signature: fields.signature,
        })
    }
}

/// Why a text is no hardware proof of deactivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HardwareProofError {
    /// The file cannot be read.
    #[error(transparent)]
    Armor(#[from] ArmorError),
    /// Neither a file nor base64url.
    #[error("the text is no hardware proof of deactivation: copy all of it, unchanged")]
    Text,
    /// It or a part of it is too long.
    #[error("the text is too long for a hardware proof of deactivation")]
    TooLong,
    /// The content is not what a TPM's client writes.
    #[error("the content is no hardware proof of deactivation")]
    Form,
}

/// The message as protobuf.
#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(bytes = "vec", tag = "1")]
    activation_id: Vec<u8>,
    #[prost(string, tag = "2")]
    ticket: String,
    #[prost(bytes = "vec", tag = "3")]
    attest: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    signature: Vec<u8>,
}

const MAX_TICKET: usize = 4096;
const MAX_PART: usize = 1024;
/// The three parts, the identifier, and the tags.
const MAX_BYTES: usize = MAX_TICKET + 2 * MAX_PART + 64;
/// In base64url.
const MAX_TEXT: usize = MAX_BYTES.div_ceil(3) * 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::{ClockInfo, alg};

    fn proof(ticket: Option<&str>) -> HardwareProof {
        let attest = Attest {
            qualified_signer: vec![1; 34],
            extra_data: vec![2; 32],
            clock: ClockInfo {
                clock: 3,
                reset_count: 4,
                restart_count: 5,
                safe: true,
            },
            firmware: 6,
            body: Attested::Nv {
                index_name: vec![7; 34],
                offset: 0,
                contents: 42_u64.to_be_bytes().to_vec(),
            },
        };
        let signature = Signature::Ecdsa {
            hash: alg::SHA256,
            r: vec![8; 32],
            s: vec![9; 32],
        };
        HardwareProof {
            activation_id: ActivationId::parse("0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11").unwrap(),
            ticket: ticket.map(str::to_owned),
            attest: attest.to_bytes(),
            signature: signature.to_bytes(),
        }
    }

    #[test]
    fn a_proof_is_read_from_text_and_from_a_file() {
        for proof in [proof(None), proof(Some("a.b.c"))] {
            let text = proof.to_text();
            assert!(!text.contains('.'));
            assert_eq!(
                HardwareProof::read_either(&format!(" {text}\r\n")),
                Ok(proof.clone())
            );
            let file = proof.to_file(SerialNumber::parse("S1").ok().as_ref());
            assert!(file.contains("Counter of the TPM: 42\n"), "{file}");
            assert_eq!(HardwareProof::read_either(&file), Ok(proof));
        }
    }

    #[test]
    fn a_proof_has_one_encoding() {
        let bytes = proof(Some("a.b.c")).to_bytes();
        // An unknown field 5, a second activation, and a field with its default.
        for more in [&[0x2a, 1, 0][..], &bytes[..18], &[0x12, 0]] {
            let text = encoding::base64url(&[&bytes, more].concat());
            assert_eq!(
                HardwareProof::read_either(&text),
                Err(HardwareProofError::Form)
            );
        }
    }

    #[test]
    fn what_is_no_proof_is_refused_by_name() {
        let refused = |text: &str| HardwareProof::read_either(text).unwrap_err();
        assert_eq!(refused("a.b.c"), HardwareProofError::Text);
        assert_eq!(refused(""), HardwareProofError::Form);
        assert_eq!(
            refused(&"A".repeat(MAX_TEXT + 1)),
            HardwareProofError::TooLong
        );
        let ticket = "a".repeat(MAX_TICKET + 1);
        assert_eq!(
            refused(&proof(Some(&ticket)).to_text()),
            HardwareProofError::TooLong
        );
        let bare = HardwareProof {
            attest: vec![0; 149],
            ..proof(None)
        };
        assert_eq!(refused(&bare.to_text()), HardwareProofError::Form);
        let other = proof(None)
            .to_file(None)
            .replace("HARDWARE DEACTIVATION PROOF", "UPGRADE CODE");
        assert!(matches!(
            refused(&other),
            HardwareProofError::Armor(ArmorError::Label { .. })
        ));
    }
}
