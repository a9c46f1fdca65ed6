//! What was issued for one license, and how much of it is in force. It knows no seats that cool: only certificates.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::artefact::ActivationCertificate;
use upkeep::level::AssuranceLevel;

use super::{LEASE_DAYS, MOST_BEHIND};

/// Every certificate of one license.
pub(super) struct Oracle {
    seats: usize,
    overlap: bool,
    /// By device: when the last of its certificates ends, in seconds; the end of time for one without an end.
    ends: BTreeMap<String, u64>,
    /// Devices whose certificates end with the key in their chip.
    chips: BTreeSet<String>,
    /// Those of them whose key has ended, as the server has accepted.
    proven: BTreeSet<String>,
    /// Chips that the vendor gave up without a proof: a decision against the promise.
    waived: BTreeSet<String>,
    /// By activation: its device.
    devices: BTreeMap<String, String>,
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
            chips: BTreeSet::new(),
            proven: BTreeSet::new(),
            waived: BTreeSet::new(),
            devices: BTreeMap::new(),
            ended: BTreeSet::new(),
            one_more_until: DateTime::UNIX_EPOCH,
            most: 0,
        }
    }

    pub(super) fn issued(&mut self, said: &ActivationCertificate) {
        let device = said.cnf.jkt.to_string();
        let end = self.ends.entry(device.clone()).or_default();
        *end = (*end).max(said.exp.unwrap_or(u64::MAX));
        if said.assurance == AssuranceLevel::Hardware {
            assert!(said.counter.is_some() && said.exp.is_none(), "{said:?}");
            self.chips.insert(device.clone());
        }
        self.devices.insert(said.activation_id.to_string(), device);
    }

    /// The server has accepted a proof.
    pub(super) fn returned(&mut self, activation: &str) {
        self.ended.insert(activation.to_owned());
        self.proven.extend(self.devices.get(activation).cloned());
    }

    /// The vendor has decided.
    pub(super) fn given_up(&mut self, activation: &str) {
        self.ended.insert(activation.to_owned());
        let device = self.devices.get(activation);
        self.waived.extend(
            device
                .filter(|device| self.chips.contains(*device))
                .cloned(),
        );
    }

    /// The enrollment of a new key has proved that an older one of its chip is dead.
    pub(super) fn superseded(&mut self, device: &str) {
        self.proven.insert(device.to_owned());
        let of = self.devices.iter().filter(|(_, whose)| *whose == device);
        let ids: Vec<_> = of.map(|(id, _)| id.clone()).collect();
        self.ended.extend(ids);
    }

    /// Where there is an overlap, the old machine may run beside the new one, and on to the end of its lease. The server's day may
    /// be as late as its clock.
    pub(super) fn begun(&mut self, now: DateTime<Utc>) {
        if self.overlap {
            let until = now + TimeDelta::days(5 + 1 + LEASE_DAYS) + MOST_BEHIND;
            self.one_more_until = self.one_more_until.max(until);
        }
    }

    /// I2. `alive` are the keys in chips that still sign.
    pub(super) fn check(&mut self, now: DateTime<Utc>, alive: &BTreeSet<String>) {
        let count = self.in_force(now, alive).len();
        self.most = self.most.max(count);
        let allowed = self.seats + usize::from(now < self.one_more_until);
        assert!(
            count <= allowed,
            "I2: {count} certificates in force on {allowed} seats at {now}: {:?}",
            self.in_force(now, alive)
        );
    }

    /// As many others as there are seats hold one or may run on.
    pub(super) fn check_refusal(&self, own: &[String], now: DateTime<Utc>) {
        let open = self
            .devices
            .iter()
            .filter(|(id, _)| !self.ended.contains(*id));
        let mut held: BTreeSet<&str> = open.map(|(_, device)| device.as_str()).collect();
        held.extend(self.in_force(now, &BTreeSet::new()));
        let is_own = |device: &str| own.iter().any(|own| own == device);
        let others = held.iter().filter(|held| !is_own(held)).count();
        assert!(others >= self.seats, "NO_SEAT, and only {others} are held");
    }

    /// The devices that may run. One in a chip may not when the server has accepted that its key is dead, and it is.
    pub(super) fn in_force(&self, now: DateTime<Utc>, alive: &BTreeSet<String>) -> Vec<&str> {
        let now = u64::try_from(now.timestamp()).unwrap();
        let running = self.ends.iter().filter(move |(_, end)| **end > now);
        let devices = running.map(|(device, _)| device);
        devices
            .filter(|device| {
                let proven = self.chips.contains(*device) && self.proven.contains(*device);
                let dead = proven && !alive.contains(*device);
                !dead && !self.waived.contains(*device)
            })
            .map(String::as_str)
            .collect()
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
    /// Seats of chips that were returned by proof.
    pub(super) chips_returned: u32,
    /// TPMs that were found out to have gone back.
    pub(super) frozen: u32,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.full += other.full;
        self.refused += other.refused;
        self.returns += other.returns;
        self.renewals += other.renewals;
        self.upgrades += other.upgrades;
        self.chips_returned += other.chips_returned;
        self.frozen += other.frozen;
    }
}
