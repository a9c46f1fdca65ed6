//! Checkpoints, witnesses and proofs; G18: whatever is done to the ledger, a witness finds it (I10).

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Barrier;
use std::thread;

use serde_json::Value;
use upkeep_server::audit::note::{VerifierKey, open};
use upkeep_server::audit::{self, AuditError, Report, log, proof};
use upkeep_server::keys::log::LogKey;
use upkeep_server::random::{Random, SeededRandom, SystemRandom};
use upkeep_server::store::restore::{Until, restore};
use upkeep_server::store::{Entry, Epoch, Store, backup, verify};

use crate::binaries::{Running, run as execute, upkeep_server};
use crate::forger::{self, Payload};
use crate::place::{Place, copy_tree, files, fill, options, run};

/// A ledger of so many entries in several segments, with checkpoints kept along the way, and what a witness has of it.
struct Kept {
    place: Place,
    key: LogKey,
    witness: PathBuf,
}

const ENTRIES: u64 = 60;

impl Kept {
    fn new() -> Self {
        let place = Place::new();
        let store = place.open().unwrap();
        fs::create_dir(place.path("keys")).unwrap();
        let key = LogKey::open_or_create(&place.dir(), "https://vendor.example", &SystemRandom);
        let key = key.unwrap();
        let mut last = String::new();
        for round in 0..4 {
            let (from, to) = (round * ENTRIES / 4 + 1, (round + 1) * ENTRIES / 4);
            run(fill(&store, from, to));
            last = log::checkpoint(&place.dir(), &key).unwrap();
        }
        store.snapshot().unwrap();
        store.close().unwrap();
        let witness = place.root().join("witness.note");
        fs::write(&witness, last).unwrap();
        Self {
            place,
            key,
            witness,
        }
    }

    fn audit(&self, data: &Path, with_witness: bool) -> Report {
        let witnesses = [self.witness.clone()];
        let witnesses = if with_witness { &witnesses[..] } else { &[] };
        audit::verify(data, self.key.verifier(), witnesses, &mut |_| {}).unwrap()
    }
}

#[test]
fn an_untouched_ledger_passes_and_says_how_far_a_witness_vouches() {
    let kept = Kept::new();
    let report = kept.audit(&kept.place.dir(), true);
    assert_eq!(report.findings, []);
    assert_eq!(
        (report.entries, report.kept, report.witnessed),
        (ENTRIES, 4, 1)
    );
    assert_eq!(report.witnessed_size, ENTRIES);
    let verified = verify(options(&kept.place.dir())).unwrap();
    assert_eq!(report.root, hex(&verified.tree().root()));
    // It goes on growing, and stays true.
    let store = kept.place.open().unwrap();
    run(fill(&store, ENTRIES + 1, ENTRIES + 9));
    assert_eq!(kept.audit(&kept.place.dir(), true).findings, []);
    store.close().unwrap();
}

/// The restored ledger has grown beyond what the witness saw: its note says what the restore cut, not that something was forged.
#[test]
fn a_note_that_a_restore_cut_is_no_forgery_when_the_ledger_has_grown_again() {
    let kept = Kept::new();
    let (backup, to) = (
        kept.place.root().join("backup"),
        kept.place.root().join("to"),
    );
    backup::create(&kept.place.dir(), &backup, None, &mut |_| {}).unwrap();
    let entry = |_: &Epoch| Vec::new();
    let until = Until::Entry(ENTRIES / 2);
    run(restore(&backup, &to, until, || 0, entry, None, &mut |_| {})).unwrap();
    let store = Store::open(options(&to)).unwrap();
    run(fill(&store, 1, ENTRIES));
    store.close().unwrap();
    let report = kept.audit(&to, true);
    assert_eq!((report.epoch, report.kept), (2, 2));
    let [finding] = &report.findings[..] else {
        panic!("{report:?}");
    };
    assert!(finding.at.ends_with("witness.note"), "{finding:?}");
    let what = "of epoch 1; a restore, announced in the ledger, kept 30 of them";
    assert!(finding.what.contains(what), "{finding:?}");
}

/// The server and `audit checkpoint` may sign the same ledger at the same moment.
#[test]
fn one_checkpoint_may_be_made_by_several_at_once() {
    let kept = Kept::new();
    let note = files(&kept.place.path("checkpoints")).pop().unwrap();
    for _ in 0..50 {
        fs::remove_file(&note).unwrap();
        let all = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    all.wait();
                    log::checkpoint(&kept.place.dir(), &kept.key).unwrap();
                });
            }
        });
        assert!(note.exists());
    }
    assert_eq!(files(&kept.place.path("checkpoints")).len(), 4);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Edit,
    Delete,
    Swap,
    Insert,
    Truncate,
    Resign,
}

const DEEDS: [Deed; 6] = [
    Deed::Edit,
    Deed::Delete,
    Deed::Swap,
    Deed::Insert,
    Deed::Truncate,
    Deed::Resign,
];

