//! I2, seat-time (SECURITY 3): with leases, at every instant the certificates in force are no more than the seats.
//!
//! Random histories of cheating customers against the real flows. They restore snapshots, run copies, send old answers again, lose
//! new ones, and go on using what they returned; the vendor declares machines lost, withdraws activations, and its clock falls
//! behind and catches up. [`oracle`] keeps every certificate that the server ever issued, and counts.
//!
//! # What time is
//! The server's clock at its latest. A clock that falls behind makes leases end early and seats free late, which is safe; one
//! that runs ahead ends leases that are in force everywhere else, and nothing in the protocol can notice it. A device's clock
//! decides nothing here: what a device says of the time is in its proofs, and the server does not read it.
//!
//! # What is not counted
//! Two copies with one key count once: they are the same device to the server.
//!
//! # Where chance enters
//! The operations, from proptest's seed. A failure prints the shortest history that still fails.

mod cases;
mod op;
mod oracle;

use std::cell::RefCell;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::test_runner::{Config, TestRunner};
use tonic::Status;
use upkeep::artefact::{Confirmation, DeactivationProof, DeactivationTicket};
use upkeep::binding;
use upkeep::rpc::v1;
use upkeep_server::domain::programme::Programmes;

use self::op::{History, Op, histories};
use self::oracle::{Oracle, Tally};
use crate::sent::{Got, Sent};
use crate::world::{
    Device, ParseId, World, activation_code, claims, details, fresh_id, generous, license,
    no_faults, reason, run,
};

/// How long a certificate holds.
const LEASE_DAYS: i64 = 30;
/// How far the server's clock falls behind at most.
const MOST_BEHIND: TimeDelta = TimeDelta::days(20);
/// The products of the test: leases without and with an overlap, and none.
const LEASED: &str = "leased";
const OVERLAPPING: &str = "overlapping";
const PERPETUAL: &str = "perpetual";

/// A server for many histories, one license each: starting one is slow.
struct Bench {
    world: World,
    /// Time, as the module says.
    truth: DateTime<Utc>,
    licenses: u32,
    tally: Tally,
}

impl Bench {
    async fn new() -> Self {
        let files = [
            programme(LEASED, &format!("lease_days = {LEASE_DAYS}"), 0),
            programme(OVERLAPPING, &format!("lease_days = {LEASE_DAYS}"), 5),
            programme(PERPETUAL, "returns_per_365_days = 10000", 0),
        ];
        let programmes = Programmes::load(&files).unwrap();
        let world = World::with(no_faults(), programmes, generous(), 1 << 16);
        for product in [LEASED, OVERLAPPING, PERPETUAL] {
            world.create_product(product, product).await;
        }
        let customer = v1::CreateCustomerRequest {
            customer_id: "buyer".to_owned(),
            display_name: "Buyer".to_owned(),
            email: "it@buyer.example".to_owned(),
            ..Default::default()
        };
        world.admin().create_customer(customer).await.unwrap();
        Self {
            truth: world.now(),
            world,
            licenses: 0,
            tally: Tally::default(),
        }
    }
}

fn programme(name: &'static str, assurance: &str, overlap: u32) -> (String, String) {
    let text = format!(
        "[programme]\nid = \"{name}\"\nrev = 1\ntz = \"UTC\"\n[cover]\nincluded_months = 600\n\
         [update]\nproof_for = [\"software_key\"]\n[assurance]\n{assurance}\n\
         [proof]\nwaivers_per_365_days = 10000\noverlap_days = {overlap}\n"
    );
    (format!("{name}.toml"), text)
}

/// What a machine has on its disk: all of it can be copied, and put back.
#[derive(Clone, Default)]
struct Disk {
    /// The number of its key.
    key: u32,
    activation: Option<String>,
    ticket: Option<String>,
}

#[derive(Clone, Default)]
struct Machine {
    disk: Disk,
    snapshot: Option<Disk>,
    /// How wrong its clock is, in seconds.
    clock: i64,
}

