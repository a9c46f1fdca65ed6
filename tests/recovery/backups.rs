//! Backups and restores of a store at rest: what is in them, what is refused, and the epoch (I12).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use upkeep_server::store::backup::{self, BackupError, Manifest};
use upkeep_server::store::restore::{Restored, Until, restore};
use upkeep_server::store::{LedgerFiles, Store, StoreError, verify};

use crate::place::{Place, all, files, fill, options, replayed, run};

fn take(place: &Place, out: &Path) -> Result<backup::Taken, BackupError> {
    backup::create(&place.dir(), out, None, &mut |_| {})
}

fn back(from: &Path, to: &Path, until: Until) -> Result<Restored, BackupError> {
    run(restore(
        from,
        to,
        until,
        || 1_800_000_000_000,
        |epoch| format!("epoch {}", epoch.number()).into_bytes(),
        &mut |_| {},
    ))
}

/// Opens what a restore made and holds it against the entries it must hold.
fn assert_is_prefix(dir: &Path, ledger: &LedgerFiles, kept: u64) {
    let store = Store::open(options(dir)).unwrap();
    let prefix: Vec<_> = ledger
        .entries(1)
        .map(Result::unwrap)
        .take_while(|entry| entry.sequence() <= kept)
        .collect();
    let mut records = all(&store);
    assert!(
        records.remove(&b"F/epoch"[..]).is_some(),
        "the epoch is on record"
    );
    assert_eq!(records, replayed(&prefix), "restored to entry {kept}");
    let own = store.entries(1, usize::MAX).unwrap();
    let (last, before) = own.split_last().unwrap();
    assert_eq!(before, prefix);
    assert_eq!((last.sequence(), last.name()), (kept + 1, "restore"));
    store.close().unwrap();
    verify(options(dir)).unwrap();
}

#[test]
fn a_backup_restores_to_its_end_and_to_every_entry() {
    let place = Place::new();
    let store = place.with_entries(1, 60);
    store.snapshot().unwrap();
    run(fill(&store, 61, 90));
    let out = place.root().join("backup");
    // The store is open: nothing is locked out.
    let taken = take(&place, &out).unwrap();
    assert_eq!(taken.manifest.sequence, 90);
    assert_eq!(backup::verify(&out, &mut |_| {}).unwrap().snapshots, 1);
    let ledger = LedgerFiles::open(&place.dir()).unwrap();
    for kept in [0, 1, 2, 30, 59, 60, 61, 89, 90] {
        let to = place.root().join(format!("to {kept}"));
        let restored = back(&out, &to, Until::Entry(kept)).unwrap();
        assert_eq!(restored.kept.sequence(), kept);
        assert_eq!((restored.epoch.number(), restored.known), (2, 90));
        assert_is_prefix(&to, &ledger, kept);
    }
    let to = place.root().join("end");
    back(&out, &to, Until::End).unwrap();
    assert_is_prefix(&to, &ledger, 90);
    store.close().unwrap();
    let remains: Vec<_> = fs::read_dir(place.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(remains.is_empty(), "{remains:?}");
}

#[test]
fn a_restore_to_a_time_ends_before_the_first_later_entry() {
    let place = Place::new();
    let clock = Arc::new(AtomicI64::new(1000));
    let time = Arc::clone(&clock);
    let ticking = options(&place.dir()).clock(move || time.load(Ordering::SeqCst));
    let store = Store::open(ticking).unwrap();
    for number in 1..=10 {
        clock.store(number * 1000, Ordering::SeqCst);
        run(fill(&store, number as u64, number as u64));
    }
    store.close().unwrap();
    let out = place.root().join("backup");
    take(&place, &out).unwrap();
    for (time, kept) in [
        (0, 0),
        (999, 0),
        (1000, 1),
        (5999, 5),
        (6000, 6),
        (99_000, 10),
    ] {
        let to = place.root().join(format!("at {time}"));
        let restored = back(&out, &to, Until::Time(time)).unwrap();
        assert_eq!(restored.kept.sequence(), kept, "at {time}");
    }
}

#[test]
fn a_second_backup_adds_what_is_new_only() {
    let place = Place::new();
    let store = place.with_entries(1, 80);
    let out = place.root().join("backup");
    let first = take(&place, &out).unwrap();
    let again = take(&place, &out).unwrap();
    assert_eq!(again.copied, 0, "nothing is new");
    run(fill(&store, 81, 160));
    let second = take(&place, &out).unwrap();
    let (all, new) = (second.manifest.bytes(), second.copied);
    let old = first.manifest.bytes();
    // The segment that was open is taken again, whole.
    assert!(
        new < all - old / 2,
        "{new} of {all} copied, {old} were there"
    );
    assert_eq!(second.manifest.sequence, 160);
    backup::verify(&out, &mut |_| {}).unwrap();
    store.close().unwrap();
}

#[test]
fn a_backup_is_never_mixed_with_another_ledger_or_another_directory() {
    let place = Place::new();
    place.with_entries(1, 30).close().unwrap();
    let out = place.root().join("backup");
    take(&place, &out).unwrap();
    let other = Place::new();
    let store = other.open().unwrap();
    run(fill(&store, 100, 140));
    store.close().unwrap();
    assert!(matches!(
        take(&other, &out),
        Err(BackupError::OtherLedger { sequence: 30, .. })
    ));
    // A restored store has another history from its first own entry on.
    let restored = other.root().join("restored");
    back(&out, &restored, Until::Entry(20)).unwrap();
    let refused = backup::create(&restored, &out, None, &mut |_| {});
    assert!(matches!(refused, Err(BackupError::OtherLedger { .. })));
    backup::verify(&out, &mut |_| {}).unwrap();

    let foreign = place.root().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "mine").unwrap();
    assert!(matches!(
        take(&place, &foreign),
        Err(BackupError::Foreign { .. })
    ));
    assert!(matches!(
        take(&place, &place.dir()),
        Err(BackupError::Foreign { .. })
    ));
    assert!(matches!(
        Manifest::read(&foreign),
        Err(BackupError::Missing { .. })
    ));
    let nowhere = backup::create(&foreign, &out, None, &mut |_| {});
    assert!(matches!(
        nowhere,
        Err(BackupError::Store(StoreError::Missing { .. }))
    ));
}

