//! What devices were enrolled on, and what the same evidence is worth by today's endorsements: of one activation (GetEvidence), and
//! of all, so that a CA that was removed or denied is noticed on the seats that it vouched for.

use upkeep::id::ActivationId;
use upkeep::level::AssuranceLevel;
use upkeep::serial::SerialNumber;

use super::enroll::{appraise, binding_of};
use super::{Deps, Fault, Outcome};
use crate::attest::EvidenceError;
use crate::domain::activation::Activation;
use crate::domain::enrollment::{Enrollment, Evidence};
use crate::domain::machine::ActivationState;
use crate::domain::refusal::{Reason, Refusal};
use crate::record::{Records, keys};

/// The evidence of an activation's device key.
pub(crate) struct Kept {
    pub(crate) enrollment: Enrollment,
    pub(crate) evidence: Evidence,
    /// The level by today's anchors and deny list, at the time of the enrollment.
    pub(crate) today: Result<AssuranceLevel, EvidenceError>,
}

/// A live activation whose device would not be enrolled at its level today.
#[derive(Clone, Debug)]
pub struct Doubtful {
    /// The seat.
    pub activation: ActivationId,
    /// Its license.
    pub serial: SerialNumber,
    /// The level today, or why there is none.
    pub today: Result<AssuranceLevel, EvidenceError>,
}

/// Appraises the evidence of all live activations again, page by page, and gives what is worth less by today's endorsements: the
/// CA was removed or is denied since, or counts for less.
///
/// It goes through the enrollments: software keys have none, and a store full of them costs nothing here.
///
/// # Errors
/// Store faults.
pub async fn doubtful(deps: &Deps, mut report: impl FnMut(Doubtful)) -> Result<(), Outcome> {
    let mut store = &deps.store;
    let mut rest = keys::table(b'E');
    loop {
        let page = store.load_range::<Enrollment>(&rest, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        rest.from = [last.as_slice(), &[0]].concat();
        for (_, enrollment) in page {
            let Some(id) = enrollment.activation else {
                continue;
            };
            // A chain costs a millisecond; calls come first.
            tokio::task::yield_now().await;
            let activation: Option<Activation> = store.load(&keys::activation(&id))?;
            let Some(activation) = activation.filter(is_live) else {
                continue;
            };
            let kept = read(deps, &id)?;
            if kept.today != Ok(kept.enrollment.level) {
                report(Doubtful {
                    activation: id,
                    serial: activation.serial,
                    today: kept.today,
                });
            }
        }
    }
}

fn is_live(activation: &Activation) -> bool {
    matches!(
        activation.state,
        ActivationState::Active | ActivationState::Releasing
    )
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

const PAGE: usize = 200;
const MALFORMED: Fault =
    Fault::Inconsistent("an activation's enrollment or its evidence is missing");
