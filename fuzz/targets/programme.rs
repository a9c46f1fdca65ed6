#![no_main]

use upkeep_server::domain::programme::Programme;
use upkeep_server::domain::story::Story;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = (
        Programme::parse("fuzz.toml", text),
        Story::parse("fuzz.toml", text),
    );
});