#[test]
fn a_restore_never_overwrites_and_leaves_nothing_when_it_fails() {
    let place = Place::new();
    place.with_entries(1, 20).close().unwrap();
    let out = place.root().join("backup");
    take(&place, &out).unwrap();
    let kept = files(&place.path("ledger"));
    let before: Vec<_> = kept.iter().map(|path| fs::read(path).unwrap()).collect();
    let empty = place.root().join("empty");
    fs::create_dir(&empty).unwrap();
    for to in [place.dir(), empty] {
        let refused = back(&out, &to, Until::End);
        assert!(matches!(refused, Err(BackupError::Exists { .. })));
    }
    let after: Vec<_> = kept.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(before, after);
    let to = place.root().join("far");
    let refused = back(&out, &to, Until::Entry(21));
    assert!(matches!(
        refused,
        Err(BackupError::OutOfReach { last: 20, .. })
    ));
    // A byte of a segment that is flipped: the restore fails, and its directory is not there.
    let segment = &files(&out.join("ledger"))[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[100] ^= 1;
    fs::write(segment, bytes).unwrap();
    assert!(back(&out, &to, Until::End).is_err());
    assert!(!to.exists());
}

#[test]
fn every_damage_to_a_backup_is_found_and_named() {
    let place = Place::new();
    let store = place.with_entries(1, 40);
    store.snapshot().unwrap();
    store.close().unwrap();
    let out = place.root().join("backup");
    take(&place, &out).unwrap();
    let paths: Vec<PathBuf> = ["ledger", "snapshots"]
        .iter()
        .flat_map(|dir| files(&out.join(dir)))
        .collect();
    assert!(paths.len() > 2);
    for path in &paths {
        let sound = fs::read(path).unwrap();
        for at in [0, sound.len() / 2, sound.len() - 1] {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            fs::write(path, &bytes).unwrap();
            let found = backup::verify(&out, &mut |_| {}).unwrap_err().to_string();
            assert!(found.contains(path.to_str().unwrap()), "{found}");
        }
        fs::write(path, &sound[..sound.len() - 1]).unwrap();
        assert!(backup::verify(&out, &mut |_| {}).is_err());
        fs::remove_file(path).unwrap();
        assert!(backup::verify(&out, &mut |_| {}).is_err());
        fs::write(path, &sound).unwrap();
    }
    backup::verify(&out, &mut |_| {}).unwrap();
    // A manifest that names a file outside of the backup is not followed.
    let manifest = out.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("ledger/", "../", 1)).unwrap();
    assert!(matches!(
        Manifest::read(&out),
        Err(BackupError::Damaged { .. })
    ));
}

#[test]
fn an_interrupted_backup_leaves_the_older_one_whole() {
    let place = Place::new();
    let store = place.with_entries(1, 40);
    let out = place.root().join("backup");
    take(&place, &out).unwrap();
    let manifest = fs::read(out.join("manifest.json")).unwrap();
    run(fill(&store, 41, 90));
    store.close().unwrap();
    take(&place, &out).unwrap();
    // As if the machine had stopped before the last step: the old manifest over newer, longer files.
    fs::write(out.join("manifest.json"), manifest).unwrap();
    assert_eq!(backup::verify(&out, &mut |_| {}).unwrap().entries, 40);
    let to = place.root().join("old");
    let restored = back(&out, &to, Until::End).unwrap();
    assert_eq!(restored.kept.sequence(), 40);
    take(&place, &out).unwrap();
    assert_eq!(backup::verify(&out, &mut |_| {}).unwrap().entries, 90);
}

#[test]
fn each_restore_begins_another_epoch_and_the_record_of_it_is_kept() {
    let place = Place::new();
    place.with_entries(1, 20).close().unwrap();
    let (mut from, mut number) = (place.dir(), 1);
    for round in 0..3 {
        let out = place.root().join(format!("backup {round}"));
        backup::create(&from, &out, None, &mut |_| {}).unwrap();
        let to = place.root().join(format!("data {round}"));
        let restored = back(&out, &to, Until::Entry(15)).unwrap();
        number += 1;
        assert_eq!(restored.epoch.number(), number);
        let store = Store::open(options(&to)).unwrap();
        assert_eq!(store.epoch().unwrap(), restored.epoch);
        assert_eq!(store.head(), restored.head);
        // Cut before the entry of the restore before, too: its number is never taken again.
        run(fill(&store, 16, 30));
        store.close().unwrap();
        from = to;
    }
    let out = place.root().join("backup last");
    backup::create(&from, &out, None, &mut |_| {}).unwrap();
    let restored = back(&out, &place.root().join("last"), Until::End).unwrap();
    assert_eq!(restored.epoch.number(), 5);
}
