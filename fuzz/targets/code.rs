#![no_main]

use upkeep::code::Code;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(code) = Code::parse(text) {
        assert_eq!(Code::parse(&code.to_string()), Ok(code));
    }
});
