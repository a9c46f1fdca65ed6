#![no_main]

use upkeep::armor;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((label, content)) = armor::read_bytes(bytes) {
        let file = armor::write_bytes(label, &[], &content);
        assert_eq!(armor::read_bytes(file.as_bytes()), Ok((label, content)));
    }
});