/// One history while it runs.
struct Player<'b> {
    bench: &'b mut Bench,
    serial: String,
    product: &'static str,
    code: v1::Credential,
    machines: Vec<Machine>,
    oracle: Oracle,
    /// Everything that was ever sent.
    sent: Vec<Sent>,
    proofs: Vec<String>,
    upgrade: Option<String>,
    behind: TimeDelta,
}

impl<'b> Player<'b> {
    async fn new(bench: &'b mut Bench, product: &'static str, seats: u32) -> Self {
        bench.licenses += 1;
        bench.world.clock.set(bench.truth);
        let serial = format!("LS-{:04}", bench.licenses);
        let code = bench
            .world
            .create_license(v1::CreateLicenseRequest {
                // A clock that falls behind does not reach a day before it.
                purchase_date: "2024-06-01".to_owned(),
                ..license(&serial, product, seats)
            })
            .await
            .unwrap();
        // Five machines for at most three seats; no two histories share a key.
        let first = bench.licenses * 5;
        let machine = |number| Machine {
            disk: Disk {
                key: first + number,
                ..Disk::default()
            },
            ..Machine::default()
        };
        Self {
            bench,
            serial,
            product,
            code: activation_code(&code),
            machines: (0..5).map(machine).collect(),
            oracle: Oracle::new(seats, product == OVERLAPPING),
            sent: Vec::new(),
            proofs: Vec::new(),
            upgrade: None,
            behind: TimeDelta::zero(),
        }
    }

    async fn step(&mut self, op: &Op) {
        match *op {
            Op::Activate { m, lost } => drop(self.activate(m, lost).await),
            Op::Renew { m, lost } => drop(self.renew(self.activated(m), lost).await),
            Op::Begin { m, lost } => self.begin(self.activated(m), lost).await,
            Op::Prove { m } => self.prove(m).await,
            Op::Return { m } => {
                let m = self.activated(m);
                self.begin(m, false).await;
                self.prove(m).await;
            }
            Op::ProveAgain { which } => {
                if !self.proofs.is_empty() {
                    let proof = self.proofs[which % self.proofs.len()].clone();
                    self.send(Sent::Proof(v1::DeactivateRequest { proof }))
                        .await
                        .ok();
                }
            }
            Op::GiveUp { m, how } => self.give_up(self.activated(m), how).await,
            Op::Retry { which } => {
                if !self.sent.is_empty() {
                    let sent = self.sent[which % self.sent.len()].clone();
                    self.send(sent).await.ok();
                }
            }
            Op::Snapshot { m } => {
                let machine = &mut self.machines[m];
                machine.snapshot = Some(machine.disk.clone());
            }
            Op::Restore { m } => {
                let machine = &mut self.machines[m];
                if let Some(saved) = &machine.snapshot {
                    machine.disk = saved.clone();
                }
            }
            Op::Clone { m, onto } => self.machines[onto].disk = self.machines[m].disk.clone(),
            Op::DeviceClock { m, seconds } => self.machines[m].clock = seconds,
            Op::Pass { hours } => {
                self.bench.truth += TimeDelta::hours(hours);
                self.set_clock();
            }
            Op::FallBehind { hours } => {
                self.behind = TimeDelta::hours(hours).min(MOST_BEHIND);
                self.set_clock();
            }
            Op::CatchUp => {
                self.behind = TimeDelta::zero();
                self.set_clock();
            }
            Op::AskForCode => self.ask_for_code().await,
            Op::Redeem { m } => drop(self.redeem(m).await),
        }
        self.oracle.check(self.bench.truth);
    }

    /// The machine that `m` names among those that were activated; itself where none was.
    fn activated(&self, m: usize) -> usize {
        let was = |at: &usize| self.machines[*at].disk.activation.is_some();
        let activated: Vec<_> = (0..self.machines.len()).filter(was).collect();
        let at = m.checked_rem(activated.len());
        at.map_or(m, |at| activated[at])
    }

    fn set_clock(&self) {
        self.bench.world.clock.set(self.bench.truth - self.behind);
    }

