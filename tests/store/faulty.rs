//! Every changing call of the file layer fails once, in every flavour, with and without a power cut after it.
//!
//! The same life of a store is played each time: it is created, filled over several segments, a snapshot is made of it, and it is
//! closed, opened again and filled on. After the fault: the store stays stopped, opens again, has every acknowledged transaction and no half of
//! any, and what it then shows survives the next power cut too.

use std::collections::BTreeSet;

use upkeep_server::store::{Options, Store, StoreError, Tx, verify};

use crate::rig::{Flavour, Rig};
use crate::world::{Place, hold, queue, run};

/// What comes after the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Restart,
    PowerCut,
}

/// A store on a rig, and the transactions it has acknowledged.
struct Life {
    place: Place,
    rig: Rig,
    acknowledged: BTreeSet<u64>,
    next: u64,
}

impl Life {
    fn new(fail_at: u64, flavour: Flavour) -> Self {
        let rig = Rig::new(fail_at, flavour, fail_at);
        Self {
            place: Place::new(),
            rig,
            acknowledged: BTreeSet::new(),
            next: 0,
        }
    }

    fn options(&self) -> Options {
        let options = self.place.options().segment_bytes(1500).reserve_bytes(8192);
        options.fs(std::sync::Arc::new(self.rig.clone()))
    }

    /// Two sessions; ends at the first fault.
    async fn play(&mut self) -> Result<(), StoreError> {
        for _ in 0..2 {
            let store = Store::open(self.options())?;
            let written = self.write(&store, 5).await;
            // One that fails is made again another time; the store goes on.
            let _ = store.snapshot();
            let written = match written {
                Ok(()) => self.write(&store, 1).await,
                fault => fault,
            };
            if written.is_err() {
                stays_stopped(&store).await;
            }
            let closed = store.close();
            written.and(closed)?;
        }
        Ok(())
    }

    /// Groups of one and of three transactions.
    async fn write(&mut self, store: &Store, groups: u64) -> Result<(), StoreError> {
        for group in 0..groups {
            let (release, held) = hold(store);
            let count = if group % 2 == 0 { 1 } else { 3 };
            let numbers: Vec<u64> = (self.next..self.next + count).collect();
            self.next += count;
            let queued: Vec<_> = numbers
                .iter()
                .map(|number| queue(triple(store.clone(), *number)))
                .collect();
            drop(release);
            let _ = held.await;
            let mut outcome = Ok(());
            for (number, transaction) in numbers.into_iter().zip(queued) {
                match transaction.await {
                    Ok(()) => drop(self.acknowledged.insert(number)),
                    Err(fault) => outcome = Err(fault),
                }
            }
            outcome?;
        }
        Ok(())
    }

    /// Opens without faults and checks everything; what is seen now counts as acknowledged from now on.
    fn recover(&mut self, context: &str) -> Store {
        self.rig.heal();
        let store =
            Store::open(self.options()).unwrap_or_else(|fault| panic!("{context}: {fault}"));
        let seen = numbers(&store, "a/");
        assert_eq!(
            seen,
            numbers(&store, "b/"),
            "{context}: a transaction is torn"
        );
        let lost: Vec<_> = self.acknowledged.difference(&seen).collect();
        assert!(lost.is_empty(), "{context}: lost {lost:?}");
        assert!(
            seen.iter().all(|number| *number < self.next),
            "{context}: invented"
        );
        let count = store.get(b"count").unwrap().unwrap_or_default().len();
        assert_eq!(count, seen.len(), "{context}: the count is torn");
        let entries = store.entries(1, usize::MAX).unwrap();
        assert_eq!(
            entries.len(),
            seen.len(),
            "{context}: ledger and index differ"
        );
        self.acknowledged = seen;
        store
    }

    fn cut_power(&self) {
        self.rig.cut_power();
        damage_index(&self.place, self.rig.calls());
    }
}

