#![no_main]

// The reader wants a file: one in memory, where there is such a place.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let name = format!("upkeep-fuzz-snapshot-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    upkeep_server::decoders::snapshot(&path);
});
