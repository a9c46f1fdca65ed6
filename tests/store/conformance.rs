//! What every engine must do. Each function takes a place and knows no engine; a later engine runs
//! the same list.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sha2::{Digest, Sha256};
use upkeep_server::store::{
    Committed, Entry, MAX_BYTES, MAX_KEYS, MAX_VALUE_BYTES, Store, StoreError, Tx, Writer, verify,
};

use crate::world::{Place, Refused, all, hold, put, queue, run, runtime, strings};

fn number(bytes: Option<Vec<u8>>) -> i64 {
    bytes.map_or(0, |bytes| i64::from_be_bytes(bytes.try_into().unwrap()))
}

/// Starts every future of a list before the first is waited for, then waits for all.
async fn together<F>(futures: Vec<F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut outputs = Vec::new();
    for task in tasks {
        outputs.push(task.await.unwrap());
    }
    outputs
}

/// In a simulation nothing may depend on when the machine runs a thread.
#[test]
fn on_the_callers_side_nothing_runs_but_while_a_caller_waits() {
    let place = Place::new();
    let store = Store::open(place.options().writer(Writer::Caller)).unwrap();
    let first = queue(put(&store, "a", "1"));
    let second = queue(put(&store, "b", "2"));
    assert_eq!(store.head().sequence(), 0, "no thread took them");
    run(second).unwrap();
    assert_eq!(store.head().sequence(), 2, "one group took both");
    run(first).unwrap();
    let late = queue(put(&store, "c", "3"));
    store.clone().close().unwrap();
    run(late).unwrap();
    assert!(matches!(
        run(put(&store, "d", "4")),
        Err(StoreError::Stopped(_))
    ));
    assert_eq!(all(&place.open()).len(), 3);
}

#[test]
fn a_transaction_reads_its_own_writes_and_so_does_the_next_caller() {
    let place = Place::new();
    let store = place.open();
    run(async {
        let seen = store.transact("own", |tx: &mut Tx<'_>| {
            assert_eq!(tx.get(b"k")?, None);
            tx.put(b"k".to_vec(), b"1".to_vec());
            let first = tx.get(b"k")?;
            tx.delete(b"k".to_vec());
            assert_eq!(tx.get(b"k")?, None);
            tx.put(b"k".to_vec(), b"2".to_vec());
            tx.event(b"event".to_vec());
            Ok::<_, StoreError>((first, tx.sequence()))
        });
        let seen = seen.await.unwrap();
        assert_eq!(seen.get(), &(Some(b"1".to_vec()), 1));
        assert_eq!(store.get(b"k").unwrap(), Some(b"2".to_vec()));
    });
    let entry = &store.entries(1, 10).unwrap()[0];
    assert_eq!((entry.name(), entry.event()), ("own", Some(&b"event"[..])));
    assert_eq!(entry.at_unix_ms(), 1_700_000_000_000);
    assert_eq!(entry.changes().len(), 1);
    assert_eq!(entry.changes()[0].value(), Some(&b"2"[..]));
}

#[test]
fn a_group_keeps_the_order_of_the_queue_and_the_last_write_wins() {
    let place = Place::new();
    let store = place.open();
    run(async {
        let (release, held) = hold(&store);
        let queued: Vec<_> = (0..200)
            .map(|turn: u64| {
                queue(store.transact("turn", move |tx: &mut Tx<'_>| {
                    let before = tx.get(b"log")?.unwrap_or_default().len();
                    assert_eq!(before as u64, turn, "each sees exactly those before it");
                    assert_eq!(tx.sequence(), turn + 1);
                    let mut log = tx.get(b"log")?.unwrap_or_default();
                    log.push(b'x');
                    tx.put(b"log".to_vec(), log);
                    tx.put(b"last".to_vec(), turn.to_string().into_bytes());
                    Ok::<_, StoreError>(())
                }))
            })
            .collect();
        drop(release);
        held.await.unwrap();
        for turn in queued {
            turn.await.unwrap();
        }
    });
    assert_eq!(store.get(b"last").unwrap(), Some(b"199".to_vec()));
    assert_eq!(store.head().sequence(), 200);
}

