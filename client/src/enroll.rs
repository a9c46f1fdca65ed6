//! Enrollment: from here on this installation trusts one server and the keys that it published on that day.

use std::path::Path;

use upkeep::jwks::KeySet;

use crate::client::Client;
use crate::error::ClientError;
use crate::store::{Enrollment, LicenseStore};

/// Fetches the server's verification keys over TLS that trusts `ca_pem` alone, and pins endpoint, name, CA and keys.
///
/// A new store gets a new device key; a store that is enrolled keeps its key and its license and changes its server only.
///
/// # Errors
/// [`ClientError::Tls`] when the server is not who it should be, [`ClientError::Input`], [`ClientError::Store`].
pub async fn enroll(
    dir: &Path,
    endpoint: &str,
    server_name: Option<&str>,
    ca_pem: &str,
) -> Result<LicenseStore, ClientError> {
    let builder = Client::builder(endpoint).ca_pem(ca_pem);
    let client = match server_name {
        Some(name) => builder.server_name(name),
        None => builder,
    }
    .build()?;
    let keys: KeySet = client.verification_keys().await?;
    LicenseStore::create(
        dir,
        Enrollment {
            endpoint: client.endpoint().to_owned(),
            server_name: server_name.map(str::to_owned),
            ca_pem: ca_pem.to_owned(),
            jwks: keys.to_json(),
        },
    )
}
