//! The guess limiter: a table of waits, and its promises over random histories.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use upkeep_server::domain::guess::{Backoff, GuessLimiter, GuessLimits};
use upkeep_server::domain::refusal::{Reason, Refusal};

use crate::world::{instant, serial};

fn start() -> DateTime<Utc> {
    instant("2026-03-01T08:00:00Z")
}

fn after(secs: i64) -> DateTime<Utc> {
    start() + TimeDelta::seconds(secs)
}

fn limits() -> GuessLimits {
    let backoff = |free| Backoff {
        free,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(15 * 60),
    };
    GuessLimits {
        serial: backoff(5),
        network: backoff(30),
        global_per_minute: 1_000,
        forget_after: Duration::from_secs(24 * 60 * 60),
        tracked: 65_536,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_sixth_failure_of_a_serial_starts_the_waiting() {
    let backoff = limits().serial;
    for (failures, secs) in [
        (0, 0),
        (5, 0),
        (6, 1),
        (7, 2),
        (8, 4),
        (15, 512),
        (16, 900),
        (17, 900),
        (u32::MAX, 900),
    ] {
        assert_eq!(
            backoff.wait_after(failures),
            Duration::from_secs(secs),
            "after {failures}"
        );
    }
}

#[test]
fn net1_ten_spellings_of_a_serial_count_as_one() {
    let mut limiter = GuessLimiter::new(limits());
    for (n, spelling) in [
        "nsp-0042",
        "NSP-0042",
        " Nsp-0042 ",
        "nSP-0042\n",
        "NsP-0042",
        "nsP-0042",
    ]
    .into_iter()
    .enumerate()
    {
        // Each from another network, so that only the serial counts.
        limiter.fail(start(), &serial(spelling), ip(&format!("10.0.{n}.1")));
    }
    let refused = limiter.check(start(), &serial("NSP-0042"), ip("192.0.2.1"));
    assert_eq!(refused.map_err(|r| r.wait()), Err(Duration::from_secs(1)));
    assert_eq!(
        limiter.check(after(1), &serial("NSP-0042"), ip("192.0.2.1")),
        Ok(())
    );
}

#[test]
fn a_network_is_a_24_or_a_48() {
    for (attacker, same, other) in [
        ("198.51.100.7", "198.51.100.250", "198.51.101.7"),
        ("::ffff:198.51.100.7", "198.51.100.9", "198.51.99.9"),
        ("2001:db8:7:1::1", "2001:db8:7:ffff::9", "2001:db8:8::1"),
    ] {
        let mut limiter = GuessLimiter::new(limits());
        for n in 0..31 {
            limiter.fail(start(), &serial(&format!("SER-{n}")), ip(attacker));
        }
        let fresh = serial("SER-FRESH");
        assert!(limiter.check(start(), &fresh, ip(same)).is_err(), "{same}");
        assert_eq!(limiter.check(start(), &fresh, ip(other)), Ok(()), "{other}");
    }
}

#[test]
fn the_server_takes_a_thousand_failures_a_minute() {
    let mut limiter = GuessLimiter::new(limits());
    for n in 0..1_000_u32 {
        let network = format!("10.{}.{}.1", n / 250, n % 250);
        limiter.fail(after(10), &serial(&format!("SER-{n}")), ip(&network));
    }
    let (fresh, home) = (serial("SER-FRESH"), ip("192.0.2.1"));
    assert_eq!(
        limiter.check(after(30), &fresh, home).map_err(|r| r.wait()),
        Err(Duration::from_secs(40)),
        "the minute began with its first failure"
    );
    assert_eq!(limiter.check(after(70), &fresh, home), Ok(()));
}

#[test]
fn success_clears_the_serial_but_not_the_network() {
    let mut limiter = GuessLimiter::new(limits());
    let (mine, home) = (serial("SER-MINE"), ip("192.0.2.1"));
    for _ in 0..10 {
        limiter.fail(start(), &mine, home);
    }
    limiter.succeed(&mine);
    assert_eq!(limiter.check(start(), &mine, home), Ok(()));
    for _ in 0..21 {
        limiter.fail(start(), &mine, home);
        limiter.succeed(&mine);
    }
    assert!(
        limiter.check(start(), &serial("SER-OTHER"), home).is_err(),
        "one known credential must not buy tries at others"
    );
}

/// As many as are free come back in an hour: a busy network with a slip now and then never waits.
#[test]
fn time_makes_up_for_failures_of_a_network() {
    let mut limiter = GuessLimiter::new(limits());
    let home = ip("192.0.2.1");
    let slip = |limiter: &mut GuessLimiter, at| {
        let name = serial(&format!("SER-{at}"));
        assert_eq!(limiter.check(after(at), &name, home), Ok(()), "{at}");
        limiter.fail(after(at), &name, home);
    };
    for n in 0..300 {
        slip(&mut limiter, n * 130);
    }
    // All at once, no more than are free; and after that one in two minutes.
    let now = 300 * 130;
    for n in 0..30 {
        slip(&mut limiter, now + n);
    }
    let fresh = serial("SER-FRESH");
    limiter.fail(after(now + 30), &fresh, home);
    assert!(limiter.check(after(now + 30), &fresh, home).is_err());
    slip(&mut limiter, now + 300);
    assert_eq!(limiter.check(after(now + 300), &fresh, home), Ok(()));
}

#[test]
fn a_quiet_day_forgets() {
    let mut limiter = GuessLimiter::new(limits());
    let (mine, home) = (serial("SER-MINE"), ip("192.0.2.1"));
    for _ in 0..20 {
        limiter.fail(start(), &mine, home);
    }
    let next_day = after(24 * 60 * 60);
    limiter.fail(next_day, &mine, home);
    assert_eq!(
        limiter.check(next_day, &mine, home),
        Ok(()),
        "counted from one again"
    );
}

#[test]
fn the_refusal_says_when_and_not_why() {
    let mut limiter = GuessLimiter::new(limits());
    for _ in 0..8 {
        limiter.fail(start(), &serial("SER-1"), ip("192.0.2.1"));
    }
    let retry = limiter
        .check(start(), &serial("SER-1"), ip("192.0.2.1"))
        .expect_err("refused");
    let refusal = Refusal::from(retry);
    assert_eq!(refusal.reason, Reason::TooManyTries);
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(4)));
    assert_eq!((refusal.detail, refusal.metadata.len()), (None, 0));
}