#[test]
fn scans_have_limits_and_both_directions() {
    let place = Place::new();
    let store = place.open();
    run(async {
        for key in ["b", "a", "d", "c", "e"] {
            put(&store, key, key).await.unwrap();
        }
    });
    let keys = |pairs: Vec<(Vec<u8>, Vec<u8>)>| -> String {
        strings(pairs).into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(store.scan(b"a", b"e", 10).unwrap()), "abcd");
    assert_eq!(keys(store.scan(b"b", b"z", 2).unwrap()), "bc");
    assert_eq!(keys(store.scan_back(b"a", b"e", 10).unwrap()), "dcba");
    assert_eq!(keys(store.scan_back(b"", b"z", 2).unwrap()), "ed");
    assert_eq!(
        keys(store.scan(b"", &[0xFF], 100).unwrap()),
        "abcde",
        "the head is not a record"
    );
    assert_eq!(keys(store.scan(b"e", b"a", 10).unwrap()), "");
    assert_eq!(keys(store.scan_back(b"c", b"c", 10).unwrap()), "");
    assert_eq!(keys(store.scan(b"a", b"z", 0).unwrap()), "");
    assert_eq!(store.get(&[0]).unwrap(), None);
}

#[test]
fn a_scan_inside_a_transaction_merges_what_the_group_and_it_have_staged() {
    let place = Place::new();
    let store = place.open();
    run(async {
        for key in ["a", "c", "e", "g", "i"] {
            put(&store, key, "old").await.unwrap();
        }
        let (release, held) = hold(&store);
        let earlier = queue(store.transact("earlier", |tx: &mut Tx<'_>| {
            tx.delete(b"a".to_vec());
            tx.delete(b"c".to_vec());
            tx.put(b"d".to_vec(), b"group".to_vec());
            tx.put(b"e".to_vec(), b"group".to_vec());
            Ok::<_, StoreError>(())
        }));
        let scanning = queue(store.transact("scan", |tx: &mut Tx<'_>| {
            tx.put(b"c".to_vec(), b"own".to_vec());
            tx.delete(b"g".to_vec());
            let line = |pairs| -> String {
                let pairs = strings(pairs).into_iter();
                pairs
                    .map(|(key, value)| format!("{key}={value} "))
                    .collect()
            };
            let there = line(tx.scan(b"a", b"z", 3)?);
            let back = line(tx.scan_back(b"a", b"z", 2)?);
            let whole = line(tx.scan(b"a", b"z", 100)?);
            let part = line(tx.scan(b"d", b"g", 100)?);
            Ok::<_, StoreError>([there, back, whole, part])
        }));
        drop(release);
        held.await.unwrap();
        earlier.await.unwrap();
        let [there, back, whole, part] = scanning.await.unwrap().into_inner();
        assert_eq!(there, "c=own d=group e=group ");
        assert_eq!(back, "i=old e=group ");
        assert_eq!(whole, "c=own d=group e=group i=old ");
        assert_eq!(part, "d=group e=group ");
    });
}

#[test]
fn of_64_racers_for_one_insert_one_wins() {
    let place = Place::new();
    let store = place.open();
    let outcomes = run(async {
        together(
            (0..64u8)
                .map(|racer| {
                    let store = store.clone();
                    async move {
                        let insert = store.transact("insert", move |tx: &mut Tx<'_>| {
                            if tx.get(b"seat")?.is_some() {
                                return Err(Refused::No);
                            }
                            tx.put(b"seat".to_vec(), vec![racer]);
                            Ok(racer)
                        });
                        insert.await.map(Committed::into_inner)
                    }
                })
                .collect(),
        )
        .await
    });
    let winners: Vec<u8> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().ok().copied())
        .collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.get(b"seat").unwrap(), Some(winners));
    assert_eq!(store.head().sequence(), 1, "a refusal leaves no entry");
}

#[test]
fn no_update_of_32_times_10_increments_is_lost() {
    let place = Place::new();
    let store = place.open();
    run(async {
        together(
            (0..32)
                .map(|_| {
                    let store = store.clone();
                    async move {
                        for _ in 0..10 {
                            let add = store.transact("add", |tx: &mut Tx<'_>| {
                                let sum = number(tx.get(b"n")?) + 1;
                                tx.put(b"n".to_vec(), sum.to_be_bytes().to_vec());
                                Ok::<_, StoreError>(())
                            });
                            add.await.unwrap();
                        }
                    }
                })
                .collect(),
        )
        .await
    });
    assert_eq!(number(store.get(b"n").unwrap()), 320);
    assert_eq!(store.head().sequence(), 320);
}

