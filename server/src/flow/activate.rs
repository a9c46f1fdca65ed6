//! Activate: a seat for a device key (DESIGN 8, DOMAIN 7).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::artefact::{ActivationCertificate, Confirmation, ReleaseManifest};
use upkeep::binding;
use upkeep::code::Code;
use upkeep::id::{ActivationId, ProductId, RequestId};
use upkeep::jws;
use upkeep::key::{PublicKey, Thumbprint};
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use super::authenticate::{Credential, authenticate};
use super::enrolled::{self, Device, DeviceKey};
use super::once::Principal;
use super::supersede::{self, supersede};
use super::{Call, Deps, Fault, Note, Outcome, lease, seconds, whole_micros};
use crate::challenge::{self, Fresh, Purpose};
use crate::domain::activation::{self, Activation, Ask, Granted};
use crate::domain::catalogue::{Product, Release};
use crate::domain::credential::Authenticated;
use crate::domain::license::{Carrier, License, VirtualEnvironment, VmPermission};
use crate::domain::machine::ActivationState;
use crate::domain::maintenance::access;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::virtual_machine::contradiction;
use crate::random::{bytes32, uuid_v7};
use crate::record::license::LicenseWire;
use crate::record::{Reads, Record, Records, keys, save};
use crate::signer;
use crate::store::{Committed, Tx};

/// A parsed Activate request.
pub(crate) struct Request {
    pub(crate) request: RequestId,
    pub(crate) challenge: Vec<u8>,
    pub(crate) serial: SerialNumber,
    pub(crate) credential: Credential,
    pub(crate) device_key: DeviceKey,
    pub(crate) build: Build,
    pub(crate) vm: VirtualEnvironment,
    /// What the client saw of a virtual machine; claims.
    pub(crate) vm_hints: Vec<String>,
    pub(crate) signature: [u8; 64],
    /// The request's content, for telling a retry from another request.
    pub(crate) body: Vec<u8>,
}

/// The build that asks, as it names itself.
#[derive(Clone)]
pub(crate) struct Build {
    pub(crate) product: ProductId,
    pub(crate) version: Version,
    pub(crate) manifest: Option<String>,
}

/// What is kept of the outcome for retries: everything but the signature and the code.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Seated {
    #[prost(bytes = "vec", tag = "1")]
    activation: Vec<u8>,
    #[prost(string, tag = "2")]
    certificate: String,
    #[prost(message, optional, tag = "3")]
    license: Option<LicenseWire>,
}

/// The answer.
pub(crate) struct Activated {
    pub(crate) activation: ActivationId,
    pub(crate) certificate: String,
    pub(crate) product_code: Code,
    pub(crate) license: License,
}

/// The path of Activate.
///
/// # Errors
/// As the steps refuse: credential, reuse of a request id, challenge, device signature, manifest or release, then
/// [`activation::decide`].
pub(crate) async fn activate(
    deps: &Arc<Deps>,
    call: Call,
    ask: Request,
) -> Result<Activated, Outcome> {
    // 1 The secret, behind the guess limit.
    let who = authenticate(deps, &call, &ask.serial, &ask.credential).await?;
    // 2 Challenge and device signature: pure, judged in the transaction, where a retry is answered before them.
    let fresh = challenge::check(&deps.pepper, Purpose::Activate, &ask.challenge, call.now);
    let b = binding::activate(
        &ask.challenge,
        &ask.request,
        &ask.serial,
        &ask.build.product,
        &ask.build.version,
        ask.vm == VirtualEnvironment::Yes,
    );
    let shown = enrolled::appraise(deps, &ask.device_key, &b, &ask.signature)?;
    // 3 The build's own word on its date, where the product has a build key.
    let release = release_of(deps, &ask.build)?;
    // 4 One transaction decides and writes everything.
    let principal = Principal::owner("serial", ask.serial.as_str());
    let new_id = ActivationId::from_uuid(uuid_v7(&*deps.clock, &*deps.random));
    let end_of_older = supersede::Fresh {
        nonce: bytes32(&*deps.random),
        receipt: uuid_v7(&*deps.clock, &*deps.random),
    };
    let (inner, now) = (Arc::clone(deps), whole_micros(call.now));
    let (vm, hints, body) = (ask.vm, ask.vm_hints, ask.body);
    let committed = deps
        .once(call, principal, &body, move |tx, note| {
            note.serial = Some(who.serial().clone());
            spend(tx, note, fresh)?;
            let device = shown.device(tx)?;
            let release = release.clone()?;
            let mut license = own_generation(&inner, tx, &who, now)?;
            lease::forget_cooled(tx, &mut license, now)?;
            let today = inner.today(&license, now)?;
            let held = live_activation(tx, &license, &device.appraised.thumbprint())?
                .map(|held| held.at(now, &license));
            let wanted = (&license.serial, &release.product, vm);
            let asked_at = fresh?.made_at();
            device.check_use(tx, note, wanted, held.as_ref(), asked_at, now)?;
            if let Some(enrollment) = &device.enrollment
                && let Some(older) =
                    supersede(&inner, tx, &mut license, enrollment, end_of_older, now)?
            {
                note.add(Some(format!("in place of {older}, whose key has ended")));
            }
            let cooling = lease::cooling(tx, &license, &device.appraised.thumbprint())?;
            let programme = inner.programme(&license)?;
            let ask = Ask {
                release: release.clone(),
                vm,
                vm_contradiction: contradiction(vm, &hints, device.endorsed()),
                dongle: device.dongle().cloned(),
                today,
                now,
            };
            note.add(ask.vm_contradiction.clone());
            let granted = activation::decide(
                &license,
                programme,
                &who,
                device.appraised,
                held.as_ref(),
                &cooling,
                &ask,
            )?;
            let seat = seat(
                &inner,
                tx,
                &mut license,
                granted,
                held,
                &device,
                &ask,
                new_id,
            )?;
            note.subject = seat.id.to_string();
            Ok(Seated {
                activation: seat.id.as_bytes().to_vec(),
                certificate: seat.certificate,
                license: Some(license.to_wire()),
            })
        })
        .await?;
    // 5 Sign what is durable. 6 Answer.
    finish(deps, committed)
}

