#![no_main]

use upkeep::tpm::Public;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(Public::parse(bytes).map_or(true, |read| read.to_bytes() == bytes));
});