#[test]
fn the_key_that_failed_longest_ago_is_forgotten_first() {
    let limits = GuessLimits {
        tracked: 2,
        ..limits()
    };
    let mut limiter = GuessLimiter::new(limits);
    let home = ip("192.0.2.1");
    for name in ["SER-A", "SER-B"] {
        for _ in 0..8 {
            limiter.fail(start(), &serial(name), home);
        }
    }
    limiter.fail(start(), &serial("SER-A"), home);
    limiter.fail(start(), &serial("SER-C"), home);
    assert!(limiter.check(start(), &serial("SER-A"), home).is_err());
    assert_eq!(limiter.check(start(), &serial("SER-B"), home), Ok(()));
}

#[derive(Clone, Debug)]
enum Op {
    Wait(u32),
    SetBack(u32),
    Try { serial: u8, network: u8 },
    Right { serial: u8 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0_u32..2_000).prop_map(Op::Wait),
        // Less than five minutes is a call that was overtaken, which makes no time at all: the limiter's own tests have that.
        1 => (300_u32..100_000).prop_map(Op::SetBack),
        12 => (0_u8..6, 0_u8..4).prop_map(|(serial, network)| Op::Try { serial, network }),
        1 => (0_u8..6).prop_map(|serial| Op::Right { serial }),
    ];
    prop::collection::vec(op, 0..300)
}

/// What the limiter promises, kept without bounds: what is left of each key's failures, when the last was, and since when one more is
/// being made up for; in seconds that never run back.
#[derive(Default)]
struct Model {
    serials: BTreeMap<u8, (u32, u64, u64)>,
    networks: BTreeMap<u8, (u32, u64, u64)>,
}

