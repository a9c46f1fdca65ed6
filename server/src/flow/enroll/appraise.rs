//! Between what was shown and the verifier: evidence as it is kept to evidence as it is read.

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use upkeep::artefact::Counter;
use upkeep::id::DongleNumber;
use upkeep::key::PublicKey;
use upkeep::level::AssuranceLevel;

use crate::attest::{
    self, AttestationResult, Certification, Endorsements, EvidenceError, Facts, PinPolicy,
    PivEvidence, PivPolicy, TpmEvidence, TpmFacts,
};
use crate::domain::enrollment::{Certified, PivShown, Shown, Tpm, TpmShown};
use crate::flow::{Deps, Fault, Outcome};

/// Runs `work` off the threads that serve calls: a chain of certificates costs milliseconds that its sender chose. No more run at
/// once than there are cores; the others wait.
///
/// # Errors
/// A panic inside.
pub(super) async fn apart<T: Send + 'static>(
    deps: &Deps,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Outcome> {
    // It is never closed.
    let turn = deps.enrolling.turns().acquire_owned().await.ok();
    let work = move || {
        let _turn = turn;
        work()
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Fault::Inconsistent("the verifier panicked").into())
}

/// Appraises a TPM's evidence: true of one TPM only once its credential was activated.
///
/// # Errors
/// The check that failed.
pub(super) fn tpm(
    endorsements: &Endorsements,
    shown: &TpmShown,
    b: &[u8; 32],
    at: DateTime<Utc>,
) -> Result<(AttestationResult, TpmFacts), EvidenceError> {
    let result = tpm_result(endorsements, shown, b, at)?;
    match result.facts() {
        Facts::Tpm(facts) => {
            let facts = (**facts).clone();
            Ok((result, facts))
        }
        Facts::Dongle(_) => Err(EvidenceError::NotPinned),
    }
}

/// What a record keeps of a TPM's appraisal.
pub(super) fn kept(shown: &TpmShown, result: &AttestationResult, facts: &TpmFacts) -> Tpm {
    Tpm {
        ek_id: facts.ek.ek_id(),
        ak_name: facts.ak_name,
        ak_public: shown.ak_public.clone(),
        device_name: facts.device_name,
        nv_public: shown.nv_public.clone(),
        counter: Counter {
            name: facts.nv_name,
            value: facts.counter,
        },
        firmware: facts.firmware,
        manufacturer: facts.ek.identity().manufacturer(),
        // What is remembered of the TPM says which, when this is written down.
        era: 0,
        warnings: result
            .warnings()
            .iter()
            .map(|warning| warning.as_str().to_owned())
            .collect(),
    }
}

/// Appraises a dongle's evidence: its key has answered for itself.
///
/// # Errors
/// The check that failed.
pub(super) fn dongle(
    endorsements: &Endorsements,
    shown: &PivShown,
    b: &[u8; 32],
    at: DateTime<Utc>,
) -> Result<(PublicKey, DongleNumber, AssuranceLevel), EvidenceError> {
    let result = piv_result(endorsements, shown, b, at)?;
    let Facts::Dongle(slot) = result.facts() else {
        return Err(EvidenceError::PivNotPinned);
    };
    // In decimal it is what stands on the dongle.
    let number = DongleNumber::parse(&slot.serial().to_string());
    let number = number.map_err(|_| EvidenceError::PivExtension)?;
    Ok((result.device_key().clone(), number, result.level()))
}

/// Appraises kept evidence by today's endorsements, at the time when it was shown: certificates end, facts don't.
///
/// # Errors
/// The check that fails now.
pub(crate) fn again(
    deps: &Deps,
    shown: &Shown,
    b: &[u8; 32],
    at: DateTime<Utc>,
) -> Result<AssuranceLevel, EvidenceError> {
    let result = match shown {
        Shown::Tpm(shown) => tpm_result(&deps.endorsements, shown, b, at),
        Shown::Piv(shown) => piv_result(&deps.endorsements, shown, b, at),
    };
    result.map(|result| result.level())
}

/// Logs what the verifier found: the step, and whose evidence it claims to be.
pub(super) fn log(shown: &Shown, error: EvidenceError) {
    let step = error.step();
    match shown {
        Shown::Tpm(tpm) => {
            let claimed = tpm.ek_certificates.first();
            let claimed = claimed.and_then(|leaf| attest::claimed_ek_id(leaf));
            let ek_id = claimed.map(|id| HEXLOWER.encode(&id)).unwrap_or_default();
            let ak_name = upkeep::tpm::name_of(&tpm.ak_public);
            tracing::info!(step, %error, %ek_id, %ak_name, "a TPM's evidence failed");
        }
        Shown::Piv(_) => tracing::info!(step, %error, "a dongle's evidence failed"),
    }
}

fn tpm_result(
    endorsements: &Endorsements,
    shown: &TpmShown,
    b: &[u8; 32],
    at: DateTime<Utc>,
) -> Result<AttestationResult, EvidenceError> {
    let evidence = TpmEvidence {
        ek_certificates: &shown.ek_certificates,
        ak_public: &shown.ak_public,
        device_public: &shown.device_public,
        nv_public: &shown.nv_public,
        key_certification: certification(&shown.key),
        counter_certification: certification(&shown.counter),
    };
    attest::appraise_tpm(&evidence, endorsements, b, at)
}

fn certification(said: &Certified) -> Certification<'_> {
    Certification {
        attest: &said.attest,
        signature: &said.signature,
    }
}

fn piv_result(
    endorsements: &Endorsements,
    shown: &PivShown,
    b: &[u8; 32],
    at: DateTime<Utc>,
) -> Result<AttestationResult, EvidenceError> {
    let evidence = PivEvidence {
        slot_certificate: &shown.slot_certificate,
        attestation_certificate: &shown.attestation_certificate,
        intermediate_certificates: &shown.intermediate_certificates,
        signature: &shown.signature,
    };
    attest::appraise_piv(&evidence, endorsements, b, at, DONGLES)
}

/// Attestation came with firmware 4.3; the operator's deny list may ask for more. Whoever holds the dongle holds the license, so
/// its PIN is the holder's to set.
const DONGLES: PivPolicy = PivPolicy {
    min_firmware: [4, 3, 0],
    pin_policy_at_least: PinPolicy::Never,
};
