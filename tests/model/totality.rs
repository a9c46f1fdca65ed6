//! G9, I14: whatever is sent to whatever method by whomever, there is one defined status, and a refusal changes nothing.
//!
//! Messages that are right by type, damaged ones, bodies that are no messages, and sequences in which what was answered is sent again
//! elsewhere: 20,000 calls in all. The long run: `UPKEEP_G9_CALLS=2_500_000 cargo test --workspace --test model g9`, four times as many.

use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tonic::{Code, Status};
use tower::Service;
use upkeep::rpc::v1;
use upkeep_server::pki::Role;

use crate::grammar::{Dice, Grammar, Pool, call};
use crate::size;
use crate::world::{
    As, CODED, DONGLE, DONGLE_NUMBER, Device, MAIL, NSP, PASSWORD, World, defined, details,
    fresh_id, new_chip, run,
};

/// Everybody who can call.
fn callers(world: &World) -> Vec<As> {
    vec![
        world.anyone(),
        world.named(Role::Partner, "acme"),
        world.named(Role::Partner, "other"),
        world.named(Role::Support, "eva"),
        world.named(Role::Admin, "root"),
    ]
}

/// A world in which something is going on, and the words that calls about it use.
async fn busy() -> (World, Pool) {
    let world = World::selling().await;
    let device = Device::new(1);
    let mut pool = Pool::default();
    let texts = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    pool.text_of(
        "serial",
        texts(&[NSP, CODED, MAIL, DONGLE, " nsp-0001", "NO-0000"]),
    );
    pool.text_of("password", texts(&[PASSWORD, "wrong horse battery"]));
    pool.text_of("dongle_number", texts(&[DONGLE_NUMBER, "d-9"]));
    pool.text_of("product_id", texts(&["label", "mail", "volocity", "none"]));
    pool.text_of("programme_id", texts(&["teklynx-sma", "none"]));
    pool.text_of("partner_id", texts(&["acme", "other", "none", ""]));
    pool.text_of("customer_id", texts(&["buyer", "none", "new"]));
    pool.text_of("version", texts(&["1.0", "2.0", "3.0"]));
    pool.text_of("target_version", texts(&["1.0", "2.0", "3.0", ""]));
    pool.text_of("license_type", texts(&["single-user"]));
    pool.text_of("edition", texts(&["pro"]));
    pool.text_of("email", texts(&["a@example.com"]));
    pool.text_of("reason", texts(&["because"]));
    pool.text_of("display_name", texts(&["Somebody"]));
    pool.text_of(
        "purchase_date",
        texts(&["2025-01-15", "9999-12-31", "1970-01-01"]),
    );
    pool.text_of(
        "build_date",
        texts(&["2025-01-15", "9999-12-31", "1970-01-01"]),
    );
    pool.text_of(
        "first_date",
        texts(&["", "2026-01-15", "9999-12-31", "1970-01-01"]),
    );
    pool.text_of("query", texts(&[NSP, "buyer", "acme", DONGLE_NUMBER]));
    pool.text_of("release_manifest", texts(&[""]));
    pool.text_of("page_token", texts(&["", "AAAA"]));
    pool.text_of("device_thumbprint", [device.thumbprint(), String::new()]);
    pool.text_of("request_id", (0..8).map(|_| fresh_id()));
    for serial in [NSP, CODED, MAIL] {
        let seat = world.activate(serial, &device).await;
        let other = world.ticket_by_support(&seat.activation_id).await;
        pool.text_of("activation_id", [seat.activation_id.clone()]);
        pool.text_of("query", [seat.activation_id]);
        pool.text_of("product_code", [seat.product_code]);
        pool.text_of("proof", [device.proof(&other), other, seat.certificate]);
        if let Some(v1::credential::Secret::ActivationCode(code)) =
            world.credential(serial).await.secret
        {
            pool.text_of("activation_code", [code.clone()]);
            pool.text_of("code", [code]);
        }
    }
    let request = v1::CreateUpdateRequestRequest {
        request_id: fresh_id(),
        serial: DONGLE.to_owned(),
        credential: Some(world.credential(DONGLE).await),
        details: Some(details()),
    };
    let asked = world.send(crate::sent::Sent::Ask(request)).await.unwrap();
    pool.text_of("update_request_id", [asked.id]);
    let Some(v1::device_key::Key::SoftwareSpki(spki)) = device.key().key else {
        unreachable!()
    };
    pool.bytes_of("software_spki", spki.clone());
    pool.bytes_of("build_key_spki", spki);
    pool.bytes_of("build_key_spki", Vec::new());
    let mut chip = new_chip();
    let key = chip.prepare(0x0180_0001);
    let asked = world.enroll_request(CODED, &mut chip, &key).await;
    pool.bytes_of("challenge", asked.challenge.clone());
    if let Some(v1::begin_enrollment_request::Evidence::Tpm(tpm)) = asked.evidence {
        pool.bytes_of("ek_certificates", tpm.ek_certificates[0].clone());
        pool.bytes_of("ak_public", tpm.ak_public);
        pool.bytes_of("device_public", tpm.device_public);
        pool.bytes_of("nv_public", tpm.nv_public);
        for said in [tpm.key_certification, tpm.counter_certification] {
            let said = said.unwrap();
            pool.bytes_of("attest", said.attest);
            pool.bytes_of("signature", said.signature);
        }
    }
    let mut seat = world.activate_chip(MAIL).await;
    pool.text_of("activation_id", [seat.activation_id.clone()]);
    pool.text_of("proof", [seat.retire().to_text()]);
    pool.bytes_of("secret", vec![7; 32]);
    for purpose in [v1::ChallengePurpose::Activate, v1::ChallengePurpose::Redeem] {
        pool.bytes_of("challenge", world.challenge(purpose).await);
    }
    pool.bytes_of("signature", vec![7; 64]);
    (world, pool)
}

