#![no_main]

use upkeep_server::attest::{
    Anchor, DenyList, EndorsementClass, Endorsements, PinPolicy, PivPolicy, piv_attestation,
};

// The bytes are slot, f9 and root, so that a self-signed certificate goes the whole way.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let anchors = Anchor::from_der(bytes, EndorsementClass::Dongle)
        .into_iter()
        .collect();
    let endorsements = Endorsements::new(anchors, DenyList::default());
    let at = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let policy = PivPolicy {
        min_firmware: [0; 3],
        pin_policy_at_least: PinPolicy::Never,
    };
    let _ = piv_attestation(bytes, bytes, &[], &endorsements, at, policy);
});
