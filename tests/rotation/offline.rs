//! A product that was built with the root in it: it learns keys from files and from calls that go out anyway, and never goes back.

use std::path::Path;
use std::process::Command;

use chrono::TimeDelta;
use tempfile::TempDir;
use upkeep::artefact::{Issuer, KeyList};
use upkeep::code::Code;
use upkeep::date::CivilDate;
use upkeep::id::ProductId;
use upkeep::jws::{JwsError, SigningInput};
use upkeep::key::SigningKey;
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;
use upkeep::trust::{Learned, TrustError};
use upkeep::version::Version;
use upkeep_client::{
    ActivateOptions, Attester, Build, CheckError, Client, ClientError, Credential, LicenseStore,
    VirtualEnvironment, activate, check, deactivate, enroll, enroll_with_root, import_keys,
    judge_published, refresh,
};
use upkeep_server::pki::Role;

use crate::binaries::{program, run};
use crate::vendor::Vendor;
use crate::world::{instant, license, seed};

struct Machine {
    home: TempDir,
    options: ActivateOptions,
}

impl Machine {
    fn dir(&self) -> std::path::PathBuf {
        self.home.path().join("store")
    }

    fn check(&self) -> Result<(), ClientError> {
        let store = LicenseStore::read(&self.dir())?;
        let build = Build {
            product: None,
            version: Version::parse("10.0").unwrap(),
            date: CivilDate::parse("2025-05-01").unwrap(),
        };
        check(&store, &build).map(drop)
    }
}

async fn vendor() -> Vendor {
    let mut vendor = Vendor::new(instant("2026-03-01")).await;
    seed(&mut vendor.admin).await;
    vendor.publish().await;
    vendor
}

/// A machine for a new license, enrolled with the root.
async fn machine(vendor: &mut Vendor, serial: &str) -> Machine {
    let home = TempDir::new().unwrap();
    let root = vendor.root.public_key().clone();
    let mut store = enroll_with_root(
        &home.path().join("store"),
        &vendor.endpoint(),
        Some("localhost"),
        vendor.ca(),
        root,
    )
    .await
    .unwrap();
    store
        .remember_attester(Some(Attester::Software), None)
        .unwrap();
    let wish = license(&mut vendor.admin, serial, 2, "2025-09-01").await;
    let v1::credential::Secret::ActivationCode(code) = wish.credential else {
        panic!("an activation code")
    };
    Machine {
        home,
        options: ActivateOptions {
            serial: SerialNumber::parse(serial).unwrap(),
            credential: Credential::ActivationCode(Code::parse(&code).unwrap()),
            product: ProductId::parse("label-studio").unwrap(),
            version: Version::parse("10.0").unwrap(),
            virtual_environment: VirtualEnvironment::No,
            release_manifest: None,
        },
    }
}

async fn activated(vendor: &mut Vendor, serial: &str) -> Machine {
    let machine = machine(vendor, serial).await;
    let mut store = LicenseStore::open(&machine.dir()).unwrap();
    let client = Client::of(&store).unwrap();
    activate(&mut store, &client, &machine.options)
        .await
        .unwrap();
    machine
}

