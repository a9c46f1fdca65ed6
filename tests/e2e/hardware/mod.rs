//! Hardware keys against the real server over TLS: TPMs and dongles that are played in software (`chip`), honest and cheating.

mod dongle;
mod enrolling;
mod life;
mod restored;
mod rolled_back;
mod superseded;

use std::path::PathBuf;

use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt;
use upkeep::artefact::{HardwareProof, TicketNonce};
use upkeep::binding;
use upkeep::code::Code;
use upkeep::id::{ActivationId, ProductId, RequestId};
use upkeep::rpc::v1;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use upkeep_server::attest::EndorsementClass;
use upkeep_server::pki::Role;

use crate::chip::{Chip, ChipKey, Maker};
use crate::device::{Api, Wish, challenge, request_id};
use crate::world::{self, World};

/// A world whose server believes the maker, with one license.
struct Scene {
    world: World,
    maker: Maker,
    api: Api,
    wish: Wish,
    /// Its programme file, where it has one of its own: read again at every start.
    programme: Option<tempfile::NamedTempFile>,
}

impl Scene {
    async fn new(class: EndorsementClass, seats: u32) -> Self {
        Self::with(class, seats, Vec::new()).await
    }

    /// The same with certificates that are leases of 30 days.
    async fn leased(class: EndorsementClass, seats: u32) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), LEASED).unwrap();
        let mut scene = Self::with(class, seats, vec![file.path().to_owned()]).await;
        scene.programme = Some(file);
        scene
    }

    async fn with(class: EndorsementClass, seats: u32, programmes: Vec<PathBuf>) -> Self {
        let maker = Maker::new("Chip Works");
        let makers = [(maker.certificate(), class)];
        let world = World::prepared("2026-06-01", programmes, &makers).await;
        let mut admin = world.admin().await;
        world::seed(&mut admin).await;
        let wish = world::license(&mut admin, "LS-1000", seats, "2025-01-15").await;
        Self {
            api: world.api().await,
            world,
            maker,
            wish,
            programme: None,
        }
    }

    async fn support(&self) -> SupportServiceClient<Channel> {
        SupportServiceClient::new(self.world.staff(Role::Support, "eva").await)
    }

    /// A chip of the maker, enrolled for the license.
    async fn machine(&mut self) -> Machine {
        let chip = self.maker.chip();
        Machine::enroll(&mut self.api, chip, &self.wish)
            .await
            .unwrap()
    }

    /// The same, activated.
    async fn active(&mut self) -> (Machine, v1::ActivateResponse) {
        let machine = self.machine().await;
        let seat = machine.activate(&mut self.api, &self.wish).await.unwrap();
        (machine, seat)
    }

    /// The license as staff see it.
    async fn license(&self) -> v1::License {
        let request = v1::LookUpRequest {
            query: self.wish.serial.clone(),
        };
        let found = self.support().await.look_up(request).await.unwrap();
        found.into_inner().licenses.remove(0)
    }

    /// The activations of the license as staff see them.
    async fn activations(&self) -> Vec<v1::Activation> {
        let request = v1::SupportServiceListActivationsRequest {
            serial: self.wish.serial.clone(),
            ..Default::default()
        };
        let found = self.support().await.list_activations(request).await;
        found.unwrap().into_inner().activations
    }

    /// The history of the license, newest first.
    async fn history(&self) -> Vec<v1::HistoryEntry> {
        let request = v1::ListHistoryRequest {
            serial: self.wish.serial.clone(),
            ..Default::default()
        };
        let found = self.support().await.list_history(request).await;
        found.unwrap().into_inner().entries
    }

    /// Nothing stored contradicts anything else.
    async fn close(self) {
        self.world.check_records().await;
    }
}

/// A machine with a TPM, and the key that was enrolled.
#[derive(Clone)]
struct Machine {
    chip: Chip,
    key: ChipKey,
    device_id: String,
}

/// The counter of the license of these tests.
const INDEX: u32 = 0x0180_0001;
/// One that licenses share.
const SHARED: u32 = 0x01BF_0001;

impl Machine {
    async fn enroll(api: &mut Api, chip: Chip, wish: &Wish) -> Result<Self, Status> {
        Self::enroll_at(api, chip, INDEX, wish).await
    }

    /// The same with another counter of the chip.
    async fn enroll_at(
        api: &mut Api,
        mut chip: Chip,
        index: u32,
        wish: &Wish,
    ) -> Result<Self, Status> {
        let key = chip.prepare(index);
        Self::enroll_key(api, chip, key, wish).await
    }

    /// As [`Machine::enroll`], where the counter stays as it is.
    async fn enroll_beside(api: &mut Api, mut chip: Chip, wish: &Wish) -> Result<Self, Status> {
        let key = chip.prepare_beside(SHARED);
        Self::enroll_key(api, chip, key, wish).await
    }

