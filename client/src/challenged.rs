//! A call that the device signs: fetch a challenge, send, and when the challenge ran out on the way do both once more.

use std::future::Future;

use upkeep::rpc::v1::ChallengePurpose;

use crate::client::{Challenge, Client};
use crate::error::ClientError;

/// Makes and sends a signed request, with up to [`RENEWALS`] fresh challenges where the server says that the last one was too old or
/// used. The request id inside must be the same each time; `make` sees to that.
///
/// # Errors
/// As `make` and the calls. A refusal counts every earlier sending whose outcome is not known.
pub(crate) async fn challenged<Q, A, F>(
    client: &Client,
    purpose: ChallengePurpose,
    make: impl FnMut(&[u8]) -> Result<Q, ClientError>,
    send: impl Fn(Client, Q) -> F,
) -> Result<A, ClientError>
where
    F: Future<Output = Result<A, ClientError>>,
{
    let first = client.challenge(purpose).await?;
    challenged_with(first, client, purpose, make, send).await
}

/// As [`challenged`], where the first challenge is here already.
///
/// # Errors
/// As [`challenged`].
pub(crate) async fn challenged_with<Q, A, F>(
    first: Challenge,
    client: &Client,
    purpose: ChallengePurpose,
    mut make: impl FnMut(&[u8]) -> Result<Q, ClientError>,
    send: impl Fn(Client, Q) -> F,
) -> Result<A, ClientError>
where
    F: Future<Output = Result<A, ClientError>>,
{
    let mut renewals = 0;
    let mut sent_before = 0_u32;
    let mut challenge = first;
    loop {
        let request = make(&challenge.bytes)?;
        match send(client.clone(), request).await {
            Err(ClientError::Refused(refusal))
                if renewals < RENEWALS && is_stale(refusal.reason.as_deref()) =>
            {
                renewals += 1;
                sent_before = sent_before.saturating_add(refusal.attempts.saturating_sub(1));
                let fresh = client.challenge(purpose).await;
                challenge = fresh.map_err(|error| counted(error, sent_before))?;
            }
            answer => return answer.map_err(|error| counted(error, sent_before)),
        }
    }
}

/// A refusal that knows of the sendings before it.
fn counted(error: ClientError, sent_before: u32) -> ClientError {
    match error {
        ClientError::Refused(mut refusal) => {
            refusal.attempts = refusal.attempts.saturating_add(sent_before);
            ClientError::Refused(refusal)
        }
        error => error,
    }
}

fn is_stale(reason: Option<&str>) -> bool {
    matches!(reason, Some("CHALLENGE_EXPIRED" | "CHALLENGE_SPENT"))
}

const RENEWALS: u32 = 2;
