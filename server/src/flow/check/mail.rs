//! The outbox: each mail is there once, and the queue holds what waits.

use super::{Found, each_record};
use crate::domain::mail::{Mail, MailKind, MailState};
use crate::flow::outbox::place_of;
use crate::flow::{Deps, Fault};
use crate::record::keys;

/// A mail that waits stands in the queue once, at its next attempt, and one that was given up behind all that wait; others do not.
/// For what it is about there is one mail to its recipient, and it is found by that (N-09); only one that support asked to be sent
/// again stands beside those that were settled before it.
pub(super) fn outbox(deps: &Deps, found: &mut Found) -> Result<(), Fault> {
    each_record(deps, &keys::mails(), |_, mail: Mail| {
        if let Some(place) = place_of(&mail) {
            found.key(b'N', place);
        }
        let key = keys::mail_once(&mail.kind.once_per(&mail.to));
        let named = deps.store.get(&key)?.unwrap_or_default();
        found.key(b'K', key);
        if named == mail.id.as_bytes() {
            return Ok(());
        }
        let settled = matches!(mail.state, MailState::Sent | MailState::Cancelled);
        let code = matches!(mail.kind, MailKind::UpgradeCode { .. });
        found.check(
            settled && code && !named.is_empty(),
            "outbox K",
            mail.id,
            "another is the one for it",
        );
        Ok(())
    })
}
