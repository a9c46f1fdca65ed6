//! Randomness, from the operating system: device key seeds, request ids, challenges to oneself, jitter.
//!
//! Not from the TLS library: its source takes 35 ms of CPU to start, and a product asks for 32 bytes at each start of its own.

use upkeep::id::RequestId;
use upkeep::key::SigningKey;
use uuid::Builder;
use zeroize::Zeroizing;

use crate::error::ClientError;

/// A new device key.
///
/// # Errors
/// [`ClientError::Input`] when the system gives no randomness.
pub(crate) fn device_key() -> Result<SigningKey, ClientError> {
    for _ in 0..8 {
        let mut seed = Zeroizing::new([0; 32]);
        fill(seed.as_mut())?;
        if let Ok(key) = SigningKey::from_seed(&seed) {
            return Ok(key);
        }
    }
    Err(no_randomness())
}

/// A new request id, UUID version 4.
///
/// # Errors
/// As [`device_key`].
pub(crate) fn request_id() -> Result<RequestId, ClientError> {
    bytes().map(|bytes| RequestId::from_uuid(Builder::from_random_bytes(bytes).into_uuid()))
}

/// `N` random bytes.
///
/// # Errors
/// As [`device_key`].
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], ClientError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> Result<(), ClientError> {
    getrandom::fill(bytes).map_err(|_| no_randomness())
}

fn no_randomness() -> ClientError {
    ClientError::Input("the system gives no random numbers".to_owned())
}
