//! Client certificates that are withdrawn: at once, on open connections too (PRT1).

use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use upkeep::rpc::v1;
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep_server::pki::{RequestedKey, Role};

use crate::dial::{self, dial};
use crate::vendor::{Vendor, identity};
use crate::world::{instant, seed};

async fn vendor() -> Vendor {
    let mut vendor = Vendor::new(instant("2026-03-01")).await;
    seed(&mut vendor.admin).await;
    vendor
}

/// A certificate of the partner acme, on record, and its serial number.
async fn recorded(vendor: &mut Vendor) -> (dial::Identity, String) {
    let acme = identity(&vendor.keys, Role::Partner, "acme");
    let serial = record(vendor, &acme.certificate).await;
    (acme, serial)
}

async fn record(vendor: &mut Vendor, pem: &str) -> String {
    let asked = v1::RecordClientCertificateRequest {
        request_id: String::new(),
        certificate: der(pem),
    };
    let recorded = vendor.admin.record_client_certificate(asked).await;
    recorded
        .unwrap()
        .into_inner()
        .certificate
        .unwrap()
        .serial_number
}

fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

async fn partner(vendor: &Vendor, identity: &dial::Identity) -> PartnerServiceClient<Channel> {
    let channel = dial(vendor.running.staff_addr(), vendor.ca(), Some(identity)).await;
    PartnerServiceClient::new(channel)
}

async fn look(partner: &mut PartnerServiceClient<Channel>) -> Result<(), Status> {
    let asked = v1::PartnerServiceListLicensesRequest::default();
    partner.list_licenses(asked).await.map(drop)
}

fn revoke(serial: &str) -> v1::RevokeClientCertificatesRequest {
    v1::RevokeClientCertificatesRequest {
        request_id: String::new(),
        holder: "partner/acme".into(),
        serial_number: serial.into(),
        reason: "laptop stolen".into(),
    }
}

fn assert_withdrawn(status: &Status) {
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "CLIENT_CERTIFICATE_REVOKED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_partner_is_refused_on_the_connection_that_is_open() {
    let mut vendor = vendor().await;
    let (acme, serial) = recorded(&mut vendor).await;
    let (second, _) = recorded(&mut vendor).await;
    let mut open = partner(&vendor, &acme).await;
    look(&mut open).await.unwrap();
    vendor
        .admin
        .revoke_client_certificates(revoke(&serial))
        .await
        .unwrap();
    // The very next call, on the same connection.
    assert_withdrawn(&look(&mut open).await.unwrap_err());
    // A new connection learns the same.
    let mut again = partner(&vendor, &acme).await;
    assert_withdrawn(&look(&mut again).await.unwrap_err());
    // The partner's other certificate still counts, and so does everybody else's.
    look(&mut partner(&vendor, &second).await).await.unwrap();
    vendor.issuing_keys().await;
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_of_a_withdrawn_certificate_is_closed() {
    use tokio::io::AsyncReadExt;
    let mut vendor = vendor().await;
    let (acme, serial) = recorded(&mut vendor).await;
    let mut stream = crate::listener_certificate::connect(&vendor, Some(&acme)).await;
    crate::listener_certificate::open_http2(&mut stream).await;
    vendor
        .admin
        .revoke_client_certificates(revoke(&serial))
        .await
        .unwrap();
    // It sends nothing more, and the server ends it: reading comes to an end.
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(8), stream.read_to_end(&mut rest))
        .await
        .expect("the connection is closed, sooner than a keepalive would do it");
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_partner_had_is_withdrawn_and_a_later_one_counts() {
    let mut vendor = vendor().await;
    // Issued before there were records of certificates.
    let unknown = identity(&vendor.keys, Role::Partner, "acme");
    let (known, _) = recorded(&mut vendor).await;
    let listed = vendor
        .admin
        .revoke_client_certificates(revoke(""))
        .await
        .unwrap();
    assert!(listed.into_inner().certificates[0].revoke_time.is_some());
    for one in [&unknown, &known] {
        assert_withdrawn(&look(&mut partner(&vendor, one).await).await.unwrap_err());
    }
    vendor.pass(chrono::TimeDelta::seconds(1));
    let (later, _) = recorded(&mut vendor).await;
    look(&mut partner(&vendor, &later).await).await.unwrap();
    // It stays so after a restart: the set is made from the records.
    let mut vendor = vendor.restart().await;
    for one in [&unknown, &known] {
        assert_withdrawn(&look(&mut partner(&vendor, one).await).await.unwrap_err());
    }
    look(&mut partner(&vendor, &later).await).await.unwrap();
    // What is not there is not withdrawn, and nobody takes away the certificate that the program itself comes with.
    let other = revoke("00ff");
    let refused = vendor.admin.revoke_client_certificates(other).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    let cli = v1::RevokeClientCertificatesRequest {
        holder: "admin/cli".into(),
        ..revoke("")
    };
    let refused = vendor.admin.revoke_client_certificates(cli).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_that_keeps_its_key_is_let_in_by_the_certificate_for_it() {
    let mut vendor = vendor().await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    // It asks for an administrator's name, which says nothing.
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let uri = "spiffe://upkeep.localhost/admin/root";
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let requested = RequestedKey::read(csr.as_bytes()).unwrap();
    let acme = upkeep_server::pki::Identity::new(Role::Partner, "acme").unwrap();
    let issue = |at| {
        let issued = vendor
            .keys
            .authority()
            .issue_for_key(&acme, &requested, at, 30);
        issued.unwrap()
    };
    let now = chrono::Utc::now();
    let (one, two) = (issue(now), issue(now + chrono::TimeDelta::seconds(1)));
    let signed = dial::Identity {
        certificate: one.clone(),
        key: key.serialize_pem(),
    };
    look(&mut partner(&vendor, &signed).await).await.unwrap();
    let mut admin = v1::admin_service_client::AdminServiceClient::new(
        dial(vendor.running.staff_addr(), vendor.ca(), Some(&signed)).await,
    );
    let refused = admin.get_server_info(v1::GetServerInfoRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let first = record(&mut vendor, &one).await;
    assert_ne!(
        first,
        record(&mut vendor, &two).await,
        "each has a serial number of its own"
    );
    vendor.running.stop().await.unwrap();
}
