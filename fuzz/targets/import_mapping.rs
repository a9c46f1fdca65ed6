#![no_main]

use upkeep_server::license_file::Mapping;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = Mapping::parse(text);
});
