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
    failures: u32,
    failed_at: Duration,
    turn: u64,
}

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

    pub(super) fn fail(&mut self, now: Duration, key: &K) {
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
        let failures = before.map_or(0, |entry| entry.failures).saturating_add(1);
        let entry = Entry {
            failures,
            failed_at: now,
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