#[test]
fn transfers_keep_their_sum_for_every_reader() {
    const ACCOUNTS: u8 = 200;
    const SUM: i64 = 100 * ACCOUNTS as i64;
    let place = Place::new();
    let store = place.open();
    let sum = |pairs: Vec<(Vec<u8>, Vec<u8>)>| -> i64 {
        pairs
            .into_iter()
            .map(|(_, value)| number(Some(value)))
            .sum()
    };
    run(async {
        let fill = store.transact("fill", |tx: &mut Tx<'_>| {
            for account in 0..ACCOUNTS {
                tx.put(vec![b'a', account], 100i64.to_be_bytes().to_vec());
            }
            Ok::<_, StoreError>(())
        });
        fill.await.unwrap();
        let writing = Arc::new(AtomicUsize::new(1));
        let (reader, until) = (store.clone(), Arc::clone(&writing));
        let reading = tokio::task::spawn_blocking(move || {
            while until.load(Ordering::Relaxed) == 1 {
                assert_eq!(sum(reader.scan(b"a", b"b", 1000).unwrap()), SUM);
                assert_eq!(sum(reader.scan_back(b"a", b"b", 1000).unwrap()), SUM);
            }
        });
        let transfers = (0..8u8)
            .map(|task| {
                let store = store.clone();
                async move {
                    for turn in 0..60u8 {
                        // From one end of the range to the other, so that a torn scan sees one side.
                        let (from, to) = (task, ACCOUNTS - 1 - (task + turn) % 16);
                        let transfer = store.transact("transfer", move |tx: &mut Tx<'_>| {
                            let (from, to) = (vec![b'a', from], vec![b'a', to]);
                            let (rich, poor) = (number(tx.get(&from)?), number(tx.get(&to)?));
                            tx.put(from, (rich - 7).to_be_bytes().to_vec());
                            tx.put(to, (poor + 7).to_be_bytes().to_vec());
                            assert_eq!(sum(tx.scan(b"a", b"b", 1000)?), SUM);
                            Ok::<_, StoreError>(())
                        });
                        transfer.await.unwrap();
                    }
                }
            })
            .collect();
        together(transfers).await;
        writing.store(0, Ordering::Relaxed);
        reading.await.unwrap();
    });
    assert_eq!(sum(store.scan(b"a", b"b", 1000).unwrap()), SUM);
}

#[test]
fn a_discard_keeps_nothing_staged_before_it() {
    let place = Place::new();
    let store = place.open();
    run(async {
        let discarding = store.transact("discard", |tx: &mut Tx<'_>| {
            tx.put(b"before".to_vec(), vec![1]);
            tx.put(b"huge".to_vec(), vec![0; MAX_VALUE_BYTES + 1]);
            tx.event(b"gone".to_vec());
            tx.discard();
            tx.put(b"after".to_vec(), vec![1]);
            tx.get(b"before")
        });
        assert_eq!(discarding.await.unwrap().into_inner(), None);
        let all = store.transact("all", |tx: &mut Tx<'_>| {
            tx.put(b"nothing".to_vec(), vec![1]);
            tx.discard();
            Ok::<_, StoreError>(())
        });
        all.await.unwrap();
    });
    let entries = store.entries(1, 10).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].event(), None);
    assert_eq!(
        store.scan(b"", b"z", 9).unwrap(),
        [(b"after".to_vec(), vec![1])]
    );
}

#[test]
fn an_event_without_a_change_leaves_an_entry() {
    let place = Place::new();
    let store = place.open();
    run(async {
        let noting = store.transact("note", |tx: &mut Tx<'_>| {
            tx.event(Vec::new());
            Ok::<_, StoreError>(())
        });
        noting.await.unwrap();
    });
    assert_eq!(store.entries(1, 10).unwrap()[0].event(), Some(&b""[..]));
}

