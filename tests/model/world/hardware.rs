//! Machines with a TPM in this world: chips of one maker, which its server believes.

use std::sync::{Arc, OnceLock};

use upkeep::artefact::HardwareProof;
use upkeep::binding;
use upkeep::id::{ActivationId, ProductId};
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use upkeep_server::attest::{Anchor, DenyList, EndorsementClass, Endorsements};

use super::{OLD, World, fresh_id};
use crate::chip::{Chip, ChipKey, Maker};

/// One maker for all worlds of the process, as the server's keys are.
fn maker() -> &'static Maker {
    static MAKER: OnceLock<Maker> = OnceLock::new();
    MAKER.get_or_init(|| Maker::new("Chip Works"))
}

pub(super) fn endorsements() -> Arc<Endorsements> {
    let anchor = Anchor::from_der(maker().certificate(), EndorsementClass::Chip).unwrap();
    Arc::new(Endorsements::new(vec![anchor], DenyList::default()))
}

/// A new chip of the maker.
pub(crate) fn new_chip() -> Chip {
    maker().chip()
}

/// A seat on a TPM.
pub(crate) struct TpmSeat {
    pub(crate) chip: Chip,
    pub(crate) key: ChipKey,
    pub(crate) activation_id: String,
}

impl World {
    pub(crate) async fn enroll_request(
        &self,
        serial: &str,
        chip: &mut Chip,
        key: &ChipKey,
    ) -> v1::BeginEnrollmentRequest {
        let challenge = self.challenge(v1::ChallengePurpose::Enroll).await;
        let product_id = Self::product_of(serial).to_owned();
        let q = binding::enroll(
            &challenge,
            &SerialNumber::parse(serial).unwrap(),
            &ProductId::parse(&product_id).unwrap(),
            false,
            "",
        );
        v1::BeginEnrollmentRequest {
            challenge,
            serial: serial.to_owned(),
            product_id,
            virtual_environment: 1,
            client_build: String::new(),
            evidence: Some(v1::begin_enrollment_request::Evidence::Tpm(
                chip.evidence(key, &q),
            )),
        }
    }

    /// Enrolls a new chip and activates it.
    pub(crate) async fn activate_chip(&self, serial: &str) -> TpmSeat {
        let mut chip = new_chip();
        let key = chip.prepare(0x0180_0001);
        let asked = self.enroll_request(serial, &mut chip, &key).await;
        let begun = self
            .device()
            .begin_enrollment(asked)
            .await
            .unwrap()
            .into_inner();
        let secret = chip.activate_credential(&begun.credential_blob, &begun.encrypted_secret);
        let request = v1::CompleteEnrollmentRequest {
            enrollment_id: begun.enrollment_id,
            secret: secret.unwrap(),
        };
        let done = self.device().complete_enrollment(request).await.unwrap();
        let device_id = done.into_inner().device.unwrap().device_id;
        let (request_id, challenge) = (
            fresh_id(),
            self.challenge(v1::ChallengePurpose::Activate).await,
        );
        let product_id = Self::product_of(serial).to_owned();
        let b = binding::activate(
            &challenge,
            &upkeep::id::RequestId::parse(&request_id).unwrap(),
            &SerialNumber::parse(serial).unwrap(),
            &ProductId::parse(&product_id).unwrap(),
            &Version::parse(OLD).unwrap(),
            false,
        );
        let request = v1::ActivateRequest {
            request_id,
            challenge,
            serial: serial.to_owned(),
            credential: Some(self.credential(serial).await),
            device_key: Some(v1::DeviceKey {
                key: Some(v1::device_key::Key::DeviceId(device_id)),
            }),
            product_id,
            version: OLD.to_owned(),
            release_manifest: String::new(),
            virtual_environment: 1,
            signature: key.key.sign_digest(&b).to_vec(),
            virtual_machine_hints: Vec::new(),
        };
        let seat = self.device().activate(request).await.unwrap().into_inner();
        TpmSeat {
            chip,
            key,
            activation_id: seat.activation_id,
        }
    }
}

impl TpmSeat {
    /// Ends the key; the proof needs no ticket.
    pub(crate) fn retire(&mut self) -> HardwareProof {
        self.chip.increment(self.key.index);
        let id = ActivationId::parse(&self.activation_id).unwrap();
        let q = binding::deactivate_offline(&id);
        let said = self.chip.nv_certify(self.key.index, &q);
        HardwareProof {
            activation_id: id,
            ticket: None,
            attest: said.attest,
            signature: said.signature,
        }
    }
}
