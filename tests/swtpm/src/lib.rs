//! Software TPMs for tests: each a real `swtpm` process of its own, with endorsement certificates of a throwaway CA.
//!
//! A test that asks for one where `swtpm` is not installed gets `None` and a line on stderr; with `UPKEEP_REQUIRE_SWTPM=1` it fails
//! instead. Nothing here speaks the TPM's language, but for what a firmware sends at shutdown and what fills the NV memory.
//!
//! A socket of `swtpm` serves one connection at a time: close yours before another one opens, and before [`SoftwareTpm::stop`].

#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test that can't be set up must fail, and say why"
)]

mod ca;
mod nv;
mod process;

use std::process::{Command, Stdio};

pub use ca::Ca;
pub use process::{SoftwareTpm, State};

/// Whether the tools are installed; says so on stderr where they are not.
///
/// # Panics
/// When they are missing and `UPKEEP_REQUIRE_SWTPM=1`.
pub fn available() -> bool {
    let Some(missing) = ["swtpm", "swtpm_setup", "swtpm_localca", "swtpm_ioctl"]
        .into_iter()
        .find(|tool| !runs(tool))
    else {
        return true;
    };
    assert!(
        std::env::var_os("UPKEEP_REQUIRE_SWTPM").is_none_or(|required| required != "1"),
        "{missing} is missing: install swtpm and swtpm-tools"
    );
    eprintln!("SKIPPED: {missing} is missing; install swtpm and swtpm-tools");
    false
}

fn runs(tool: &str) -> bool {
    Command::new(tool)
        .arg("--help")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}
