//! Vectors that Python and openssl made (`outside.py`), and the ES256 example of RFC 7515.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use upkeep::code::Code;
use upkeep::key::{PublicKey, SigningKey, Thumbprint};

use crate::VERIFIERS;
use crate::samples::{KEYS, key, seed};

#[test]
fn thumbprints_of_the_rfc_keys() {
    for vector in list("rfc_keys") {
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": vector["x"], "y": vector["y"]});
        let key = PublicKey::from_jwk(jwk.to_string().as_bytes()).expect("a key");
        let thumbprint = Thumbprint::parse(text(&vector, "thumbprint")).expect("a thumbprint");
        assert_eq!(key.thumbprint(), thumbprint, "{}", vector["source"]);
    }
}

#[test]
fn keys_and_signatures_of_openssl() {
    let vectors = list("keys");
    assert_eq!(vectors.len(), KEYS.len());
    for vector in vectors {
        let name = text(&vector, "name");
        let key = key(name);
        let public = key.public_key();
        assert_eq!(bytes(&vector, "seed_hex"), seed(name), "{name}");
        assert_eq!(bytes(&vector, "spki_hex"), public.to_spki_der(), "{name}");
        let jwk = public.to_jwk();
        assert_eq!(
            (text(&vector, "x"), text(&vector, "y")),
            (&*jwk.x, &*jwk.y),
            "{name}"
        );
        assert_eq!(
            text(&vector, "thumbprint"),
            public.thumbprint().to_string(),
            "{name}"
        );
        let message = text(&vector, "message").as_bytes();
        let signature = bytes(&vector, "signature_hex")
            .try_into()
            .expect("64 bytes");
        for verify in VERIFIERS {
            assert!(verify(public, message, &signature), "{name}");
        }
        let dashes = "-----";
        let pem = format!(
            "{dashes}BEGIN PRIVATE KEY{dashes}\n{}\n{dashes}END PRIVATE KEY{dashes}\n",
            text(&vector, "pkcs8_base64")
                .as_bytes()
                .chunks(64)
                .map(String::from_utf8_lossy)
                .collect::<Vec<_>>()
                .join("\n")
        );
        let read = SigningKey::from_pkcs8_pem(&pem).expect("a key of openssl");
        assert_eq!(read.public_key(), public, "{name}");
    }
}

#[test]
fn b_of_python() {
    let vectors = document();
    for (name, digest) in crate::bindings() {
        assert_eq!(vectors["bindings"][name], crate::hex(&digest), "{name}");
    }
}

#[test]
fn codes_of_python() {
    for vector in list("codes") {
        let mac = bytes(&vector, "mac_hex").try_into().expect("32 bytes");
        assert_eq!(Code::from_mac(&mac).to_string(), text(&vector, "code"));
    }
}

#[test]
fn the_es256_example_of_rfc_7515() {
    // Appendix A.3.
    let signed = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let signature = data_encoding::BASE64URL_NOPAD
        .decode(signature.as_bytes())
        .expect("base64url");
    let signature: [u8; 64] = signature.try_into().expect("64 bytes");
    let key = list("rfc_keys").swap_remove(0);
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": key["x"], "y": key["y"]});
    let key = PublicKey::from_jwk(jwk.to_string().as_bytes()).expect("a key");
    for verify in VERIFIERS {
        assert!(verify(&key, signed, &signature));
        assert!(!verify(&key, &signed[1..], &signature));
    }
}

#[test]
fn the_es256_signatures_of_rfc_6979() {
    // Appendix A.2.5, SHA-256: deterministic, so ours are these up to the low s.
    let secret = HEXLOWER
        .decode(b"c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
        .expect("hex");
    let key = SigningKey::from_seed(&secret.try_into().expect("32 bytes")).expect("a key");
    for (message, r) in [
        (
            "sample",
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
        ),
        (
            "test",
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
        ),
    ] {
        let signature = key.sign(message.as_bytes());
        assert_eq!(crate::hex(&signature[..32]), r, "{message}");
    }
}

fn document() -> Value {
    serde_json::from_str(include_str!("outside.json")).expect("outside.json")
}

fn list(name: &str) -> Vec<Value> {
    document()[name].as_array().expect("a list").clone()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect("a text")
}

fn bytes(value: &Value, name: &str) -> Vec<u8> {
    HEXLOWER.decode(text(value, name).as_bytes()).expect("hex")
}
