//! I2, seat-time (SECURITY 3): with leases and with chips, at every instant the certificates in force are no more than the seats.
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
//! Two copies with one key count once: they are the same device to the server. A chip's certificate that the vendor gave up
//! without a proof has no end and counts no more: that is a person's decision against the promise, and on record as WAIVED.
//!
//! # Where chance enters
//! The operations, from proptest's seed. A failure prints the shortest history that still fails.

mod calls;
mod cases;
mod machine;
mod op;
mod oracle;

use std::cell::RefCell;
use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::test_runner::{Config, TestRunner};
use tonic::Status;
use upkeep::rpc::v1;
use upkeep_server::domain::programme::Programmes;

use self::machine::{Disk, INDEX, Key, Machine};
use self::op::{History, Op, histories};
use self::oracle::{Oracle, Tally};
use crate::chip::ChipKey;
use crate::sent::{Got, Sent};
use crate::world::{
    ParseId, World, activation_code, claims, details, fresh_id, generous, license, no_faults,
    reason, run,
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
            programme(PERPETUAL, "returns_per_365_days = 1", 0),
        ];
        let programmes = Programmes::load(&files).unwrap();
        let mut world = World::with(no_faults(), programmes, generous(), 1 << 16);
        world.believe(machine::endorsements());
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
    /// The keys that chips made.
    chip_keys: Vec<(u32, ChipKey)>,
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
        let machines = vec![
            Machine::software(first),
            Machine::software(first + 1),
            Machine::with_chip(first + 2),
            Machine::with_chip(first + 3),
            Machine::in_a_cloud(first + 4),
        ];
        Self {
            bench,
            serial,
            product,
            code: activation_code(&code),
            machines,
            oracle: Oracle::new(seats, product == OVERLAPPING),
            sent: Vec::new(),
            proofs: Vec::new(),
            upgrade: None,
            behind: TimeDelta::zero(),
            chip_keys: Vec::new(),
        }
    }

    async fn step(&mut self, op: &Op) {
        match *op {
            Op::Activate { m, lost } => drop(self.activate(m, lost).await),
            Op::Renew { m, lost } => drop(self.renew(self.activated(m), lost).await),
            Op::Begin { m, lost } => self.begin(self.activated(m), lost).await,
            Op::Prove { m } => self.prove(m).await,
            Op::Return { m } => self.give_back(self.activated(m)).await,
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
                let m = self.activated(m);
                self.machines[m].take_snapshot();
            }
            Op::Restore { m } => {
                let m = self.activated(m);
                self.machines[m].restore();
            }
            Op::Clone { m, onto } => {
                let source = self.machines[m].clone();
                self.machines[onto].become_copy_of(&source);
            }
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
            Op::Move { m, onto } => {
                self.give_back(self.activated(m)).await;
                self.ask_for_code().await;
                self.redeem(onto).await;
            }
        }
        self.check();
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

    /// I2, now.
    fn check(&mut self) {
        let alive = self.alive();
        self.oracle.check(self.bench.truth, &alive);
    }

    /// The keys in chips that still sign.
    fn alive(&self) -> BTreeSet<String> {
        let works = |(number, key): &&(u32, ChipKey)| {
            let mut tpms = self
                .machines
                .iter()
                .filter_map(|machine| machine.tpm.as_ref());
            tpms.any(|tpm| tpm.number == *number && tpm.chip.sign(key, &[0; 32]).is_some())
        };
        let alive = self.chip_keys.iter().filter(works);
        alive
            .map(|(_, key)| key.key.public_key().thumbprint().to_string())
            .collect()
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
fn g5_certificates_in_force_are_never_more_than_the_seats() {
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
    assert!(all.chips_returned > cases / 20, "{all:?}");
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

const THREADS: u32 = 2;
/// A look at all records is as dear as a history, and what is wrong with them stays wrong.
const CHECK_EVERY: u32 = 5;
/// So many histories for one server: a multiple of the other.
const PER_BENCH: u32 = 25;
