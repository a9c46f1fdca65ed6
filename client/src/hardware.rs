//! Enrollment of a TPM's key: the chip shows where its keys live, the server answers with a credential that only this chip can open.
//!
//! Nothing is written down on the way. Each enrollment makes its own key, so one that stops half-way is simply begun again: what it left
//! behind is dead in the chip, or on a counter that licenses share known to nobody, and lapses at the server.

use std::sync::Arc;

use upkeep::binding;
use upkeep::id::ProductId;
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;

use crate::attester::{self, Wanted};
use crate::challenged::challenged_with;
use crate::client::{Challenge, Client};
use crate::device::{Device, TpmDevice, certification, open};
use crate::error::ClientError;
use crate::store::LicenseStore;
use crate::tpm::{Prepared, Tpm, TpmAddress, TpmError};

/// What a new key does to those that other licenses have on the same counter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// It works beside them.
    Beside,
    /// It ends them, and so an earlier key of its own license that nobody can end otherwise.
    Anew,
}

/// Has a new key made by the TPM, and enrolls it at the server.
///
/// # Errors
/// [`ClientError::Tpm`], [`ClientError::Refused`] with `ATTESTATION_FAILED`, [`ClientError::Input`] when the product is not known; as
/// every call.
pub(crate) async fn enroll(
    store: &LicenseStore,
    client: &Client,
    wanted: Wanted<'_>,
    step: Step,
) -> Result<Device, ClientError> {
    let mut again = 0;
    loop {
        match enroll_once(store, client, wanted, step).await {
            // A second answer to one enrollment, or an answer that came too late.
            Err(error) if again < RENEWALS && error.reason() == Some("ENROLLMENT_INVALID") => {
                again += 1;
            }
            done => return done,
        }
    }
}

async fn enroll_once(
    store: &LicenseStore,
    client: &Client,
    wanted: Wanted<'_>,
    step: Step,
) -> Result<Device, ClientError> {
    let tpm = store.tpm();
    // 1 Nothing moves in the chip before all that is needed is here. The TPM first: where none is, a software key does without the rest.
    with_chip(tpm, |_| Ok(())).await?;
    let product = wanted.product.ok_or_else(|| {
        ClientError::Input("the product is missing: a TPM's key is enrolled for one".to_owned())
    })?;
    let challenge = client.challenge(v1::ChallengePurpose::Enroll).await?;
    // 2 A key is made that works only while the counter stands where it stands now; the license's own moves on first.
    let last = last(store, wanted.serial);
    let after = last.clone();
    let (vendor, serial) = (vendor(store), wanted.serial.to_string());
    let mut prepared = with_chip(tpm, move |chip| match (after, step) {
        (None, Step::Beside) => chip.prepare(&vendor, &serial),
        (None, Step::Anew) => chip.prepare_anew(&vendor, &serial),
        (Some(last), Step::Beside) => chip.prepare_next(last.key()),
        (Some(last), Step::Anew) => chip.prepare_next_anew(last.key()),
    })
    .await?;
    prepared.is_new_counter |= last.as_deref().is_some_and(TpmDevice::is_new_counter);
    let (is_new, key) = (prepared.is_new_counter, prepared.key.clone());
    let enrolled = enroll_key(client, tpm, challenge, prepared, (wanted, product)).await;
    if enrolled.is_err() && is_new && last.is_none() {
        // A refusal for a mistyped serial must not cost a counter; if this fails, it does.
        drop(with_chip(tpm, move |chip| chip.give_up(&key)).await);
    }
    enrolled
}

