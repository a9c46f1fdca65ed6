//! Bad input by name: what each is answered with, that it is on record where something was decided, and that nothing changed.

mod enrollment;
mod evidence;

use aws_lc_rs::hmac;
use chrono::TimeDelta;
use data_encoding::BASE64URL_NOPAD;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use upkeep::jws::Claims;
use upkeep::rpc::v1;
use upkeep_server::domain::programme::Programmes;

use crate::sent::Sent;
use crate::world::{
    CODED, DONGLE, Device, MAIL, NSP, PASSWORD, World, activation_code, claims, defined, details,
    fresh_id, generous, keys, license, no_faults, password, product_code, reason, run, secret,
};

const BIDI: &str = "gnp\u{202e}exe";
const NUL: &str = "a\0b";

/// The reason, and every field that is named as wrong.
fn wrong(status: &Status) -> (String, Vec<String>) {
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.clone());
    let mut fields: Vec<_> = violations
        .unwrap_or_default()
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    fields.sort();
    (reason(status), fields)
}

/// Expects a refusal with this reason, naming these fields (in alphabetical order).
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, expected: &str, fields: &[&str]) {
    let (reason, found) = wrong(&answer.unwrap_err());
    assert_eq!((reason.as_str(), found), (expected, strings(fields)));
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Runs a test that must leave every record as it was.
fn unchanged(test: impl AsyncFn(&World)) {
    run(async {
        let world = World::selling().await;
        let before = world.substance();
        test(&world).await;
        assert!(before == world.substance(), "something changed");
        world.check_records();
    });
}

async fn activate_request(world: &World) -> v1::ActivateRequest {
    let credential = world.credential(NSP).await;
    let device = Device::new(1);
    world
        .activate_request(NSP, credential, &device, &fresh_id())
        .await
}

#[test]
fn numbers_that_no_enum_has() {
    unchanged(async |world| {
        let request = v1::CreateChallengeRequest { purpose: 99 };
        let answer = world.device().create_challenge(request).await;
        refused(answer, "INVALID_FIELD", &["purpose"]);
        let request = v1::CreateChallengeRequest { purpose: 0 };
        let answer = world.device().create_challenge(request).await;
        refused(answer, "MISSING_FIELD", &["purpose"]);
        let request = v1::ActivateRequest {
            virtual_environment: -1,
            ..activate_request(world).await
        };
        let answer = world.device().activate(request).await;
        refused(answer, "INVALID_FIELD", &["virtual_environment"]);
        let request = v1::CreateLicenseRequest {
            protection: 3,
            ..license("TK-7777", "label", 1)
        };
        let answer = world.create_license(request).await;
        refused(answer, "INVALID_FIELD", &["protection"]);
    });
}

#[test]
fn empty_credentials() {
    use v1::credential::Secret;
    unchanged(async |world| {
        for credential in [
            None,
            Some(v1::Credential { secret: None }),
            Some(password("")),
            Some(activation_code("")),
            Some(product_code("")),
        ] {
            let request = v1::ActivateRequest {
                credential,
                ..activate_request(world).await
            };
            let answer = world.device().activate(request).await;
            refused(answer, "MISSING_FIELD", &["credential"]);
        }
        let request = v1::ActivateRequest {
            credential: Some(secret(Secret::DongleNumber(String::new()))),
            ..activate_request(world).await
        };
        let answer = world.device().activate(request).await;
        refused(answer, "MISSING_FIELD", &["credential.dongle_number"]);
    });
}

#[test]
fn everything_that_is_wrong_in_one_answer() {
    unchanged(async |world| {
        let request = v1::ActivateRequest {
            request_id: "1".to_owned(),
            challenge: vec![1; 65],
            serial: "?".to_owned(),
            credential: Some(password(NUL)),
            device_key: Some(v1::DeviceKey {
                key: Some(v1::device_key::Key::SoftwareSpki(vec![0; 91])),
            }),
            product_id: "No Name".to_owned(),
            version: "one".to_owned(),
            release_manifest: "-----BEGIN NOTHING-----".to_owned(),
            virtual_environment: 9,
            signature: vec![0; 63],
            virtual_machine_hints: Vec::new(),
        };
        let answer = world.device().activate(request).await;
        let all = [
            "challenge",
            "credential.password",
            "device_key.software_spki",
            "product_id",
            "release_manifest",
            "request_id",
            "serial",
            "signature",
            "version",
            "virtual_environment",
        ];
        refused(answer, "INVALID_FIELD", &all);
        let answer = world
            .device()
            .activate(v1::ActivateRequest::default())
            .await;
        let all = [
            "challenge",
            "credential",
            "device_key",
            "product_id",
            "request_id",
            "serial",
            "signature",
            "version",
            "virtual_environment",
        ];
        refused(answer, "MISSING_FIELD", &all);
        let answer = world
            .create_license(v1::CreateLicenseRequest {
                request_id: "1".to_owned(),
                serial: "?".to_owned(),
                product_id: BIDI.to_owned(),
                customer_id: NUL.to_owned(),
                partner_id: "A".to_owned(),
                protection: 1,
                dongle_number: "d-1".to_owned(),
                license_type: "?".to_owned(),
                edition: "?".to_owned(),
                add_ons: strings(&["fine", "?"]),
                seats: u32::MAX,
                virtual_environment_allowed: true,
                purchase_date: "2025-02-29".to_owned(),
                password: "short".to_owned(),
                ordered_only: true,
                license_kind: "?".to_owned(),
                tier_id: "?".to_owned(),
                modules: vec![v1::LicenseModule::default()],
                paid: Some(v1::Money::default()),
                programme_id: "?".to_owned(),
                programme_revision: u32::MAX,
                special_conditions: NUL.to_owned(),
                maintenance_terms: u32::MAX,
            })
            .await;
        let all = [
            "add_ons[1]",
            "customer_id",
            "dongle_number",
            "edition",
            "license_kind",
            "license_type",
            "modules[0].count",
            "modules[0].module_id",
            "paid.currency_code",
            "partner_id",
            "password",
            "product_id",
            "programme_id",
            "purchase_date",
            "request_id",
            "seats",
            "serial",
            "special_conditions",
            "tier_id",
        ];
        refused(answer, "INVALID_FIELD", &all);
    });
}

/// N-13, vector D58: what an update request lacks, the credential last.
#[test]
fn an_empty_update_request() {
    unchanged(async |world| {
        let request = v1::CreateUpdateRequestRequest {
            serial: CODED.to_owned(),
            ..Default::default()
        };
        let status = world.customer().create_update_request(request).await;
        let status = status.unwrap_err();
        let details = status.get_error_details();
        let fields: Vec<_> = details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        let expected = [
            "details.email",
            "details.virtual_environment",
            "details.license_type",
            "credential",
        ];
        assert_eq!(
            (reason(&status).as_str(), fields),
            ("MISSING_FIELD", expected.to_vec())
        );
    });
}

/// 1 MB in every text of a call: stopped at the door, and where the door is wider by the field's own limit.
#[test]
fn a_megabyte_of_text() {
    run(async {
        let long = || "x".repeat(1 << 20);
        for limit in [1 << 16, 16 << 20] {
            let programmes = Programmes::built_in().unwrap();
            let world = World::with(no_faults(), programmes, generous(), limit);
            world.sell().await;
            let before = world.substance();
            let sound = activate_request(&world).await;
            let big = |change: &dyn Fn(&mut v1::ActivateRequest)| {
                let mut request = sound.clone();
                change(&mut request);
                request
            };
            for (field, request) in [
                ("request_id", big(&|r| r.request_id = long())),
                ("challenge", big(&|r| r.challenge = vec![1; 1 << 20])),
                ("serial", big(&|r| r.serial = long())),
                (
                    "credential.password",
                    big(&|r| r.credential = Some(password(&long()))),
                ),
                ("product_id", big(&|r| r.product_id = long())),
                ("version", big(&|r| r.version = long())),
                ("release_manifest", big(&|r| r.release_manifest = long())),
                ("signature", big(&|r| r.signature = vec![1; 1 << 20])),
            ] {
                let status = world.device().activate(request).await.unwrap_err();
                if limit < 1 << 20 {
                    assert_eq!(status.code(), Code::OutOfRange, "{field}");
                } else {
                    assert_eq!(
                        wrong(&status),
                        ("INVALID_FIELD".to_owned(), strings(&[field]))
                    );
                }
                assert!(status.message().len() < 500, "the answer stays small");
            }
            assert!(before == world.substance());
        }
    });
}

#[test]
fn texts_that_deceive() {
    unchanged(async |world| {
        for text in [NUL, BIDI, "a\nb", "\u{2066}a"] {
            let text = text.to_owned();
            let request = v1::CreateCustomerRequest {
                customer_id: "evil".to_owned(),
                display_name: text.clone(),
                email: text.clone(),
                ..Default::default()
            };
            let answer = world.admin().create_customer(request).await;
            refused(answer, "INVALID_FIELD", &["display_name", "email"]);
            let request = v1::SuspendLicenseRequest {
                serial: NSP.to_owned(),
                reason: text.clone(),
                ..Default::default()
            };
            let answer = world.support().suspend_license(request).await;
            refused(answer, "INVALID_FIELD", &["reason"]);
            let request = v1::GetLicenseRequest {
                serial: format!("{NSP}{text}"),
                credential: Some(password(&text)),
            };
            let answer = world.customer().get_license(request).await;
            refused(answer, "INVALID_FIELD", &["credential.password", "serial"]);
            let request = v1::LookUpRequest { query: text };
            let answer = world.support().look_up(request).await;
            refused(answer, "INVALID_FIELD", &["query"]);
        }
    });
}

#[test]
fn days_outside_the_calendar() {
    unchanged(async |world| {
        for day in [
            "1969-12-31",
            "10000-01-01",
            "0000-00-00",
            "2025-02-29",
            "2025-1-5",
            "+2025-01-05",
            "2025-01-05T00:00:00Z",
            "٢٠٢٥-٠١-٠٥",
            NUL,
        ] {
            let day = day.to_owned();
            let request = v1::CreateReleaseRequest {
                product_id: "label".to_owned(),
                version: "9.0".to_owned(),
                build_date: day.clone(),
                ..Default::default()
            };
            let answer = world.admin().create_release(request).await;
            refused(answer, "INVALID_FIELD", &["build_date"]);
            let request = v1::AddMaintenanceTermsRequest {
                serial: NSP.to_owned(),
                terms: 1,
                first_date: day.clone(),
                ..Default::default()
            };
            let answer = world.admin().add_maintenance_terms(request).await;
            refused(answer, "INVALID_FIELD", &["first_date"]);
            let request = v1::CreateLicenseRequest {
                purchase_date: day,
                ..license("TK-7777", "label", 1)
            };
            let answer = world.create_license(request).await;
            refused(answer, "INVALID_FIELD", &["purchase_date"]);
        }
        let terms = |terms, first_date: &str| v1::AddMaintenanceTermsRequest {
            serial: NSP.to_owned(),
            terms,
            first_date: first_date.to_owned(),
            ..Default::default()
        };
        for (request, expected) in [
            (terms(1, "9999-12-31"), "TOO_MANY_TERMS"),
            (terms(1, "2025-06-01"), "COVER_STILL_ACTIVE"),
            (terms(0, ""), "INVALID_TERM_COUNT"),
            (terms(51, ""), "TOO_MANY_TERMS"),
            (terms(u32::MAX, ""), "TOO_MANY_TERMS"),
        ] {
            let answer = world.admin().add_maintenance_terms(request).await;
            refused(answer, expected, &[]);
            assert_eq!(world.last_event().outcome, expected);
        }
    });
}

#[test]
fn seats_that_nobody_sells() {
    unchanged(async |world| {
        for (seats, expected) in [
            (0, "MISSING_FIELD"),
            (1_000_001, "INVALID_FIELD"),
            (u32::MAX, "INVALID_FIELD"),
        ] {
            let answer = world
                .create_license(license("TK-7777", "label", seats))
                .await;
            refused(answer, expected, &["seats"]);
        }
    });
}

#[test]
fn pages_that_are_none() {
    run(async {
        let world = World::selling().await;
        for number in 0..3 {
            world.activate(CODED, &Device::new(number)).await;
        }
        let list = |page_size, page_token: &str| v1::AdminServiceListLicensesRequest {
            page_size,
            page_token: page_token.to_owned(),
        };
        for size in [-1, i32::MIN] {
            let answer = world.admin().list_licenses(list(size, "")).await;
            refused(answer, "INVALID_FIELD", &["page_size"]);
        }
        let page = world.admin().list_licenses(list(1, "")).await.unwrap();
        let of_licenses = page.into_inner().next_page_token;
        let next = world.admin().list_licenses(list(1, &of_licenses)).await;
        assert_eq!(
            next.unwrap().into_inner().licenses[0].serial,
            CODED.replace("TK-0002", MAIL)
        );
        let list_of = |page_token: &str| v1::PartnerServiceListLicensesRequest {
            page_size: 1,
            page_token: page_token.to_owned(),
        };
        let page = world.partner("acme").list_licenses(list_of("")).await;
        let of_acme = page.unwrap().into_inner().next_page_token;
        let request = v1::SupportServiceListActivationsRequest {
            serial: CODED.to_owned(),
            page_size: 1,
            page_token: String::new(),
        };
        let page = world.support().list_activations(request).await.unwrap();
        let of_activations = page.into_inner().next_page_token;
        assert!(!of_acme.is_empty() && !of_activations.is_empty());
        let mut flipped = of_acme.clone().into_bytes();
        flipped[3] ^= 1;
        let flipped = String::from_utf8(flipped).unwrap();
        let long = "A".repeat(600);
        for token in [
            &of_licenses,
            &of_activations,
            &flipped,
            &long,
            NUL,
            "AAAA",
            "not base64!",
        ] {
            let answer = world.partner("acme").list_licenses(list_of(token)).await;
            refused(answer, "INVALID_FIELD", &["page_token"]);
        }
        // A token of one partner is none of another's.
        let answer = world
            .partner("other")
            .list_licenses(list_of(&of_acme))
            .await;
        refused(answer, "INVALID_FIELD", &["page_token"]);
        let request = v1::SupportServiceListActivationsRequest {
            serial: NSP.to_owned(),
            page_size: 1,
            page_token: of_activations,
        };
        let answer = world.support().list_activations(request).await;
        refused(answer, "INVALID_FIELD", &["page_token"]);
    });
}
