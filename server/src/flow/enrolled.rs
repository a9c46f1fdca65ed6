//! The device key of a call: a software key in the message, or an enrolled one by its device id.

use chrono::{DateTime, Utc};
use upkeep::id::{ActivationId, DeviceId, DongleNumber};
use upkeep::key::{PublicKey, Thumbprint};
use upkeep::level::AssuranceLevel;

use super::enroll::waiting;
use super::{Deps, Fault, Note, Outcome, tpm};
use crate::attest::{self, Appraised, NotPossessed};
use crate::domain::activation::{Activation, Enrolled};
use crate::domain::enrollment::{Enrollment, Wanted};
use crate::domain::refusal::{Reason, Refusal};
use crate::record::{Records, keys, save};
use crate::store::Tx;

/// A device key as a call names it.
#[derive(Clone, Debug)]
pub(crate) enum DeviceKey {
    /// The key itself.
    Software(PublicKey),
    /// Its enrollment.
    Enrolled(DeviceId),
}

/// What a device has shown: judged in the transaction, where a retry is answered before it.
pub(crate) struct Shown {
    possessed: Result<Appraised, NotPossessed>,
    enrolled: Option<DeviceId>,
}

/// A device that holds its key, with its enrollment where it has one.
pub(crate) struct Device<'a> {
    pub(crate) appraised: &'a Appraised,
    pub(crate) enrollment: Option<Enrollment>,
}

/// Verifies the device's signature over B. An unknown enrollment costs the same work, and a TPM that is denied by now has shown
/// nothing.
///
/// # Errors
/// Store faults.
pub(crate) fn appraise(
    deps: &Deps,
    key: &DeviceKey,
    b: &[u8; 32],
    signature: &[u8; 64],
) -> Result<Shown, Outcome> {
    let id = match key {
        DeviceKey::Software(key) => {
            return Ok(Shown {
                possessed: attest::appraise_software(key, b, signature),
                enrolled: None,
            });
        }
        DeviceKey::Enrolled(id) => id,
    };
    let mut store = &deps.store;
    let known: Option<Enrollment> = store.load(&keys::enrollment(id))?;
    let of = known.as_ref().and_then(Enrollment::tpm);
    let denied = of.is_some_and(|of| tpm::is_denied(deps, of, of.firmware));
    let (key, level) = match known {
        Some(enrollment) => (enrollment.key, enrollment.level),
        None => (deps.decoy_key().ok_or(NO_KEY)?, AssuranceLevel::Software),
    };
    Ok(Shown {
        possessed: match Appraised::possessed(&key, level, b, signature) {
            Ok(_) if denied => Err(NotPossessed),
            possessed => possessed,
        },
        enrolled: Some(*id),
    })
}

