#![no_main]

use upkeep_server::attest::{Anchor, DenyList, EndorsementClass, Endorsements, ek_chain};

// The bytes are leaf, intermediate and anchor, so that a self-signed certificate goes the whole way.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let anchors = Anchor::from_der(bytes, EndorsementClass::Chip)
        .into_iter()
        .collect();
    let endorsements = Endorsements::new(anchors, DenyList::default());
    let at = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let _ = ek_chain(bytes, &[bytes.to_vec()], &endorsements, at);
});
