//! `verify`: a sound data directory passes and is counted; each record that breaks an invariant is named (SECURITY 3).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep_server::store::{LedgerFiles, Options, Store, StoreError, Tx};

use crate::binaries::{run as execute, upkeep_server};
use crate::device::{Device, request_id};
use crate::dial::dial;
use crate::g17::{World, command, ten_months_ago};
use crate::place::copy_tree;
use crate::world::{license, seed};

/// The first key of a table.
fn first(store: &Store, table: u8) -> Vec<u8> {
    let found = store.scan(&[table, b'/'], &[table, b'0'], 1).unwrap();
    found
        .into_iter()
        .next()
        .expect("the table holds something")
        .0
}

/// A spent challenge that says which answer is forgotten with it.
fn answered(store: &Store) -> (Vec<u8>, Vec<u8>) {
    let spent = store.scan(b"n/", b"n0", usize::MAX).unwrap();
    let mut answered = spent.into_iter().filter(|(_, once)| !once.is_empty());
    answered.next().expect("an activation was answered")
}

/// Something that a server would never write, and what is found then.
struct Plant {
    name: &'static str,
    write: fn(&Store) -> Change,
    found: &'static [&'static str],
}

/// A key, and its value unless it is deleted.
type Change = (Vec<u8>, Option<Vec<u8>>);

const PLANTS: [Plant; 7] = [
    Plant {
        name: "an activation that its license does not find",
        write: |store| (first(store, b'b'), None),
        found: &["I1 seats", "index b"],
    },
    Plant {
        name: "a license that its customer still has",
        write: |_| (b"u/baker\0STRAY".to_vec(), Some(Vec::new())),
        found: &["index: u/baker\\x00STRAY: left over"],
    },
    Plant {
        name: "a seat that nobody finds by its device",
        write: |store| (first(store, b'y'), None),
        found: &["index y", "missing"],
    },
    Plant {
        name: "activations without their license",
        write: |store| (first(store, b'l'), None),
        found: &["index b"],
    },
    Plant {
        name: "a proof of an activation that was not returned",
        write: |store| {
            let mut key = first(store, b'a');
            key[0] = b'f';
            (key, Some(b"forged".to_vec()))
        },
        found: &["I6 proofs"],
    },
    Plant {
        name: "an answer that is never forgotten",
        write: |store| (answered(store).0, None),
        found: &["I5 answers"],
    },
    Plant {
        name: "an answer that is forgotten twice",
        write: |store| {
            let (mut key, once) = answered(store);
            key[3] ^= 1;
            (key, Some(once))
        },
        found: &["I5 answers"],
    },
];

/// Runs `verify`, and looks at every name, byte, mode and time before and after.
fn it_leaves_no_trace(data: &Path) {
    let before = traces(data);
    let report = command(&["verify", "--data", data.to_str().unwrap(), "--json"]);
    assert_eq!(report["violations"], Value::Array(Vec::new()));
    let after = traces(data);
    for (was, is) in before.iter().zip(&after) {
        assert_eq!(was, is);
    }
    assert_eq!(before.len(), after.len());
}

/// Each file and directory with its mode, its length, and the instants of its last write and change.
type Trace = (PathBuf, u32, u64, [(i64, i64); 2]);

fn traces(dir: &Path) -> Vec<Trace> {
    let of = |path: &Path| {
        let found = fs::symlink_metadata(path).unwrap();
        let times = [
            (found.mtime(), found.mtime_nsec()),
            (found.ctime(), found.ctime_nsec()),
        ];
        (path.to_owned(), found.mode(), found.len(), times)
    };
    let mut all = vec![of(dir)];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(traces(&path)),
            false => all.push(of(&path)),
        }
    }
    all.sort();
    all
}

#[test]
fn verify_adds_no_revisions_and_a_start_does() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    command(&["init", "--data", data.to_str().unwrap()]);
    let entries = || LedgerFiles::open(&data).unwrap().head().sequence();
    let before = entries();
    let report = command(&["verify", "--data", data.to_str().unwrap(), "--json"]);
    assert_eq!(
        (report["entries"].as_u64(), entries()),
        (Some(before), before)
    );
    let mut world = World::start(dir, &data);
    world.running.signal("TERM");
    assert!(world.running.wait().success());
    assert!(entries() > before, "the programmes that come with it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_counts_what_holds_and_names_what_does_not() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    command(&["init", "--data", data.to_str().unwrap()]);
    let mut world = World::start(dir, &data);
    let mut admin = world.admin(&data).await;
    seed(&mut admin).await;
    let ca = fs::read_to_string(data.join("keys/ca.crt")).unwrap();
    let mut api = ActivationServiceClient::new(dial(world.products, &ca, None).await);
    for serial in ["CHECK-1", "CHECK-2"] {
        let wish = license(&mut admin, serial, 3, &ten_months_ago()).await;
        for _ in 0..2 {
            let device = Device::new();
            device
                .activate(&mut api, &wish, &request_id())
                .await
                .unwrap();
        }
    }
    let verify = ["verify", "--data", data.to_str().unwrap(), "--json"];
    let (code, _, err) = execute(&mut upkeep_server(verify));
    assert_eq!(code, 4, "not while it serves: {err}");
    assert!(err.contains("in use by another server"), "{err}");
    world.running.signal("TERM");
    assert!(world.running.wait().success());
    let report = command(&verify);
    assert_eq!(report["violations"], Value::Array(Vec::new()));
    for (invariant, least) in [("I1 seats", 6), ("I4 signed", 4), ("I5 answers", 4)] {
        let counted = report["invariants"][invariant]["checked"].as_u64();
        assert!(counted >= Some(least), "{invariant}: {report:#}");
    }
    assert!(
        report["checkpoints"].as_u64() >= Some(1),
        "the one of the stop"
    );

    it_leaves_no_trace(&data);
    // What a start would make is not made: that of a directory from before there were checkpoints, or after erasing all customers.
    let older = world.dir.path().join("older");
    copy_tree(&data, &older);
    fs::remove_dir_all(older.join("checkpoints")).unwrap();
    fs::remove_dir_all(older.join("keys/customers")).unwrap();
    for name in ["keys/log.key", "keys/log.pub", "index.state"] {
        fs::remove_file(older.join(name)).unwrap();
    }
    it_leaves_no_trace(&older);

    for plant in &PLANTS {
        let copy = world.dir.path().join("planted");
        copy_tree(&data, &copy);
        let store = Store::open(Options::new(&copy)).unwrap();
        let (key, value) = (plant.write)(&store);
        let done = store.transact("planted", move |tx: &mut Tx<'_>| {
            match value.clone() {
                Some(value) => tx.put(key.clone(), value),
                None => tx.delete(key.clone()),
            }
            Ok::<_, StoreError>(())
        });
        done.await.unwrap();
        store.close().unwrap();
        let (code, out, err) = execute(&mut upkeep_server([
            "verify",
            "--data",
            copy.to_str().unwrap(),
        ]));
        assert_eq!(code, 4, "{}: {out}{err}", plant.name);
        for part in plant.found {
            assert!(
                out.contains(part),
                "{}: {part} is not in\n{out}",
                plant.name
            );
        }
        fs::remove_dir_all(&copy).unwrap();
    }
}
