//! Backups and restores of a store at rest: what is in them, what is refused, and the epoch (I12).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use upkeep_server::store::backup::{self, BackupError, KeysFault, Manifest, SEALED_KEYS};
use upkeep_server::store::restore::{LayDown, Restored, Unseal, Until, restore};
use upkeep_server::store::{LedgerFiles, Store, StoreError, verify};

use crate::place::{Place, all, copy_tree, files, fill, options, replayed, run};

fn take(place: &Place, out: &Path) -> Result<backup::Taken, BackupError> {
    backup::create(&place.dir(), out, None, &mut |_| {})
}

fn back(from: &Path, to: &Path, until: Until) -> Result<Restored, BackupError> {
    restored(from, to, until, None)
}

fn back_with(from: &Path, to: &Path, unseal: &mut Unseal<'_>) -> Result<Restored, BackupError> {
    restored(from, to, Until::End, Some(unseal))
}

fn restored(
    from: &Path,
    to: &Path,
    until: Until,
    unseal: Option<&mut Unseal<'_>>,
) -> Result<Restored, BackupError> {
    run(restore(
        from,
        to,
        until,
        || 1_800_000_000_000,
        |epoch| format!("epoch {}", epoch.number()).into_bytes(),
        unseal,
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
    for time in [0, 999] {
        let nothing = back(&out, &place.root().join("none"), Until::Time(time));
        let nothing = nothing.map(drop).unwrap_err();
        assert!(matches!(nothing, BackupError::BeforeAll), "{nothing}");
    }
    for (time, kept) in [(1000, 1), (5999, 5), (6000, 6), (99_000, 10)] {
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
        Manifest::read(&foreign),
        Err(BackupError::Missing { .. })
    ));
    let nowhere = backup::create(&foreign, &out, None, &mut |_| {});
    assert!(matches!(
        nowhere,
        Err(BackupError::Store(StoreError::Missing { .. }))
    ));
}

/// The files of a directory and of those in it, with what they hold.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let inside = |path: PathBuf| match path.is_dir() {
        true => contents(&path),
        false => vec![(path.clone(), fs::read(&path).unwrap())],
    };
    files(dir).into_iter().flat_map(inside).collect()
}

/// `--out` was mistyped: another store, which has lost what says that it is one.
#[test]
fn a_backup_never_goes_over_a_data_directory() {
    let (place, other) = (Place::new(), Place::new());
    place.with_entries(1, 30).close().unwrap();
    let store = other.with_entries(1, 60);
    store.snapshot().unwrap();
    store.close().unwrap();
    fs::remove_file(other.path("meta")).unwrap();
    let before = contents(&other.dir());
    let refused = |what: &str| {
        let refused = take(&place, &other.dir());
        assert!(
            matches!(refused, Err(BackupError::Foreign { .. })),
            "{what}"
        );
    };
    refused("without meta");
    assert_eq!(contents(&other.dir()), before);
    // A backup that somebody has put there before proves nothing either.
    fs::write(other.path("backup.lock"), "").unwrap();
    let names = ["lock", "index", "index.state"];
    for kept in names {
        for name in names.into_iter().filter(|name| *name != kept) {
            let (there, away) = (other.path(name), other.root().join(name));
            fs::rename(there, away).unwrap();
        }
        refused(kept);
        for name in names.into_iter().filter(|name| *name != kept) {
            let (there, away) = (other.path(name), other.root().join(name));
            fs::rename(away, there).unwrap();
        }
    }
    fs::remove_file(other.path("backup.lock")).unwrap();
    assert_eq!(contents(&other.dir()), before);
    // One that was begun is gone on with.
    let begun = place.root().join("begun");
    fs::create_dir_all(begun.join("ledger")).unwrap();
    fs::write(begun.join("ledger/00000000000000000001.new"), "part").unwrap();
    let unlocked = take(&place, &begun);
    assert!(matches!(unlocked, Err(BackupError::Foreign { .. })));
    fs::write(begun.join("backup.lock"), "").unwrap();
    take(&place, &begun).unwrap();
}

#[test]
fn a_backup_is_never_in_the_data_directory_that_it_is_of() {
    let place = Place::new();
    place.with_entries(1, 30).close().unwrap();
    let before = contents(&place.dir());
    let link = place.root().join("link");
    std::os::unix::fs::symlink(place.dir(), &link).unwrap();
    for out in [
        place.dir(),
        place.path("backup"),
        place.path("far/away"),
        place.path("ledger"),
        link.clone(),
        link.join("backup"),
    ] {
        let refused = take(&place, &out);
        let inside = matches!(refused, Err(BackupError::Inside { .. }));
        assert!(inside, "{}: {refused:?}", out.display());
    }
    assert_eq!(contents(&place.dir()), before);
    take(&place, &place.root().join("data beside")).unwrap();
}

