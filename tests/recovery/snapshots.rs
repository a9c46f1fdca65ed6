//! Snapshots: exact, sorted, and never believed when they are not whole (I10, I16).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use std::{fs, thread};

use tokio::task::JoinSet;
use upkeep_server::store::{Store, StoreError, Tx, Watch, verify};

use crate::binaries::PATIENCE;
use crate::place::{Place, all, fill, options, replayed, run};

#[test]
fn an_index_made_anew_from_a_snapshot_is_the_replay_of_the_ledger() {
    let place = Place::new();
    let store = place.with_entries(1, 120);
    let made = store.snapshot().unwrap().expect("there are entries");
    assert_eq!(made.head(), store.head());
    assert_eq!(made.state(), store.state_hash().unwrap());
    assert!(store.snapshot().unwrap().is_none(), "it is there already");
    run(fill(&store, 121, 150));
    let (state, entries) = (
        store.state_hash().unwrap(),
        store.entries(1, usize::MAX).unwrap(),
    );
    store.close().unwrap();

    place.forget_index();
    let store = place.open().unwrap();
    assert_eq!(store.state_hash().unwrap(), state);
    assert_eq!(all(&store), replayed(&entries));
    store.close().unwrap();
    let verified = verify(options(&place.dir())).unwrap();
    assert_eq!((verified.state(), verified.snapshots()), (state, 1));
    assert_eq!(verified.tree().size(), 150);
}

#[test]
fn the_snapshot_is_really_what_the_index_is_made_from() {
    let place = Place::new();
    let store = place.with_entries(1, 40);
    store.snapshot().unwrap();
    store.close().unwrap();
    // A segment before it that nobody must read for a start any more: the walk would find the damage.
    let first = &place.segments()[0];
    let mut bytes = fs::read(first).unwrap();
    bytes[200] ^= 1;
    fs::write(first, bytes).unwrap();
    place.forget_index();
    let store = place.open().unwrap();
    assert_eq!(store.head().sequence(), 40);
    store.close().unwrap();
    // And the whole check does find it.
    let found = verify(options(&place.dir())).unwrap_err().to_string();
    assert!(found.contains("byte"), "{found}");
}

#[test]
fn the_last_two_are_kept_and_each_builds_on_the_one_before() {
    let place = Place::new();
    let store = place.open().unwrap();
    for round in 0..5 {
        run(fill(&store, round * 10 + 1, round * 10 + 10));
        let made = store.snapshot().unwrap().unwrap();
        assert_eq!(made.state(), store.state_hash().unwrap());
    }
    store.close().unwrap();
    let names: Vec<_> = place
        .snapshots()
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        names,
        ["00000000000000000040.snap", "00000000000000000050.snap"]
    );
    assert_eq!(verify(options(&place.dir())).unwrap().snapshots(), 2);
}

#[test]
fn the_ledger_is_read_once_for_a_snapshot() {
    let (_place, store, ledger, read) = with_a_long_segment();
    store.snapshot().unwrap().unwrap();
    let read = read.0.load(Ordering::Relaxed);
    assert!(read < 2 * ledger, "{read} bytes of {ledger}");
    store.close().unwrap();
}

#[test]
fn who_reads_page_by_page_does_not_begin_with_the_segment_each_time() {
    let (_place, store, ledger, read) = with_a_long_segment();
    let mut next = 1;
    while let Some(last) = store.entries(next, 250).unwrap().last() {
        next = last.sequence() + 1;
    }
    assert_eq!(next, store.head().sequence() + 1);
    let read = read.0.load(Ordering::Relaxed);
    assert!(read < 3 * ledger, "{read} bytes of {ledger}");
    store.close().unwrap();
}

/// A store that was just opened, with a segment before the last one that nobody has walked since; the bytes of its ledger; those that were
/// read of it since.
fn with_a_long_segment() -> (Place, Store, u64, Arc<Counting>) {
    let place = Place::new();
    let read = Arc::new(Counting::default());
    let open = || {
        let options = options(&place.dir()).segment_bytes(2 << 20);
        Store::open(options.watch(Arc::clone(&read))).unwrap()
    };
    let store = open();
    run(async {
        let mut written = JoinSet::new();
        for number in 0..4_000_u32 {
            let store = store.clone();
            written.spawn(async move {
                let done = store.transact("fill", move |tx: &mut Tx<'_>| {
                    tx.put(format!("k{number}").into_bytes(), vec![1; 600]);
                    Ok::<_, StoreError>(())
                });
                done.await.unwrap();
            });
        }
        written.join_all().await;
    });
    store.close().unwrap();
    let segments = place.segments();
    let lengths = segments
        .iter()
        .map(|path| fs::metadata(path).unwrap().len());
    let ledger = lengths.sum();
    let store = open();
    read.0.store(0, Ordering::Relaxed);
    (place, store, ledger, read)
}

/// Counts the bytes that are read of the ledger.
#[derive(Default)]
struct Counting(AtomicU64);

