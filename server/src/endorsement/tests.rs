//! The built-in bundle, and an operator's own directory.

use std::collections::BTreeSet;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use super::*;

struct Place {
    dir: TempDir,
    settings: Settings,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_dir: dir.path().to_owned(),
            ..Settings::default()
        };
        Self { dir, settings }
    }

    fn add(&self, pem: &str, class: EndorsementClass) -> Result<Authority, EndorsementError> {
        let addition = Addition {
            bytes: pem.as_bytes(),
            class,
            source: "made by this test",
            name: None,
        };
        add(&self.settings, &addition)
    }

    fn own(&self) -> PathBuf {
        self.dir.path().join("endorsements")
    }
}

fn certificate(name: &str, is_ca: bool) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    params
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap()
        .pem()
}

fn day() -> DateTime<Utc> {
    "2026-11-26T00:00:00Z".parse().unwrap()
}

#[test]
fn every_built_in_authority_is_sound_and_can_end_a_chain() {
    let bundle = Bundle::read(&Place::new().settings).unwrap();
    assert_eq!(bundle.unfit(day()), Vec::<String>::new());
    let of = |class| {
        let all = bundle.authorities().iter();
        all.filter(|one| one.class() == class).count()
    };
    assert!(of(EndorsementClass::Chip) >= 20);
    assert!(of(EndorsementClass::CloudVtpm) >= 5);
    assert_eq!(of(EndorsementClass::Dongle), 3);
    assert_eq!(of(EndorsementClass::Software), 0);
    assert!(bundle.authorities().iter().all(|one| !one.is_test()));
}

#[test]
fn the_folder_the_manifest_and_the_program_have_the_same_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../certs/endorsements");
    let on_disk: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != manifest::MANIFEST)
        .collect();
    let compiled: BTreeSet<String> = built_in::FILES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let bundle = Bundle::read(&Place::new().settings).unwrap();
    let listed: BTreeSet<String> = bundle
        .authorities()
        .iter()
        .map(|one| one.file().to_owned())
        .collect();
    assert_eq!(on_disk, compiled);
    assert_eq!(on_disk, listed);
}

#[test]
fn an_authority_is_added_once_and_counts_from_then_on() {
    let place = Place::new();
    let pem = certificate("Vendor Virtual Machines", true);
    let made = place.add(&pem, EndorsementClass::Software).unwrap();
    assert_eq!(made.name(), "Vendor Virtual Machines");
    assert_eq!(made.sha256().len(), 64);
    let other = place.add(&certificate("Other", true), EndorsementClass::CloudVtpm);
    other.unwrap();
    let bundle = Bundle::read(&place.settings).unwrap();
    let own: Vec<_> = bundle
        .authorities()
        .iter()
        .filter(|one| one.origin() == Origin::Own)
        .map(|one| (one.name(), one.class()))
        .collect();
    assert_eq!(
        own,
        [
            ("Vendor Virtual Machines", EndorsementClass::Software),
            ("Other", EndorsementClass::CloudVtpm)
        ]
    );
    // Not under another class either.
    let again = place.add(&pem, EndorsementClass::Chip).unwrap_err();
    assert!(again.to_string().contains("listed already"), "{again}");
    let end = place.add(&certificate("Leaf", false), EndorsementClass::Chip);
    assert!(end.unwrap_err().to_string().contains("no CA"));
    let nothing = place.add("no certificate", EndorsementClass::Chip);
    assert!(
        nothing
            .unwrap_err()
            .to_string()
            .contains("neither PEM nor DER")
    );
    let built_in = built_in::FILES[0].1;
    let twin = place.add(built_in, EndorsementClass::Software).unwrap_err();
    assert!(twin.to_string().contains("listed already"), "{twin}");
}

#[test]
fn a_test_authority_never_counts_as_hardware() {
    let place = Place::new();
    for name in ["swtpm-localca-rootca", "Vendor Test CA", "libtpms EK"] {
        let pem = certificate(name, true);
        for class in [EndorsementClass::Chip, EndorsementClass::Dongle] {
            let refused = place.add(&pem, class).unwrap_err().to_string();
            assert!(refused.contains("is a test CA"), "{refused}");
        }
        place.add(&pem, EndorsementClass::Software).unwrap();
    }
    // Yubico's and others' "Attestation" is no "test".
    place
        .add(
            &certificate("Vendor Attestation", true),
            EndorsementClass::Chip,
        )
        .unwrap();

    // Nor does one that was written into the manifest by hand.
    let manifest = place.own().join(manifest::MANIFEST);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("software", "chip")).unwrap();
    let refused = load_endorsements(&place.settings).unwrap_err().to_string();
    assert_eq!(refused.matches("is a test CA").count(), 3, "{refused}");
    let mut trial = place.settings.clone();
    trial.endorsements.allow_test_roots = true;
    load_endorsements(&trial).unwrap();

    // A mark does what a name does.
    let marked = text.replace("class = \"chip\"", "class = \"chip\"\ntest = true");
    fs::write(&manifest, marked).unwrap();
    let refused = load_endorsements(&place.settings).unwrap_err().to_string();
    assert!(
        refused.contains("\"Vendor Attestation\" is a test CA"),
        "{refused}"
    );
}

#[test]
fn a_directory_that_was_tampered_with_is_refused_whole() {
    let place = Place::new();
    let pem = certificate("Vendor", true);
    let made = place.add(&pem, EndorsementClass::Chip).unwrap();
    let file = place.own().join(made.file());
    fs::write(&file, certificate("Vendor", true)).unwrap();
    let swapped = load_endorsements(&place.settings).unwrap_err().to_string();
    assert!(swapped.contains("its SHA-256 is"), "{swapped}");
    fs::remove_file(&file).unwrap();
    let gone = load_endorsements(&place.settings).unwrap_err().to_string();
    assert!(gone.contains(made.file()), "{gone}");

    let manifest = place.own().join(manifest::MANIFEST);
    let text = fs::read_to_string(&manifest).unwrap();
    for (from, to, part) in [
        (made.file(), "../../secret", "beside the manifest"),
        ("made by this test", " ", "no source"),
        ("\"chip\"", "\"silicon\"", "there is no class"),
        ("source =", "sauce =", "unknown field"),
    ] {
        fs::write(&file, &pem).unwrap();
        fs::write(&manifest, text.replace(from, to)).unwrap();
        let error = load_endorsements(&place.settings).unwrap_err().to_string();
        assert!(error.contains(part), "{part} not in {error}");
    }
    fs::remove_dir_all(place.own()).unwrap();
    fs::create_dir(place.own()).unwrap();
    fs::write(place.own().join(DENY), "[[ek]]\nsha256 = 1").unwrap();
    let denied = load_endorsements(&place.settings).unwrap_err().to_string();
    assert!(denied.contains(DENY), "{denied}");
}

#[test]
fn the_built_in_ones_can_be_left_out() {
    let mut place = Place::new();
    place.settings.endorsements.built_in = false;
    assert!(
        Bundle::read(&place.settings)
            .unwrap()
            .authorities()
            .is_empty()
    );
}
