//! The listeners' certificate is replaced while connections run.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use upkeep_server::keys::tls_files;

use crate::dial::Identity;
use crate::vendor::Vendor;
use crate::world::instant;

/// A connection to the staff's listener with a client certificate, or to the products' without one.
pub(crate) async fn connect(vendor: &Vendor, client: Option<&Identity>) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(vendor.ca().as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let (mut config, address) = match client {
        None => (
            builder.with_no_client_auth(),
            vendor.running.products_addr(),
        ),
        Some(client) => {
            let chain = CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
            let config = builder.with_client_auth_cert(vec![chain], key).unwrap();
            (config, vendor.running.staff_addr())
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(Arc::new(config));
    tls.connect(name, tcp).await.unwrap()
}

/// Opens HTTP/2 and waits for the server's settings: from then on the connection is one that serves calls.
pub(crate) async fn open_http2(stream: &mut TlsStream<TcpStream>) {
    // The preface and an empty SETTINGS frame (RFC 9113 section 3.4).
    let opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(opening).await.unwrap();
    stream.flush().await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
}

/// The certificate that a new connection is shown.
async fn shown(vendor: &Vendor) -> Vec<u8> {
    let stream = connect(vendor, None).await;
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    chain[0].to_vec()
}

/// A new pair, not on disk yet: certificate and key, PEM.
fn issued(vendor: &Vendor) -> (String, String) {
    let names = ["localhost".to_owned()];
    let issued = vendor.keys.authority().issue_server(&names, Utc::now(), 90);
    let issued = issued.unwrap();
    (
        issued.certificate_pem().to_owned(),
        issued.key_pem().to_owned(),
    )
}

/// Puts files in place as a renewal does: each whole, by a rename that keeps the key to its owner.
fn put(vendor: &Vendor, certificate: &str, key: &str) {
    let (to_certificate, to_key) = tls_files(&vendor.settings.data_dir);
    for (path, text) in [(to_key, key), (to_certificate, certificate)] {
        let beside = path.with_extension("beside");
        fs::write(&beside, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&beside, mode).unwrap();
        fs::rename(&beside, &path).unwrap();
    }
}

async fn until_shown(vendor: &Vendor, certificate: &str) {
    let wanted = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let mut tries = interval(Duration::from_millis(50));
    let seen = async {
        while shown(vendor).await != wanted.as_ref() {
            tries.tick().await;
        }
    };
    timeout(Duration::from_secs(30), seen)
        .await
        .expect("the new certificate is shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_and_connections_go_on() {
    let mut vendor = Vendor::new(Utc::now()).await;
    // This channel was made before, and has no reason to connect anew.
    vendor.issuing_keys().await;
    let (certificate, key) = issued(&vendor);
    put(&vendor, &certificate, &key);
    vendor.running.renew_certificate();
    until_shown(&vendor, &certificate).await;
    vendor.issuing_keys().await;

    // The next one is noticed without being told.
    let (certificate, key) = issued(&vendor);
    put(&vendor, &certificate, &key);
    until_shown(&vendor, &certificate).await;
    vendor.issuing_keys().await;
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_that_is_of_no_use_changes_nothing() {
    let vendor = Vendor::new(instant("2026-03-01")).await;
    let before = shown(&vendor).await;
    let (certificate, _) = issued(&vendor);
    let (_, other_key) = issued(&vendor);
    let old = vendor
        .keys
        .authority()
        .issue_server(&["localhost".to_owned()], instant("2020-01-01"), 1)
        .unwrap();
    for (certificate, key) in [
        (certificate.as_str(), other_key.as_str()),
        ("rubbish", other_key.as_str()),
        (certificate.as_str(), ""),
        (old.certificate_pem(), old.key_pem()),
    ] {
        put(&vendor, certificate, key);
        vendor.running.renew_certificate();
        assert_eq!(shown(&vendor).await, before);
    }
    // A good pair after all that is taken up: the bad ones had been looked at.
    let (certificate, key) = issued(&vendor);
    put(&vendor, &certificate, &key);
    vendor.running.renew_certificate();
    until_shown(&vendor, &certificate).await;
    vendor.running.stop().await.unwrap();
}
