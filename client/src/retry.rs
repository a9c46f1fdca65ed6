//! When a call is sent again: only where the server was unavailable or the connection broke, with growing pauses, and never
//! against the server's word (gRFC A6, AIP-194). tonic has none of this.

use std::time::Duration;

use tonic::Status;
use tonic_types::StatusExt;

use crate::random;

/// How often and how fast a call is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    max_attempts: u32,
    first_pause: Duration,
    longest_pause: Duration,
}

impl RetryPolicy {
    /// At most `max_attempts` (1 to 5) with pauses that start near `first_pause` and double.
    pub fn new(max_attempts: u32, first_pause: Duration) -> Self {
        Self {
            max_attempts: max_attempts.clamp(1, MAX_ATTEMPTS),
            first_pause,
            longest_pause: LONGEST_PAUSE,
        }
    }

    /// The pause before the next attempt, or `None` when there shall be none.
    ///
    /// * `attempt` - how many attempts have failed, from 1.
    pub(crate) fn pause(&self, attempt: u32, asked: Asked) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1))?;
        let pause = self
            .first_pause
            .saturating_mul(doubled)
            .min(self.longest_pause);
        match asked {
            Asked::Nothing => Some(jitter(pause)),
            Asked::Wait(wait) if wait <= LONGEST_ASKED => Some(spread(wait).max(jitter(pause))),
            Asked::Wait(_) | Asked::Stop => None,
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new(MAX_ATTEMPTS, FIRST_PAUSE)
    }
}

/// What a failed attempt's answer says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing: the client's own pause.
    Nothing,
    /// To wait at least so long (RetryInfo, or `grpc-retry-pushback-ms`).
    Wait(Duration),
    /// Not to come back (a negative or unreadable `grpc-retry-pushback-ms`).
    Stop,
}

impl Asked {
    /// Reads RetryInfo and the pushback of a status; the pushback wins.
    pub(crate) fn by(status: &Status) -> Self {
        if let Some(pushback) = status.metadata().get(PUSHBACK) {
            let millis = pushback.to_str().ok().and_then(|text| text.parse().ok());
            return millis.map_or(Self::Stop, |millis| {
                Self::Wait(Duration::from_millis(millis))
            });
        }
        status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
            .map_or(Self::Nothing, Self::Wait)
    }

    /// The time to wait, where one was named.
    pub(crate) fn wait(self) -> Option<Duration> {
        match self {
            Self::Wait(wait) => Some(wait),
            Self::Nothing | Self::Stop => None,
        }
    }
}

/// A pause between 80 % and 120 %, so that clients that fell together do not come back together.
fn jitter(pause: Duration) -> Duration {
    let random = random::bytes().map_or(128, |[byte]: [u8; 1]| u32::from(byte));
    pause
        .saturating_mul(random.saturating_mul(400) / 255 + 800)
        .checked_div(1000)
        .unwrap_or(pause)
}

/// Never less than was asked for, and up to half as much again: a server that refused many at once named the same wait to all.
fn spread(wait: Duration) -> Duration {
    let random = random::bytes().map_or(128, |[byte]: [u8; 1]| u32::from(byte));
    wait.saturating_add(wait.saturating_mul(random) / 510)
}

const PUSHBACK: &str = "grpc-retry-pushback-ms";
const MAX_ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longer pauses are the caller's decision: the error then carries the time to wait.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn pauses_double_within_jitter_and_end() {
        let policy = RetryPolicy::default();
        for (attempt, middle) in [(1, 200), (2, 400), (3, 800), (4, 1600)] {
            let pause = policy.pause(attempt, Asked::Nothing).expect("again");
            let millis = u64::try_from(pause.as_millis()).expect("short");
            assert!(
                (middle * 8 / 10..=middle * 12 / 10).contains(&millis),
                "{attempt}: {millis}"
            );
        }
        assert_eq!(policy.pause(5, Asked::Nothing), None);
        assert_eq!(
            RetryPolicy::new(99, FIRST_PAUSE).pause(5, Asked::Nothing),
            None
        );
        assert_eq!(
            RetryPolicy::new(0, FIRST_PAUSE).pause(1, Asked::Nothing),
            None
        );
    }

    #[test]
    fn the_server_has_the_last_word() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.pause(1, Asked::Stop), None);
        assert_eq!(policy.pause(1, Asked::Wait(Duration::from_secs(31))), None);
        let asked = Duration::from_secs(7);
        let pauses: std::collections::BTreeSet<_> = (0..64)
            .map(|_| policy.pause(1, Asked::Wait(asked)).expect("again"))
            .collect();
        assert!(
            pauses
                .iter()
                .all(|pause| (asked..=asked * 3 / 2).contains(pause))
        );
        assert!(pauses.len() > 8, "not all at the same moment: {pauses:?}");
    }

    #[test]
    fn both_ways_of_asking_are_read() {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let mut status = Status::with_error_details(Code::Unavailable, "busy", details);
        assert_eq!(Asked::by(&status), Asked::Wait(Duration::from_millis(1500)));
        for (text, asked) in [
            ("250", Asked::Wait(Duration::from_millis(250))),
            ("-1", Asked::Stop),
            ("soon", Asked::Stop),
        ] {
            status
                .metadata_mut()
                .insert(PUSHBACK, text.parse().expect("ascii"));
            assert_eq!(Asked::by(&status), asked);
        }
        assert_eq!(Asked::by(&Status::unavailable("")), Asked::Nothing);
    }
}
