//! One function for each operation: send it, ask the model, compare, remember.

use super::*;

/// The calls.
impl Player {
    pub(super) async fn activate(
        &mut self,
        l: usize,
        d: u32,
        shown: Shown,
        build: Build,
        reply: Reply,
    ) {
        let now = self.model.now;
        let serial = self.license(l).serial;
        let credential = self.credential(l, shown).await;
        let device = Device::new(d);
        let id = fresh_id();
        let mut request = self
            .world
            .activate_request(serial, credential, &device, &id)
            .await;
        let build_date = match build {
            Build::Covered => "2024-06-01",
            Build::TooNew => {
                request.version = NEW.to_owned();
                device.sign_activate(&mut request);
                "2026-03-01"
            }
        };
        let build_date = CivilDate::parse(build_date).unwrap();
        let expected = self.license(l).activate(now, d, shown, build_date);
        let answer = self.call(Sent::Activate(request.clone()), reply).await;
        let Some(got) = self.compare(answer, expected) else {
            return;
        };
        let license = self.license(l);
        match expected.unwrap() {
            Some(at) => {
                let held = &license.activations[at];
                assert_eq!((&held.id, &held.code), (&got.id, &got.code), "its own seat");
            }
            None => license.seat(got.id.clone(), d, got.code.clone()),
        }
        self.check_certificate(l, &device, &got);
        let named = match shown {
            Shown::ProductCodeOf(_) => Some(got.id.clone()),
            _ => None,
        };
        let generation = Some(self.license(l).generation);
        self.keep(Sent::Activate(request), got, l, generation);
        self.kept.last_mut().unwrap().named = named;
    }

    pub(super) fn check_certificate(&mut self, l: usize, device: &Device, got: &Got) {
        let license = self.license(l);
        let said: ActivationCertificate = verified(&got.sealed.0);
        assert_eq!(said.serial.as_str(), license.serial);
        assert_eq!(said.generation, license.generation);
        assert_eq!(said.activation_id.to_string(), got.id);
        assert_eq!(said.cnf.jkt, device.key.public_key().thumbprint());
        assert_eq!(said.seats as usize, license.seats);
        assert_eq!(said.maintenance_last_day, Some(license.last_day()));
    }

    pub(super) async fn verify(&mut self, l: usize, d: u32, reply: Reply) {
        let now = self.model.now;
        let Some(at) = self.license(l).newest(d) else {
            return;
        };
        let device = Device::new(d);
        let activation_id = self.license(l).activations[at].id.clone();
        let challenge = self.world.challenge(v1::ChallengePurpose::Verify).await;
        let request_id = fresh_id();
        let b = binding::verify(&challenge, &request_id.parse_id(), &activation_id);
        let request = v1::VerifyActivationRequest {
            signature: device.key.sign_digest(&b).to_vec(),
            request_id,
            challenge,
            activation_id,
            heartbeat: None,
        };
        let answer = self.call(Sent::Verify(request), reply).await;
        let expected = self.license(l).verify(at, now);
        if let Some(got) = self.compare(answer, expected) {
            // Where nothing had changed nothing was written: sent again, it is answered by what is true then.
            self.check_certificate(l, &device, &got);
        }
    }

    pub(super) async fn begin(&mut self, l: usize, d: u32, by: By, reply: Reply) {
        let now = self.model.now;
        let Some(at) = self.license(l).newest(d) else {
            return;
        };
        let activation_id = self.license(l).activations[at].id.clone();
        let request_id = fresh_id();
        let (sent, allowed) = match by {
            By::Customer => {
                let device = Device::new(d);
                let request = self
                    .world
                    .begin_request(&activation_id, &device, &request_id)
                    .await;
                (Sent::Begin(request), Ok(()))
            }
            By::Acme | By::Other => {
                let request = v1::PartnerServiceBeginDeactivationRequest {
                    request_id,
                    activation_id,
                };
                let partner = by.partner();
                let allowed = self.license(l).owned_by(partner);
                (Sent::PartnerBegin(partner, request), allowed)
            }
            By::Support => {
                let request = v1::SupportServiceBeginDeactivationRequest {
                    request_id,
                    activation_id,
                };
                (Sent::SupportBegin(request), Ok(()))
            }
        };
        let answer = self.call(sent.clone(), reply).await;
        let expected = allowed.and_then(|()| self.license(l).begin(at, now));
        let Some(got) = self.compare(answer, expected.clone()) else {
            return;
        };
        let said: DeactivationTicket = verified(&got.sealed.0);
        assert_eq!(said.activation_id.to_string(), got.id);
        match expected.unwrap() {
            Some(out) => assert_eq!(got.signed, [crate::world::signing_input(&out)]),
            None => self.license(l).begun(at, got.sealed.0.clone(), now),
        }
        self.keep(sent, got, l, None);
    }

