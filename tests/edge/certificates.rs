//! Client certificates: one name, of our trust domain, from our CA, or no connection.

use chrono::Utc;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Request;
use upkeep_server::listener::Limits;
use upkeep_server::pki::{Authority, Identity, Role, TrustDomain};

use crate::frames;
use crate::probe::ask;
use crate::world::{Running, World, domain, logs, patient};

#[tokio::test]
async fn who_calls_is_known() {
    let world = World::new();
    let staff = world.staff(Limits::default()).await;
    for (role, expected) in [
        (Role::Partner, "partner/acme Some(32)"),
        (Role::Support, "support/acme Some(32)"),
        (Role::Admin, "admin/acme Some(32)"),
    ] {
        let issued = world.client(role, "acme");
        let tls = world.tls(Some((issued.certificate_pem(), issued.key_pem())));
        let channel = staff.channel(tls).await.unwrap();
        let answer = patient(ask(&channel, "Peer", Request::new(()))).await;
        assert_eq!(answer.message(), expected);
    }
    let products = world.products(Limits::default()).await;
    let channel = products.channel(world.tls(None)).await.unwrap();
    let answer = patient(ask(&channel, "Peer", Request::new(()))).await;
    assert_eq!(answer.message(), "127.0.0.0/24 None");
}

#[tokio::test]
async fn no_certificate_is_refused() {
    let world = World::new();
    let staff = world.staff(Limits::default()).await;
    assert_refused(&staff, world.tls(None), "CertificateRequired").await;
    logs()
        .line(&["client certificate refused", "none was shown"])
        .await;
}

#[tokio::test]
async fn another_ca_is_refused() {
    let world = World::new();
    let staff = world.staff(Limits::default()).await;
    let admin = Identity::new(Role::Admin, "mallory").unwrap();
    for (name, alert) in [
        ("mallory.example", "UnknownCA"),
        // A CA of the same name is told apart by its signature.
        (domain().as_str(), "DecryptError"),
    ] {
        let other = Authority::create(&TrustDomain::parse(name).unwrap(), Utc::now()).unwrap();
        let issued = other.issue_client(&admin, Utc::now(), 1).unwrap();
        let tls = world.tls(Some((issued.certificate_pem(), issued.key_pem())));
        assert_refused(&staff, tls, alert).await;
    }
    for reason in ["UnknownIssuer", "BadSignature"] {
        logs()
            .line(&["client certificate refused", reason, "this server's own CA"])
            .await;
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let world = World::new();
    let staff = world.staff(Limits::default()).await;
    let admin = Identity::new(Role::Admin, "old").unwrap();
    let issued = world
        .authority
        .issue_client(&admin, Utc::now() - chrono::TimeDelta::days(9), 1)
        .unwrap();
    let tls = world.tls(Some((issued.certificate_pem(), issued.key_pem())));
    assert_refused(&staff, tls, "CertificateExpired").await;
}

#[tokio::test]
async fn a_certificate_of_another_domain_is_refused() {
    let world = World::new();
    let staff = world.staff(Limits::default()).await;
    // The same CA key, as a server would have it that was renamed.
    let renamed = Authority::open(
        &TrustDomain::parse("other.example").unwrap(),
        world.authority.certificate_pem(),
        &world.authority.key_pem(),
    )
    .unwrap();
    let admin = Identity::new(Role::Admin, "ann").unwrap();
    let issued = renamed.issue_client(&admin, Utc::now(), 1).unwrap();
    let tls = world.tls(Some((issued.certificate_pem(), issued.key_pem())));
    assert_refused(&staff, tls, "Certificate").await;
    logs()
        .line(&["client certificate refused", "not in the trust domain"])
        .await;
}

#[tokio::test]
async fn names_that_are_not_exactly_one_are_refused() {
    let world = World::new();
    let staff = world.staff(Limits::default()).await;
    let ours = |path: &str| uri(&format!("spiffe://{}/{path}", domain()));
    for (names, reason) in [
        (
            vec![ours("partner/acme"), ours("admin/acme")],
            "has 2 URI names",
        ),
        (vec![], "has no URI name"),
        (
            vec![SanType::DnsName("admin.example".try_into().unwrap())],
            "has no URI name",
        ),
        (vec![ours("root/acme")], "partner, support or admin"),
        (vec![ours("admin/Acme")], "an id must be"),
        (
            vec![uri("https://vendor.example/admin/x")],
            "must be spiffe://",
        ),
    ] {
        let (certificate, key) = issue(&world, names, |_| {});
        let tls = world.tls(Some((&certificate, &key)));
        assert_refused(&staff, tls, "Certificate").await;
        logs().line(&["client certificate refused", reason]).await;
    }
    // A DNS name beside the one URI is no second name.
    let names = vec![
        ours("admin/ann"),
        SanType::DnsName("admin.example".try_into().unwrap()),
    ];
    let (certificate, key) = issue(&world, names, |_| {});
    staff
        .assert_alive(world.tls(Some((&certificate, &key))))
        .await;
}

#[tokio::test]
async fn certificates_for_other_uses_are_refused() {
    let world = World::new();
    let staff = world.staff(Limits::default()).await;
    let name = || vec![uri(&format!("spiffe://{}/admin/ann", domain()))];
    let changes: [fn(&mut CertificateParams); 3] = [
        |params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement],
        |params| params.key_usages.clear(),
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
    ];
    for change in changes {
        let (certificate, key) = issue(&world, name(), change);
        let tls = world.tls(Some((&certificate, &key)));
        assert_refused(&staff, tls, "Certificate").await;
    }
    let server = world
        .authority
        .issue_server(&["localhost".to_owned()], Utc::now(), 1)
        .unwrap();
    let tls = world.tls(Some((server.certificate_pem(), server.key_pem())));
    assert_refused(&staff, tls, "Certificate").await;
}

/// The server ends the connection with an alert whose name contains `alert`.
async fn assert_refused(running: &Running, tls: ClientConfig, alert: &str) {
    // A client of TLS 1.3 has finished before the server has looked at its certificate.
    let mut stream = running.raw(tls).await.unwrap();
    let _ = stream.write_all(&frames::opening()).await;
    let mut rest = Vec::new();
    let error = patient(stream.read_to_end(&mut rest)).await.unwrap_err();
    assert!(rest.is_empty());
    let error = error.to_string();
    assert!(
        error.contains("fatal alert") && error.contains(alert),
        "{error}"
    );
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// A client certificate from the world's CA that its own code would never issue.
fn issue(
    world: &World,
    names: Vec<SanType>,
    change: impl Fn(&mut CertificateParams),
) -> (String, String) {
    let ca_key = KeyPair::from_pem(&world.authority.key_pem()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(world.authority.certificate_pem(), ca_key).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}