#[test]
fn a_backup_that_waits_for_another_goes_on_from_it() {
    let place = Place::new();
    let store = place.with_entries(1, 40);
    let (out, ahead) = (place.root().join("backup"), place.root().join("ahead"));
    take(&place, &out).unwrap();
    take(&place, &ahead).unwrap();
    let waited = (41..100).any(|entry| {
        let lock = fs::File::open(out.join("backup.lock")).unwrap();
        lock.lock().unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| take(&place, &out));
            // Long enough to look at the ledger and come to the lock.
            std::thread::sleep(Duration::from_millis(50));
            run(fill(&store, entry, entry));
            take(&place, &ahead).unwrap();
            copy_tree(&ahead, &out);
            drop(lock);
            match waits.join().unwrap() {
                Ok(taken) => {
                    assert_eq!(taken.manifest.sequence, entry);
                    true
                }
                // It has waited too long for this busy machine.
                Err(BackupError::Busy { .. }) => false,
                Err(other) => panic!("{other}"),
            }
        })
    });
    assert!(waited);
    store.close().unwrap();
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
        let lost = backup::verify(&out, &mut |_| {}).map(drop).unwrap_err();
        assert!(matches!(lost, BackupError::Damaged { .. }), "{lost}");
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

/// Writes what a backup takes beside the ledger: files that change under their names.
fn write_small(place: &Place, text: &str) {
    for name in [
        "upkeep.toml",
        "endorsements/vendor.pem",
        "checkpoints/00000000000000000005.note",
    ] {
        let path = place.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// The files of a backup, by name within it; its ledger and snapshots left out.
fn small(out: &Path) -> Vec<PathBuf> {
    let dirs = [
        out.to_owned(),
        out.join("checkpoints"),
        out.join("endorsements"),
    ];
    let all = dirs.iter().flat_map(|dir| files(dir));
    all.filter(|path| path.is_file()).collect()
}

#[test]
fn a_backup_that_fails_at_the_manifest_has_touched_nothing_of_the_older_one() {
    let place = Place::new();
    let store = place.with_entries(1, 40);
    write_small(&place, "old");
    let out = place.root().join("backup");
    let mut seal = || Ok(b"old keys".to_vec());
    backup::create(&place.dir(), &out, Some(&mut seal), &mut |_| {}).unwrap();
    let count = small(&out).len();
    run(fill(&store, 41, 90));
    store.close().unwrap();
    write_small(&place, "new");
    // In the way of the manifest.
    fs::create_dir(out.join("manifest.new")).unwrap();
    let mut seal = || Ok(b"new keys".to_vec());
    let failed = backup::create(&place.dir(), &out, Some(&mut seal), &mut |_| {});
    assert!(matches!(failed, Err(BackupError::Io { .. })), "{failed:?}");
    assert_eq!(backup::verify(&out, &mut |_| {}).unwrap().entries, 40);
    let to = place.root().join("old");
    let mut unsealed = Vec::new();
    let mut unseal = |bytes: &[u8]| -> Result<LayDown<'_>, KeysFault> {
        unsealed = bytes.to_vec();
        Ok(Box::new(|_| Ok(())))
    };
    back_with(&out, &to, &mut unseal).unwrap();
    assert_eq!(unsealed, b"old keys");
    assert_eq!(fs::read(to.join("upkeep.toml")).unwrap(), b"old");
    assert_eq!(
        fs::read(to.join("endorsements/vendor.pem")).unwrap(),
        b"old"
    );
    // The next one succeeds, and takes away what is named no more.
    fs::remove_dir(out.join("manifest.new")).unwrap();
    take(&place, &out).unwrap();
    assert_eq!(backup::verify(&out, &mut |_| {}).unwrap().entries, 90);
    assert_eq!(small(&out).len(), count);
    let to = place.root().join("new");
    back(&out, &to, Until::End).unwrap();
    assert_eq!(fs::read(to.join("upkeep.toml")).unwrap(), b"new");
}

#[test]
fn keys_are_sealed_after_the_last_entry_is_fixed_and_say_so_when_they_are_older() {
    let place = Place::new();
    let store = place.with_entries(1, 40);
    let out = place.root().join("backup");
    let mut seal = || {
        // What is made now may have a key of its own: it is not in this backup. Nor does another one write to it meanwhile.
        run(fill(&store, 41, 50));
        assert!(matches!(take(&place, &out), Err(BackupError::Busy { .. })));
        Ok(b"keys".to_vec())
    };
    let taken = backup::create(&place.dir(), &out, Some(&mut seal), &mut |_| {}).unwrap();
    let of = |manifest: &Manifest| (manifest.sequence, manifest.keys_sealed_at);
    assert_eq!(of(&taken.manifest), (40, Some(40)));
    assert_eq!(of(&take(&place, &out).unwrap().manifest), (50, Some(40)));
    store.close().unwrap();
}

#[test]
fn a_restore_that_cannot_unseal_the_keys_makes_nothing() {
    let place = Place::new();
    place.with_entries(1, 20).close().unwrap();
    let (out, to) = (place.root().join("backup"), place.root().join("to"));
    take(&place, &out).unwrap();
    let mut unseal =
        |_: &[u8]| -> Result<LayDown<'_>, KeysFault> { Ok(Box::new(|_| Err("not yet".into()))) };
    let refused = back_with(&out, &to, &mut unseal);
    assert!(matches!(refused, Err(BackupError::NoKeys { .. })));
    let mut seal = || Ok(b"keys".to_vec());
    backup::create(&place.dir(), &out, Some(&mut seal), &mut |_| {}).unwrap();
    let mut wrong =
        |_: &[u8]| -> Result<LayDown<'_>, KeysFault> { Err("a wrong passphrase".into()) };
    let refused = back_with(&out, &to, &mut wrong);
    assert!(matches!(refused, Err(BackupError::Keys(_))));
    // Opened, they are laid down when all else is there, and what fails then leaves nothing either.
    let mut late = |_: &[u8]| -> Result<LayDown<'_>, KeysFault> {
        Ok(Box::new(|dir| {
            assert!(dir.join("meta").exists(), "keys lie in what is half made");
            Err("no room".into())
        }))
    };
    let refused = back_with(&out, &to, &mut late);
    assert!(matches!(refused, Err(BackupError::Keys(_))));
    let manifest = Manifest::read(&out).unwrap();
    let sealed = out.join(manifest.known(SEALED_KEYS).unwrap().stored());
    fs::write(sealed, b"kexs").unwrap();
    let refused = back_with(&out, &to, &mut unseal);
    assert!(matches!(refused, Err(BackupError::Damaged { .. })));
    let names: Vec<_> = files(place.root())
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["backup", "data"]);
}

