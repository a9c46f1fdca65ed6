//! The software TPMs themselves: they start, stop, lose power and go back in time.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use upkeep_swtpm::{Ca, SoftwareTpm};

/// TPM2_GetCapability(TPM_CAP_TPM_PROPERTIES, TPM_PT_FIXED, 1).
const PROBE: [u8; 22] = [
    0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7A, 0, 0, 0, 6, 0, 0, 0x01, 0, 0, 0, 0, 1,
];

fn answers(tpm: &SoftwareTpm) -> bool {
    let mut stream = UnixStream::connect(tpm.unix_path()).unwrap();
    stream.write_all(&PROBE).unwrap();
    let mut head = [0; 10];
    stream.read_exact(&mut head).unwrap();
    head.ends_with(&[0, 0, 0, 0])
}

#[test]
fn it_starts_stops_and_survives_a_power_cut() {
    let ca = Ca::new();
    let Some(mut tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    assert!(answers(&tpm));
    tpm.stop();
    assert!(UnixStream::connect(tpm.unix_path()).is_err());
    tpm.start();
    assert!(answers(&tpm));
    tpm.kill();
    let then = tpm.copy_state();
    tpm.start();
    tpm.kill();
    tpm.restore_state(&then);
    tpm.start();
    assert!(answers(&tpm));
}

#[test]
fn the_public_tools_reach_it_and_find_its_certificates() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let Ok(listed) = Command::new("tpm2_getcap")
        .args(["-T", &tpm.tcti(), "handles-nv-index"])
        .output()
    else {
        let required = std::env::var_os("UPKEEP_REQUIRE_SWTPM");
        assert!(
            required.is_none_or(|required| required != "1"),
            "tpm2_getcap is missing: install tpm2-tools"
        );
        eprintln!("SKIPPED: tpm2_getcap is missing; install tpm2-tools");
        return;
    };
    let text = String::from_utf8_lossy(&listed.stdout).to_uppercase();
    assert!(text.contains("0X1C00002"), "{text}");
    assert!(text.contains("0X1C00016"), "{text}");
}

#[test]
fn two_cas_share_a_name_and_no_key() {
    let (one, other) = (Ca::new(), Ca::new());
    assert_ne!(one.root_der(), other.root_der());
}

#[test]
fn it_listens_on_tcp_too() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision_tcp(&ca) else {
        return;
    };
    let address = tpm.address();
    let (_, host_port) = address.split_once(':').unwrap();
    assert!(std::net::TcpStream::connect(host_port).is_ok());
}