    async fn enroll_key(
        api: &mut Api,
        mut chip: Chip,
        key: ChipKey,
        wish: &Wish,
    ) -> Result<Self, Status> {
        let begun = begin(api, &mut chip, &key, wish, false).await?;
        let device = complete(api, &chip, &begun).await?;
        Ok(Self {
            chip,
            key,
            device_id: device.device_id,
        })
    }

    /// Enrolls again with a new key, as a client does whose store is lost.
    async fn enroll_again(&mut self, api: &mut Api, wish: &Wish) -> Result<(), Status> {
        let again = Self::enroll(api, self.chip.clone(), wish).await?;
        *self = again;
        Ok(())
    }

    async fn activate(&self, api: &mut Api, wish: &Wish) -> Result<v1::ActivateResponse, Status> {
        let asked = self.activate_request(api, wish, false).await?;
        Ok(api.activate(asked).await?.into_inner())
    }

    async fn activate_request(
        &self,
        api: &mut Api,
        wish: &Wish,
        vm: bool,
    ) -> Result<v1::ActivateRequest, Status> {
        let request_id = request_id();
        let challenge = challenge(api, v1::ChallengePurpose::Activate).await?;
        let b = binding::activate(
            &challenge,
            &RequestId::parse(&request_id).unwrap(),
            &SerialNumber::parse(&wish.serial).unwrap(),
            &ProductId::parse(&wish.product).unwrap(),
            &Version::parse(&wish.version).unwrap(),
            vm,
        );
        Ok(v1::ActivateRequest {
            request_id,
            challenge,
            serial: wish.serial.clone(),
            credential: Some(v1::Credential {
                secret: Some(wish.credential.clone()),
            }),
            device_key: Some(device_key(&self.device_id)),
            product_id: wish.product.clone(),
            version: wish.version.clone(),
            release_manifest: String::new(),
            virtual_environment: environment(vm).into(),
            signature: self.key.key.sign_digest(&b).to_vec(),
            virtual_machine_hints: Vec::new(),
        })
    }

    /// RedeemUpgradeCode for the newest release.
    async fn redeem(
        &self,
        api: &mut Api,
        wish: &Wish,
        code: &str,
    ) -> Result<v1::RedeemUpgradeCodeResponse, Status> {
        let request_id = request_id();
        let challenge = challenge(api, v1::ChallengePurpose::Redeem).await?;
        let code = Code::parse(code).unwrap();
        let request = RequestId::parse(&request_id).unwrap();
        let b = binding::redeem(&challenge, &request, code.canonical());
        let asked = v1::RedeemUpgradeCodeRequest {
            request_id,
            serial: wish.serial.clone(),
            code: code.to_string(),
            version: "11.0".to_owned(),
            virtual_environment: environment(false).into(),
            device_key: Some(device_key(&self.device_id)),
            challenge,
            signature: self.key.key.sign_digest(&b).to_vec(),
            ..Default::default()
        };
        Ok(api.redeem_upgrade_code(asked).await?.into_inner())
    }

    /// VerifyActivation with a heartbeat.
    async fn verify(
        &mut self,
        api: &mut Api,
        activation: &str,
    ) -> Result<v1::VerifyActivationResponse, Status> {
        let asked = self.verify_request(api, activation).await?;
        Ok(api.verify_activation(asked).await?.into_inner())
    }

    async fn verify_request(
        &mut self,
        api: &mut Api,
        activation: &str,
    ) -> Result<v1::VerifyActivationRequest, Status> {
        let request_id = request_id();
        let challenge = challenge(api, v1::ChallengePurpose::Verify).await?;
        let b = binding::verify(
            &challenge,
            &RequestId::parse(&request_id).unwrap(),
            activation,
        );
        Ok(v1::VerifyActivationRequest {
            request_id,
            challenge,
            activation_id: activation.to_owned(),
            signature: self.key.key.sign_digest(&b).to_vec(),
            heartbeat: Some(self.chip.nv_certify(self.key.index, &b)),
        })
    }

    async fn ticket(&self, api: &mut Api, activation: &str) -> Result<String, Status> {
        let request_id = request_id();
        let challenge = challenge(api, v1::ChallengePurpose::BeginDeactivation).await?;
        let request = RequestId::parse(&request_id).unwrap();
        let b = binding::begin_deactivation(&challenge, &request, activation);
        let signature = self.chip.sign(&self.key, &b).expect("the key is alive");
        let asked = v1::BeginDeactivationRequest {
            request_id,
            challenge,
            activation_id: activation.to_owned(),
            signature: signature.to_vec(),
        };
        Ok(api.begin_deactivation(asked).await?.into_inner().ticket)
    }

