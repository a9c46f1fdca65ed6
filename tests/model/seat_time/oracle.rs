//! What was issued for one license, and how much of it is in force. It knows no seats that cool: only certificates.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::artefact::ActivationCertificate;

use super::{LEASE_DAYS, MOST_BEHIND};

/// Every certificate of one license.
pub(super) struct Oracle {
    seats: usize,
    overlap: bool,
    /// By device: when the last of its certificates ends, in seconds; the end of time for one without an end.
    ends: BTreeMap<String, u64>,
    /// By activation: its device, until the activation has ended.
    live: BTreeMap<String, String>,
    ended: BTreeSet<String>,
    /// Until when one more than the seats may be in force.
    one_more_until: DateTime<Utc>,
    most: usize,
}

impl Oracle {
    pub(super) fn new(seats: u32, overlap: bool) -> Self {
        Self {
            seats: seats as usize,
            overlap,
            ends: BTreeMap::new(),
            live: BTreeMap::new(),
            ended: BTreeSet::new(),
            one_more_until: DateTime::UNIX_EPOCH,
            most: 0,
        }
    }

    pub(super) fn issued(&mut self, said: &ActivationCertificate) {
        let device = said.cnf.jkt.to_string();
        let end = self.ends.entry(device.clone()).or_default();
        *end = (*end).max(said.exp.unwrap_or(u64::MAX));
        let id = said.activation_id.to_string();
        if !self.ended.contains(&id) {
            self.live.insert(id, device);
        }
    }

    pub(super) fn ended(&mut self, activation: &str) {
        self.live.remove(activation);
        self.ended.insert(activation.to_owned());
    }

    /// Where there is an overlap, the old machine may run beside the new one, and on to the end of its lease. The server's day may
    /// be as late as its clock.
    pub(super) fn begun(&mut self, now: DateTime<Utc>) {
        if self.overlap {
            let until = now + TimeDelta::days(5 + 1 + LEASE_DAYS) + MOST_BEHIND;
            self.one_more_until = self.one_more_until.max(until);
        }
    }

    /// I2.
    pub(super) fn check(&mut self, now: DateTime<Utc>) {
        let count = self.in_force(now).count();
        self.most = self.most.max(count);
        let allowed = self.seats + usize::from(now < self.one_more_until);
        assert!(
            count <= allowed,
            "I2: {count} certificates in force on {allowed} seats at {now}: {:?}",
            self.ends
        );
    }

    /// As many others as there are seats hold one or may run on.
    pub(super) fn check_refusal(&self, device: &str, now: DateTime<Utc>) {
        let live = self.live.values().map(String::as_str);
        let held: BTreeSet<&str> = live.chain(self.in_force(now)).collect();
        let others = held.iter().filter(|held| **held != device).count();
        assert!(others >= self.seats, "NO_SEAT, and only {others} are held");
    }

    pub(super) fn in_force(&self, now: DateTime<Utc>) -> impl Iterator<Item = &str> {
        let now = u64::try_from(now.timestamp()).unwrap();
        let running = self.ends.iter().filter(move |(_, end)| **end > now);
        running.map(|(device, _)| device.as_str())
    }

    /// The most that were in force at once.
    pub(super) fn most(&self) -> usize {
        self.most
    }
}

/// What happened in all histories, to know that they show anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Histories in which every seat was used at once.
    pub(super) full: u32,
    pub(super) refused: u32,
    pub(super) returns: u32,
    pub(super) renewals: u32,
    pub(super) upgrades: u32,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.full += other.full;
        self.refused += other.refused;
        self.returns += other.returns;
        self.renewals += other.renewals;
        self.upgrades += other.upgrades;
    }
}
