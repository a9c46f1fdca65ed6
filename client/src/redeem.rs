//! Upgrade codes: the short one is redeemed online and activates the next generation here; the signed file needs no network.
//!
//! Redeeming keeps the order of [`crate::activate`]: written down before it is sent, and repeated with the same request id.

use upkeep::armor;
use upkeep::artefact::UpgradeCode;
use upkeep::binding;
use upkeep::code::Code;
use upkeep::id::{ProductId, RequestId};
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use crate::activate::{self, Activated};
use crate::attester::{self, Attester, Key, Wanted};
use crate::challenged::challenged;
use crate::client::Client;
use crate::device::Device;
use crate::error::{ClientError, Unfinished};
use crate::hardware::Step;
use crate::keys::learn_published;
use crate::store::{
    AskedRedeem, LicenseStore, PendingRedeem, State, UpgradeFile, VirtualEnvironment,
};
use crate::{machine, random, verify};

/// What redeeming a code asks for.
#[derive(Clone, Debug)]
pub struct RedeemOptions {
    /// The license.
    pub serial: SerialNumber,
    /// The 25-character code.
    pub code: Code,
    /// The product, which a TPM's key is enrolled for; a software key does without.
    pub product: Option<ProductId>,
    /// The version that runs here.
    pub version: Version,
    /// Whether it runs in a virtual machine.
    pub virtual_environment: VirtualEnvironment,
    /// The build's release manifest, needed where the product has a build key.
    pub release_manifest: Option<String>,
}

/// An upgrade that is done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Redeemed {
    /// The activation of the new generation on this device.
    pub activated: Activated,
    /// The activation code of the new generation, for its other seats; its `Display` shows the secret.
    pub activation_code: Option<Code>,
}

/// Redeems an upgrade code online, or finishes the redeeming that a crash or a lost answer interrupted.
///
/// With a TPM's key this blocks the thread while the chip works, see [the crate](crate#a-tpm-blocks).
///
/// # Errors
/// [`ClientError::Unfinished`] when an activation or another request stands here; [`ClientError::Refused`]; when
/// [`ClientError::outcome_unknown`], call again with the same options.
pub async fn redeem(
    store: &mut LicenseStore,
    client: &Client,
    options: &RedeemOptions,
) -> Result<Redeemed, ClientError> {
    learn_published(store, client).await?;
    let resumed = matches!(store.state(), State::Redeeming(_));
    let sent = match send(store, client, options, Key::Held).await {
        // The key was enrolled too long ago.
        Err(error) if error.reason() == Some("ENROLLMENT_INVALID") => {
            send(store, client, options, Key::New(Step::Beside)).await
        }
        // The code was made for the key whose name the reseller was given, which is the store's own.
        Err(error)
            if error.reason() == Some("WRONG_DEVICE")
                && store.attester() == Attester::Auto
                && matches!(store.state(), State::Redeeming(pending) if matches!(pending.device(), Device::Tpm(_))) =>
        {
            let software = store.software(Some(
                "the upgrade code was made for the store's own key".to_owned(),
            ));
            send(store, client, options, Key::This(software)).await
        }
        sent => sent,
    };
    match sent {
        Ok(answer) => accept_redeem(store, answer),
        Err(error) => {
            if !resumed && matches!(error, ClientError::Refused(_)) && !error.outcome_unknown() {
                activate::refused(store)?;
            }
            Err(error)
        }
    }
}

/// The signed request for a challenge that came by other means. It is written down before it is returned. A TPM's key has to be
/// enrolled already.
///
/// # Errors
/// [`ClientError::Input`] when a TPM's key would have to be enrolled first, [`ClientError::Unfinished`] when an activation or another
/// request stands here, [`ClientError::Store`].
pub fn redeem_request(
    store: &mut LicenseStore,
    challenge: &[u8],
    options: &RedeemOptions,
) -> Result<v1::RedeemUpgradeCodeRequest, ClientError> {
    plan(store.state(), options)?;
    let device = attester::device_by_hand(store, options.wanted())?;
    let hints = machine::virtual_machine_hints();
    signed_request(store, challenge, options, &device, &hints)
}

/// Stores the answer to the unfinished redeeming, once its certificate verifies and is for this license and device.
///
/// # Errors
/// [`ClientError::Input`] when none was asked for, [`ClientError::Artefact`], [`ClientError::Answer`], [`ClientError::Store`].
pub fn accept_redeem(
    store: &mut LicenseStore,
    answer: v1::RedeemUpgradeCodeResponse,
) -> Result<Redeemed, ClientError> {
    let State::Redeeming(pending) = store.state() else {
        return Err(ClientError::Input(
            "no upgrade code was sent from here".to_owned(),
        ));
    };
    let held = activate::read_answer(
        store,
        pending.device(),
        pending.serial(),
        &answer.activation_id,
        answer.certificate,
        &answer.product_code,
    )?;
    if held.claims().version != *pending.version() {
        return Err(ClientError::Answer(
            "its certificate is for another version".to_owned(),
        ));
    }
    let activation_code = match answer.activation_code.as_str() {
        "" => None,
        text => Some(
            Code::parse(text)
                .map_err(|error| ClientError::Answer(format!("its activation code: {error}")))?,
        ),
    };
    Ok(Redeemed {
        activated: activate::activated(store, held, answer.license)?,
        activation_code,
    })
}