impl Model {
    fn wait(&self, limits: &GuessLimits, now: u64, serial: u8, network: u8) -> u64 {
        let of = |kept: Option<&(u32, u64, u64)>, backoff: u64, free: u32| match kept {
            Some((failures, at, _)) if now - at < limits.forget_after.as_secs() => {
                let beyond = failures.saturating_sub(free);
                let wait = if beyond == 0 {
                    0
                } else {
                    (1_u64 << (beyond - 1).min(20)).min(backoff)
                };
                (at + wait).saturating_sub(now)
            }
            _ => 0,
        };
        let serial = of(self.serials.get(&serial), 900, 5);
        serial.max(of(self.networks.get(&network), 900, 30))
    }

    fn fail(&mut self, limits: &GuessLimits, now: u64, serial: u8, network: u8) {
        let forget = limits.forget_after.as_secs();
        for (map, key, each) in [
            (&mut self.serials, serial, u64::MAX),
            (&mut self.networks, network, 3_600 / 30),
        ] {
            let (mut left, at, mut since) = map.get(&key).copied().unwrap_or((0, now, now));
            if now - at >= forget {
                left = 0;
            }
            while left > 0 && now - since >= each {
                left -= 1;
                since += each;
            }
            if left == 0 {
                since = now;
            }
            map.insert(key, (left + 1, now, since));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Without pressure on memory the limiter is the model, also when the clock is set back.
    #[test]
    fn the_limiter_is_the_model(ops in ops()) {
        let limits = GuessLimits { forget_after: Duration::from_secs(5_000), ..limits() };
        let (mut limiter, mut model) = (GuessLimiter::new(limits), Model::default());
        let (mut clock, mut elapsed) = (1_000_000_i64, 0_u64);
        limiter.fail(after(clock), &serial("FIRST"), ip("203.0.113.1"));
        for op in ops {
            match op {
                Op::Wait(secs) => {
                    clock += i64::from(secs);
                    elapsed += u64::from(secs);
                }
                Op::SetBack(secs) => {
                    clock -= i64::from(secs);
                }
                Op::Right { serial: s } => {
                    limiter.succeed(&serial(&format!("SER-{s}")));
                    model.serials.remove(&s);
                }
                Op::Try { serial: s, network: n } => {
                    let (name, from) = (serial(&format!("SER-{s}")), ip(&format!("10.0.{n}.9")));
                    let got = limiter.check(after(clock), &name, from).map_err(|r| r.wait().as_secs());
                    let wait = model.wait(&limits, elapsed, s, n);
                    prop_assert_eq!(got, if wait == 0 { Ok(()) } else { Err(wait) });
                    if wait == 0 {
                        limiter.fail(after(clock), &name, from);
                        model.fail(&limits, elapsed, s, n);
                    }
                }
            }
            // Moving the clock is seen at the next call only; see it now, as the model does.
            let _ = limiter.check(after(clock), &serial("SEEN"), ip("203.0.113.200"));
        }
    }

    /// Whatever happens, memory stays within the cap and no wait exceeds the longest.
    #[test]
    fn memory_and_waits_are_bounded(tries in prop::collection::vec((0_u32..500, 0_u8..60, -900_i64..900), 0..400)) {
        let limits = GuessLimits { tracked: 8, ..limits() };
        let mut limiter = GuessLimiter::new(limits);
        let mut clock = 0;
        for (s, n, step) in tries {
            clock += step;
            let (name, from) = (serial(&format!("SER-{s}")), ip(&format!("10.0.{n}.9")));
            if let Err(retry) = limiter.check(after(clock), &name, from) {
                prop_assert!(retry.wait() <= limits.serial.longest && !retry.wait().is_zero());
            }
            limiter.fail(after(clock), &name, from);
            let (serials, networks) = limiter.tracked();
            prop_assert!(serials <= 8 && networks <= 8);
        }
    }
}
