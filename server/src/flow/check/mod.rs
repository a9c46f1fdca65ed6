//! Checks all stored records against the invariants of the security model: a file system check for licenses.
//!
//! One function an invariant. It reads every record at once, so it is for tests and for a server that is not serving; it changes
//! nothing. What the ledger itself promises (the chain, the replay) is [`crate::store::verify`]'s.

mod enrollments;
mod external;
mod indexes;
mod leases;
mod mail;
mod orders;
mod seats;
mod terms;
mod upgrades;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use upkeep::serial::SerialNumber;

use super::{Deps, Fault};
use crate::domain::activation::Activation;
use crate::domain::license::License;
use crate::domain::machine::{ActivationState, LicenseState};
use crate::domain::upgrade::Upgrade;
use crate::record::Records;
use crate::record::keys::{self, Range};

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
    let all = All::read(deps)?;
    let mut found = Found(Vec::new());
    seats::seats(&all, &mut found);
    seats::live_devices(&all, &mut found);
    seats::proofs(deps, &all, &mut found)?;
    seats::returns(&all, &mut found);
    leases::cooling(deps, &all, &mut found)?;
    leases::certificates(deps, &all, &mut found)?;
    enrollments::enrollments(deps, &all, &mut found)?;
    upgrades::codes(deps, &all, &mut found);
    upgrades::requests(&all, &mut found);
    upgrades::signing_inputs(&all, &mut found);
    terms::terms(&all, &mut found);
    terms::places(deps, &all, &mut found)?;
    orders::orders(deps, &all, &mut found)?;
    mail::outbox(deps, &mut found)?;
    indexes::indexes(deps, &all, &mut found)?;
    indexes::kept_answers(deps, &mut found)?;
    external::external(deps, &all, &mut found)?;
    Ok(found.0)
}

/// One generation of a license by its name.
type Generation<'a> = (&'a SerialNumber, u32);

struct All {
    now: DateTime<Utc>,
    /// Current and superseded ones.
    licenses: Vec<License>,
    /// By license and generation, as the update requests are.
    activations: Vec<Activation>,
    upgrades: Vec<Upgrade>,
    products: BTreeSet<String>,
}

impl All {
    fn read(deps: &Deps) -> Result<Self, Fault> {
        let mut store = &deps.store;
        let now = deps.clock.now();
        let mut licenses = Vec::new();
        for table in [b'l', b'k'] {
            let range = keys::table(table);
            let found = store.load_range::<License>(&range, usize::MAX)?;
            licenses.extend(found.into_iter().map(|(_, license)| license));
        }
        let activations = store.load_range::<Activation>(&keys::activations(), usize::MAX)?;
        let mut activations: Vec<_> = activations.into_iter().map(|(_, found)| found).collect();
        activations.sort_by(|a, b| (&a.serial, a.generation).cmp(&(&b.serial, b.generation)));
        let upgrades = store.load_range::<Upgrade>(&keys::upgrades(), usize::MAX)?;
        let mut upgrades: Vec<_> = upgrades.into_iter().map(|(_, found)| found).collect();
        upgrades.sort_by(|a, b| (&a.serial, a.generation).cmp(&(&b.serial, b.generation)));
        Ok(Self {
            now,
            licenses,
            activations,
            upgrades,
            products: set(deps, &keys::products())?
                .iter()
                .map(|key| text(key))
                .collect(),
        })
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

struct Found(Vec<Violation>);

impl Found {
    fn check(&mut self, holds: bool, invariant: &'static str, at: impl fmt::Display, what: &str) {
        if !holds {
            self.0.push(Violation {
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

fn same_keys(
    deps: &Deps,
    table: u8,
    expected: &BTreeSet<Vec<u8>>,
    invariant: &'static str,
    found: &mut Found,
) -> Result<(), Fault> {
    let stored = set(deps, &keys::table(table))?;
    for key in expected.difference(&stored) {
        found.check(false, invariant, text(key), "missing");
    }
    for key in stored.difference(expected) {
        found.check(false, invariant, text(key), "left over");
    }
    Ok(())
}

fn set(deps: &Deps, range: &Range) -> Result<BTreeSet<Vec<u8>>, Fault> {
    let pairs = deps.store.scan(&range.from, &range.to, usize::MAX)?;
    Ok(pairs.into_iter().map(|(key, _)| key).collect())
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
