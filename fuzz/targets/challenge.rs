#![no_main]

use upkeep_server::decoders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(!decoders::challenge(bytes) || bytes == decoders::a_challenge());
});
