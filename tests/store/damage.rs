//! Damage to the files of a store: each kind is refused with words that help, or repaired. It never panics.

use std::fs;
use std::path::{Path, PathBuf};

use upkeep_server::store::{Store, StoreError, Tx, verify};

use crate::world::{Place, all, hold, put, queue, run};

/// A closed store with several segments, and a copy of its directory to go back to.
struct Patient {
    place: Place,
    copy: PathBuf,
}

impl Patient {
    fn new(entries: usize) -> Self {
        let place = Place::new();
        let store = Store::open(place.options().segment_bytes(1000)).unwrap();
        run(async {
            for turn in 0..entries {
                put(&store, &format!("key {turn:03}"), &"v".repeat(100))
                    .await
                    .unwrap();
            }
        });
        store.close().unwrap();
        Self::keep(place)
    }

    fn keep(place: Place) -> Self {
        let copy = place.dir().with_extension("copy");
        copy_tree(&place.dir(), &copy);
        Self { place, copy }
    }

    fn heal(&self) {
        fs::remove_dir_all(self.place.dir()).unwrap();
        copy_tree(&self.copy, &self.place.dir());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.dir().join(name)
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::open(self.place.options().segment_bytes(1000))
    }

    /// Takes away what else knows how far the ledger had come.
    fn forget_index(&self) {
        fs::remove_dir_all(self.path("index")).unwrap();
        fs::remove_file(self.path("index.state")).unwrap();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, length: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..length]).unwrap();
}

/// The bytes each frame of a segment begins with, and the end of the last.
fn frames(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let mut places = vec![64];
    while let Some(head) = bytes
        .get(places[places.len() - 1]..)
        .filter(|rest| rest.len() > 12)
    {
        if head[..4] != [0xF5, b'U', b'P', b'K'] {
            break;
        }
        let length = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
        places.push(places[places.len() - 1] + 12 + length);
    }
    places
}

#[track_caller]
fn damaged<T>(outcome: Result<T, StoreError>, name: &str) -> String {
    match outcome {
        Err(StoreError::Damaged {
            file,
            why,
            what_to_do,
        }) => {
            let named = file.to_string_lossy().into_owned();
            assert!(
                named.ends_with(name),
                "{named} is named instead of {name}: {why}"
            );
            assert!(!what_to_do.is_empty());
            why
        }
        Err(other) => panic!("not Damaged but: {other}"),
        Ok(_) => panic!("the damage was not seen"),
    }
}

/// Every byte of the header and of the frames of a segment that is not the last, seen by a rebuild and by `verify`.
#[test]
fn a_flipped_byte_in_an_earlier_segment_is_found_and_placed() {
    let patient = Patient::new(24);
    let second = patient.place.segments()[1].clone();
    let name = second.file_name().unwrap().to_str().unwrap().to_owned();
    let places = frames(&second);
    let whole = fs::read(&second).unwrap();
    assert_eq!(
        whole.len(),
        places[places.len() - 1],
        "a sealed segment has no room"
    );
    for at in (0..whole.len()).step_by(7).chain(64..80) {
        flip(&second, at);
        patient.forget_index();
        let why = damaged(patient.open(), &name);
        let frame = if at < 64 {
            0
        } else {
            *places.iter().rfind(|place| **place <= at).unwrap()
        };
        assert!(
            why.starts_with(&format!("at byte {frame}:")),
            "flipped {at}: {why}"
        );
        patient.heal();
    }
    flip(&second, 200);
    let store = patient.open().unwrap();
    let fault = store.entries(1, usize::MAX);
    damaged(fault, &name);
    store.close().unwrap();
    damaged(verify(patient.place.options()), &name);
}

/// In the last segment a flipped byte before the last frame is damage, whatever the index says.
#[test]
fn a_flipped_byte_in_the_last_segment_is_found_unless_it_may_be_a_tail() {
    let patient = Patient::new(28);
    let last = patient.place.segments().pop().unwrap();
    let name = last.file_name().unwrap().to_str().unwrap().to_owned();
    let places = frames(&last);
    assert!(places.len() > 3, "{places:?}");
    let tail = places[places.len() - 2];
    for at in (0..tail).step_by(5).chain(64..80) {
        flip(&last, at);
        patient.forget_index();
        damaged(patient.open(), &name);
        patient.heal();
    }
    // In the last frame it looks like an unacknowledged tail; only the index knows better.
    for at in (tail..places[places.len() - 1]).step_by(5) {
        flip(&last, at);
        let evidence = fs::read(&last).unwrap();
        let why = damaged(patient.open(), "ledger");
        assert!(
            fs::read(&last).unwrap() == evidence,
            "a refusal cuts nothing off"
        );
        assert!(
            why.contains("it ends with entry 27, but entry 28 was acknowledged"),
            "{why}"
        );
        patient.forget_index();
        let store = patient.open().unwrap();
        assert_eq!(store.head().sequence(), 27);
        drop(store);
        patient.heal();
    }
}