/// Judges an answer: a status that is defined, and nothing changed unless it was granted. Says whether it was.
fn judge(
    world: &World,
    before: &[(Vec<u8>, Vec<u8>)],
    answer: Result<Vec<u8>, Status>,
    what: &str,
) -> bool {
    let Err(status) = answer else {
        return true;
    };
    if status.code() == Code::OutOfRange && status.message().contains("message length too large") {
        // tonic's own limit on messages, before anything is read.
        assert!(before == world.substance(), "{what}: changed");
        return false;
    }
    if let Err(why) = defined(&status) {
        panic!("{what}: {why}: {status:?}");
    }
    assert!(
        before == world.substance(),
        "{what}: refused, and changed: {status:?}"
    );
    false
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    }
}

/// Worlds of this many calls each: none grows so full that looking at all of it takes the time.
const WORLD: usize = 700;

fn worlds() -> Config {
    let calls = size("UPKEEP_G9_CALLS", 5_600);
    config(u32::try_from(calls.div_ceil(WORLD)).unwrap())
}

fn say(which: &str) {
    let calls = worlds().cases as usize * WORLD;
    println!("G9: {calls} calls {which}, each with a defined answer");
}

#[test]
fn g9_every_message_that_is_right_by_type_has_a_defined_answer() {
    let grammar = Grammar::read();
    assert!(grammar.methods.len() > 40, "all five services");
    TestRunner::new(worlds())
        .run(&any::<u64>(), |seed| {
            run(async {
                let (world, pool) = busy().await;
                let mut dice = Dice(seed);
                let callers = callers(&world);
                let mut granted = 0;
                for _ in 0..WORLD {
                    let method = dice.one(&grammar.methods);
                    let message = grammar.request(method, &pool, &mut dice);
                    let who = dice.one(&callers).clone();
                    let before = world.substance();
                    let answer = call(who, &method.path(), message).await;
                    granted += u32::from(judge(&world, &before, answer, &method.path()));
                }
                assert!(granted > 20, "only {granted} calls of {WORLD} went through");
                world.check_records();
            });
            Ok(())
        })
        .unwrap();
    say("right by type");
}