/// Puts two equal records and counts, so that half of it would show.
async fn triple(store: Store, number: u64) -> Result<(), StoreError> {
    let transaction = store.transact("triple", move |tx: &mut Tx<'_>| {
        let mut count = tx.get(b"count")?.unwrap_or_default();
        count.push(b'x');
        tx.put(b"count".to_vec(), count);
        for side in ["a", "b"] {
            tx.put(format!("{side}/{number:04}").into_bytes(), vec![b'v'; 150]);
        }
        tx.event(number.to_be_bytes().to_vec());
        Ok::<_, StoreError>(())
    });
    transaction.await.map(|_| ())
}

fn numbers(store: &Store, side: &str) -> BTreeSet<u64> {
    let mut end = side.as_bytes().to_vec();
    end.push(0xFF);
    let pairs = store.scan(side.as_bytes(), &end, usize::MAX).unwrap();
    let number = |key: Vec<u8>| String::from_utf8(key).unwrap()[2..].parse().unwrap();
    pairs.into_iter().map(|(key, _)| number(key)).collect()
}

/// The disk is well again, but the store must not serve any more.
async fn stays_stopped(store: &Store) {
    for _ in 0..2 {
        let late = triple(store.clone(), 9999).await;
        assert!(matches!(late, Err(StoreError::Stopped(_))), "{late:?}");
        assert!(matches!(store.get(b"count"), Err(StoreError::Stopped(_))));
        assert!(matches!(store.entries(1, 1), Err(StoreError::Stopped(_))));
    }
    assert!(matches!(store.clone().close(), Err(StoreError::Stopped(_))));
}

/// What a power cut may leave of an index that was never synced: all, half, garbage or nothing.
fn damage_index(place: &Place, way: u64) {
    let state = std::fs::read_to_string(place.dir().join("index.state")).unwrap_or_default();
    if state.starts_with("clean") {
        return;
    }
    let db = place.dir().join("index").join("db");
    let Ok(bytes) = std::fs::read(&db) else {
        return;
    };
    match way % 4 {
        0 => {}
        1 => std::fs::write(&db, &bytes[..bytes.len() / 2]).unwrap(),
        2 => std::fs::write(&db, vec![0x5A; bytes.len()]).unwrap(),
        _ => std::fs::remove_dir_all(place.dir().join("index")).unwrap(),
    }
}

/// Plays a life for every call that can fail; returns how many there are.
fn every_call(flavour: Flavour, then: Then) -> u64 {
    for fail_at in 1.. {
        let context = format!("{flavour:?} at call {fail_at}, then {then:?}");
        let mut life = Life::new(fail_at, flavour);
        let outcome = run(life.play());
        if !life.rig.was_hit() {
            outcome.unwrap();
            return life.rig.calls();
        }
        if then == Then::PowerCut {
            life.cut_power();
        }
        let store = life.recover(&context);
        run(life.write(&store, 2)).unwrap_or_else(|fault| panic!("{context}: {fault}"));
        life.rig.kill();
        drop(store);
        life.cut_power();
        drop(life.recover(&format!("{context}, then a second power cut")));
        verify(life.options()).unwrap_or_else(|fault| panic!("{context}: {fault}"));
    }
    0
}

#[test]
fn g3_each_call_fails_without_effect_and_the_store_restarts() {
    assert!(every_call(Flavour::NotPersisted, Then::Restart) > 60);
}

#[test]
fn g3_each_call_fails_without_effect_and_the_power_is_cut() {
    assert!(every_call(Flavour::NotPersisted, Then::PowerCut) > 60);
}

#[test]
fn g3_each_call_fails_with_effect_and_the_store_restarts() {
    assert!(every_call(Flavour::Persisted, Then::Restart) > 60);
}

#[test]
fn g3_each_call_fails_with_effect_and_the_power_is_cut() {
    assert!(every_call(Flavour::Persisted, Then::PowerCut) > 60);
}

#[test]
fn g1_the_process_is_killed_before_each_call() {
    assert!(every_call(Flavour::DeadFromHere, Then::Restart) > 60);
}

#[test]
fn g2_the_power_is_cut_before_each_call() {
    assert!(every_call(Flavour::DeadFromHere, Then::PowerCut) > 60);
}

#[test]
fn g3_the_disk_is_full_from_each_call_on() {
    assert!(every_call(Flavour::FullFromHere, Then::Restart) > 60);
}

