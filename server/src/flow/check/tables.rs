//! Whether an index table holds exactly the keys that the records ask for, without keeping them.
//!
//! Of the keys that are asked for, and of those that stand there, a number and a sum of hashes are kept. Equal sets have equal ones;
//! different sets have not, but for a chance of one in 2^128. Where they differ the check runs again with the keys in memory, and
//! names those that are wrong.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::{Checked, Violation, each, text};
use crate::flow::{Deps, Fault};
use crate::record::keys;

/// The tables that follow from other records, and the names under which they are found wrong.
const TABLES: [(u8, &str); 29] = [
    (b'a', "index b"),
    (b'b', "index"),
    (b'D', "index"),
    (b'e', "index"),
    (b'f', "I6 proofs"),
    (b'g', "index h"),
    (b'h', "index"),
    (b'H', "index"),
    (b'i', "I5 answers"),
    (b'J', "index J"),
    (b'k', "index k"),
    (b'K', "outbox K"),
    (b'L', "index"),
    (b'N', "outbox N"),
    (b'o', "index o"),
    (b'q', "index"),
    (b'R', "index"),
    (b's', "index"),
    (b'S', "external ids"),
    (b't', "index by date"),
    (b'T', "index by date"),
    (b'u', "index"),
    (b'U', "I1 cooling"),
    (b'w', "index"),
    (b'W', "index"),
    (b'X', "external ids"),
    (b'y', "index"),
    (b'z', "index by date"),
    (b'Z', "index"),
];

/// So many keys of a table are held at once, at most.
const SHARD_KEYS: usize = 1 << 16;

/// The keys that all tables must hold.
pub(super) struct Tables(BTreeMap<u8, Expected>);

#[derive(Default)]
struct Expected {
    /// Of the shard that is looked at: a key may be asked for more than once there.
    shard: BTreeSet<Vec<u8>>,
    sum: Sum,
    /// All of them, where they are to be named.
    all: Option<BTreeSet<Vec<u8>>>,
}

impl Expected {
    fn fold(&mut self) {
        for key in std::mem::take(&mut self.shard) {
            self.sum.add(&key);
            if let Some(all) = &mut self.all {
                all.insert(key);
            }
        }
    }
}

/// A set of keys by its size and the sum of its hashes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    hashes: u128,
}

impl Sum {
    fn add(&mut self, key: &[u8]) {
        let digest = Sha256::digest(key);
        let half = digest.first_chunk().copied().unwrap_or_default();
        self.count = self.count.saturating_add(1);
        self.hashes = self.hashes.wrapping_add(u128::from_be_bytes(half));
    }
}

impl Tables {
    /// * `named` - the tables whose wrong keys are named.
    pub(super) fn new(named: &BTreeSet<u8>) -> Self {
        let tables = TABLES.iter().map(|(table, _)| {
            let all = named.contains(table).then(BTreeSet::new);
            let expected = Expected {
                all,
                ..Expected::default()
            };
            (*table, expected)
        });
        Self(tables.collect())
    }

    /// A key that must be there.
    pub(super) fn add(&mut self, table: u8, key: Vec<u8>) {
        if let Some(expected) = self.0.get_mut(&table) {
            expected.shard.insert(key);
            if expected.shard.len() >= SHARD_KEYS {
                expected.fold();
            }
        }
    }

    /// Ends a shard: what was asked for in it is counted.
    pub(super) fn fold(&mut self) {
        self.0.values_mut().for_each(Expected::fold);
    }

    /// Holds the tables against what was asked for, and answers which differ.
    pub(super) fn settle(self, deps: &Deps, found: &mut Checked) -> Result<BTreeSet<u8>, Fault> {
        let mut differ = BTreeSet::new();
        for (table, expected) in self.0 {
            let name = TABLES.iter().find(|(letter, _)| *letter == table);
            let name = name.map_or("index", |(_, name)| *name);
            let mut sum = Sum::default();
            let mut left_over = Vec::new();
            let mut missing = expected.all;
            each(deps, &keys::table(table), |key, _| {
                sum.add(&key);
                if missing
                    .as_mut()
                    .is_some_and(|missing| !missing.remove(&key))
                {
                    left_over.push(key);
                }
                Ok(())
            })?;
            *found.counts.entry(name).or_default() += sum.count;
            let missing = missing.unwrap_or_default().into_iter();
            let missing = missing.map(|key| (key, "missing"));
            let left_over = left_over.into_iter().map(|key| (key, "left over"));
            let wrong = missing.chain(left_over).map(|(key, what)| Violation {
                invariant: name,
                at: text(&key),
                what: what.to_owned(),
            });
            found.violations.extend(wrong);
            if sum != expected.sum {
                differ.insert(table);
            }
        }
        Ok(differ)
    }
}
