//! The server's issuing keys: rotate, retire, revoke, and hand out the list that the vendor's root certified.
//!
//! One change at a time. What a change takes away is taken away in memory before it is written, and what it gives is given after: so no
//! key signs outside its window, and none signs before it is on record.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::artefact::KeyList;
use upkeep::jws::{self, SigningInput};
use upkeep::key::{PublicKey, Thumbprint};

use super::activate::verify_es256;
use super::once::Principal;
use super::{Call, Deps, Fault, Outcome, to_its_end};
use crate::domain::activation::Activation;
use crate::domain::issuing::{self, IssuingKey, Rotation};
use crate::domain::machine::{ActivationState, DeactivationState, UpgradeState};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::domain::upgrade::Upgrade;
use crate::keys::Keys;
use crate::keys::ring::{self, Ring};
use crate::record::issuing::CertifiedList;
use crate::record::{Record, RecordError, Records, decode, keys, save};
use crate::signer::Signer;
use crate::store::{LedgerFiles, Store};

/// Opens the ring of a server: what is on record, else the one key of a data directory that never had a second one.
///
/// # Errors
/// Store faults; [`Fault::Keys`] for a private key that is missing.
pub(crate) fn open_ring(store: &Store, keys: &Keys, now: DateTime<Utc>) -> Result<Ring, Fault> {
    let mut reads = store;
    let mut stored = load(&mut reads)?;
    let first = keys.signer();
    if stored.is_empty() {
        let key = PublicKey::from_sec1(&first.public_key_sec1())?;
        stored = ring::first(keys.holder(), key);
    }
    Ok(Ring::open(stored, keys.holder(), &[first], now)?)
}

/// The keys that are on record in a data directory, from its files alone: beside the server that uses it, or without one.
///
/// # Errors
/// Store faults.
pub(crate) fn on_disk(data_dir: &Path) -> Result<Vec<IssuingKey>, RecordError> {
    let range = keys::issuing_keys();
    let found = LedgerFiles::open(data_dir)?.records(data_dir, &range.from, &range.to)?;
    let decoded = found.iter().map(|(key, value)| decode(key, value));
    decoded.collect()
}

/// The keys as they stand.
pub(crate) fn list(deps: &Deps) -> Vec<IssuingKey> {
    deps.ring.load().keys()
}

/// The newest certified list.
///
/// # Errors
/// Store faults.
pub(crate) fn certified(deps: &Deps) -> Result<Option<CertifiedList>, Outcome> {
    let mut store = &deps.store;
    Ok(store.load(&keys::certified_list())?)
}

/// The path of RotateIssuingKey.
///
/// # Errors
/// As [`issuing::decide_rotation`]; faults of the file system or the token.
pub(crate) async fn rotate(
    deps: &Arc<Deps>,
    call: Call,
    lead: TimeDelta,
) -> Result<Vec<IssuingKey>, Outcome> {
    to_its_end(rotate_here(Arc::clone(deps), call, lead)).await
}

async fn rotate_here(
    deps: Arc<Deps>,
    mut call: Call,
    lead: TimeDelta,
) -> Result<Vec<IssuingKey>, Outcome> {
    let deps = &deps;
    let _one_at_a_time = deps.key_changes.lock().await;
    let now = begin(deps, &mut call);
    let held = list(deps);
    // 1 A new private key, on disk or in the token before anything names it.
    let planned = issuing::decide_rotation(&held, now, lead).ok();
    let made = match planned {
        Some(Rotation::New(begins)) => Some(make(deps, begins)?),
        _ => None,
    };
    // 2 What the rotation takes away counts at once.
    if let Some(rotation) = planned {
        let after = issuing::rotated(held.clone(), rotation, None, now);
        narrow(deps, &after);
    }
    // 3 One transaction decides and writes.
    let (body, new) = (format!("{lead}"), on_record(&made));
    let changed = change(deps, call, body, String::new(), move |before| {
        let rotation = issuing::decide_rotation(&before, now, lead)?;
        let (new, subject) = match rotation {
            Rotation::New(_) => (new.clone(), new.as_ref().map(IssuingKey::kid)),
            Rotation::Sooner(next, _) => (None, Some(next)),
        };
        Ok((issuing::rotated(before, rotation, new, now), subject))
    });
    settle(deps, changed.await, made)
}

