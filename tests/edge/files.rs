//! Keys as they stand on disk, from `Keys::create` and from the script that makes do with openssl.

use std::fs;
use std::path::Path;
use std::process::Command;

use tonic::Request;
use upkeep_server::clock::SystemClock;
use upkeep_server::keys::Keys;
use upkeep_server::listener::Limits;
use upkeep_server::random::SystemRandom;
use upkeep_server::signer::verify_es256;

use crate::probe::ask;
use crate::world::{World, domain, patient};

#[tokio::test]
async fn the_first_administrator_is_let_in() {
    let data = tempfile::tempdir().unwrap();
    let names = ["localhost".to_owned()];
    let keys = Keys::create(data.path(), &domain(), &names, &SystemClock, &SystemRandom).unwrap();
    assert_let_in(&keys, data.path(), "admin/admin").await;
}

#[tokio::test]
async fn certificates_made_by_openssl_have_the_same_profile() {
    let data = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make-dev-certs.sh");
    let made = Command::new("sh")
        .arg(script)
        .arg(data.path())
        .args([domain().as_str(), "support/ann", "localhost"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    if said.contains("openssl: ") && said.contains("not found") {
        eprintln!("SKIPPED: no openssl");
        return;
    }
    assert!(made.status.success(), "{said}");
    let keys = Keys::open(data.path(), &domain()).unwrap();
    assert_let_in(&keys, data.path(), "support/ann").await;
}

async fn assert_let_in(keys: &Keys, data: &Path, who: &str) {
    let world = World::of_keys(keys);
    let staff = world.staff(Limits::default()).await;
    let read = |name: &str| fs::read_to_string(data.join("admin").join(name)).unwrap();
    assert_eq!(read("ca.crt"), world.authority.certificate_pem());
    let tls = world.tls(Some((&read("admin.crt"), &read("admin.key"))));
    let channel = staff.channel(tls).await.unwrap();
    let answer = patient(ask(&channel, "Peer", Request::new(()))).await;
    assert_eq!(answer.message(), format!("{who} Some(32)"));

    let signer = keys.signer();
    let signature = signer.sign(b"message").unwrap();
    assert!(verify_es256(
        &signer.public_key_sec1(),
        b"message",
        &signature
    ));
}