/// One group: refused, panicking and too large transactions between two good ones.
#[test]
fn a_refusal_a_panic_and_an_excess_keep_nothing_and_touch_no_other_transaction() {
    let place = Place::new();
    let store = place.open();
    let staged = |tx: &mut Tx<'_>, key: &str| {
        assert_eq!(
            tx.scan(b"bad", b"bae", 9).unwrap(),
            [],
            "nothing bad is seen"
        );
        tx.put(key.as_bytes().to_vec(), vec![1]);
        tx.event(key.as_bytes().to_vec());
    };
    run(async {
        let (release, held) = hold(&store);
        let first = queue(store.transact("first", move |tx: &mut Tx<'_>| {
            staged(tx, "first");
            Ok::<_, StoreError>(tx.sequence())
        }));
        let refused = queue(store.transact("refused", move |tx: &mut Tx<'_>| {
            staged(tx, "bad refused");
            Err::<(), _>(Refused::No)
        }));
        let panicked = queue(store.transact("panicked", move |tx: &mut Tx<'_>| {
            staged(tx, "bad panicked");
            if tx.sequence() > 0 {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
            Ok::<_, StoreError>(())
        }));
        let too_large = queue(store.transact("too large", move |tx: &mut Tx<'_>| {
            staged(tx, "bad value");
            tx.put(b"bad".to_vec(), vec![0; MAX_VALUE_BYTES + 1]);
            Ok::<_, StoreError>(())
        }));
        let reserved = queue(store.transact("reserved", move |tx: &mut Tx<'_>| {
            staged(tx, "bad key");
            tx.put(vec![0, 1], vec![]);
            Ok::<_, StoreError>(())
        }));
        let many = queue(store.transact("many", move |tx: &mut Tx<'_>| {
            for key in 0..=MAX_KEYS {
                tx.put(format!("bad {key}").into_bytes(), vec![]);
            }
            Ok::<_, StoreError>(())
        }));
        let long = queue(store.transact("long", move |tx: &mut Tx<'_>| {
            tx.event(vec![0; MAX_BYTES + 1]);
            Ok::<_, StoreError>(())
        }));
        let last = queue(store.transact("last", move |tx: &mut Tx<'_>| {
            staged(tx, "last");
            Ok::<_, StoreError>(tx.sequence())
        }));
        drop(release);
        held.await.unwrap();
        assert_eq!(first.await.unwrap().into_inner(), 1);
        assert!(matches!(refused.await, Err(Refused::No)));
        assert!(matches!(
            panicked.await,
            Err(StoreError::Panicked { name: "panicked" })
        ));
        assert!(matches!(too_large.await, Err(StoreError::TooLarge { .. })));
        assert!(matches!(reserved.await, Err(StoreError::ReservedKey)));
        assert!(matches!(many.await, Err(StoreError::TooLarge { .. })));
        assert!(matches!(long.await, Err(StoreError::TooLarge { .. })));
        assert_eq!(last.await.unwrap().into_inner(), 2);
    });
    assert_eq!(all(&store).len(), 2);
    let names: Vec<_> = store
        .entries(1, 9)
        .unwrap()
        .iter()
        .map(|e| e.name().to_owned())
        .collect();
    assert_eq!(names, ["first", "last"]);
}

#[test]
fn the_largest_transactions_pass_and_do_not_share_a_group() {
    let place = Place::new();
    let store = place.open();
    run(async {
        let (release, held) = hold(&store);
        let runs = Arc::new(AtomicUsize::new(0));
        let queued: Vec<_> = (0..3u8)
            .map(|turn| {
                let runs = Arc::clone(&runs);
                queue(store.transact("large", move |tx: &mut Tx<'_>| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(tx.sequence(), u64::from(turn) + 1);
                    for key in 0..15u8 {
                        tx.put(vec![b'k', turn, key], vec![turn; MAX_VALUE_BYTES]);
                    }
                    Ok::<_, StoreError>(())
                }))
            })
            .collect();
        drop(release);
        held.await.unwrap();
        for large in queued {
            large.await.unwrap();
        }
        assert_eq!(
            runs.load(Ordering::Relaxed),
            5,
            "two ran again in a group of their own"
        );
    });
    assert_eq!(store.scan(b"k", b"l", 100).unwrap().len(), 45);
}

#[test]
fn a_dropped_future_undoes_nothing_and_blocks_nobody() {
    let place = Place::new();
    let store = place.open();
    run(async {
        let (release, held) = hold(&store);
        drop(queue(put(&store, "dropped", "1")));
        let kept = queue(put(&store, "kept", "1"));
        drop(release);
        held.await.unwrap();
        kept.await.unwrap();
        drop(store.transact("never polled", |tx: &mut Tx<'_>| {
            tx.put(b"never".to_vec(), vec![]);
            Ok::<_, StoreError>(())
        }));
    });
    assert_eq!(all(&store).len(), 2);
}