/// Truncation at every byte of the last two frames: whole frames stay, the rest is cut off, and writing goes on.
#[test]
fn a_cut_ledger_keeps_its_whole_frames() {
    let patient = Patient::new(26);
    let last = patient.place.segments().pop().unwrap();
    let places = frames(&last);
    let [from, middle, end] = places[places.len() - 3..] else {
        panic!()
    };
    for length in from..=end {
        cut(&last, length);
        let expected = if length == end {
            26
        } else {
            24 + u64::from(length >= middle)
        };
        if expected < 26 {
            damaged(patient.open(), "ledger");
        }
        patient.forget_index();
        let store = patient.open().unwrap();
        assert_eq!(store.head().sequence(), expected, "cut at {length}");
        assert_eq!(all(&store).len() as u64, expected);
        if length % 16 == 0 {
            run(put(&store, "more", "v")).unwrap();
            store.close().unwrap();
            assert_eq!(
                verify(patient.place.options()).unwrap().head().sequence(),
                expected + 1
            );
        }
        patient.heal();
    }
}

/// A group whose first frame did not reach the disk, although later ones did, was never acknowledged.
#[test]
fn a_group_torn_in_its_beginning_is_cut_off_and_an_earlier_group_is_not() {
    let place = Place::new();
    let store = place.open();
    run(async {
        put(&store, "alone", "v").await.unwrap();
        let (release, held) = hold(&store);
        let queued: Vec<_> = ["x", "y", "z"]
            .into_iter()
            .map(|key| queue(put(&store, key, "v")))
            .collect();
        drop(release);
        held.await.unwrap();
        for put in queued {
            put.await.unwrap();
        }
    });
    store.close().unwrap();
    let patient = Patient::keep(place);
    let last = patient.place.segments().pop().unwrap();
    let places = frames(&last);
    assert_eq!(places.len(), 5);
    for at in [places[1], places[2], places[2] + 20, places[3] - 1] {
        flip(&last, at);
        patient.forget_index();
        let expected = if at < places[2] { 1 } else { 2 };
        assert_eq!(patient.open().unwrap().head().sequence(), expected);
        patient.heal();
    }
    let mut bytes = fs::read(&last).unwrap();
    bytes[places[1]..places[2]].fill(0);
    fs::write(&last, bytes).unwrap();
    patient.forget_index();
    assert_eq!(
        all(&patient.open().unwrap()).len(),
        1,
        "zeros before frames are a torn group too"
    );
    patient.heal();
    flip(&last, places[0] + 3);
    patient.forget_index();
    let why = damaged(patient.open(), ".seg");
    assert!(
        why.contains("at byte 64: no frame begins here, but entry 2 stands behind it"),
        "{why}"
    );
}

#[test]
fn a_missing_segment_is_named() {
    let patient = Patient::new(28);
    let segments = patient.place.segments();
    assert!(segments.len() > 4);
    for missing in [1, segments.len() - 2] {
        fs::remove_file(&segments[missing]).unwrap();
        patient.forget_index();
        let after = segments[missing + 1]
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let why = damaged(patient.open(), &after);
        assert!(
            why.contains("but the segment before ends before entry"),
            "{why}"
        );
        patient.heal();
    }
    fs::remove_file(&segments[0]).unwrap();
    assert!(damaged(patient.open(), "ledger").contains("the segment with entry 1 is missing"));
    patient.heal();
    fs::remove_file(segments.last().unwrap()).unwrap();
    assert!(
        damaged(patient.open(), "ledger")
            .contains("was acknowledged: the index or a snapshot holds it")
    );
    patient.heal();
    fs::remove_dir_all(patient.path("ledger")).unwrap();
    assert!(patient.open().is_err());
    fs::create_dir(patient.path("ledger")).unwrap();
    assert!(damaged(patient.open(), "ledger").contains("no ledger segment"));
}