impl Shown {
    /// The device, once it has shown possession of its key.
    ///
    /// # Errors
    /// ENROLLMENT_INVALID for an unknown device id, and for an enrolled key that calls itself a software key; ATTESTATION_FAILED for
    /// a wrong signature.
    pub(crate) fn device(&self, tx: &mut Tx<'_>) -> Result<Device<'_>, Outcome> {
        let enrollment = match &self.enrolled {
            None => None,
            Some(id) => {
                let known: Option<Enrollment> = tx.load(&keys::enrollment(id))?;
                Some(known.ok_or(Reason::EnrollmentInvalid)?)
            }
        };
        let appraised = self.possessed.as_ref();
        let appraised = appraised.map_err(|_| Reason::AttestationFailed)?;
        if enrollment.is_none() {
            never_enrolled(tx, &appraised.thumbprint())?;
        }
        Ok(Device {
            appraised,
            enrollment,
        })
    }
}

/// Refuses a software key that has a seat as an enrolled one: its counter and its TPM would be asked nothing. Once it has one it
/// takes no other kind, so its newest activation tells.
fn never_enrolled(tx: &mut Tx<'_>, device: &Thumbprint) -> Result<(), Outcome> {
    let range = keys::device_activations(device);
    for (key, _) in tx.scan_back(&range.from, &range.to, 1)? {
        let id = ActivationId::from_slice(keys::tail(&key, &range)).map_err(|_| MALFORMED)?;
        let newest: Option<Activation> = tx.load(&keys::activation(&id))?;
        if newest.is_some_and(|newest| newest.enrolled.is_some()) {
            return Err(Refusal::new(Reason::EnrollmentInvalid)
                .detail("This key is enrolled: name it by its device id")
                .into());
        }
    }
    Ok(())
}

impl Device<'_> {
    /// Whether the enrollment may be used for `wanted` now: its own use, a TPM that is not frozen, a counter that has not moved on.
    ///
    /// * `held` - the live activation of this device on the license.
    /// * `asked_at` - when the challenge was made that it signed.
    ///
    /// # Errors
    /// ENROLLMENT_INVALID, and as [`tpm::check_key`].
    pub(crate) fn check_use(
        &self,
        tx: &mut Tx<'_>,
        note: &mut Note,
        wanted: Wanted<'_>,
        held: Option<&Activation>,
        asked_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), Outcome> {
        if held.is_some_and(|held| !self.holds(held)) {
            return Err(Refusal::new(Reason::EnrollmentInvalid)
                .detail("The device holds its seat by another enrollment")
                .into());
        }
        let Some(enrollment) = &self.enrollment else {
            return Ok(());
        };
        enrollment.check_use(wanted, held.map(|held| &held.id), now)?;
        let Some(of) = enrollment.tpm() else {
            return Ok(());
        };
        tpm::check_key(tx, note, &of.ek_id, of.era, asked_at)?;
        let known = tpm::known_counter(tx, &of.ek_id, &of.counter.name)?;
        if known.is_some_and(|known| known.value > of.counter.value) {
            return Err(Refusal::new(Reason::EnrollmentInvalid)
                .detail("Its counter has moved on, so the device key has ended")
                .into());
        }
        Ok(())
    }

    /// Whether it holds `held` by what it has shown: the same enrollment, or any of the same dongle key; a software key by none.
    fn holds(&self, held: &Activation) -> bool {
        match (&held.enrolled, &self.enrollment) {
            (None, None) => true,
            (Some(by), Some(shown)) => match by.tpm {
                Some(_) => by.device == shown.id,
                None => shown.dongle().is_some(),
            },
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// The dongle, where the key is in one.
    pub(crate) fn dongle(&self) -> Option<&DongleNumber> {
        self.enrollment.as_ref()?.dongle()
    }

    /// The level that an endorsement gave.
    pub(crate) fn endorsed(&self) -> Option<AssuranceLevel> {
        self.enrollment.as_ref().map(|enrollment| enrollment.level)
    }

    /// Marks the enrollment as used for `activation`: it lapses no longer, and is good for no other.
    pub(crate) fn bind(&self, tx: &mut Tx<'_>, activation: &mut Activation) -> Result<(), Outcome> {
        let Some(enrollment) = &self.enrollment else {
            return Ok(());
        };
        activation.enrolled = Some(Enrolled::of(enrollment));
        let mut used = enrollment.clone();
        used.activation = Some(activation.id);
        tx.delete(keys::lapse(used.expires_at, &used.id));
        waiting::leave(tx, &used)?;
        save(tx, &used);
        let Some(of) = used.tpm() else {
            return Ok(());
        };
        let (ek_id, name) = (&of.ek_id, &of.counter.name);
        tpm::used(tx, ek_id, name, &used.id)?;
        tx.put(
            keys::counter_activation(ek_id, name, &activation.serial),
            activation.id.as_bytes().to_vec(),
        );
        Ok(())
    }
}

const MALFORMED: Fault = Fault::Inconsistent("a device's activations are malformed");
const NO_KEY: Fault = Fault::Inconsistent("the server's own key is not among its keys");
