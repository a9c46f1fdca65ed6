//! G21: partners and what is not theirs. Every method that a partner may call, about everything that another partner has: refused like
//! what does not exist, and nothing changes (PRT1, PRT2). And what a partner is answered depends on its own data alone (I13).
//!
//! The long run: `UPKEEP_G21_OBJECTS=100 UPKEEP_G21_CALLS=10_000 cargo test --workspace --test model g21`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tonic::{Code, Status};
use tonic_types::StatusExt;
use upkeep::rpc::v1;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;
use upkeep_server::pki::Role;

use crate::grammar::{Dice, Grammar, Method, Pool, call};
use crate::size;
use crate::world::{As, Device, World, defined, details, fresh_id, license, reason, run};

const PARTNERS: [&str; 3] = ["acme", "other", "third"];
const NOBODY: &str = "00000000-0000-4000-8000-ffffffffffff";

/// What a partner has: by the name of the field that asks for it, and how one looks that does not exist.
struct Thing {
    owner: &'static str,
    field: &'static str,
    name: String,
    absent: String,
}

#[test]
fn g21_no_partner_reaches_what_is_anothers() {
    let each = size("UPKEEP_G21_OBJECTS", 18);
    let grammar = Grammar::read();
    run(async {
        let world = World::selling().await;
        let things = populate(&world, each).await;
        let before = world.substance();
        let mut calls = 0;
        let mut met = BTreeSet::new();
        for thing in &things {
            for method in &grammar.methods {
                if !names(&grammar, method, thing.field) {
                    continue;
                }
                for partner in PARTNERS.iter().filter(|partner| **partner != thing.owner) {
                    let own = format!("SM-{}-000", partner.to_uppercase());
                    let who = world.named(Role::Partner, partner);
                    let who = (&who, own.as_str());
                    let foreign = ask(&grammar, method, who, thing.field, &thing.name).await;
                    let what = format!(
                        "{} about the {} {} of {}",
                        method.path(),
                        thing.field,
                        thing.name,
                        thing.owner
                    );
                    let foreign = foreign.expect_err(&format!("{partner} reached {what}"));
                    let expected = match thing.field {
                        "page_token" => Code::InvalidArgument,
                        // Not a quote of the license that the call is about, whoever's it is.
                        "quote_id" if method.name == "PlaceOrder" => Code::NotFound,
                        _ => Code::PermissionDenied,
                    };
                    assert_eq!(foreign.code(), expected, "{what}: {foreign:?}");
                    defined(&foreign).unwrap();
                    calls += 1;
                    met.insert((method.path(), thing.field));
                    if thing.field == "proof" {
                        // A proof names its activation by the device's signature, so there is no absent one.
                        continue;
                    }
                    let absent = ask(&grammar, method, who, thing.field, &thing.absent).await;
                    let absent = told(&absent.unwrap_err(), &thing.absent);
                    assert_eq!(told(&foreign, &thing.name), absent, "{what}");
                    calls += 1;
                }
            }
        }
        assert!(
            before == world.substance(),
            "a refused call changed something"
        );
        world.check_records();
        println!(
            "g21: {calls} calls about what is another's, 0 succeeded; {} kinds of them",
            met.len()
        );
        assert!(calls >= 5_000 || each < 18, "only {calls} calls");
        // Every method that a partner may call names something, but for its own list.
        for method in &grammar.methods {
            let listed =
                method.service == "PartnerService" || method.service == "MaintenanceService";
            let named = met.iter().any(|(path, _)| *path == method.path());
            assert!(!listed || named, "{} was never asked", method.path());
        }
    });
}

/// Whether a call of a partner's names such a thing.
fn names(grammar: &Grammar, method: &Method, field: &str) -> bool {
    let for_partners = ["PartnerService", "MaintenanceService"].contains(&method.service.as_str());
    let asks = grammar.has_field(method, field);
    // A key's number is enough for one call; elsewhere it is a detail of what is looked for.
    let alone = field != "dongle_number" || method.name == "GetUnlockCode";
    // Where a serial says whose the quotes are, the token is looked at after the serial.
    let listing = field != "page_token" || !grammar.has_field(method, "serial");
    for_partners && asks && alone && listing
}

