//! Enrollment on the wire: evidence is measured before anything looks into it.

use data_encoding::HEXLOWER;
use upkeep::id::ProductId;
use upkeep::rpc::v1;

use super::fields::{Fields, text};
use super::present;
use crate::domain::enrollment::{Certified, Enrollment, PivShown, Shown, Subject, TpmShown};
use crate::domain::refusal::Refusal;
use crate::flow::enroll::{Begun, Request};
use crate::flow::evidence::Kept;

/// A BeginEnrollment request: every part has a size that no honest one needs.
///
/// # Errors
/// Every field that is wrong.
pub(super) fn request(asked: v1::BeginEnrollmentRequest) -> Result<Request, Refusal> {
    let mut fields = Fields::new();
    let challenge = fields.challenge(&asked.challenge);
    let serial = fields.serial(&asked.serial);
    let product = fields.required("product_id", &asked.product_id, ProductId::parse);
    let vm = fields.virtual_environment("virtual_environment", asked.virtual_environment);
    let client_build = fields.optional("client_build", &asked.client_build, client_build);
    let shown = match asked.evidence {
        None => {
            fields.missing("evidence");
            None
        }
        Some(v1::begin_enrollment_request::Evidence::Tpm(tpm)) => {
            fields.tpm_evidence(tpm).map(Shown::Tpm)
        }
        Some(v1::begin_enrollment_request::Evidence::Piv(piv)) => {
            fields.piv_evidence(piv).map(Shown::Piv)
        }
    };
    fields.finish(|| {
        Some(Request {
            challenge: challenge?,
            subject: Subject {
                serial: serial?,
                product: product?,
                vm: vm?,
                client_build: client_build?.unwrap_or_default(),
            },
            shown: shown?,
        })
    })
}

fn client_build(value: &str) -> Result<String, String> {
    if value.len() > MAX_CLIENT_BUILD {
        return Err(format!("must have at most {MAX_CLIENT_BUILD} bytes"));
    }
    text(value, 1, MAX_CLIENT_BUILD)
}

impl Fields {
    fn tpm_evidence(&mut self, tpm: v1::TpmEvidence) -> Option<TpmShown> {
        let certificates = match tpm.ek_certificates.len() {
            0 => {
                self.missing("tpm.ek_certificates");
                None
            }
            1..=MAX_CERTIFICATES => Some(()),
            _ => {
                self.wrong("tpm.ek_certificates", "has at most 4 certificates");
                None
            }
        };
        let ek_certificates =
            self.all_sized("tpm.ek_certificates", tpm.ek_certificates, MAX_CERTIFICATES);
        let ak_public = self.sized("tpm.ak_public", tpm.ak_public, MAX_PUBLIC);
        let device_public = self.sized("tpm.device_public", tpm.device_public, MAX_PUBLIC);
        let nv_public = self.sized("tpm.nv_public", tpm.nv_public, MAX_PUBLIC);
        let key = self.certification("tpm.key_certification", tpm.key_certification);
        let counter = self.certification("tpm.counter_certification", tpm.counter_certification);
        certificates?;
        Some(TpmShown {
            ek_certificates: ek_certificates?,
            ak_public: ak_public?,
            device_public: device_public?,
            nv_public: nv_public?,
            key: key?,
            counter: counter?,
        })
    }

    fn piv_evidence(&mut self, piv: v1::PivEvidence) -> Option<PivShown> {
        let slot = self.sized(
            "piv.slot_certificate",
            piv.slot_certificate,
            MAX_CERTIFICATE,
        );
        let f9 = self.sized(
            "piv.attestation_certificate",
            piv.attestation_certificate,
            MAX_CERTIFICATE,
        );
        let count = piv.intermediate_certificates.len();
        let few = (count <= MAX_PIV_INTERMEDIATES).then_some(());
        if few.is_none() {
            self.wrong(
                "piv.intermediate_certificates",
                "has at most 3 certificates",
            );
        }
        let intermediates = self.all_sized(
            "piv.intermediate_certificates",
            piv.intermediate_certificates,
            MAX_PIV_INTERMEDIATES,
        );
        let signature = self.fixed_signature("piv.signature", &piv.signature);
        few?;
        Some(PivShown {
            slot_certificate: slot?,
            attestation_certificate: f9?,
            intermediate_certificates: intermediates?,
            signature: signature?,
        })
    }

    /// The first `most` of several certificates.
    fn all_sized(&mut self, field: &str, all: Vec<Vec<u8>>, most: usize) -> Option<Vec<Vec<u8>>> {
        let all = all.into_iter().take(most).enumerate();
        let read: Vec<_> = all
            .map(|(n, der)| self.sized(&format!("{field}[{n}]"), der, MAX_CERTIFICATE))
            .collect();
        read.into_iter().collect()
    }

