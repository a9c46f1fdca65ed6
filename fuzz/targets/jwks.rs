#![no_main]

use upkeep::jwks::KeySet;
use upkeep::key::PublicKey;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(keys) = KeySet::parse(bytes) {
        assert_eq!(KeySet::parse(keys.to_json().as_bytes()), Ok(keys));
    }
    let _ = (PublicKey::from_jwk(bytes), PublicKey::from_spki_der(bytes));
});