/// A segment of another store fits by its name and not by its hash.
#[test]
fn a_segment_of_another_store_breaks_the_chain() {
    let patient = Patient::new(24);
    let other = Place::new();
    let store = Store::open(other.options().segment_bytes(1000)).unwrap();
    run(async {
        for turn in 0..24 {
            put(&store, &format!("kex {turn:03}"), &"v".repeat(100))
                .await
                .unwrap();
        }
    });
    store.close().unwrap();
    let (ours, theirs) = (&patient.place.segments()[2], &other.segments()[2]);
    fs::copy(theirs, ours).unwrap();
    patient.forget_index();
    let name = ours.file_name().unwrap().to_str().unwrap();
    assert!(damaged(patient.open(), name).contains("the hash chain is broken"));
}

/// Whoever changes a record also makes the checksums right; the next entry's hash tells.
#[test]
fn a_changed_entry_with_a_right_checksum_breaks_the_chain() {
    let patient = Patient::new(24);
    let second = patient.place.segments()[1].clone();
    let name = second.file_name().unwrap().to_str().unwrap().to_owned();
    let places = frames(&second);
    let mut bytes = fs::read(&second).unwrap();
    let (from, to) = (places[1], places[2]);
    bytes[to - 1] = b'w';
    let checked = [&bytes[from + 4..from + 8], &bytes[from + 12..to]].concat();
    bytes[from + 8..from + 12].copy_from_slice(&crc32(&checked).to_le_bytes());
    fs::write(&second, bytes).unwrap();
    let expected = format!("at byte {to}: the hash chain is broken before entry 9");
    let fault = verify(patient.place.options());
    assert_eq!(damaged(fault, &name), expected);
    patient.forget_index();
    assert_eq!(damaged(patient.open(), &name), expected);
}

#[test]
fn an_index_ahead_of_the_ledger_or_of_another_history_is_refused_and_left_alone() {
    let patient = Patient::new(12);
    let older = Patient::new(6);
    fs::remove_dir_all(patient.path("ledger")).unwrap();
    copy_tree(&older.path("ledger"), &patient.path("ledger"));
    for _ in 0..2 {
        assert!(damaged(patient.open(), "ledger").contains("entry 12 was acknowledged"));
    }
    fs::remove_file(patient.path("index.state")).unwrap();
    assert!(
        damaged(patient.open(), "ledger").contains("entry 12 was acknowledged"),
        "no marker"
    );
    fs::remove_dir_all(patient.path("index")).unwrap();
    drop(patient.open().unwrap());
    patient.heal();
    // The marker alone remembers.
    fs::remove_dir_all(patient.path("ledger")).unwrap();
    copy_tree(&older.path("ledger"), &patient.path("ledger"));
    fs::remove_dir_all(patient.path("index")).unwrap();
    assert!(damaged(patient.open(), "ledger").contains("entry 12 was acknowledged"));
    patient.heal();

    let other = Place::new();
    let store = other.open();
    run(async {
        for turn in 0..20 {
            put(&store, &format!("other {turn:03}"), "v").await.unwrap();
        }
    });
    store.close().unwrap();
    fs::remove_dir_all(patient.path("ledger")).unwrap();
    copy_tree(&other.dir().join("ledger"), &patient.path("ledger"));
    assert!(damaged(patient.open(), "ledger").contains("entry 12 is not the one"));
}

/// An index that is behind is brought up, one that is garbage is made anew.
#[test]
fn an_index_that_is_behind_or_broken_is_repaired() {
    let patient = Patient::new(12);
    let early = Patient::new(12);
    let store = early.open().unwrap();
    let state = store.state_hash().unwrap();
    run(put(&store, "late", "v")).unwrap();
    let late = store.state_hash().unwrap();
    assert_ne!(state, late);
    store.close().unwrap();
    // The early index with its clean marker, and a ledger that has gone on.
    for name in ["index", "ledger"] {
        fs::remove_dir_all(patient.path(name)).unwrap();
    }
    copy_tree(&early.copy.join("index"), &patient.path("index"));
    copy_tree(&early.path("ledger"), &patient.path("ledger"));
    fs::copy(early.copy.join("index.state"), patient.path("index.state")).unwrap();
    let store = patient.open().unwrap();
    assert_eq!(store.state_hash().unwrap(), late);
    store.close().unwrap();
    patient.heal();

    let index = patient.path("index");
    let breaks: [&dyn Fn(); 6] = [
        &|| fs::write(index.join("db"), vec![0x5A; 1 << 20]).unwrap(),
        &|| fs::write(index.join("conf"), b"garbage").unwrap(),
        &|| cut(&index.join("conf"), 3),
        &|| cut(&index.join("db"), 1000),
        &|| fs::remove_file(index.join("db")).unwrap(),
        &|| {
            fs::remove_dir_all(&index).unwrap();
            fs::write(&index, b"a file").unwrap();
        },
    ];
    for (way, damage) in breaks.iter().enumerate() {
        damage();
        let store = patient
            .open()
            .unwrap_or_else(|fault| panic!("way {way}: {fault}"));
        assert_eq!(store.state_hash().unwrap(), state, "way {way}");
        store.close().unwrap();
        assert!(!patient.path("index.old").exists());
        patient.heal();
    }
}