/// Changes the entries; `at` is the place, not the last entry.
fn commit(deed: Deed, entries: &mut Vec<Payload>, at: usize) {
    match deed {
        Deed::Edit | Deed::Resign => entries[at].changes[0].value = Some(b"forged".to_vec()),
        Deed::Delete => drop(entries.remove(at)),
        Deed::Swap => entries.swap(at, at + 1),
        Deed::Insert => {
            let mut forged = entries[at].clone();
            forged.name = "forged".into();
            entries.insert(at, forged);
        }
        Deed::Truncate => entries.truncate(at),
    }
}

/// Half of the trials change the entries and their checksums alone. The other half makes everything fit again: numbers, chain,
/// checksums, index and snapshots taken away, and all checkpoints of the data directory signed anew with the stolen key. Soak:
/// `UPKEEP_G18_TRIALS=600 cargo test --workspace --test recovery g18`.
#[test]
fn g18_whatever_is_done_to_the_ledger_a_witness_finds_it() {
    let trials: usize = match std::env::var("UPKEEP_G18_TRIALS") {
        Ok(trials) => trials.parse().unwrap(),
        Err(_) => 60,
    };
    let kept = Kept::new();
    let random = SeededRandom::new(18);
    let draw = |below: usize| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        usize::try_from(u64::from_be_bytes(bytes) % below as u64).unwrap()
    };
    let (mut found, mut unseen_alone, mut truncations_unseen_alone) = (0, 0, 0);
    for trial in 0..trials {
        let deed = DEEDS[trial % DEEDS.len()];
        // A re-signed ledger is one where everything fits.
        let everything_fits = deed == Deed::Resign || trial / DEEDS.len() % 2 == 1;
        let forged = kept.place.root().join(format!("trial {trial}"));
        copy_tree(&kept.place.dir(), &forged);
        let mut entries = forger::read(&forged);
        assert_eq!(entries.len() as u64, ENTRIES);
        let at = draw(entries.len() - 1);
        commit(deed, &mut entries, at);
        if everything_fits {
            forger::chain(&mut entries);
        }
        forger::write(&forged, &entries);
        for gone in ["index", "index.state", "snapshots", "checkpoints"] {
            let path = forged.join(gone);
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.unwrap();
        }
        if everything_fits {
            log::checkpoint(&forged, &kept.key).unwrap();
            // The forgery is a good one: the server takes it.
            let store = Store::open(options(&forged)).unwrap();
            assert_eq!(store.head().sequence(), entries.len() as u64);
            store.close().unwrap();
        }
        let alone = kept.audit(&forged, false).findings.is_empty();
        if everything_fits {
            assert!(alone, "{deed:?} at {at}: nothing in the directory can tell");
        }
        unseen_alone += usize::from(alone);
        truncations_unseen_alone += usize::from(alone && deed == Deed::Truncate);
        let report = kept.audit(&forged, true);
        assert!(
            !report.findings.is_empty(),
            "{deed:?} at {at} was not found"
        );
        found += 1;
        fs::remove_dir_all(&forged).unwrap();
    }
    println!(
        "G18: {found} of {trials} found with a witness; without one {unseen_alone} were not seen"
    );
    assert_eq!(found, trials);
    // The honest control: without a witness a ledger that was cut short looks whole, every time.
    let truncations = (0..trials).filter(|trial| DEEDS[trial % DEEDS.len()] == Deed::Truncate);
    assert_eq!(truncations_unseen_alone, truncations.count());
    assert_eq!(kept.audit(&kept.place.dir(), true).findings, []);
}

#[test]
fn checkpoints_that_were_touched_are_findings_and_other_keys_vouch_for_nothing() {
    let kept = Kept::new();
    let dir = kept.place.path("checkpoints");
    let path = &files(&dir)[1];
    let sound = fs::read_to_string(path).unwrap();
    fs::write(path, sound.replacen("vendor", "vandal", 1)).unwrap();
    let report = kept.audit(&kept.place.dir(), true);
    assert_eq!((report.findings.len(), report.kept), (1, 3));
    fs::write(path, sound).unwrap();

    let other = Place::new();
    fs::create_dir_all(other.path("keys")).unwrap();
    let key = LogKey::open_or_create(&other.dir(), "https://vendor.example", &SystemRandom);
    let key = key.unwrap();
    let (dir, mut passed) = (kept.place.dir(), |_: &Entry| {});
    let foreign = audit::verify(&dir, key.verifier(), &[], &mut passed);
    assert_eq!(foreign.unwrap().findings.len(), 4, "each that is kept");
    // A slip of who asks is told as one, and not as a ledger that was changed.
    let witness = std::slice::from_ref(&kept.witness);
    let foreign = audit::verify(&dir, key.verifier(), witness, &mut passed).unwrap_err();
    assert!(matches!(foreign, AuditError::Witness { .. }), "{foreign}");
}

