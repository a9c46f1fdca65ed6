//! G16: how long from a crash to serving, with many licenses stored.
//!
//! What is compared is the start after kill -9 with the start after a clean stop on the same data, in the same minute: a busy
//! machine slows both. The start that has to make the whole index anew from the ledger, as after a power cut, is reported.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use upkeep_server::store::{Options, Store, StoreError, Tx};

use crate::clients::{load, settle};
use crate::coin::size;
use crate::server::{Server, Vendor};

/// Keys in one transaction, below the store's limit.
const KEYS: usize = 480;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g16_a_start_after_kill_9_is_nearly_as_quick_as_a_clean_one() {
    let licenses = size("UPKEEP_G16_LICENSES", 40_000);
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let vendor = Vendor::new(&data);
    let server = Server::start(&data);
    let many = vendor.stock(&server).await;
    vendor.single(&server, "SAMPLE-0000000").await;
    server.kill();
    let records = multiply(&data, licenses).await;

    let (clean, server) = timed(&data);
    let lives = load(&vendor, server, &many, Vec::new(), 16, 100, Server::kill).await;
    let (crashed, server) = timed(&data);
    settle(&vendor, &server, lives).await.unwrap();
    assert_eq!(vendor.seats_taken(&server, "SAMPLE-0000001").await, 0);
    server.kill();
    std::fs::remove_dir_all(data.join("index")).unwrap();
    let (rebuilt, server) = timed(&data);
    assert_eq!(
        vendor
            .seats_taken(&server, &format!("SAMPLE-{licenses:07}"))
            .await,
        0
    );
    server.kill();
    println!(
        "G16: {licenses} licenses, {records} records: start after a clean stop {clean:.1?}, after kill -9 {crashed:.1?}, \
         with the index made anew {rebuilt:.1?}"
    );
    assert!(
        crashed <= clean * 4 + Duration::from_secs(3),
        "{crashed:?} after kill -9, {clean:?} after a clean stop"
    );
}

/// Starts the server; how long until it serves.
fn timed(data: &Path) -> (Duration, Server) {
    let begun = Instant::now();
    let server = Server::start(data);
    (begun.elapsed(), server)
}

/// Stores the sample license under so many more serial numbers; answers how many records that are.
async fn multiply(data: &Path, licenses: usize) -> usize {
    let store = Store::open(Options::new(data)).unwrap();
    let last = store.head().sequence();
    let sample = store.entries(last, 1).unwrap().remove(0);
    let sample: Vec<_> = sample
        .changes()
        .iter()
        .filter_map(|change| Some((change.key().to_vec(), change.value()?.to_vec())))
        .filter(|(key, _)| holds(key, b"SAMPLE-0000000"))
        .collect();
    assert!(!sample.is_empty(), "the last entry is the sample's");
    let each = KEYS / sample.len();
    for first in (1..=licenses).step_by(each) {
        let sample = sample.clone();
        let many = store.transact("multiply", move |tx: &mut Tx<'_>| {
            for number in first..=licenses.min(first + each - 1) {
                let serial = format!("SAMPLE-{number:07}");
                for (key, value) in &sample {
                    tx.put(
                        renamed(key, serial.as_bytes()),
                        renamed(value, serial.as_bytes()),
                    );
                }
            }
            Ok::<_, StoreError>(())
        });
        many.await.unwrap();
    }
    store.close().unwrap();
    licenses * sample.len()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The same bytes for another serial number.
fn renamed(bytes: &[u8], serial: &[u8]) -> Vec<u8> {
    let mut renamed = bytes.to_vec();
    let places: Vec<usize> = (0..=bytes.len().saturating_sub(serial.len()))
        .filter(|at| bytes[*at..].starts_with(b"SAMPLE-0000000"))
        .collect();
    for at in places {
        renamed[at..at + serial.len()].copy_from_slice(serial);
    }
    renamed
}
