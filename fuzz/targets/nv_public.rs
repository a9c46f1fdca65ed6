#![no_main]

use upkeep::tpm::NvPublic;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(NvPublic::parse(bytes).map_or(true, |read| read.to_bytes() == bytes));
});
