//! Enrollment: from here on this installation trusts one server, and the keys that it published on that day or that its root certifies.

use std::path::Path;

use upkeep::jwks::KeySet;
use upkeep::key::PublicKey;

use crate::client::Client;
use crate::error::ClientError;
use crate::store::{Enrollment, LicenseStore};

/// Fetches the server's verification keys over TLS that trusts `ca_pem` alone, and pins endpoint, name, CA and keys.
///
/// A new store gets a new device key; a store that is enrolled keeps its key and its license and changes its server only.
///
/// # Errors
/// [`ClientError::Tls`] when the server is not who it should be, [`ClientError::Input`] (also for a store that pins a root, which is not
/// dropped by the way), [`ClientError::Store`].
pub async fn enroll(
    dir: &Path,
    endpoint: &str,
    server_name: Option<&str>,
    ca_pem: &str,
) -> Result<LicenseStore, ClientError> {
    let client = client(endpoint, server_name, ca_pem)?;
    let keys = client.verification_keys().await?;
    LicenseStore::create(
        dir,
        Enrollment {
            endpoint: client.endpoint().to_owned(),
            server_name: server_name.map(str::to_owned),
            ca_pem: ca_pem.to_owned(),
            jwks: keys.to_json(),
            root: None,
            key_list: None,
            ended_keys: Vec::new(),
        },
    )
}

/// As [`enroll`], but what counts is `root`, the vendor's offline root key: the server's keys are those that it certified, and newer
/// lists are learned as they come. No issuing key is pinned.
///
/// # Errors
/// As [`enroll`]; [`ClientError::Answer`] when the server has no certified list, [`ClientError::Input`] when its list is another root's.
pub async fn enroll_with_root(
    dir: &Path,
    endpoint: &str,
    server_name: Option<&str>,
    ca_pem: &str,
    root: PublicKey,
) -> Result<LicenseStore, ClientError> {
    let client = client(endpoint, server_name, ca_pem)?;
    let list = client.published_keys().await?.list.ok_or_else(|| {
        ClientError::Answer("it has no key list that a root certified".to_owned())
    })?;
    LicenseStore::create(
        dir,
        Enrollment {
            endpoint: client.endpoint().to_owned(),
            server_name: server_name.map(str::to_owned),
            ca_pem: ca_pem.to_owned(),
            jwks: KeySet::default().to_json(),
            root: Some(root),
            key_list: Some(list),
            ended_keys: Vec::new(),
        },
    )
}

fn client(endpoint: &str, server_name: Option<&str>, ca_pem: &str) -> Result<Client, ClientError> {
    let builder = Client::builder(endpoint).ca_pem(ca_pem);
    match server_name {
        Some(name) => builder.server_name(name),
        None => builder,
    }
    .build()
}