/// A call that would be good but for whose thing it names.
async fn ask(
    grammar: &Grammar,
    method: &Method,
    (who, own): (&As, &str),
    field: &str,
    name: &str,
) -> Result<Vec<u8>, Status> {
    let text = |asked: &str| {
        let text = match asked {
            _ if asked == field => return name.to_owned(),
            "request_id" => return fresh_id(),
            "email" => "it@buyer.example",
            "license_type" => "single-user",
            "version" => "1.0",
            "add_on" => "mapi",
            "reason" => "because",
            // A call that names a license beside a quote is about the quote.
            "serial" if matches!(field, "quote_id" | "order_id") => own,
            "quote_id" | "order_id" if field == "serial" => NOBODY,
            "from_date" => "2025-01-01",
            "to_date" => "2025-12-31",
            // A page of nothing in particular.
            _ => "",
        };
        text.to_owned()
    };
    let message = grammar.plain(method, &text);
    call(who.clone(), &method.path(), message).await
}

/// Three partners, and for each as many licenses, every one with a seat, a request, a quote and an order.
/// Nor is there anything of a partner in the history of another's license, or of one that does not exist.
#[test]
fn a_partner_writes_nothing_about_what_is_anothers() {
    run(async {
        let world = World::selling().await;
        populate(&world, 1).await;
        let mut calls = MaintenanceServiceClient::new(world.named(Role::Partner, "acme"));
        let head = world.store().head();
        for serial in ["SM-OTHER-000", "SM-9999"] {
            let serial = serial.to_owned();
            let ordered = v1::PlaceOrderRequest {
                request_id: fresh_id(),
                serial: serial.clone(),
                quote_id: NOBODY.to_owned(),
                ..Default::default()
            };
            let cancelled = v1::CancelMaintenanceRequest {
                request_id: fresh_id(),
                serial: serial.clone(),
                ..Default::default()
            };
            let unlocked = v1::GetUnlockCodeRequest {
                serial,
                ..Default::default()
            };
            for refused in [
                calls.place_order(ordered).await.map(drop),
                calls.cancel_maintenance(cancelled).await.map(drop),
                calls.get_unlock_code(unlocked).await.map(drop),
            ] {
                assert_eq!(reason(&refused.unwrap_err()), "NOT_YOUR_CUSTOMER");
            }
        }
        assert_eq!(world.store().head(), head);
    });
}

async fn populate(world: &World, each: usize) -> Vec<Thing> {
    third_partner(world).await;
    let mut things = Vec::new();
    for owner in PARTNERS {
        let mut add = |field, name: String, absent: &str| {
            let absent = absent.to_owned();
            things.push(Thing {
                owner,
                field,
                name,
                absent,
            });
        };
        add("partner_id", owner.to_owned(), "nobody");
        for number in 0..each {
            let serial = format!("SM-{}-{number:03}", owner.to_uppercase());
            let life = live(world, owner, &serial, number).await;
            add("serial", serial, "SM-9999");
            add("activation_id", life.activation, NOBODY);
            add("proof", life.proof, "");
            add("update_request_id", life.request, NOBODY);
            add("quote_id", life.quote, NOBODY);
            add("order_id", life.order, NOBODY);
        }
        let dongle = format!("d-9-{owner}");
        let on_dongle = v1::CreateLicenseRequest {
            partner_id: owner.to_owned(),
            protection: v1::Protection::HardwareKey.into(),
            dongle_number: dongle.clone(),
            ..license(&format!("VL-{}", owner.to_uppercase()), "volocity", 1)
        };
        world.create_license(on_dongle).await.unwrap();
        add("dongle_number", dongle, "d-9-nobody");
        let request = v1::PartnerServiceListLicensesRequest {
            page_size: 1,
            page_token: String::new(),
        };
        let page = world.partner(owner).list_licenses(request).await.unwrap();
        add("page_token", page.into_inner().next_page_token, "AAAA");
    }
    things
}

