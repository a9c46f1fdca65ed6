#![no_main]

use upkeep::date::CivilDate;

libfuzzer_sys::fuzz_target!(|text: &str| {
    assert!(CivilDate::parse(text).map_or(true, |date| date.to_string() == text));
});
