//! Once: a request with an id has one effect and one answer, however often it is sent (I5).

use std::sync::Arc;

use chrono::TimeDelta;
use prost::Message;
use subtle::ConstantTimeEq;

use super::{Call, Deps, Note, Outcome};
use crate::domain::refusal::{Reason, Refusal};
use crate::record::once::Answered;
use crate::record::{self, Reads, keys};
use crate::store::{Committed, Tx};

/// Whose request ids these are: two principals never share one.
#[derive(Clone, Debug)]
pub(crate) struct Principal(pub(crate) String);

impl Principal {
    /// A caller with a client certificate.
    pub(crate) fn of(call: &Call) -> Self {
        Self(call.caller.actor())
    }

    /// Whoever proved to own this record: the serial's secret, or the activation's device key.
    pub(crate) fn owner(kind: &str, id: &str) -> Self {
        Self(format!("{kind}/{id}"))
    }
}

impl Deps {
    /// As [`Deps::commit`], but a request id that was answered before gets its outcome again, and nothing happens twice.
    ///
    /// * `body` - the request's content without request id, challenge and signature: a retry proves itself afresh.
    ///
    /// # Errors
    /// REQUEST_ID_REUSED when the id was used for other content; what `decide` refuses. A refused request is not kept: sending it
    /// again decides it again.
    pub(crate) async fn once<R, F>(
        self: &Arc<Self>,
        call: Call,
        principal: Principal,
        body: &[u8],
        mut decide: F,
    ) -> Result<Committed<R>, Outcome>
    where
        R: Message + Default + 'static,
        F: FnMut(&mut Tx<'_>, &mut Note) -> Result<R, Outcome> + Send + 'static,
    {
        let body_mac = self.pepper.body(call.action, body);
        let (request, action, now) = (call.request, call.action, call.now);
        self.commit(call, move |tx, note| {
            let Some(request) = request else {
                return decide(tx, note);
            };
            let key = keys::once(&principal.0, &request);
            if let Some(value) = tx.value(&key)? {
                let answered: Answered = record::decode_message(&key, &value)?;
                let same =
                    answered.method == action && bool::from(answered.body_mac.ct_eq(&body_mac));
                if !same {
                    return Err(Refusal::new(Reason::RequestIdReused)
                        .with("request_id", request)
                        .into());
                }
                note.silence();
                return R::decode(answered.outcome.as_slice()).map_err(|_| {
                    Outcome::Failed(super::Fault::Inconsistent(
                        "a kept answer is of another kind",
                    ))
                });
            }
            let outcome = decide(tx, note)?;
            let answered = Answered {
                method: action.to_owned(),
                body_mac: body_mac.to_vec(),
                outcome: outcome.encode_to_vec(),
            };
            match note.spent.take() {
                // The challenge's key is as good to find by when the answer may be forgotten: one record less.
                Some(challenge) => tx.put(challenge, key.clone()),
                None => {
                    let forget_at = now.checked_add_signed(KEPT_FOR).unwrap_or(now);
                    tx.put(keys::once_expiry(forget_at, &key), Vec::new());
                }
            }
            tx.put(key, record::encode(&answered));
            Ok(outcome)
        })
        .await
    }
}

/// How long an answer is kept for retries.
pub(super) const KEPT_FOR: TimeDelta = TimeDelta::days(30);