#[test]
fn each_entry_is_proved_and_nothing_else_is() {
    let kept = Kept::new();
    let (data, key) = (kept.place.dir(), kept.key.verifier());
    for entry in [1, 2, 15, 16, 31, 59, 60] {
        let proof = proof::prove(&data, key, entry).unwrap();
        let (payload, size) = proof.check(key).unwrap();
        assert!(size >= entry && size <= ENTRIES);
        let read = Entry::read(&payload).unwrap();
        assert_eq!(read.sequence(), entry);
        let mut other = proof.clone();
        other.entry = if entry == 1 { 2 } else { entry - 1 };
        assert!(other.check(key).is_err());
        let mut changed = proof.clone();
        changed.payload = proof::prove(&data, key, entry % 60 + 1).unwrap().payload;
        assert!(changed.check(key).is_err());
        if !proof.path.is_empty() {
            let mut shorter = proof.clone();
            shorter.path.pop();
            assert!(shorter.check(key).is_err());
        }
    }
    assert!(proof::prove(&data, key, 0).is_err());
    assert!(proof::prove(&data, key, ENTRIES + 1).is_err());
}

/// The commands, on the files, as an auditor runs them.
#[test]
fn the_commands_find_prove_and_show() {
    let kept = Kept::new();
    let data = kept.place.dir();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (data_arg, witness) = (path(&data), path(&kept.witness));
    let audit = |arguments: &[&str]| {
        let mut all = vec!["audit"];
        all.extend_from_slice(arguments);
        execute(&mut upkeep_server(all))
    };
    let (code, out, err) = audit(&[
        "verify",
        "--data",
        &data_arg,
        "--witness",
        &witness,
        "--json",
    ]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["witnessed_size"], 60);

    let (code, out, err) = audit(&["tail", "-n", "3", "--data", &data_arg, "--json"]);
    assert_eq!(code, 0, "{err}");
    let lines: Vec<Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| line["entry"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [58, 59, 60]);
    let (_, out, _) = audit(&["export", "--data", &data_arg]);
    assert_eq!(out.lines().count(), 60);
    let (_, out, _) = audit(&["export", "--data", &data_arg, "--from", "11", "--to", "13"]);
    assert_eq!(out.lines().count(), 3);

    let (code, note, err) = audit(&["checkpoint", "--data", &data_arg]);
    assert_eq!(code, 0, "{err}");
    let signed = open(&note, kept.key.verifier()).unwrap();
    assert_eq!((signed.size, signed.epoch), (60, 1));
    let (code, proof, err) = audit(&["prove", "42", "--data", &data_arg]);
    assert_eq!(code, 0, "{err}");
    let file = kept.place.root().join("42.json");
    fs::write(&file, &proof).unwrap();
    // Nothing but the file and the public key.
    let public = kept.place.root().join("log.pub");
    fs::rename(data.join("keys/log.pub"), &public).unwrap();
    fs::rename(&data, kept.place.root().join("gone")).unwrap();
    let check = ["check-proof", &path(&file), "--log-key", &path(&public)].map(str::to_owned);
    let check: Vec<_> = check.iter().map(String::as_str).collect();
    let (code, out, err) = audit(&check);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("entry 42"), "{out}");
    fs::write(&file, proof.replacen("\"entry\": 42", "\"entry\": 41", 1)).unwrap();
    assert_eq!(audit(&check).0, 5);
    fs::rename(kept.place.root().join("gone"), &data).unwrap();

    let mut entries = forger::read(&data);
    entries.truncate(40);
    forger::write(&data, &entries);
    for gone in ["index", "snapshots", "checkpoints"] {
        fs::remove_dir_all(data.join(gone)).unwrap();
    }
    let key = path(&public);
    let with = [
        "verify",
        "--data",
        &data_arg,
        "--log-key",
        &key,
        "--witness",
        &witness,
    ];
    let (code, out, err) = audit(&with);
    assert_eq!(code, 4, "{out}{err}");
    assert!(
        out.contains("signed for 60 entries, and the ledger ends after 40"),
        "{out}"
    );
    let (code, out, _) = audit(&with[..5]);
    assert_eq!(code, 0, "without a witness nobody can tell");
    assert!(out.contains("no witness"), "and it says so: {out}");
    let read = VerifierKey::parse(&fs::read_to_string(&public).unwrap()).unwrap();
    assert_eq!(&read, kept.key.verifier());
}

#[test]
fn a_follower_is_shown_what_is_added() {
    let place = Place::new();
    drop(place.with_entries(1, 3));
    let data = place.dir();
    let follow = ["audit", "tail", "-n", "1", "-f", "--json", "--data"];
    let mut command = upkeep_server(follow);
    let mut following = Running::start(command.arg(&data), Stdio::piped());
    let mut lines = BufReader::new(following.stdout()).lines();
    let mut next = || {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["entry"].as_u64().unwrap()
    };
    assert_eq!(next(), 3);
    drop(place.with_entries(4, 5));
    assert_eq!([next(), next()], [4, 5]);
}
