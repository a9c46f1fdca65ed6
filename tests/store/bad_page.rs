//! One bad page in an index that is believed: whoever meets it stops the store, and the next start makes the index anew.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use upkeep_server::store::{Store, StoreError, Tx, Watch, Writer, verify, verify_with};

use crate::world::{Place, hold, put, queue, run};

/// So many records take several of sled's segments.
const RECORDS: usize = 8000;

/// So many are put at once.
const AT_ONCE: usize = 400;

const ENTRIES: u64 = 1 + (RECORDS / AT_ONCE) as u64;

/// A record on the page in question, and one beside it.
const KEY: &str = "key 1000";
const BESIDE: &str = "key 1001";

/// What stands nowhere else.
const VALUE: &str = "the record on the bad page";

/// A store whose index is closed, and so has all of its pages in files.
fn place() -> Place {
    let place = Place::new();
    let store = place.open();
    run(async {
        put(&store, KEY, VALUE).await.unwrap();
        for from in (0..RECORDS).step_by(AT_ONCE) {
            let filled = store.transact("fill", move |tx: &mut Tx<'_>| {
                for number in from..from + AT_ONCE {
                    let key = format!("key {number:04}");
                    if key != KEY {
                        tx.put(key.into_bytes(), vec![b'v'; 200]);
                    }
                }
                Ok::<_, StoreError>(())
            });
            filled.await.unwrap();
        }
    });
    store.close().unwrap();
    place
}

/// Flips a bit of the page with [`KEY`]. While the index is opened sled may look at it, later only when it is asked for.
fn spoil(index: &Path) {
    let db = index.join("db");
    let mut all = fs::read(&db).unwrap();
    let found = (0..all.len()).filter(|at| all[*at..].starts_with(VALUE.as_bytes()));
    let found: Vec<_> = found.collect();
    assert!(!found.is_empty(), "the page is not in the file");
    found.into_iter().for_each(|at| all[at] ^= 1);
    // In place: sled has the file open.
    let mut file = fs::OpenOptions::new().write(true).open(db).unwrap();
    file.write_all(&all).unwrap();
}

/// Opens the store, and only then spoils the page.
fn open_and_spoil(place: &Place) -> Store {
    let store = place.open();
    spoil(&place.dir().join("index"));
    store
}

#[track_caller]
fn assert_stopped<T>(store: &Store, outcome: Result<T, StoreError>) {
    match outcome {
        Err(StoreError::Stopped(why)) => assert!(why.contains("the index in "), "{why}"),
        Err(other) => panic!("not stopped but: {other}"),
        Ok(_) => panic!("the page was read"),
    }
    assert!(store.is_stopped());
}

/// The ledger leads to the same records, whatever has become of the index.
fn assert_whole(place: &Place, entries: u64) {
    let store = place.open();
    assert_eq!(store.head().sequence(), entries);
    assert_eq!(
        store.get(KEY.as_bytes()).unwrap(),
        Some(VALUE.as_bytes().to_vec())
    );
    let state = store.state_hash().unwrap();
    store.close().unwrap();
    assert_eq!(verify(place.options()).unwrap().state(), state);
}

#[test]
fn a_reader_that_meets_it_stops_the_store_and_the_next_start_repairs_it() {
    let place = place();
    let store = open_and_spoil(&place);
    assert!(store.get(b"key 0000").unwrap().is_some(), "another page");
    assert_stopped(&store, store.get(KEY.as_bytes()));
    assert!(matches!(store.close(), Err(StoreError::Stopped(_))));
    assert_whole(&place, ENTRIES);
}

/// Spoils the page of an index that is open and about to be written to.
struct Spoiler {
    index: PathBuf,
    once: Once,
}

impl Watch for Spoiler {
    fn wrote(&self, file: &Path, _: usize) {
        if file.ends_with("index.new") {
            self.once.call_once(|| spoil(&self.index));
        }
    }
}

#[test]
fn a_start_that_meets_it_in_its_replay_repairs_it() {
    let place = place();
    let (index, state) = (place.dir().join("index"), place.dir().join("index.state"));
    let aside = place.dir().with_extension("aside");
    fs::rename(&index, &aside).unwrap();
    let marker = fs::read(&state).unwrap();
    let store = place.open();
    run(put(&store, BESIDE, "later")).unwrap();
    store.close().unwrap();
    // The ledger has gone on, and leads to the page.
    fs::remove_dir_all(&index).unwrap();
    fs::rename(&aside, &index).unwrap();
    fs::write(&state, marker).unwrap();
    let spoiler = Spoiler {
        index,
        once: Once::new(),
    };
    let store = Store::open(place.options().watch(Arc::new(spoiler)));
    store.unwrap().close().unwrap();
    assert_whole(&place, ENTRIES + 1);
}

#[test]
fn a_close_that_meets_it_leaves_an_index_that_is_not_believed() {
    let place = place();
    let store = open_and_spoil(&place);
    run(put(&store, BESIDE, "later")).unwrap();
    assert!(store.close().is_err());
    assert_whole(&place, ENTRIES + 1);
}

#[test]
fn a_check_that_meets_it_says_what_helps() {
    let place = place();
    let index = place.dir().join("index");
    let once = Once::new();
    let found = verify_with(place.options(), &mut |_| once.call_once(|| spoil(&index)));
    match found {
        Err(StoreError::Damaged {
            file, what_to_do, ..
        }) => {
            assert_eq!(file, index);
            assert!(what_to_do.contains("remove the directory"), "{what_to_do}");
        }
        other => panic!("{other:?}"),
    }
}

/// Puts two records, one before and one after it looks at the page; it does not mind what it finds there.
async fn look_and_put(store: Store) -> Result<(), StoreError> {
    let done = store.transact("look", |tx: &mut Tx<'_>| {
        tx.put(b"before".to_vec(), vec![1]);
        let _ = tx.get(KEY.as_bytes());
        let _ = tx.scan(b"key 0990", b"key 1010", 100);
        tx.put(b"after".to_vec(), vec![1]);
        Ok::<_, StoreError>(())
    });
    done.await.map(drop)
}

#[test]
fn a_transaction_that_meets_it_stops_the_store_and_nothing_of_its_group_is_kept() {
    for writer in [Writer::Thread, Writer::Caller] {
        let place = place();
        let store = Store::open(place.options().writer(writer)).unwrap();
        spoil(&place.dir().join("index"));
        let answers = run(async {
            let looks = look_and_put(store.clone());
            tokio::join!(put(&store, "first", "v"), looks, put(&store, "last", "v"))
        });
        // On its own thread the writer may have committed the first one before the second was there.
        let kept = u64::from(answers.0.is_ok());
        assert_stopped(&store, answers.1);
        assert_stopped(&store, answers.2);
        assert!(store.close().is_err());
        assert_whole(&place, ENTRIES + kept);
    }
}

#[test]
fn nothing_is_committed_after_a_reader_has_met_it() {
    let place = place();
    let store = open_and_spoil(&place);
    run(async {
        let (release, held) = hold(&store);
        let queued = queue(put(&store, "queued", "v"));
        assert_stopped(&store, store.get(KEY.as_bytes()));
        drop(release);
        assert_stopped(&store, held.await);
        assert_stopped(&store, queued.await);
        assert_stopped(&store, put(&store, "later", "v").await);
    });
    assert!(store.close().is_err());
    assert_whole(&place, ENTRIES);
}
