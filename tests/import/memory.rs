//! An import's memory does not grow with its file.

use std::fs::File;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::binaries::upkeep_server;
use crate::vendor::{Vendor, lines};

/// What one run may need more than another, in KiB.
const ROOM: u64 = 16 * 1024;

/// The most memory that a program ever had while it ran, in KiB. Source: proc(5), `/proc/PID/status`, VmHWM.
fn most_memory(command: &mut Command) -> (u64, Option<i32>) {
    let mut running = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", running.id());
    let mut most = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        most = most.max(kib.unwrap_or(0));
        if let Some(ended) = running.try_wait().unwrap() {
            return (most, ended.code());
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_length_of_a_file_and_of_a_line_costs_no_memory() {
    let vendor = Vendor::new();
    let import = |path: &std::path::Path| {
        let mut command = upkeep_server(["import", "--max-errors", "0", "--format", "jsonl"]);
        command.arg(path).arg("--data").arg(vendor.place.data());
        most_memory(&mut command)
    };
    let bad = |rows: usize| {
        let row = json!({ "colour": "x".repeat(600) });
        lines(std::iter::repeat_n(row, rows))
    };
    let few = vendor.file("few.jsonl", bad(100));
    let (few, code) = import(&few);
    assert_eq!(code, Some(5));
    // 60 MiB, all of whose rows are wrong.
    let many = vendor.file("many.jsonl", bad(100_000));
    let (many, code) = import(&many);
    assert_eq!(code, Some(5));
    assert!(
        many < few + ROOM,
        "{few} KiB for few rows, {many} KiB for many"
    );

    // 512 MiB without a line end; the file system keeps none of it.
    let path = vendor.place.path("endless.jsonl");
    File::create(&path).unwrap().set_len(512 << 20).unwrap();
    let (endless, code) = import(&path);
    assert_eq!(code, Some(5));
    assert!(
        endless < few + ROOM,
        "{few} KiB for few rows, {endless} KiB for a line of 512 MiB"
    );
}