    /// Sends a call; what the server issues is known to the oracle, whoever gets the answer.
    async fn send(&mut self, sent: Sent) -> Result<Got, Status> {
        let answer = self.bench.world.send(sent.clone()).await;
        match (&sent, &answer) {
            (Sent::Activate(_) | Sent::Verify(_) | Sent::Redeem(_), Ok(got)) => {
                self.oracle.issued(&claims(&got.sealed.0));
            }
            (Sent::Proof(_) | Sent::Lost(_) | Sent::Waive(_), Ok(got)) => {
                self.oracle.ended(&got.id);
                self.bench.tally.returns += 1;
            }
            (Sent::Begin(_), Ok(_)) => self.oracle.begun(self.bench.truth),
            (_, Ok(_)) => {}
            (_, Err(status)) => {
                let why = reason(status);
                if why == "NO_SEAT" {
                    self.bench.tally.refused += 1;
                }
                assert!(EXPECTED.contains(&why.as_str()), "{why} for {status:?}");
            }
        }
        self.sent.push(sent);
        answer
    }

    async fn activate(&mut self, m: usize, lost: bool) -> Result<Got, Status> {
        let device = Device::new(self.machines[m].disk.key);
        let mut request = self
            .bench
            .world
            .activate_request(&self.serial, self.code.clone(), &device, &fresh_id())
            .await;
        request.product_id = self.product.to_owned();
        device.sign_activate(&mut request);
        let answer = self.send(Sent::Activate(request)).await;
        match &answer {
            Ok(got) if !lost => self.machines[m].disk.activation = Some(got.id.clone()),
            Ok(_) => {}
            Err(status) => self.check_refusal(&device, status),
        }
        answer
    }

    /// NO_SEAT is true: that many other devices hold one, or may run on.
    fn check_refusal(&self, device: &Device, status: &Status) {
        if reason(status) == "NO_SEAT" {
            let now = self.bench.world.now();
            self.oracle.check_refusal(&device.thumbprint(), now);
        }
    }

    async fn renew(&mut self, m: usize, lost: bool) -> Option<Result<Got, Status>> {
        let activation_id = self.machines[m].disk.activation.clone()?;
        let device = Device::new(self.machines[m].disk.key);
        let world = &self.bench.world;
        let challenge = world.challenge(v1::ChallengePurpose::Verify).await;
        let request_id = fresh_id();
        let b = binding::verify(&challenge, &request_id.parse_id(), &activation_id);
        let request = v1::VerifyActivationRequest {
            signature: device.key.sign_digest(&b).to_vec(),
            request_id,
            challenge,
            activation_id,
            heartbeat: None,
        };
        let answer = self.send(Sent::Verify(request)).await;
        if answer.is_ok() && !lost {
            self.bench.tally.renewals += 1;
        }
        Some(answer)
    }

    async fn begin(&mut self, m: usize, lost: bool) {
        let Some(id) = self.machines[m].disk.activation.clone() else {
            return;
        };
        let device = Device::new(self.machines[m].disk.key);
        let world = &self.bench.world;
        let request = world.begin_request(&id, &device, &fresh_id()).await;
        let answer = self.send(Sent::Begin(request)).await;
        if let Ok(got) = answer
            && !lost
        {
            self.machines[m].disk.ticket = Some(got.sealed.0);
        }
    }

    /// The proof is made, and sent; the machine keeps what it says to have deleted.
    async fn prove(&mut self, m: usize) {
        let machine = &self.machines[m];
        let Some(ticket) = machine.disk.ticket.clone() else {
            return;
        };
        let device = Device::new(machine.disk.key);
        let asked: DeactivationTicket = claims(&ticket);
        let proof = device.seal(&DeactivationProof {
            iat: u64::try_from(self.bench.truth.timestamp() + machine.clock).unwrap_or(0),
            serial: asked.serial,
            activation_id: asked.activation_id,
            nonce: asked.nonce,
            ticket,
            cnf: Confirmation {
                jkt: device.key.public_key().thumbprint(),
            },
        });
        self.proofs.push(proof.clone());
        self.send(Sent::Proof(v1::DeactivateRequest { proof }))
            .await
            .ok();
    }

