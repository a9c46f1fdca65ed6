//! What machines and the vendor's staff send.

use upkeep::artefact::{Confirmation, DeactivationProof, DeactivationTicket, HardwareProof};
use upkeep::binding;
use upkeep::id::{ActivationId, ProductId};
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use super::*;
use crate::world::OLD;

impl Player<'_> {
    /// Sends a call; what the server issues is known to the oracle, whoever gets the answer.
    pub(super) async fn send(&mut self, sent: Sent) -> Result<Got, Status> {
        let answer = self.bench.world.send(sent.clone()).await;
        match (&sent, &answer) {
            (Sent::Activate(_) | Sent::Verify(_) | Sent::Redeem(_), Ok(got)) => {
                self.oracle.issued(&claims(&got.sealed.0));
            }
            (Sent::Proof(_), Ok(got)) => {
                self.oracle.returned(&got.id);
                self.bench.tally.returns += 1;
            }
            (Sent::Lost(_) | Sent::Waive(_), Ok(got)) => self.oracle.given_up(&got.id),
            (Sent::Begin(_), Ok(_)) => self.oracle.begun(self.bench.truth),
            (_, Ok(_)) => {}
            (_, Err(status)) => self.refused(status),
        }
        self.sent.push(sent);
        answer
    }

    fn refused(&mut self, status: &Status) {
        let why = reason(status);
        match why.as_str() {
            "NO_SEAT" => self.bench.tally.refused += 1,
            "DEVICE_FROZEN" => self.bench.tally.frozen += 1,
            _ => {}
        }
        assert!(EXPECTED.contains(&why.as_str()), "{why} for {status:?}");
    }

    pub(super) async fn activate(&mut self, m: usize, lost: bool) -> Result<Got, Status> {
        self.make_key(m).await?;
        let serial = SerialNumber::parse(&self.serial).unwrap();
        let product = ProductId::parse(self.product).unwrap();
        let challenge = self.challenge(v1::ChallengePurpose::Activate).await;
        let request_id = fresh_id();
        let version = Version::parse(OLD).unwrap();
        let id = request_id.parse_id();
        let b = binding::activate(&challenge, &id, &serial, &product, &version, false);
        let machine = &mut self.machines[m];
        let request = v1::ActivateRequest {
            request_id,
            challenge,
            serial: self.serial.clone(),
            credential: Some(self.code.clone()),
            device_key: machine.device_key(),
            product_id: self.product.to_owned(),
            version: OLD.to_owned(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            signature: machine.sign(&b).unwrap().to_vec(),
            ..Default::default()
        };
        let answer = self.send(Sent::Activate(request)).await;
        match &answer {
            Ok(got) => self.seated(m, got, lost),
            Err(status) => self.check_refusal(m, status),
        }
        answer
    }

    fn seated(&mut self, m: usize, got: &Got, lost: bool) {
        for device in self.older_keys(m) {
            self.oracle.superseded(&device);
        }
        if !lost {
            self.machines[m].disk.activation = Some(got.id.clone());
        }
    }

    /// The thumbprints of the keys that the machine's chip made before the present one: its counter has moved on.
    fn older_keys(&self, m: usize) -> Vec<String> {
        let Some(Key::Tpm { made_by, key }) = &self.machines[m].disk.key else {
            return Vec::new();
        };
        let older =
            |(number, other): &&(u32, ChipKey)| number == made_by && other.value < key.value;
        let keys = self.chip_keys.iter().filter(older);
        keys.map(|(_, key)| key.key.public_key().thumbprint().to_string())
            .collect()
    }

    /// NO_SEAT is true: that many other devices hold one, or may run on. A client whose enrollment is of no use makes another.
    fn check_refusal(&mut self, m: usize, status: &Status) {
        let machine = &mut self.machines[m];
        let in_cloud = machine.tpm.as_ref().is_some_and(|tpm| tpm.is_virtual);
        match reason(status).as_str() {
            "ENROLLMENT_INVALID" => machine.disk.device_id = None,
            // What a TPM that goes back has held at a smaller value is the server's to know.
            "NO_SEAT" if !in_cloud => {
                let mut own = self.older_keys(m);
                own.push(self.thumbprint(m));
                self.oracle.check_refusal(&own, self.bench.world.now());
            }
            _ => {}
        }
    }

    pub(super) fn thumbprint(&self, m: usize) -> String {
        self.machines[m]
            .public_key()
            .unwrap()
            .thumbprint()
            .to_string()
    }

    /// A key that works here: the one on the disk, or a new one that the machine's TPM makes and enrolls.
    async fn make_key(&mut self, m: usize) -> Result<(), Status> {
        let machine = &mut self.machines[m];
        let is_software = matches!(machine.disk.key, Some(Key::Software(_)));
        let enrolled = is_software || machine.disk.device_id.is_some();
        if enrolled && machine.sign(&[0; 32]).is_some() {
            return Ok(());
        }
        if machine.tpm.is_none() {
            // A copy of another machine's disk, with a key that is of no use here.
            let number = 1_000_000 + self.sent.len() as u32 + 1000 * self.bench.licenses;
            *machine = Machine::software(number);
            return Ok(());
        }
        let challenge = self.challenge(v1::ChallengePurpose::Enroll).await;
        let serial = SerialNumber::parse(&self.serial).unwrap();
        let product = ProductId::parse(self.product).unwrap();
        let q = binding::enroll(&challenge, &serial, &product, false, "model");
        let Some(tpm) = &mut self.machines[m].tpm else {
            return Ok(());
        };
        let key = tpm.chip.prepare(INDEX);
        let evidence = tpm.chip.evidence(&key, &q);
        let (made_by, is_virtual) = (tpm.number, tpm.is_virtual);
        let request = v1::BeginEnrollmentRequest {
            challenge,
            serial: self.serial.clone(),
            product_id: self.product.to_owned(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            client_build: "model".to_owned(),
            evidence: Some(v1::begin_enrollment_request::Evidence::Tpm(evidence)),
        };
        let mut device = self.bench.world.device();
        let begun = device.begin_enrollment(request).await;
        let begun = begun
            .inspect_err(|status| self.refused(status))?
            .into_inner();
        let tpm = self.machines[m].tpm.as_ref().unwrap();
        let secret = tpm
            .chip
            .activate_credential(&begun.credential_blob, &begun.encrypted_secret);
        let request = v1::CompleteEnrollmentRequest {
            enrollment_id: begun.enrollment_id,
            secret: secret.unwrap(),
        };
        let done = device.complete_enrollment(request).await;
        let done = done
            .inspect_err(|status| self.refused(status))?
            .into_inner();
        if !is_virtual {
            self.chip_keys.push((made_by, key.clone()));
        }
        self.machines[m].disk = Disk {
            key: Some(Key::Tpm { made_by, key }),
            device_id: Some(done.device.unwrap().device_id),
            ..Disk::default()
        };
        Ok(())
    }

    async fn challenge(&self, purpose: v1::ChallengePurpose) -> Vec<u8> {
        self.bench.world.challenge(purpose).await
    }

    pub(super) async fn renew(&mut self, m: usize, lost: bool) -> Option<Result<Got, Status>> {
        let activation_id = self.machines[m].disk.activation.clone()?;
        let challenge = self.challenge(v1::ChallengePurpose::Verify).await;
        let request_id = fresh_id();
        let b = binding::verify(&challenge, &request_id.parse_id(), &activation_id);
        let machine = &mut self.machines[m];
        let request = v1::VerifyActivationRequest {
            signature: machine.sign(&b)?.to_vec(),
            heartbeat: machine
                .own_tpm()
                .map(|(chip, key)| chip.nv_certify(key.index, &b)),
            request_id,
            challenge,
            activation_id,
        };
        let answer = self.send(Sent::Verify(request)).await;
        if answer.is_ok() && !lost {
            self.bench.tally.renewals += 1;
        }
        Some(answer)
    }

    pub(super) async fn begin(&mut self, m: usize, lost: bool) {
        let Some(activation_id) = self.machines[m].disk.activation.clone() else {
            return;
        };
        let challenge = self
            .challenge(v1::ChallengePurpose::BeginDeactivation)
            .await;
        let request_id = fresh_id();
        let b = binding::begin_deactivation(&challenge, &request_id.parse_id(), &activation_id);
        let Some(signature) = self.machines[m].sign(&b) else {
            return;
        };
        let request = v1::BeginDeactivationRequest {
            signature: signature.to_vec(),
            request_id,
            challenge,
            activation_id,
        };
        let answer = self.send(Sent::Begin(request)).await;
        if let Ok(got) = answer
            && !lost
        {
            self.machines[m].disk.ticket = Some(got.sealed.0);
        }
    }

    /// Deactivates: the ticket, the end of the key where it is in a TPM, the proof.
    pub(super) async fn give_back(&mut self, m: usize) {
        self.begin(m, false).await;
        if let Some((chip, key)) = self.machines[m].own_tpm() {
            chip.increment(key.index);
        }
        self.prove(m).await;
    }

    /// The proof is made, and sent; the machine keeps what it says to have deleted. Without [`Self::give_back`] a TPM's counter has
    /// not moved, and the statement proves nothing.
    pub(super) async fn prove(&mut self, m: usize) {
        let truth = self.bench.truth.timestamp();
        let machine = &mut self.machines[m];
        let Some(id) = machine.disk.activation.clone() else {
            return;
        };
        let ticket = machine.disk.ticket.clone();
        let in_chip = machine.tpm.as_ref().is_some_and(|tpm| !tpm.is_virtual);
        let proof = if let Some((chip, key)) = machine.own_tpm() {
            let activation_id = ActivationId::parse(&id).unwrap();
            let q = match &ticket {
                None => binding::deactivate_offline(&activation_id),
                Some(ticket) => {
                    let asked: DeactivationTicket = claims(ticket);
                    binding::deactivate(&activation_id, &asked.nonce)
                }
            };
            let said = chip.nv_certify(key.index, &q);
            let (attest, signature) = (said.attest, said.signature);
            let proof = HardwareProof {
                activation_id,
                ticket,
                attest,
                signature,
            };
            proof.to_text()
        } else {
            let (Some(ticket), Some(Key::Software(number))) = (ticket, &machine.disk.key) else {
                return;
            };
            let device = crate::world::Device::new(*number);
            let asked: DeactivationTicket = claims(&ticket);
            device.seal(&DeactivationProof {
                iat: u64::try_from(truth + machine.clock).unwrap_or(0),
                serial: asked.serial,
                activation_id: asked.activation_id,
                nonce: asked.nonce,
                ticket,
                cnf: Confirmation {
                    jkt: device.key.public_key().thumbprint(),
                },
            })
        };
        self.proofs.push(proof.clone());
        let answer = self
            .send(Sent::Proof(v1::DeactivateRequest { proof }))
            .await;
        self.bench.tally.chips_returned += u32::from(in_chip && answer.is_ok());
    }

    pub(super) async fn give_up(&mut self, m: usize, how: op::GiveUp) {
        let Some(activation_id) = self.machines[m].disk.activation.clone() else {
            return;
        };
        let (request_id, reason) = (fresh_id(), "the machine is gone".to_owned());
        let sent = match how {
            op::GiveUp::DeclareLost => Sent::Lost(v1::DeclareLostRequest {
                request_id,
                activation_id,
                reason,
            }),
            op::GiveUp::Waive => Sent::Waive(v1::WaiveProofRequest {
                request_id,
                activation_id,
                reason,
            }),
            op::GiveUp::Revoke => {
                let request = v1::RevokeActivationRequest {
                    request_id,
                    activation_id: activation_id.clone(),
                    reason,
                };
                let answer = self.bench.world.admin().revoke_activation(request).await;
                if answer.is_ok() {
                    self.oracle.given_up(&activation_id);
                }
                return;
            }
        };
        self.send(sent).await.ok();
    }

    /// The old license is given back and the next one asked for.
    pub(super) async fn ask_for_code(&mut self) {
        let request = v1::CreateUpdateRequestRequest {
            request_id: fresh_id(),
            serial: self.serial.clone(),
            credential: Some(self.code.clone()),
            details: Some(details()),
        };
        let Ok(asked) = self.send(Sent::Ask(request)).await else {
            return;
        };
        let sent = Sent::SupportGenerate(v1::SupportServiceGenerateUpgradeCodeRequest {
            request_id: fresh_id(),
            update_request_id: asked.id,
        });
        if let Ok(got) = self.send(sent).await {
            self.upgrade = Some(got.code);
        }
    }

    pub(super) async fn redeem(&mut self, m: usize) -> Option<Result<Got, Status>> {
        let code = self.upgrade.clone()?;
        if let Err(status) = self.make_key(m).await {
            return Some(Err(status));
        }
        let challenge = self.challenge(v1::ChallengePurpose::Redeem).await;
        let request_id = fresh_id();
        let canonical = code.replace('-', "");
        let b = binding::redeem(&challenge, &request_id.parse_id(), &canonical);
        let machine = &mut self.machines[m];
        let request = v1::RedeemUpgradeCodeRequest {
            request_id,
            serial: self.serial.clone(),
            code,
            version: OLD.to_owned(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            device_key: machine.device_key(),
            challenge,
            signature: machine.sign(&b)?.to_vec(),
            ..Default::default()
        };
        let answer = self.send(Sent::Redeem(request)).await;
        match &answer {
            Ok(got) => {
                self.seated(m, got, false);
                self.code = self.bench.world.credential(&self.serial).await;
                self.bench.tally.upgrades += 1;
            }
            Err(status) => self.check_refusal(m, status),
        }
        Some(answer)
    }
}

/// What a customer may be told here; anything else is a fault of the test or the server.
const EXPECTED: &[&str] = &[
    "NO_SEAT",
    "ACTIVATION_FINAL",
    "ALREADY_EXISTS",
    "ATTESTATION_FAILED",
    "CHALLENGE_EXPIRED",
    "CHALLENGE_SPENT",
    "CODE_ALREADY_ISSUED",
    "CODE_ALREADY_REDEEMED",
    "CODE_INVALID",
    "CREDENTIAL_INVALID",
    "DEVICE_FROZEN",
    "ENROLLMENT_INVALID",
    "HEARTBEAT_REQUIRED",
    "ILLEGAL_TRANSITION",
    "LICENSE_FINAL",
    "PROOF_ALREADY_USED",
    "PROOF_INVALID",
    "PROOF_REQUIRED",
    "RELEASE_IN_PROGRESS",
    "RETURN_LIMIT",
    "REQUEST_ID_REUSED",
    "SEAT_IN_USE",
    "TICKET_EXPIRED",
    "TICKET_REQUIRED",
    "UPGRADE_FINAL",
];