#[test]
fn g9_every_damaged_message_has_a_defined_answer() {
    let grammar = Grammar::read();
    TestRunner::new(worlds())
        .run(&any::<u64>(), |seed| {
            run(async {
                let (world, pool) = busy().await;
                let mut dice = Dice(seed);
                let callers = callers(&world);
                for _ in 0..WORLD {
                    let method = dice.one(&grammar.methods);
                    let mut message = grammar.request(method, &pool, &mut dice);
                    for _ in 0..=dice.below(3) {
                        damage(&mut message, &mut dice);
                    }
                    let who = dice.one(&callers).clone();
                    let before = world.substance();
                    let answer = call(who, &method.path(), message).await;
                    judge(&world, &before, answer, &method.path());
                }
                world.check_records();
            });
            Ok(())
        })
        .unwrap();
    say("damaged");
}

/// What was answered is sent again, by others, to other methods, in any order.
#[test]
fn g9_every_sequence_has_defined_answers() {
    let grammar = Grammar::read();
    TestRunner::new(worlds())
        .run(&any::<u64>(), |seed| {
            run(async {
                let (world, mut pool) = busy().await;
                let mut dice = Dice(seed);
                let callers = callers(&world);
                let mut granted = 0;
                for number in 0..WORLD {
                    let method = dice.one(&grammar.methods);
                    let mut message = grammar.request(method, &pool, &mut dice);
                    if dice.below(8) == 0 {
                        damage(&mut message, &mut dice);
                    }
                    if number % 100 == 99 {
                        world.pass_days(i64::try_from(dice.below(90)).unwrap());
                    }
                    let who = dice.one(&callers).clone();
                    let before = world.substance();
                    let answer = call(who, &method.path(), message).await;
                    if let Ok(answer) = &answer {
                        grammar.learn(method, answer, &mut pool);
                    }
                    granted += u32::from(judge(&world, &before, answer, &method.path()));
                }
                assert!(granted > 20, "only {granted} calls went through");
                world.check_records();
            });
            Ok(())
        })
        .unwrap();
    say("in any order");
}

fn damage(message: &mut Vec<u8>, dice: &mut Dice) {
    let length = message.len() as u64;
    match dice.below(4) {
        0 => message.truncate(dice.below(length + 1) as usize),
        1 => message.extend((0..dice.below(20)).map(|_| dice.byte())),
        2 => *message = (0..dice.below(200)).map(|_| dice.byte()).collect(),
        _ if length > 0 => message[dice.below(length) as usize] = dice.byte(),
        _ => {}
    }
}

/// Not even the frame around the message is right.
#[test]
fn g9_every_body_has_a_defined_answer() {
    let grammar = Grammar::read();
    let bodies: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 0, 9],
        vec![0, 0, 0, 0, 9, 1, 2],
        vec![0, 0xFF, 0xFF, 0xFF, 0xFF],
        vec![1, 0, 0, 0, 0],
        vec![2, 0, 0, 0, 0],
        vec![0, 0, 0, 0, 1, 0xFF],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        // Groups in groups: a reader that follows them needs a stack as deep.
        [&[0, 0, 0, 0x40, 0][..], &[0x0B; 0x4000]].concat(),
    ];
    run(async {
        let world = World::selling().await;
        for who in callers(&world) {
            for method in &grammar.methods {
                for body in &bodies {
                    let before = world.substance();
                    let answer = post(who.clone(), &method.path(), body.clone()).await;
                    judge(
                        &world,
                        &before,
                        answer,
                        &format!("{} {body:?}", method.path()),
                    );
                }
            }
        }
    });
}

/// Sends any bytes as the body of the HTTP request.
async fn post(mut who: As, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Status> {
    let body = http_body_util::Full::new(prost::bytes::Bytes::from(body));
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(body))
        .unwrap();
    let response = who.call(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = Status::from_header_map(&head.headers)
        .or_else(|| Status::from_header_map(&trailers))
        .unwrap();
    match status.code() {
        Code::Ok => Ok(body.to_bytes().to_vec()),
        _ => Err(status),
    }
}
