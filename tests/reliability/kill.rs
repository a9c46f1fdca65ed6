//! G1: kill -9 of the real binary under 64 clients. No acknowledged answer is lost or changed, nothing has two effects, every
//! start succeeds, and the records are sound at the end (I3, I5).
//!
//! kill -9 alone cannot show what a power cut does: the system still has every page. That is G2.

use tempfile::TempDir;

use crate::clients::{load, settle};
use crate::coin::{Coin, size};
use crate::server::{Server, Vendor, check_data};

const CLIENTS: usize = 64;
/// Of them so many walk the whole way to an upgrade, once a round.
const UPGRADES: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_kill_9_loses_no_acknowledged_answer() {
    let cycles = size("UPKEEP_G1_CYCLES", 20);
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let vendor = Vendor::new(&data);
    let mut server = Server::start(&data);
    let many = vendor.stock(&server).await;
    let mut coin = Coin::new(size("UPKEEP_G1_SEED", 1) as u64);
    let (mut acknowledged, mut live) = (0, 0);
    for cycle in 0..cycles {
        let mut singles = Vec::new();
        for number in 0..UPGRADES {
            let serial = format!("ONE-{cycle:04}-{number}");
            singles.push(vendor.single(&server, &serial).await);
        }
        // After so many answers, so that the load is on however fast the machine is; then at any moment of a call.
        let wanted = 20 + coin.below(160);
        let lives = load(
            &vendor,
            server,
            &many,
            singles,
            CLIENTS,
            wanted,
            Server::kill,
        )
        .await;
        server = Server::start(&data);
        let settled = settle(&vendor, &server, lives).await;
        let settled = settled.unwrap_or_else(|why| panic!("cycle {cycle}: {why}"));
        assert!(
            settled.acknowledged >= wanted,
            "cycle {cycle}: the load was not on"
        );
        acknowledged += settled.acknowledged;
        live += settled.live;
        let taken = vendor.seats_taken(&server, &many.serial).await;
        assert_eq!(taken, live, "cycle {cycle}: seats and devices agree");
    }
    server.kill();
    check_data(&data);
    println!(
        "G1: {cycles} kills under {CLIENTS} clients, {acknowledged} acknowledged answers, 0 lost"
    );
}
