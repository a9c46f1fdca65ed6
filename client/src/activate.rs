//! Activation: a seat for this device's key.
//!
//! The order: the key ([`crate::attester`]), a challenge, the request written down, the request sent, the certificate verified, the certificate written down. A
//! crash after the third step leaves [`State::Activating`], and the next call sends the same request id again with a fresh
//! challenge: the server answers it from its record, so no second seat is taken. A refusal that is certain undoes the third step.
//! A TPM's key that died in between is replaced, and asked for under a new id: its enrollment shows the server that the counter moved
//! on, so the activation of the dead key makes room for it.

use std::fmt;

use upkeep::artefact::ActivationCertificate;
use upkeep::binding;
use upkeep::code::Code;
use upkeep::id::{ActivationId, ProductId};
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use zeroize::Zeroizing;

use crate::attester::{self, Key, Wanted};
use crate::challenged::challenged;
use crate::client::Client;
use crate::device::Device;
use crate::error::{ClientError, Unfinished};
use crate::hardware::Step;
use crate::keys::learn_published;
use crate::store::{
    AskedActivation, Held, LicenseStore, PendingActivation, State, VirtualEnvironment,
};
use crate::{machine, random, verify};

/// What an activation asks for.
#[derive(Clone, Debug)]
pub struct ActivateOptions {
    /// The license.
    pub serial: SerialNumber,
    /// The secret that goes with it.
    pub credential: Credential,
    /// The product.
    pub product: ProductId,
    /// Its version.
    pub version: Version,
    /// Whether it runs in a virtual machine.
    pub virtual_environment: VirtualEnvironment,
    /// The build's release manifest, needed where the product has a build key.
    pub release_manifest: Option<String>,
}

/// The secret that goes with a serial.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// Delivered with NSP products.
    Password(Zeroizing<String>),
    /// Delivered with every other product.
    ActivationCode(Code),
    /// Shown by this installation's status, for activating it again.
    ProductCode(Code),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(secret)",
            Self::ActivationCode(_) => "ActivationCode(secret)",
            Self::ProductCode(_) => "ProductCode(secret)",
        })
    }
}

/// A license that is active here now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Activated {
    /// What the certificate says.
    pub claims: ActivationCertificate,
    /// The product code; its `Display` shows the secret.
    pub product_code: Option<Code>,
    /// The device key that the seat is bound to.
    pub device: Device,
    /// The license as the server described it, unsigned.
    pub license: Option<v1::License>,
}

/// Activates this installation, or finishes the activation that a crash or a lost answer interrupted.
///
/// Where the same license is active already, its certificate is renewed for this version.
///
/// With a TPM's key this blocks the thread while the chip works, see [the crate](crate#a-tpm-blocks).
///
/// # Errors
/// [`ClientError::Unfinished`] when another license or request stands here; [`ClientError::Refused`]; when
/// [`ClientError::outcome_unknown`], call again with the same options.
pub async fn activate(
    store: &mut LicenseStore,
    client: &Client,
    options: &ActivateOptions,
) -> Result<Activated, ClientError> {
    learn_published(store, client).await?;
    let resumed = matches!(store.state(), State::Activating(_));
    let mut sent = match send(store, client, options, Key::Held).await {
        // An earlier sending took effect, with another credential: this device gets its own seat again under a new id.
        Err(error) if resumed && error.reason() == Some("REQUEST_ID_REUSED") => {
            let device = attester::held(store.state(), &options.serial).cloned();
            undo(store)?;
            send(store, client, options, device.map_or(Key::Held, Key::This)).await
        }
        sent => sent,
    };
    // The key was enrolled too long ago, or its activation is over; or the license has another here, lost and still at work.
    for step in [Step::Beside, Step::Anew] {
        if !matches!(&sent, Err(error) if error.reason() == Some("ENROLLMENT_INVALID")) {
            break;
        }
        sent = send(store, client, options, Key::New(step)).await;
    }
    match sent {
        Ok(answer) => accept_activation(store, answer),
        Err(error) => {
            if !resumed && matches!(error, ClientError::Refused(_)) && !error.outcome_unknown() {
                refused(store)?;
            }
            Err(error)
        }
    }
}

/// Gives up an activation or upgrade whose answer never came. What was in force before it is again.
///
/// If it took a seat, this device gets that seat when it activates the license again.
///
/// # Errors
/// [`ClientError::Input`] when none is unfinished, [`ClientError::Store`].
pub fn abandon_activation(store: &mut LicenseStore) -> Result<(), ClientError> {
    if matches!(store.state(), State::Activating(_) | State::Redeeming(_)) {
        undo(store)
    } else {
        Err(ClientError::Input(
            "no activation is unfinished here".to_owned(),
        ))
    }
}

