//! Bad artefacts by name, each with the one check that must refuse it (RFC 8725; RFC 7515 section 10).

use aws_lc_rs::hmac;
use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD};
use p256::ecdsa::Signature;
use serde_json::{Value, json};
use upkeep::jws::Typ;
use upkeep::key::SigningKey;

use crate::samples::{self, certificate, key, public, seal};

/// A text that `wanted` must not be read from.
pub(crate) struct Bad {
    pub(crate) name: &'static str,
    pub(crate) wanted: Typ,
    pub(crate) text: String,
    /// The variant of the error.
    pub(crate) error: &'static str,
}

/// The same signature with `n - s` for `s`: valid too, and what a TPM may send.
pub(crate) fn high_s(text: &str) -> String {
    let (signed, signature) = text.rsplit_once('.').expect("parts");
    let signature = BASE64URL_NOPAD
        .decode(signature.as_bytes())
        .expect("base64url");
    let signature = Signature::from_slice(&signature).expect("signature");
    let (r, s) = signature.split_scalars();
    let high = Signature::from_scalars(r, -s).expect("signature");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&high.to_bytes()))
}

pub(crate) fn bad() -> Vec<Bad> {
    let mut all = headers();
    all.extend(signatures());
    all.extend(forms());
    all.extend(claims());
    all
}

fn headers() -> Vec<Bad> {
    let server = key("server");
    let kid = server.public_key().thumbprint().to_string();
    let typ = Typ::Activation.as_str();
    let with = |name, error, header: Value| {
        entry(
            name,
            error,
            raw(header.to_string().as_bytes(), &payload(), &server),
        )
    };
    let text =
        |name, error, header: &str| entry(name, error, raw(header.as_bytes(), &payload(), &server));
    let stranger = public("stranger").thumbprint().to_string();
    let jwk = serde_json::to_value(public("stranger").to_jwk()).expect("jwk");
    vec![
        with(
            "alg_none",
            "Alg",
            json!({"alg": "none", "kid": kid, "typ": typ}),
        ),
        with(
            "alg_none_capital",
            "Alg",
            json!({"alg": "None", "kid": kid, "typ": typ}),
        ),
        with("alg_missing", "Alg", json!({"kid": kid, "typ": typ})),
        with(
            "alg_lower_case",
            "Alg",
            json!({"alg": "es256", "kid": kid, "typ": typ}),
        ),
        with(
            "alg_es384",
            "Alg",
            json!({"alg": "ES384", "kid": kid, "typ": typ}),
        ),
        with(
            "alg_list",
            "Alg",
            json!({"alg": ["ES256"], "kid": kid, "typ": typ}),
        ),
        with(
            "alg_null",
            "Alg",
            json!({"alg": null, "kid": kid, "typ": typ}),
        ),
        with("typ_missing", "Typ", json!({"alg": "ES256", "kid": kid})),
        with(
            "typ_jwt",
            "Typ",
            json!({"alg": "ES256", "kid": kid, "typ": "JWT"}),
        ),
        with(
            "typ_media_type",
            "Typ",
            json!({"alg": "ES256", "kid": kid, "typ": format!("application/{typ}")}),
        ),
        with(
            "typ_capital",
            "Typ",
            json!({"alg": "ES256", "kid": kid, "typ": typ.to_uppercase()}),
        ),
        entry("typ_swapped", "Typ", seal(&samples::ticket(), &server)),
        with("kid_missing", "Kid", json!({"alg": "ES256", "typ": typ})),
        with(
            "kid_not_a_thumbprint",
            "Kid",
            json!({"alg": "ES256", "kid": "server", "typ": typ}),
        ),
        with(
            "kid_path",
            "Kid",
            json!({"alg": "ES256", "kid": "../../dev/null", "typ": typ}),
        ),
        with(
            "kid_padded",
            "Kid",
            json!({"alg": "ES256", "kid": format!("{kid}="), "typ": typ}),
        ),
        with(
            "kid_of_another_trusted_key",
            "Signature",
            json!({"alg": "ES256", "kid": public("build").thumbprint(), "typ": typ}),
        ),
        entry(
            "kid_unknown",
            "UnknownKey",
            seal(&certificate(), &key("stranger")),
        ),
        with(
            "kid_unknown_signed_by_us",
            "UnknownKey",
            json!({"alg": "ES256", "kid": stranger, "typ": typ}),
        ),
        with(
            "jwk_in_header",
            "HeaderMember",
            json!({"alg": "ES256", "jwk": jwk, "kid": kid, "typ": typ}),
        ),
        with(
            "jku_in_header",
            "HeaderMember",
            json!({"alg": "ES256", "jku": "https://evil.example/jwks", "kid": kid, "typ": typ}),
        ),
        with(
            "x5c_in_header",
            "HeaderMember",
            json!({"alg": "ES256", "x5c": ["AAAA"], "kid": kid, "typ": typ}),
        ),
        with(
            "crit_in_header",
            "HeaderMember",
            json!({"alg": "ES256", "crit": ["b64"], "b64": false, "kid": kid, "typ": typ}),
        ),
        with(
            "cty_in_header",
            "HeaderMember",
            json!({"alg": "ES256", "cty": "JWT", "kid": kid, "typ": typ}),
        ),
        with("header_list", "Header", json!(["ES256", kid, typ])),
        text(
            "header_member_twice",
            "Repeated",
            &format!(r#"{{"alg":"none","alg":"ES256","kid":"{kid}","typ":"{typ}"}}"#),
        ),
        text(
            "header_with_more_after_it",
            "Header",
            &format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"{typ}"}}{{}}"#),
        ),
        text("header_empty", "Header", ""),
        text("header_not_json", "Header", "alg=ES256"),
        text("header_nul", "Header", "\0"),
    ]
}

