//! Random histories of the whole server, each step compared with [`crate::model`].
//!
//! # What counts as failure
//! * An answer differs from the model's: another reason, another seat, another state of a license, activation or request.
//! * A record breaks an invariant after any step ([`verify_records`](upkeep_server::flow::check::verify_records)): I1, I6, I7, I9.
//! * Something signed was answered and its signing input never entered the ledger (I4).
//! * An answered call, sent again, is answered otherwise or has a second effect, also after a crash (I5).
//! * After a crash the records are not those before it (I3), except for the one call that was on its way: that one has
//!   happened whole or not at all, and sending it again makes it happen once.
//! * Built anew from the ledger, the records hash otherwise (I10); the chain does not verify; a second server gets the directory (I15).
//! * Any status of UNKNOWN or INTERNAL, any panic (I14).
//!
//! # What does not
//! Which of several devices that race for the last seat gets it.
//!
//! # Where chance enters
//! The operations, from proptest's seed, which a failure prints. Device keys, request ids, the server's random bytes and the clock
//! follow from the history. Not from it: the nonces of ECDSA signatures (hence the bytes of artefacts), the names of temporary
//! directories, how calls in a race are grouped into commits, and whether a call that a crash meets has reached the disk.

use std::future::poll_fn;
use std::task::Poll;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::task::JoinSet;
use tonic::Status;
use upkeep::artefact::{ActivationCertificate, DeactivationReceipt, DeactivationTicket};
use upkeep::binding;
use upkeep::code::Code;
use upkeep::date::CivilDate;
use upkeep::level::ProofGrade;
use upkeep::rpc::v1;
use upkeep_server::flow::sweep::{Swept, sweep};
use upkeep_server::store::{self, Store, StoreError};

use crate::model::{Asked, End, License, Model, Shown, Standing, Verdict};
use crate::sent::{Got, Sent};
use crate::world::{
    Crash, DONGLE_NUMBER, Device, NEW, ParseId, World, activation_code, details, fresh_id,
    password, product_code, reason, remove_index, run, secret, verified,
};

/// One step. `l` is a license, `d` a device, by number.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Activate {
        l: usize,
        d: u32,
        shown: Shown,
        build: Build,
        reply: Reply,
    },
    Verify {
        l: usize,
        d: u32,
        reply: Reply,
    },
    Begin {
        l: usize,
        d: u32,
        by: By,
        reply: Reply,
    },
    Prove {
        l: usize,
        d: u32,
        proof: Proof,
        by: By,
        reply: Reply,
    },
    GiveUp {
        l: usize,
        d: u32,
        waiver: bool,
        reply: Reply,
    },
    RevokeActivation {
        l: usize,
        d: u32,
    },
    Ask {
        l: usize,
        bound_to: Option<u32>,
        by: By,
        reply: Reply,
    },
    Withdraw {
        l: usize,
    },
    Generate {
        l: usize,
        by: By,
        reply: Reply,
    },
    Reissue {
        l: usize,
        reply: Reply,
    },
    Redeem {
        l: usize,
        d: u32,
        newest: bool,
        reply: Reply,
    },
    Renew {
        l: usize,
        count: u32,
        reply: Reply,
    },
    Decide {
        l: usize,
        to: Standing,
    },
    Race {
        l: usize,
        clients: u32,
    },
    Again {
        which: usize,
        other_content: bool,
    },
    Days(i64),
    Sweep,
    Crash(Crash),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    Covered,
    TooNew,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Customer,
    Acme,
    Other,
    Support,
}

/// Which proof a device sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// For its last ticket.
    Last,
    /// For its first ticket.
    First,
    /// For its last ticket, signed by another device.
    ByAnother(u32),
}

/// What becomes of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Comes,
    /// The caller goes away; then it sends the call again.
    Lost,
    /// The call is sent twice at the same time.
    Doubled,
    /// The server ends while the call is on its way; then it starts and the call is sent again.
    Crash(Crash),
}