/// The path of RetireIssuingKey.
///
/// * `in_use` - whether the key may be retired while activations were last certified by it.
///
/// # Errors
/// As [`issuing::retired`]; ILLEGAL_TRANSITION with `activations` while the key is in use.
pub(crate) async fn retire(
    deps: &Arc<Deps>,
    call: Call,
    kid: Thumbprint,
    in_use: InUse,
) -> Result<Vec<IssuingKey>, Outcome> {
    to_its_end(retire_here(Arc::clone(deps), call, kid, in_use)).await
}

async fn retire_here(
    deps: Arc<Deps>,
    mut call: Call,
    kid: Thumbprint,
    in_use: InUse,
) -> Result<Vec<IssuingKey>, Outcome> {
    let deps = &deps;
    let _one_at_a_time = deps.key_changes.lock().await;
    let now = begin(deps, &mut call);
    let after = issuing::retired(list(deps), &kid, now);
    if after.is_ok() && in_use == InUse::Refused {
        check_unused(deps, kid).await?;
    }
    if let Ok(after) = &after {
        narrow(deps, after);
    }
    let changed = change(deps, call, kid.to_string(), String::new(), move |before| {
        Ok((issuing::retired(before, &kid, now)?, Some(kid)))
    });
    settle(deps, changed.await, None)
}

/// Whether a key that activations rest on may be retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InUse {
    Refused,
    Allowed,
}

/// The path of RevokeIssuingKey. Where the key signed and no other is published, a new one signs at once.
///
/// # Errors
/// As [`issuing::revoked`].
pub(crate) async fn revoke(
    deps: &Arc<Deps>,
    call: Call,
    kid: Thumbprint,
    why: String,
) -> Result<Vec<IssuingKey>, Outcome> {
    to_its_end(revoke_here(Arc::clone(deps), call, kid, why)).await
}

async fn revoke_here(
    deps: Arc<Deps>,
    mut call: Call,
    kid: Thumbprint,
    why: String,
) -> Result<Vec<IssuingKey>, Outcome> {
    let deps = &deps;
    let _one_at_a_time = deps.key_changes.lock().await;
    let now = begin(deps, &mut call);
    let mut made = None;
    if let Ok(after) = issuing::revoked(list(deps), &kid, now) {
        narrow(deps, &after);
        if issuing::signing(&after, now).is_none() {
            made = Some(make(deps, now)?);
        }
    }
    let body = [&kid.to_string(), why.as_str()].join("\0");
    let new = on_record(&made);
    let changed = change(deps, call, body, why, move |before| {
        let mut after = issuing::revoked(before, &kid, now)?;
        if issuing::signing(&after, now).is_none() {
            after.extend(new.clone());
        }
        Ok((after, Some(kid)))
    });
    settle(deps, changed.await, made)
}

/// The path of PublishKeyList: takes a list that the root certified, to be handed out from now on.
///
/// * `root` - the root's key; needed for the first list, and where the root itself changes.
///
/// # Errors
/// INVALID_FIELD for a list that the root did not sign, for one that does not say what is on record ([`issuing::check_list`]), and for a
/// number that is not higher than the one before.
pub(crate) async fn publish(
    deps: &Arc<Deps>,
    call: Call,
    text: String,
    root: Option<PublicKey>,
) -> Result<CertifiedList, Outcome> {
    to_its_end(publish_here(Arc::clone(deps), call, text, root)).await
}