/// Takes an upgrade code in its file form into force: it licenses this device from now on.
///
/// * `text` - bare or armoured, untrusted.
///
/// # Errors
/// [`ClientError::Artefact`] when it is not the pinned server's or for another device; [`ClientError::Unfinished`] when an activation
/// stands here or its return has no proof yet; [`ClientError::Input`] for an older code than the one in force.
pub fn redeem_file(store: &mut LicenseStore, text: &str) -> Result<UpgradeCode, ClientError> {
    let text = armor::read_either::<UpgradeCode>(text)
        .map_err(|error| ClientError::artefact("the upgrade code", error))?;
    let verified = verify::upgrade_code(&text, store.keys(), &store.device_thumbprint())?;
    let claims = verified.claims().clone();
    match store.state() {
        State::Upgraded(held)
            if held.claims().serial == claims.serial
                && held.claims().generation > claims.generation =>
        {
            return Err(ClientError::Input(
                "a newer upgrade code is in force here".to_owned(),
            ));
        }
        state => may_upgrade(state)?,
    }
    store.put(State::Upgraded(UpgradeFile::new(text, verified)))?;
    Ok(claims)
}

/// Whether an upgrade may follow on this state: nothing is active here, and what was is proven to have ended.
fn may_upgrade(state: &State) -> Result<(), ClientError> {
    Err(ClientError::Unfinished(match state {
        State::Empty | State::Upgraded(_) | State::Deactivated(_) => return Ok(()),
        State::Releasing(journal) if journal.proof().is_some() => return Ok(()),
        State::Releasing(journal) => Unfinished::Deactivation {
            serial: journal.serial().clone(),
        },
        State::Active(held) => Unfinished::Active {
            serial: held.serial().clone(),
        },
        State::Activating(pending) => Unfinished::Activation {
            serial: pending.serial().clone(),
            request_id: pending.request_id(),
        },
        State::Redeeming(pending) => Unfinished::Redeem {
            serial: pending.serial().clone(),
            request_id: pending.request_id(),
        },
    }))
}

/// Whether a request is unfinished that these options repeat.
enum Plan {
    Repeat(AskedRedeem),
    New,
}

fn plan(state: &State, options: &RedeemOptions) -> Result<Plan, ClientError> {
    if let State::Redeeming(pending) = state {
        let asked = asked(pending.request_id(), options);
        if pending.repeats(&asked) {
            return Ok(Plan::Repeat(asked));
        }
    }
    may_upgrade(state).map(|()| Plan::New)
}

/// The request as it stands in the store: the unfinished one where this very key asked, or a new one that is durable when this returns.
fn ask(
    store: &mut LicenseStore,
    options: &RedeemOptions,
    device: &Device,
) -> Result<AskedRedeem, ClientError> {
    let before = match (plan(store.state(), options)?, store.state()) {
        (Plan::Repeat(asked), State::Redeeming(pending)) => {
            if pending.device().thumbprint() == device.thumbprint() {
                return Ok(asked);
            }
            pending.before().clone()
        }
        (_, state) => state.clone(),
    };
    let asked = asked(random::request_id()?, options);
    store.put(State::Redeeming(PendingRedeem::new(
        asked.clone(),
        device.clone(),
        before,
    )))?;
    Ok(asked)
}

async fn send(
    store: &mut LicenseStore,
    client: &Client,
    options: &RedeemOptions,
    key: Key,
) -> Result<v1::RedeemUpgradeCodeResponse, ClientError> {
    plan(store.state(), options)?;
    let device = attester::device(store, client, options.wanted(), key).await?;
    let hints = machine::virtual_machine_hints();
    challenged(
        client,
        v1::ChallengePurpose::Redeem,
        |challenge| signed_request(store, challenge, options, &device, &hints),
        |client, request| async move { client.redeem_upgrade_code(request).await },
    )
    .await
    .map_err(|error| error.with_key(device.because()))
}

fn signed_request(
    store: &mut LicenseStore,
    challenge: &[u8],
    options: &RedeemOptions,
    device: &Device,
    hints: &[String],
) -> Result<v1::RedeemUpgradeCodeRequest, ClientError> {
    let asked = ask(store, options, device)?;
    let b = binding::redeem(challenge, &asked.request_id, asked.code.canonical());
    Ok(v1::RedeemUpgradeCodeRequest {
        request_id: asked.request_id.to_string(),
        serial: asked.serial.to_string(),
        code: asked.code.canonical().to_owned(),
        version: asked.version.to_string(),
        release_manifest: options.release_manifest.clone().unwrap_or_default(),
        virtual_environment: asked.virtual_environment.to_wire(),
        device_key: Some(device.to_wire()),
        challenge: challenge.to_vec(),
        signature: device.sign_digest(store.tpm(), &b)?.to_vec(),
        dongle_number: String::new(),
        virtual_machine_hints: hints.to_vec(),
    })
}

impl RedeemOptions {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            serial: &self.serial,
            product: self.product.as_ref(),
            virtual_environment: self.virtual_environment,
        }
    }
}

fn asked(request_id: RequestId, options: &RedeemOptions) -> AskedRedeem {
    AskedRedeem {
        request_id,
        serial: options.serial.clone(),
        code: options.code.clone(),
        version: options.version.clone(),
        virtual_environment: options.virtual_environment,
    }
}
