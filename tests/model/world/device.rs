//! What devices send.

use super::*;

impl World {
    pub(crate) async fn challenge(&self, purpose: v1::ChallengePurpose) -> Vec<u8> {
        let request = v1::CreateChallengeRequest {
            purpose: purpose.into(),
        };
        let answer = self.device().create_challenge(request).await.unwrap();
        answer.into_inner().challenge
    }

    pub(crate) async fn activate_request(
        &self,
        serial: &str,
        credential: v1::Credential,
        device: &Device,
        request_id: &str,
    ) -> v1::ActivateRequest {
        let mut request = v1::ActivateRequest {
            request_id: request_id.to_owned(),
            challenge: self.challenge(v1::ChallengePurpose::Activate).await,
            serial: serial.to_owned(),
            credential: Some(credential),
            device_key: Some(device.key()),
            product_id: Self::product_of(serial).to_owned(),
            version: OLD.to_owned(),
            release_manifest: String::new(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            signature: Vec::new(),
            virtual_machine_hints: Vec::new(),
        };
        device.sign_activate(&mut request);
        request
    }

    /// Activates and expects a seat.
    pub(crate) async fn activate(&self, serial: &str, device: &Device) -> v1::ActivateResponse {
        let credential = self.credential(serial).await;
        let id = fresh_id();
        let request = self.activate_request(serial, credential, device, &id).await;
        self.device().activate(request).await.unwrap().into_inner()
    }

    pub(crate) async fn begin_request(
        &self,
        activation: &str,
        device: &Device,
        request_id: &str,
    ) -> v1::BeginDeactivationRequest {
        let challenge = self
            .challenge(v1::ChallengePurpose::BeginDeactivation)
            .await;
        let id = request_id.parse_id();
        let b = binding::begin_deactivation(&challenge, &id, activation);
        v1::BeginDeactivationRequest {
            request_id: request_id.to_owned(),
            challenge,
            activation_id: activation.to_owned(),
            signature: device.key.sign_digest(&b).to_vec(),
        }
    }

    /// Begins a deactivation and returns the ticket.
    pub(crate) async fn ticket(&self, activation: &str, device: &Device) -> String {
        let request = self.begin_request(activation, device, &fresh_id()).await;
        let answer = self.device().begin_deactivation(request).await.unwrap();
        answer.into_inner().ticket
    }

    pub(crate) async fn redeem_request(
        &self,
        serial: &str,
        code: &str,
        device: &Device,
        request_id: &str,
    ) -> v1::RedeemUpgradeCodeRequest {
        let challenge = self.challenge(v1::ChallengePurpose::Redeem).await;
        let canonical = code.replace('-', "");
        let b = binding::redeem(&challenge, &request_id.parse_id(), &canonical);
        v1::RedeemUpgradeCodeRequest {
            request_id: request_id.to_owned(),
            serial: serial.to_owned(),
            code: code.to_owned(),
            version: OLD.to_owned(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            device_key: Some(device.key()),
            challenge,
            signature: device.key.sign_digest(&b).to_vec(),
            ..Default::default()
        }
    }

    /// A ticket for an activation, begun by support where a device asking once more would be refused.
    pub(crate) async fn ticket_by_support(&self, activation: &str) -> String {
        let request = v1::SupportServiceBeginDeactivationRequest {
            request_id: fresh_id(),
            activation_id: activation.to_owned(),
        };
        let answer = self.support().begin_deactivation(request).await.unwrap();
        answer.into_inner().ticket
    }

    /// Returns the seat of an activation by proof.
    pub(crate) async fn give_back(&self, activation: &str, device: &Device) -> String {
        let ticket = self.ticket(activation, device).await;
        let proof = device.proof(&ticket);
        let request = v1::DeactivateRequest { proof };
        let answer = self.device().deactivate(request).await.unwrap();
        answer.into_inner().receipt
    }
}

/// A device with a software key.
pub(crate) struct Device {
    pub(crate) key: SigningKey,
}

impl Device {
    /// Device number `number`: the same key each time.
    pub(crate) fn new(number: u32) -> Self {
        let mut seed = [0x11; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        Self {
            key: SigningKey::from_seed(&seed).unwrap(),
        }
    }

    pub(crate) fn key(&self) -> v1::DeviceKey {
        v1::DeviceKey {
            key: Some(v1::device_key::Key::SoftwareSpki(
                self.key.public_key().to_spki_der(),
            )),
        }
    }

    pub(crate) fn thumbprint(&self) -> String {
        self.key.public_key().thumbprint().to_string()
    }

    /// Signs the call as it stands.
    pub(crate) fn sign_activate(&self, request: &mut v1::ActivateRequest) {
        let b = binding::activate(
            &request.challenge,
            &request.request_id.parse_id(),
            &upkeep::serial::SerialNumber::parse(&request.serial).unwrap(),
            &upkeep::id::ProductId::parse(&request.product_id).unwrap(),
            &upkeep::version::Version::parse(&request.version).unwrap(),
            request.virtual_environment == i32::from(v1::VirtualEnvironment::Yes),
        );
        request.signature = self.key.sign_digest(&b).to_vec();
    }

    /// The proof that this device has stopped, for the activation that the ticket names.
    pub(crate) fn proof(&self, ticket: &str) -> String {
        let asked: DeactivationTicket = claims(ticket);
        self.seal(&DeactivationProof {
            iat: 1,
            serial: asked.serial,
            activation_id: asked.activation_id,
            nonce: asked.nonce,
            ticket: ticket.to_owned(),
            cnf: Confirmation {
                jkt: self.key.public_key().thumbprint(),
            },
        })
    }

    /// Signs any claims.
    pub(crate) fn seal<C: Claims>(&self, claims: &C) -> String {
        let input = SigningInput::new(self.key.public_key().thumbprint(), claims).unwrap();
        let signature = self.key.sign(input.signing_bytes());
        input.seal(&signature)
    }
}
