//! A call that the device signs: fetch a challenge, send, and when the challenge ran out on the way do both once more.

use std::future::Future;

use upkeep::rpc::v1::ChallengePurpose;

use crate::client::Client;
use crate::error::ClientError;

/// Makes and sends a signed request, with up to [`RENEWALS`] fresh challenges where the server says that the last one was too old or
/// used. The request id inside must be the same each time; `make` sees to that.
///
/// # Errors
/// As `make` and the calls. A refusal counts every earlier sending whose outcome is not known.
pub(crate) async fn challenged<Q, A, F>(
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
    loop {
        let challenge = client.challenge(purpose).await?;
        let request = make(&challenge.bytes)?;
        match send(client.clone(), request).await {
            Err(ClientError::Refused(refusal))
                if renewals < RENEWALS && is_stale(refusal.reason.as_deref()) =>
            {
                renewals += 1;
                sent_before = sent_before.saturating_add(refusal.attempts.saturating_sub(1));
            }
            Err(ClientError::Refused(mut refusal)) => {
                refusal.attempts = refusal.attempts.saturating_add(sent_before);
                return Err(ClientError::Refused(refusal));
            }
            answer => return answer,
        }
    }
}

fn is_stale(reason: Option<&str>) -> bool {
    matches!(reason, Some("CHALLENGE_EXPIRED" | "CHALLENGE_SPENT"))
}

const RENEWALS: u32 = 2;
