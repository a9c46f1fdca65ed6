//! What is exported and imported elsewhere is the same.

use serde_json::{Value, json};

use crate::vendor::{Vendor, lines, row, with};

/// Licenses with everything that a license can have.
fn rich() -> Vec<Value> {
    let none = json!({ "partner_id": null, "partner_name": null });
    vec![
        row(1),
        with(
            row(2),
            json!({ "external_id": null, "partner_name": "Ümlaut; \"quoted\", GmbH", "partner_id": "quoted" }),
        ),
        with(
            row(3),
            json!({ "protection": "hardware_key", "dongle_number": "D-1001", "terms": null, "no_maintenance": true }),
        ),
        with(
            row(4),
            json!({ "state": "suspended", "generation": 3, "paid": { "minor_units": 39900, "currency_code": "EUR" } }),
        ),
        with(row(5), json!({ "state": "revoked", "add_ons": ["b", "a"] })),
        with(row(6), json!({ "state": "ordered", "terms": null })),
        with(
            row(7),
            with(
                none,
                json!({ "virtual_environment_allowed": true, "special_conditions": "as the vendor wrote" }),
            ),
        ),
        with(
            row(8),
            json!({ "cancelled_date": "2021-01-05", "reminded_days": [75, 30] }),
        ),
        with(
            row(9),
            json!({ "serial": "NSP-9000", "password": "correct horse battery" }),
        ),
        with(
            row(10),
            json!({
                "product_id": "mail", "modules": [{ "module_id": "vms", "count": 2 }, { "module_id": "api", "count": 1 }],
                "customer_language": "de", "customer_region_id": "west-eu", "customer_external_id": "K-new",
            }),
        ),
    ]
}

#[test]
fn exported_licenses_are_the_same_where_they_are_imported() {
    let (first, second, third) = (Vendor::new(), Vendor::new(), Vendor::new());
    assert_eq!(first.errors("rich.jsonl", lines(rich())), []);
    let exported = first.export(&[]);
    assert_eq!(exported.lines().count(), rich().len());
    assert!(
        !exported.contains("horse") && !exported.contains("password"),
        "no secrets"
    );

    // A password is not exported: it is given again.
    let missing = second.errors("exported.jsonl", &exported);
    assert_eq!(
        missing,
        [(10, "MISSING_FIELD password: is required".to_owned())]
    );
    let again: Vec<Value> = exported
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            match row["serial"] == "NSP-9000" {
                true => with(row, json!({ "password": "another horse battery" })),
                false => row,
            }
        })
        .collect();
    assert_eq!(second.errors("again.jsonl", lines(again)), []);
    assert_eq!(second.export(&[]), exported);
    second.check_records();

    // The same by CSV, whose password column is added as a person would: in the last cell of each line.
    let out = first.place.path("out.csv").display().to_string();
    first.export(&["--out", &out]);
    let mut csv = String::new();
    for (index, line) in std::fs::read_to_string(&out).unwrap().lines().enumerate() {
        let cell = match index {
            0 => "password",
            _ if line.contains("NSP-9000") => "another horse battery",
            _ => "",
        };
        csv.push_str(&format!("{line},{cell}\n"));
    }
    assert_eq!(third.errors("exported.csv", csv), []);
    assert_eq!(third.export(&[]), exported);
    third.check_records();
    first.check_records();
}

#[test]
fn a_running_server_imports_and_exports_too() {
    let vendor = Vendor::new();
    let serving = vendor.place.serve();
    let at = ["--address", &serving.staff];
    // Nothing of them is due: a server that serves writes by itself what is.
    let plain = json!({ "terms": null, "no_maintenance": true });
    let rows = lines((0..1200).map(|number| with(row(number), plain.clone())));
    let (code, report) = vendor.report("rows.jsonl", &rows, &at);
    assert_eq!((code, &report["created"]), (0, &json!(1200)));
    let exported = vendor.export(&at);
    assert_eq!(exported.lines().count(), 1200);
    let out = vendor.place.path("all.jsonl").display().to_string();
    let (code, stdout, stderr) = vendor
        .place
        .run(&[&["export", "--out", &out], &at[..]].concat());
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert_eq!(stderr.trim(), format!("1200 licenses exported to {out}"));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), exported);
    serving.stop();
    assert_eq!(vendor.export(&[]), exported);
    vendor.check_records();
}