/// The signed request for a challenge that came by other means. It is written down before it is returned. A TPM's key has to be
/// enrolled already.
///
/// # Errors
/// [`ClientError::Input`] when a TPM's key would have to be enrolled first, [`ClientError::Unfinished`] when another license or request stands here, [`ClientError::Store`].
pub fn activate_request(
    store: &mut LicenseStore,
    challenge: &[u8],
    options: &ActivateOptions,
) -> Result<v1::ActivateRequest, ClientError> {
    plan(store.state(), options)?;
    let device = attester::device_by_hand(store, options.wanted())?;
    let hints = machine::virtual_machine_hints();
    signed_request(store, challenge, options, &device, &hints)
}

/// Stores the answer to the unfinished activation, once its certificate verifies and is for what was asked.
///
/// # Errors
/// [`ClientError::Input`] when none was asked for, [`ClientError::Artefact`], [`ClientError::Answer`], [`ClientError::Store`].
pub fn accept_activation(
    store: &mut LicenseStore,
    answer: v1::ActivateResponse,
) -> Result<Activated, ClientError> {
    let State::Activating(pending) = store.state() else {
        return Err(ClientError::Input(
            "no activation was asked for here".to_owned(),
        ));
    };
    let held = read_answer(
        store,
        pending.device(),
        pending.serial(),
        &answer.activation_id,
        answer.certificate,
        &answer.product_code,
    )?;
    let claims = held.claims();
    if claims.product != *pending.product() || claims.version != *pending.version() {
        return Err(ClientError::Answer(
            "its certificate is for another product or version".to_owned(),
        ));
    }
    activated(store, held, answer.license)
}

/// A certificate for this device that came with an answer, verified and compared with what was asked.
pub(crate) fn read_answer(
    store: &LicenseStore,
    device: &Device,
    serial: &SerialNumber,
    activation_id: &str,
    certificate: String,
    product_code: &str,
) -> Result<Held, ClientError> {
    let verified = verify::certificate(&certificate, store.keys(), device)?;
    let claims = verified.claims();
    if claims.serial != *serial {
        return Err(ClientError::Answer(
            "its certificate is for another license".to_owned(),
        ));
    }
    if ActivationId::parse(activation_id) != Ok(claims.activation_id) {
        return Err(ClientError::Answer(
            "its certificate is for another activation".to_owned(),
        ));
    }
    let code = match product_code {
        "" => None,
        text => Some(
            Code::parse(text)
                .map_err(|error| ClientError::Answer(format!("its product code: {error}")))?,
        ),
    };
    Ok(Held::new(certificate, verified, code, device.clone()))
}

/// Writes down a certificate and reports it.
pub(crate) fn activated(
    store: &mut LicenseStore,
    held: Held,
    license: Option<v1::License>,
) -> Result<Activated, ClientError> {
    let report = Activated {
        device: held.device().clone(),
        claims: held.claims().clone(),
        product_code: held.product_code().cloned(),
        license,
    };
    store.put(State::Active(held))?;
    Ok(report)
}

/// Goes back to what stood here before an unfinished request.
pub(crate) fn undo(store: &mut LicenseStore) -> Result<(), ClientError> {
    let before = match store.state() {
        State::Activating(pending) => pending.before().clone(),
        State::Redeeming(pending) => pending.before().clone(),
        _ => return Ok(()),
    };
    store.put(before)?;
    Ok(())
}

/// Goes back after a refusal that is certain. Where the license has no key here then, the counter that was defined for the one that asked
/// is deleted; if that fails it stays, and the next try for the license uses it.
pub(crate) fn refused(store: &mut LicenseStore) -> Result<(), ClientError> {
    let (device, serial) = match store.state() {
        State::Activating(pending) => (pending.device().clone(), pending.serial().clone()),
        State::Redeeming(pending) => (pending.device().clone(), pending.serial().clone()),
        _ => return Ok(()),
    };
    undo(store)?;
    if let Device::Tpm(device) = device
        && attester::held(store.state(), &serial).is_none()
    {
        drop(device.give_up(store.tpm()));
    }
    Ok(())
}

