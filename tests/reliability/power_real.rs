//! G2 with the real binary on a real file system: the block device under it is copied at a random moment, as it is.
//!
//! An XFS file system with reflinks holds the image of an ext4 file system that holds the data directory. A reflink copy of
//! the image is what the device held at that instant; what ext4 still had in memory is not in it. The copy is mounted, ext4
//! replays its journal, the server starts on it, and every acknowledged answer is asked for again. The next round goes on
//! with the copy.
//!
//! The limit of this rig: the device itself has no cache that forgets or reorders. The simulated disk (`power.rs`) has.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::clients::{load, settle};
use crate::coin::{Coin, size};
use crate::loss::Loss;
use crate::machine::{Mount, able, has, is_root, sh, shim, shimmed, sparse};
use crate::server::{Server, Vendor, check_data};

const CLIENTS: usize = 16;

/// The file systems, one in the other. Fields are dropped in this order.
struct Rig {
    inner: Option<Mount>,
    outer: Mount,
    dir: TempDir,
}

impl Rig {
    /// Large enough for what so many cuts leave in the ledger; the files are sparse.
    fn new(cuts: usize) -> Self {
        let mib = 400 + 4 * cuts as u64;
        let dir = TempDir::new().unwrap();
        let image = dir.path().join("outer.img");
        sparse(&image, (4 * mib + 400) << 20);
        sh(
            "mkfs.xfs",
            &["-q", "-m", "reflink=1", image.to_str().unwrap()],
        );
        let options = ["-o", "loop", image.to_str().unwrap()];
        let outer = Mount::new(&options, &dir.path().join("outer"));
        let mut rig = Self {
            inner: None,
            outer,
            dir,
        };
        sparse(&rig.image(), mib << 20);
        sh("mkfs.ext4", &["-q", "-F", rig.image().to_str().unwrap()]);
        rig.mount();
        rig
    }

    fn image(&self) -> PathBuf {
        self.outer.at().join("inner.img")
    }

    fn copy(&self) -> PathBuf {
        self.outer.at().join("copy.img")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("inner").join("data")
    }

    fn mount(&mut self) {
        let image = self.image();
        let options = ["-o", "loop", image.to_str().unwrap()];
        self.inner = Some(Mount::new(&options, &self.dir.path().join("inner")));
    }

    /// The power is cut: from here on only the copy counts.
    fn cut(&self) {
        let (image, copy) = (self.image(), self.copy());
        sh(
            "cp",
            &[
                "--reflink=always",
                image.to_str().unwrap(),
                copy.to_str().unwrap(),
            ],
        );
    }

    /// Takes up the copy in place of the image. This run of the machine goes on, and the copy has the device and the inodes of the
    /// image, so what was left open is made to name another run, as after a cut. True if it vouches for an index that is there.
    fn go_on(&mut self) -> bool {
        self.inner = None;
        std::fs::rename(self.copy(), self.image()).unwrap();
        self.mount();
        let marker = self.data().join("index.state");
        let line = std::fs::read_to_string(&marker).unwrap_or_default();
        let mut words: Vec<_> = line.split(' ').collect();
        let ["open", run, ..] = &mut words[..] else {
            return false;
        };
        *run = "another-run";
        std::fs::write(&marker, words.join(" ")).unwrap();
        self.data().join("index").exists()
    }
}

/// Cuts the power so many times under load; answers the number of acknowledged answers, or what was lost.
async fn cuts(cuts: usize, seed: u64, variables: &[(&str, OsString)]) -> Result<usize, Loss> {
    let mut rig = Rig::new(cuts);
    let data = rig.data();
    let vendor = Vendor::new(&data);
    let server = Server::start(&data);
    let many = vendor.stock(&server).await;
    server.kill();
    sh(
        "sync",
        &["-f", rig.dir.path().join("inner").to_str().unwrap()],
    );
    let mut coin = Coin::new(seed);
    let (mut acknowledged, mut live) = (0, 0);
    for cut in 1..=cuts {
        let server = Server::start_with(&data, variables)
            .unwrap_or_else(|refused| panic!("cut {cut}, before it: {refused:?}"));
        let wanted = 20 + coin.below(200);
        let lives = load(
            &vendor,
            server,
            &many,
            Vec::new(),
            CLIENTS,
            wanted,
            |server| {
                rig.cut();
                server.kill();
            },
        )
        .await;
        let left_open = rig.go_on();
        let server = match Server::start_with(&data, &[]) {
            Ok(server) => server,
            Err(refused) if refused.said.contains(" is damaged: ") => {
                return Err(Loss(refused.said).at(format!("cut {cut}")));
            }
            Err(refused) => panic!("cut {cut}, after it: {refused:?}"),
        };
        // Whether all of its pages were there or not.
        let says = [
            "it may be torn",
            "the index is torn",
            "the index cannot be opened",
        ];
        let doubts = says.iter().any(|text| server.began_with(text));
        assert!(doubts || !left_open, "cut {cut}: the index was believed");
        let settled = settle(&vendor, &server, lives).await;
        let settled = settled.map_err(|loss| loss.at(format!("cut {cut}")))?;
        acknowledged += settled.acknowledged;
        live += settled.live;
        let taken = vendor.seats_taken(&server, &many.serial).await;
        if taken != live {
            return Err(Loss(format!(
                "cut {cut}: {live} seats were acknowledged and {taken} are taken"
            )));
        }
        server.kill();
    }
    check_data(&data);
    Ok(acknowledged)
}

fn can() -> bool {
    let programs = ["mount", "umount", "mkfs.xfs", "mkfs.ext4", "cp"];
    let present = is_root() && has(&programs) && Path::new("/dev/loop-control").exists();
    able(
        "G2 on real file systems: needs root, loop devices, xfsprogs and e2fsprogs",
        present,
        "UPKEEP_REQUIRE_POWER",
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_no_cut_of_a_real_device_loses_an_acknowledged_answer() {
    if !can() {
        return;
    }
    let number = size("UPKEEP_G2_REAL_CUTS", 3);
    let acknowledged = cuts(number, 5, &[])
        .await
        .unwrap_or_else(|loss| panic!("{loss}"));
    println!("G2: {number} cuts of a real device, {acknowledged} acknowledged answers, 0 lost");
}

/// The same server without its syncs must lose, or the rig is blind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_control_a_real_server_without_sync_loses() {
    if !can() {
        return;
    }
    let Some(shim) = shim() else {
        able(
            "G2, control: there is no C compiler",
            false,
            "UPKEEP_REQUIRE_POWER",
        );
        return;
    };
    let variables = shimmed(shim, "/inner/data/", "RIG_SYNC_NOTHING", "1");
    match cuts(5, 6, &variables).await {
        Err(loss) => println!("control, without sync: {loss}"),
        Ok(acknowledged) => {
            panic!("5 cuts without sync lost none of {acknowledged}: the rig is blind")
        }
    }
}