async fn third_partner(world: &World) {
    let request = v1::CreatePartnerRequest {
        partner_id: "third".to_owned(),
        display_name: "third".to_owned(),
        ..Default::default()
    };
    world.admin().create_partner(request).await.unwrap();
    let price = v1::Price {
        product_id: "mail".to_owned(),
        item: v1::PriceItem::License.into(),
        unit: v1::PriceUnit::Seat.into(),
        amount: Some(v1::Money {
            minor_units: 39_900,
            currency_code: "USD".to_owned(),
        }),
        valid_from_date: "2000-01-01".to_owned(),
        ..Default::default()
    };
    let request = v1::ImportPricesRequest {
        prices: vec![price],
        ..Default::default()
    };
    world.admin().import_prices(request).await.unwrap();
}

/// What a license has been through.
struct Life {
    activation: String,
    proof: String,
    request: String,
    quote: String,
    order: String,
}

async fn live(world: &World, owner: &str, serial: &str, number: usize) -> Life {
    let new = v1::CreateLicenseRequest {
        partner_id: owner.to_owned(),
        // Its maintenance ends soon: it may be renewed.
        purchase_date: "2024-02-01".to_owned(),
        ..license(serial, "mail", 2)
    };
    world.create_license(new).await.unwrap();
    let device = Device::new(u32::try_from(number).unwrap());
    let credential = world.credential(serial).await;
    let mut request = world
        .activate_request(serial, credential.clone(), &device, &fresh_id())
        .await;
    request.product_id = "mail".to_owned();
    device.sign_activate(&mut request);
    let seat = world.device().activate(request).await.unwrap().into_inner();
    let ticket = world.ticket(&seat.activation_id, &device).await;
    let request = v1::CreateUpdateRequestRequest {
        request_id: fresh_id(),
        serial: serial.to_owned(),
        credential: Some(credential),
        details: Some(details()),
    };
    let asked = world
        .customer()
        .create_update_request(request)
        .await
        .unwrap();
    let mut buyer = MaintenanceServiceClient::new(world.named(Role::Partner, owner));
    let wanted = v1::CreateQuoteRequest {
        serial: serial.to_owned(),
        terms: 1,
        ..Default::default()
    };
    let quote = buyer.create_quote(wanted).await.unwrap().into_inner();
    let quote = quote.quote.unwrap().quote_id;
    let wanted = v1::PlaceOrderRequest {
        request_id: fresh_id(),
        quote_id: quote.clone(),
        serial: serial.to_owned(),
        credential: None,
        purchase_reference: "PO-1".to_owned(),
    };
    let order = buyer.place_order(wanted).await.unwrap().into_inner();
    Life {
        activation: seat.activation_id,
        proof: device.proof(&ticket),
        request: asked.into_inner().update_request.unwrap().update_request_id,
        quote,
        order: order.order.unwrap().order_id,
    }
}