impl Watch for Counting {
    fn read(&self, file: &Path, bytes: usize) {
        if file.parent().is_some_and(|dir| dir.ends_with("ledger")) {
            self.0.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

/// Two snapshots, entries after them, and no index: what a start makes of it after `damage` to the newer and the older file.
fn start_after(damage: impl Fn(&Path, &Path)) -> Result<(), StoreError> {
    let place = Place::new();
    let store = place.with_entries(1, 30);
    store.snapshot().unwrap();
    run(fill(&store, 31, 60));
    store.snapshot().unwrap();
    run(fill(&store, 61, 70));
    let state = store.state_hash().unwrap();
    store.close().unwrap();
    let files = place.snapshots();
    damage(&files[1], &files[0]);
    place.forget_index();
    let store = place.open()?;
    assert_eq!(store.state_hash().unwrap(), state);
    assert_eq!(store.head().sequence(), 70);
    // What is unfit never hinders the next one.
    store.snapshot().unwrap().unwrap();
    store.close()
}

#[test]
fn a_snapshot_that_is_not_whole_is_passed_over() {
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    for at in [0, 14, 60, 300, usize::MAX] {
        start_after(|newer, _| flip(newer, at)).unwrap();
        start_after(|newer, older| {
            flip(newer, at);
            flip(older, at);
        })
        .unwrap();
    }
    for length in [0, 5, 100, 700] {
        start_after(|newer, _| {
            let file = fs::OpenOptions::new().write(true).open(newer).unwrap();
            file.set_len(length).unwrap();
        })
        .unwrap();
    }
    start_after(|newer, older| {
        fs::remove_file(newer).unwrap();
        fs::remove_file(older).unwrap();
    })
    .unwrap();
    start_after(|newer, older| fs::rename(newer, older).unwrap()).unwrap();
    // What an interrupted one leaves behind is no snapshot, and goes away.
    start_after(|newer, _| fs::rename(newer, newer.with_extension("new")).unwrap()).unwrap();
}

#[test]
fn a_snapshot_of_a_later_format_is_passed_over() {
    // The format is the first field of the first frame's message; its frame is made anew with a right checksum, and so is the file.
    start_after(|newer, _| {
        let mut bytes = fs::read(newer).unwrap();
        assert_eq!(&bytes[12..15], [b'H', 8, 1], "kind, field 1, format 1");
        bytes[14] = 2;
        reseal(&mut bytes);
        fs::write(newer, bytes).unwrap();
    })
    .unwrap();
}

#[test]
fn a_ledger_that_ends_before_its_snapshot_is_refused() {
    let place = Place::new();
    let store = place.with_entries(1, 50);
    store.snapshot().unwrap();
    store.close().unwrap();
    place.forget_index();
    fs::remove_file(place.segments().last().unwrap()).unwrap();
    let refused = place.open().map(|_| ()).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Damaged { what_to_do, .. } if what_to_do.contains("backup")),
        "{refused}"
    );
    // Without the snapshot nobody would have known.
    fs::remove_dir_all(place.path("snapshots")).unwrap();
    place.open().unwrap().close().unwrap();
}

#[test]
fn a_snapshot_that_differs_from_the_replay_is_found_by_the_check() {
    let place = Place::new();
    let store = place.with_entries(1, 30);
    store.snapshot().unwrap();
    store.close().unwrap();
    let path = &place.snapshots()[0];
    let mut bytes = fs::read(path).unwrap();
    // One byte of one value, in a frame and a file with right checksums.
    let at = bytes.windows(4).position(|part| part == b"30 0").unwrap();
    bytes[at] ^= 1;
    reseal(&mut bytes);
    fs::write(path, bytes).unwrap();
    let found = verify(options(&place.dir())).unwrap_err();
    assert!(
        matches!(&found, StoreError::Damaged { file, .. } if file == path),
        "{found}"
    );
}

#[test]
fn the_keeper_makes_one_by_itself_once_the_ledger_has_grown() {
    let place = Place::new();
    let store = Store::open(options(&place.dir()).snapshot_bytes(1000)).unwrap();
    run(fill(&store, 1, 100));
    let until = Instant::now() + PATIENCE;
    // One in the making has another name, and a close gives it up.
    let is_made = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "snap");
    while !place.snapshots().iter().any(is_made) {
        assert!(Instant::now() < until, "no snapshot was made");
        thread::yield_now();
    }
    store.close().unwrap();
    assert_eq!(verify(options(&place.dir())).unwrap().snapshots(), 1);
}

/// Gives every frame its checksum and the file its hash again: the layout of `frame.rs` and `pairs.rs`, by hand.
pub(crate) fn reseal(bytes: &mut [u8]) {
    let end = bytes.len() - 32;
    let mut at = 0;
    while at < end {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let mut covered = bytes[at + 4..at + 8].to_vec();
        covered.extend_from_slice(&bytes[at + 12..at + 12 + length]);
        let checksum = crc32(&covered).to_le_bytes();
        bytes[at + 8..at + 12].copy_from_slice(&checksum);
        at += 12 + length;
    }
    let digest = sha256(&bytes[..end]);
    bytes[end..].copy_from_slice(&digest);
}

/// CRC-32 (IEEE 802.3), bit by bit.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// SHA-256, from the library that the server does not hash with.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap()
}
