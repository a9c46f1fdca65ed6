//! What a store keeps of the lists of its root.

use tempfile::TempDir;
use upkeep::artefact::{CertifiedKey, Issuer, KeyList, KeyState};
use upkeep::jwks::KeySet;
use upkeep::jws::SigningInput;
use upkeep::key::SigningKey;
use upkeep::trust::TrustError;

use crate::error::ClientError;
use crate::keys::import_keys;
use crate::store::{Enrollment, LicenseStore};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).expect("key")
}

fn list(sequence: u64, of: u8) -> String {
    let issuer = Issuer::parse("https://vendor.example").expect("issuer");
    let one = CertifiedKey::new(key(of).public_key().clone(), KeyState::Signing, 0, None);
    let list = KeyList::new(issuer, 1_000, sequence, vec![one]).expect("list");
    let root = key(9);
    let input = SigningInput::new(root.public_key().thumbprint(), &list).expect("claims");
    input.seal(&root.sign(input.signing_bytes()))
}

fn enrollment(list: Option<String>) -> Enrollment {
    Enrollment {
        endpoint: "https://127.0.0.1:1".to_owned(),
        server_name: None,
        ca_pem: String::new(),
        jwks: KeySet::new([key(1).public_key().clone()]).to_json(),
        root: list.is_some().then(|| key(9).public_key().clone()),
        key_list: list,
        ended_keys: Vec::new(),
    }
}

#[test]
fn a_key_that_a_list_left_out_is_known_as_ended_after_a_restart() {
    let home = TempDir::new().expect("directory");
    let dir = home.path().join("store");
    let mut store = LicenseStore::create(&dir, enrollment(Some(list(1, 1)))).expect("create");
    import_keys(&mut store, &list(2, 2)).expect("newer");
    drop(store);
    let kid = key(1).public_key().thumbprint();
    let state = KeyState::Retired;
    for again in [false, true] {
        let store = match again {
            false => LicenseStore::open(&dir),
            true => LicenseStore::create(&dir, enrollment(Some(list(3, 3)))),
        };
        let keys = store.expect("store");
        let standing = keys.trusted_keys().check_standing(&kid, 5);
        assert_eq!(standing, Err(TrustError::Ended { kid, state }), "{again}");
    }
}

#[test]
fn enrolling_again_does_not_drop_the_root_by_the_way() {
    let home = TempDir::new().expect("directory");
    let dir = home.path().join("store");
    drop(LicenseStore::create(&dir, enrollment(Some(list(1, 1)))).expect("create"));
    let error = LicenseStore::create(&dir, enrollment(None)).expect_err("no root");
    assert!(matches!(error, ClientError::Input(_)), "{error}");
    let store = LicenseStore::open(&dir).expect("unchanged");
    assert!(store.enrollment().root.is_some() && store.enrollment().key_list.is_some());
    drop(store);
    std::fs::remove_file(dir.join("enrollment.json")).expect("remove");
    let store = LicenseStore::create(&dir, enrollment(None)).expect("on purpose");
    assert!(store.enrollment().root.is_none());
}