#[test]
fn a_sound_store_verifies() {
    let place = Place::new();
    let store = place.open();
    run(async {
        put(&store, "k", "v").await.unwrap();
        let noting = store.transact("note", |tx: &mut Tx<'_>| {
            tx.event(vec![1]);
            Ok::<_, StoreError>(())
        });
        noting.await.unwrap();
    });
    store.close().unwrap();
    let verified = verify(place.options()).unwrap();
    assert_eq!((verified.head().sequence(), verified.segments()), (2, 1));
    assert!(!place.dir().join("index.check").exists());
}

#[test]
fn a_newer_format_is_refused_with_a_hint() {
    let patient = Patient::new(3);
    fs::write(patient.path("meta"), "upkeep store, format 2\n").unwrap();
    let fault = patient.open().err().unwrap();
    assert!(
        matches!(
            fault,
            StoreError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{fault}"
    );
    assert!(
        fault
            .to_string()
            .contains("start it with the release that wrote it")
    );
    for garbage in [
        "",
        "upkeep store, format x\n",
        "upkeep store, format 1",
        "\u{1F511}",
    ] {
        fs::write(patient.path("meta"), garbage).unwrap();
        damaged(patient.open(), "meta");
    }
    patient.heal();

    let segment = patient.place.segments().pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[8] = 2;
    let checksum = crc32(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&segment, bytes).unwrap();
    let fault = patient.open().err().unwrap();
    assert!(
        matches!(
            fault,
            StoreError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{fault}"
    );
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn a_directory_without_a_store_is_refused_unless_one_is_to_be_made() {
    let place = Place::new();
    assert!(!Store::exists(&place.dir()).unwrap());
    let fault = Store::open(place.options().create(false)).err().unwrap();
    assert!(matches!(fault, StoreError::Missing { .. }), "{fault}");
    assert!(fault.to_string().contains("run `upkeep-server init`"));
    assert!(!place.dir().exists(), "nothing was made");
    fs::create_dir(place.dir()).unwrap();
    assert!(Store::open(place.options().create(false)).is_err());
    assert_eq!(fs::read_dir(place.dir()).unwrap().count(), 0);
    drop(place.open());
    assert!(Store::exists(&place.dir()).unwrap());
    drop(Store::open(place.options().create(false)).unwrap());
}

/// A ledger without `meta` is not taken for an empty place.
#[test]
fn creating_never_replaces_entries() {
    let patient = Patient::new(3);
    fs::remove_file(patient.path("meta")).unwrap();
    assert!(damaged(patient.open(), ".seg").contains("`meta`"));
    fs::write(patient.path("meta"), "upkeep store, format 1\n").unwrap();
    assert_eq!(all(&patient.open().unwrap()).len(), 3);
}

#[test]
fn a_second_store_on_the_directory_is_refused_until_the_first_is_closed() {
    let place = Place::new();
    let store = place.open();
    let fault = Store::open(place.options()).err().unwrap();
    assert!(
        matches!(&fault, StoreError::Locked { dir } if *dir == place.dir()),
        "{fault}"
    );
    assert!(matches!(
        verify(place.options()),
        Err(StoreError::Locked { .. })
    ));
    run(put(&store, "k", "v")).unwrap();
    let clone = store.clone();
    drop(store);
    assert!(matches!(
        Store::open(place.options()),
        Err(StoreError::Locked { .. })
    ));
    clone.close().unwrap();
    assert_eq!(all(&place.open()).len(), 1);
    // Our own lock does it, not only that of the index.
    let lock = fs::File::open(place.dir().join("lock")).unwrap();
    lock.try_lock().unwrap();
    assert!(matches!(
        Store::open(place.options()),
        Err(StoreError::Locked { .. })
    ));
    drop(lock);
    drop(place.open());
}

#[cfg(unix)]
#[test]
fn files_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    drop(place.open());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.dir()), 0o700);
    assert_eq!(mode(&place.dir().join("ledger")), 0o700);
    assert_eq!(mode(&place.segments()[0]), 0o600);
}
