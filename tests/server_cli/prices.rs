//! `prices`: a file is imported as a whole or not at all, while the server runs and while it does not.

use std::fs;

use serde_json::Value;
use upkeep::rpc::v1::CreateProductRequest;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;

use crate::world::{Place, assert_refused};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_file_is_imported_as_a_whole() {
    let place = Place::new();
    let serving = place.serve();
    let mut admin = AdminServiceClient::new(place.admin(&serving).await);
    let product = CreateProductRequest {
        product_id: "mail".to_owned(),
        display_name: "Mail".to_owned(),
        programme_id: "smartertools-ms".to_owned(),
        ..Default::default()
    };
    admin.create_product(product).await.unwrap();

    // More rows than one call takes; the last one is wrong.
    let mut rows = "product,item,edition,license_type,per,amount,currency,valid_from\n".to_owned();
    for edition in 0..450 {
        rows.push_str(&format!(
            "mail,license,e{edition},,seat,399.00,USD,2020-01-01\n"
        ));
    }
    let good = rows.clone();
    rows.push_str("mail,licence,,,seat,399.00,USD,2026-02-30\n");
    let file = place.path("prices.csv");
    let import = |text: &str, more: &[&str]| {
        fs::write(&file, text).unwrap();
        let path = file.display().to_string();
        let arguments = [
            &["prices", "import", &path, "--address", &serving.staff],
            more,
        ]
        .concat();
        place.run(&arguments)
    };
    let listed = || {
        let (code, stdout, stderr) =
            place.run(&["prices", "list", "--json", "--address", &serving.staff]);
        assert_eq!(code, 0, "{stderr}");
        let listed: Vec<Value> = serde_json::from_str(&stdout).unwrap();
        listed
    };
    assert_refused(
        import(&rows, &[]),
        5,
        &[
            "2 things are wrong",
            "line 452, item",
            "line 452, valid_from",
        ],
    );
    // The line is that of an editor, whatever ends lines and however many are empty.
    let mixed = "product,item,per,amount,currency,valid_from\r\n\r\n\nmail,license,\"seat\",399.00,USD,2020-01-01\r\nmail,licence,seat,1,USD,2020-01-01\r\n";
    assert_refused(import(mixed, &[]), 5, &["line 5, item"]);
    // What only the server knows: a product that is not there, in the second batch.
    let absent = format!("{good}post,license,,,seat,399.00,USD,2020-01-01\n");
    assert_refused(import(&absent, &[]), 5, &["line 452, product"]);
    let euros = format!("{good}mail,license,,,seat,399.00,EUR,2020-01-01\n");
    assert_refused(import(&euros, &[]), 5, &["line 452, amount", "USD"]);
    let (code, stdout, stderr) = import(&good, &["--dry-run", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&report["added"], &report["dry_run"]),
        (&450.into(), &true.into())
    );
    assert!(listed().is_empty());

    let (code, stdout, stderr) = import(&good, &[]);
    assert_eq!(
        (code, stdout.trim()),
        (0, "450 added, 0 changed, 0 there already"),
        "{stderr}"
    );
    assert_eq!(listed().len(), 450);
    let (_, stdout, _) = import(&good, &["--json"]);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&report["added"], &report["unchanged"]),
        (&0.into(), &450.into())
    );
    let changed = "product,item,per,amount_minor,currency,valid_from,edition\n\
                   mail,license,seat,49900,USD,2020-01-01,e7\n";
    assert_refused(
        import(changed, &[]),
        5,
        &["line 2, amount", "399.00 USD", "`replace`"],
    );
    // It has held since a day in the past.
    assert_refused(import(changed, &["--replace"]), 5, &["later day"]);
    serving.stop();

    let (code, stdout, stderr) = place.run(&["prices", "list", "--product", "mail"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("399.00 USD") && stdout.contains("from 2020-01-01"),
        "{stdout}"
    );
    let missing = place.run(&["prices", "import", "nowhere.csv"]);
    assert_refused(missing, 2, &["nowhere.csv can't be read"]);
}
