//! Checks all stored records against the invariants of the security model: a file system check for licenses.
//!
//! One function an invariant. It reads every record at once, so it is for tests and for a server that is not serving; it changes
//! nothing. What the ledger itself promises (the chain, the replay) is [`crate::store::verify`]'s.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use upkeep::artefact::{ActivationCertificate, DeactivationReceipt, verify_proof};
use upkeep::jws::SigningInput;
use upkeep::key::PublicKey;
use upkeep::level::ProofGrade;
use upkeep::serial::SerialNumber;

use super::activate::verify_es256;
use super::{Deps, Fault};
use crate::domain::activation::Activation;
use crate::domain::license::{Carrier, License};
use crate::domain::machine::{ActivationState, DeactivationState, LicenseState, UpgradeState};
use crate::domain::upgrade::Upgrade;
use crate::record::keys::{self, Range};
use crate::record::{Records, decode_message};

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
    seats(&all, &mut found);
    live_devices(&all, &mut found);
    proofs(deps, &all, &mut found)?;
    returns(&all, &mut found);
    codes(deps, &all, &mut found);
    requests(&all, &mut found);
    signing_inputs(&all, &mut found);
    terms(&all, &mut found);
    indexes(deps, &all, &mut found)?;
    kept_answers(deps, &mut found)?;
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

/// I1: the counter is the number of live activations, and no more of them than seats, plus one where an overlap was granted.
///
/// That one may outlast its overlap: nothing but a return frees a seat (DOMAIN 7), and no further one is granted meanwhile.
fn seats(all: &All, found: &mut Found) {
    for license in &all.licenses {
        let live = all.activations_of(license).filter(|a| is_live(a)).count();
        let ever = all.activations_of(license).count();
        let usage = &license.usage;
        let at = name(license);
        found.same(
            (to_usize(usage.seats_taken), live),
            "I1 seats",
            &at,
            "taken",
        );
        found.same((to_usize(usage.activations), ever), "I1 seats", &at, "made");
        let overlap = usize::from(usage.overlap_until.is_some());
        let most = to_usize(license.seats).saturating_add(overlap);
        found.check(live <= most, "I1 seats", &at, "more than were bought");
        if license.state == LicenseState::Superseded {
            found.check(
                live == 0,
                "I1 seats",
                &at,
                "superseded, and seats are taken",
            );
        }
    }
}

/// I1: a device holds at most one seat of a generation, and the table of live devices says which.
fn live_devices(all: &All, found: &mut Found) {
    let mut holders = BTreeSet::new();
    for held in all.activations.iter().filter(|a| is_live(a)) {
        let one = holders.insert((&held.serial, held.generation, held.device));
        found.check(
            one,
            "I1 devices",
            held.id,
            "a second live one of its device",
        );
    }
}

/// I6: a proof is kept for exactly those returns that rest on one, and it is that activation's, for the ticket on record.
fn proofs(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    let mut expected = BTreeSet::new();
    let mut nonces = BTreeSet::new();
    for activation in &all.activations {
        let Some(begun) = &activation.deactivation else {
            continue;
        };
        let fresh = nonces.insert(begun.nonce);
        found.check(fresh, "I6 proofs", activation.id, "the ticket of another");
        if begun.state != DeactivationState::Recorded {
            continue;
        }
        let key = keys::proof(&activation.id);
        let stored = deps.store.get(&key)?;
        expected.insert(key);
        let device = deps.store.get(&keys::device(&activation.device))?;
        let device = device.and_then(|sec1| PublicKey::from_sec1(&sec1).ok());
        let text = String::from_utf8(stored.unwrap_or_default()).unwrap_or_default();
        let read = verify_proof(&text, |_| device, |kid| deps.own_key(kid), verify_es256);
        let own = read.is_ok_and(|read| {
            let said = read.proof();
            said.activation_id == activation.id && *said.nonce.as_bytes() == begun.nonce
        });
        found.check(own, "I6 proofs", activation.id, "not its own proof");
    }
    same_keys(deps, b'f', &expected, "I6 proofs", found)
}

