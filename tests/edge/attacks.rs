//! Attacks on TLS and HTTP/2 over the wire, each by many connections at once, with an honest client beside them: it goes on, memory
//! stays, and nothing is left of them (SECURITY F2, F3, G14).
//!
//! Attackers answer no ping, read nothing and come back when they are cut; the honest client is at another address, whose share of
//! calls is its own. Memory is that of a whole process, attackers included, which only makes the bound tighter; so each attack has a
//! process of its own, where no other test grows. Deadlines are short, so that a test can wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::{Code, Request};
use upkeep_server::listener::Limits;

use crate::alone::alone;
use crate::frames::{self, CONTINUATION, DATA, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE};
use crate::probe::ask;
use crate::world::{Running, World, handshake, patient};

/// What an attacker writes when it has connected, and then again and again.
struct Attack {
    /// Of the test.
    name: &'static str,
    tls: bool,
    opening: Vec<u8>,
    /// The n-th repetition.
    again: fn(u32) -> Vec<u8>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g14_rapid_reset() {
    // CVE-2023-44487.
    survives(Attack {
        name: "g14_rapid_reset",
        tls: true,
        opening: frames::opening(),
        again: |n| {
            let stream = 2 * n + 1;
            let reset = frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [frames::call(stream, HANG), reset].concat()
        },
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g14_made_you_reset() {
    // CVE-2025-8671.
    survives(Attack {
        name: "g14_made_you_reset",
        tls: true,
        opening: frames::opening(),
        again: |n| {
            let stream = 2 * n + 1;
            let most = 0x7fff_ffff_u32.to_be_bytes();
            let overflow = frames::frame(WINDOW_UPDATE, 0, stream, &most);
            [frames::call(stream, HANG), overflow].concat()
        },
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g14_continuation_flood() {
    // CVE-2024-27316 and its kin: a header block that never ends.
    survives(Attack {
        name: "g14_continuation_flood",
        tls: true,
        opening: [frames::opening(), frames::unfinished_call(1, HANG)].concat(),
        again: |_| {
            // A literal field without indexing, small each and never the last.
            let field = [&[0, 3][..], b"x-a", &[100], &[b'a'; 100]].concat();
            frames::frame(CONTINUATION, 0, 1, &field)
        },
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g14_settings_flood() {
    // CVE-2019-9515.
    survives(Attack {
        name: "g14_settings_flood",
        tls: true,
        opening: frames::opening(),
        again: |n| frames::frame(SETTINGS, 0, 0, &[&[0, 4][..], &n.to_be_bytes()].concat()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g14_ping_flood() {
    // CVE-2019-9512.
    survives(Attack {
        name: "g14_ping_flood",
        tls: true,
        opening: frames::opening(),
        again: |n| frames::frame(PING, 0, 0, &u64::from(n).to_be_bytes()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g14_half_open_handshakes() {
    survives(Attack {
        name: "g14_half_open_handshakes",
        tls: false,
        // A record of 512 bytes is announced, and comes a byte at a time.
        opening: vec![0x16, 3, 1, 2, 0, 1],
        again: |_| vec![0],
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g14_tls_without_a_preface() {
    survives(Attack {
        name: "g14_tls_without_a_preface",
        tls: true,
        opening: frames::PREFACE[..8].to_vec(),
        again: |_| Vec::new(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g14_endless_data_stalled_windows_and_huge_headers() {
    // The peer takes no answers (a window of 0), opens calls with 8 KiB of headers, and sends bodies that nobody asked for.
    let no_window = frames::frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    survives(Attack {
        name: "g14_endless_data_stalled_windows_and_huge_headers",
        tls: true,
        opening: [frames::PREFACE.to_vec(), no_window].concat(),
        again: |n| {
            let stream = 2 * n + 1;
            let long = "a".repeat(120);
            let names: Vec<String> = (0..64).map(|n| format!("x-{n}")).collect();
            let more: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*long)).collect();
            let data = frames::frame(DATA, 0, stream, &[0; 8_192]);
            [frames::call_with(stream, HANG, &more), data].concat()
        },
    })
    .await;
}

/// Runs `attack` for a while in a process of its own, and asserts what is promised.
async fn survives(attack: Attack) {
    if !alone(&format!("attacks::{}", attack.name)) {
        return;
    }
    let world = World::new();
    let running = Arc::new(world.products(short()).await);
    let tls = world.tls(None);
    honest(&running, &tls).await;
    let alone = honest(&running, &tls).await;
    let before = resident_mib();

    let attack = Arc::new(attack);
    let stop = Arc::new(AtomicBool::new(false));
    let waves = Arc::new(AtomicUsize::new(0));
    let written = Arc::new(AtomicUsize::new(0));
    let mut attackers = JoinSet::new();
    for _ in 0..ATTACKERS {
        let attacker = Attacker {
            running: Arc::clone(&running),
            tls: Arc::new(tls.clone()),
            attack: Arc::clone(&attack),
            stop: Arc::clone(&stop),
            waves: Arc::clone(&waves),
            written: Arc::clone(&written),
        };
        attackers.spawn(attacker.run());
    }
    let under = honest(&running, &tls).await;
    let grown = resident_mib() - before;
    stop.store(true, Ordering::Relaxed);
    // Whoever is still connected does nothing more, and does not leave: the server has to end it.
    let ended = Instant::now();
    patient(async {
        while let Some(attacker) = attackers.join_next().await {
            attacker.unwrap();
        }
    })
    .await;
    eprintln!(
        "honest calls alone {alone}, under attack {under}; {} connections, {} KiB; RSS {grown:+.1} MiB; all gone after {:?}",
        waves.load(Ordering::Relaxed),
        written.load(Ordering::Relaxed) / 1024,
        ended.elapsed()
    );
    assert!(under * 10 >= alone * 8, "{under} of {alone} honest calls");
    assert!(grown <= 64.0, "memory grew by {grown:.0} MiB");
    assert!(waves.load(Ordering::Relaxed) >= ATTACKERS, "it attacked");
    running.assert_alive(tls).await;
}

/// Asks 50 times a second for two seconds; how many were answered within two more, a client's usual deadline. Says how the first other one ended.
async fn honest(running: &Running, tls: &ClientConfig) -> usize {
    let channel = patient(running.channel_from([127, 0, 0, 2], tls.clone()))
        .await
        .unwrap();
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..100 {
        ticks.tick().await;
        let channel = channel.clone();
        calls.spawn(async move {
            let answer = ask(&channel, "Peer", Request::new(()));
            tokio::time::timeout(Duration::from_secs(2), answer).await
        });
    }
    let answers = calls.join_all().await;
    let good = |answer: &Result<tonic::Status, _>| {
        answer
            .as_ref()
            .is_ok_and(|status| status.code() == Code::AlreadyExists)
    };
    if let Some(other) = answers.iter().find(|answer| !good(answer)) {
        eprintln!("an honest call ended with {other:?}");
    }
    answers.iter().filter(|answer| good(answer)).count()
}

struct Attacker {
    running: Arc<Running>,
    tls: Arc<ClientConfig>,
    attack: Arc<Attack>,
    stop: Arc<AtomicBool>,
    waves: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
}

impl Attacker {
    /// Attacks until told to stop, each time it is cut on a new connection; the last one it leaves to the server.
    async fn run(self) {
        // A debug build takes a millisecond for a call: the attack is one that such a build can answer on two cores.
        let mut waves = tokio::time::interval(WAVE_EVERY);
        while !self.stop.load(Ordering::Relaxed) {
            waves.tick().await;
            let Ok(tcp) = TcpStream::connect(self.running.address).await else {
                continue;
            };
            self.waves.fetch_add(1, Ordering::Relaxed);
            if self.attack.tls {
                if let Ok(stream) = handshake(tcp, Arc::clone(&self.tls)).await {
                    self.wave(stream).await;
                }
            } else {
                self.wave(tcp).await;
            }
        }
    }

    async fn wave(&self, mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
        let mut bytes = self.attack.opening.clone();
        let mut n = 0;
        while !self.stop.load(Ordering::Relaxed) {
            // Nothing is read, so a write may wait for ever: that is part of the attack.
            let writing = async {
                stream.write_all(&bytes).await?;
                stream.flush().await
            };
            match tokio::time::timeout(Duration::from_millis(200), writing).await {
                Ok(Ok(())) => {
                    self.written.fetch_add(bytes.len(), Ordering::Relaxed);
                }
                Ok(Err(_)) => return,
                Err(_) => {}
            }
            bytes = (self.attack.again)(n);
            n += 1;
            if n.is_multiple_of(32) || bytes.len() < 32 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        // Gone when the server says so.
        let mut rest = vec![0; 16_384];
        while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    }
}

fn short() -> Limits {
    let soon = Duration::from_millis(500);
    Limits {
        handshake: soon,
        first_bytes: soon,
        keepalive_interval: soon,
        keepalive_timeout: soon,
        ..Limits::default()
    }
}

/// Source: proc(5), `/proc/self/statm`, pages of 4 KiB.
fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages / 256.0
}

const HANG: &str = "/test.Probe/Hang";
const ATTACKERS: usize = 4;
const WAVE_EVERY: Duration = Duration::from_secs(1);