#[test]
fn a_restore_lays_no_file_down_that_a_backup_does_not_take() {
    let place = Place::new();
    place.with_entries(1, 20).close().unwrap();
    write_small(&place, "mine");
    let out = place.root().join("backup");
    take(&place, &out).unwrap();
    let manifest = out.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let stray = text.replace(r#""name": "upkeep.toml""#, r#""name": "stray""#);
    assert_ne!(stray, text);
    fs::write(&manifest, stray).unwrap();
    let to = place.root().join("to");
    back(&out, &to, Until::End).unwrap();
    assert!(!to.join("stray").exists() && !to.join("upkeep.toml").exists());
}

/// The server keeps two: the one that was chosen is gone before its turn has come.
#[test]
fn a_backup_holds_on_to_the_snapshot_that_it_has_chosen() {
    let place = Place::new();
    let store = place.with_entries(1, 60);
    store.snapshot().unwrap();
    let (out, mut next) = (place.root().join("backup"), 61);
    let mut go_on = |_: backup::Progress<'_>| {
        for _ in 0..2 {
            run(fill(&store, next, next));
            store.snapshot().unwrap().unwrap();
            next += 1;
        }
    };
    let taken = backup::create(&place.dir(), &out, None, &mut go_on).unwrap();
    let chosen = "snapshots/00000000000000000060.snap";
    assert!(taken.manifest.known(chosen).is_some());
    assert!(!place.path(chosen).exists());
    assert_eq!(backup::verify(&out, &mut |_| {}).unwrap().snapshots, 1);
    store.close().unwrap();
}

