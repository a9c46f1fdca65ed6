//! G10: artefacts of every kind, forged and changed in every way, are refused; and what each way is refused with is on record.
//!
//! Every mutant is read as each kind, with the keys that a product or a server would trust for it, by both libraries. One is accepted
//! only if it says, as the same kind, word for word what the signer had signed: then nothing is gained by it. The verdicts by kind stand
//! in `verdicts.txt`; `UPKEEP_BLESS=1` rewrites it.
//!
//! `UPKEEP_G10_MUTANTS=1_000_000 cargo test --workspace --test forgery g10` is the long run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;
use upkeep::artefact::{
    ActivationCertificate, DeactivationProof, DeactivationReceipt, DeactivationTicket, KeyList,
    ReleaseManifest, UnlockCode, UpgradeCode,
};
use upkeep::jwks::KeySet;
use upkeep::jws::{self, Claims, JwsError, Typ};
use upkeep::key::{self, PublicKey, VerifyFn};
use upkeep_server::signer;

use crate::mutation::WAYS;
use crate::samples::{self, Sample, public};
use crate::{Dice, size};

#[test]
fn g10_no_mutant_of_an_artefact_is_accepted() {
    let wanted = size("UPKEEP_G10_MUTANTS", CI);
    let all = samples::samples();
    let genuine: Vec<(Typ, Value)> = all
        .iter()
        .map(|sample| {
            (
                sample.typ,
                read(sample.typ, &sample.text, key::verify).unwrap(),
            )
        })
        .collect();
    let mut verdicts: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    let (mut made, mut same) = (0, 0);
    let mut dice = Dice(1);
    'all: loop {
        for sample in &all {
            for (way, mutate) in WAYS {
                if made >= wanted {
                    break 'all;
                }
                let text = mutate(sample, &all, &mut dice);
                if all.iter().any(|of| of.text == text) {
                    // The dice put back what was there.
                    continue;
                }
                made += 1;
                let verdict = judge(sample, way, &text, &genuine);
                same += usize::from(verdict == SAME);
                verdicts
                    .entry((sample.typ.as_str(), way))
                    .or_default()
                    .insert(verdict);
            }
        }
    }
    println!("g10: {made} mutants, 0 accepted, {same} the same under another signature");
    assert!(
        same > 0,
        "a high s is the same, so this must have seen some"
    );
    if wanted == CI {
        let table: String = verdicts
            .iter()
            .map(|((typ, way), found)| {
                let found: Vec<&str> = found.iter().map(String::as_str).collect();
                format!("{typ} | {way} | {}\n", found.join(", "))
            })
            .collect();
        frozen(&table);
    }
}

/// The verdict on a mutant, which every reader agrees on; stops when it is believed and says something new.
fn judge(of: &Sample, way: &str, text: &str, genuine: &[(Typ, Value)]) -> String {
    let mut own = String::new();
    for typ in Typ::ALL {
        let found = VERIFIERS.map(|verify| read(typ, text, verify));
        assert_eq!(
            found[0], found[1],
            "{way}: the libraries differ over {text}"
        );
        let verdict = match &found[0] {
            Ok(claims) => {
                let said = genuine
                    .iter()
                    .any(|(other, signed)| *other == typ && signed == claims);
                assert!(said, "{way}, read as {typ:?}: forged {claims}: {text}");
                SAME.to_owned()
            }
            Err(error) => variant(error),
        };
        if typ == of.typ {
            own = verdict;
        }
    }
    own
}

/// Reads a text as one kind, with the keys that are trusted for that kind.
fn read(typ: Typ, text: &str, verify: VerifyFn) -> Result<Value, JwsError> {
    fn claims<C: Claims>(text: &str, keys: &KeySet, verify: VerifyFn) -> Result<Value, JwsError> {
        jws::verify::<C>(text, |kid| keys.get(kid).cloned(), verify)
            .map(|verified| serde_json::to_value(verified.claims()).unwrap())
    }
    let [server, device, build, root] = &*TRUSTED;
    match typ {
        Typ::Activation => claims::<ActivationCertificate>(text, server, verify),
        Typ::Ticket => claims::<DeactivationTicket>(text, server, verify),
        Typ::Proof => claims::<DeactivationProof>(text, device, verify),
        Typ::Receipt => claims::<DeactivationReceipt>(text, server, verify),
        Typ::Upgrade => claims::<UpgradeCode>(text, server, verify),
        Typ::Unlock => claims::<UnlockCode>(text, server, verify),
        Typ::Release => claims::<ReleaseManifest>(text, build, verify),
        Typ::Keys => claims::<KeyList>(text, root, verify),
        _ => panic!("a kind without a reader"),
    }
}

fn server_verify(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    signer::verify_es256(key.sec1_bytes(), message, signature)
}

fn variant(error: &JwsError) -> String {
    let shown = format!("{error:?}");
    shown.split('(').next().unwrap().to_owned()
}

fn frozen(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forgery/verdicts.txt");
    if std::env::var_os("UPKEEP_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(&path, table).unwrap();
    }
    let on_record = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        on_record == table,
        "verdicts.txt differs from what is found: UPKEEP_BLESS=1 rewrites it, then read the difference"
    );
}

/// The keys of the server, of the device on record, of the vendor's builds and of its offline root.
static TRUSTED: LazyLock<[KeySet; 4]> = LazyLock::new(|| {
    let keys = |names: &[&str]| KeySet::new(names.iter().map(|name| public(name)));
    [
        keys(&["server", "server_before"]),
        keys(&["device"]),
        keys(&["build"]),
        keys(&["root"]),
    ]
});

/// The product's library and the server's.
const VERIFIERS: [VerifyFn; 2] = [key::verify, server_verify];
const SAME: &str = "the same";
const CI: usize = 6_000;
