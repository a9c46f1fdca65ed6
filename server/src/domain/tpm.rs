//! What is remembered of a TPM, and how its next statement is judged: nothing in it may go back.
//!
//! A chip's counters and clock only go forward. A virtual TPM whose state file was restored goes back, and its dead keys are
//! alive again; so going back is what is looked for. The evidence itself is verified before.

use chrono::{DateTime, Utc};
use upkeep::artefact::{Counter, TpmName};
use upkeep::id::DeviceId;

/// One TPM, by its endorsement key: whatever attestation key it speaks with, its counters and its clock are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTpm {
    pub(crate) ek_id: [u8; 32],
    /// The newest clock; none before the first statement and after a person has thawed it.
    pub(crate) clock: Option<Clock>,
    /// Why it counts for nothing.
    pub(crate) frozen: Option<String>,
    /// Goes up with every TPM2_Clear and with every thaw: clocks of two eras can't be compared.
    pub(crate) era: u32,
    /// Keys enrolled in an earlier era ended with a TPM2_Clear, which no key outlives; 0 where none has to be dead.
    pub(crate) dead_before: u32,
    /// The largest value of any of its counters: what is defined after TPM2_Clear starts above.
    pub(crate) largest: u64,
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
    /// The clock with the newest statement of this value, in the TPM's era `era`: the value after it is later.
    pub(crate) clock: Option<Clock>,
    pub(crate) era: u32,
    /// The enrollments that nobody has used yet, the oldest first. A later value ends them: their keys never sign again.
    pub(crate) unused: Vec<DeviceId>,
    /// Whether an activation ever hung on it.
    pub(crate) activated: bool,
}

/// A verified statement of a counter.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    pub(crate) counter: u64,
    pub(crate) reset_count: u32,
    pub(crate) millis: u64,
    /// When the challenge was made that it answers: it is not older than that. The earliest time where it answers none.
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
    /// Of a TPM of which nothing is known yet.
    pub(crate) fn new(ek_id: [u8; 32]) -> Self {
        Self {
            ek_id,
            clock: None,
            frozen: None,
            era: 0,
            dead_before: 0,
            largest: 0,
        }
    }

    /// Remembers a sound statement: the newest clock, or after TPM2_Clear the new one, which ends all keys of before.
    pub(crate) fn remember(&mut self, said: &Statement, judged: &Judgement) {
        self.largest = self.largest.max(said.counter);
        let newer = self.clock.is_none_or(|last| said.is_after(&last));
        if *judged == Judgement::Cleared {
            self.era = self.era.saturating_add(1);
            self.dead_before = self.era;
        } else if !newer {
            return;
        }
        self.clock = Some(said.clock());
    }

    /// Lets it go on: a person has found out why it went back. Its clock starts anew, and every key may live.
    ///
    /// Answers why it was frozen.
    pub(crate) fn thaw(&mut self) -> Option<String> {
        let why = self.frozen.take()?;
        self.clock = None;
        self.era = self.era.saturating_add(1);
        self.dead_before = 0;
        Some(why)
    }

    /// Judges that a key of `era` has signed: TPM2_Clear ends every key and every counter there was, so one that speaks after it says
    /// that the TPM only went back.
    ///
    /// * `asked_at` - when the challenge was made that it answers.
    pub(crate) fn judge_key(&self, era: u32, asked_at: DateTime<Utc>) -> Judgement {
        if era >= self.dead_before {
            return Judgement::Forward;
        }
        if self.clock.is_some_and(|last| last.seen_at > asked_at) {
            return Judgement::OutOfDate;
        }
        Judgement::Back(
            "a key spoke that was made before a TPM2_Clear, which would have ended it".into(),
        )
    }
}

impl KnownCounter {
    /// A counter that stands at a value for the first time.
    pub(crate) fn new(ek_id: [u8; 32], shown: Counter, now: DateTime<Utc>) -> Self {
        Self {
            ek_id,
            name: shown.name,
            value: shown.value,
            seen_at: now,
            clock: None,
            era: 0,
            unused: Vec::new(),
            activated: false,
        }
    }

    /// Whether anything hangs on it: of a counter that nobody ever used, nobody gains by going back.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        self.activated || !self.unused.is_empty()
    }

    /// Remembers a sound statement of this counter in the TPM's present era.
    pub(crate) fn remember(&mut self, said: &Statement, era: u32) {
        self.raise(said.counter, said.now);
        let last = self.clock.filter(|_| self.era == era);
        if said.counter == self.value && last.is_none_or(|last| said.is_after(&last)) {
            self.clock = Some(said.clock());
            self.era = era;
        }
    }

    /// Puts a larger value on record, seen at `now`.
    pub(crate) fn raise(&mut self, value: u64, now: DateTime<Utc>) {
        if value > self.value {
            self.value = value;
            self.seen_at = now;
        }
    }
}