    pub(super) async fn prove(&mut self, l: usize, d: u32, proof: Proof, by: By, reply: Reply) {
        let now = self.model.now;
        let Some(at) = self.license(l).newest(d) else {
            return;
        };
        let activation = &self.license(l).activations[at];
        let tickets = &activation.tickets;
        let ticket = match proof {
            Proof::First => tickets.first(),
            Proof::Last | Proof::ByAnother(_) => tickets.last(),
        };
        let Some((ticket, _)) = ticket.cloned() else {
            return;
        };
        let forger = match proof {
            Proof::ByAnother(other) if other != d => Some(other),
            _ => None,
        };
        let signer = Device::new(forger.unwrap_or(d));
        let text = signer.proof(&ticket);
        let sent = match by {
            By::Customer => Sent::Proof(v1::DeactivateRequest { proof: text }),
            By::Acme | By::Other => Sent::PartnerProof(
                by.partner(),
                v1::PartnerServiceRecordProofRequest { proof: text },
            ),
            By::Support => Sent::SupportProof(v1::SupportServiceRecordProofRequest { proof: text }),
        };
        let answer = self.call(sent.clone(), reply).await;
        let allowed = match by {
            By::Acme | By::Other => self.license(l).owned_by(by.partner()),
            _ => Ok(()),
        };
        let expected = if forger.is_some() {
            Err("PROOF_INVALID")
        } else {
            allowed.and_then(|()| self.license(l).prove(at, &ticket, now))
        };
        let Some(got) = self.compare(answer, expected) else {
            return;
        };
        let said: DeactivationReceipt = verified(&got.sealed.0);
        assert_eq!(said.activation_id.to_string(), got.id);
        assert_eq!(said.grade, ProofGrade::Software);
        if expected.unwrap() {
            self.license(l).ended(at, End::Deactivated, now);
        }
        self.keep(sent, got, l, None);
    }

    pub(super) async fn give_up(&mut self, l: usize, d: u32, waiver: bool, reply: Reply) {
        let now = self.model.now;
        let Some(at) = self.license(l).newest(d) else {
            return;
        };
        let activation_id = self.license(l).activations[at].id.clone();
        let (request_id, reason) = (fresh_id(), "stolen".to_owned());
        let sent = if waiver {
            Sent::Waive(v1::WaiveProofRequest {
                request_id,
                activation_id,
                reason,
            })
        } else {
            Sent::Lost(v1::DeclareLostRequest {
                request_id,
                activation_id,
                reason,
            })
        };
        let answer = self.call(sent.clone(), reply).await;
        let expected = self.license(l).give_up(at, now, waiver);
        let Some(got) = self.compare(answer, expected) else {
            return;
        };
        let said: DeactivationReceipt = verified(&got.sealed.0);
        assert_eq!(said.grade, ProofGrade::Waived);
        self.license(l).ended(at, End::Lost, now);
        self.keep(sent, got, l, None);
    }

    pub(super) async fn revoke_activation(&mut self, l: usize, d: u32) {
        let now = self.model.now;
        let Some(at) = self.license(l).newest(d) else {
            return;
        };
        let request = v1::RevokeActivationRequest {
            activation_id: self.license(l).activations[at].id.clone(),
            reason: "fraud".to_owned(),
            ..Default::default()
        };
        let answer = self.world.admin().revoke_activation(request).await;
        let open = self.license(l).activations[at].end.is_none();
        let expected = if open {
            Ok(())
        } else {
            Err("ACTIVATION_FINAL")
        };
        if self.compare(answer, expected).is_some() {
            self.license(l).ended(at, End::Revoked, now);
        }
    }

    pub(super) async fn ask(&mut self, l: usize, bound_to: Option<u32>, by: By, reply: Reply) {
        let now = self.model.now;
        let serial = self.license(l).serial.to_owned();
        let credential = Some(self.credential(l, Shown::Right).await);
        let details = Some(v1::UpdateRequestDetails {
            device_thumbprint: bound_to
                .map(|d| Device::new(d).thumbprint())
                .unwrap_or_default(),
            ..details()
        });
        let request_id = fresh_id();
        let (sent, allowed) = match by {
            By::Customer | By::Support => {
                let request = v1::CreateUpdateRequestRequest {
                    request_id,
                    serial,
                    credential,
                    details,
                };
                (Sent::Ask(request), Ok(()))
            }
            By::Acme | By::Other => {
                let request = v1::PartnerServiceCreateUpdateRequestRequest {
                    request_id,
                    serial,
                    credential,
                    details,
                };
                let partner = by.partner();
                let allowed = self.license(l).owned_by(partner);
                (Sent::PartnerAsk(partner, request), allowed)
            }
        };
        let answer = self.call(sent.clone(), reply).await;
        let expected = allowed.and_then(|()| self.license(l).request(now));
        let Some(got) = self.compare(answer, expected) else {
            return;
        };
        let state = expected.unwrap();
        let license = self.license(l);
        license.requested(got.id.clone(), state, bound_to, now);
        let generation = Some(license.generation);
        self.keep(sent, got, l, generation);
    }

