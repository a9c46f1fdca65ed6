//! The outbox: mails are queued in the transaction that they follow from, and sent later.
//!
//! A mail is queued if, and only if, what it speaks of was committed. It is sent at least once: it leaves the queue after the
//! mail server has taken it, so a crash between the two sends it again, under the same Message-ID.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::id::MailId;

use super::once::Principal;
use super::read::{self, Page, Paged};
use super::{Call, Caller, Deps, Fault, Outcome, whole_micros};
use crate::domain::mail::{Failure, Mail, MailKind, MailState, Recipient};
use crate::domain::refusal::{Reason, Refusal};
use crate::random::uuid_v7;
use crate::record::mail::MailWire;
use crate::record::{Reads, Record, Records, keys, save};
use crate::store::Tx;

/// Queues a mail, due at once. What was queued before is not queued again, whatever became of it: the same id comes back, and
/// nothing is written (one mail per contract, last day, threshold and recipient; per code; per order; per quote and its state).
///
/// # Errors
/// Store faults.
pub(crate) fn enqueue(
    deps: &Deps,
    tx: &mut Tx<'_>,
    now: DateTime<Utc>,
    kind: MailKind,
    to: Recipient,
) -> Result<MailId, Outcome> {
    let once = keys::mail_once(&kind.once_per(&to));
    if let Some(queued) = tx.value(&once)? {
        return MailId::from_slice(&queued).map_err(|_| MALFORMED.into());
    }
    Ok(enqueue_new(deps, tx, now, (kind, to), once))
}

/// Queues a mail although it was queued before: one that was sent is sent anew, under an id of its own; one that waits or was
/// given up is due at once.
///
/// # Errors
/// Store faults.
pub(crate) fn again(
    deps: &Deps,
    tx: &mut Tx<'_>,
    now: DateTime<Utc>,
    kind: MailKind,
    to: Recipient,
) -> Result<MailId, Outcome> {
    let once = keys::mail_once(&kind.once_per(&to));
    if let Some(queued) = tx.value(&once)? {
        let id = MailId::from_slice(&queued).map_err(|_| MALFORMED)?;
        let before: Mail = tx.load(&keys::mail(&id))?.ok_or(MALFORMED)?;
        let mut mail = before.clone();
        if mail.retry(whole_micros(now)).is_ok() {
            put(tx, Some(&before), &mail);
            return Ok(id);
        }
    }
    Ok(enqueue_new(deps, tx, now, (kind, to), once))
}

fn enqueue_new(
    deps: &Deps,
    tx: &mut Tx<'_>,
    now: DateTime<Utc>,
    (kind, to): (MailKind, Recipient),
    once: Vec<u8>,
) -> MailId {
    let id = MailId::from_uuid(uuid_v7(&*deps.clock, &*deps.random));
    tx.put(once, id.as_bytes().to_vec());
    put(tx, None, &Mail::new(id, kind, to, whole_micros(now)));
    id
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The mail server took it.
    Sent,
    /// It is no longer true.
    Void(String),
    /// It was not taken.
    Failed(Failure, String),
}

/// The mails that are due, the longest waiting first.
///
/// # Errors
/// Store faults.
pub(crate) fn due(deps: &Deps, limit: usize) -> Result<Vec<Mail>, Outcome> {
    let range = keys::due_mails(deps.clock.now());
    let mut store = &deps.store;
    let found = store.range(&range.from, &range.to, limit)?;
    found.iter().map(|(key, _)| queued(deps, key)).collect()
}

