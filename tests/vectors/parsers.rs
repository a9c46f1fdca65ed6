//! No parser panics, whatever it reads, and what is written is read back: the twins of the fuzz targets.

use data_encoding::BASE64URL_NOPAD;
use proptest::collection::vec;
use proptest::prelude::*;
use upkeep::armor::{self, ArmorError, Label};
use upkeep::artefact::{ActivationCertificate, DeactivationProof, verify_proof};
use upkeep::code::Code;
use upkeep::id::AddOn;
use upkeep::jwks::KeySet;
use upkeep::jws::{self, SigningInput, Typ};
use upkeep::key::{self, PublicKey, SigningKey, Thumbprint};

use crate::samples::{self, parsed, public, signers, trusted};

proptest! {
    #[test]
    fn no_text_panics(text in any_text()) {
        for typ in Typ::ALL {
            prop_assert!(crate::open(typ, &text, &signers(), key::verify).is_err());
        }
        let _ = SigningInput::parse(&text);
        let _ = Code::parse(&text);
        let _ = Thumbprint::parse(&text);
        let _ = SigningKey::from_pkcs8_pem(&text);
        let _ = KeySet::parse(text.as_bytes());
        let _ = armor::read_bytes(text.as_bytes());
        let _ = verify_proof(&text, |_| Some(public("device")), |kid| trusted().get(kid).cloned(), key::verify);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = PublicKey::from_sec1(&bytes);
        let _ = PublicKey::from_spki_der(&bytes);
        let _ = PublicKey::from_jwk(&bytes);
        let _ = KeySet::parse(&bytes);
        let _ = armor::read_bytes(&bytes);
    }

    #[test]
    fn no_signed_payload_panics(payload in prop_oneof![vec(any::<u8>(), 0..400), any_json().prop_map(String::into_bytes)]) {
        let server = samples::key("server");
        let kid = server.public_key().thumbprint();
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"upkeep-activation+jwt"}}"#);
        let text = crate::bad::raw(header.as_bytes(), &payload, &server);
        prop_assert!(crate::open(Typ::Activation, &text, &trusted(), key::verify).is_err());
    }

    #[test]
    fn no_header_panics(header in any_json()) {
        let text = crate::bad::raw(header.as_bytes(), b"{}", &samples::key("server"));
        prop_assert!(crate::open(Typ::Activation, &text, &trusted(), key::verify).is_err());
    }

    #[test]
    fn claims_survive_signing(
        iat in any::<u64>(), exp in any::<Option<u64>>(), generation in any::<u32>(), seats in any::<u32>(),
        add_ons in vec("[a-z0-9][a-z0-9._-]{0,62}", 0..8), machine in any::<bool>(),
    ) {
        let mut claims = samples::certificate();
        (claims.iat, claims.exp, claims.generation, claims.seats) = (iat, exp, generation, seats);
        claims.add_ons = add_ons.iter().map(|name| parsed(AddOn::parse(name))).collect();
        claims.virtual_environment = machine;
        let text = samples::seal(&claims, &samples::key("server"));
        let file = armor::write(&claims, &text);
        let carried = armor::read::<ActivationCertificate>(file.as_bytes()).unwrap();
        let read = jws::verify::<ActivationCertificate>(&carried, |kid| trusted().get(kid).cloned(), key::verify);
        prop_assert_eq!(read.unwrap().into_claims(), claims);
    }

    #[test]
    fn armour_survives_any_content(content in vec(any::<u8>(), 1..2_000), value in ".*") {
        let lines = [("Note", value)];
        let file = armor::write_bytes(Label::HardwareProof, &lines, &content);
        prop_assert_eq!(armor::read_bytes(file.as_bytes()), Ok((Label::HardwareProof, content)));
    }

    #[test]
    fn codes_survive_typing(mac in any::<[u8; 32]>()) {
        let code = Code::from_mac(&mac);
        prop_assert_eq!(Code::parse(&code.to_string().to_lowercase()), Ok(code));
    }

    #[test]
    fn public_keys_survive(seed in any::<[u8; 32]>()) {
        let key = SigningKey::from_seed(&seed).unwrap();
        let set = KeySet::new([key.public_key().clone()]);
        prop_assert_eq!(KeySet::parse(set.to_json().as_bytes()), Ok(set));
    }
}

/// Nothing that is signed is empty, so a file around nothing is none.
#[test]
fn armour_around_nothing_is_refused() {
    let file = armor::write_bytes(Label::HardwareProof, &[("Note", String::new())], &[]);
    assert_eq!(armor::read_bytes(file.as_bytes()), Err(ArmorError::Content));
}

/// Texts of all kinds, among them some that look like artefacts, codes and files.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{86}",
        "[0-9A-Za-z -]{20,40}",
        vec(any_json(), 3).prop_map(|parts| {
            let parts: Vec<String> = parts
                .iter()
                .map(|part| BASE64URL_NOPAD.encode(part.as_bytes()))
                .collect();
            parts.join(".")
        }),
        "-----BEGIN UPKEEP UPGRADE CODE-----\n[A-Za-z0-9+/= \n]{0,200}\n(-----END UPKEEP UPGRADE CODE-----)?",
        mutated_proof(),
    ]
}

/// A good proof with a stretch of it replaced.
fn mutated_proof() -> impl Strategy<Value = String> {
    let text = samples::seal::<DeactivationProof>(&samples::proof(), &samples::key("device"));
    let len = text.len();
    (0..len, "[A-Za-z0-9_.=-]{0,4}!").prop_map(move |(at, new)| {
        let end = (at + new.len()).min(len);
        format!("{}{new}{}", &text[..at], &text[end..])
    })
}

/// Objects of the header's and the claims' own names with odd values.
fn any_json() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "alg|kid|typ|jwk|iss|jti|sub|cnf|counter|add_ons|iat|keys|kty|crv|x|y|d",
        any::<String>()
    ];
    let value = prop_oneof![
        Just("null".to_owned()),
        "-?[0-9]{1,25}",
        "-?[0-9]{1,3}[.e][0-9]{1,3}",
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        Just("\"ES256\"".to_owned()),
        Just("[[[{}]]]".to_owned()),
        Just("{\"jkt\":[]}".to_owned()),
    ];
    vec((name, value), 0..8).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name.as_str())))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}
