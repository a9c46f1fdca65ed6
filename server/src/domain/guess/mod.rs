//! The guess limiter: how often wrong credentials may be tried (DESIGN 4).
//!
//! Failures are counted three times: per canonical serial number, so that ten spellings of a serial count as one; per network
//! (/24 in IPv4, /48 in IPv6); and for the whole server in a minute. It does not know whether a serial exists: unknown ones are
//! counted alike, so the limiter tells nobody which do. A network's failures are made up for by time, as many in an hour as are free:
//! many people share one, and some of them mistype. A serial's are so by its right secret alone, or by a day. Memory is bounded: the key that failed longest ago is forgotten first.
//!
//! Pure: time is a parameter. Flows keep one behind a lock, ask [`GuessLimiter::check`] right before they compare a credential
//! (after any queue, because tries that wait together are not counted against each other), and report what came of it.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::serial::SerialNumber;

use crate::domain::refusal::{Reason, Refusal};

pub(crate) use self::network::Network;
use self::tracked::Tracked;

mod network;
mod tracked;

/// How many failures are free, and how the waiting grows after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Failures without any wait.
    pub free: u32,
    /// The wait after the next one; each further failure doubles it.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after the last of `failures` failures.
    pub fn wait_after(&self, failures: u32) -> Duration {
        let Some(doublings) = failures
            .checked_sub(self.free)
            .and_then(|beyond| beyond.checked_sub(1))
        else {
            return Duration::ZERO;
        };
        2_u32
            .checked_pow(doublings)
            .and_then(|factor| self.first.checked_mul(factor))
            .map_or(self.longest, |wait| wait.min(self.longest))
    }
}

/// The numbers of a [`GuessLimiter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessLimits {
    /// Per serial number.
    pub serial: Backoff,
    /// Per network. As many as are free are made up for in an hour, one by one.
    pub network: Backoff,
    /// Failures of all callers in one minute. Against codes of 80 bits and more, 1,000 are nothing.
    pub global_per_minute: u32,
    /// A key without a failure for so long starts afresh.
    pub forget_after: Duration,
    /// The most serial numbers, and the most networks, that are remembered. With more than `global_per_minute` times the
    /// minutes of the longest wait, nobody can push a key out while it waits.
    pub tracked: usize,
}

/// How long a caller has to wait; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("too many wrong tries")]
pub struct RetryAfter(Duration);

impl RetryAfter {
    /// How long to wait.
    pub fn wait(self) -> Duration {
        self.0
    }
}

impl From<RetryAfter> for Refusal {
    fn from(retry: RetryAfter) -> Self {
        Self::new(Reason::TooManyTries).retry_after(retry.0)
    }
}

/// Counts wrong tries and says when the next one is allowed.
#[derive(Debug)]
pub struct GuessLimiter {
    limits: GuessLimits,
    time: Elapsed,
    serials: Tracked<SerialNumber>,
    networks: Tracked<Network>,
    minute: Minute,
}

impl GuessLimiter {
    /// A limiter that has seen nothing.
    pub fn new(limits: GuessLimits) -> Self {
        Self {
            limits,
            time: Elapsed::default(),
            serials: Tracked::new(limits.tracked, limits.forget_after),
            networks: Tracked::new(limits.tracked, limits.forget_after),
            minute: Minute::default(),
        }
    }

    /// Whether `serial` may be tried from `ip` now.
    ///
    /// # Errors
    /// [`RetryAfter`] with the longest of the waits of serial number, network and server; it doesn't say which.
    pub fn check(
        &mut self,
        now: DateTime<Utc>,
        serial: &SerialNumber,
        ip: IpAddr,
    ) -> Result<(), RetryAfter> {
        let now = self.time.at(now);
        let wait = self
            .serials
            .wait(now, serial, &self.limits.serial)
            .max(
                self.networks
                    .wait(now, &Network::of(ip), &self.limits.network),
            )
            .max(self.minute.wait(now, self.limits.global_per_minute));
        if wait.is_zero() {
            Ok(())
        } else {
            Err(RetryAfter(wait))
        }
    }