/// Puts the end of an attempt on record. What was settled while it ran stays as it is.
///
/// # Errors
/// Store faults.
pub(crate) async fn settle(
    deps: &Arc<Deps>,
    id: MailId,
    attempt: Attempt,
) -> Result<Option<Mail>, Outcome> {
    let now = whole_micros(deps.clock.now());
    let call = Call {
        action: "SendMail",
        caller: Caller::system(),
        request: None,
        now,
    };
    let committed = deps
        .commit(call, move |tx, note| {
            let before: Mail = tx.load(&keys::mail(&id))?.ok_or(MALFORMED)?;
            if before.state != MailState::Pending {
                note.silence();
                return Ok(None);
            }
            let mut mail = before.clone();
            match &attempt {
                Attempt::Sent => mail.sent(now),
                Attempt::Void(why) => mail.cancel(why, now),
                Attempt::Failed(failure, why) => mail.failed(*failure, why, now),
            }
            put(tx, Some(&before), &mail);
            if mail.state == MailState::Pending {
                // The next attempt tells more; the history has the end.
                note.silence();
            }
            note.serial = mail.kind.serial().cloned();
            note.subject = id.to_string();
            note.reason.clone_from(&mail.last_error);
            Ok(Some(mail))
        })
        .await?;
    Ok(committed.into_inner())
}

/// A page of the outbox: what waits by its next attempt, what was given up and everything else oldest first. Sent and cancelled
/// ones have no index, so their pages may be short.
///
/// # Errors
/// INVALID_FIELD for a foreign page token.
pub(crate) fn list(
    deps: &Deps,
    state: Option<MailState>,
    page: &Page,
) -> Result<Paged<Mail>, Outcome> {
    let (listing, range) = match state {
        Some(MailState::Pending) => ("mails/pending", keys::waiting_mails()),
        Some(MailState::Dead) => ("mails/dead", keys::dead_mails()),
        None | Some(MailState::Sent | MailState::Cancelled) => {
            let (mut found, next) = read::page(deps, "mails", &keys::mails(), page)?;
            found.retain(|mail: &Mail| state.is_none_or(|state| mail.state == state));
            return Ok((found, next));
        }
    };
    let (found, next) = read::index_page(deps, listing, &range, page)?;
    let mails: Result<Vec<Mail>, Outcome> = found.iter().map(|key| queued(deps, key)).collect();
    Ok((mails?, next))
}

/// The path of RetryMail.
///
/// # Errors
/// NOT_FOUND; ILLEGAL_TRANSITION for a mail that was sent or cancelled.
pub(crate) async fn retry(deps: &Arc<Deps>, call: Call, id: MailId) -> Result<Mail, Outcome> {
    let now = whole_micros(call.now);
    let principal = Principal::of(&call);
    let committed = deps
        .once(
            call,
            principal,
            id.to_string().as_bytes(),
            move |tx, note| {
                note.subject = id.to_string();
                let found: Option<Mail> = tx.load(&keys::mail(&id))?;
                let before =
                    found.ok_or_else(|| Refusal::new(Reason::NotFound).with("mail_id", id))?;
                note.serial = before.kind.serial().cloned();
                let mut mail = before.clone();
                mail.retry(now)?;
                put(tx, Some(&before), &mail);
                Ok::<MailWire, _>(mail.to_wire())
            },
        )
        .await?;
    Mail::from_wire(committed.into_inner()).map_err(|_| MALFORMED.into())
}

fn queued(deps: &Deps, key: &[u8]) -> Result<Mail, Outcome> {
    let id = keys::queued_mail_id(key).ok_or(MALFORMED)?;
    let mut store = &deps.store;
    Ok(store.load(&keys::mail(&id))?.ok_or(MALFORMED)?)
}

/// Stages a mail and its place in the queue.
///
/// * `before` - as it is on record; none for a new one.
fn put(tx: &mut Tx<'_>, before: Option<&Mail>, mail: &Mail) {
    if let Some(place) = before.and_then(place_of) {
        tx.delete(place);
    }
    if let Some(place) = place_of(mail) {
        tx.put(place, Vec::new());
    }
    save(tx, mail);
}

/// Where a mail stands in the queue; nowhere once it is sent or cancelled.
pub(crate) fn place_of(mail: &Mail) -> Option<Vec<u8>> {
    match mail.state {
        MailState::Pending => mail
            .next_attempt_at
            .map(|at| keys::queued_mail(at, &mail.id)),
        MailState::Dead => Some(keys::dead_mail(&mail.id)),
        MailState::Sent | MailState::Cancelled => None,
    }
}

const MALFORMED: Fault = Fault::Inconsistent("the outbox names a mail that is not there");
