//! Rows one by one: what is made of them, and why the rules refuse them.

use serde_json::{Value, json};

use crate::vendor::{Vendor, lines, row, with};

fn counts(report: &Value) -> [u64; 4] {
    ["rows", "created", "unchanged", "failed"].map(|name| report[name].as_u64().unwrap())
}

#[test]
fn a_row_is_imported_once_whatever_comes_again() {
    let vendor = Vendor::new();
    let file = lines((0..130).map(row));
    let before = vendor.head();
    let (code, dry) = vendor.report("all.jsonl", &file, &["--dry-run"]);
    assert_eq!((code, counts(&dry)), (0, [130, 130, 0, 0]));
    assert_eq!(vendor.head(), before, "a dry run writes nothing");
    let keys = std::fs::read_dir(vendor.place.data().join("keys/customers")).unwrap();
    assert_eq!(keys.count(), 0, "nor does it make keys");

    let (code, report) = vendor.report("all.jsonl", &file, &[]);
    assert_eq!((code, counts(&report)), (0, [130, 130, 0, 0]));
    let entries = vendor.head() - before;
    assert!((1..10).contains(&entries), "{entries} entries for 130 rows");
    let exported = vendor.export(&[]);
    assert_eq!(exported.lines().count(), 130);

    let after = vendor.head();
    let (code, again) = vendor.report("all.jsonl", &file, &[]);
    assert_eq!((code, counts(&again)), (0, [130, 0, 130, 0]));
    let (_, again) = vendor.report("all.jsonl", &file, &["--dry-run"]);
    assert_eq!(counts(&again), [130, 0, 130, 0]);
    assert_eq!(
        vendor.head(),
        after,
        "what is there already leaves no entry"
    );

    // The same id with other content, and another id for the same serial: neither changes anything.
    let changed = with(row(7), json!({ "seats": 500 }));
    let other_id = with(row(8), json!({ "external_id": "legacy/8000" }));
    let new = row(500);
    let file = lines([changed, row(9), other_id, new]);
    assert_eq!(
        vendor.errors("more.jsonl", file),
        [
            (
                1,
                "IMPORT_CONFLICT external_id: was imported before with other content, as license LS-000007"
                    .to_owned()
            ),
            (
                3,
                "ALREADY_EXISTS : There is a record with this name already.".to_owned()
            ),
        ]
    );
    let now = vendor.export(&[]);
    assert!(
        exported.lines().all(|line| now.contains(line)),
        "nothing changed"
    );
    assert_eq!(now.lines().count(), 131);
    vendor.check_records();
}

#[test]
fn a_row_that_stands_twice_in_one_file_counts_once() {
    let vendor = Vendor::new();
    let plain = |number| with(row(number), json!({ "external_id": null }));
    let file = lines([
        row(1),
        row(1),
        with(row(1), json!({ "seats": 77 })),
        plain(2),
        plain(2),
        with(plain(2), json!({ "seats": 77 })),
        with(row(3), json!({ "external_id": "other" })),
        row(3),
    ]);
    let conflicts = [(3, "external_id"), (6, "serial")];
    for more in [&["--dry-run"][..], &[]] {
        let (code, report) = vendor.report("twice.jsonl", &file, more);
        assert_eq!((code, counts(&report)), (5, [8, 3, 2, 3]), "{more:?}");
    }
    let errors = vendor.errors("twice.jsonl", &file);
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (line, field) in conflicts {
        let start = format!("IMPORT_CONFLICT {field}: was imported before");
        assert!(
            errors
                .iter()
                .any(|(at, said)| *at == line && said.starts_with(&start)),
            "{errors:?}"
        );
    }
    vendor.check_records();
}