fn signatures() -> Vec<Bad> {
    let good = seal(&certificate(), &key("server"));
    let (signed, signature) = good.rsplit_once('.').expect("parts");
    let bytes = BASE64URL_NOPAD
        .decode(signature.as_bytes())
        .expect("base64url");
    let with = |name, error, bytes: &[u8]| {
        entry(
            name,
            error,
            format!("{signed}.{}", BASE64URL_NOPAD.encode(bytes)),
        )
    };
    let der = Signature::from_slice(&bytes).expect("signature").to_der();
    let kid = public("server").thumbprint();
    let header = format!(r#"{{"alg":"HS256","kid":"{kid}","typ":"upkeep-activation+jwt"}}"#);
    let hs256 = input(header.as_bytes(), &payload());
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &public("server").to_spki_der());
    let tag = hmac::sign(&secret, hs256.as_bytes());
    let zero_r = [&[0; 32], &bytes[32..]].concat();
    let order = data_encoding::HEXLOWER
        .decode(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
        .expect("hex");
    vec![
        entry(
            "hs256_with_our_public_key",
            "Alg",
            format!("{hs256}.{}", BASE64URL_NOPAD.encode(tag.as_ref())),
        ),
        with("signature_empty", "SignatureForm", &[]),
        with("signature_der", "SignatureForm", der.as_bytes()),
        with("signature_short", "SignatureForm", &bytes[..63]),
        with(
            "signature_long",
            "SignatureForm",
            &[bytes.as_slice(), &[0]].concat(),
        ),
        with("signature_zeros", "Signature", &[0; 64]),
        with("signature_r_zero", "Signature", &zero_r),
        with(
            "signature_r_is_the_order",
            "Signature",
            &[&order, &bytes[32..]].concat(),
        ),
        with(
            "signature_s_is_the_order",
            "Signature",
            &[&bytes[..32], &order].concat(),
        ),
        with(
            "signature_swapped_halves",
            "Signature",
            &[&bytes[32..], &bytes[..32]].concat(),
        ),
        entry(
            "signature_of_another_artefact",
            "Signature",
            format!(
                "{signed}.{}",
                seal(&samples::ticket(), &key("server"))
                    .rsplit_once('.')
                    .expect("parts")
                    .1
            ),
        ),
    ]
}

fn forms() -> Vec<Bad> {
    let good = seal(&certificate(), &key("server"));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, body, signature] = parts[..] else {
        unreachable!("three parts")
    };
    let server = key("server");
    // Signed over the text as it stands, so that only the strict reading can refuse it.
    let signed = |name, error, header: &str, body: &str| {
        let input = format!("{header}.{body}");
        let signature = server.sign(input.as_bytes());
        entry(
            name,
            error,
            format!("{input}.{}", BASE64URL_NOPAD.encode(&signature)),
        )
    };
    let padded = BASE64URL.encode(&[payload(), b" ".to_vec()].concat());
    let spaced: Vec<u8> = [payload(), vec![b' '; 3 - payload().len() % 3 + 1]].concat();
    let stray = stray_bit(&BASE64URL_NOPAD.encode(&spaced));
    vec![
        entry("empty", "Parts", String::new()),
        entry("two_parts", "Parts", format!("{header}.{body}")),
        entry("four_parts", "Parts", format!("{good}.{signature}")),
        entry("only_dots", "Header", "..".to_owned()),
        entry(
            "json_serialization",
            "Parts",
            json!({"protected": header, "payload": body, "signature": signature}).to_string(),
        ),
        entry("blank_before", "Header", format!(" {good}")),
        entry("newline_after", "SignatureForm", format!("{good}\n")),
        entry("nul_after", "SignatureForm", format!("{good}\0")),
        entry("signature_padded", "SignatureForm", format!("{good}==")),
        entry(
            "signature_noncanonical_base64",
            "SignatureForm",
            stray_bit(&good),
        ),
        signed("header_padded", "Header", &format!("{header}="), body),
        signed("header_nul_inside", "Header", &format!("{header}\0"), body),
        signed("payload_padded", "Payload", header, &padded),
        signed("payload_noncanonical_base64", "Payload", header, &stray),
        signed(
            "payload_newline_inside",
            "Payload",
            header,
            &format!("{body}\n"),
        ),
        signed(
            "payload_standard_alphabet",
            "Payload",
            header,
            &BASE64.encode(b"{\"a\":\"\xc3\xbf\xc3\xbf>>>\"}"),
        ),
        signed("payload_empty", "Payload", header, ""),
    ]
}

