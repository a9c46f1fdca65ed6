#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    upkeep_server::decoders::deny_list(text);
});