async fn publish_here(
    deps: Arc<Deps>,
    mut call: Call,
    text: String,
    root: Option<PublicKey>,
) -> Result<CertifiedList, Outcome> {
    let deps = &deps;
    let _one_at_a_time = deps.key_changes.lock().await;
    let now = begin(deps, &mut call);
    let held = certified(deps)?;
    let root = root
        .or_else(|| held.as_ref().map(|held| held.root.clone()))
        .ok_or_else(|| Refusal::missing(["root_spki"]))?;
    let name = root.thumbprint();
    let find = |kid: &Thumbprint| (*kid == name).then(|| root.clone());
    let list = jws::verify::<KeyList>(&text, find, verify_es256)
        .map_err(|error| invalid("key_list", error))?
        .into_claims();
    let (issuer, known) = (deps.issuer.clone(), self::list(deps));
    let new = CertifiedList {
        sequence: list.sequence(),
        root,
        text,
    };
    let (body, principal) = (new.text.clone(), Principal::of(&call));
    let stored = new.clone();
    deps.once::<(), _>(call, principal, body.as_bytes(), move |tx, note| {
        note.subject = format!("list {}", new.sequence);
        issuing::check_list(&list, &issuer, &known, now)?;
        let before: Option<CertifiedList> = tx.load(&keys::certified_list())?;
        if let Some(before) = before.filter(|before| before.root == new.root)
            && before.sequence >= new.sequence
        {
            let why = format!(
                "has the number {}, and {} is published",
                new.sequence, before.sequence
            );
            return Err(invalid("key_list", why).into());
        }
        save(tx, &new);
        Ok(())
    })
    .await?;
    Ok(stored)
}

/// Takes away in memory what `after` no longer lets sign.
fn narrow(deps: &Deps, after: &[IssuingKey]) {
    let narrowed = deps.ring.load().narrowed(after);
    deps.ring.store(Arc::new(narrowed));
}

/// A change begins once it is its turn, not when it was asked for.
fn begin(deps: &Deps, call: &mut Call) -> DateTime<Utc> {
    call.now = deps.clock.now();
    call.now
}

/// A new private key, and what is to be on record of it.
type Made = (IssuingKey, Arc<dyn Signer>);

fn on_record(made: &Option<Made>) -> Option<IssuingKey> {
    made.as_ref().map(|(key, _)| key.clone())
}

fn make(deps: &Deps, begins: DateTime<Utc>) -> Result<Made, Outcome> {
    let (place, signer) = deps
        .holder
        .make(&*deps.clock, &*deps.random)
        .map_err(Fault::Keys)?;
    let key = PublicKey::from_sec1(&signer.public_key_sec1())?;
    Ok((IssuingKey::from(key, place, begins), signer))
}

