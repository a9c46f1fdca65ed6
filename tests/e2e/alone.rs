//! A process in which one test runs and no other: for what is measured of a process, and for what the children of other tests would disturb.

use std::process::Command;

/// True in a process where only `test` runs; else runs it in one, shows what it said, and is false.
///
/// * `test` - its full name, as `--exact` takes it.
pub(crate) fn alone(test: &str) -> bool {
    const ALONE: &str = "UPKEEP_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(ALONE, "1");
    let ran = child.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    eprintln!("{said}");
    assert!(ran.status.success(), "{test}: {}", ran.status);
    assert!(said.contains("1 passed"), "{test} ran");
    false
}
