#![no_main]

use upkeep::artefact::{
    ActivationCertificate, DeactivationProof, DeactivationReceipt, DeactivationTicket, KeyList,
    ReleaseManifest, UnlockCode, UpgradeCode,
};
use upkeep::jws::{self, Claims, SigningInput};
use upkeep::key;

fn refused<C: Claims>(text: &str) {
    // No key is trusted, so nothing may be believed; the claims of any header that names one are read all the same.
    assert!(jws::verify::<C>(text, |_| None, key::verify).is_err());
    let signed = text.rsplit_once('.').map_or(text, |(signed, _)| signed);
    let _ = SigningInput::parse(signed).map(|input| input.claims::<C>());
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    refused::<ActivationCertificate>(text);
    refused::<DeactivationTicket>(text);
    refused::<DeactivationProof>(text);
    refused::<DeactivationReceipt>(text);
    refused::<UpgradeCode>(text);
    refused::<UnlockCode>(text);
    refused::<ReleaseManifest>(text);
    refused::<KeyList>(text);
});
