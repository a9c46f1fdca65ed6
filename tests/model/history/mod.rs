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

mod calls;
mod compare;
mod op;

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
use upkeep_server::flow::due;
use upkeep_server::flow::sweep::sweep;
use upkeep_server::store::{self, Store, StoreError};

use crate::model::{Asked, End, License, Model, Shown, Standing, Verdict};
use crate::sent::{Got, Sent};
use crate::world::{
    Crash, DONGLE_NUMBER, Device, NEW, ParseId, World, activation_code, details, fresh_id,
    password, product_code, reason, remove_index, run, secret, verified,
};

use self::op::ops;
pub(crate) use self::op::{Build, By, Op, Proof, Reply};

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
                let pass = due::run(self.world.deps(), u64::MAX).await.unwrap();
                assert_eq!((pass.faulty, pass.stale), (0, 0), "{}", self.at);
                sweep(self.world.deps()).await.unwrap();
                let month = chrono::TimeDelta::days(30);
                let proof = |sent: &Sent| sent.with_other_content().is_none();
                self.kept
                    .retain(|kept| proof(&kept.sent) || kept.at + month >= now);
                // Of those without other content only the proofs are for ever.
                self.kept
                    .retain(|kept| kept.at + month >= now || !matches!(kept.sent, Sent::Begin(_)));
            }
            Op::Crash(how) => self.crash(how),
        }
        for l in 0..self.model.licenses.len() {
            self.compare_license(l).await;
        }
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
