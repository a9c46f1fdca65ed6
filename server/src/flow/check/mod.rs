//! Checks all stored records against the invariants of the security model: a file system check for licenses.
//!
//! One function an invariant. Licenses are read in shards of 500, each with all its activations and update requests, and what belongs to
//! none of them page by page. So memory grows with what 500 licenses hold together, and by a few bytes a return and an order, but
//! not with the number of licenses. For a server that is not
//! serving, and for tests; it changes nothing. What the ledger itself promises (the chain, the replay) is
//! [`crate::store::verify`]'s.

mod enrollments;
mod external;
mod indexes;
mod leases;
mod mail;
mod orders;
mod seats;
mod tables;
mod terms;
mod upgrades;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use upkeep::serial::SerialNumber;

use self::tables::Tables;
use super::{Deps, Fault};
use crate::domain::activation::Activation;
use crate::domain::license::License;
use crate::domain::machine::{ActivationState, LicenseState};
use crate::domain::upgrade::Upgrade;
use crate::record::keys::{self, Range};
use crate::record::{Record, Records};

/// A record that breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: `I1 seats` and the like.
    pub invariant: &'static str,
    /// The record or key it was found at.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.invariant, self.at, self.what)
    }
}

/// Checks every stored record; an empty list is a sound store.
///
/// # Errors
/// Store faults and unreadable records.
pub fn verify_records(deps: &Deps) -> Result<Vec<Violation>, Fault> {
    check_records(deps).map(|checked| checked.violations)
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// How many things were held against each invariant.
    pub counts: BTreeMap<&'static str, u64>,
    /// The records that break one.
    pub violations: Vec<Violation>,
}

/// As [`verify_records`], and says what was counted.
///
/// # Errors
/// As [`verify_records`].
pub fn check_records(deps: &Deps) -> Result<Checked, Fault> {
    let (checked, differ) = pass(deps, &BTreeSet::new())?;
    match differ.is_empty() {
        true => Ok(checked),
        // Some table is not what the records say. Once more, with its keys in memory, to name those that are wrong.
        false => pass(deps, &differ).map(|(checked, _)| checked),
    }
}

/// Looks at everything once. Also answers which index tables differ from what the records say.
///
/// * `named` - tables whose wrong keys are named.
fn pass(deps: &Deps, named: &BTreeSet<u8>) -> Result<(Checked, BTreeSet<u8>), Fault> {
    let mut found = Found {
        checked: Checked::default(),
        tables: Tables::new(named),
        nonces: BTreeSet::new(),
    };
    let mut after = keys::licenses();
    loop {
        let (all, last) = All::read(deps, &after, &mut found)?;
        let Some(last) = last else { break };
        after = after.after(&last);
        seats::seats(&all, &mut found);
        seats::live_devices(&all, &mut found);
        seats::proofs(deps, &all, &mut found)?;
        seats::returns(&all, &mut found);
        leases::cooling(deps, &all, &mut found)?;
        leases::certificates(deps, &all, &mut found)?;
        enrollments::of_activations(deps, &all, &mut found)?;
        upgrades::codes(deps, &all, &mut found);
        upgrades::requests(&all, &mut found);
        upgrades::signing_inputs(&all, &mut found);
        terms::terms(&all, &mut found);
        terms::places(deps, &all, &mut found)?;
        indexes::indexes(deps, &all, &mut found)?;
        external::licenses(deps, &all, &mut found)?;
        found.tables.fold();
    }
    enrollments::enrollments(deps, &mut found)?;
    orders::orders(deps, &mut found)?;
    mail::outbox(deps, &mut found)?;
    indexes::kept_answers(deps, &mut found)?;
    external::parties(deps, &mut found)?;
    let Found {
        mut checked,
        mut tables,
        ..
    } = found;
    tables.fold();
    let differ = tables.settle(deps, &mut checked)?;
    Ok((checked, differ))
}

/// So many licenses are looked at together.
const SHARD_LICENSES: usize = 500;

/// So many records of other kinds are read at once.
const PAGE_RECORDS: usize = 1_000;

/// One generation of a license by its name.
type Generation<'a> = (&'a SerialNumber, u32);

/// Some licenses with all that belongs to them.
struct All {
    now: DateTime<Utc>,
    /// Current and superseded ones.
    licenses: Vec<License>,
    /// By license and generation, as the update requests are.
    activations: Vec<Activation>,
    upgrades: Vec<Upgrade>,
}

