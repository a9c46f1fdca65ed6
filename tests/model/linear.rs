//! Linearizability: what concurrent callers were answered about one license is what one caller after another would have been
//! answered, in some order that no answer contradicts.
//!
//! Each history is recorded at the real flows: callers activate, give back and read licenses at the same time, and each call
//! is noted with the moment it was sent and the moment it was answered. Every device activates once, so what a license's answers
//! depend on is one number, the seats taken, and each license can be checked by itself (Herlihy and Wing 1990, locality).
//!
//! The checker is the search of Wing and Gong (1993): take any call that no other was answered before, see whether its answer
//! fits, go on with the rest; sets of calls that led nowhere are remembered, as Lowe does (2017).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;
use upkeep::rpc::v1;

use crate::world::{Device, World, activation_code, fresh_id, license, reason};

const CALLERS: usize = 8;
const OPERATIONS: usize = 200;
const LICENSES: usize = 8;
const SEATS: u32 = 3;

/// What was asked of a license and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// A seat; so many are taken then.
    Seat(u32),
    NoSeat,
    GivenBack,
    /// A look: so many are taken.
    Taken(u32),
}

impl Answer {
    /// The seats taken after a call that was answered so, if it can be answered so while `taken` are taken.
    fn after(self, taken: u32, seats: u32) -> Option<u32> {
        match self {
            Self::Seat(now) => (taken < seats && now == taken + 1).then_some(now),
            Self::NoSeat => (taken == seats).then_some(taken),
            Self::GivenBack => taken.checked_sub(1),
            Self::Taken(seen) => (seen == taken).then_some(taken),
        }
    }
}

/// A call, by the moments at which it was sent and answered.
#[derive(Clone, Copy, Debug)]
struct Call {
    sent: u64,
    answered: u64,
    answer: Answer,
}

/// True if some order of the calls explains all answers.
fn is_linearizable(calls: &[Call], seats: u32) -> bool {
    assert!(calls.len() <= 128, "one bit for each call");
    search(calls, seats, 0, 0, &mut HashSet::new())
}

/// * `done` - the calls that have their place already, a bit each. They also say how many seats are taken.
fn search(calls: &[Call], seats: u32, done: u128, taken: u32, dead: &mut HashSet<u128>) -> bool {
    let open = || {
        let all = calls.iter().enumerate();
        all.filter(|(at, _)| done & (1 << at) == 0)
    };
    let Some(first_answer) = open().map(|(_, call)| call.answered).min() else {
        return true;
    };
    if dead.contains(&done) {
        return false;
    }
    for (at, call) in open() {
        if call.sent <= first_answer
            && let Some(taken) = call.answer.after(taken, seats)
            && search(calls, seats, done | 1 << at, taken, dead)
        {
            return true;
        }
    }
    dead.insert(done);
    false
}

/// Plays one history and answers its calls by license.
async fn record(world: &Arc<World>, number: usize) -> BTreeMap<usize, Vec<Call>> {
    let mut codes = Vec::new();
    for at in 0..LICENSES {
        let serial = format!("LIN-{number}-{at}");
        let code = world.create_license(license(&serial, "label", SEATS)).await;
        codes.push((serial, activation_code(&code.unwrap())));
    }
    let (codes, moments) = (Arc::new(codes), Arc::new(AtomicU64::new(1)));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let player = Player {
            world: Arc::clone(world),
            codes: Arc::clone(&codes),
            moments: Arc::clone(&moments),
            coin: (number as u64 + 1) << 8 | caller as u64,
            next_device: (number * OPERATIONS * CALLERS + caller * OPERATIONS) as u32,
            calls: Vec::new(),
            held: Vec::new(),
        };
        callers.spawn(player.play(OPERATIONS / CALLERS));
    }
    let mut by_license: BTreeMap<usize, Vec<Call>> = BTreeMap::new();
    while let Some(calls) = callers.join_next().await {
        for (license, call) in calls.unwrap() {
            by_license.entry(license).or_default().push(call);
        }
    }
    by_license
}

struct Player {
    world: Arc<World>,
    codes: Arc<Vec<(String, v1::Credential)>>,
    moments: Arc<AtomicU64>,
    coin: u64,
    next_device: u32,
    calls: Vec<(usize, Call)>,
    /// A seat and the proof that gives it back, made beforehand.
    held: Vec<(usize, String)>,
}

impl Player {
    async fn play(mut self, operations: usize) -> Vec<(usize, Call)> {
        for _ in 0..operations {
            match self.toss() % 10 {
                0..=2 if !self.held.is_empty() => self.give_back().await,
                0..=6 => self.activate().await,
                _ => self.look().await,
            }
        }
        self.calls
    }

