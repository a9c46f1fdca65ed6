//! What is remembered of a TPM, and how its next statement is judged: nothing in it may go back.
//!
//! A chip's counters and clock only go forward. A virtual TPM whose state file was restored goes back, and its dead keys are
//! alive again; so going back is what is looked for. The evidence itself is verified before.

use chrono::{DateTime, Utc};
use upkeep::artefact::TpmName;
use upkeep::id::DeviceId;

/// One TPM, by its endorsement key: whatever attestation key it speaks with, its counters and its clock are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTpm {
    pub(crate) ek_id: [u8; 32],
    /// The newest clock; none before the first statement and after a person has thawed it.
    pub(crate) clock: Option<Clock>,
    /// Why it counts for nothing.
    pub(crate) frozen: Option<String>,
}

/// A TPM's own time (TPMS_CLOCK_INFO) and when it was seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    pub(crate) reset_count: u32,
    /// Milliseconds that the TPM has been powered, TPM2_Clear apart.
    pub(crate) millis: u64,
    pub(crate) seen_at: DateTime<Utc>,
}

/// The largest value of one counter of a TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCounter {
    pub(crate) ek_id: [u8; 32],
    pub(crate) name: TpmName,
    pub(crate) value: u64,
    pub(crate) seen_at: DateTime<Utc>,
    /// The enrollments that nobody has used yet, the oldest first. A later value ends them: their keys never sign again.
    pub(crate) unused: Vec<DeviceId>,
}

/// A verified statement of a counter.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    pub(crate) counter: u64,
    pub(crate) reset_count: u32,
    pub(crate) millis: u64,
    /// When the challenge was made that it answers: it is not older than that.
    pub(crate) asked_at: DateTime<Utc>,
    pub(crate) now: DateTime<Utc>,
}

/// What a statement says beside what is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Everything went forward.
    Forward,
    /// The counter went on and the clock started again: TPM2_Clear.
    Cleared,
    /// Another statement of the same TPM came in while this one was on its way: it is out of date, and nothing is wrong.
    OutOfDate,
    /// The TPM went back.
    Back(String),
}

impl KnownTpm {
    /// Remembers the clock of a sound statement: the newest, or after TPM2_Clear the new one.
    pub(crate) fn remember(&mut self, said: &Statement, judged: &Judgement) {
        let newer = self.clock.is_none_or(|last| said.is_after(&last));
        if newer || *judged == Judgement::Cleared {
            self.clock = Some(Clock {
                reset_count: said.reset_count,
                millis: said.millis,
                seen_at: said.now,
            });
        }
    }
}

impl Statement {
    /// Judges the statement of a new enrollment. Its counter is beyond all that was seen, or, where several licenses share it, at the
    /// largest. A clock that starts again while the counter goes on is TPM2_Clear; it can't while the counter stays, because what is defined
    /// again starts above.
    pub(crate) fn judge_enrollment(
        &self,
        tpm: &KnownTpm,
        known: Option<&KnownCounter>,
    ) -> Judgement {
        match known {
            Some(known) if self.counter < known.value => self.behind(known.seen_at, || {
                format!(
                    "a new enrollment showed its counter at {}, and {} was seen before",
                    self.counter, known.value
                )
            }),
            Some(known) if self.counter == known.value => self.judge_clock(tpm),
            _ => match tpm.clock {
                Some(last) if !self.is_after(&last) && last.seen_at <= self.asked_at => {
                    Judgement::Cleared
                }
                _ => Judgement::Forward,
            },
        }
    }

    /// Judges the statement of a heartbeat: no counter below the largest, and the clock after the last.
    pub(crate) fn judge_heartbeat(
        &self,
        tpm: &KnownTpm,
        known: Option<&KnownCounter>,
    ) -> Judgement {
        if let Some(known) = known.filter(|known| self.counter < known.value) {
            return self.behind(known.seen_at, || {
                format!(
                    "its counter showed {}, and {} was seen before",
                    self.counter, known.value
                )
            });
        }
        self.judge_clock(tpm)
    }

    /// Judges the clock of a statement whose counter did not go on: nothing excuses one that went back.
    fn judge_clock(&self, tpm: &KnownTpm) -> Judgement {
        match tpm.clock.filter(|last| !self.is_after(last)) {
            None => Judgement::Forward,
            Some(last) => self.behind(last.seen_at, || {
                format!(
                    "its clock showed {} ms after reset {}, and {} ms after reset {} was seen before",
                    self.millis, self.reset_count, last.millis, last.reset_count
                )
            }),
        }
    }

