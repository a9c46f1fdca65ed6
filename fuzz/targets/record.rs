#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    upkeep_server::decoders::record(bytes);
});