#[test]
fn what_a_backup_has_lost_is_taken_again() {
    let place = Place::new();
    let store = place.with_entries(1, 40);
    store.snapshot().unwrap();
    store.close().unwrap();
    write_small(&place, "small");
    let out = place.root().join("backup");
    let mut seal = || Ok(b"keys".to_vec());
    backup::create(&place.dir(), &out, Some(&mut seal), &mut |_| {}).unwrap();
    let held = Manifest::read(&out).unwrap();
    let lost = held.files.iter().filter(|sum| sum.name != SEALED_KEYS);
    for sum in lost {
        let path = out.join(sum.stored());
        let bytes = fs::read(&path).unwrap();
        for left in [None, Some(&bytes[..bytes.len() - 1])] {
            match left {
                None => fs::remove_file(&path).unwrap(),
                Some(left) => fs::write(&path, left).unwrap(),
            }
            let taken = take(&place, &out).unwrap();
            assert_eq!((taken.copied, &taken.manifest), (sum.bytes, &held));
            backup::verify(&out, &mut |_| {}).unwrap();
        }
    }
    // Keys cannot be sealed again without the passphrase: the backup says that it has none.
    fs::remove_file(out.join(held.known(SEALED_KEYS).unwrap().stored())).unwrap();
    let taken = take(&place, &out).unwrap().manifest;
    assert_eq!(
        (taken.known(SEALED_KEYS), taken.keys_sealed_at),
        (None, None)
    );
    backup::verify(&out, &mut |_| {}).unwrap();
}

#[test]
fn what_an_interrupted_backup_left_goes_with_the_next_one() {
    let place = Place::new();
    place.with_entries(1, 20).close().unwrap();
    let out = place.root().join("backup");
    take(&place, &out).unwrap();
    let left = [
        "ledger/00000000000000000099.new",
        "snapshots/00000000000000000099.snap",
        "snapshots/00000000000000000100.new",
        "manifest.new",
    ];
    left.iter()
        .for_each(|name| fs::write(out.join(name), "part").unwrap());
    take(&place, &out).unwrap();
    left.iter()
        .for_each(|name| assert!(!out.join(name).exists(), "{name}"));
    assert_eq!(backup::verify(&out, &mut |_| {}).unwrap().entries, 20);
}

/// It had copied segments, was interrupted before the manifest, and the ledger was set back with what is in the backup.
#[test]
fn a_segment_that_an_interrupted_backup_left_is_none_of_the_backup() {
    let place = Place::new();
    let store = place.with_entries(1, 40);
    let out = place.root().join("backup");
    take(&place, &out).unwrap();
    let manifest = fs::read(out.join("manifest.json")).unwrap();
    run(fill(&store, 41, 200));
    store.close().unwrap();
    take(&place, &out).unwrap();
    let left = files(&out.join("ledger"));
    let left = left
        .iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()));
    let left: Vec<_> = left.collect();
    fs::write(out.join("manifest.json"), manifest).unwrap();
    assert_eq!(backup::verify(&out, &mut |_| {}).unwrap().entries, 40);
    // The new ledger has other segments from there on.
    let data = place.root().join("again");
    back(&out, &data, Until::End).unwrap();
    let store = Store::open(options(&data).segment_bytes(3000)).unwrap();
    run(fill(&store, 1000, 1300));
    store.close().unwrap();
    let taken = backup::create(&data, &out, None, &mut |_| {}).unwrap();
    let is_named = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        taken.manifest.known(&format!("ledger/{name}")).is_some()
    };
    let unnamed: Vec<_> = left.iter().filter(|(path, _)| !is_named(path)).collect();
    assert!(!unnamed.is_empty());
    assert!(unnamed.iter().all(|(path, _)| !path.exists()));
    // Nor does one count that is there all the same.
    for (path, bytes) in unnamed {
        fs::write(path, bytes).unwrap();
    }
    let last = taken.manifest.sequence;
    assert_eq!(backup::verify(&out, &mut |_| {}).unwrap().entries, last);
    let restored = back(&out, &place.root().join("to"), Until::End).unwrap();
    assert_eq!(restored.kept.sequence(), last);
}

/// While the server rolls over, the segment that is full has its unused room yet.
#[test]
fn a_backup_takes_no_unused_room_of_a_segment_that_is_full() {
    let place = Place::new();
    place.with_entries(1, 60).close().unwrap();
    let segments = place.segments();
    let full = &segments[segments.len() - 2];
    let sealed = fs::metadata(full).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(full).unwrap();
    file.set_len(sealed + 1000).unwrap();
    let out = place.root().join("backup");
    let taken = take(&place, &out).unwrap();
    let name = full.file_name().unwrap().to_str().unwrap();
    let sum = taken.manifest.known(&format!("ledger/{name}")).unwrap();
    assert_eq!(sum.bytes, sealed);
    assert_eq!(backup::verify(&out, &mut |_| {}).unwrap().entries, 60);
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
