//! G8: every reader of outside bytes, on a stable compiler: the twins of the fuzz targets in `fuzz/targets`.
//!
//! Each twin reads arbitrary bytes and good ones with damage: nothing panics, and nothing that stands under a key is believed. The table
//! [`TWINS`] says which function is the twin of which target; a target without one, or one that is gone, fails.
//!
//! `PROPTEST_CASES=100_000 cargo test --workspace --test forgery g8` is the long run without a fuzzer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use upkeep::armor;
use upkeep::artefact::{
    ActivationCertificate, ArtefactId, DeactivationProof, DeactivationReceipt, DeactivationTicket,
    Issuer, KeyList, ReleaseManifest, TicketNonce, TpmName, UnlockCode, UpgradeCode, verify_proof,
};
use upkeep::code::Code;
use upkeep::date::CivilDate;
use upkeep::id::{ActivationId, AddOn, DongleNumber, Edition, PartnerId, ProductId, UpgradeId};
use upkeep::jwks::KeySet;
use upkeep::jws::{self, SigningInput};
use upkeep::key::{self, PublicKey, Thumbprint};
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use upkeep_server::decoders;
use upkeep_server::domain::programme::Programme;
use upkeep_server::domain::story::Story;
use upkeep_server::license_file::{self, Format, Mapping, Rows};

use crate::samples;

/// Each fuzz target, the file of its twin, and the twin's name there.
const TWINS: [(&str, &str, &str); 26] = [
    ("armor", HERE, "g8_armor"),
    ("attest", TPM, "no_bytes_panic"),
    ("challenge", HERE, "g8_challenge"),
    ("code", HERE, "g8_short_texts"),
    ("config", HERE, "g8_config"),
    ("date", HERE, "g8_short_texts"),
    ("deny_list", HERE, "g8_deny_list"),
    ("ek_chain", TPM, "no_certificate_panics"),
    ("hardware_proof", TPM, "no_text_panics"),
    ("ids", HERE, "g8_short_texts"),
    ("import_csv", HERE, "g8_import"),
    ("import_jsonl", HERE, "g8_import"),
    ("import_mapping", HERE, "g8_import"),
    ("jwks", HERE, "g8_jwks"),
    ("jws", HERE, "g8_jws"),
    ("ledger", HERE, "g8_ledger"),
    ("nv_public", TPM, "no_bytes_panic"),
    ("page_token", HERE, "g8_page_token"),
    ("piv_attestation", TPM, "no_certificate_panics"),
    ("prices", HERE, "g8_prices"),
    ("programme", HERE, "g8_programme"),
    ("proof", HERE, "g8_jws"),
    ("public", TPM, "no_bytes_panic"),
    ("record", HERE, "g8_record"),
    ("signature", TPM, "no_bytes_panic"),
    (
        "tpm_response",
        "client/src/tpm/mangled.rs",
        "noise_panics_nowhere",
    ),
];

