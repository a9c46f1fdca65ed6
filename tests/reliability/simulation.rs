//! G6: the client's call path and the server's services over a simulated network and a simulated disk, from a seed.
//!
//! Three clients activate, verify and give back. Meanwhile links break in one or both directions, messages are held up, the
//! server is killed, the machine stops in the middle of a file call, and the power is cut. A call that is not answered is sent
//! again under its own request id until it is.
//!
//! # What counts as failure
//! * A request has more than one effect in the ledger, or an answered one has none.
//! * An answer, asked for again after a last power cut, is another.
//! * Seats taken differ from the devices that hold one; any record contradicts another.
//! * The same seed gives another run.
//!
//! # Where chance enters
//! The seed: faults, latencies, operations, keys, request ids, the server's random bytes. Transactions run on the caller's side
//! ([`Writer::Caller`](upkeep_server::store::Writer)): a thread of its own would be scheduled by the real machine. Signatures
//! differ from run to run, so the bytes of artefacts are compared without them.
//!
//! # What is not in it
//! TLS, the accept loop and its limits: G1 and `tests/edge` have these. turmoil's network loses connections, not single packets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tonic::transport::Endpoint;
use tower::service_fn;
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};
use upkeep::artefact::{Confirmation, DeactivationProof, DeactivationTicket};
use upkeep::binding;
use upkeep::id::{ProductId, RequestId};
use upkeep::jws::SigningInput;
use upkeep::key::SigningKey;
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use upkeep_client::{Client, ClientError, Deadlines, RetryPolicy};
use upkeep_server::flow::check::verify_records;
use upkeep_server::record::event::Event;

use crate::alone::alone;
use crate::coin::{Coin, size};
use crate::site::Site;

const CLIENTS: usize = 3;
const OPERATIONS: usize = 12;
const LICENSES: usize = 4;
const SEATS: u32 = 3;
const PORT: u16 = 7443;
const TICK: Duration = Duration::from_millis(5);

