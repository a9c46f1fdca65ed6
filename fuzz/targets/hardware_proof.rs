#![no_main]

use upkeep::artefact::HardwareProof;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let read = HardwareProof::read_either(text);
    assert!(read.is_err() || HardwareProof::read_either(&read.clone().unwrap().to_text()) == read);
});