/// I6, I7: a return ends its activation, and the counter of unconsumed returns is the number of those of the present epoch.
fn returns(all: &All, found: &mut Found) {
    for license in &all.licenses {
        let mut unconsumed = 0_usize;
        for activation in all.activations_of(license) {
            let Some(begun) = &activation.deactivation else {
                continue;
            };
            let (ended, grade) = match begun.state {
                DeactivationState::Recorded => (Some(ActivationState::Deactivated), false),
                DeactivationState::Waived => (Some(ActivationState::Lost), true),
                _ => (None, false),
            };
            let end = begun.outcome.as_ref();
            let at = activation.id;
            found.check(
                end.is_some() == ended.is_some(),
                "I6 returns",
                at,
                "outcome",
            );
            if let (Some(ended), Some(end)) = (ended, end) {
                found.check(
                    activation.state == ended,
                    "I6 returns",
                    at,
                    "not ended by it",
                );
                let waived = end.grade == ProofGrade::Waived;
                found.check(waived == grade, "I6 returns", at, "its grade");
                let epoch = end.epoch <= license.usage.return_epoch;
                found.check(epoch, "I6 returns", at, "of an epoch to come");
                unconsumed += usize::from(end.epoch == license.usage.return_epoch);
            }
        }
        let stored = to_usize(license.usage.unconsumed_returns);
        let at = name(license);
        found.same((stored, unconsumed), "I7 returns", at, "unconsumed");
    }
}

/// I7: each code consumed one epoch of returns, its own; while it can be redeemed no seat of the old generation is live.
fn codes(deps: &Deps, all: &All, found: &mut Found) {
    for license in &all.licenses {
        let at = name(license);
        let issued: Vec<&Upgrade> = all
            .upgrades_of(license)
            .filter(|upgrade| upgrade.code_number > 0)
            .collect();
        let epochs = to_usize(license.usage.return_epoch);
        found.same((epochs, issued.len()), "I7 codes", &at, "epochs and codes");
        let live = all.activations_of(license).any(is_live);
        for upgrade in &issued {
            let out = upgrade.state == UpgradeState::CodeIssued && all.now < upgrade.expires_at;
            let sealed = license.seal.is_some_and(|seal| {
                seal.upgrade == upgrade.id && seal.until.is_none_or(|until| all.now < until)
            });
            let id = upgrade.id;
            found.check(!out || sealed, "I7 codes", id, "out, and no seal");
            found.check(!sealed || !live, "I7 codes", id, "out, and a seat is live");
        }
        let redeemed = issued.iter().filter(|u| u.state == UpgradeState::Redeemed);
        let superseded = license.state == LicenseState::Superseded;
        let counts = (usize::from(superseded), redeemed.count());
        found.same(counts, "I7 codes", &at, "redeemed codes");
        let needs_proof = deps
            .programme(license)
            .is_ok_and(|programme| programme.needs_proof(license.carrier.protection()));
        if needs_proof {
            let paid: BTreeSet<u32> = all
                .activations_of(license)
                .filter_map(|a| a.deactivation.as_ref()?.outcome.as_ref())
                .map(|end| end.epoch)
                .collect();
            for epoch in 0..license.usage.return_epoch {
                // A code that was issued before the first activation had nothing to consume.
                let earlier = paid.range(..epoch).next().is_some();
                let one = paid.contains(&epoch) || !earlier;
                found.check(one, "I7 codes", &at, "a code without a return");
            }
        }
    }
}

/// I7: a generation has at most one update request that is open, and the license names it.
fn requests(all: &All, found: &mut Found) {
    for license in &all.licenses {
        for upgrade in all.upgrades_of(license) {
            let open = !matches!(
                upgrade.clone().at(all.now).state,
                UpgradeState::Rejected
                    | UpgradeState::Redeemed
                    | UpgradeState::Withdrawn
                    | UpgradeState::Expired
            );
            let named = license.open_upgrade == Some(upgrade.id);
            found.check(!open || named, "I7 requests", upgrade.id, "open, not named");
        }
    }
    let named = all
        .licenses
        .iter()
        .filter_map(|l| Some((l, l.open_upgrade?)));
    for (license, id) in named {
        let known = all.upgrades_of(license).any(|upgrade| upgrade.id == id);
        found.check(known, "I7 requests", id, "named, and not there");
    }
}

/// I4: what is signed is stored, and says what the record says.
fn signing_inputs(all: &All, found: &mut Found) {
    for activation in &all.activations {
        let certificate = SigningInput::parse(&activation.certificate)
            .and_then(|input| input.claims::<ActivationCertificate>());
        let own = certificate.is_ok_and(|said| {
            said.activation_id == activation.id
                && said.serial == activation.serial
                && said.generation == activation.generation
                && said.cnf.jkt == activation.device
        });
        found.check(own, "I4 signed", activation.id, "its certificate");
        let end = activation.deactivation.as_ref();
        let Some(end) = end.and_then(|begun| begun.outcome.as_ref()) else {
            continue;
        };
        let receipt = SigningInput::parse(&end.receipt)
            .and_then(|input| input.claims::<DeactivationReceipt>());
        let own = receipt.is_ok_and(|said| {
            said.activation_id == activation.id
                && said.cnf.jkt == activation.device
                && said.grade == end.grade
        });
        found.check(own, "I4 signed", activation.id, "its receipt");
    }
}

