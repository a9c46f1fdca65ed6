//! The server's issuing keys: rotate, retire, revoke, and hand out the list that the vendor's root certified.
//!
//! One change at a time. What a change takes away is taken away in memory before it is written, and what it gives is given after: so no
//! key signs outside its window, and none signs before it is on record.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::artefact::{KeyList, KeyState};
use upkeep::jws::{self, SigningInput};
use upkeep::key::{PublicKey, Thumbprint};

use super::activate::verify_es256;
use super::once::Principal;
use super::{Call, Deps, Fault, Outcome};
use crate::domain::activation::Activation;
use crate::domain::issuing::{self, IssuingKey, Rotation};
use crate::domain::machine::ActivationState;
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::keys::Keys;
use crate::keys::ring::{self, Ring};
use crate::record::issuing::CertifiedList;
use crate::record::{RecordError, Records, keys, save};
use crate::store::Store;

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
    let _one_at_a_time = deps.key_changes.lock().await;
    let now = call.now;
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
    let (body, new) = (format!("{lead}"), made.clone());
    let changed = change(deps, call, body, move |before| {
        let rotation = issuing::decide_rotation(&before, now, lead)?;
        let new = match rotation {
            Rotation::New(_) => new.clone(),
            Rotation::Sooner(..) => None,
        };
        Ok(issuing::rotated(before, rotation, new, now))
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
    let _one_at_a_time = deps.key_changes.lock().await;
    let now = call.now;
    let after = issuing::retired(list(deps), &kid, now);
    if after.is_ok() && in_use == InUse::Refused {
        let activations = certified_by(deps, &kid)?;
        if activations > 0 {
            return Err(Refusal::new(Reason::IllegalTransition)
                .detail(format!(
                    "{activations} activations have their certificate from this key: they would be refused until they refresh"
                ))
                .with("activations", activations)
                .into());
        }
    }
    if let Ok(after) = &after {
        narrow(deps, after);
    }
    let changed = change(deps, call, kid.to_string(), move |before| {
        issuing::retired(before, &kid, now)
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
    let _one_at_a_time = deps.key_changes.lock().await;
    let now = call.now;
    let mut made = None;
    if let Ok(after) = issuing::revoked(list(deps), &kid, now) {
        narrow(deps, &after);
        if issuing::signing(&after, now).is_none() {
            made = Some(make(deps, now)?);
        }
    }
    let (body, new) = ([&kid.to_string(), why.as_str()].join("\0"), made.clone());
    let changed = change_because(deps, call, body, why, move |before| {
        let mut after = issuing::revoked(before, &kid, now)?;
        if issuing::signing(&after, now).is_none() {
            after.extend(new.clone());
        }
        Ok(after)
    });
    settle(deps, changed.await, made)
}

/// The path of PublishKeyList: takes a list that the root certified, to be handed out from now on.
///
/// * `root` - the root's key; needed for the first list, and where the root itself changes.
///
/// # Errors
/// INVALID_FIELD for a list that the root did not sign, for one that does not have the keys of this server, and for a number that is not
/// higher than the one before.
pub(crate) async fn publish(
    deps: &Arc<Deps>,
    call: Call,
    text: String,
    root: Option<PublicKey>,
) -> Result<CertifiedList, Outcome> {
    let _one_at_a_time = deps.key_changes.lock().await;
    let held = certified(deps)?;
    let root = root
        .or_else(|| held.as_ref().map(|held| held.root.clone()))
        .ok_or_else(|| Refusal::missing(["root_spki"]))?;
    let name = root.thumbprint();
    let find = |kid: &Thumbprint| (*kid == name).then(|| root.clone());
    let list = jws::verify::<KeyList>(&text, find, verify_es256)
        .map_err(|error| invalid("key_list", error))?
        .into_claims();
    let now = call.now;
    for key in self::list(deps) {
        let signs = key.state(now) == KeyState::Signing;
        if signs
            && list
                .get(&key.kid())
                .is_none_or(|one| !one.state().verifies())
        {
            let why = format!("does not have the key {} that signs now", key.kid());
            return Err(invalid("key_list", why).into());
        }
    }
    let new = CertifiedList {
        sequence: list.sequence(),
        root,
        text,
    };
    let (body, principal) = (new.text.clone(), Principal::of(&call));
    let stored = new.clone();
    deps.once::<(), _>(call, principal, body.as_bytes(), move |tx, note| {
        note.subject = format!("list {}", new.sequence);
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

/// A new private key, and what is to be on record of it.
fn make(deps: &Deps, begins: DateTime<Utc>) -> Result<IssuingKey, Outcome> {
    let (place, signer) = deps
        .holder
        .make(&*deps.clock, &*deps.random)
        .map_err(Fault::Keys)?;
    let key = PublicKey::from_sec1(&signer.public_key_sec1())?;
    Ok(IssuingKey::from(key, place, begins))
}

async fn change(
    deps: &Arc<Deps>,
    call: Call,
    body: String,
    decide: impl FnMut(Vec<IssuingKey>) -> Result<Vec<IssuingKey>, Refusal> + Send + 'static,
) -> Result<(), Outcome> {
    change_because(deps, call, body, String::new(), decide).await
}

/// Runs a change of the keys in one transaction. `decide` gets what is on record, or what a server without records has.
async fn change_because(
    deps: &Arc<Deps>,
    call: Call,
    body: String,
    why: String,
    mut decide: impl FnMut(Vec<IssuingKey>) -> Result<Vec<IssuingKey>, Refusal> + Send + 'static,
) -> Result<(), Outcome> {
    let unrecorded = deps.first_key.clone();
    let principal = Principal::of(&call);
    deps.once::<(), _>(call, principal, body.as_bytes(), move |tx, note| {
        note.add(Some(why.clone()).filter(|why| !why.is_empty()));
        let mut before = load(tx)?;
        if before.is_empty() {
            before = vec![unrecorded.clone()];
        }
        let after = decide(before)?;
        note.subject = after
            .last()
            .map(|key| key.kid().to_string())
            .unwrap_or_default();
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
    made: Option<IssuingKey>,
) -> Result<Vec<IssuingKey>, Outcome> {
    let mut store = &deps.store;
    let mut stored = load(&mut store)?;
    if stored.is_empty() {
        stored = vec![deps.first_key.clone()];
    }
    if let Some(made) = made
        && !stored.iter().any(|key| key.kid() == made.kid())
    {
        deps.holder.discard(&made.place);
    }
    let at_hand = deps.ring.load().signers();
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

/// How many live activations were last certified by a key.
fn certified_by(deps: &Deps, kid: &Thumbprint) -> Result<u64, Outcome> {
    let mut store = &deps.store;
    let mut range = keys::table(b'a');
    let mut count = 0_u64;
    loop {
        let page = store.load_range::<Activation>(&range, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(count);
        };
        range = range.after(last);
        let named = page.iter().filter(|(_, activation)| {
            activation.state == ActivationState::Active
                && SigningInput::parse(&activation.certificate)
                    .is_ok_and(|input| input.kid() == *kid)
        });
        count = count.saturating_add(u64::try_from(named.count()).unwrap_or(u64::MAX));
    }
}

fn invalid(field: &'static str, why: impl ToString) -> Refusal {
    Refusal::invalid(vec![Violation::new(field, why.to_string())])
}

/// More than any server ever has: a rotation a week for a lifetime.
const MOST_KEYS: usize = 5_000;
const PAGE: usize = 500;
