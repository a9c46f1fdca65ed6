//! The TLS of both listeners: 1.3 only, `h2` only, aws-lc-rs, no session tickets.
//!
//! Products are asked for no certificate: a device proves itself inside the message. Staff and partners must show one,
//! signed by the server's own CA, with exactly one name; the check runs inside the handshake, so that the caller's TLS
//! library reports the refusal. Without tickets no session outlives a certificate that was withdrawn. The server's own certificate may be
//! replaced while it serves: handshakes take the one that is there, and connections go on.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
};

use crate::pki::{Identity, TrustDomain};

/// The protocol that both sides must name in ALPN.
pub const ALPN_H2: &[u8] = b"h2";

/// The server's certificate chain and its private key. Clones are the same one: what [`Self::replace`] sets counts for all of them.
#[derive(Clone)]
pub struct ServerCertificate(Arc<ArcSwap<CertifiedKey>>);

impl ServerCertificate {
    /// Reads a chain, the server's own certificate first, and its key; both PEM.
    ///
    /// # Errors
    /// [`TlsError::Pem`]; [`TlsError::Refused`] when they are no pair.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, TlsError> {
        let pair = pair(chain, key)?;
        Ok(Self(Arc::new(ArcSwap::from_pointee(pair))))
    }

    /// Shows another certificate from the next handshake on.
    ///
    /// # Errors
    /// As [`Self::from_pem`]; nothing changes then.
    pub fn replace(&self, chain: &str, key: &str) -> Result<(), TlsError> {
        self.0.store(Arc::new(pair(chain, key)?));
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").finish_non_exhaustive()
    }
}

/// Whose client certificates are accepted, and in which domain their names must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTrust {
    /// The CA's certificate, PEM.
    pub ca_pem: String,
    /// The domain of all names.
    pub trust_domain: TrustDomain,
}

/// TLS as DESIGN 3 has it; with `clients`, a client certificate is required.
///
/// # Errors
/// [`TlsError`].
pub fn server_config(
    certificate: &ServerCertificate,
    clients: Option<&ClientTrust>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            builder.with_client_cert_verifier(Arc::new(NamedClients::new(clients, provider)?))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificate.clone()));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Why TLS was not set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A text holds no PEM of its kind.
    #[error("{0} is not readable PEM; restore the file, or issue it again")]
    Pem(&'static str),
    /// Certificate and key do not fit, or the certificate is refused.
    #[error(
        "keys/tls.crt and keys/tls.key cannot be used together: {0}; restore both from one copy, or issue them anew with `upkeep-server keys renew-tls`"
    )]
    Refused(#[from] rustls::Error),
    /// The client CA cannot be used.
    #[error("client certificates cannot be checked: {0}; look at ca.crt")]
    ClientCa(String),
}

/// The usual check of a client certificate, and then that of its name.
#[derive(Debug)]
struct NamedClients {
    chain: Arc<dyn ClientCertVerifier>,
    trust_domain: TrustDomain,
}

impl NamedClients {
    fn new(clients: &ClientTrust, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for ca in certificates(&clients.ca_pem, "the client CA")? {
            roots.add(ca)?;
        }
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| TlsError::ClientCa(e.to_string()))?;
        Ok(Self {
            chain,
            trust_domain: clients.trust_domain.clone(),
        })
    }
}

impl ClientCertVerifier for NamedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        Identity::from_certificate(end_entity, &self.trust_domain)
            .map(|_| verified)
            .map_err(|e| CertificateError::Other(OtherError(Arc::new(e))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn pair(chain: &str, key: &str) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(chain, "the server certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| TlsError::Pem("the server certificate's key"))?;
    Ok(CertifiedKey::from_der(
        chain,
        key,
        &aws_lc_rs::default_provider(),
    )?)
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Pem(what))?;
    if found.is_empty() {
        return Err(TlsError::Pem(what));
    }
    Ok(found)
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "certificates are checked against the machine's own clock"
)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::pki::Authority;

    #[test]
    fn no_session_outlives_its_connection() {
        let domain = TrustDomain::local();
        let ca = Authority::create(&domain, Utc::now()).unwrap();
        let issued = ca.issue_server(&["a".to_owned()], Utc::now(), 1).unwrap();
        let certificate =
            ServerCertificate::from_pem(issued.certificate_pem(), issued.key_pem()).unwrap();
        let clients = ClientTrust {
            ca_pem: ca.certificate_pem().to_owned(),
            trust_domain: domain,
        };
        for clients in [None, Some(&clients)] {
            let config = server_config(&certificate, clients).unwrap();
            assert_eq!(config.send_tls13_tickets, 0);
            assert!(!config.session_storage.can_cache());
            assert_eq!(config.max_early_data_size, 0);
            assert_eq!(config.alpn_protocols, [ALPN_H2]);
        }
    }

    #[test]
    fn a_foreign_key_and_no_pem_are_refused() {
        let ca = Authority::create(&TrustDomain::local(), Utc::now()).unwrap();
        let issue = || ca.issue_server(&["a".to_owned()], Utc::now(), 1).unwrap();
        let (one, two) = (issue(), issue());
        let mixed = ServerCertificate::from_pem(one.certificate_pem(), two.key_pem());
        assert!(matches!(mixed, Err(TlsError::Refused(_))));
        let good = ServerCertificate::from_pem(one.certificate_pem(), one.key_pem()).unwrap();
        let shown = good.0.load_full();
        assert!(matches!(
            good.replace(one.certificate_pem(), two.key_pem()),
            Err(TlsError::Refused(_))
        ));
        assert!(
            Arc::ptr_eq(&shown, &good.0.load_full()),
            "the old one stays"
        );
        good.replace(two.certificate_pem(), two.key_pem()).unwrap();
        assert!(!Arc::ptr_eq(&shown, &good.0.load_full()));
        assert!(matches!(
            ServerCertificate::from_pem("", one.key_pem()),
            Err(TlsError::Pem(_))
        ));
    }
}
