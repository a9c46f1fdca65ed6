#![no_main]

use upkeep::tpm::Attest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(Attest::parse(bytes).map_or(true, |read| read.to_bytes() == bytes));
});
