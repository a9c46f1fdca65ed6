//! Failures by key, in bounded memory.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Backoff;

/// Counts failures of at most `most` keys; the key that failed longest ago is forgotten first.
#[derive(Debug)]
pub(super) struct Tracked<K> {
    most: usize,
    forget_after: Duration,
    entries: BTreeMap<K, Entry>,
    by_turn: BTreeMap<u64, K>,
    next_turn: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Those that are not made up for.
    failures: u32,
    failed_at: Duration,
    /// Since when one more is being made up for.
    since: Duration,
    turn: u64,
}

impl Entry {
    /// What is left of its failures at `now` if so many are made up for in an hour, one by one, and since when one more is.
    fn left(&self, now: Duration, an_hour: u32) -> (u32, Duration) {
        let Some(each) = HOUR.checked_div(an_hour) else {
            return (self.failures, self.since);
        };
        let passed = now.saturating_sub(self.since).as_nanos();
        let made_up = passed.checked_div(each.as_nanos()).unwrap_or_default();
        match u32::try_from(made_up) {
            Ok(made_up) if made_up < self.failures => (
                self.failures.saturating_sub(made_up),
                self.since.saturating_add(each.saturating_mul(made_up)),
            ),
            _ => (0, now),
        }
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);

impl<K: Ord + Clone> Tracked<K> {
    pub(super) fn new(most: usize, forget_after: Duration) -> Self {
        Self {
            most: most.max(1),
            forget_after,
            entries: BTreeMap::new(),
            by_turn: BTreeMap::new(),
            next_turn: 0,
        }
    }

    /// How long `key` still has to wait; zero for none.
    pub(super) fn wait(&self, now: Duration, key: &K, backoff: &Backoff) -> Duration {
        let Some(entry) = self.entries.get(key) else {
            return Duration::ZERO;
        };
        let passed = now.saturating_sub(entry.failed_at);
        if passed >= self.forget_after {
            return Duration::ZERO;
        }
        backoff.wait_after(entry.failures).saturating_sub(passed)
    }

    /// * `an_hour` - so many of the earlier failures are made up for in an hour; 0 for none.
    pub(super) fn fail(&mut self, now: Duration, key: &K, an_hour: u32) {
        let before = self.forget(key).filter(|entry| {
            let passed = now.saturating_sub(entry.failed_at);
            passed < self.forget_after
        });
        while self.entries.len() >= self.most {
            let Some((_, oldest)) = self.by_turn.pop_first() else {
                break;
            };
            self.entries.remove(&oldest);
        }
        let turn = self.next_turn;
        self.next_turn = turn.saturating_add(1);
        let (failures, since) = before.map_or((0, now), |entry| entry.left(now, an_hour));
        let entry = Entry {
            failures: failures.saturating_add(1),
            failed_at: now,
            since,
            turn,
        };
        self.entries.insert(key.clone(), entry);
        self.by_turn.insert(turn, key.clone());
    }

    pub(super) fn forget(&mut self, key: &K) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.by_turn.remove(&entry.turn);
        Some(entry)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