    fn is_after(&self, last: &Clock) -> bool {
        (self.reset_count, self.millis) > (last.reset_count, last.millis)
    }

    /// Statements travel: one that was asked for before the newer one arrived may honestly arrive behind it.
    fn behind(&self, newer_seen_at: DateTime<Utc>, why: impl FnOnce() -> String) -> Judgement {
        if newer_seen_at > self.asked_at {
            return Judgement::OutOfDate;
        }
        Judgement::Back(why())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("in range")
    }

    fn says(counter: u64, reset_count: u32, millis: u64) -> Statement {
        Statement {
            counter,
            reset_count,
            millis,
            asked_at: at(100),
            now: at(101),
        }
    }

    fn known() -> (KnownTpm, KnownCounter) {
        let clock = Clock {
            reset_count: 7,
            millis: 3_785,
            seen_at: at(50),
        };
        let tpm = KnownTpm {
            ek_id: [1; 32],
            clock: Some(clock),
            frozen: None,
        };
        let counter = KnownCounter {
            ek_id: [1; 32],
            name: TpmName::from_bytes(&[&[0, 0x0b][..], &[2; 32]].concat()).expect("a name"),
            value: 11,
            seen_at: at(50),
            unused: Vec::new(),
        };
        (tpm, counter)
    }

    #[test]
    fn a_heartbeat_never_goes_back() {
        let (tpm, counter) = known();
        for forward in [says(11, 7, 3_786), says(12, 8, 1), says(11, 8, 0)] {
            let judged = forward.judge_heartbeat(&tpm, Some(&counter));
            assert_eq!(judged, Judgement::Forward);
        }
        for back in [
            says(10, 7, 4_000),
            says(11, 7, 3_785),
            says(11, 7, 3_782),
            says(12, 6, 9_000),
        ] {
            let judged = back.judge_heartbeat(&tpm, Some(&counter));
            assert!(matches!(judged, Judgement::Back(_)), "{back:?}");
        }
    }

    #[test]
    fn a_new_enrollment_has_a_counter_that_is_not_below_what_was_seen() {
        let (tpm, counter) = known();
        let judged = says(12, 7, 3_786).judge_enrollment(&tpm, Some(&counter));
        assert_eq!(judged, Judgement::Forward);
        let cleared = says(12, 0, 5).judge_enrollment(&tpm, Some(&counter));
        assert_eq!(cleared, Judgement::Cleared);
        for back in [says(10, 7, 9_000), says(3, 8, 0)] {
            let judged = back.judge_enrollment(&tpm, Some(&counter));
            assert!(matches!(judged, Judgement::Back(_)), "{back:?}");
        }
    }

    #[test]
    fn a_counter_that_is_shared_stays_while_the_clock_goes_on() {
        let (mut tpm, counter) = known();
        for forward in [says(11, 7, 3_786), says(11, 8, 0)] {
            let judged = forward.judge_enrollment(&tpm, Some(&counter));
            assert_eq!(judged, Judgement::Forward);
        }
        // A state that was restored; TPM2_Clear would have moved the counter on.
        for back in [says(11, 7, 3_785), says(11, 0, 5)] {
            let judged = back.judge_enrollment(&tpm, Some(&counter));
            assert!(matches!(judged, Judgement::Back(_)), "{back:?}");
        }
        tpm.clock = None;
        let thawed = says(11, 0, 5).judge_enrollment(&tpm, Some(&counter));
        assert_eq!(thawed, Judgement::Forward);
    }

    #[test]
    fn what_was_overtaken_on_its_way_is_out_of_date_and_no_rollback() {
        let (mut tpm, mut counter) = known();
        counter.seen_at = at(101);
        let late = says(10, 7, 4_000);
        assert_eq!(
            late.judge_heartbeat(&tpm, Some(&counter)),
            Judgement::OutOfDate
        );
        assert_eq!(
            late.judge_enrollment(&tpm, Some(&counter)),
            Judgement::OutOfDate
        );
        tpm.clock.as_mut().expect("set").seen_at = at(101);
        assert_eq!(
            says(11, 7, 3_700).judge_heartbeat(&tpm, None),
            Judgement::OutOfDate
        );
        assert_eq!(
            says(11, 7, 3_700).judge_enrollment(&tpm, Some(&counter)),
            Judgement::OutOfDate
        );
    }
}