/// The reserve is given up once, then a start on a full disk says what is needed.
#[test]
fn g3_a_full_disk_costs_the_reserve_first_and_then_refuses_to_start() {
    let mut life = Life::new(0, Flavour::Persisted);
    run(life.play()).unwrap();
    let reserve = life.place.dir().join("reserve");
    assert!(reserve.exists());
    life.rig.fill();
    // This disk stays full even after the reserve is gone, so the start gets no further than that.
    let fault = Store::open(life.options()).err().unwrap();
    assert!(matches!(fault, StoreError::Io { .. }), "{fault}");
    assert!(!reserve.exists(), "the reserve was given up");
    let fault = Store::open(life.options()).err().unwrap();
    assert!(matches!(fault, StoreError::Full { .. }), "{fault}");
    drop(life.recover("space again"));
    assert!(reserve.exists(), "the reserve is kept again");
}

/// A reserve that a start was killed over is no reserve.
#[test]
fn g3_a_reserve_that_was_half_written_is_written_anew() {
    let mut life = Life::new(0, Flavour::Persisted);
    run(life.play()).unwrap();
    let reserve = life.place.dir().join("reserve");
    std::fs::write(&reserve, b"half").unwrap();
    drop(life.recover("half a reserve"));
    assert_eq!(std::fs::metadata(&reserve).unwrap().len(), 8192);
}

/// A snapshot may be made another time; the ledger cannot wait for space.
#[test]
fn g3_no_snapshot_is_begun_without_room_for_it() {
    let mut life = Life::new(0, Flavour::Persisted);
    let store = Store::open(life.options()).unwrap();
    run(life.write(&store, 5)).unwrap();
    life.rig.leave(1 << 20);
    let fault = store.snapshot().err().unwrap();
    assert!(
        matches!(&fault, StoreError::Io { source, .. }
        if source.kind() == std::io::ErrorKind::StorageFull),
        "{fault}"
    );
    assert_eq!(snapshots(&life.place), NOTHING);
    run(life.write(&store, 1)).unwrap();
    life.rig.leave(1 << 30);
    store.snapshot().unwrap().unwrap();
    store.close().unwrap();
    // Nor by a start that makes the index anew, and would like to have one.
    std::fs::remove_dir_all(life.place.dir().join("index")).unwrap();
    std::fs::remove_dir_all(life.place.dir().join("snapshots")).unwrap();
    life.rig.leave(1 << 20);
    Store::open(life.options().snapshot_bytes(1))
        .unwrap()
        .close()
        .unwrap();
    assert_eq!(snapshots(&life.place), NOTHING);
}

#[test]
fn g3_a_snapshot_that_finds_the_disk_full_gives_its_space_back() {
    let mut life = Life::new(0, Flavour::Persisted);
    let store = Store::open(life.options()).unwrap();
    run(life.write(&store, 5)).unwrap();
    life.rig.fill();
    store.snapshot().unwrap_err();
    assert_eq!(snapshots(&life.place), NOTHING);
}

/// What a killed server, or a killed check, had begun is gone before the start asks for space.
#[test]
fn g3_a_start_on_a_full_disk_begins_with_removing_what_was_begun() {
    let mut life = Life::new(0, Flavour::Persisted);
    run(life.play()).unwrap();
    let whole = snapshots(&life.place);
    for part in ["00000000000000000099.new", "000001-0.run"] {
        std::fs::write(life.place.dir().join("snapshots").join(part), [0; 100]).unwrap();
    }
    let begun = ["index.old", "index.check"].map(|name| life.place.dir().join(name));
    for dir in &begun {
        std::fs::create_dir(dir).unwrap();
        std::fs::write(dir.join("part"), [0; 100]).unwrap();
    }
    std::fs::remove_file(life.place.dir().join("reserve")).unwrap();
    life.rig.fill();
    let fault = Store::open(life.options()).err().unwrap();
    assert!(matches!(fault, StoreError::Full { .. }), "{fault}");
    assert_eq!(snapshots(&life.place), whole);
    assert!(begun.iter().all(|dir| !dir.exists()));
}

const NOTHING: [&str; 0] = [];

/// The names in `snapshots`, sorted.
fn snapshots(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.dir().join("snapshots")).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}