/// Runs a change of the keys in one transaction. `decide` gets what is on record, or what a server without records has; it answers what is to
/// be, and which key the change is about.
async fn change(
    deps: &Arc<Deps>,
    call: Call,
    body: String,
    why: String,
    mut decide: impl FnMut(Vec<IssuingKey>) -> Result<(Vec<IssuingKey>, Option<Thumbprint>), Refusal>
    + Send
    + 'static,
) -> Result<(), Outcome> {
    let unrecorded = deps.first_key.clone();
    let principal = Principal::of(&call);
    deps.once::<(), _>(call, principal, body.as_bytes(), move |tx, note| {
        note.add(Some(why.clone()).filter(|why| !why.is_empty()));
        let mut before = load(tx)?;
        if before.is_empty() {
            before = vec![unrecorded.clone()];
        }
        let (after, subject) = decide(before)?;
        note.subject = subject.map(|kid| kid.to_string()).unwrap_or_default();
        for key in &after {
            save(tx, key);
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// Makes memory say what is on record, whatever came of the change, and lets go of a key that nothing names.
fn settle(
    deps: &Deps,
    changed: Result<(), Outcome>,
    made: Option<Made>,
) -> Result<Vec<IssuingKey>, Outcome> {
    let mut store = &deps.store;
    let mut stored = load(&mut store)?;
    if stored.is_empty() {
        stored = vec![deps.first_key.clone()];
    }
    let mut at_hand = deps.ring.load().signers();
    if let Some((made, signer)) = made {
        if stored.iter().any(|key| key.kid() == made.kid()) {
            // It is open: nothing that can fail stands between the record and its use.
            at_hand.push(signer);
        } else {
            deps.holder.discard(&made.place);
        }
    }
    let ring = Ring::open(stored.clone(), &deps.holder, &at_hand, deps.clock.now())
        .map_err(Fault::Keys)?;
    deps.ring.store(Arc::new(ring));
    changed.map(|()| stored)
}

fn load(reads: &mut impl Records) -> Result<Vec<IssuingKey>, RecordError> {
    let found = reads.load_range::<IssuingKey>(&keys::issuing_keys(), MOST_KEYS)?;
    let mut found: Vec<_> = found.into_iter().map(|(_, key)| key).collect();
    found.sort_by_key(|key| key.not_before);
    Ok(found)
}

/// Looks through everything that rests on a key.
///
/// # Errors
/// ILLEGAL_TRANSITION with `activations` and `files`.
async fn check_unused(deps: &Arc<Deps>, kid: Thumbprint) -> Result<(), Outcome> {
    let store = deps.store.clone();
    let count = move || -> Result<(u64, u64), RecordError> {
        let activations = count::<Activation>(&store, keys::table(b'a'), |one| rests_on(one, &kid));
        let files = count::<Upgrade>(&store, keys::upgrades(), |one| {
            one.state == UpgradeState::CodeIssued
                && one.file.as_deref().is_some_and(|file| names(file, &kid))
        });
        Ok((activations?, files?))
    };
    let counted = tokio::task::spawn_blocking(count).await;
    let (activations, files) =
        counted.map_err(|_| Fault::Inconsistent("counting what rests on a key panicked"))??;
    if (activations, files) == (0, 0) {
        return Ok(());
    }
    let mut rest = Vec::new();
    if activations > 0 {
        rest.push(format!(
            "{activations} activations have their certificate or their return ticket from this key: they would be refused until they refresh"
        ));
    }
    if files > 0 {
        rest.push(format!(
            "{files} upgrade files that are out are signed by this key: they would be refused for ever"
        ));
    }
    Err(Refusal::new(Reason::IllegalTransition)
        .detail(rest.join("; "))
        .with("activations", activations)
        .with("files", files)
        .into())
}

/// Whether a device holds something by this key that it still needs: its certificate, or the ticket of a return that is under way.
fn rests_on(activation: &Activation, kid: &Thumbprint) -> bool {
    let returns = activation.deactivation.as_ref();
    // A ticket that ran out leaves the seat with the device, and its certificate in force.
    matches!(
        activation.state,
        ActivationState::Active | ActivationState::Releasing
    ) && (names(&activation.certificate, kid)
        || returns.is_some_and(|one| {
            one.state == DeactivationState::TicketIssued && names(&one.ticket, kid)
        }))
}

fn names(signing_input: &str, kid: &Thumbprint) -> bool {
    SigningInput::parse(signing_input).is_ok_and(|input| input.kid() == *kid)
}

fn count<R: Record>(
    store: &Store,
    mut range: keys::Range,
    counts: impl Fn(&R) -> bool,
) -> Result<u64, RecordError> {
    let mut reads = store;
    let mut count = 0_u64;
    loop {
        let page = reads.load_range::<R>(&range, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(count);
        };
        range = range.after(last);
        let found = page.iter().filter(|(_, one)| counts(one)).count();
        count = count.saturating_add(u64::try_from(found).unwrap_or(u64::MAX));
    }
}

fn invalid(field: &'static str, why: impl ToString) -> Refusal {
    Refusal::invalid(vec![Violation::new(field, why.to_string())])
}

/// More than any server ever has: a rotation a week for a lifetime.
const MOST_KEYS: usize = 5_000;
const PAGE: usize = 500;