async fn send(
    store: &mut LicenseStore,
    client: &Client,
    options: &ActivateOptions,
    key: Key,
) -> Result<v1::ActivateResponse, ClientError> {
    // What can be refused here is refused before the network is asked.
    plan(store.state(), options)?;
    let device = attester::device(store, client, options.wanted(), key).await?;
    let hints = machine::virtual_machine_hints();
    challenged(
        client,
        v1::ChallengePurpose::Activate,
        |challenge| signed_request(store, challenge, options, &device, &hints),
        |client, request| async move { client.activate(request).await },
    )
    .await
    .map_err(|error| error.with_key(device.because()))
}

pub(crate) fn signed_request(
    store: &mut LicenseStore,
    challenge: &[u8],
    options: &ActivateOptions,
    device: &Device,
    hints: &[String],
) -> Result<v1::ActivateRequest, ClientError> {
    let asked = ask(store, options, device)?;
    let b = binding::activate(
        challenge,
        &asked.request_id,
        &asked.serial,
        &asked.product,
        &asked.version,
        asked.virtual_environment.is_virtual(),
    );
    Ok(v1::ActivateRequest {
        request_id: asked.request_id.to_string(),
        challenge: challenge.to_vec(),
        serial: asked.serial.to_string(),
        credential: Some(credential(&options.credential)),
        device_key: Some(device.to_wire()),
        product_id: asked.product.to_string(),
        version: asked.version.to_string(),
        release_manifest: options.release_manifest.clone().unwrap_or_default(),
        virtual_environment: asked.virtual_environment.to_wire(),
        signature: device.sign_digest(store.tpm(), &b)?.to_vec(),
        virtual_machine_hints: hints.to_vec(),
    })
}

impl ActivateOptions {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            serial: &self.serial,
            product: Some(&self.product),
            virtual_environment: self.virtual_environment,
        }
    }
}

/// Whether a request is unfinished that these options repeat.
enum Plan {
    Repeat(AskedActivation),
    New,
}

fn plan(state: &State, options: &ActivateOptions) -> Result<Plan, ClientError> {
    let unfinished = |what| Err(ClientError::Unfinished(what));
    match state {
        State::Empty | State::Upgraded(_) | State::Deactivated(_) => Ok(Plan::New),
        State::Active(held) if *held.serial() == options.serial => Ok(Plan::New),
        State::Active(held) => unfinished(Unfinished::Active {
            serial: held.serial().clone(),
        }),
        State::Activating(pending) => {
            let asked = AskedActivation {
                request_id: pending.request_id(),
                serial: options.serial.clone(),
                product: options.product.clone(),
                version: options.version.clone(),
                virtual_environment: options.virtual_environment,
            };
            if pending.repeats(&asked) {
                Ok(Plan::Repeat(asked))
            } else {
                unfinished(Unfinished::Activation {
                    serial: pending.serial().clone(),
                    request_id: pending.request_id(),
                })
            }
        }
        State::Redeeming(pending) => unfinished(Unfinished::Redeem {
            serial: pending.serial().clone(),
            request_id: pending.request_id(),
        }),
        State::Releasing(journal) => unfinished(Unfinished::Deactivation {
            serial: journal.serial().clone(),
        }),
    }
}

/// The request as it stands in the store: the unfinished one where this very key asked, or a new one that is durable when this returns.
fn ask(
    store: &mut LicenseStore,
    options: &ActivateOptions,
    device: &Device,
) -> Result<AskedActivation, ClientError> {
    let before = match (plan(store.state(), options)?, store.state()) {
        (Plan::Repeat(asked), State::Activating(pending)) => {
            if pending.device().thumbprint() == device.thumbprint() {
                return Ok(asked);
            }
            pending.before().clone()
        }
        (_, state) => state.clone(),
    };
    let asked = AskedActivation {
        request_id: random::request_id()?,
        serial: options.serial.clone(),
        product: options.product.clone(),
        version: options.version.clone(),
        virtual_environment: options.virtual_environment,
    };
    store.put(State::Activating(PendingActivation::new(
        asked.clone(),
        device.clone(),
        before,
    )))?;
    Ok(asked)
}

fn credential(credential: &Credential) -> v1::Credential {
    use v1::credential::Secret;
    let secret = match credential {
        Credential::Password(password) => Secret::Password(password.to_string()),
        Credential::ActivationCode(code) => Secret::ActivationCode(code.canonical().to_owned()),
        Credential::ProductCode(code) => Secret::ProductCode(code.canonical().to_owned()),
    };
    v1::Credential {
        secret: Some(secret),
    }
}