fn ops() -> impl Strategy<Value = Op> {
    use Op::*;
    let l = || 0..4_usize;
    let d = || 0..5_u32;
    let by = || prop_oneof![3 => Just(By::Customer), 2 => Just(By::Acme), 1 => Just(By::Other), 1 => Just(By::Support)];
    let reply = || {
        prop_oneof![
            6 => Just(Reply::Comes),
            2 => Just(Reply::Lost),
            1 => Just(Reply::Doubled),
            1 => crashes().prop_map(Reply::Crash),
        ]
    };
    let shown = prop_oneof![
        8 => Just(Shown::Right),
        1 => Just(Shown::Wrong),
        2 => d().prop_map(Shown::ProductCodeOf),
    ];
    let build = prop_oneof![5 => Just(Build::Covered), 1 => Just(Build::TooNew)];
    let proof = prop_oneof![
        6 => Just(Proof::Last),
        1 => Just(Proof::First),
        1 => d().prop_map(Proof::ByAnother),
    ];
    let standing = prop_oneof![
        6 => Just(Standing::Issued),
        4 => Just(Standing::Suspended),
        1 => Just(Standing::Revoked),
    ];
    prop_oneof![
        10 => (l(), d(), shown, build, reply())
            .prop_map(|(l, d, shown, build, reply)| Activate { l, d, shown, build, reply }),
        2 => (l(), d(), reply()).prop_map(|(l, d, reply)| Verify { l, d, reply }),
        7 => (l(), d(), by(), reply()).prop_map(|(l, d, by, reply)| Begin { l, d, by, reply }),
        9 => (l(), d(), proof, by(), reply())
            .prop_map(|(l, d, proof, by, reply)| Prove { l, d, proof, by, reply }),
        2 => (l(), d(), any::<bool>(), reply())
            .prop_map(|(l, d, waiver, reply)| GiveUp { l, d, waiver, reply }),
        1 => (l(), d()).prop_map(|(l, d)| RevokeActivation { l, d }),
        4 => (l(), prop::option::of(d()), by(), reply())
            .prop_map(|(l, bound_to, by, reply)| Ask { l, bound_to, by, reply }),
        1 => l().prop_map(|l| Withdraw { l }),
        5 => (l(), by(), reply()).prop_map(|(l, by, reply)| Generate { l, by, reply }),
        1 => (l(), reply()).prop_map(|(l, reply)| Reissue { l, reply }),
        5 => (l(), d(), prop::bool::weighted(0.8), reply())
            .prop_map(|(l, d, newest, reply)| Redeem { l, d, newest, reply }),
        2 => (l(), 1..3_u32, reply()).prop_map(|(l, count, reply)| Renew { l, count, reply }),
        2 => (l(), standing).prop_map(|(l, to)| Decide { l, to }),
        2 => (l(), 2..6_u32).prop_map(|(l, clients)| Race { l, clients }),
        4 => (any::<usize>(), prop::bool::weighted(0.3))
            .prop_map(|(which, other_content)| Again { which, other_content }),
        3 => prop_oneof![3 => 1..20_i64, 1 => 20..120_i64, 1 => Just(400)].prop_map(Days),
        1 => Just(Sweep),
        1 => crashes().prop_map(Crash),
    ]
}

fn crashes() -> impl Strategy<Value = Crash> {
    prop_oneof![Just(Crash::Process), Just(Crash::PowerCut)]
}

/// Plays one history on a fresh server.
pub(crate) fn play(history: &[Op]) {
    run(async {
        let mut player = Player::new().await;
        for (step, op) in history.iter().enumerate() {
            player.at = format!("step {step}: {op:?}");
            player.step(op).await;
            player.world.check_records();
        }
        player.at = "the end".to_owned();
        player.finish().await;
    });
}

struct Player {
    world: World,
    model: Model,
    at: String,
    /// What was answered and has to be answered so again: the call, the answer, whose it is.
    kept: Vec<Kept>,
    /// The signed part of everything that was answered.
    signed: Vec<String>,
    /// Device numbers that nobody has.
    next_device: u32,
}

struct Kept {
    sent: Sent,
    got: Got,
    license: usize,
    /// The generation whose secret the call shows; none for calls that show none.
    generation: Option<u32>,
    /// The activation whose product code the call shows.
    named: Option<String>,
    at: chrono::DateTime<chrono::Utc>,
}

impl Player {
    async fn new() -> Self {
        Self {
            world: World::selling().await,
            model: Model::new(),
            at: String::new(),
            kept: Vec::new(),
            signed: Vec::new(),
            next_device: 1000,
        }
    }

    fn license(&mut self, l: usize) -> &mut License {
        &mut self.model.licenses[l]
    }