#[test]
fn g8_every_fuzz_target_has_a_twin() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let targets: BTreeSet<String> = std::fs::read_dir(root.join("fuzz/targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let manifest: toml::Table = std::fs::read_to_string(root.join("fuzz/Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let built: BTreeSet<String> = manifest["bin"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bin| bin["name"].as_str().unwrap().to_owned())
        .collect();
    let listed: BTreeSet<String> = TWINS
        .iter()
        .map(|(target, ..)| (*target).to_owned())
        .collect();
    assert_eq!(targets, listed, "fuzz/targets and their twins");
    assert_eq!(built, listed, "fuzz/Cargo.toml and the twins");
    for (target, file, twin) in TWINS {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(
            text.contains(&format!("fn {twin}(")),
            "{target}: no {twin} in {file}"
        );
    }
}

/// Writes what the fuzzers start from: `UPKEEP_FUZZ_SEEDS=fuzz/corpus cargo test --workspace --test forgery fuzz_seeds`.
#[test]
fn fuzz_seeds() {
    let Some(into) = std::env::var_os("UPKEEP_FUZZ_SEEDS") else {
        return;
    };
    let into = Path::new(env!("CARGO_MANIFEST_DIR")).join(into);
    for (target, seeds) in seeds() {
        let folder = into.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}

/// A good input of each kind, so that damage begins behind the first check.
fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let bytes = |texts: &[&str]| {
        texts
            .iter()
            .map(|t| t.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    let samples = samples::samples();
    let keys = samples::signers().to_json();
    let proof = samples::seal(&samples::proof(), &samples::key("device"));
    vec![
        (
            "jws",
            samples
                .iter()
                .map(|s| s.text.clone().into_bytes())
                .collect(),
        ),
        ("proof", vec![proof.into_bytes()]),
        (
            "armor",
            samples
                .iter()
                .map(|s| s.file.clone().into_bytes())
                .collect(),
        ),
        ("jwks", vec![keys.into_bytes()]),
        (
            "code",
            vec![Code::from_mac(&[7; 32]).to_string().into_bytes()],
        ),
        (
            "date",
            bytes(&["2026-08-31", "2024-02-29", "1970-01-01", "9999-12-31"]),
        ),
        (
            "ids",
            bytes(&[
                "NSP-0042",
                "0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11",
                "10.2.1",
                "label-studio",
            ]),
        ),
        ("challenge", vec![decoders::a_challenge()]),
        ("page_token", vec![decoders::a_page_token().into_bytes()]),
        ("config", vec![upkeep_server::config::template().into()]),
        ("deny_list", bytes(&[DENY_LIST])),
        ("prices", bytes(&[PRICES])),
        ("programme", texts_in("server/programmes", "toml")),
        ("import_csv", bytes(&[LICENSES])),
        ("import_jsonl", bytes(&[LINES])),
        ("import_mapping", bytes(&[license_file::TEMPLATE])),
        ("ledger", vec![segment()]),
        ("record", records()),
    ]
}

const DENY_LIST: &str = "[[ek]]\nsha256 = \"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\"\nreason = \"stolen\"\n\n\
    [[firmware]]\nmanufacturer = \"IFX\"\nfrom = \"0007005500000000\"\nto = \"0007005500000000\"\nreason = \"ROCA\"\n\n[dongle]\nleast_firmware = \"5.7.0\"\n";
const PRICES: &str = "product,item,edition,license_type,per,amount,currency,valid_from\n\
    label-studio,license,pro,single-user,license,1200.00,EUR,2026-01-01\n";

const LICENSES: &str = "serial,product_id,customer_id,license_type,seats,purchase_date\n\
    TK-0001,label-studio,baker,single-user,3,2026-01-15\n";
const LINES: &str = "{\"serial\":\"TK-0001\",\"product_id\":\"label-studio\",\"customer_id\":\"baker\",\"seats\":3,\"purchase_date\":\"2026-01-15\"}\n";

fn texts_in(folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// What a real store wrote: its ledger and its records.
type Written = (Vec<u8>, Vec<Vec<u8>>);

fn store() -> Written {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = crate::world::World::new("2026-01-15").await;
        let mut admin = world.admin().await;
        crate::world::seed(&mut admin).await;
        let wish = crate::world::license(&mut admin, "TK-0001", 2, "2026-01-15").await;
        let device = crate::device::Device::new();
        let mut api = world.api().await;
        let seat = device
            .activate(&mut api, &wish, &crate::device::request_id())
            .await
            .unwrap();
        device.ticket(&mut api, &seat.activation_id).await.unwrap();
        let data = world.settings.data_dir.clone();
        let opened = world.opened().await;
        let store = opened.server.deps().store();
        let pairs = store.scan(b"\0", &[0xff], usize::MAX).unwrap();
        let mut ledger = Vec::new();
        for entry in std::fs::read_dir(data.join("ledger")).unwrap() {
            ledger.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        (ledger, pairs.into_iter().map(|(_, value)| value).collect())
    })
}

static KEYS: std::sync::LazyLock<KeySet> = std::sync::LazyLock::new(samples::signers);
static STORE: std::sync::LazyLock<Written> = std::sync::LazyLock::new(store);

fn segment() -> Vec<u8> {
    STORE.0.clone()
}

fn records() -> Vec<Vec<u8>> {
    STORE
        .1
        .iter()
        .filter(|value| value.len() > 20)
        .cloned()
        .collect()
}

/// One of the seeds of a target with a stretch of it replaced, or any bytes.
fn damaged(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let found = seeds().into_iter().find(|(name, _)| *name == target);
    let seeds = found.unwrap().1;
    prop_oneof![
        1 => vec(any::<u8>(), 0..600),
        4 => (any::<Index>(), vec((any::<Index>(), vec(any::<u8>(), 0..6), 0..6_usize), 1..4)).prop_map(
            move |(seed, cuts)| {
                let mut bytes = seeds[seed.index(seeds.len())].clone();
                for (at, new, gone) in cuts {
                    let at = at.index(bytes.len() + 1);
                    let end = (at + gone).min(bytes.len());
                    bytes.splice(at..end, new);
                }
                bytes
            }
        ),
    ]
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

proptest! {
    #[test]
    fn g8_jws(bytes in damaged("jws"), proof in damaged("proof")) {
        let (text, proof) = (text_of(&bytes), text_of(&proof));
        let own = |kid: &Thumbprint| KEYS.get(kid).cloned();
        let said = [
            jws::verify::<ActivationCertificate>(&text, own, key::verify).is_ok(),
            jws::verify::<DeactivationTicket>(&text, own, key::verify).is_ok(),
            jws::verify::<DeactivationProof>(&text, own, key::verify).is_ok(),
            jws::verify::<DeactivationReceipt>(&text, own, key::verify).is_ok(),
            jws::verify::<UpgradeCode>(&text, own, key::verify).is_ok(),
            jws::verify::<UnlockCode>(&text, own, key::verify).is_ok(),
            jws::verify::<ReleaseManifest>(&text, own, key::verify).is_ok(),
            jws::verify::<KeyList>(&text, own, key::verify).is_ok(),
        ];
        prop_assert!(!said.contains(&true) || samples::samples().iter().any(|s| s.text == text));
        let _ = SigningInput::parse(&text).map(|input| input.claims::<UpgradeCode>());
        let _ = verify_proof(&proof, own, own, key::verify);
    }

    #[test]
    fn g8_armor(bytes in damaged("armor")) {
        if let Ok((label, content)) = armor::read_bytes(&bytes) {
            let file = armor::write_bytes(label, &[], &content);
            prop_assert_eq!(armor::read_bytes(file.as_bytes()), Ok((label, content)));
        }
    }

    #[test]
    fn g8_jwks(bytes in damaged("jwks")) {
        if let Ok(keys) = KeySet::parse(&bytes) {
            prop_assert_eq!(KeySet::parse(keys.to_json().as_bytes()), Ok(keys));
        }
        let _ = PublicKey::from_jwk(&bytes);
        let _ = PublicKey::from_spki_der(&bytes);
    }

    #[test]
    fn g8_short_texts(code in damaged("code"), date in damaged("date"), id in damaged("ids")) {
        if let Ok(code) = Code::parse(&text_of(&code)) {
            prop_assert_eq!(Code::parse(&code.to_string()), Ok(code));
        }
        let date = text_of(&date);
        if let Ok(read) = CivilDate::parse(&date) {
            prop_assert_eq!(read.to_string(), date);
        }
        let id = text_of(&id);
        if let Ok(serial) = SerialNumber::parse(&id) {
            prop_assert_eq!(SerialNumber::parse(serial.as_str()), Ok(serial));
        }
        let _ = (Version::parse(&id), ProductId::parse(&id), PartnerId::parse(&id), Edition::parse(&id));
        let _ = (AddOn::parse(&id), DongleNumber::parse(&id), ActivationId::parse(&id), UpgradeId::parse(&id));
        let _ = (Issuer::parse(&id), ArtefactId::parse(&id), TicketNonce::parse(&id), TpmName::parse(&id));
        let _ = Thumbprint::parse(&id);
    }

    #[test]
    fn g8_challenge(bytes in damaged("challenge")) {
        prop_assert!(!decoders::challenge(&bytes) || bytes == decoders::a_challenge());
    }

    #[test]
    fn g8_page_token(bytes in damaged("page_token")) {
        let token = text_of(&bytes);
        prop_assert!(!decoders::page_token(&token) || token == decoders::a_page_token());
    }

    #[test]
    fn g8_config(bytes in damaged("config")) {
        decoders::config(&text_of(&bytes));
    }

    #[test]
    fn g8_deny_list(bytes in damaged("deny_list")) {
        decoders::deny_list(&text_of(&bytes));
    }

    #[test]
    fn g8_prices(bytes in damaged("prices")) {
        decoders::prices(&bytes);
    }

    #[test]
    fn g8_import(csv in damaged("import_csv"), lines in damaged("import_jsonl"), mapping in damaged("import_mapping")) {
        decoders::licenses(&csv, Format::Csv);
        decoders::licenses(&lines, Format::Jsonl);
        if let Ok(mapping) = Mapping::parse(&text_of(&mapping))
            && let Ok(mut rows) = Rows::open(csv.as_slice(), Format::Csv, &mapping)
        {
            while let Ok(Some(_)) = rows.next_row() {}
        }
    }

    #[test]
    fn g8_programme(bytes in damaged("programme")) {
        let text = text_of(&bytes);
        let _ = (Programme::parse("fuzz.toml", &text), Story::parse("fuzz.toml", &text));
    }

    #[test]
    fn g8_ledger(bytes in damaged("ledger")) {
        decoders::ledger(&bytes);
    }

    #[test]
    fn g8_record(bytes in damaged("record")) {
        decoders::record(&bytes);
    }
}

/// The seeds are good ones: a twin that damages what was never read tests its first line alone.
#[test]
fn g8_seeds_are_read() {
    assert!(decoders::challenge(&decoders::a_challenge()));
    assert!(decoders::page_token(&decoders::a_page_token()));
    assert!(decoders::config(upkeep_server::config::template()));
    assert!(decoders::deny_list(DENY_LIST));
    assert!(decoders::prices(PRICES.as_bytes()));
    assert_eq!(decoders::licenses(LICENSES.as_bytes(), Format::Csv), 1);
    assert_eq!(decoders::licenses(LINES.as_bytes(), Format::Jsonl), 1);
    assert!(Mapping::parse(license_file::TEMPLATE).is_ok());
    assert!(decoders::ledger(&segment()) > 5);
    assert!(
        records()
            .iter()
            .filter(|value| decoders::record(value))
            .count()
            > 5
    );
    for programme in texts_in("server/programmes", "toml") {
        assert!(Programme::parse("seed.toml", &text_of(&programme)).is_ok());
    }
}

const HERE: &str = "tests/forgery/decoders.rs";
const TPM: &str = "tests/tpm_parsers.rs";