fn open(dir: &Path) -> LicenseStore {
    LicenseStore::open(dir).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_from_before_two_rotations_verifies_without_a_network() {
    let mut vendor = vendor().await;
    let old = activated(&mut vendor, "LS-1000").await;
    let first = vendor.signing().await;
    vendor.rotate().await;
    vendor.rotate().await;
    assert_ne!(vendor.signing().await, first);
    let list = vendor.publish().await;
    // A product that enrolls today activates with today's key.
    let new = activated(&mut vendor, "LS-1001").await;
    vendor.running.stop().await.unwrap();

    old.check().unwrap();
    let mut store = open(&old.dir());
    assert_eq!(store.trusted_keys().keys().keys().count(), 1);
    assert_eq!(import_keys(&mut store, &list).unwrap(), Learned::New);
    assert_eq!(import_keys(&mut store, &list).unwrap(), Learned::Known);
    drop(store);
    let store = open(&old.dir());
    assert_eq!(store.trusted_keys().keys().keys().count(), 3, "it is kept");
    drop(store);
    old.check().unwrap();
    new.check().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_list_is_refused_from_a_file_from_the_server_and_by_enrolling_again() {
    let mut vendor = vendor().await;
    let machine = activated(&mut vendor, "LS-1000").await;
    let found = vendor.issuing_keys().await;
    let (second, fifth) = (vendor.certify_as(&found, 2), vendor.certify_as(&found, 5));
    let mut store = open(&machine.dir());
    import_keys(&mut store, &fifth).unwrap();
    let error = import_keys(&mut store, &second).unwrap_err();
    assert!(error.to_string().contains("out of date"), "{error}");
    // The server still hands out list 1: it is passed over, and the call goes on.
    let client = Client::of(&store).unwrap();
    refresh(&mut store, &client).await.unwrap();
    assert_eq!(store.trusted_keys().list().unwrap().sequence(), 5);
    drop(store);
    let (dir, endpoint) = (machine.dir(), vendor.endpoint());
    let again = enroll_with_root(
        &dir,
        &endpoint,
        Some("localhost"),
        vendor.ca(),
        vendor.root.public_key().clone(),
    );
    let error = again.await.unwrap_err();
    assert!(error.to_string().contains("out of date"), "{error}");
    machine.check().unwrap();
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_key_was_stolen_a_refresh_brings_a_certificate_by_the_new_one() {
    let mut vendor = vendor().await;
    let machine = activated(&mut vendor, "LS-1000").await;
    let stolen = vendor.signing().await;
    let asked = v1::RevokeIssuingKeyRequest {
        request_id: String::new(),
        key_id: stolen.clone(),
        reason: "backup tape lost".into(),
    };
    vendor.admin.revoke_issuing_key(asked).await.unwrap();
    let list = vendor.publish().await;
    machine.check().unwrap();

    let mut store = open(&machine.dir());
    import_keys(&mut store, &list).unwrap();
    drop(store);
    assert!(matches!(
        machine.check(),
        Err(ClientError::Check(CheckError::IssuingKey))
    ));
    // What it holds can still be read, so that it can ask for another.
    let mut store = open(&machine.dir());
    let client = Client::of(&store).unwrap();
    let refreshed = refresh(&mut store, &client).await.unwrap();
    assert_eq!(refreshed.claims.serial.as_str(), "LS-1000");
    drop(store);
    machine.check().unwrap();
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_license_whose_key_nobody_knows_any_more_is_refreshed_and_returned() {
    let mut vendor = vendor().await;
    let refreshed = activated(&mut vendor, "LS-1000").await;
    let given_back = activated(&mut vendor, "LS-1001").await;
    let asked = v1::RevokeIssuingKeyRequest {
        request_id: String::new(),
        key_id: vendor.signing().await,
        reason: "backup tape lost".into(),
    };
    vendor.admin.revoke_issuing_key(asked).await.unwrap();
    for machine in [&refreshed, &given_back] {
        // Pinned anew, without the lists that had the old key.
        std::fs::remove_file(machine.dir().join("enrollment.json")).unwrap();
        let (dir, endpoint) = (machine.dir(), vendor.endpoint());
        let store = enroll(&dir, &endpoint, Some("localhost"), vendor.ca());
        drop(store.await.unwrap());
        assert!(matches!(
            machine.check(),
            Err(ClientError::Check(CheckError::UnknownKey))
        ));
    }

    let mut store = open(&refreshed.dir());
    let client = Client::of(&store).unwrap();
    refresh(&mut store, &client).await.unwrap();
    drop(store);
    refreshed.check().unwrap();

    let mut store = open(&given_back.dir());
    let returned = deactivate(&mut store, &client).await.unwrap();
    assert_eq!(returned.claims.serial.as_str(), "LS-1001");
    vendor.running.stop().await.unwrap();
}

/// The server hands out what its administrator gave it, and that may be a mistake: it must not stop the products that know better.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_list_of_another_root_stops_nobody_and_is_told() {
    let mut vendor = vendor().await;
    let machine = activated(&mut vendor, "LS-1000").await;
    vendor.rotate().await;
    let found = vendor.issuing_keys().await;
    let other = SigningKey::from_seed(&[78; 32]).unwrap();
    let asked = v1::PublishKeyListRequest {
        request_id: String::new(),
        key_list: list_by(&other, &found, 9),
        root_spki: other.public_key().to_spki_der(),
    };
    vendor.admin.publish_key_list(asked).await.unwrap();

    let mut store = open(&machine.dir());
    let client = Client::of(&store).unwrap();
    let judged = judge_published(&store, &client).await.unwrap();
    let why = judged.expect("a list is published").unwrap_err();
    assert_eq!(why, TrustError::Artefact(JwsError::UnknownKey));
    let dir = machine.dir();
    let shown = tokio::task::spawn_blocking(move || {
        let mut status = Command::new(program("upkeep"));
        run(status.args(["status", "--online", "--store"]).arg(dir))
    });
    let (code, stdout, stderr) = shown.await.unwrap();
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("Key list"), "{stdout}");
    assert!(stdout.contains("the server's is passed over"), "{stdout}");
    // The call goes out and its answer is judged by the list that is held, which does not have the new key.
    let error = refresh(&mut store, &client).await.unwrap_err();
    assert!(matches!(error, ClientError::Artefact { .. }), "{error}");
    assert_eq!(store.trusted_keys().list().unwrap().sequence(), 1);
    drop(store);
    machine.check().unwrap();
    // With the right list in a file it works, whatever the server hands out.
    let mut store = open(&machine.dir());
    let good = vendor.certify_as(&found, 2);
    import_keys(&mut store, &good).unwrap();
    refresh(&mut store, &client).await.unwrap();
    drop(store);
    machine.check().unwrap();
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_learns_the_next_key_before_it_signs() {
    let mut vendor = vendor().await;
    let machine = activated(&mut vendor, "LS-1000").await;
    vendor.rotate_with_lead(7 * 86_400).await;
    vendor.publish().await;
    let mut store = open(&machine.dir());
    let client = Client::of(&store).unwrap();
    refresh(&mut store, &client).await.unwrap();
    assert_eq!(store.trusted_keys().keys().keys().count(), 2);
    vendor.pass(TimeDelta::days(8));
    // No newer list: the one from the lead has the key that signs now.
    refresh(&mut store, &client).await.unwrap();
    drop(store);
    machine.check().unwrap();
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_without_a_root_goes_on_as_it_did() {
    let mut vendor = vendor().await;
    let home = TempDir::new().unwrap();
    let dir = home.path().join("store");
    let mut store = enroll(&dir, &vendor.endpoint(), Some("localhost"), vendor.ca())
        .await
        .unwrap();
    let list = vendor.certify().await;
    let error = import_keys(&mut store, &list).unwrap_err();
    assert!(matches!(error, ClientError::Input(_)), "{error}");
    assert!(store.trusted_keys().list().is_none());
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_does_not_fit_the_server_is_not_published() {
    let mut vendor = vendor().await;
    let found = vendor.issuing_keys().await;
    let root = vendor.root.public_key().to_spki_der();
    let mut publish = async |key_list: String, root_spki: Vec<u8>| {
        let asked = v1::PublishKeyListRequest {
            request_id: String::new(),
            key_list,
            root_spki,
        };
        vendor.admin.publish_key_list(asked).await
    };
    let foreign = Vendor::new(instant("2026-03-01")).await;
    let mut others = found.clone();
    others.keys = {
        let mut foreign = foreign;
        let keys = foreign.issuing_keys().await.keys;
        foreign.running.stop().await.unwrap();
        keys
    };
    let same_number = vendor_list(&found, 1);
    let other_keys = vendor_list(&others, 9);
    for (list, root) in [
        (same_number, root.clone()),
        (other_keys, root.clone()),
        ("rubbish".to_owned(), root.clone()),
        (
            vendor_list(&found, 3),
            found.keys[0].public_key_spki.clone(),
        ),
    ] {
        let refused = publish(list, root).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    }
    let good = v1::PublishKeyListRequest {
        request_id: "6f1c3f3e-8c5e-4d0e-9a51-6d7a0f7d9b11".into(),
        key_list: vendor_list(&found, 3),
        root_spki: Vec::new(),
    };
    let mut admin = vendor.admin.clone();
    admin.publish_key_list(good.clone()).await.unwrap();
    // Its answer is lost, and a key comes that it does not name: the same call again has its answer.
    vendor.rotate_with_lead(86_400).await;
    admin.publish_key_list(good.clone()).await.unwrap();
    let another = v1::PublishKeyListRequest {
        request_id: String::new(),
        ..good
    };
    assert!(admin.publish_key_list(another).await.is_err());
    let keys = vendor
        .admin
        .list_issuing_keys(v1::ListIssuingKeysRequest {});
    assert_eq!(keys.await.unwrap().into_inner().list_sequence, 3);
    vendor.running.stop().await.unwrap();
}

fn vendor_list(found: &v1::ListIssuingKeysResponse, sequence: u64) -> String {
    list_by(&SigningKey::from_seed(&[77; 32]).unwrap(), found, sequence)
}

fn list_by(root: &SigningKey, found: &v1::ListIssuingKeysResponse, sequence: u64) -> String {
    let keys = found.keys.iter().map(crate::vendor::certified).collect();
    let list = KeyList::new(Issuer::parse(&found.issuer).unwrap(), 1, sequence, keys).unwrap();
    let input = SigningInput::new(root.public_key().thumbprint(), &list).unwrap();
    input.seal(&root.sign(input.signing_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_says_other_than_the_record_is_not_published() {
    let mut vendor = vendor().await;
    vendor.rotate().await;
    let of_rotated = vendor.issuing_keys().await;
    let first = of_rotated.keys[0].key_id.clone();
    // A key that fell into other hands after the list was written.
    vendor
        .admin
        .revoke_issuing_key(v1::RevokeIssuingKeyRequest {
            request_id: String::new(),
            key_id: first,
            reason: "backup tape lost".into(),
        })
        .await
        .unwrap();
    let good = vendor.issuing_keys().await;
    let mut foreign = good.clone();
    foreign.issuer = "https://another.example".into();
    let mut without = good.clone();
    without.keys.remove(0);
    let mut shorter = good.clone();
    let start = shorter.keys[1].sign_start_time.unwrap();
    shorter.keys[1].sign_end_time = Some(prost_types::Timestamp {
        seconds: start.seconds + 3_600,
        nanos: 0,
    });
    let next = vendor.rotate_with_lead(86_400).await;
    let mut with_next = good.clone();
    with_next.keys = next;
    for (case, list) in [
        ("revoked since", &of_rotated),
        ("of another issuer", &foreign),
        ("without the revoked key", &without),
        ("signs for too short", &shorter),
        ("without the next key", &good),
    ] {
        let asked = v1::PublishKeyListRequest {
            request_id: String::new(),
            key_list: vendor_list(list, 9),
            root_spki: vendor.root.public_key().to_spki_der(),
        };
        let refused = vendor.admin.publish_key_list(asked).await;
        let refused = refused.map(drop).expect_err(case);
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{case}");
    }
    let asked = v1::PublishKeyListRequest {
        request_id: String::new(),
        key_list: vendor_list(&with_next, 9),
        root_spki: vendor.root.public_key().to_spki_der(),
    };
    vendor.admin.publish_key_list(asked).await.unwrap();
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_use_is_not_retired_unless_somebody_means_it() {
    let mut vendor = vendor().await;
    let _machine = activated(&mut vendor, "LS-1000").await;
    let first = vendor.signing().await;
    vendor.rotate().await;
    let retire = |in_use| v1::RetireIssuingKeyRequest {
        request_id: String::new(),
        key_id: first.clone(),
        in_use,
    };
    let refused = vendor.admin.retire_issuing_key(retire(false)).await;
    let refused = refused.unwrap_err();
    assert!(refused.message().contains("1 activations"), "{refused}");
    let keys = vendor.admin.retire_issuing_key(retire(true)).await.unwrap();
    let retired = i32::from(v1::IssuingKeyState::Retired);
    assert_eq!(keys.into_inner().keys[0].state, retired);
    // Only an administrator may.
    let mut support = v1::admin_service_client::AdminServiceClient::new(
        vendor.channel(Role::Support, "eva").await,
    );
    let refused = support
        .rotate_issuing_key(v1::RotateIssuingKeyRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    vendor.running.stop().await.unwrap();
}