    async fn step(&mut self, op: &Op) {
        let now = self.model.now;
        match op.clone() {
            Op::Activate {
                l,
                d,
                shown,
                build,
                reply,
            } => {
                self.activate(l, d, shown, build, reply).await;
            }
            Op::Verify { l, d, reply } => self.verify(l, d, reply).await,
            Op::Begin { l, d, by, reply } => self.begin(l, d, by, reply).await,
            Op::Prove {
                l,
                d,
                proof,
                by,
                reply,
            } => self.prove(l, d, proof, by, reply).await,
            Op::GiveUp {
                l,
                d,
                waiver,
                reply,
            } => self.give_up(l, d, waiver, reply).await,
            Op::RevokeActivation { l, d } => self.revoke_activation(l, d).await,
            Op::Ask {
                l,
                bound_to,
                by,
                reply,
            } => self.ask(l, bound_to, by, reply).await,
            Op::Withdraw { l } => self.withdraw(l).await,
            Op::Generate { l, by, reply } => self.generate(l, by, reply).await,
            Op::Reissue { l, reply } => self.reissue(l, reply).await,
            Op::Redeem {
                l,
                d,
                newest,
                reply,
            } => self.redeem(l, d, newest, reply).await,
            Op::Renew { l, count, reply } => {
                let request = v1::AddMaintenanceTermsRequest {
                    request_id: fresh_id(),
                    serial: self.license(l).serial.to_owned(),
                    terms: count,
                    first_date: String::new(),
                };
                let answer = self.call(Sent::Renew(request.clone()), reply).await;
                let expected = self.license(l).renew(count, now);
                if let Some(got) = self.compare(answer, expected) {
                    self.keep(Sent::Renew(request), got, l, None);
                }
            }
            Op::Decide { l, to } => self.decide(l, to).await,
            Op::Race { l, clients } => self.race(l, clients).await,
            Op::Again {
                which,
                other_content,
            } => self.again(which, other_content).await,
            Op::Days(days) => {
                self.world.pass_days(days);
                self.model.now = self.world.now();
            }
            Op::Sweep => {
                while sweep(self.world.deps()).await.unwrap() == Swept::MoreLeft {}
                let month = chrono::TimeDelta::days(30);
                let proof = |sent: &Sent| sent.with_other_content().is_none();
                self.kept
                    .retain(|kept| proof(&kept.sent) || kept.at + month >= now);
                // Of those without other content only the proofs are for ever.
                self.kept.retain(|kept| {
                    kept.at + month >= now || !matches!(kept.sent, Sent::Verify(_) | Sent::Begin(_))
                });
            }
            Op::Crash(how) => self.crash(how),
        }
        for l in 0..self.model.licenses.len() {
            self.compare_license(l).await;
        }
    }
}

/// The calls.
impl Player {
    async fn activate(&mut self, l: usize, d: u32, shown: Shown, build: Build, reply: Reply) {
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

    fn check_certificate(&mut self, l: usize, device: &Device, got: &Got) {
        let license = self.license(l);
        let said: ActivationCertificate = verified(&got.sealed.0);
        assert_eq!(said.serial.as_str(), license.serial);
        assert_eq!(said.generation, license.generation);
        assert_eq!(said.activation_id.to_string(), got.id);
        assert_eq!(said.cnf.jkt, device.key.public_key().thumbprint());
        assert_eq!(said.seats as usize, license.seats);
        assert_eq!(said.maintenance_last_day, Some(license.last_day()));
    }

    async fn verify(&mut self, l: usize, d: u32, reply: Reply) {
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
        };
        let answer = self.call(Sent::Verify(request.clone()), reply).await;
        let expected = self.license(l).verify(at, now);
        if let Some(got) = self.compare(answer, expected) {
            self.check_certificate(l, &device, &got);
            self.keep(Sent::Verify(request), got, l, None);
        }
    }