/// The server's host: opens the store, which recovers, and serves until it is crashed.
async fn serve(site: Rc<RefCell<Site>>) -> turmoil::Result {
    let started = site.borrow_mut().start();
    let Ok(running) = started else {
        // The machine stopped while it was starting; it will be started again.
        return std::future::pending().await;
    };
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(running.anyone());
        // Not tonic's own server: it polls in an order that tokio draws, and not from our seed.
        tokio::spawn(async move {
            let http = auto::Builder::new(TokioExecutor::new()).http2_only();
            // A connection that breaks is what this is about.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The crate's own client over the simulated network.
fn client() -> Client {
    let connect = service_fn(|_| async {
        let stream = TcpStream::connect(("server", PORT)).await?;
        Ok::<_, io::Error>(TokioIo::new(stream))
    });
    let channel = Endpoint::from_static("http://server")
        .http2_keep_alive_interval(Duration::from_millis(500))
        .keep_alive_timeout(Duration::from_millis(500))
        .connect_with_connector_lazy(connect);
    Client::builder("https://server")
        .deadlines(Deadlines {
            cold: Duration::from_secs(2),
            warm: Duration::from_secs(1),
        })
        // Without pauses: theirs are not from the seed.
        .retry(RetryPolicy::new(3, Duration::ZERO))
        .over(channel)
}

/// A license that the clients share.
struct Stock {
    serial: String,
    code: String,
}

/// A call that was answered, and what came.
enum Answered {
    Activated(Box<v1::ActivateRequest>, Result<String, String>),
    Released(v1::DeactivateRequest, String),
}

/// What all hosts see.
#[derive(Default)]
struct Shared {
    trace: Vec<String>,
    /// Clients that have done everything once.
    waiting: usize,
    /// The last power cut is over: ask again.
    asking: bool,
    /// For each license, how many devices hold a seat.
    live: BTreeMap<usize, i64>,
    /// Request ids that were answered with a grant.
    granted: Vec<String>,
    attempts: usize,
}

struct Player {
    number: usize,
    coin: Coin,
    client: Client,
    stock: Arc<Vec<Stock>>,
    shared: Arc<Mutex<Shared>>,
    answered: Vec<Answered>,
    /// Seats it holds: license, activation, key.
    held: Vec<(usize, String, SigningKey)>,
}

/// The signed part of an artefact.
fn signed(sealed: &str) -> String {
    sealed.rsplit_once('.').unwrap().0.to_owned()
}

impl Player {
    fn note(&self, what: &str) {
        let at = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        let line = format!("{at} ms, client {}: {what}", self.number);
        self.shared.lock().unwrap().trace.push(line);
    }

    fn id(&mut self) -> RequestId {
        let mut bytes = [0; 16];
        for part in bytes.chunks_mut(4) {
            part.copy_from_slice(&(self.coin.toss() as u32).to_be_bytes());
        }
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        RequestId::from_uuid(id)
    }

    /// Sends a call until it is granted or refused.
    async fn until_answered<Q: Clone, A, F>(
        &self,
        request: &Q,
        send: impl Fn(Client, Q) -> F,
    ) -> Result<A, String>
    where
        F: Future<Output = Result<A, ClientError>>,
    {
        loop {
            self.shared.lock().unwrap().attempts += 1;
            match send(self.client.clone(), request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(ClientError::Refused(refusal)) => {
                    return Err(refusal.reason.unwrap_or_default());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
    }

    async fn challenge(&self, purpose: v1::ChallengePurpose) -> Vec<u8> {
        let asked = self.until_answered(&purpose, |client, purpose| async move {
            client.challenge(purpose).await
        });
        asked.await.unwrap().bytes
    }

    async fn activate(&mut self) {
        let number = self.coin.below(self.stock.len());
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&self.coin.toss().to_be_bytes());
        let key = SigningKey::from_seed(&seed).unwrap();
        let id = self.id();
        let challenge = self.challenge(v1::ChallengePurpose::Activate).await;
        let Stock { serial, code } = &self.stock[number];
        let b = binding::activate(
            &challenge,
            &id,
            &SerialNumber::parse(serial).unwrap(),
            &ProductId::parse("label").unwrap(),
            &Version::parse("1.0").unwrap(),
            false,
        );
        let request = v1::ActivateRequest {
            request_id: id.to_string(),
            challenge,
            serial: serial.clone(),
            credential: Some(v1::Credential {
                secret: Some(v1::credential::Secret::ActivationCode(code.clone())),
            }),
            device_key: Some(v1::DeviceKey {
                key: Some(v1::device_key::Key::SoftwareSpki(
                    key.public_key().to_spki_der(),
                )),
            }),
            product_id: "label".into(),
            version: "1.0".into(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            signature: key.sign_digest(&b).to_vec(),
            ..Default::default()
        };
        let sent = |client: Client, request| async move { client.activate(request).await };
        let answer = self.until_answered(&request, sent).await;
        let answer = match answer {
            Ok(got) => {
                let mut shared = self.shared.lock().unwrap();
                *shared.live.entry(number).or_default() += 1;
                shared.granted.push(request.request_id.clone());
                drop(shared);
                self.held.push((number, got.activation_id, key));
                Ok(signed(&got.certificate))
            }
            Err(reason) => {
                assert_eq!(reason, "NO_SEAT");
                Err(reason)
            }
        };
        self.note(&format!("activate {number}: {answer:?}"));
        self.answered
            .push(Answered::Activated(Box::new(request), answer));
    }

    async fn give_back(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.coin.below(self.held.len());
        let (number, activation, key) = self.held.remove(at);
        let id = self.id();
        let challenge = self
            .challenge(v1::ChallengePurpose::BeginDeactivation)
            .await;
        let b = binding::begin_deactivation(&challenge, &id, &activation);
        let begin = v1::BeginDeactivationRequest {
            request_id: id.to_string(),
            challenge,
            activation_id: activation,
            signature: key.sign_digest(&b).to_vec(),
        };
        let sent =
            |client: Client, request| async move { client.begin_deactivation(request).await };
        let ticket = self.until_answered(&begin, sent).await.unwrap().ticket;
        self.shared.lock().unwrap().granted.push(begin.request_id);
        let input = SigningInput::parse(&signed(&ticket)).unwrap();
        let asked: DeactivationTicket = input.claims().unwrap();
        let proof = DeactivationProof {
            iat: 1,
            serial: asked.serial,
            activation_id: asked.activation_id,
            nonce: asked.nonce,
            ticket,
            cnf: Confirmation {
                jkt: key.public_key().thumbprint(),
            },
        };
        let input = SigningInput::new(key.public_key().thumbprint(), &proof).unwrap();
        let proof = input.seal(&key.sign(input.signing_bytes()));
        let request = v1::DeactivateRequest { proof };
        let sent = |client: Client, request| async move { client.deactivate(request).await };
        let receipt = self.until_answered(&request, sent).await.unwrap().receipt;
        *self.shared.lock().unwrap().live.entry(number).or_default() -= 1;
        self.note(&format!("give back {number}: {}", signed(&receipt)));
        self.answered
            .push(Answered::Released(request, signed(&receipt)));
    }

    async fn verify(&mut self) {
        let id = self.id();
        let Some((_, activation, key)) = self.held.last() else {
            return;
        };
        let challenge = self.challenge(v1::ChallengePurpose::Verify).await;
        let b = binding::verify(&challenge, &id, activation);
        let request = v1::VerifyActivationRequest {
            request_id: id.to_string(),
            challenge,
            activation_id: activation.clone(),
            signature: key.sign_digest(&b).to_vec(),
            heartbeat: None,
        };
        let sent = |client: Client, request| async move { client.verify_activation(request).await };
        let got = self.until_answered(&request, sent).await.unwrap();
        self.note(&format!("verify: {}", signed(&got.certificate)));
    }

    async fn ask_again(&mut self) {
        for answered in std::mem::take(&mut self.answered) {
            match answered {
                Answered::Activated(request, first) => {
                    let request = *request;
                    let sent =
                        |client: Client, request| async move { client.activate(request).await };
                    let again = self.until_answered(&request, sent).await;
                    // A refusal is not kept: there may be a seat by now, or its challenge has run out.
                    if first.is_ok() {
                        let again = again.map(|got| signed(&got.certificate));
                        assert_eq!(first, again, "client {}", self.number);
                    }
                }
                Answered::Released(request, first) => {
                    let sent =
                        |client: Client, request| async move { client.deactivate(request).await };
                    let again = self.until_answered(&request, sent).await;
                    let again = again.map(|got| signed(&got.receipt));
                    assert_eq!(Ok(first), again, "client {}", self.number);
                }
            }
        }
    }

    async fn play(mut self) -> turmoil::Result {
        for _ in 0..OPERATIONS {
            match self.coin.below(6) {
                0..=2 => self.activate().await,
                3 | 4 => self.give_back().await,
                _ => self.verify().await,
            }
        }
        self.shared.lock().unwrap().waiting += 1;
        while !self.shared.lock().unwrap().asking {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What was refused may be granted now; only what was granted is asked for again.
        self.answered
            .retain(|answered| !matches!(answered, Answered::Activated(_, Err(_))));
        self.ask_again().await;
        Ok(())
    }
}

/// The faults of a run.
struct Faults {
    coin: Coin,
    /// What ends when.
    ends: Vec<(Duration, End)>,
    next: Duration,
    count: usize,
}

enum End {
    Repair(String),
    Release(String),
    Bounce,
}

impl Faults {
    fn new(seed: u64) -> Self {
        Self {
            coin: Coin::new(seed ^ 0xFA01),
            ends: Vec::new(),
            next: Duration::from_millis(200),
            count: 0,
        }
    }

    fn server_is_down(&self) -> bool {
        self.ends.iter().any(|(_, end)| matches!(end, End::Bounce))
    }

    fn after(&mut self, now: Duration, least: usize, spread: usize, end: End) {
        let lasts = Duration::from_millis((least + self.coin.below(spread)) as u64);
        self.ends.push((now + lasts, end));
    }

    fn step(&mut self, sim: &mut Sim<'_>, site: &RefCell<Site>) {
        let now = sim.elapsed();
        self.end_what_is_over(sim, now);
        // The machine stopped in the middle of a file call, as planned.
        if site.borrow().disk.has_stopped() && !self.server_is_down() {
            self.crash(sim, site, now);
        }
        if now < self.next {
            return;
        }
        self.next = now + Duration::from_millis(50 + self.coin.below(450) as u64);
        self.count += 1;
        let client = format!("client{}", self.coin.below(CLIENTS));
        match self.coin.below(7) {
            0 => {
                sim.partition(client.as_str(), "server");
                self.after(now, 50, 2000, End::Repair(client));
            }
            1 => {
                sim.partition_oneway(client.as_str(), "server");
                self.after(now, 50, 2000, End::Repair(client));
            }
            2 => {
                sim.partition_oneway("server", client.as_str());
                self.after(now, 50, 2000, End::Repair(client));
            }
            3 => {
                sim.hold(client.as_str(), "server");
                self.after(now, 20, 1500, End::Release(client));
            }
            4 if !self.server_is_down() => self.crash(sim, site, now),
            _ if !self.server_is_down() => {
                site.borrow().disk.stop_in(1 + self.coin.below(6) as u64);
            }
            _ => {}
        }
    }

    fn end_what_is_over(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let (over, ends) = std::mem::take(&mut self.ends)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.ends = ends;
        for (_, end) in over {
            match end {
                End::Repair(client) => sim.repair(client.as_str(), "server"),
                End::Release(client) => sim.release(client.as_str(), "server"),
                End::Bounce => sim.bounce("server"),
            }
        }
    }

    fn crash(&mut self, sim: &mut Sim<'_>, site: &RefCell<Site>, now: Duration) {
        site.borrow_mut().kill();
        sim.crash("server");
        if self.coin.one_in(3) {
            site.borrow().end_process();
        } else {
            site.borrow_mut().cut_power();
        }
        self.after(now, 20, 800, End::Bounce);
    }

    /// No more faults: what is broken is repaired, the power is cut a last time, and the server starts.
    fn settle(&mut self, sim: &mut Sim<'_>, site: &RefCell<Site>) {
        for (_, end) in std::mem::take(&mut self.ends) {
            match end {
                End::Repair(client) => sim.repair(client.as_str(), "server"),
                End::Release(client) => sim.release(client.as_str(), "server"),
                End::Bounce => {}
            }
        }
        site.borrow_mut().kill();
        sim.crash("server");
        site.borrow_mut().cut_power();
        sim.bounce("server");
    }
}

/// What a run came to.
#[derive(Debug, PartialEq)]
struct Run {
    trace: Vec<String>,
    /// The ledger: each entry's name, time and keys. Values hold proofs, and these hold signatures.
    entries: Vec<(String, i64, Vec<Vec<u8>>)>,
    attempts: usize,
    faults: usize,
}

/// One seed, from the first sale to the last check.
fn run(seed: u64) -> Run {
    let site = Rc::new(RefCell::new(Site::new(seed)));
    let serials: Vec<_> = (0..LICENSES)
        .map(|number| (format!("SIM-{number}"), SEATS))
        .collect();
    let outside = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let codes = outside.block_on(async {
        let running = site.borrow_mut().start().unwrap();
        running.stock(&serials).await
    });
    site.borrow_mut().kill();
    site.borrow().end_process();
    let stock = serials.iter().zip(codes).map(|((serial, _), code)| Stock {
        serial: serial.clone(),
        code,
    });
    let stock = Arc::new(stock.collect::<Vec<_>>());
    let shared = Arc::new(Mutex::new(Shared::default()));

    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(900))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(30))
        .build();
    let here = Rc::clone(&site);
    sim.host("server", move || serve(Rc::clone(&here)));
    for number in 0..CLIENTS {
        let (stock, shared) = (Arc::clone(&stock), Arc::clone(&shared));
        sim.client(format!("client{number}"), async move {
            let player = Player {
                number,
                coin: Coin::new(seed << 8 | number as u64),
                client: client(),
                stock,
                shared,
                answered: Vec::new(),
                held: Vec::new(),
            };
            player.play().await
        });
    }
    let mut faults = Faults::new(seed);
    loop {
        let done = sim
            .step()
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        if done {
            break;
        }
        let mut state = shared.lock().unwrap();
        if state.waiting == CLIENTS && !state.asking {
            state.asking = true;
            drop(state);
            faults.settle(&mut sim, &site);
        } else if !state.asking {
            drop(state);
            faults.step(&mut sim, &site);
        }
    }
    site.borrow_mut().kill();
    drop(sim);
    site.borrow().end_process();

    let running = site.borrow_mut().start().unwrap();
    let shared = shared.lock().unwrap();
    for (number, (serial, _)) in serials.iter().enumerate() {
        let taken = outside.block_on(running.seats_taken(serial)) as i64;
        let live = shared.live.get(&number).copied().unwrap_or(0);
        assert_eq!(taken, live, "seed {seed}: seats of {serial}");
    }
    let violations = verify_records(&running.deps).unwrap();
    assert!(violations.is_empty(), "seed {seed}: {violations:?}");
    let store = running.deps.store().clone();
    let effects = effects(&store);
    for (request, count) in &effects {
        assert_eq!(
            *count, 1,
            "seed {seed}: request {request} has {count} effects"
        );
    }
    for request in &shared.granted {
        assert!(
            effects.contains_key(request),
            "seed {seed}: {request} was granted and is lost"
        );
    }
    let entries = store.entries(1, usize::MAX).unwrap();
    let run = Run {
        trace: shared.trace.clone(),
        entries: entries
            .iter()
            .map(|entry| {
                let keys = entry.changes().iter().map(|change| change.key().to_vec());
                (entry.name().to_owned(), entry.at_unix_ms(), keys.collect())
            })
            .collect(),
        attempts: shared.attempts,
        faults: faults.count,
    };
    drop(running);
    site.borrow_mut().kill();
    run
}

/// How often each request id stands in the ledger with a grant.
fn effects(store: &upkeep_server::store::Store) -> BTreeMap<String, usize> {
    let mut effects = BTreeMap::new();
    for entry in store.entries(1, usize::MAX).unwrap() {
        // Byte 0 is the record format.
        let event = entry
            .event()
            .map(|event| <Event as prost::Message>::decode(&event[1..]).unwrap());
        if let Some(event) = event
            && event.outcome == "ok"
            && !event.request_id.is_empty()
        {
            *effects.entry(event.request_id).or_default() += 1;
        }
    }
    effects
}

#[test]
fn g6_retries_over_a_broken_network_have_one_effect() {
    let seeds = size("UPKEEP_G6_SEEDS", 60) as u64;
    let first = size("UPKEEP_G6_FIRST_SEED", 1) as u64;
    let (mut calls, mut faults, mut answers) = (0, 0, 0);
    for seed in first..first + seeds {
        let run = std::panic::catch_unwind(|| run(seed));
        let Ok(run) = run else {
            panic!(
                "seed {seed} failed: UPKEEP_G6_FIRST_SEED={seed} UPKEEP_G6_SEEDS=1 plays it again"
            );
        };
        calls += run.attempts;
        faults += run.faults;
        answers += run.trace.len();
    }
    println!(
        "G6: {seeds} seeds, {calls} calls, {answers} operations, {faults} faults, 0 duplicate effects, 0 lost"
    );
    assert!(faults as u64 > seeds, "there were faults: {faults}");
}

#[test]
fn g6_a_seed_gives_the_same_run_twice() {
    // Where others start servers, their children hold the locks of this process's files for a moment, and a run depends on when.
    if !alone("simulation::g6_a_seed_gives_the_same_run_twice") {
        return;
    }
    let (first, second) = (run(7), run(7));
    assert!(first.faults > 5, "there were faults: {}", first.faults);
    for (one, other) in first.trace.iter().zip(&second.trace) {
        assert_eq!(one, other, "the first difference");
    }
    for (one, other) in first.entries.iter().zip(&second.entries) {
        assert_eq!(one, other, "the first entry that differs");
    }
    assert_eq!(first, second);
    assert_ne!(first.trace, run(8).trace);
}