impl Statement {
    /// Judges the statement of a new enrollment. The client increments a license's own counter before each, so it is beyond all that was
    /// seen. A clock that starts again while the counter goes on is TPM2_Clear.
    ///
    /// * `shared` - whether licenses share the counter: it may stand at the largest value too, where others work already. Then the clock
    ///   has gone on, because a counter that is defined again starts above every value that any
    ///   counter ever had.
    pub(crate) fn judge_enrollment(
        &self,
        tpm: &KnownTpm,
        known: Option<&KnownCounter>,
        shared: bool,
    ) -> Judgement {
        match known {
            Some(known) if shared && self.counter == known.value => self.judge_clock(tpm),
            Some(known) if self.counter <= known.value => self.behind(known.seen_at, || {
                format!(
                    "a new enrollment showed its counter at {}, and {} was seen before",
                    self.counter, known.value
                )
            }),
            _ => match tpm.clock {
                Some(last) if !self.is_after(&last) && last.seen_at <= self.asked_at => {
                    self.cleared(tpm, &last)
                }
                _ => Judgement::Forward,
            },
        }
    }

    /// Judges the statement of a proof of deactivation, whose counter is beyond the key's. It may have travelled for long, so
    /// the TPM's newest clock says something only where the proof answers a ticket; the counter's own clock was before, in any case.
    pub(crate) fn judge_proof(&self, tpm: &KnownTpm, known: &KnownCounter) -> Judgement {
        let before = known.clock.filter(|_| self.is_next(tpm, known));
        let asked = tpm.clock.filter(|last| last.seen_at <= self.asked_at);
        let later = before
            .into_iter()
            .chain(asked)
            .find(|last| !self.is_after(last));
        later.map_or(Judgement::Forward, |last| self.cleared(tpm, &last))
    }

    /// Whether this statement is certainly later than the counter's last: in the same era, and at a larger value.
    pub(crate) fn is_next(&self, tpm: &KnownTpm, known: &KnownCounter) -> bool {
        known.era == tpm.era && self.counter > known.value
    }

    /// A clock that starts again is TPM2_Clear where the counter starts above all that there ever were.
    fn cleared(&self, tpm: &KnownTpm, last: &Clock) -> Judgement {
        if self.counter > tpm.largest {
            Judgement::Cleared
        } else {
            Judgement::Back(self.clock_went_back(last))
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
            Some(last) => self.behind(last.seen_at, || self.clock_went_back(&last)),
        }
    }

    fn clock_went_back(&self, last: &Clock) -> String {
        format!(
            "its clock showed {} ms after reset {}, and {} ms after reset {} was seen before",
            self.millis, self.reset_count, last.millis, last.reset_count
        )
    }