    async fn give_up(&mut self, m: usize, how: op::GiveUp) {
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
                    self.oracle.ended(&activation_id);
                }
                return;
            }
        };
        self.send(sent).await.ok();
    }

    /// The old license is given back and the next one asked for; under leases no code is a file.
    async fn ask_for_code(&mut self) {
        let request = v1::CreateUpdateRequestRequest {
            request_id: fresh_id(),
            serial: self.serial.clone(),
            credential: Some(self.code.clone()),
            details: Some(v1::UpdateRequestDetails {
                device_thumbprint: String::new(),
                ..details()
            }),
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

    async fn redeem(&mut self, m: usize) -> Option<Result<Got, Status>> {
        let code = self.upgrade.clone()?;
        let device = Device::new(self.machines[m].disk.key);
        let world = &self.bench.world;
        let request = world
            .redeem_request(&self.serial, &code, &device, &fresh_id())
            .await;
        let answer = self.send(Sent::Redeem(request)).await;
        match &answer {
            Ok(got) => {
                self.machines[m].disk.activation = Some(got.id.clone());
                self.code = self.bench.world.credential(&self.serial).await;
                self.bench.tally.upgrades += 1;
            }
            Err(status) => self.check_refusal(&device, status),
        }
        Some(answer)
    }
}

/// Plays a history on a license of its own; now and then all records of the server are looked at.
async fn play(bench: &mut Bench, history: &History) {
    let product = if history.overlap { OVERLAPPING } else { LEASED };
    let mut player = Player::new(bench, product, history.seats).await;
    for op in &history.ops {
        player.step(op).await;
    }
    player.behind = TimeDelta::zero();
    player.set_clock();
    let most = player.oracle.most();
    bench.tally.full += u32::from(most >= history.seats as usize);
    if bench.licenses.is_multiple_of(CHECK_EVERY) {
        bench.world.check_records();
    }
}

#[test]
fn i2_certificates_in_force_are_never_more_than_the_seats() {
    let cases = std::env::var("UPKEEP_SEAT_TIME_CASES").ok();
    let cases = cases.map_or(2000, |cases| cases.parse().unwrap());
    let threads: Vec<_> = (0..THREADS)
        .map(|_| std::thread::spawn(move || play_many(cases / THREADS)))
        .collect();
    let mut all = Tally::default();
    for thread in threads {
        all.add(&thread.join().unwrap());
    }
    eprintln!("{cases} histories: {all:?}");
    // Whatever is wrong with a history that never fills a license, returns a seat or renews one, it shows nothing.
    let enough = cases / 8;
    assert!(all.full > enough && all.refused > enough, "{all:?}");
    assert!(all.returns > enough && all.renewals > enough, "{all:?}");
    assert!(all.upgrades > cases / 80, "{all:?}");
}

fn play_many(cases: u32) -> Tally {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let bench = RefCell::new(run(Bench::new()));
    TestRunner::new(config)
        .run(&histories(), |history| {
            let mut bench = bench.borrow_mut();
            if bench.licenses >= PER_BENCH {
                let tally = bench.tally;
                *bench = run(Bench::new());
                bench.tally = tally;
            }
            run(play(&mut bench, &history));
            Ok(())
        })
        .unwrap();
    bench.borrow().tally
}

/// What a customer may be told here; anything else is a fault of the test or the server.
const EXPECTED: &[&str] = &[
    "NO_SEAT",
    "ACTIVATION_FINAL",
    "ALREADY_EXISTS",
    "ATTESTATION_FAILED",
    "CODE_ALREADY_ISSUED",
    "CODE_ALREADY_REDEEMED",
    "CREDENTIAL_INVALID",
    "CODE_INVALID",
    "CHALLENGE_EXPIRED",
    "CHALLENGE_SPENT",
    "CHALLENGE_INVALID",
    "ILLEGAL_TRANSITION",
    "LICENSE_FINAL",
    "PROOF_ALREADY_USED",
    "PROOF_REQUIRED",
    "RELEASE_IN_PROGRESS",
    "REQUEST_ID_REUSED",
    "SEAT_IN_USE",
    "TICKET_EXPIRED",
    "TICKET_REQUIRED",
    "UPGRADE_FINAL",
];
const THREADS: u32 = 2;
/// A look at all records is as dear as a history, and what is wrong with them stays wrong.
const CHECK_EVERY: u32 = 5;
/// So many histories for one server: a multiple of the other.
const PER_BENCH: u32 = 25;