    async fn begin(&mut self, l: usize, d: u32, by: By, reply: Reply) {
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

    async fn prove(&mut self, l: usize, d: u32, proof: Proof, by: By, reply: Reply) {
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

    async fn give_up(&mut self, l: usize, d: u32, waiver: bool, reply: Reply) {
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

    async fn revoke_activation(&mut self, l: usize, d: u32) {
        let now = self.model.now;
        let Some(at) = self.license(l).newest(d) else {
            return;
        };
        let request = v1::RevokeActivationRequest {
            activation_id: self.license(l).activations[at].id.clone(),
            reason: "fraud".to_owned(),
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

    async fn ask(&mut self, l: usize, bound_to: Option<u32>, by: By, reply: Reply) {
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

    async fn withdraw(&mut self, l: usize) {
        let now = self.model.now;
        let Some(request) = self.license(l).requests.last() else {
            return;
        };
        let update_request_id = request.id.clone();
        let request = v1::WithdrawUpdateRequestRequest {
            serial: self.license(l).serial.to_owned(),
            credential: Some(self.credential(l, Shown::Right).await),
            update_request_id,
        };
        let answer = self.world.customer().withdraw_update_request(request).await;
        let expected = self.license(l).withdraw(now);
        if self.compare(answer, expected).is_some() {
            self.license(l).requests.last_mut().unwrap().state = Asked::Withdrawn;
        }
    }

    async fn generate(&mut self, l: usize, by: By, reply: Reply) {
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

    async fn reissue(&mut self, l: usize, reply: Reply) {
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

    async fn redeem(&mut self, l: usize, d: u32, newest: bool, reply: Reply) {
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

    async fn decide(&mut self, l: usize, to: Standing) {
        let (serial, reason) = (self.license(l).serial.to_owned(), "test".to_owned());
        let mut admin = self.world.admin();
        let answer = match to {
            Standing::Suspended => {
                let request = v1::SuspendLicenseRequest { serial, reason };
                let answer = self.world.support().suspend_license(request).await;
                answer.map(|_| ())
            }
            Standing::Issued => {
                let request = v1::ResumeLicenseRequest { serial, reason };
                admin.resume_license(request).await.map(|_| ())
            }
            Standing::Revoked => {
                let request = v1::RevokeLicenseRequest { serial, reason };
                admin.revoke_license(request).await.map(|_| ())
            }
        };
        let expected = self.license(l).decide(to);
        self.compare(answer, expected);
    }

    /// Devices that never had a seat ask all at once: as many get one as there are, and none more (I1).
    async fn race(&mut self, l: usize, clients: u32) {
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
    async fn again(&mut self, which: usize, other_content: bool) {
        if self.kept.is_empty() {
            return;
        }
        let at = which % self.kept.len();
        self.resend(at, other_content).await;
    }

    async fn resend(&mut self, at: usize, other_content: bool) {
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

/// What steps share.
impl Player {
    /// Sends a call and gets its last answer; afterwards the call has had its one effect, if it was to have any.
    async fn call(&mut self, sent: Sent, reply: Reply) -> Result<Got, Status> {
        match reply {
            Reply::Comes => {}
            Reply::Lost => self.drop_answer(sent.clone()).await,
            Reply::Doubled => {
                let (one, other) =
                    tokio::join!(self.world.send(sent.clone()), self.world.send(sent.clone()));
                match (one, other) {
                    (Ok(one), Ok(other)) => assert_eq!(one, other, "{}", self.at),
                    (Err(one), Err(other)) => assert_eq!(reason(&one), reason(&other)),
                    differ => panic!("{}: {differ:?}", self.at),
                }
            }
            Reply::Crash(how) => {
                self.drop_answer(sent.clone()).await;
                self.world.crash(how);
                self.world.start().unwrap();
            }
        }
        self.world.send(sent).await
    }

    /// Starts a call and goes away before the answer.
    async fn drop_answer(&self, sent: Sent) {
        let mut call = Box::pin(self.world.send(sent));
        poll_fn(|cx| {
            let _on_its_way = call.as_mut().poll(cx);
            Poll::Ready(())
        })
        .await;
    }

    fn compare<G, T>(&self, answer: Result<G, Status>, expected: Verdict<T>) -> Option<G> {
        match (answer, expected) {
            (Ok(got), Ok(_)) => Some(got),
            (Err(status), Err(expected)) => {
                assert_eq!(reason(&status), expected, "{}", self.at);
                None
            }
            (Ok(_), Err(expected)) => panic!("{}: granted instead of {expected}", self.at),
            (Err(status), Ok(_)) => panic!("{}: refused: {status:?}", self.at),
        }
    }

    fn keep(&mut self, sent: Sent, got: Got, license: usize, generation: Option<u32>) {
        self.signed.extend(got.signed.iter().cloned());
        self.kept.push(Kept {
            sent,
            got,
            license,
            generation,
            named: None,
            at: self.model.now,
        });
    }

    async fn credential(&mut self, l: usize, shown: Shown) -> v1::Credential {
        let unknown = Code::from_mac(&[8; 32]).to_string();
        let license = &self.model.licenses[l];
        match shown {
            Shown::Right => self.world.credential(license.serial).await,
            Shown::ProductCodeOf(d) => {
                let named = license.newest(d);
                let code = named.map(|at| license.activations[at].code.clone());
                product_code(&code.unwrap_or(unknown))
            }
            Shown::Wrong if license.takes_password() => password("wrong horse battery"),
            Shown::Wrong if license.on_dongle() => {
                secret(v1::credential::Secret::DongleNumber("d-9999".to_owned()))
            }
            Shown::Wrong => activation_code(&unknown),
        }
    }

    /// The license, its activations and its last request are as the model has them.
    async fn compare_license(&mut self, l: usize) {
        let now = self.model.now;
        let license = &self.model.licenses[l];
        let serial = license.serial.to_owned();
        let request = v1::AdminServiceGetLicenseRequest {
            serial: serial.clone(),
        };
        let found = self.world.admin().get_license(request).await.unwrap();
        let found = found.into_inner().license.unwrap();
        let state = match license.standing {
            Standing::Issued => v1::LicenseState::Issued,
            Standing::Suspended => v1::LicenseState::Suspended,
            Standing::Revoked => v1::LicenseState::Revoked,
        };
        assert_eq!(found.state(), state, "{}", self.at);
        assert_eq!(found.generation, license.generation, "{}", self.at);
        assert_eq!(found.seats_taken as usize, license.taken(), "{}", self.at);
        assert_eq!(found.terms.len(), license.terms.len(), "{}", self.at);
        let request = v1::SupportServiceListActivationsRequest {
            serial,
            page_size: 500,
            ..Default::default()
        };
        let found = self.world.support().list_activations(request).await;
        let found = found.unwrap().into_inner().activations;
        assert_eq!(found.len(), license.activations.len(), "{}", self.at);
        for (at, activation) in license.activations.iter().enumerate() {
            let found = found.iter().find(|a| a.activation_id == activation.id);
            let state = match activation.end {
                Some(End::Deactivated) => v1::ActivationState::Deactivated,
                Some(End::Lost) => v1::ActivationState::Lost,
                Some(End::Revoked) => v1::ActivationState::Revoked,
                None if license.releasing(at, now) => v1::ActivationState::Releasing,
                None => v1::ActivationState::Active,
            };
            assert_eq!(found.unwrap().state(), state, "{}", self.at);
        }
        let Some(request) = license.requests.last() else {
            return;
        };
        let state = match request.at(now) {
            Asked::Waiting => v1::UpdateRequestState::AwaitingDeactivation,
            Asked::Approved => v1::UpdateRequestState::Approved,
            Asked::CodeIssued => v1::UpdateRequestState::CodeIssued,
            Asked::Redeemed => v1::UpdateRequestState::Redeemed,
            Asked::Withdrawn => v1::UpdateRequestState::Withdrawn,
            Asked::Expired => v1::UpdateRequestState::Expired,
        };
        let request = v1::SupportServiceGetUpdateRequestRequest {
            update_request_id: request.id.clone(),
        };
        let found = self.world.support().get_update_request(request).await;
        let found = found.unwrap().into_inner().update_request.unwrap();
        assert_eq!(found.state(), state, "{}", self.at);
    }

    /// I3: everything that was answered is there after it.
    fn crash(&mut self, how: Crash) {
        let before = self.world.store().state_hash().unwrap();
        self.world.crash(how);
        self.world.start().unwrap();
        let after = self.world.store().state_hash().unwrap();
        assert_eq!(before, after, "{}", self.at);
    }

    /// I4, I5, I10, I15, once for each history.
    async fn finish(&mut self) {
        let second = Store::open(self.world.options()).err();
        assert!(
            matches!(second, Some(StoreError::Locked { .. })),
            "I15: {second:?}"
        );
        let values = self.world.ledger_values();
        for signed in &self.signed {
            let stored = values.iter().any(|value| value.contains(signed));
            assert!(stored, "I4: answered and never stored: {signed}");
        }
        let hash = self.world.store().state_hash().unwrap();
        self.world.stop().unwrap();
        remove_index(&self.world.data_dir());
        self.world.start().unwrap();
        assert_eq!(self.world.store().state_hash().unwrap(), hash, "I10");
        self.world.check_records();
        for at in (0..self.kept.len()).rev().take(3) {
            self.resend(at, false).await;
        }
        self.world.stop().unwrap();
        store::verify(self.world.options()).unwrap();
    }
}

impl By {
    fn partner(self) -> &'static str {
        if self == Self::Other { "other" } else { "acme" }
    }
}

#[test]
fn histories_agree_with_the_model() {
    let cases = std::env::var("UPKEEP_MODEL_CASES").ok();
    let config = Config {
        cases: cases.map_or(100, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let histories = prop::collection::vec(ops(), 1..60);
    TestRunner::new(config)
        .run(&histories, |history| {
            play(&history);
            Ok(())
        })
        .unwrap();
}
