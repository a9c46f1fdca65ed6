//! Whom the client talks to: servers of the pinned CA and name, over TLS 1.3, in HTTP/2, and nobody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use upkeep::rpc::v1;
use upkeep_client::{Client, ClientError, Deadlines, RetryPolicy};

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// The TLS of a server with a certificate for `name` that ends `year`.
    fn server(&self, name: &str, year: i32, alpn: &[&[u8]]) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }
}

/// Shakes hands with everyone and then says nothing.
async fn serve(config: ServerConfig) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = socket.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut tls) = acceptor.accept(tcp).await {
                    let _ = tls.read_to_end(&mut Vec::new()).await;
                }
            });
        }
    });
    address
}

/// Answers whatever comes with these bytes, then hangs up.
async fn serve_bytes(bytes: &'static [u8]) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = socket.accept().await {
            let mut hello = [0; 1024];
            let _ = tcp.read(&mut hello).await;
            let _ = tcp.write_all(bytes).await;
            let _ = tcp.shutdown().await;
        }
    });
    address
}

async fn call(address: SocketAddr, ca_pem: &str) -> ClientError {
    let client = Client::builder(&format!("https://{address}"))
        .ca_pem(ca_pem)
        .server_name("localhost")
        .retry(RetryPolicy::new(3, Duration::from_millis(1)))
        .deadlines(Deadlines {
            cold: Duration::from_millis(1500),
            warm: Duration::from_millis(500),
        })
        .build()
        .unwrap();
    client
        .challenge(v1::ChallengePurpose::Verify)
        .await
        .unwrap_err()
}

fn refused(error: &ClientError, word: &str) {
    assert!(
        matches!(error, ClientError::Tls { why, .. } if why.contains(word)),
        "{error:?}"
    );
    assert!(!error.outcome_unknown());
}

#[tokio::test]
async fn another_ca_is_refused() {
    let (pinned, other) = (Ca::new(), Ca::new());
    let address = serve(other.server("localhost", 2090, &[b"h2"])).await;
    refused(&call(address, &pinned.pem).await, "");
}

#[tokio::test]
async fn another_name_is_refused() {
    let ca = Ca::new();
    let address = serve(ca.server("elsewhere.example", 2090, &[b"h2"])).await;
    refused(&call(address, &ca.pem).await, "another name");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let ca = Ca::new();
    let address = serve(ca.server("localhost", 2021, &[b"h2"])).await;
    refused(&call(address, &ca.pem).await, "expired");
}

#[tokio::test]
async fn a_server_without_tls_1_3_is_refused() {
    // protocol_version (RFC 8446 section 6.2): what a server that knows TLS 1.2 only says to a client that does not.
    let address = serve_bytes(b"\x15\x03\x03\x00\x02\x02\x46").await;
    refused(&call(address, &Ca::new().pem).await, "TLS 1.3");
}

#[tokio::test]
async fn a_server_without_alpn_is_refused() {
    let ca = Ca::new();
    let address = serve(ca.server("localhost", 2090, &[])).await;
    refused(&call(address, &ca.pem).await, "ALPN");
}

#[tokio::test]
async fn a_server_of_another_protocol_is_refused() {
    let ca = Ca::new();
    let address = serve(ca.server("localhost", 2090, &[b"http/1.1"])).await;
    refused(&call(address, &ca.pem).await, "");
}

#[tokio::test]
async fn a_server_without_tls_is_refused() {
    let address = serve_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    refused(&call(address, &Ca::new().pem).await, "");
}

#[tokio::test]
async fn a_server_that_hangs_up_or_is_not_there_is_unreachable() {
    let address = serve_bytes(b"").await;
    let error = call(address, &Ca::new().pem).await;
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let error = call(address, &Ca::new().pem).await;
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_runs_into_the_deadline() {
    let ca = Ca::new();
    let address = serve(ca.server("localhost", 2090, &[b"h2"])).await;
    let error = call(address, &ca.pem).await;
    assert!(
        matches!(&error, ClientError::Deadline { after, .. } if *after == Duration::from_millis(1500)),
        "{error:?}"
    );
}