    pub(super) async fn withdraw(&mut self, l: usize) {
        let now = self.model.now;
        let Some(request) = self.license(l).requests.last() else {
            return;
        };
        let update_request_id = request.id.clone();
        let request = v1::WithdrawUpdateRequestRequest {
            serial: self.license(l).serial.to_owned(),
            credential: Some(self.credential(l, Shown::Right).await),
            update_request_id,
            ..Default::default()
        };
        let answer = self.world.customer().withdraw_update_request(request).await;
        let expected = self.license(l).withdraw(now);
        if self.compare(answer, expected).is_some() {
            self.license(l).requests.last_mut().unwrap().state = Asked::Withdrawn;
        }
    }

    pub(super) async fn generate(&mut self, l: usize, by: By, reply: Reply) {
        let now = self.model.now;
        let Some(request) = self.license(l).requests.last() else {
            return;
        };
        let (request_id, update_request_id) = (fresh_id(), request.id.clone());
        let (sent, allowed) = match by {
            By::Acme | By::Other => {
                let request = v1::PartnerServiceGenerateUpgradeCodeRequest {
                    request_id,
                    update_request_id,
                };
                let partner = by.partner();
                let allowed = self.license(l).owned_by(partner);
                (Sent::PartnerGenerate(partner, request), allowed)
            }
            By::Customer | By::Support => {
                let request = v1::SupportServiceGenerateUpgradeCodeRequest {
                    request_id,
                    update_request_id,
                };
                (Sent::SupportGenerate(request), Ok(()))
            }
        };
        let answer = self.call(sent.clone(), reply).await;
        let expected = allowed.and_then(|()| self.license(l).issue(now));
        if let Some(got) = self.compare(answer, expected) {
            self.license(l).issued(got.code.clone(), now);
            self.keep(sent, got, l, None);
        }
    }

    pub(super) async fn reissue(&mut self, l: usize, reply: Reply) {
        let now = self.model.now;
        let Some(request) = self.license(l).requests.last() else {
            return;
        };
        let sent = Sent::Reissue(v1::ReissueUpgradeCodeRequest {
            request_id: fresh_id(),
            update_request_id: request.id.clone(),
            reason: "the mail was lost".to_owned(),
        });
        let answer = self.call(sent.clone(), reply).await;
        let expected = self.license(l).reissue(now);
        if let Some(got) = self.compare(answer, expected) {
            self.license(l).issued(got.code.clone(), now);
            self.keep(sent, got, l, None);
        }
    }

    pub(super) async fn redeem(&mut self, l: usize, d: u32, newest: bool, reply: Reply) {
        let now = self.model.now;
        let license = self.license(l);
        let serial = license.serial;
        let with_code = license.requests.iter().rposition(|r| !r.codes.is_empty());
        let found = with_code.and_then(|at| {
            let codes = &license.requests[at].codes;
            let back = if newest { 1 } else { 2 };
            let code = codes
                .len()
                .checked_sub(back)
                .map(|number| codes[number].clone());
            Some((at, code?))
        });
        let unknown = Code::from_mac(&[9; 32]).to_string();
        let code = found.as_ref().map_or(&unknown, |(_, code)| code);
        let mut request = self
            .world
            .redeem_request(serial, code, &Device::new(d), &fresh_id())
            .await;
        if self.license(l).on_dongle() {
            request.dongle_number = DONGLE_NUMBER.to_owned();
            (request.device_key, request.challenge) = (None, Vec::new());
            request.signature = Vec::new();
        }
        let answer = self.call(Sent::Redeem(request.clone()), reply).await;
        let on_dongle = self.license(l).on_dongle();
        let expected = match &found {
            None => Err("CODE_INVALID"),
            Some((at, _)) => {
                let bound_to = self.license(l).requests[*at].bound_to;
                // On a dongle the number is what counts, whatever device the request named.
                let device = if on_dongle { bound_to.unwrap_or(d) } else { d };
                self.license(l).redeem(*at, device, newest, now)
            }
        };
        let Some(got) = self.compare(answer, expected) else {
            return;
        };
        let license = self.license(l);
        license.redeemed(found.unwrap().0);
        if !on_dongle {
            license.seat(got.id.clone(), d, got.code.clone());
            self.check_certificate(l, &Device::new(d), &got);
        }
        self.keep(Sent::Redeem(request), got, l, None);
    }