async fn enroll_key(
    client: &Client,
    tpm: Option<&TpmAddress>,
    challenge: Challenge,
    prepared: Prepared,
    (wanted, product): (Wanted<'_>, &ProductId),
) -> Result<Device, ClientError> {
    let is_virtual = wanted.virtual_environment.is_virtual();
    // 3 The evidence, over the challenge.
    let answer = challenged_with(
        challenge,
        client,
        v1::ChallengePurpose::Enroll,
        |challenge| {
            let q = binding::enroll(challenge, wanted.serial, product, is_virtual, CLIENT_BUILD);
            Ok(v1::BeginEnrollmentRequest {
                challenge: challenge.to_vec(),
                serial: wanted.serial.to_string(),
                product_id: product.to_string(),
                virtual_environment: wanted.virtual_environment.to_wire(),
                client_build: CLIENT_BUILD.to_owned(),
                evidence: Some(v1::begin_enrollment_request::Evidence::Tpm(evidence(
                    &prepared, tpm, &q,
                )?)),
            })
        },
        |client, request| async move { client.begin_enrollment(request).await },
    )
    .await?;
    // 4 Only the chip that the endorsement certificate speaks of gets the secret out of the credential.
    let key = prepared.key.clone();
    let secret = with_chip(tpm, move |chip| {
        chip.activate_credential(&key, &answer.credential_blob, &answer.encrypted_secret)
    })
    .await?;
    // 5 The server believes the evidence now.
    let complete = v1::CompleteEnrollmentRequest {
        enrollment_id: answer.enrollment_id,
        secret: secret.to_vec(),
    };
    let enrolled = client
        .complete_enrollment(complete)
        .await?
        .device
        .ok_or_else(|| ClientError::Answer("it enrolled no device".to_owned()))?;
    let device = TpmDevice::new(
        enrolled.device_id,
        product.clone(),
        wanted.virtual_environment,
        prepared.key,
    );
    let device = Device::Tpm(Arc::new(device.on_new_counter(prepared.is_new_counter)));
    if enrolled.device_thumbprint != device.thumbprint().to_string() {
        return Err(ClientError::Answer("it enrolled another key".to_owned()));
    }
    Ok(device)
}

/// The key of this chip that the license has here, dead or alive.
fn last(store: &LicenseStore, serial: &SerialNumber) -> Option<Arc<TpmDevice>> {
    match attester::held(store.state(), serial)? {
        Device::Tpm(last) => Some(Arc::clone(last)),
        Device::Software(_) => None,
    }
}

fn evidence(
    prepared: &Prepared,
    tpm: Option<&TpmAddress>,
    q: &[u8; 32],
) -> Result<v1::TpmEvidence, ClientError> {
    let (key, counter) = open(tpm)?.certify(&prepared.key, q)?;
    Ok(v1::TpmEvidence {
        ek_certificates: prepared.ek_certificates.clone(),
        ak_public: prepared.ak_public.clone(),
        device_public: prepared.device_public.clone(),
        nv_public: prepared.nv_public.clone(),
        key_certification: Some(certification(key)),
        counter_certification: Some(certification(counter)),
    })
}

/// The label that keeps one vendor's attestation key and counters apart from another's: the name that the server's certificate carries.
fn vendor(store: &LicenseStore) -> String {
    let pinned = store.enrollment();
    let host = || {
        let address = pinned.endpoint.trim_start_matches("https://");
        address
            .rsplit_once(':')
            .map_or(address, |(host, _)| host)
            .to_owned()
    };
    pinned.server_name.clone().unwrap_or_else(host)
}

/// Runs slow commands of the chip (seconds, where it has to make an RSA key) away from the threads that wait for the network.
async fn with_chip<T: Send + 'static>(
    tpm: Option<&TpmAddress>,
    work: impl FnOnce(&mut Tpm) -> Result<T, TpmError> + Send + 'static,
) -> Result<T, ClientError> {
    let tpm = tpm.cloned();
    let worked = tokio::task::spawn_blocking(move || work(&mut open(tpm.as_ref())?)).await;
    match worked {
        Ok(done) => Ok(done?),
        Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
        Err(_) => Err(ClientError::Input(
            "the program ends before the TPM has answered".to_owned(),
        )),
    }
}

/// What is enrolled, for the vendor's support; it is part of what the evidence signs.
const CLIENT_BUILD: &str = concat!("upkeep-client ", env!("CARGO_PKG_VERSION"));
const RENEWALS: u32 = 2;
