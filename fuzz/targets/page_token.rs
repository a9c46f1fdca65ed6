#![no_main]

use upkeep_server::decoders;

libfuzzer_sys::fuzz_target!(|token: &str| {
    assert!(!decoders::page_token(token) || token == decoders::a_page_token());
});
