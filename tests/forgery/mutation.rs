//! The ways to change a signed artefact, or to make one without the key.

use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD};
use p256::ecdsa::Signature;
use serde_json::{Value, json};
use upkeep::key::SigningKey;

use crate::Dice;
use crate::samples::{self, Sample};

/// What an attacker does. The name is what the table of verdicts calls it.
pub(crate) type Way = (&'static str, fn(&Sample, &[Sample], &mut Dice) -> String);

/// Every way; each gives another mutant each time it is asked, as the dice fall.
pub(crate) const WAYS: [Way; 20] = [
    ("byte changed", byte_changed),
    ("byte left out", byte_left_out),
    ("byte put in", byte_put_in),
    ("bytes said twice", bytes_twice),
    ("cut", cut),
    ("parts of two", parts_of_two),
    ("claim changed, signature kept", claim_changed),
    (
        "claim of another artefact, signature kept",
        claim_of_another,
    ),
    ("claim left out, signature kept", claim_left_out),
    ("claim twice, signature kept", claim_twice),
    ("claims signed by another key", signed_by_another),
    (
        "claims signed by another key that takes the name",
        signed_in_the_name,
    ),
    ("another typ, signature kept", another_typ),
    ("header game, signature kept", header_game),
    ("header game, signed by another key", header_game_signed),
    ("signature of something else", signature_of_another),
    ("numbers of a signature", signature_numbers),
    ("signature in DER", signature_der),
    ("base64 in other clothes", base64_dressed),
    ("high s", high_s),
];

fn parts(text: &str) -> [&str; 3] {
    let mut parts = text.split('.');
    [(); 3].map(|()| parts.next().unwrap())
}

fn json_of(part: &str) -> Value {
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

fn byte_changed(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let mut bytes = of.text.clone().into_bytes();
    let at = dice.below(bytes.len());
    bytes[at] = *dice.one(b"ABCabc019-_.=+/ \n\0");
    String::from_utf8(bytes).unwrap()
}

fn byte_left_out(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let mut text = of.text.clone();
    text.remove(dice.below(of.text.len()));
    text
}

fn byte_put_in(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let mut text = of.text.clone();
    let new = *dice.one(&['A', '_', '.', '=', '\n', ' ', '\0', 'é']);
    text.insert(dice.below(of.text.len() + 1), new);
    text
}

fn bytes_twice(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let from = dice.below(of.text.len());
    let to = (from + 1 + dice.below(40)).min(of.text.len());
    format!("{}{}", &of.text[..to], &of.text[from..])
}

fn cut(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    of.text[..dice.below(of.text.len())].to_owned()
}

fn parts_of_two(of: &Sample, all: &[Sample], dice: &mut Dice) -> String {
    let (own, others) = (parts(&of.text), parts(&dice.one(all).text));
    let pick = 1 + dice.below(6);
    let chosen = [0, 1, 2].map(|n| {
        if pick >> n & 1 == 1 {
            others[n]
        } else {
            own[n]
        }
    });
    chosen.join(".")
}

/// Replaces the payload under the old signature.
fn with_claims(of: &Sample, change: impl FnOnce(&mut Value)) -> String {
    let [header, payload, signature] = parts(&of.text);
    let mut claims = json_of(payload);
    change(&mut claims);
    format!("{header}.{}.{signature}", encoded(claims.to_string()))
}

fn a_member(claims: &Value, dice: &mut Dice) -> String {
    let names: Vec<&String> = claims.as_object().unwrap().keys().collect();
    (*dice.one(&names)).clone()
}

/// Another value that fits: more seats, a later day, another device.
fn raised(value: &Value, dice: &mut Dice) -> Value {
    match value {
        Value::Number(number) => json!(number.as_u64().unwrap() + 1 + dice.below(1_000) as u64),
        Value::Bool(flag) => json!(!flag),
        Value::String(text) => {
            let others = [
                "2099-12-31",
                "NSP-9999",
                "hardware",
                "99.0",
                "",
                "d-9",
                "other-product",
                "0198f1c2-5b7e-7cc0-8a36-000000000001",
            ];
            match dice.below(3) {
                0 => json!(text.chars().rev().collect::<String>()),
                _ => json!(dice.one(&others)),
            }
        }
        Value::Array(_) => json!(["everything"]),
        Value::Object(_) => json!({"jkt": samples::public("stranger").thumbprint()}),
        Value::Null => json!(1),
    }
}

fn claim_changed(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    with_claims(of, |claims| {
        let name = a_member(claims, dice);
        claims[&name] = raised(&claims[&name], dice);
    })
}

fn claim_of_another(of: &Sample, all: &[Sample], dice: &mut Dice) -> String {
    let other = json_of(parts(&dice.one(all).text)[1]);
    with_claims(of, |claims| {
        let name = a_member(&other, dice);
        claims[&name] = other[&name].clone();
    })
}

fn claim_left_out(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    with_claims(of, |claims| {
        let name = a_member(claims, dice);
        claims.as_object_mut().unwrap().remove(&name);
    })
}

fn claim_twice(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let [header, payload, signature] = parts(&of.text);
    let claims = json_of(payload);
    let name = a_member(&claims, dice);
    let again = format!("{}:{}", json!(name), raised(&claims[&name], dice));
    let text = claims.to_string();
    let twice = match dice.below(2) {
        0 => text.replacen('{', &format!("{{{again},"), 1),
        _ => format!("{},{again}}}", &text[..text.len() - 1]),
    };
    format!("{header}.{}.{signature}", encoded(twice))
}

/// A key that does not sign what this sample is.
fn another_key(of: &Sample, dice: &mut Dice) -> SigningKey {
    let server = ["server", "server_before"];
    let others: Vec<&str> = samples::KEYS
        .into_iter()
        .filter(|name| {
            *name != of.signer && !(server.contains(name) && server.contains(&of.signer))
        })
        .collect();
    let name: &&str = dice.one(&others);
    samples::key(name)
}

fn sealed(header: &str, payload: &str, key: &SigningKey) -> String {
    let input = format!("{}.{}", encoded(header), encoded(payload));
    format!("{input}.{}", encoded(key.sign(input.as_bytes())))
}

fn signed_by_another(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let key = another_key(of, dice);
    let header = json!({
        "alg": "ES256", "kid": key.public_key().thumbprint(), "typ": of.typ.as_str(),
    });
    let mut claims = json_of(parts(&of.text)[1]);
    if dice.below(2) == 0 {
        let name = a_member(&claims, dice);
        claims[&name] = raised(&claims[&name], dice);
    }
    sealed(&header.to_string(), &claims.to_string(), &key)
}

fn signed_in_the_name(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let header = json_of(parts(&of.text)[0]);
    let mut claims = json_of(parts(&of.text)[1]);
    let name = a_member(&claims, dice);
    claims[&name] = raised(&claims[&name], dice);
    let key = another_key(of, dice);
    sealed(&header.to_string(), &claims.to_string(), &key)
}

/// The same with one member of the header changed.
fn with_header(of: &Sample, change: impl FnOnce(&mut Value)) -> String {
    let [header, payload, signature] = parts(&of.text);
    let mut members = json_of(header);
    change(&mut members);
    format!("{}.{payload}.{signature}", encoded(members.to_string()))
}

fn another_typ(of: &Sample, all: &[Sample], dice: &mut Dice) -> String {
    let others = [
        "JWT",
        "jwt",
        "",
        "application/upkeep-release+jwt",
        "UPKEEP-RELEASE+JWT",
        dice.one(all).typ.as_str(),
    ];
    let typ = *dice.one(&others);
    with_header(of, |members| members["typ"] = json!(typ))
}

/// A header that asks for less, or brings its own key.
fn played(of: &Sample, dice: &mut Dice, key: &SigningKey) -> Value {
    let mut members = json_of(parts(&of.text)[0]);
    let jwk: Value = serde_json::to_value(key.public_key().to_jwk()).unwrap();
    let games = [
        ("alg", json!("none")),
        ("alg", json!("None")),
        ("alg", json!("HS256")),
        ("alg", json!("ES256K")),
        ("alg", json!("ES384")),
        ("alg", json!("es256")),
        ("alg", json!(["ES256"])),
        ("alg", json!(null)),
        ("jwk", jwk),
        ("jku", json!("https://attacker.example/keys")),
        ("x5u", json!("https://attacker.example/chain")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("AAAA")),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("cty", json!("JWT")),
        ("kid", json!(key.public_key().thumbprint())),
        ("kid", json!("../../dev/null")),
        ("kid", json!("")),
        ("kid", json!(null)),
        ("kid", json!(0)),
    ];
    let (name, value) = dice.one(&games);
    members[*name] = value.clone();
    members
}

fn header_game(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let key = another_key(of, dice);
    let [_, payload, signature] = parts(&of.text);
    let header = played(of, dice, &key).to_string();
    let signature = match dice.below(3) {
        0 => "",
        _ => signature,
    };
    format!("{}.{payload}.{signature}", encoded(header))
}

fn header_game_signed(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let key = another_key(of, dice);
    let mut header = played(of, dice, &key).to_string();
    if dice.below(3) == 0 {
        // A reader that takes the last of two, or the first, reads another name than the one that is checked.
        let own = json_of(parts(&of.text)[0])["kid"].clone();
        header = header.replacen('{', &format!("{{\"kid\":{own},"), 1);
    }
    let claims = json_of(parts(&of.text)[1]).to_string();
    sealed(&header, &claims, &key)
}

fn signature_of_another(of: &Sample, all: &[Sample], dice: &mut Dice) -> String {
    let [header, payload, _] = parts(&of.text);
    // The same key over other bytes, or the same bytes by another key.
    let signature = match dice.below(2) {
        0 => parts(&dice.one(all).text)[2].to_owned(),
        _ => encoded(another_key(of, dice).sign(format!("{header}.{payload}").as_bytes())),
    };
    format!("{header}.{payload}.{signature}")
}

/// The order of P-256.
const N: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn signature_numbers(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let [header, payload, signature] = parts(&of.text);
    let own = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let mut one = [0; 32];
    one[31] = 1;
    // Nothing, one, the order and what stands beyond it, in either place; and the two numbers exchanged.
    let numbers: [&[u8]; 6] = [&[0; 32], &one, &N, &[0xff; 32], &own[..32], &own[32..]];
    let pair = loop {
        let pair = [*dice.one(&numbers), *dice.one(&numbers)].concat();
        if pair != own {
            break pair;
        }
    };
    format!("{header}.{payload}.{}", encoded(pair))
}

fn signature_der(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let [header, payload, signature] = parts(&of.text);
    let own = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let der = Signature::from_slice(&own).unwrap().to_der();
    let mut der = der.as_bytes().to_vec();
    match dice.below(3) {
        0 => der.extend([0; 8]),
        1 => der.truncate(64),
        _ => {}
    }
    format!("{header}.{payload}.{}", encoded(der))
}

/// The same bytes, spelt as a careless reader would take them.
fn base64_dressed(of: &Sample, _: &[Sample], dice: &mut Dice) -> String {
    let spelt = parts(&of.text);
    let at = dice.below(3);
    let bytes = BASE64URL_NOPAD.decode(spelt[at].as_bytes()).unwrap();
    let new = match dice.below(6) {
        0 => format!("{}=", spelt[at]),
        1 => format!("{}==", spelt[at]),
        2 => BASE64URL.encode(&bytes) + "=",
        3 => BASE64.encode(&bytes) + "\n",
        4 => format!(" {}", spelt[at]),
        _ => format!("{}\n{}", &spelt[at][..4], &spelt[at][4..]),
    };
    let mut dressed = spelt.map(str::to_owned);
    dressed[at] = new;
    dressed.join(".")
}

/// No forgery: the same claims under the other of the two signatures that everybody can make of one.
fn high_s(of: &Sample, _: &[Sample], _: &mut Dice) -> String {
    let (signed, signature) = of.text.rsplit_once('.').unwrap();
    let own = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let (r, s) = Signature::from_slice(&own).unwrap().split_scalars();
    let high = Signature::from_scalars(r, -s).unwrap();
    format!("{signed}.{}", encoded(high.to_bytes()))
}