impl All {
    /// Reads the next licenses of a range. Also answers the last key read; `None` at the end.
    fn read(
        deps: &Deps,
        range: &Range,
        found: &mut Found,
    ) -> Result<(Self, Option<Vec<u8>>), Fault> {
        let mut store = &deps.store;
        let mut all = Self {
            now: deps.clock.now(),
            licenses: Vec::new(),
            activations: Vec::new(),
            upgrades: Vec::new(),
        };
        let mut last = None;
        for (key, license) in store.load_range::<License>(range, SHARD_LICENSES)? {
            let serial = &license.serial;
            let earlier = keys::superseded_generations(serial);
            for (key, older) in store.load_range::<License>(&earlier, usize::MAX)? {
                found.key(b'k', key);
                all.licenses.push(older);
            }
            let activations = keys::license_activations(serial);
            for key in keys_of(deps, &activations)? {
                let at = keys::activation_of(keys::tail(&key, &activations));
                match store.load::<Activation>(&at)? {
                    Some(one) => {
                        let own = one.serial == *serial;
                        found.check(own, "index b", text(&key), "its activation is another's");
                        all.activations.push(one);
                    }
                    None => found.check(false, "index b", text(&key), "no such activation"),
                }
                found.key(b'a', at);
            }
            let upgrades = keys::license_upgrades(serial);
            for key in keys_of(deps, &upgrades)? {
                let at = keys::upgrade_of(keys::tail(&key, &upgrades));
                match store.load::<Upgrade>(&at)? {
                    Some(one) => {
                        let own = one.serial == *serial;
                        found.check(own, "index h", text(&key), "its request is another's");
                        all.upgrades.push(one);
                    }
                    None => found.check(false, "index h", text(&key), "no such request"),
                }
                found.key(b'g', at);
            }
            all.licenses.push(license);
            last = Some(key);
        }
        all.activations
            .sort_by(|a, b| (&a.serial, a.generation).cmp(&(&b.serial, b.generation)));
        all.upgrades
            .sort_by(|a, b| (&a.serial, a.generation).cmp(&(&b.serial, b.generation)));
        Ok((all, last))
    }

    fn activations_of(&self, license: &License) -> std::slice::Iter<'_, Activation> {
        let name = |one: &Activation| (&one.serial, one.generation).cmp(&of(license));
        run(&self.activations, name).iter()
    }

    fn upgrades_of(&self, license: &License) -> std::slice::Iter<'_, Upgrade> {
        let name = |one: &Upgrade| (&one.serial, one.generation).cmp(&of(license));
        run(&self.upgrades, name).iter()
    }

    fn current(&self) -> BTreeMap<&SerialNumber, &License> {
        self.licenses
            .iter()
            .filter(|license| license.state != LicenseState::Superseded)
            .map(|license| (&license.serial, license))
            .collect()
    }
}

/// What was found so far, and what must hold over all licenses.
struct Found {
    checked: Checked,
    /// The keys that index tables must hold.
    tables: Tables,
    /// The nonces of tickets.
    nonces: BTreeSet<[u8; 32]>,
}

impl Found {
    /// A key that its table must hold.
    fn key(&mut self, table: u8, key: Vec<u8>) {
        self.tables.add(table, key);
    }

    fn check(&mut self, holds: bool, invariant: &'static str, at: impl fmt::Display, what: &str) {
        *self.checked.counts.entry(invariant).or_default() += 1;
        if !holds {
            self.checked.violations.push(Violation {
                invariant,
                at: at.to_string(),
                what: what.to_owned(),
            });
        }
    }

    fn same<T: PartialEq + fmt::Debug>(
        &mut self,
        (stored, counted): (T, T),
        invariant: &'static str,
        at: impl fmt::Display,
        what: &str,
    ) {
        let holds = stored == counted;
        let what = format!("{what}: stored {stored:?}, counted {counted:?}");
        self.check(holds, invariant, at, &what);
    }
}
fn of(license: &License) -> Generation<'_> {
    (&license.serial, license.generation)
}

/// The elements of a sorted list that are equal to what is looked for.
fn run<T>(sorted: &[T], compare: impl Fn(&T) -> Ordering) -> &[T] {
    let from = sorted.partition_point(|one| compare(one) == Ordering::Less);
    let to = sorted.partition_point(|one| compare(one) != Ordering::Greater);
    sorted.get(from..to).unwrap_or_default()
}

/// The keys of a range that belongs to one license.
fn keys_of(deps: &Deps, range: &Range) -> Result<Vec<Vec<u8>>, Fault> {
    let pairs = deps.store.scan(&range.from, &range.to, usize::MAX)?;
    Ok(pairs.into_iter().map(|(key, _)| key).collect())
}

/// Shows the pairs of a range, page by page.
fn each(
    deps: &Deps,
    range: &Range,
    mut visit: impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut after = range.clone();
    loop {
        let page = deps.store.scan(&after.from, &after.to, PAGE_RECORDS)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = after.after(last);
        for (key, value) in page {
            visit(key, value)?;
        }
    }
}

/// Shows the records of a range, page by page.
fn each_record<R: Record>(
    deps: &Deps,
    range: &Range,
    mut visit: impl FnMut(&[u8], R) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut store = &deps.store;
    let mut after = range.clone();
    loop {
        let page = store.load_range::<R>(&after, PAGE_RECORDS)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = after.after(last);
        for (key, record) in page {
            visit(&key, record)?;
        }
    }
}

fn is_live(activation: &Activation) -> bool {
    matches!(
        activation.state,
        ActivationState::Active | ActivationState::Releasing
    )
}

fn name(license: &License) -> String {
    format!("{} generation {}", license.serial, license.generation)
}

fn text(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
