//! Refresh: the online check of an activation, which brings its current certificate. A TPM adds its own word about its counter (the
//! heartbeat), by which the server notices a machine that was rolled back.

use upkeep::artefact::ActivationCertificate;
use upkeep::binding;
use upkeep::rpc::v1;

use crate::challenged::challenged;
use crate::client::Client;
use crate::deactivate::close_if_ended;
use crate::error::{ClientError, NotActivated, Unfinished};
use crate::keys::learn_published;
use crate::store::{Held, LicenseStore, State};
use crate::{random, verify};

/// An activation that the server has confirmed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refreshed {
    /// What the new certificate says.
    pub claims: ActivationCertificate,
    /// The activation as the server has it, unsigned.
    pub activation: Option<v1::Activation>,
    /// Maintenance today, unsigned.
    pub maintenance: Option<v1::MaintenanceStatus>,
}

/// Asks the server for the current certificate and puts it in the place of the old one.
///
/// A held ticket stops the product for as long as it is out. Once it ran out unused (its proof was never signed), the activation is
/// simply active again (DOMAIN 7), and this call brings it back. Where the vendor ended the activation (declared lost, revoked), the
/// certificate is destroyed here: its seat is another's now.
///
/// With a TPM's key this blocks the thread while the chip works, see [the crate](crate#a-tpm-blocks).
///
/// # Errors
/// [`ClientError::NotActivated`], [`ClientError::Refused`], [`ClientError::Artefact`] when the new certificate does not verify by
/// the keys that are trusted here. This call never replaces pinned keys; where a root is pinned, it brings the newest list first.
pub async fn refresh(store: &mut LicenseStore, client: &Client) -> Result<Refreshed, ClientError> {
    let held = held(store.state())?.clone();
    learn_published(store, client).await?;
    let id = held.activation_id().to_string();
    let request_id = random::request_id()?;
    let device = held.device().clone();
    let answer = challenged(
        client,
        v1::ChallengePurpose::Verify,
        |challenge| {
            let b = binding::verify(challenge, &request_id, &id);
            Ok(v1::VerifyActivationRequest {
                request_id: request_id.to_string(),
                challenge: challenge.to_vec(),
                activation_id: id.clone(),
                signature: device.sign_digest(store.tpm(), &b)?.to_vec(),
                heartbeat: device.heartbeat(store.tpm(), &b)?,
            })
        },
        |client, request| async move { client.verify_activation(request).await },
    )
    .await
    .map_err(|error| close_if_ended(store, error))?;
    let verified = verify::certificate(&answer.certificate, store.keys(), &device)?;
    let (old, new) = (held.claims(), verified.claims());
    if new.activation_id != old.activation_id
        || new.serial != old.serial
        || new.product != old.product
    {
        return Err(ClientError::Answer(
            "its certificate is for another activation".to_owned(),
        ));
    }
    let refreshed = Refreshed {
        claims: new.clone(),
        activation: answer.activation,
        maintenance: answer.maintenance,
    };
    let code = held.product_code().cloned();
    store.put(State::Active(Held::new(
        answer.certificate,
        verified,
        code,
        device,
    )))?;
    Ok(refreshed)
}

fn held(state: &State) -> Result<&Held, ClientError> {
    match state {
        State::Active(held) => Ok(held),
        State::Releasing(journal) => journal
            .held()
            .ok_or(ClientError::NotActivated(NotActivated::Releasing)),
        State::Empty => Err(ClientError::NotActivated(NotActivated::Never)),
        State::Deactivated(_) => Err(ClientError::NotActivated(NotActivated::Deactivated)),
        State::Upgraded(_) => Err(ClientError::NotActivated(NotActivated::UpgradeFile)),
        State::Activating(pending) => Err(ClientError::Unfinished(Unfinished::Activation {
            serial: pending.serial().clone(),
            request_id: pending.request_id(),
        })),
        State::Redeeming(pending) => Err(ClientError::Unfinished(Unfinished::Redeem {
            serial: pending.serial().clone(),
            request_id: pending.request_id(),
        })),
    }
}