/// I13: two worlds in which one partner has the same and the others have not. Whatever it calls, both answer with the same bytes.
#[test]
fn g21_two_worlds_answer_a_partner_alike() {
    let calls = size("UPKEEP_G21_CALLS", 1_200);
    let grammar = Grammar::read();
    run(async {
        let mut one = World::selling().await;
        let mut other = World::selling().await;
        let mut pools = Vec::new();
        for (world, richer) in [(&mut one, false), (&mut other, true)] {
            third_partner(world).await;
            let mut pool = Pool::default();
            for number in 0..4 {
                let serial = format!("SM-ACME-{number:03}");
                let life = live(world, "acme", &serial, number).await;
                pool.text_of("serial", [serial, "SM-OTHER-000".to_owned()]);
                pool.text_of("activation_id", [life.activation]);
                pool.text_of("update_request_id", [life.request]);
                pool.text_of("quote_id", [life.quote]);
                pool.text_of("order_id", [life.order]);
                pool.text_of("proof", [life.proof]);
            }
            for text in ["version", "target_version"] {
                pool.text_of(text, ["1.0".to_owned(), "2.0".to_owned()]);
            }
            pool.text_of("license_type", ["single-user".to_owned()]);
            pool.text_of("email", ["a@example.com".to_owned()]);
            pool.text_of(
                "request_id",
                (0..40).map(|n| format!("00000000-0000-4000-9000-{n:012x}")),
            );
            pool.text_of("from_date", ["2025-01-01".to_owned()]);
            pool.text_of("to_date", ["2027-12-31".to_owned()]);
            pool.text_of(
                "partner_id",
                ["acme".to_owned(), "other".to_owned(), String::new()],
            );
            if richer {
                // What the others have comes after, so that the first partner's things have the same names in both worlds.
                for number in 0..6 {
                    for owner in ["other", "third"] {
                        let serial = format!("SM-{}-{number:03}", owner.to_uppercase());
                        live(world, owner, &serial, number).await;
                    }
                }
            }
            // Both draw the same bytes from here on.
            world.stop().unwrap();
            world.start().unwrap();
            pools.push(pool);
        }
        let methods: Vec<&Method> = grammar
            .methods
            .iter()
            .filter(|m| m.service == "PartnerService" || m.service == "MaintenanceService")
            .collect();
        let (mut dice, mut granted) = (Dice(21), 0);
        for number in 0..calls {
            let method = *dice.one(&methods);
            let at = dice.below(u64::MAX);
            let mut answers = Vec::new();
            for (world, pool) in [(&one, &pools[0]), (&other, &pools[1])] {
                let message = match number % 2 {
                    0 => grammar.request(method, pool, &mut Dice(at)),
                    _ => plain(&grammar, method, pool, at),
                };
                let who = world.named(Role::Partner, "acme");
                answers.push(call(who, &method.path(), message).await);
            }
            let [first, second] = answers.try_into().unwrap();
            granted += usize::from(first.is_ok());
            match (first, second) {
                (Ok(first), Ok(second)) => {
                    assert_eq!(unsigned(&first), unsigned(&second), "{}", method.path());
                }
                (Err(first), Err(second)) => {
                    assert_eq!(told(&first, ""), told(&second, ""), "{}", method.path());
                }
                (first, second) => panic!("{}: {first:?} and {second:?}", method.path()),
            }
        }
        println!("g21: {calls} calls in two worlds, {granted} granted, all answers alike");
        assert!(
            granted * 8 > calls,
            "only {granted} of {calls} calls were granted"
        );
    });
}

/// A call in which everything but the choice of its words is in order.
fn plain(grammar: &Grammar, method: &Method, pool: &Pool, at: u64) -> Vec<u8> {
    let text = |field: &str| {
        let dice = &mut Dice(at ^ field.len() as u64);
        match field {
            "version" => "1.0".to_owned(),
            "page_token" | "dongle_number" | "credential" => String::new(),
            _ => pool.known(field, dice).unwrap_or_default(),
        }
    };
    grammar.plain(method, &text)
}

/// All that a status says, but for the name that the call itself brought, and whatever the order of a map in it, which differs each time.
fn told(status: &Status, name: &str) -> (Code, String, String) {
    let mut details = status.get_error_details();
    let facts = details.error_info().cloned();
    details.set_error_info("", "", HashMap::new());
    let facts = facts.map(|info| (info.reason, BTreeMap::from_iter(info.metadata)));
    let said = format!("{facts:?} {details:?}").replace(&format!("{name:?}"), "it");
    (status.code(), status.message().to_owned(), said)
}

/// An answer without the signatures in it, which differ each time: the part behind the last dot of a JWS, and files around one.
fn unsigned(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer).into_owned();
    let mut words = text.split("-----BEGIN").next().unwrap().to_owned();
    while let Some(at) = jws_signature(&words) {
        words.replace_range(at..at + 87, "");
    }
    words
}

/// Where `.` and 86 symbols stand behind a payload.
fn jws_signature(text: &str) -> Option<usize> {
    let symbol = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
    let bytes = text.as_bytes();
    (1..bytes.len().saturating_sub(86)).find(|at| {
        let signature = &bytes[at + 1..at + 87];
        bytes[*at] == b'.' && symbol(&bytes[at - 1]) && signature.iter().all(symbol)
    })
}
