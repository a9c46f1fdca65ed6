//! Learning the server's keys from the vendor's root: from a file, or with a call that goes out anyway.
//!
//! A store that pins no root keeps the keys of its enrollment and learns nothing here.

use upkeep::armor;
use upkeep::artefact::KeyList;
use upkeep::trust::{Learned, TrustError};

use crate::client::Client;
use crate::error::ClientError;
use crate::store::LicenseStore;

/// Takes a certified key list from a file and keeps it.
///
/// * `list` - bare or armoured, untrusted.
///
/// # Errors
/// [`ClientError::Input`] where no root is pinned; [`ClientError::Artefact`] for a list that the root did not sign, and for one that is
/// older than what is known here; [`ClientError::Store`].
pub fn import_keys(store: &mut LicenseStore, list: &str) -> Result<Learned, ClientError> {
    let text =
        armor::read_either::<KeyList>(list).map_err(|error| ClientError::artefact(LIST, error))?;
    store.learn(&text)
}

/// Brings the newest list from the server, where a root is pinned.
///
/// A list that is older than the one here is left alone: a server that was restored from a backup hands such out, and what it signs is
/// judged by the newer one.
///
/// # Errors
/// As every call; as [`import_keys`].
pub(crate) async fn learn_published(
    store: &mut LicenseStore,
    client: &Client,
) -> Result<(), ClientError> {
    if store.keys().root().is_none() {
        return Ok(());
    }
    let Some(list) = client.published_keys().await?.list else {
        return Ok(());
    };
    match store.learn_or(&list)? {
        Ok(_) | Err(TrustError::Older { .. }) => Ok(()),
        Err(error) => Err(ClientError::artefact(LIST, error)),
    }
}

pub(crate) const LIST: &str = "the key list";
