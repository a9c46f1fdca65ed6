use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use tempfile::TempDir;

use upkeep::date::CivilDate;

use super::*;
use crate::check::{Build, CheckError, check};
use crate::deactivate::prove;
use crate::error::ClientError;
use crate::testing::{Vendor, active, enrolled, product, version};

struct Home {
    _temporary: TempDir,
    dir: PathBuf,
}

fn home() -> Home {
    let temporary = TempDir::new().expect("directory");
    let dir = temporary.path().join("state").join("upkeep");
    Home {
        _temporary: temporary,
        dir,
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

#[test]
fn a_store_keeps_key_and_state() {
    let home = home();
    let store = active(&home.dir, &Vendor::new(9));
    let device = store.device_thumbprint();
    drop(store);
    let store = LicenseStore::open(&home.dir).expect("open");
    assert_eq!(store.device_thumbprint(), device);
    let State::Active(held) = store.state() else {
        panic!("{:?}", store.state());
    };
    assert_eq!(held.claims().cnf.jkt, device);
    assert!(held.product_code().is_some());
    let debug = format!("{store:?}");
    let code = held.product_code().map(ToString::to_string);
    assert!(!debug.contains(&code.unwrap_or_default()), "{debug}");
}

#[test]
fn files_are_private_from_the_start() {
    let home = home();
    drop(active(&home.dir, &Vendor::new(9)));
    for (name, wanted) in [
        ("", 0o700),
        ("enrollment.json", 0o600),
        ("device.key", 0o600),
        ("state.json", 0o600),
        ("lock", 0o600),
    ] {
        let found = fs::metadata(home.dir.join(name)).expect(name);
        assert_eq!(found.permissions().mode() & 0o777, wanted, "{name}");
    }
}

#[test]
fn loose_permissions_are_refused() {
    for name in ["", "enrollment.json", "device.key", "state.json", "lock"] {
        let home = home();
        drop(active(&home.dir, &Vendor::new(9)));
        let path = if name.is_empty() {
            home.dir.clone()
        } else {
            home.dir.join(name)
        };
        for loose in [0o640, 0o604, 0o620, 0o602] {
            let bits = if name.is_empty() {
                loose | 0o100
            } else {
                loose
            };
            mode(&path, bits);
            let error = LicenseStore::open(&home.dir).expect_err(name);
            assert!(
                matches!(&error, ClientError::Store(StoreError::Loose { path: found, .. }) if *found == path),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn links_are_not_followed() {
    let home = home();
    drop(active(&home.dir, &Vendor::new(9)));
    let path = home.dir.join("device.key");
    let away = home.dir.join("away");
    fs::rename(&path, &away).expect("rename");
    symlink(&away, &path).expect("link");
    let error = LicenseStore::open(&home.dir).expect_err("a link");
    assert!(matches!(
        error,
        ClientError::Store(StoreError::Damaged { .. })
    ));
}

#[test]
fn one_process_at_a_time() {
    let home = home();
    let vendor = Vendor::new(9);
    let store = enrolled(&home.dir, &vendor);
    for error in [
        LicenseStore::open(&home.dir).expect_err("locked"),
        LicenseStore::create(&home.dir, vendor.enrollment()).expect_err("locked"),
    ] {
        assert!(matches!(
            error,
            ClientError::Store(StoreError::Locked { .. })
        ));
    }
    drop(store);
    LicenseStore::open(&home.dir).expect("free again");
}

#[test]
fn reading_needs_neither_lock_nor_writing() {
    let home = home();
    let held = active(&home.dir, &Vendor::new(9));
    let leftover = home.dir.join(".new-state.json");
    fs::write(&leftover, "being written").expect("write");
    let mut store = LicenseStore::read(&home.dir).expect("held by another");
    assert_eq!(store.device_thumbprint(), held.device_thumbprint());
    assert!(matches!(store.state(), State::Active(_)));
    assert!(leftover.exists(), "another process may be about to use it");
    let refused = store.put(State::Empty);
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })));
    drop(held);
    fs::remove_file(home.dir.join("lock")).expect("remove");
    drop(LicenseStore::read(&home.dir).expect("no lock there"));
    assert!(!home.dir.join("lock").exists(), "nothing is made");
}

#[test]
fn a_file_that_another_process_is_writing_is_let_alone() {
    let home = home();
    drop(active(&home.dir, &Vendor::new(9)));
    let store = LicenseStore::read(&home.dir).expect("read");
    let mark: Mark =
        serde_json::from_str(r#"{"issued_at": 1000, "seen_at": 2000}"#).expect("a mark");
    let theirs = home.dir.join(".new-clock.json");
    fs::write(&theirs, "half a ma").expect("write");
    store.keep_clock_mark(mark);
    assert_eq!(store.clock_mark(), Some(mark));
    assert_eq!(fs::read_to_string(&theirs).expect("there"), "half a ma");
}

#[test]
fn nothing_there_is_not_enrolled() {
    let home = home();
    let error = LicenseStore::open(&home.dir).expect_err("nothing");
    assert!(matches!(error, ClientError::NotEnrolled), "{error}");
    drop(Disk::create(&home.dir).expect("directory"));
    let error = LicenseStore::open(&home.dir).expect_err("nothing in it");
    assert!(matches!(error, ClientError::NotEnrolled), "{error}");
}

#[test]
fn creating_stops_anywhere_and_goes_on() {
    let vendor = Vendor::new(9);
    let keys = || {
        let pinned = KeySet::parse(vendor.enrollment().jwks.as_bytes());
        TrustedKeys::pinned(pinned.expect("keys"))
    };
    let mut device = None;
    for operations in 0.. {
        let home = home();
        let disk = Disk::create(&home.dir).expect("directory");
        disk.stop_after(operations);
        let made = LicenseStore::create_on(disk, vendor.enrollment(), keys());
        let done = made.is_ok();
        drop(made);
        if let Ok(store) = LicenseStore::open(&home.dir) {
            device = Some(store.device_thumbprint());
        }
        let key = fs::read(home.dir.join("device.key")).ok();
        let again = LicenseStore::create(&home.dir, vendor.enrollment()).expect("again");
        if key.is_some() {
            assert_eq!(key, fs::read(home.dir.join("device.key")).ok());
        }
        drop(again);
        let names = fs::read_dir(&home.dir).expect("list").count();
        assert_eq!(names, 3, "no leftovers");
        if done {
            assert_eq!(operations, 12, "two files of six operations");
            assert!(device.is_some());
            return;
        }
    }
}

#[test]
fn after_a_failed_write_the_store_is_opened_again() {
    let home = home();
    let mut store = active(&home.dir, &Vendor::new(9));
    store.disk().stop_after(3);
    assert!(matches!(
        store.put(State::Empty),
        Err(StoreError::Io { .. })
    ));
    assert!(matches!(
        store.put(State::Empty),
        Err(StoreError::Unknown { .. })
    ));
    assert!(matches!(store.state(), State::Active(_)));
}

#[test]
fn enrolling_again_keeps_the_license_or_is_refused() {
    let home = home();
    let vendor = Vendor::new(9);
    let device = active(&home.dir, &vendor).device_thumbprint();
    let mut moved = vendor.enrollment();
    moved.endpoint = "https://other.example:7443".to_owned();
    let store = LicenseStore::create(&home.dir, moved.clone()).expect("same keys");
    assert_eq!(store.device_thumbprint(), device);
    assert_eq!(*store.enrollment(), moved);
    assert!(matches!(store.state(), State::Active(_)));
    drop(store);
    let other = Vendor::new(8).enrollment();
    let error = LicenseStore::create(&home.dir, other).expect_err("other keys");
    assert!(matches!(error, ClientError::Input(_)), "{error}");
    let store = LicenseStore::open(&home.dir).expect("unchanged");
    assert_eq!(*store.enrollment(), moved);
}

/// The server had to exchange all of its keys, and this installation has the new ones.
#[test]
fn a_license_whose_key_nobody_knows_can_be_asked_about_and_does_not_count() {
    let home = home();
    let (vendor, anew) = (Vendor::new(9), Vendor::new(8));
    drop(active(&home.dir, &vendor));
    drop(LicenseStore::create(&home.dir, anew.enrollment()).expect("the same server"));
    let build = Build {
        product: None,
        version: version(),
        date: CivilDate::parse("2026-01-31").expect("date"),
    };
    let store = LicenseStore::read(&home.dir).expect("read");
    let error = check(&store, &build).expect_err("nobody vouches for it");
    assert!(
        matches!(error, ClientError::Check(CheckError::UnknownKey)),
        "{error}"
    );
    assert!(error.next_step().contains("upkeep refresh"));
    let mut store = LicenseStore::open(&home.dir).expect("open");
    let State::Active(held) = store.state() else {
        panic!("it is held");
    };
    assert!(held.verified().is_none());
    // It is for this device all the same, and is returned as any other.
    let ticket = anew.ticket(store.device_thumbprint(), 1);
    prove(&mut store, Some(&ticket)).expect("proof");
    assert!(matches!(store.state(), State::Releasing(_)));
    drop(store);

    // A changed text is no unknown key's.
    let other = home_of(&vendor);
    let path = other.dir.join("state.json");
    let text = fs::read_to_string(&path).expect("text");
    let key = |of: &Vendor| of.enrollment().jwks;
    fs::write(other.dir.join("enrollment.json"), {
        let text = fs::read_to_string(other.dir.join("enrollment.json")).expect("text");
        let escaped = |text: &str| serde_json::to_string(text).expect("json");
        text.replace(&escaped(&key(&vendor)), &escaped(&key(&anew)))
    })
    .expect("write");
    LicenseStore::open(&other.dir).expect("by an unknown key");
    let at = text.find("\"certificate\": \"").expect("it is there") + 120;
    let mut bytes = text.into_bytes();
    bytes[at] = b'!';
    fs::write(&path, bytes).expect("write");
    let error = LicenseStore::open(&other.dir).expect_err("no JWS");
    assert!(matches!(
        error,
        ClientError::Store(StoreError::Damaged { .. })
    ));
}

fn home_of(vendor: &Vendor) -> Home {
    let home = home();
    drop(active(&home.dir, vendor));
    home
}

#[test]
fn a_lost_device_key_is_not_made_again_under_a_license() {
    let home = home();
    let vendor = Vendor::new(9);
    drop(active(&home.dir, &vendor));
    let key = home.dir.join("device.key");
    fs::remove_file(&key).expect("remove");
    for error in [
        LicenseStore::open(&home.dir).expect_err("no key"),
        LicenseStore::create(&home.dir, vendor.enrollment()).expect_err("no key"),
    ] {
        assert!(
            matches!(&error, ClientError::Store(StoreError::Missing { path }) if *path == key),
            "{error}"
        );
        assert!(error.next_step().contains("restore"));
    }
    assert!(!key.exists());
}

#[test]
fn enrolling_again_mends_the_enrollment_and_nothing_else() {
    let home = home();
    let vendor = Vendor::new(9);
    drop(active(&home.dir, &vendor));
    fs::write(home.dir.join("enrollment.json"), "{").expect("write");
    let store = LicenseStore::create(&home.dir, vendor.enrollment()).expect("mended");
    assert!(matches!(store.state(), State::Active(_)));
    drop(store);
    let state = home.dir.join("state.json");
    fs::write(&state, "{").expect("write");
    let error = LicenseStore::create(&home.dir, vendor.enrollment()).expect_err("damaged");
    assert!(
        matches!(&error, ClientError::Store(StoreError::Damaged { path, .. }) if *path == state),
        "{error}"
    );
}

#[test]
fn damage_is_named_with_its_file() {
    for (name, from, to) in [
        ("state.json", "\"format\": 1", "\"format\": 0"),
        (
            "state.json",
            "\"format\": 1,",
            "\"format\": 1, \"more\": 1,",
        ),
        ("state.json", "\"certificate\": \"e", "\"certificate\": \"f"),
        ("state.json", "}", ""),
        ("enrollment.json", "\"endpoint\"", "\"endpoynt\""),
        ("device.key", "PRIVATE KEY", "PUBLIC KEY"),
    ] {
        let home = home();
        drop(active(&home.dir, &Vendor::new(9)));
        let path = home.dir.join(name);
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.contains(from), "{name} has {from}");
        fs::write(&path, text.replacen(from, to, 1)).expect("write");
        let error = LicenseStore::open(&home.dir).expect_err(from);
        let damaged = matches!(&error, ClientError::Store(StoreError::Damaged { path: found, .. }) if *found == path);
        assert!(damaged, "{name} {to}: {error}");
        let next = error.next_step();
        let cure = match name {
            "device.key" => "declare this machine lost",
            "enrollment.json" if damaged => "`upkeep enroll` again",
            _ => "its own seat again",
        };
        assert!(next.contains(cure), "{name} {to}: {next}");
    }
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let home = home();
    drop(active(&home.dir, &Vendor::new(9)));
    let path = home.dir.join("state.json");
    fs::write(&path, r#"{"format": 2, "anything": []}"#).expect("write");
    let error = LicenseStore::open(&home.dir).expect_err("newer");
    assert!(matches!(
        error,
        ClientError::Store(StoreError::Newer { format: 2, .. })
    ));
}

#[test]
fn a_state_of_another_device_is_refused() {
    let (one, two) = (home(), home());
    let vendor = Vendor::new(9);
    drop(active(&one.dir, &vendor));
    drop(active(&two.dir, &vendor));
    fs::copy(one.dir.join("state.json"), two.dir.join("state.json")).expect("copy");
    let error = LicenseStore::open(&two.dir).expect_err("another device");
    assert!(error.to_string().contains("another device"), "{error}");
}

#[test]
fn what_is_wanted_of_a_tpm_is_remembered_beside_every_state() {
    let home = home();
    let vendor = Vendor::new(9);
    let mut store = active(&home.dir, &vendor);
    assert_eq!((store.attester(), store.tpm()), (Attester::Auto, None));
    let address: TpmAddress = "unix:/run/tpm".parse().expect("address");
    store
        .remember_attester(Some(Attester::Tpm), Some(address.clone()))
        .expect("remembered");
    store
        .remember_attester(None, None)
        .expect("nothing to change");
    let state = store.state().clone();
    store.put(state).expect("another state");
    drop(store);
    let mut store = LicenseStore::read(&home.dir).expect("read");
    assert_eq!(store.attester(), Attester::Tpm);
    assert_eq!(store.tpm(), Some(&address));
    assert!(matches!(store.state(), State::Active(_)));
    // Named for one process, it goes before, and is not written.
    let other: TpmAddress = "tcp:127.0.0.1:2321".parse().expect("address");
    store.use_tpm(other.clone());
    assert_eq!(store.tpm(), Some(&other));
    assert!(
        store.remember_attester(None, Some(other)).is_err(),
        "read only"
    );
}

#[test]
fn a_return_keeps_the_product_for_the_upgrade() {
    let home = home();
    let vendor = Vendor::new(9);
    let mut store = active(&home.dir, &vendor);
    let ticket = vendor.ticket(store.device_thumbprint(), 1);
    prove(&mut store, Some(&ticket)).expect("proof");
    drop(store);
    let text = fs::read_to_string(home.dir.join("state.json")).expect("state");
    assert!(!text.contains("ended_key"), "nothing of chips: {text}");
    let store = LicenseStore::read(&home.dir).expect("read");
    let returned = store.last_return().and_then(Journal::product);
    assert_eq!(returned, Some(&product()));
}

#[test]
fn why_a_key_is_software_is_kept() {
    let home = home();
    let vendor = Vendor::new(9);
    let mut store = active(&home.dir, &vendor);
    let State::Active(held) = store.state() else {
        panic!("{:?}", store.state());
    };
    let device = store.software(Some("there is no TPM".to_owned()));
    let held = Held {
        device,
        ..held.clone()
    };
    store.put(State::Active(held)).expect("put");
    drop(store);
    let store = LicenseStore::open(&home.dir).expect("open");
    let State::Active(held) = store.state() else {
        panic!("{:?}", store.state());
    };
    assert_eq!(held.device().because(), Some("there is no TPM"));
    assert_eq!(held.device().kind(), "software");
}
