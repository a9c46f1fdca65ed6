//! The outbox: mails are queued in the transaction that they follow from, and sent later.
//!
//! A mail is queued if, and only if, what it speaks of was committed. It is sent at least once: it leaves the queue after the
//! mail server has taken it, so a crash between the two sends it again, under the same Message-ID.

use chrono::{DateTime, Utc};
use upkeep::id::MailId;

use super::{Deps, Fault, Outcome, whole_micros};
use crate::domain::mail::{Mail, MailKind, MailState, Recipient};
use crate::random::uuid_v7;
use crate::record::{Reads, keys, save};
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
    let id = MailId::from_uuid(uuid_v7(&*deps.clock, &*deps.random));
    tx.put(once, id.as_bytes().to_vec());
    put(tx, None, &Mail::new(id, kind, to, whole_micros(now)));
    Ok(id)
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