    /// Counts a wrong credential for `serial` from `ip`.
    pub fn fail(&mut self, now: DateTime<Utc>, serial: &SerialNumber, ip: IpAddr) {
        let now = self.time.at(now);
        self.serials.fail(now, serial, 0);
        self.networks.fail(now, &Network::of(ip), self.an_hour());
        self.minute.fail(now);
    }

    /// As [`check`](Self::check), for a call that names no serial number.
    ///
    /// # Errors
    /// [`RetryAfter`] with the longer of the waits of network and server.
    pub fn check_network(&mut self, now: DateTime<Utc>, ip: IpAddr) -> Result<(), RetryAfter> {
        let now = self.time.at(now);
        let wait = self
            .networks
            .wait(now, &Network::of(ip), &self.limits.network)
            .max(self.minute.wait(now, self.limits.global_per_minute));
        if wait.is_zero() {
            Ok(())
        } else {
            Err(RetryAfter(wait))
        }
    }

    /// Counts a failure from `ip` of a call that names no serial number.
    pub fn fail_network(&mut self, now: DateTime<Utc>, ip: IpAddr) {
        let now = self.time.at(now);
        self.networks.fail(now, &Network::of(ip), self.an_hour());
        self.minute.fail(now);
    }

    /// How many failures a network makes up for in an hour.
    fn an_hour(&self) -> u32 {
        self.limits.network.free
    }

    /// Forgets the failures of `serial`: its right credential was shown. The network's stay, or a caller with one license of
    /// its own could try all others for free.
    pub fn succeed(&mut self, serial: &SerialNumber) {
        self.serials.forget(serial);
    }

    /// How many serial numbers and networks are remembered.
    pub fn tracked(&self) -> (usize, usize) {
        (self.serials.len(), self.networks.len())
    }
}

/// Time that never runs back: a clock that is set back stands still here until it moves on again. Calls that overtake each other
/// by less than [`OVERTAKING`] do not set it back, or each of them would make it run faster.
#[derive(Debug, Default)]
struct Elapsed {
    last: Option<DateTime<Utc>>,
    total: Duration,
}

impl Elapsed {
    fn at(&mut self, now: DateTime<Utc>) -> Duration {
        let step = self
            .last
            .and_then(|last| now.signed_duration_since(last).to_std().ok());
        self.total = self.total.saturating_add(step.unwrap_or_default());
        let overtaken = self
            .last
            .is_some_and(|last| now < last && last.signed_duration_since(now) < OVERTAKING);
        if !overtaken {
            self.last = Some(now);
        }
        self.total
    }
}

/// The failures of the whole server in the minute that began at `began`, with its first failure.
#[derive(Debug, Default)]
struct Minute {
    began: Duration,
    failures: u32,
}

impl Minute {
    fn wait(&self, now: Duration, most: u32) -> Duration {
        if self.failures < most {
            Duration::ZERO
        } else {
            MINUTE.saturating_sub(now.saturating_sub(self.began))
        }
    }

    fn fail(&mut self, now: Duration) {
        if self.failures == 0 || now.saturating_sub(self.began) >= MINUTE {
            self.began = now;
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const OVERTAKING: TimeDelta = TimeDelta::minutes(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_overtake_each_other_make_no_time() {
        let noon = DateTime::UNIX_EPOCH;
        let mut elapsed = Elapsed::default();
        elapsed.at(noon + TimeDelta::seconds(60));
        for _ in 0..100 {
            elapsed.at(noon);
            elapsed.at(noon + TimeDelta::seconds(60));
        }
        assert_eq!(elapsed.total, Duration::ZERO);
        // A clock that is really set back goes on from there.
        elapsed.at(noon - TimeDelta::hours(1));
        elapsed.at(noon - TimeDelta::hours(1) + TimeDelta::seconds(7));
        assert_eq!(elapsed.total, Duration::from_secs(7));
    }
}