/// Not even for another row of its batch, nor does it give one its name.
#[test]
fn a_refused_row_makes_no_customer() {
    let vendor = Vendor::new();
    let party = |name: Value| json!({ "customer_id": "new", "customer_external_id": null, "customer_name": name });
    let nameless = || with(row(1), party(Value::Null));
    let refused = || {
        with(
            with(row(2), party("Baker".into())),
            json!({ "product": "none" }),
        )
    };
    let (code, report) = vendor.report("both.jsonl", &lines([nameless(), refused()]), &[]);
    assert_eq!((code, counts(&report)), (5, [2, 0, 0, 2]));

    let made = with(row(3), party("Cook".into()));
    let file = lines([refused(), nameless(), made, nameless()]);
    let (code, report) = vendor.report("three.jsonl", &file, &[]);
    assert_eq!((code, counts(&report)), (5, [4, 2, 0, 2]));
    assert_eq!(vendor.export(&[]).matches("Cook").count(), 2);
    vendor.check_records();
}

#[test]
fn every_kind_of_bad_row_is_named_with_its_field() {
    let vendor = Vendor::new();
    let good = row(1);
    let wrong = |changes: Value| with(row(2), changes);
    let no_name =
        json!({ "customer_name": null, "customer_external_id": null, "customer_id": "nobody" });
    let cases = [
        (
            wrong(json!({ "serial": null })),
            "MISSING_FIELD serial: is required",
        ),
        (
            wrong(json!({ "serial": "a b" })),
            "INVALID_FIELD serial: a serial number has 4 to 64 characters",
        ),
        (
            wrong(json!({ "external_id": "x".repeat(129) })),
            "INVALID_FIELD external_id: must have 1 to 128 characters",
        ),
        (
            wrong(json!({ "seats": 0 })),
            "INVALID_FIELD seats: must be 1 or more",
        ),
        (
            wrong(json!({ "seats": 1_000_001 })),
            "INVALID_FIELD seats: must be 1 to 1000000",
        ),
        (
            wrong(json!({ "seats": "many" })),
            "INVALID_FIELD seats: must be a whole number",
        ),
        (
            wrong(json!({ "purchase_date": "2019-02-29" })),
            "INVALID_FIELD purchase_date: a date is written YYYY-MM-DD",
        ),
        (
            wrong(json!({ "protection": "none" })),
            "INVALID_FIELD protection: must be software_key or hardware_key",
        ),
        (
            wrong(json!({ "protection": "hardware_key" })),
            "MISSING_FIELD dongle_number: is required",
        ),
        (
            wrong(json!({ "dongle_number": "d-1" })),
            "INVALID_FIELD dongle_number: belongs to hardware keys only",
        ),
        (
            wrong(json!({ "product_id": "absent" })),
            "INVALID_FIELD product_id: no such product; create it first",
        ),
        (
            wrong(no_name),
            "INVALID_FIELD customer_id: no such customer; give customer_name to create it",
        ),
        (
            wrong(json!({ "customer_external_id": null })),
            "MISSING_FIELD customer_id: is required",
        ),
        (
            wrong(json!({ "partner_name": null, "partner_id": "nobody" })),
            "INVALID_FIELD partner_id: no such partner; give partner_name to create it",
        ),
        (
            wrong(json!({ "customer_email": "nobody" })),
            "INVALID_FIELD customer_email: must be an e-mail address",
        ),
        (
            wrong(json!({ "customer_name": "a\u{202e}b" })),
            "INVALID_FIELD customer_name: must not have control characters",
        ),
        (
            wrong(json!({ "password": "correct horse battery" })),
            "INVALID_FIELD password: this serial takes no password",
        ),
        (
            wrong(json!({ "serial": "NSP-2" })),
            "MISSING_FIELD password: is required",
        ),
        (
            wrong(json!({ "serial": "NSP-2", "password": "weak" })),
            "INVALID_FIELD password: must have 12 to 128 characters",
        ),
        (
            wrong(json!({ "virtual_environment_allowed": true })),
            "REFER_TO_VENDOR : ",
        ),
        (
            wrong(json!({ "special_conditions": "as agreed" })),
            "INVALID_FIELD special_conditions: belong to licenses for virtual machines only",
        ),
        (
            wrong(json!({ "tier_id": "no-such-tier" })),
            "TIER_UNKNOWN : ",
        ),
        (
            wrong(json!({ "state": "superseded" })),
            "INVALID_FIELD state: must be ordered, issued, suspended or revoked",
        ),
        (
            wrong(json!({ "terms": "2020-01-01..2020-12-31;2020-12-31..2021-12-30" })),
            "INVALID_FIELD terms[1].first_date: lies in another term",
        ),
        (
            wrong(json!({ "terms": "2020-01-01..2019-12-31" })),
            "INVALID_FIELD terms[0].last_date: a term ends on or after its first day",
        ),
        (
            wrong(json!({ "terms": "2020-01-01" })),
            "INVALID_FIELD terms: must be FIRST..LAST",
        ),
        (
            wrong(json!({ "no_maintenance": true })),
            "INVALID_FIELD no_maintenance: contradicts the terms",
        ),
        (
            wrong(json!({ "paid": { "minor_units": -1, "currency_code": "EUR" } })),
            "INVALID_FIELD paid.minor_units: ",
        ),
        (
            wrong(json!({ "paid": "12.345 EUR" })),
            "INVALID_FIELD paid: ",
        ),
        (
            wrong(json!({ "programme_id": "absent" })),
            "INVALID_FIELD programme_id: is not loaded here",
        ),
        (
            wrong(json!({ "programme_revision": 99 })),
            "INVALID_FIELD programme_revision: is not loaded here",
        ),
        (
            wrong(json!({ "edition": "Pro" })),
            "INVALID_FIELD edition: must be 1 to 63 characters",
        ),
        (
            wrong(json!({ "colour": "blue" })),
            "INVALID_FIELD row: there is no field \"colour\"",
        ),
        (json!(["no object"]), "INVALID_FIELD row: is no JSON object"),
    ];
    let mut file = lines([good]);
    file.extend(cases.iter().map(|(row, _)| format!("{row}\n")));
    let errors = vendor.errors("bad.jsonl", &file);
    for (index, (row, expected)) in cases.iter().enumerate() {
        let line = u64::try_from(index).unwrap() + 2;
        let said: Vec<_> = errors.iter().filter(|(at, _)| *at == line).collect();
        assert!(
            said.iter().any(|(_, said)| said.starts_with(expected)),
            "{row}\n{expected}\n{said:?}"
        );
    }
    // One good row, and nothing of the bad ones: no customer either.
    assert_eq!(vendor.export(&[]).lines().count(), 1);
    assert!(!vendor.export(&[]).contains("LS-000002"));
    vendor.check_records();
}

