//! GetEvidence: what a device was enrolled on, and what the same evidence is worth by today's endorsements.

use upkeep::id::ActivationId;
use upkeep::level::AssuranceLevel;

use super::enroll::{appraise, binding_of};
use super::{Deps, Fault, Outcome};
use crate::attest::EvidenceError;
use crate::domain::activation::Activation;
use crate::domain::enrollment::{Enrollment, Evidence};
use crate::domain::refusal::{Reason, Refusal};
use crate::record::{Records, keys};

/// The evidence of an activation's device key.
pub(crate) struct Kept {
    pub(crate) enrollment: Enrollment,
    pub(crate) evidence: Evidence,
    /// The level by today's anchors and deny list, at the time of the enrollment.
    pub(crate) today: Result<AssuranceLevel, EvidenceError>,
}

/// Reads the evidence of an activation and appraises it again.
///
/// # Errors
/// NOT_FOUND for an unknown activation and for one on a software key.
pub(crate) fn read(deps: &Deps, id: &ActivationId) -> Result<Kept, Outcome> {
    let mut store = &deps.store;
    let activation: Option<Activation> = store.load(&keys::activation(id))?;
    let activation = activation.ok_or(Reason::NotFound)?;
    let enrolled = activation.enrolled.ok_or_else(|| {
        Refusal::new(Reason::NotFound)
            .detail("the activation is on a software key, which has no evidence")
    })?;
    let enrollment: Option<Enrollment> = store.load(&keys::enrollment(&enrolled.device))?;
    let enrollment = enrollment.ok_or(MALFORMED)?;
    let evidence: Option<Evidence> = store.load(&keys::evidence(&enrolled.device))?;
    let evidence = evidence.ok_or(MALFORMED)?;
    let b = binding_of(&evidence.challenge, &enrollment.subject);
    let appraised = appraise::again(deps, &evidence.shown, &b, enrollment.enrolled_at);
    Ok(Kept {
        today: appraised,
        enrollment,
        evidence,
    })
}

const MALFORMED: Fault =
    Fault::Inconsistent("an activation's enrollment or its evidence is missing");