fn finish(deps: &Deps, committed: Committed<Seated>) -> Result<Activated, Outcome> {
    let seated = committed.into_inner();
    let id = ActivationId::from_slice(&seated.activation).map_err(|_| MALFORMED)?;
    Ok(Activated {
        activation: id,
        certificate: deps.sign(&seated.certificate)?,
        product_code: deps.codes.product(&id),
        license: License::from_wire(seated.license.unwrap_or_default()).map_err(|_| MALFORMED)?,
    })
}

/// Writes the granted seat, new or held, with its certificate.
#[allow(
    clippy::too_many_arguments,
    reason = "the one place where a seat is written; used by Activate and RedeemUpgradeCode"
)]
pub(crate) fn seat(
    deps: &Deps,
    tx: &mut Tx<'_>,
    license: &mut License,
    granted: Granted,
    held: Option<Activation>,
    device: &Device<'_>,
    ask: &Ask,
    new_id: ActivationId,
) -> Result<Activation, Outcome> {
    let shown = device.appraised;
    let mut activation = match (granted, held) {
        (Granted::SameSeat, Some(held)) => held,
        (Granted::SameSeat, None) => return Err(MALFORMED.into()),
        (Granted::NewSeat, _) => {
            let left_behind = lease::take_back(tx, license, &shown.thumbprint())?;
            license.usage.seats_taken = license.usage.seats_taken.saturating_add(1);
            license.usage.activations = license.usage.activations.saturating_add(1);
            Activation {
                id: new_id,
                serial: license.serial.clone(),
                generation: license.generation,
                state: ActivationState::Active,
                device: shown.thumbprint(),
                level: shown.level(),
                version: ask.release.version.clone(),
                vm: ask.vm,
                vm_contradiction: None,
                created_at: ask.now,
                lease_end: left_behind,
                certificate: String::new(),
                deactivation: None,
                enrolled: None,
            }
        }
    };
    activation.version = ask.release.version.clone();
    activation.declare(ask);
    // A TPM's seat is renewed by a heartbeat and by nothing else; a new one has just shown its counter.
    let exp = match granted {
        Granted::SameSeat if activation.tpm().is_some() => {
            lease::rest(deps, license, &activation, ask.now)?
        }
        Granted::SameSeat | Granted::NewSeat => {
            lease::extend(deps, license, &mut activation, ask.now)?
        }
    };
    if granted == Granted::NewSeat {
        device.bind(tx, &mut activation)?;
    }
    activation.certificate = certificate(deps, license, &activation, exp, ask.now)?;
    if granted == Granted::NewSeat {
        let code = deps.codes.product(&activation.id);
        let mac = deps.pepper.product_code(&license.serial, &code);
        tx.put(
            keys::product_code(&license.serial, &mac),
            activation.id.as_bytes().to_vec(),
        );
        tx.put(
            keys::license_activation(&license.serial, &activation.id),
            Vec::new(),
        );
        tx.put(
            keys::device_activation(&activation.device, &activation.id),
            shown.key().sec1_bytes().to_vec(),
        );
        tx.put(
            keys::live(&license.serial, license.generation, &activation.device),
            activation.id.as_bytes().to_vec(),
        );
    }
    save(tx, &activation);
    deps.save_license(tx, license)?;
    Ok(activation)
}