    /// A statement of a TPM that has to be there.
    pub(super) fn certification(
        &mut self,
        field: &str,
        said: Option<v1::Certification>,
    ) -> Option<Certified> {
        let said = said.unwrap_or_default();
        let attest = self.sized(&format!("{field}.attest"), said.attest, MAX_STATEMENT);
        let signature = self.sized(&format!("{field}.signature"), said.signature, MAX_STATEMENT);
        Some(Certified {
            attest: attest?,
            signature: signature?,
        })
    }

    fn sized(&mut self, field: &str, bytes: Vec<u8>, max: usize) -> Option<Vec<u8>> {
        if bytes.is_empty() {
            self.missing(field);
            return None;
        }
        if bytes.len() > max {
            self.wrong(field, &format!("must have at most {max} bytes"));
            return None;
        }
        Some(bytes)
    }
}

/// The answer to BeginEnrollment.
pub(super) fn begun(begun: Begun) -> v1::BeginEnrollmentResponse {
    match begun {
        Begun::Asked {
            id,
            credential,
            expires_at,
        } => v1::BeginEnrollmentResponse {
            enrollment_id: id.to_string(),
            credential_blob: credential.blob,
            encrypted_secret: credential.encrypted_secret,
            expire_time: Some(present::timestamp(expires_at)),
            device: None,
        },
        Begun::Enrolled(enrollment) => v1::BeginEnrollmentResponse {
            device: Some(device(&enrollment)),
            ..Default::default()
        },
    }
}

/// An enrolled device.
pub(super) fn device(enrollment: &Enrollment) -> v1::EnrolledDevice {
    v1::EnrolledDevice {
        device_id: enrollment.id.to_string(),
        assurance: present::assurance(enrollment.level).into(),
        device_thumbprint: enrollment.key.thumbprint().to_string(),
        expire_time: Some(present::timestamp(enrollment.expires_at)),
    }
}

/// The answer to GetEvidence.
pub(super) fn kept(kept: Kept) -> v1::GetEvidenceResponse {
    let Kept {
        enrollment,
        evidence,
        today,
    } = kept;
    let (ek_id, ak_name) = match enrollment.tpm() {
        Some(tpm) => (HEXLOWER.encode(&tpm.ek_id), tpm.ak_name.to_string()),
        None => Default::default(),
    };
    v1::GetEvidenceResponse {
        challenge: evidence.challenge,
        serial: enrollment.subject.serial.to_string(),
        product_id: enrollment.subject.product.to_string(),
        virtual_environment: present::virtual_environment(enrollment.subject.vm).into(),
        client_build: enrollment.subject.client_build,
        evidence: Some(as_it_came(evidence.shown)),
        enroll_time: Some(present::timestamp(enrollment.enrolled_at)),
        assurance: present::assurance(enrollment.level).into(),
        assurance_today: today
            .map_or(v1::AssuranceLevel::Unspecified, present::assurance)
            .into(),
        refusal_today: today.err().map(|e| e.to_string()).unwrap_or_default(),
        ek_id,
        ak_name,
    }
}

fn as_it_came(shown: Shown) -> v1::get_evidence_response::Evidence {
    let certification = |said: Certified| {
        Some(v1::Certification {
            attest: said.attest,
            signature: said.signature,
        })
    };
    match shown {
        Shown::Tpm(tpm) => v1::get_evidence_response::Evidence::Tpm(v1::TpmEvidence {
            ek_certificates: tpm.ek_certificates,
            ak_public: tpm.ak_public,
            device_public: tpm.device_public,
            nv_public: tpm.nv_public,
            key_certification: certification(tpm.key),
            counter_certification: certification(tpm.counter),
        }),
        Shown::Piv(piv) => v1::get_evidence_response::Evidence::Piv(v1::PivEvidence {
            slot_certificate: piv.slot_certificate,
            attestation_certificate: piv.attestation_certificate,
            intermediate_certificates: piv.intermediate_certificates,
            signature: piv.signature.to_vec(),
        }),
    }
}

const MAX_CERTIFICATES: usize = 4;
const MAX_PIV_INTERMEDIATES: usize = 3;
const MAX_CERTIFICATE: usize = 4_096;
/// TPMT_PUBLIC of RSA-4096 has less than 600 bytes.
const MAX_PUBLIC: usize = 1_024;
/// A statement has about 150 bytes, a signature by RSA-4096 about 520.
const MAX_STATEMENT: usize = 1_024;
const MAX_CLIENT_BUILD: usize = 64;