    fn clock(&self) -> Clock {
        Clock {
            reset_count: self.reset_count,
            millis: self.millis,
            seen_at: self.now,
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

    const OWN: bool = false;
    const SHARED: bool = true;

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
            largest: 11,
            ..KnownTpm::new([1; 32])
        };
        let counter = KnownCounter {
            ek_id: [1; 32],
            name: TpmName::from_bytes(&[&[0, 0x0b][..], &[2; 32]].concat()).expect("a name"),
            value: 11,
            seen_at: at(50),
            clock: Some(clock),
            era: 0,
            unused: Vec::new(),
            activated: true,
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
    fn a_new_enrollment_has_a_counter_that_nobody_saw() {
        let (tpm, counter) = known();
        let judged = says(12, 7, 3_786).judge_enrollment(&tpm, Some(&counter), OWN);
        assert_eq!(judged, Judgement::Forward);
        let cleared = says(12, 0, 5).judge_enrollment(&tpm, Some(&counter), OWN);
        assert_eq!(cleared, Judgement::Cleared);
        for back in [says(11, 7, 9_000), says(3, 8, 0)] {
            let judged = back.judge_enrollment(&tpm, Some(&counter), OWN);
            assert!(matches!(judged, Judgement::Back(_)), "{back:?}");
        }
    }

    #[test]
    fn a_clear_starts_every_counter_above_all_and_ends_every_key() {
        let (mut tpm, _) = known();
        tpm.largest = 20;
        for counter in [12, 20] {
            let judged = says(counter, 0, 5).judge_enrollment(&tpm, None, OWN);
            assert!(matches!(judged, Judgement::Back(_)), "{counter}");
        }
        let said = says(21, 0, 5);
        let judged = said.judge_enrollment(&tpm, None, OWN);
        assert_eq!(judged, Judgement::Cleared);
        assert_eq!(tpm.judge_key(0, at(100)), Judgement::Forward);
        tpm.remember(&said, &judged);
        assert_eq!((tpm.era, tpm.largest), (1, 21));
        assert_eq!(tpm.judge_key(1, at(200)), Judgement::Forward);
        assert_eq!(tpm.judge_key(0, at(100)), Judgement::OutOfDate);
        assert!(matches!(tpm.judge_key(0, at(101)), Judgement::Back(_)));
        tpm.frozen = Some("why".into());
        assert!(tpm.thaw().is_some());
        assert_eq!(tpm.judge_key(0, at(200)), Judgement::Forward);
        assert_eq!(tpm.thaw(), None);
    }

    /// A proof is carried by hand: others may have been heard since, and a TPM2_Clear may lie on either side of it.
    #[test]
    fn a_proof_is_judged_by_its_counter_and_its_ticket() {
        let (mut tpm, mut counter) = known();
        let bare = |counter, reset_count, millis| Statement {
            asked_at: DateTime::<Utc>::MIN_UTC,
            ..says(counter, reset_count, millis)
        };
        // Another license of the chip was heard later.
        tpm.clock = Some(Clock {
            millis: 9_000,
            seen_at: at(60),
            ..counter.clock.expect("set")
        });
        let late = bare(12, 7, 4_000);
        assert_eq!(late.judge_proof(&tpm, &counter), Judgement::Forward);
        // The ticket was made after that, so the proof was, too.
        tpm.largest = 30;
        let asked = says(12, 7, 4_000).judge_proof(&tpm, &counter);
        assert!(matches!(asked, Judgement::Back(_)));
        // The value before was seen at a later clock: a fork, or TPM2_Clear.
        let fork = bare(12, 7, 3_785).judge_proof(&tpm, &counter);
        assert!(matches!(fork, Judgement::Back(_)));
        let cleared = bare(31, 0, 5).judge_proof(&tpm, &counter);
        assert_eq!(cleared, Judgement::Cleared);
        // The TPM2_Clear is known: proofs of before it and of after it are both sound.
        tpm.era = 1;
        for sound in [bare(12, 7, 4_000), bare(31, 0, 5)] {
            assert_eq!(sound.judge_proof(&tpm, &counter), Judgement::Forward);
        }
        // What the counter has passed says nothing.
        tpm.era = 0;
        counter.value = 40;
        assert_eq!(
            bare(12, 7, 1).judge_proof(&tpm, &counter),
            Judgement::Forward
        );
    }

    #[test]
    fn a_counter_that_is_shared_stays_while_the_clock_goes_on() {
        let (mut tpm, counter) = known();
        for forward in [says(11, 7, 3_786), says(11, 8, 0)] {
            let judged = forward.judge_enrollment(&tpm, Some(&counter), SHARED);
            assert_eq!(judged, Judgement::Forward);
        }
        // A state that was restored; TPM2_Clear would have moved the counter on.
        for back in [says(11, 7, 3_785), says(11, 0, 5)] {
            let judged = back.judge_enrollment(&tpm, Some(&counter), SHARED);
            assert!(matches!(judged, Judgement::Back(_)), "{back:?}");
        }
        assert!(matches!(
            says(10, 7, 9_000).judge_enrollment(&tpm, Some(&counter), SHARED),
            Judgement::Back(_)
        ));
        let cleared = says(12, 0, 5).judge_enrollment(&tpm, Some(&counter), SHARED);
        assert_eq!(cleared, Judgement::Cleared);
        tpm.clock = None;
        let thawed = says(11, 0, 5).judge_enrollment(&tpm, Some(&counter), SHARED);
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
            late.judge_enrollment(&tpm, Some(&counter), OWN),
            Judgement::OutOfDate
        );
        tpm.clock.as_mut().expect("set").seen_at = at(101);
        assert_eq!(
            says(11, 7, 3_700).judge_heartbeat(&tpm, None),
            Judgement::OutOfDate
        );
        assert_eq!(
            says(11, 7, 3_700).judge_enrollment(&tpm, Some(&counter), SHARED),
            Judgement::OutOfDate
        );
    }
}