    fn toss(&mut self) -> usize {
        self.coin = self
            .coin
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.coin >> 33) as usize
    }

    fn now(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    fn note(&mut self, license: usize, sent: u64, answer: Answer) {
        let answered = self.now();
        let call = Call {
            sent,
            answered,
            answer,
        };
        self.calls.push((license, call));
    }

    async fn activate(&mut self) {
        let license = self.toss() % LICENSES;
        let (serial, credential) = self.codes[license].clone();
        self.next_device += 1;
        let device = Device::new(self.next_device);
        let request = self
            .world
            .activate_request(&serial, credential, &device, &fresh_id())
            .await;
        let sent = self.now();
        match self.world.device().activate(request).await {
            Ok(got) => {
                let got = got.into_inner();
                self.note(
                    license,
                    sent,
                    Answer::Seat(got.license.unwrap().seats_taken),
                );
                self.prepare_return(license, &got.activation_id, &device)
                    .await;
            }
            Err(status) => {
                assert_eq!(reason(&status), "NO_SEAT");
                self.note(license, sent, Answer::NoSeat);
            }
        }
    }

    /// Makes the proof beforehand, unless the year's returns are used up: then the seat stays taken.
    async fn prepare_return(&mut self, license: usize, activation: &str, device: &Device) {
        let id = fresh_id();
        let request = self.world.begin_request(activation, device, &id).await;
        match self.world.device().begin_deactivation(request).await {
            Ok(begun) => {
                let proof = device.proof(&begun.into_inner().ticket);
                self.held.push((license, proof));
            }
            Err(status) => assert_eq!(reason(&status), "RETURN_LIMIT"),
        }
    }

    async fn give_back(&mut self) {
        let at = self.toss() % self.held.len();
        let (license, proof) = self.held.swap_remove(at);
        let sent = self.now();
        let request = v1::DeactivateRequest { proof };
        self.world.device().deactivate(request).await.unwrap();
        self.note(license, sent, Answer::GivenBack);
    }

    async fn look(&mut self) {
        let license = self.toss() % LICENSES;
        let request = v1::AdminServiceGetLicenseRequest {
            serial: self.codes[license].0.clone(),
        };
        let sent = self.now();
        let found = self.world.admin().get_license(request).await.unwrap();
        let taken = found.into_inner().license.unwrap().seats_taken;
        self.note(license, sent, Answer::Taken(taken));
    }
}

/// I1 and the store's promise that transactions run one after another.
#[test]
fn g4_what_concurrent_callers_are_answered_is_linearizable() {
    let histories = std::env::var("UPKEEP_G4_HISTORIES").map_or(40, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    let (mut calls, mut at_once) = (0, 0);
    runtime.block_on(async {
        let world = Arc::new(World::selling().await);
        for number in 0..histories {
            for (license, history) in record(&world, number).await {
                assert!(
                    is_linearizable(&history, SEATS),
                    "history {number}, license {license}: no order explains {history:#?}"
                );
                calls += history.len();
                at_once += overlapping(&history);
                planted(&history, number, license);
            }
        }
        world.check_records();
    });
    println!(
        "{histories} histories, {calls} calls, {at_once} of them at the same time as another: linearizable"
    );
    assert!(
        at_once * 4 > calls,
        "they ran side by side: {at_once} of {calls}"
    );
}

fn overlapping(history: &[Call]) -> usize {
    let meets = |one: &Call| {
        let others = history.iter().filter(|other| other.sent != one.sent);
        others
            .into_iter()
            .any(|other| other.sent < one.answered && one.sent < other.answered)
    };
    history.iter().filter(|call| meets(call)).count()
}

/// The control: the same history with one answer that no order explains must not pass.
fn planted(history: &[Call], number: usize, license: usize) {
    let last = history.iter().map(|call| call.answered).max().unwrap();
    let lie = |answer| Call {
        sent: last + 1,
        answered: last + 2,
        answer,
    };
    // Asked after everything else, one of these contradicts what is taken then, whatever that is.
    let answers = [
        Answer::Taken(0),
        Answer::Taken(1),
        Answer::Taken(2),
        Answer::Taken(3),
    ];
    let fits = answers.iter().filter(|answer| {
        let mut longer = history.to_vec();
        longer.push(lie(**answer));
        is_linearizable(&longer, SEATS)
    });
    assert_eq!(
        fits.count(),
        1,
        "history {number}, license {license}: the end is one state"
    );
}

#[test]
fn g4_control_histories_that_are_not_linearizable_are_found() {
    let call = |sent, answered, answer| Call {
        sent,
        answered,
        answer,
    };
    use Answer::{GivenBack, NoSeat, Seat, Taken};
    let sound = [
        vec![
            call(1, 4, Seat(1)),
            call(2, 3, Taken(0)),
            call(5, 6, Taken(1)),
        ],
        vec![
            call(1, 6, Seat(1)),
            call(2, 5, NoSeat),
            call(3, 4, Seat(1)),
            call(1, 7, GivenBack),
        ],
        vec![
            call(1, 2, Seat(1)),
            call(3, 8, GivenBack),
            call(4, 5, NoSeat),
            call(6, 7, Taken(0)),
        ],
    ];
    let unsound = [
        // A look that is older than what was answered before it was asked.
        vec![call(1, 2, Seat(1)), call(3, 4, Taken(0))],
        // The last seat, twice.
        vec![call(1, 4, Seat(1)), call(2, 3, Seat(1))],
        // Refused while nobody had it, before, at the time or after.
        vec![call(1, 2, NoSeat), call(3, 4, Seat(1))],
        // Two looks that saw the same change in opposite orders.
        vec![
            call(1, 8, Seat(1)),
            call(2, 3, Taken(1)),
            call(4, 5, Taken(0)),
        ],
        vec![call(1, 2, GivenBack)],
    ];
    for history in sound {
        assert!(is_linearizable(&history, 1), "{history:?}");
    }
    for history in unsound {
        assert!(!is_linearizable(&history, 1), "{history:?}");
    }
}