fn claims() -> Vec<Bad> {
    let good = serde_json::to_value(certificate()).expect("claims");
    let with = |name, error, path: &str, value: Value| {
        let mut claims = good.clone();
        let (parent, member) = path.rsplit_once('/').expect("path");
        let parent = claims.pointer_mut(parent).and_then(Value::as_object_mut);
        parent.expect("parent").insert(member.to_owned(), value);
        signed_claims(Typ::Activation, name, error, claims.to_string().as_bytes())
    };
    let without = |name, member: &str| {
        let mut claims = good.clone();
        claims
            .as_object_mut()
            .expect("object")
            .remove(member)
            .expect("member");
        signed_claims(
            Typ::Activation,
            name,
            "Claims",
            claims.to_string().as_bytes(),
        )
    };
    let text = |name, error, claims: &[u8]| signed_claims(Typ::Activation, name, error, claims);
    let good_text = good.to_string();
    let twice = good_text.replacen('{', r#"{"seats":9,"#, 1);
    let twice_inside = good_text.replacen(r#""jkt":"#, r#""jkt":"x","jkt":"#, 1);
    let mut upgrade = serde_json::to_value(samples::upgrade(upkeep::artefact::BoundTo::DeviceKey(
        public("device").thumbprint(),
    )))
    .expect("claims");
    let upgrade = upgrade.as_object_mut().expect("object");
    upgrade.insert("dongle_number".to_owned(), json!("d-4711"));
    let both = json!(upgrade).to_string();
    upgrade.remove("dongle_number");
    upgrade.remove("cnf");
    let neither = json!(upgrade).to_string();
    let counter = json!([format!("000b{}", "5a".repeat(32)), 7]);
    vec![
        with("unknown_claim", "Claims", "/admin", json!(true)),
        with("unknown_claim_inside", "Claims", "/cnf/jwk", json!({})),
        with("nbf_claim", "Claims", "/nbf", json!(0)),
        without("missing_claim", "sub"),
        without("missing_cnf", "cnf"),
        without("missing_seats", "seats"),
        with("null_for_absent", "Claims", "/dongle_number", json!(null)),
        with(
            "list_for_object",
            "Claims",
            "/cnf",
            json!([public("device").thumbprint()]),
        ),
        with("list_for_counter", "Claims", "/counter", counter),
        with("exp_as_text", "Claims", "/exp", json!("1800000000")),
        with("iat_negative", "Claims", "/iat", json!(-1)),
        with("iat_fraction", "Payload", "/iat", json!(1.5)),
        with("seats_too_many", "Claims", "/seats", json!(1_u64 << 32)),
        with("flag_as_number", "Claims", "/virtual_environment", json!(1)),
        with("serial_in_lower_case", "Claims", "/sub", json!("nsp-0042")),
        with("serial_with_blanks", "Claims", "/sub", json!(" NSP-0042 ")),
        with(
            "id_without_dashes",
            "Claims",
            "/jti",
            json!("0198f1c25b7e7cc08a363f0d3f6f2a11"),
        ),
        with(
            "id_in_upper_case",
            "Claims",
            "/jti",
            json!("0198F1C2-5B7E-7CC0-8A36-3F0D3F6F2A11"),
        ),
        with(
            "day_that_does_not_exist",
            "Claims",
            "/maintenance_last_day",
            json!("2026-02-29"),
        ),
        with(
            "day_with_time",
            "Claims",
            "/maintenance_last_day",
            json!("2026-08-31T00:00:00Z"),
        ),
        with(
            "assurance_unknown",
            "Claims",
            "/assurance",
            json!("platinum"),
        ),
        with("issuer_with_newline", "Claims", "/iss", json!("a\nb")),
        text("claim_twice", "Repeated", twice.as_bytes()),
        text("claim_twice_inside", "Repeated", twice_inside.as_bytes()),
        text("claims_list", "Payload", b"[]"),
        text("claims_not_utf8", "Payload", b"{\"iss\":\"\xff\"}"),
        text("claims_nul", "Payload", b"\0"),
        text(
            "claims_more_after",
            "Payload",
            format!("{good_text}{good_text}").as_bytes(),
        ),
        text("claims_deep", "Payload", &b"[".repeat(10_000)),
        text(
            "claims_of_a_ticket",
            "Claims",
            json!(samples::ticket()).to_string().as_bytes(),
        ),
        signed_claims(
            Typ::Upgrade,
            "upgrade_with_both_bindings",
            "Claims",
            both.as_bytes(),
        ),
        signed_claims(
            Typ::Upgrade,
            "upgrade_without_binding",
            "Claims",
            neither.as_bytes(),
        ),
    ]
}

fn signed_claims(wanted: Typ, name: &'static str, error: &'static str, claims: &[u8]) -> Bad {
    let server = key("server");
    let kid = server.public_key().thumbprint();
    let header = format!(
        r#"{{"alg":"ES256","kid":"{kid}","typ":"{}"}}"#,
        wanted.as_str()
    );
    let text = raw(header.as_bytes(), claims, &server);
    Bad {
        name,
        wanted,
        text,
        error,
    }
}

fn entry(name: &'static str, error: &'static str, text: String) -> Bad {
    Bad {
        name,
        wanted: Typ::Activation,
        text,
        error,
    }
}

fn payload() -> Vec<u8> {
    serde_json::to_vec(&certificate()).expect("claims")
}

fn input(header: &[u8], payload: &[u8]) -> String {
    format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header),
        BASE64URL_NOPAD.encode(payload)
    )
}

/// Any header and payload under a good signature.
pub(crate) fn raw(header: &[u8], payload: &[u8], key: &SigningKey) -> String {
    let input = input(header, payload);
    let signature = key.sign(input.as_bytes());
    format!("{input}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// Sets the lowest of the bits of the last symbol that carry nothing.
fn stray_bit(text: &str) -> String {
    const SYMBOLS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = text.chars().last().expect("a symbol");
    let value = SYMBOLS.find(last).expect("a symbol");
    assert_eq!(value % 4, 0, "the last symbol has stray bits");
    let stray = SYMBOLS.chars().nth(value + 1).expect("a symbol");
    format!("{}{stray}", &text[..text.len() - 1])
}