/// I9: maintenance terms stand in order and no day is paid for twice.
fn terms(all: &All, found: &mut Found) {
    for license in &all.licenses {
        let apart = license.terms.windows(2).all(|pair| match pair {
            [one, next] => one.last() < next.first(),
            _ => true,
        });
        found.check(
            apart,
            "I9 terms",
            name(license),
            "out of order or overlapping",
        );
    }
}

/// The index tables say what the records say: nothing is missing and nothing is left over.
fn indexes(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    let mut expected: BTreeMap<u8, BTreeSet<Vec<u8>>> = b"beydqhsuw"
        .iter()
        .map(|table| (*table, BTreeSet::new()))
        .collect();
    let mut add = |table: u8, key: Vec<u8>| expected.entry(table).or_default().insert(key);
    for one in &all.activations {
        add(b'b', keys::license_activation(&one.serial, &one.id));
        add(b'e', keys::device_activation(&one.device, &one.id));
        add(b'd', keys::device(&one.device));
        if is_live(one) {
            let live = keys::live(&one.serial, one.generation, &one.device);
            let named = deps.store.get(&live)?.unwrap_or_default();
            let own = named == one.id.as_bytes();
            found.check(own, "index y", one.id, "its device's key names another");
            add(b'y', live);
            let mac = deps
                .pepper
                .product_code(&one.serial, &deps.codes.product(&one.id));
            let code = keys::product_code(&one.serial, &mac);
            let named = deps.store.get(&code)?.unwrap_or_default();
            let own = named == one.id.as_bytes();
            found.check(own, "index q", one.id, "its code names another");
            add(b'q', code);
        }
    }
    for upgrade in &all.upgrades {
        add(b'h', keys::license_upgrade(&upgrade.serial, &upgrade.id));
    }
    for license in all.current().into_values() {
        let serial = &license.serial;
        add(b'u', keys::customer_license(&license.customer, serial));
        if let Some(partner) = &license.partner {
            add(b's', keys::partner_license(partner, serial));
        }
        if let Carrier::HardwareKey(number) = &license.carrier {
            add(b'w', keys::dongle_license(number, serial));
        }
        let product = text(&keys::product(&license.product));
        let known = all.products.contains(&product);
        found.check(known, "index p", name(license), "no such product");
    }
    for (table, keys_expected) in &expected {
        same_keys(deps, *table, keys_expected, "index", found)?;
    }
    let current = all.current();
    for license in &all.licenses {
        let newest = current.get(&license.serial).map(|newest| newest.generation);
        let known = newest.is_some_and(|newest| {
            (newest == license.generation) == (license.state != LicenseState::Superseded)
        });
        found.check(known, "index k", name(license), "its generation");
    }
    let owned = all
        .activations
        .iter()
        .map(|one| (&one.serial, one.generation, one.id.to_string()));
    let asked = all
        .upgrades
        .iter()
        .map(|one| (&one.serial, one.generation, one.id.to_string()));
    let generations: BTreeSet<Generation<'_>> = all
        .licenses
        .iter()
        .map(|license| (&license.serial, license.generation))
        .collect();
    for (serial, generation, id) in owned.chain(asked) {
        let known = generations.contains(&(serial, generation));
        found.check(known, "index l", id, "of no license");
    }
    Ok(())
}

/// I5: every kept answer is readable and will be forgotten, once.
fn kept_answers(deps: &Deps, found: &mut Found) -> Result<(), Fault> {
    let range = keys::table(b'i');
    let mut kept = BTreeSet::new();
    for (key, value) in deps.store.scan(&range.from, &range.to, usize::MAX)? {
        decode_message::<crate::record::once::Answered>(&key, &value)?;
        kept.insert(key);
    }
    let mut forgotten = BTreeSet::new();
    for key in set(deps, &keys::table(b'j'))? {
        let once = keys::once_of_expiry(&key).to_vec();
        let first = forgotten.insert(once);
        found.check(first, "I5 answers", text(&key), "forgotten twice");
    }
    found.check(kept == forgotten, "I5 answers", "i/ and j/", "differ");
    Ok(())
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