    /// The counter's proof, with the ticket that it answers or without one. It does not move the counter.
    fn proof(&mut self, activation: &str, ticket: Option<&str>) -> HardwareProof {
        let id = ActivationId::parse(activation).unwrap();
        let q = match ticket {
            None => binding::deactivate_offline(&id),
            Some(ticket) => binding::deactivate(&id, &nonce(ticket)),
        };
        let said = self.chip.nv_certify(self.key.index, &q);
        HardwareProof {
            activation_id: id,
            ticket: ticket.map(str::to_owned),
            attest: said.attest,
            signature: said.signature,
        }
    }

    /// Ends the key and proves it without a ticket.
    fn retire(&mut self, activation: &str) -> HardwareProof {
        self.chip.increment(self.key.index);
        self.proof(activation, None)
    }
}

async fn begin(
    api: &mut Api,
    chip: &mut Chip,
    key: &ChipKey,
    wish: &Wish,
    vm: bool,
) -> Result<v1::BeginEnrollmentResponse, Status> {
    let asked = begin_request(api, chip, key, wish, vm).await?;
    Ok(api.begin_enrollment(asked).await?.into_inner())
}

async fn begin_request(
    api: &mut Api,
    chip: &mut Chip,
    key: &ChipKey,
    wish: &Wish,
    vm: bool,
) -> Result<v1::BeginEnrollmentRequest, Status> {
    let (challenge, q) = enroll_binding(api, wish, vm).await?;
    let tpm = chip.evidence(key, &q);
    Ok(v1::BeginEnrollmentRequest {
        challenge,
        serial: wish.serial.clone(),
        product_id: wish.product.clone(),
        virtual_environment: environment(vm).into(),
        client_build: BUILD.to_owned(),
        evidence: Some(v1::begin_enrollment_request::Evidence::Tpm(tpm)),
    })
}

/// A challenge and what evidence says over it.
async fn enroll_binding(
    api: &mut Api,
    wish: &Wish,
    vm: bool,
) -> Result<(Vec<u8>, [u8; 32]), Status> {
    let challenge = challenge(api, v1::ChallengePurpose::Enroll).await?;
    let q = binding::enroll(
        &challenge,
        &SerialNumber::parse(&wish.serial).unwrap(),
        &ProductId::parse(&wish.product).unwrap(),
        vm,
        BUILD,
    );
    Ok((challenge, q))
}

async fn complete(
    api: &mut Api,
    chip: &Chip,
    begun: &v1::BeginEnrollmentResponse,
) -> Result<v1::EnrolledDevice, Status> {
    let secret = chip.activate_credential(&begun.credential_blob, &begun.encrypted_secret);
    answer(api, begun, secret.expect("it is for this chip")).await
}

async fn answer(
    api: &mut Api,
    begun: &v1::BeginEnrollmentResponse,
    secret: Vec<u8>,
) -> Result<v1::EnrolledDevice, Status> {
    let asked = v1::CompleteEnrollmentRequest {
        enrollment_id: begun.enrollment_id.clone(),
        secret,
    };
    let done = api.complete_enrollment(asked).await?.into_inner();
    Ok(done.device.unwrap())
}

async fn deactivate(
    api: &mut Api,
    proof: &HardwareProof,
) -> Result<v1::DeactivateResponse, Status> {
    let request = v1::DeactivateRequest {
        proof: proof.to_text(),
    };
    Ok(api.deactivate(request).await?.into_inner())
}

fn device_key(device_id: &str) -> v1::DeviceKey {
    v1::DeviceKey {
        key: Some(v1::device_key::Key::DeviceId(device_id.to_owned())),
    }
}

fn environment(vm: bool) -> v1::VirtualEnvironment {
    match vm {
        true => v1::VirtualEnvironment::Yes,
        false => v1::VirtualEnvironment::No,
    }
}

/// The claims of a JWS, unverified.
fn claims(jws: &str) -> serde_json::Value {
    let body = jws.split('.').nth(1).unwrap();
    let bytes = data_encoding::BASE64URL_NOPAD
        .decode(body.as_bytes())
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn nonce(ticket: &str) -> TicketNonce {
    TicketNonce::parse(claims(ticket)["nonce"].as_str().unwrap()).unwrap()
}

/// The reason of a refusal.
fn reason<T>(answer: Result<T, Status>) -> String {
    let status = answer.err().expect("it has to be refused");
    status.get_details_error_info().unwrap().reason
}

const LEASED: &str = "[programme]\nid = \"teklynx-sma\"\nrev = 1\ntz = \"UTC\"\n\
    [cover]\nincluded_months = 600\n[assurance]\nlease_days = 30\n";
const BUILD: &str = "e2e 1.0";
