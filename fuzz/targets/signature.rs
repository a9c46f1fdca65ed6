#![no_main]

use upkeep::tpm::Signature;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(Signature::parse(bytes).map_or(true, |read| read.to_bytes() == bytes));
});
