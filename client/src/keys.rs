//! Learning the server's keys from the vendor's root: from a file, or with a call that goes out anyway.
//!
//! A store that pins no root keeps the keys of its enrollment and learns nothing here.

use upkeep::armor;
use upkeep::artefact::KeyList;
use upkeep::key;
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
/// older than what is known here, or another issuer's; [`ClientError::Store`].
pub fn import_keys(store: &mut LicenseStore, list: &str) -> Result<Learned, ClientError> {
    let text =
        armor::read_either::<KeyList>(list).map_err(|error| ClientError::artefact(LIST, error))?;
    store.learn(&text)
}

/// Brings the newest list from the server, where a root is pinned.
///
/// A list that cannot be taken is left alone, and what the server signs is judged by the one here: a server that was restored from a
/// backup hands out an older one, and a mistake there shall not stop the products in the field. [`judge_published`] tells of it.
///
/// # Errors
/// As every call; [`ClientError::Store`].
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
    // Refused by the root's rules: nothing has changed.
    let _refused = store.learn_or(&list)?.err();
    Ok(())
}

/// Whether the list that the server hands out can be taken here; nothing where no root is pinned, or the server has none.
///
/// # Errors
/// As every call. Inside: why every call passes over the list.
pub async fn judge_published(
    store: &LicenseStore,
    client: &Client,
) -> Result<Option<Result<Learned, TrustError>>, ClientError> {
    if store.keys().root().is_none() {
        return Ok(None);
    }
    let list = client.published_keys().await?.list;
    Ok(list.map(|list| store.keys().judge(&list, key::verify)))
}

pub(crate) const LIST: &str = "the key list";