#[test]
fn parties_are_matched_or_created_and_never_changed() {
    let vendor = Vendor::new();
    let party = |number: u64, changes: Value| {
        with(
            row(number),
            with(
                json!({
                    "customer_external_id": null, "customer_name": null, "customer_email": null,
                    "partner_id": null, "partner_name": null,
                }),
                changes,
            ),
        )
    };
    let file = lines([
        // Created by id; matched by id, whatever else the row says of it; linked to an external id; matched by that.
        party(1, json!({ "customer_id": "acme", "customer_name": "Acme" })),
        party(
            2,
            json!({ "customer_id": "acme", "customer_name": "Another Name", "customer_email": "x@y.example" }),
        ),
        party(
            3,
            json!({ "customer_id": "acme", "customer_external_id": "K-17" }),
        ),
        party(4, json!({ "customer_external_id": "K-17" })),
        // An external id that looks like a customer who is there without it means nobody.
        party(5, json!({ "customer_external_id": "acme" })),
        // One that stands for acme cannot stand for another, and acme has but one.
        party(
            6,
            json!({ "customer_id": "other", "customer_name": "Other", "customer_external_id": "K-17" }),
        ),
        party(
            7,
            json!({ "customer_id": "acme", "customer_external_id": "K-18" }),
        ),
        party(
            8,
            json!({ "customer_external_id": "Größe & Söhne", "customer_name": "Größe & Söhne" }),
        ),
    ]);
    let errors = vendor.errors("parties.jsonl", file);
    let said: Vec<_> = errors
        .iter()
        .map(|(line, said)| (*line, said.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            (
                5,
                "IMPORT_CONFLICT customer_external_id: customer acme is there and has not this external id; to use it, give customer_id as well"
            ),
            (
                6,
                "IMPORT_CONFLICT customer_external_id: stands for customer acme already"
            ),
            (
                7,
                "IMPORT_CONFLICT customer_id: has another external id, K-17"
            ),
        ]
    );
    let exported = vendor.export(&[]);
    let owners: Vec<(String, String, String)> = exported
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let part = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            assert_eq!(part("customer_email"), "");
            (
                part("customer_id"),
                part("customer_name"),
                part("customer_external_id"),
            )
        })
        .collect();
    let acme = ("acme".to_owned(), "Acme".to_owned(), "K-17".to_owned());
    assert_eq!(owners.get(..4).unwrap(), vec![acme; 4]);
    let (id, name, external) = owners.get(4).unwrap();
    assert!(id.starts_with("gr--e---s-hne-") && id.len() == 30, "{id}");
    assert_eq!(
        (name.as_str(), external.as_str()),
        ("Größe & Söhne", "Größe & Söhne")
    );
    vendor.check_records();
}

