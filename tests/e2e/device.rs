//! An installed product with a software device key, speaking the protocol by hand.

use tonic::Status;
use tonic::transport::Channel;
use upkeep::artefact::{Confirmation, DeactivationProof, DeactivationTicket};
use upkeep::id::{ProductId, RequestId};
use upkeep::jws::{self, SigningInput};
use upkeep::key::{self, PublicKey, SigningKey};
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use upkeep::{binding, code::Code};
use upkeep_server::random::{Random, SystemRandom, bytes32};

pub(crate) type Api = ActivationServiceClient<Channel>;

/// What is activated.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) serial: String,
    pub(crate) credential: v1::credential::Secret,
    pub(crate) product: String,
    pub(crate) version: String,
}

pub(crate) struct Device {
    pub(crate) key: SigningKey,
}

impl Device {
    pub(crate) fn new() -> Self {
        let seed = bytes32(&SystemRandom);
        Self {
            key: SigningKey::from_seed(&seed).unwrap(),
        }
    }

    pub(crate) fn thumbprint(&self) -> String {
        self.key.public_key().thumbprint().to_string()
    }

    pub(crate) fn wire_key(&self) -> v1::DeviceKey {
        let der = self.key.public_key().to_spki_der();
        v1::DeviceKey {
            key: Some(v1::device_key::Key::SoftwareSpki(der)),
        }
    }

    pub(crate) async fn activate_request(
        &self,
        api: &mut Api,
        wish: &Wish,
        request: &str,
    ) -> Result<v1::ActivateRequest, Status> {
        let challenge = challenge(api, v1::ChallengePurpose::Activate).await?;
        let b = binding::activate(
            &challenge,
            &RequestId::parse(request).unwrap(),
            &SerialNumber::parse(&wish.serial).unwrap(),
            &ProductId::parse(&wish.product).unwrap(),
            &Version::parse(&wish.version).unwrap(),
            false,
        );
        Ok(v1::ActivateRequest {
            request_id: request.to_owned(),
            challenge,
            serial: wish.serial.clone(),
            credential: Some(v1::Credential {
                secret: Some(wish.credential.clone()),
            }),
            device_key: Some(self.wire_key()),
            product_id: wish.product.clone(),
            version: wish.version.clone(),
            release_manifest: String::new(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            signature: self.key.sign_digest(&b).to_vec(),
            virtual_machine_hints: Vec::new(),
        })
    }

    pub(crate) async fn activate(
        &self,
        api: &mut Api,
        wish: &Wish,
        request: &str,
    ) -> Result<v1::ActivateResponse, Status> {
        let asked = self.activate_request(api, wish, request).await?;
        Ok(api.activate(asked).await?.into_inner())
    }

    pub(crate) async fn verify(
        &self,
        api: &mut Api,
        activation: &str,
    ) -> Result<v1::VerifyActivationResponse, Status> {
        let request = request_id();
        let challenge = challenge(api, v1::ChallengePurpose::Verify).await?;
        let b = binding::verify(&challenge, &RequestId::parse(&request).unwrap(), activation);
        let asked = v1::VerifyActivationRequest {
            request_id: request,
            challenge,
            activation_id: activation.to_owned(),
            signature: self.key.sign_digest(&b).to_vec(),
            heartbeat: None,
        };
        Ok(api.verify_activation(asked).await?.into_inner())
    }

    pub(crate) async fn ticket(&self, api: &mut Api, activation: &str) -> Result<String, Status> {
        self.ticket_as(api, activation, &request_id()).await
    }

    /// The same under a request id of one's own, so that it can be sent again.
    pub(crate) async fn ticket_as(
        &self,
        api: &mut Api,
        activation: &str,
        request: &str,
    ) -> Result<String, Status> {
        let challenge = challenge(api, v1::ChallengePurpose::BeginDeactivation).await?;
        let b = binding::begin_deactivation(
            &challenge,
            &RequestId::parse(request).unwrap(),
            activation,
        );
        let asked = v1::BeginDeactivationRequest {
            request_id: request.to_owned(),
            challenge,
            activation_id: activation.to_owned(),
            signature: self.key.sign_digest(&b).to_vec(),
        };
        Ok(api.begin_deactivation(asked).await?.into_inner().ticket)
    }

    /// The proof that answers `ticket`, which is verified with the server's keys first, as a product does.
    pub(crate) fn prove(&self, ticket: &str, server: &PublicKey) -> String {
        let asked =
            jws::verify::<DeactivationTicket>(ticket, |_| Some(server.clone()), key::verify)
                .unwrap();
        let asked = asked.claims();
        let claims = DeactivationProof {
            iat: 1_700_000_000,
            serial: asked.serial.clone(),
            activation_id: asked.activation_id,
            nonce: asked.nonce,
            ticket: ticket.to_owned(),
            cnf: Confirmation {
                jkt: self.key.public_key().thumbprint(),
            },
        };
        let input = SigningInput::new(self.key.public_key().thumbprint(), &claims).unwrap();
        input.seal(&self.key.sign(input.signing_bytes()))
    }

    pub(crate) async fn redeem(
        &self,
        api: &mut Api,
        serial: &str,
        code: &str,
        version: &str,
    ) -> Result<v1::RedeemUpgradeCodeResponse, Status> {
        let request = request_id();
        self.redeem_as(api, serial, code, version, &request).await
    }

    /// The same under a request id of one's own, so that it can be sent again.
    pub(crate) async fn redeem_as(
        &self,
        api: &mut Api,
        serial: &str,
        code: &str,
        version: &str,
        request: &str,
    ) -> Result<v1::RedeemUpgradeCodeResponse, Status> {
        let challenge = challenge(api, v1::ChallengePurpose::Redeem).await?;
        let code = Code::parse(code).unwrap();
        let b = binding::redeem(
            &challenge,
            &RequestId::parse(request).unwrap(),
            code.canonical(),
        );
        let asked = v1::RedeemUpgradeCodeRequest {
            request_id: request.to_owned(),
            serial: serial.to_owned(),
            code: code.to_string(),
            version: version.to_owned(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            device_key: Some(self.wire_key()),
            challenge,
            signature: self.key.sign_digest(&b).to_vec(),
            ..Default::default()
        };
        Ok(api.redeem_upgrade_code(asked).await?.into_inner())
    }
}

pub(crate) fn request_id() -> String {
    let mut bytes = [0; 16];
    SystemRandom.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}

pub(crate) async fn challenge(
    api: &mut Api,
    purpose: v1::ChallengePurpose,
) -> Result<Vec<u8>, Status> {
    let asked = v1::CreateChallengeRequest {
        purpose: purpose.into(),
    };
    Ok(api.create_challenge(asked).await?.into_inner().challenge)
}
