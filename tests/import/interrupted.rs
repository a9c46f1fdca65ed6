//! An import that is killed, and started again.

use std::process::Stdio;

use serde_json::Value;

use crate::binaries::upkeep_server;
use crate::vendor::{Vendor, lines, row};

const ROWS: u64 = 2_500;

/// The CPU time of a process in ticks of 10 ms; none once it has ended. Source: proc(5), `/proc/PID/stat`.
fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let user: u64 = fields.nth(10)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    (state != "Z").then_some(user + system)
}

#[test]
fn an_import_that_is_killed_goes_on_where_it_was() {
    let file = lines((0..ROWS).map(row));
    let whole = Vendor::new();
    let (code, _, stderr) = whole.import("rows.jsonl", &file, &[]);
    assert_eq!(code, 0, "{stderr}");
    let expected = whole.export(&[]);
    assert_eq!(u64::try_from(expected.lines().count()).unwrap(), ROWS);

    let vendor = Vendor::new();
    let path = vendor.file("rows.jsonl", &file).display().to_string();
    let (mut there, mut halfway) = (0, 0);
    // Killed after more and more work, until one gets through.
    for work in std::iter::successors(Some(6), |work| Some(work * 3 / 2)) {
        let mut command = upkeep_server(["import", "--json", &path, "--data"]);
        let mut importing = command
            .arg(vendor.place.data())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while ticks(importing.id()).is_some_and(|ticks| ticks < work) {
            std::thread::yield_now();
        }
        importing.kill().unwrap();
        let through = importing.wait().unwrap().success();
        let now = u64::try_from(vendor.export(&[]).lines().count()).unwrap();
        assert!(now >= there, "nothing that was there is gone");
        halfway += u64::from(now > there && now < ROWS);
        there = now;
        if through || now == ROWS {
            break;
        }
    }
    assert!(halfway > 0, "none was killed in the middle");
    let (code, stdout, stderr) = vendor.place.run(&["import", "--json", &path]);
    assert_eq!(code, 0, "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["unchanged"], there);
    assert_eq!(report["created"], ROWS - there);
    assert_eq!(vendor.export(&[]), expected);
    vendor.check_records();
}
