//! G3: the disk under the real server is full, read-only, or answers one write or sync with an error. What was acknowledged is
//! there after the next start, and the first failure stops the server with exit code 7.
//!
//! The same for every single call of the file layer, in process: `tests/store/faulty.rs` and `tests/model/faults.rs`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::clients::{load, settle};
use crate::coin::{Coin, size};
use crate::device::Wish;
use crate::machine::{Mount, able, has, is_root, sh, shim, shimmed, sparse};
use crate::server::{Server, Vendor, check_data, copied};

const CLIENTS: usize = 8;
/// The store has stopped while serving (docs/operating.md, exit codes).
const STOPPED: Option<i32> = Some(7);
/// The data directory cannot be used.
const NO_DATA: Option<i32> = Some(4);

/// A data directory with a vendor's stock, to be copied.
struct Base {
    dir: TempDir,
    vendor: Vendor,
    many: Wish,
}

impl Base {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("base");
        let vendor = Vendor::new(&data);
        let server = Server::start(&data);
        let many = vendor.stock(&server).await;
        server.kill();
        Self { dir, vendor, many }
    }

    fn copy_to(&self, dir: &Path) -> PathBuf {
        copied(&self.dir.path().join("base"), &dir.join("data"))
    }

    /// Serves until the disk fails, checks how the server ends, and answers what it has acknowledged until then.
    async fn serve_until_it_ends(
        &self,
        server: Server,
        context: &str,
    ) -> Vec<crate::clients::Life> {
        let mut how = None;
        let lives = load(
            &self.vendor,
            server,
            &self.many,
            Vec::new(),
            CLIENTS,
            usize::MAX,
            |server| how = Some(server.ended()),
        )
        .await;
        let (code, said) = how.unwrap();
        assert_eq!(code, STOPPED, "{context}: {said}");
        lives
    }

    /// Starts once more, asks for everything again, and looks at every record. Answers how much was acknowledged.
    async fn recover(&self, data: &Path, lives: Vec<crate::clients::Life>, context: &str) -> usize {
        let server = Server::start(data);
        let settled = settle(&self.vendor, &server, lives).await;
        let settled = settled.unwrap_or_else(|why| panic!("{context}: {why}"));
        let taken = self.vendor.seats_taken(&server, &self.many.serial).await;
        assert_eq!(taken, settled.live, "{context}: seats and devices agree");
        server.kill();
        settled.acknowledged
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g3_a_failed_write_or_sync_stops_the_server_and_loses_nothing() {
    let Some(shim) = shim() else {
        able(
            "G3, failing writes and syncs: there is no C compiler",
            false,
            "CI",
        );
        return;
    };
    let base = Base::new().await;
    let mut coin = Coin::new(3);
    let mut acknowledged = 0;
    let cases = size("UPKEEP_G3_EIO", 5);
    for case in 0..cases {
        let setting = ["RIG_FAIL_SYNC", "RIG_FAIL_WRITE"][case % 2];
        // The first few happen while the server starts.
        let turn = if case < 2 {
            1 + case as u64
        } else {
            5 + coin.below(120) as u64
        };
        let context = format!("{setting} {turn}");
        let dir = TempDir::new().unwrap();
        let data = base.copy_to(dir.path());
        let variables = shimmed(shim, "/data/ledger/", setting, &turn.to_string());
        let lives = match Server::start_with(&data, &variables) {
            Ok(server) => base.serve_until_it_ends(server, &context).await,
            Err(refused) => {
                assert_eq!(refused.code, NO_DATA, "{context}: {}", refused.said);
                Vec::new()
            }
        };
        acknowledged += base.recover(&data, lives, &context).await;
        check_data(&data);
    }
    println!("G3: {cases} failed writes and syncs, {acknowledged} acknowledged answers, 0 lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g3_a_full_disk_loses_nothing_and_can_be_started_on() {
    let can = is_root() && has(&["mount", "fallocate"]);
    if !able(
        "G3, a full disk: needs root and mount",
        can,
        "UPKEEP_REQUIRE_POWER",
    ) {
        return;
    }
    let base = Base::new().await;
    let mut coin = Coin::new(4);
    let cases = size("UPKEEP_G3_FULL", 2);
    let mut acknowledged = 0;
    for case in 0..cases {
        let dir = TempDir::new().unwrap();
        let mount = Mount::new(
            &["-t", "tmpfs", "-o", "size=96m", "tmpfs"],
            &dir.path().join("small"),
        );
        let data = base.copy_to(mount.at());
        let server = Server::start(&data);
        let left = 64 * 1024 + coin.below(2 << 20) as u64;
        let context = format!("case {case}, {left} bytes left");
        fill(mount.at(), left);
        let lives = base.serve_until_it_ends(server, &context).await;
        // It starts on the full disk, out of its reserve, and has room to serve from.
        acknowledged += base.recover(&data, lives, &context).await;
        assert!(
            !data.join("reserve").exists(),
            "{context}: the reserve was given up"
        );
        std::fs::remove_file(mount.at().join("ballast")).unwrap();
        check_data(&data);
    }
    println!("G3: {cases} full disks, {acknowledged} acknowledged answers, 0 lost");
}

/// Takes all space but so many bytes. The server may take some in between: then it is measured again.
fn fill(at: &Path, left: u64) {
    let ballast = at.join("ballast");
    let taken = (0..100).any(|_| {
        let df = Command::new("df")
            .args(["--output=avail", "-B1"])
            .arg(at)
            .output()
            .unwrap();
        let text = String::from_utf8(df.stdout).unwrap();
        let free: u64 = text.lines().nth(1).unwrap().trim().parse().unwrap();
        let taken = free.saturating_sub(left).to_string();
        let mut fallocate = Command::new("fallocate");
        let done = fallocate.args(["-l", &taken]).arg(&ballast).output();
        done.unwrap().status.success()
    });
    assert!(taken, "the disk could not be filled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g3_a_disk_that_turns_read_only_loses_nothing() {
    let can = is_root()
        && has(&["mount", "mkfs.ext4", "e2fsck", "findmnt"])
        && Path::new("/sys/fs/ext4").exists();
    if !able(
        "G3, read-only: needs root, mount, mkfs.ext4, /sys/fs/ext4",
        can,
        "UPKEEP_REQUIRE_POWER",
    ) {
        return;
    }
    let base = Base::new().await;
    let cases = size("UPKEEP_G3_READ_ONLY", 1);
    let mut acknowledged = 0;
    for case in 0..cases {
        let context = format!("case {case}");
        let dir = TempDir::new().unwrap();
        let (image, at) = (dir.path().join("disk.img"), dir.path().join("disk"));
        sparse(&image, 128 << 20);
        sh("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
        let options = ["-o", "loop,errors=remount-ro", image.to_str().unwrap()];
        let mount = Mount::new(&options, &at);
        let data = base.copy_to(mount.at());
        // What the failing file system still had in memory would be gone.
        sh("sync", &["-f", at.to_str().unwrap()]);
        let server = Server::start(&data);
        let breaking = tokio::spawn(turn_read_only(at.clone(), case));
        let lives = base.serve_until_it_ends(server, &context).await;
        breaking.await.unwrap();
        let refused = Server::start_with(&data, &[])
            .err()
            .expect("it cannot be written to");
        assert_eq!(refused.code, NO_DATA, "{context}: {}", refused.said);
        drop(mount);
        // What a person does then; e2fsck answers 1 when it has repaired something.
        let _ = Command::new("e2fsck")
            .args(["-f", "-y"])
            .arg(&image)
            .output();
        let mount = Mount::new(&options, &at);
        acknowledged += base.recover(&data, lives, &context).await;
        check_data(&data);
        drop(mount);
    }
    println!("G3: {cases} disks turned read-only, {acknowledged} acknowledged answers, 0 lost");
}

/// Reports an error to the file system, which then does what `errors=remount-ro` says.
async fn turn_read_only(at: PathBuf, case: usize) {
    let found = Command::new("findmnt")
        .args(["-n", "-o", "SOURCE"])
        .arg(&at)
        .output()
        .unwrap();
    let source = String::from_utf8(found.stdout).unwrap();
    let device = source.trim().trim_start_matches("/dev/").to_owned();
    // Once the load is on: when the ledger has grown.
    let ledger = || -> u64 {
        let files = std::fs::read_dir(at.join("data/ledger")).unwrap();
        let newest = files.flatten().map(|file| file.path()).max().unwrap();
        let bytes = std::fs::read(newest).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64
    };
    let wanted = ledger() + 20_000 + 10_000 * case as u64;
    while ledger() < wanted {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let trigger = Path::new("/sys/fs/ext4")
        .join(device)
        .join("trigger_fs_error");
    std::io::Write::write_all(
        &mut File::options().write(true).open(trigger).unwrap(),
        b"upkeep",
    )
    .unwrap();
}