/// The signing input of an activation certificate.
///
/// * `exp` - when its lease ends.
pub(crate) fn certificate(
    deps: &Deps,
    license: &License,
    activation: &Activation,
    exp: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<String, Outcome> {
    let programme = deps.programme(license)?;
    Ok(deps.signing_input(&ActivationCertificate {
        iss: deps.issuer.clone(),
        activation_id: activation.id,
        iat: seconds(now),
        exp: exp.map(seconds),
        serial: license.serial.clone(),
        cnf: Confirmation {
            jkt: activation.device,
        },
        generation: license.generation,
        product: license.product.clone(),
        edition: license.edition.clone(),
        add_ons: license.add_ons.clone(),
        license_type: Some(license.license_type.clone()),
        seats: license.seats,
        assurance: activation.level,
        counter: activation.tpm().map(|tpm| tpm.counter),
        maintenance_last_day: access::newest_build(programme, license),
        virtual_environment: license.vm == VmPermission::Allowed,
        version: activation.version.clone(),
        dongle_number: match &license.carrier {
            Carrier::SoftwareKey => None,
            Carrier::HardwareKey(number) => Some(number.clone()),
        },
    })?)
}

/// Spends a challenge: the first transaction that does wins (USR10).
pub(crate) fn spend(
    tx: &mut Tx<'_>,
    note: &mut Note,
    fresh: Result<Fresh, Reason>,
) -> Result<(), Outcome> {
    let fresh = fresh?;
    let key = keys::spent_challenge(fresh.expires_at, &fresh.nonce);
    if tx.value(&key)?.is_some() {
        return Err(Reason::ChallengeSpent.into());
    }
    tx.put(key.clone(), Vec::new());
    note.spent = Some(key);
    Ok(())
}

/// The license whose secret was shown; a secret of an older generation authorises nothing.
pub(crate) fn own_generation(
    deps: &Deps,
    tx: &mut Tx<'_>,
    who: &Authenticated,
    now: DateTime<Utc>,
) -> Result<License, Outcome> {
    deps.license(tx, who.serial(), now)?
        .filter(|license| license.generation == who.generation())
        .ok_or_else(|| Reason::CredentialInvalid.into())
}

/// The activation that this device holds on the license's current generation.
pub(crate) fn live_activation(
    reads: &mut impl Records,
    license: &License,
    device: &Thumbprint,
) -> Result<Option<Activation>, Outcome> {
    let Some(id) = reads.value(&keys::live(&license.serial, license.generation, device))? else {
        return Ok(None);
    };
    let id = ActivationId::from_slice(&id).map_err(|_| MALFORMED)?;
    Ok(reads.load(&keys::activation(&id))?)
}

/// The release that a build is: by its manifest where the product has a build key, else as the server knows it (DESIGN 5).
/// The refusal is kept for the transaction, so that it is recorded.
pub(crate) fn release_of(deps: &Deps, build: &Build) -> Result<Result<Release, Refusal>, Outcome> {
    let mut store = &deps.store;
    let Some(product) = store.load::<Product>(&keys::product(&build.product))? else {
        return Ok(Err(Reason::WrongProduct.into()));
    };
    let Some(build_key) = &product.build_key else {
        let known: Option<Release> = store.load(&keys::release(&build.product, &build.version))?;
        return Ok(known.ok_or_else(|| {
            Refusal::new(Reason::ReleaseUnknown).with("version", build.version.to_string())
        }));
    };
    let Some(manifest) = &build.manifest else {
        return Ok(Err(Reason::ManifestRequired.into()));
    };
    let kid = build_key.thumbprint();
    let verified = jws::verify::<ReleaseManifest>(
        manifest,
        |named| (*named == kid).then(|| build_key.clone()),
        verify_es256,
    );
    Ok(match verified {
        Err(error) => Err(Refusal::new(Reason::ManifestInvalid).detail(error.to_string())),
        Ok(manifest) => {
            let said = manifest.into_claims();
            if said.product == build.product && said.version == build.version {
                Ok(Release {
                    product: said.product,
                    version: said.version,
                    build_date: said.build_date,
                    created_at: deps.clock.now(),
                })
            } else {
                Err(Refusal::new(Reason::ManifestInvalid)
                    .detail("it is for another product or version"))
            }
        }
    })
}

/// ES256 by the fast library, in the shape that the shared language asks for.
pub(crate) fn verify_es256(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    signer::verify_es256(key.sec1_bytes(), message, signature)
}

const MALFORMED: Fault = Fault::Inconsistent("an activation's keys and records disagree");