#[test]
fn closing_commits_what_is_queued_and_refuses_what_comes_later() {
    let place = Place::new();
    let store = place.open();
    run(async {
        let (release, held) = hold(&store);
        let queued = queue(put(&store, "queued", "1"));
        let closing = store.clone();
        let closing = std::thread::spawn(move || closing.close());
        drop(release);
        held.await.unwrap();
        queued.await.unwrap();
        closing.join().unwrap().unwrap();
        assert!(matches!(
            put(&store, "late", "1").await,
            Err(StoreError::Stopped(_))
        ));
        assert!(matches!(store.get(b"queued"), Err(StoreError::Stopped(_))));
        assert_eq!(store.head().sequence(), 1);
        store.clone().close().unwrap();
    });
    assert_eq!(all(&place.open()), [("queued".into(), "1".into())]);
}

#[test]
fn a_closure_may_hold_the_last_clone() {
    let place = Place::new();
    let store = place.open();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let clone = store.clone();
    drop(queue(async move {
        let clones = (clone.clone(), done);
        let last = clone.transact("last clone", move |tx: &mut Tx<'_>| {
            let _ = (released.recv(), &clones);
            tx.put(b"k".to_vec(), b"v".to_vec());
            Ok::<_, StoreError>(())
        });
        last.await
    }));
    drop(store);
    drop(release);
    // The closure is dropped after its commit; then the store closes by itself.
    assert!(finished.recv().is_err());
    let reopened = loop {
        match Store::open(place.options()) {
            Err(StoreError::Locked { .. }) => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(reopened.get(b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn a_reopened_store_goes_on_where_it_was() {
    let place = Place::new();
    for round in 0..4u64 {
        let store = place.open();
        assert_eq!(store.head().sequence(), round * 30);
        run(async {
            for turn in 0..30 {
                put(&store, &format!("{round}/{turn}"), &"x".repeat(200))
                    .await
                    .unwrap();
            }
        });
        assert_eq!(all(&store).len() as u64, (round + 1) * 30);
        store.close().unwrap();
    }
    assert!(place.segments().len() > 4, "the ledger has rolled over");
    check_chain(&place.open().entries(1, usize::MAX).unwrap());
}

#[test]
fn an_index_made_anew_has_the_same_state_hash() {
    let place = Place::new();
    let store = place.open();
    run(async {
        for turn in 0..120 {
            put(&store, &format!("k{}", turn % 50), &format!("v{turn}"))
                .await
                .unwrap();
        }
        let deleting = store.transact("delete", |tx: &mut Tx<'_>| {
            tx.delete(b"k7".to_vec());
            Ok::<_, StoreError>(())
        });
        deleting.await.unwrap();
    });
    let (state, head) = (store.state_hash().unwrap(), store.head());
    store.close().unwrap();
    let verified = verify(place.options()).unwrap();
    assert_eq!((verified.state(), verified.head()), (state, head));
    std::fs::remove_dir_all(place.dir().join("index")).unwrap();
    let store = place.open();
    assert_eq!((store.state_hash().unwrap(), store.head()), (state, head));
    assert_eq!(all(&store).len(), 49);
}

#[test]
fn the_ledger_reads_from_anywhere_and_its_chain_verifies() {
    let place = Place::new();
    let store = place.open();
    run(async {
        let puts = (0..600).map(|turn| {
            let store = store.clone();
            async move { put(&store, &format!("k{turn}"), "v").await.unwrap() }
        });
        together(puts.collect()).await;
    });
    let entries = store.entries(1, usize::MAX).unwrap();
    assert_eq!(entries.len(), 600);
    check_chain(&entries);
    assert_eq!(entries[599].head(), store.head());
    for from in [1, 2, 100, 255, 256, 257, 511, 512, 513, 600, 601, u64::MAX] {
        let expected: Vec<u64> = (from..=600).take(3).collect();
        let found = store.entries(from, 3).unwrap();
        assert_eq!(
            found.iter().map(Entry::sequence).collect::<Vec<_>>(),
            expected,
            "from {from}"
        );
    }
    assert_eq!(store.entries(0, 1).unwrap()[0].sequence(), 1);
}

fn check_chain(entries: &[Entry]) {
    let mut previous = [0; 32];
    for (at, entry) in entries.iter().enumerate() {
        assert_eq!(entry.sequence(), at as u64 + 1);
        assert_eq!(entry.previous(), previous);
        assert_eq!(
            <[u8; 32]>::from(Sha256::digest(entry.payload())),
            entry.hash()
        );
        previous = entry.hash();
    }
}

/// One step of the model test.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Discard,
}

fn steps() -> impl Strategy<Value = Vec<Vec<(Vec<Step>, bool)>>> {
    let step = prop_oneof![
        6 => (0..24u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..24u8).prop_map(Step::Delete),
        1 => Just(Step::Discard),
    ];
    let transaction = (prop::collection::vec(step, 0..6), prop::bool::weighted(0.8));
    prop::collection::vec(prop::collection::vec(transaction, 1..8), 1..4)
}

/// 150 random lists of groups against a map; each ends with the index made anew or taken up again.
#[test]
fn random_groups_agree_with_a_map() {
    let place = Place::new();
    let runtime = runtime();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut store = Some(place.open());
    let mut round = 0;
    let mut runner = TestRunner::deterministic();
    for _ in 0..150 {
        let groups = steps().new_tree(&mut runner).unwrap().current();
        let open = store.take().unwrap();
        for group in groups {
            runtime.block_on(play(&open, group, &mut model));
        }
        let expected: Vec<_> = model.clone().into_iter().collect();
        assert_eq!(open.scan(b"", &[0xFF], usize::MAX).unwrap(), expected);
        round += 1;
        store = Some(if round % 10 == 0 {
            reopen(&place, open, round % 20 == 0)
        } else {
            open
        });
    }
    let store = store.unwrap();
    check_chain(&store.entries(1, usize::MAX).unwrap());
}

fn reopen(place: &Place, store: Store, anew: bool) -> Store {
    let state = store.state_hash().unwrap();
    store.close().unwrap();
    if anew {
        std::fs::remove_dir_all(place.dir().join("index")).unwrap();
    }
    let store = place.open();
    assert_eq!(store.state_hash().unwrap(), state);
    store
}

/// Queues the transactions behind a held one, so that they share groups, and checks what each sees.
async fn play(
    store: &Store,
    group: Vec<(Vec<Step>, bool)>,
    model: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) {
    let (release, held) = hold(store);
    let mut queued = Vec::new();
    for (steps, keep) in group {
        let expected: Vec<_> = model.clone().into_iter().collect();
        let mut after = model.clone();
        for step in &steps {
            match step {
                Step::Put(key, value) => drop(after.insert(vec![b'k', *key], vec![*value])),
                Step::Delete(key) => drop(after.remove(&vec![b'k', *key])),
                Step::Discard => after = model.clone(),
            }
        }
        let pairs: Vec<_> = after.clone().into_iter().collect();
        if keep {
            *model = after;
        }
        queued.push(queue(store.transact("steps", move |tx: &mut Tx<'_>| {
            assert_eq!(tx.scan(b"", &[0xFF], usize::MAX)?, expected);
            for step in &steps {
                match step {
                    Step::Put(key, value) => tx.put(vec![b'k', *key], vec![*value]),
                    Step::Delete(key) => tx.delete(vec![b'k', *key]),
                    Step::Discard => tx.discard(),
                }
            }
            for limit in [0, 1, 3, 100] {
                let there = tx.scan(b"k\x05", b"k\x12", limit)?;
                let back = tx.scan_back(b"k\x05", b"k\x12", limit)?;
                let range = pairs.iter().filter(|(key, _)| (5..0x12).contains(&key[1]));
                let range: Vec<_> = range.cloned().collect();
                assert_eq!(there, range.iter().take(limit).cloned().collect::<Vec<_>>());
                assert_eq!(
                    back,
                    range.iter().rev().take(limit).cloned().collect::<Vec<_>>()
                );
            }
            if keep { Ok(()) } else { Err(Refused::No) }
        })));
    }
    drop(release);
    held.await.unwrap();
    for transaction in queued {
        match transaction.await {
            Ok(_) | Err(Refused::No) => {}
            Err(fault) => panic!("{fault}"),
        }
    }
}