#[test]
fn it_stops_after_so_many_errors_and_says_what_failed() {
    let vendor = Vendor::new();
    let rows = (0..3000).map(|number| with(row(number), json!({ "seats": null })));
    let file = lines(rows);
    let (code, stdout, stderr) = vendor.import("bad.jsonl", &file, &["--max-errors", "30"]);
    assert_eq!(code, 5, "{stderr}");
    assert!(
        stdout.starts_with("0 created, 0 there already, "),
        "{stdout}"
    );
    assert!(
        stderr.starts_with("line 1: seats: is required\n"),
        "{stderr}"
    );
    assert_eq!(stderr.matches("is required").count(), 20, "{stderr}");
    assert!(
        stderr.contains("more are not shown; --errors FILE"),
        "{stderr}"
    );
    assert!(
        stderr.contains("the rest was not read (--max-errors); correct them and run it again"),
        "{stderr}"
    );

    let twenty = (0..20).map(|number| with(row(number), json!({ "seats": 0 })));
    let (_, _, stderr) = vendor.import("twenty.jsonl", lines(twenty), &[]);
    assert_eq!(
        stderr.matches("seats: must be 1 or more").count(),
        20,
        "{stderr}"
    );
    assert!(!stderr.contains("not shown"), "{stderr}");

    let errors = vendor.place.path("errors.csv").display().to_string();
    let (code, stdout, stderr) = vendor.import(
        "bad.jsonl",
        &file,
        &["--max-errors", "0", "--errors", &errors],
    );
    assert_eq!(
        (code, stdout.trim()),
        (5, "0 created, 0 there already, 3000 failed")
    );
    assert!(
        stderr.contains(&format!(
            "3000 of 3000 rows failed, see {errors}; correct them"
        )),
        "{stderr}"
    );
    let text = std::fs::read_to_string(&errors).unwrap();
    let mut text = text.lines();
    assert_eq!(
        text.next(),
        Some("line,external_id,serial,field,reason,what,next")
    );
    assert_eq!(
        text.next(),
        Some(
            "1,legacy/0,LS-000000,seats,MISSING_FIELD,is required,Correct the row and import it again."
        )
    );
    assert_eq!(text.count(), 2999);
    // Nothing overwrites it.
    let (code, _, stderr) = vendor.import("bad.jsonl", &file, &["--errors", &errors]);
    assert!(code == 2 && stderr.contains("name a new file"), "{stderr}");
}