    pub(super) async fn decide(&mut self, l: usize, to: Standing) {
        let (serial, reason) = (self.license(l).serial.to_owned(), "test".to_owned());
        let mut admin = self.world.admin();
        let answer = match to {
            Standing::Suspended => {
                let request = v1::SuspendLicenseRequest {
                    serial,
                    reason,
                    ..Default::default()
                };
                let answer = self.world.support().suspend_license(request).await;
                answer.map(|_| ())
            }
            Standing::Issued => {
                let request = v1::ResumeLicenseRequest {
                    serial,
                    reason,
                    ..Default::default()
                };
                admin.resume_license(request).await.map(|_| ())
            }
            Standing::Revoked => {
                let request = v1::RevokeLicenseRequest {
                    serial,
                    reason,
                    ..Default::default()
                };
                admin.revoke_license(request).await.map(|_| ())
            }
        };
        let expected = self.license(l).decide(to);
        self.compare(answer, expected);
    }

    /// Devices that never had a seat ask all at once: as many get one as there are, and none more (I1).
    pub(super) async fn race(&mut self, l: usize, clients: u32) {
        let now = self.model.now;
        let serial = self.license(l).serial;
        let first = self.next_device;
        self.next_device += clients;
        let mut running = JoinSet::new();
        for d in first..self.next_device {
            let credential = self.credential(l, Shown::Right).await;
            let device = Device::new(d);
            let request = self
                .world
                .activate_request(serial, credential, &device, &fresh_id())
                .await;
            let mut client = self.world.device();
            running.spawn(async move { (d, client.activate(request).await) });
        }
        while let Some(done) = running.join_next().await {
            let (d, answer) = done.unwrap();
            let covered = CivilDate::parse("2024-06-01").unwrap();
            // The answers come in the order of the commits or not: only their number is certain.
            let expected = self.license(l).activate(now, d, Shown::Right, covered);
            match answer {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let left = self.license(l).allowed(now) - self.license(l).taken();
                    assert!(expected.is_ok() && left > 0, "{}: a seat too many", self.at);
                    let signed = crate::world::signing_input(&answer.certificate);
                    self.signed.push(signed.to_owned());
                    self.license(l)
                        .seat(answer.activation_id, d, answer.product_code);
                }
                Err(status) if expected.is_ok() => {
                    assert_eq!(reason(&status), "NO_SEAT", "{}", self.at);
                    let (taken, allowed) = (self.license(l).taken(), self.license(l).allowed(now));
                    let others = running.len();
                    assert!(taken + others >= allowed, "{}: a seat too few", self.at);
                }
                Err(status) => assert_eq!(reason(&status), expected.unwrap_err(), "{}", self.at),
            }
        }
    }

    /// I5: an answered call has one effect and one answer, for 30 days.
    pub(super) async fn again(&mut self, which: usize, other_content: bool) {
        if self.kept.is_empty() {
            return;
        }
        let at = which % self.kept.len();
        self.resend(at, other_content).await;
    }

    pub(super) async fn resend(&mut self, at: usize, other_content: bool) {
        let kept = &self.kept[at];
        let license = &self.model.licenses[kept.license];
        let changes = !license.takes_password() && !license.on_dongle();
        let secret_good = kept
            .generation
            .is_none_or(|g| !changes || g == license.generation)
            || kept.named.is_some();
        let named_good = kept.named.as_ref().is_none_or(|id| {
            let mut activations = license.activations.iter();
            activations.any(|a| a.id == *id && a.end.is_none())
        });
        let sent = if other_content {
            match kept.sent.with_other_content() {
                None => return,
                Some(other) => other,
            }
        } else {
            kept.sent.clone()
        };
        let answer = self.world.send(sent).await;
        if !secret_good || !named_good {
            let status = answer.unwrap_err();
            assert_eq!(reason(&status), "CREDENTIAL_INVALID", "{}", self.at);
        } else if other_content {
            let status = answer.unwrap_err();
            assert_eq!(reason(&status), "REQUEST_ID_REUSED", "{}", self.at);
        } else {
            let got = answer.unwrap_or_else(|status| panic!("{}: {status:?}", self.at));
            assert_eq!(got, self.kept[at].got, "{}", self.at);
        }
    }
}
