#![no_main]

use upkeep_server::license_file::Format;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    upkeep_server::decoders::licenses(bytes, Format::Csv);
});
