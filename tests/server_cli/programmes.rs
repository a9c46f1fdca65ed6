//! Programme files from outside: what they mean, what is wrong with them, and their revisions from one start to the next.

use std::fs;

use serde_json::Value;
use tonic::transport::Channel;
use upkeep::date::CivilDate;
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;

use crate::binaries::{run, upkeep_server};
use crate::world::{Place, assert_refused};

const RULES: &str = "\
programme = { id = \"vendor-care\", rev = 1, tz = \"UTC\", currency = \"EUR\" }
cover     = { included_months = 12 }
renew     = { price_bp_of_list = 2000 }
lapse     = { mode = \"from_purchase\", price_bp_of_list = 4000 }
";

/// The same vendor, whose terms are half as long from revision 2 on.
fn second_revision() -> String {
    RULES.replace("rev = 1", "rev = 2").replace(
        "included_months = 12",
        "included_months = 6, term_months = 6",
    )
}

fn with_programme(text: &str) -> Place {
    let place = Place::new();
    let file = place.path("vendor.toml");
    fs::write(&file, text).unwrap();
    let config = place.data().join("upkeep.toml");
    let lines = fs::read_to_string(&config).unwrap();
    let named: Vec<String> = lines
        .lines()
        .filter(|line| !line.starts_with("programmes ="))
        .map(str::to_owned)
        .collect();
    let named = format!("programmes = [{:?}]\n{}\n", file, named.join("\n"));
    fs::write(&config, named).unwrap();
    place
}

async fn sell(admin: &mut AdminServiceClient<Channel>, serial: &str) -> v1::License {
    let request = v1::CreateLicenseRequest {
        serial: serial.to_owned(),
        product_id: "studio".to_owned(),
        customer_id: "globex".to_owned(),
        protection: v1::Protection::SoftwareKey.into(),
        license_type: "single-user".to_owned(),
        edition: "pro".to_owned(),
        seats: 1,
        purchase_date: "2026-03-15".to_owned(),
        ..v1::CreateLicenseRequest::default()
    };
    let answer = admin.create_license(request).await.unwrap().into_inner();
    answer.license.unwrap()
}

async fn look(admin: &mut AdminServiceClient<Channel>, serial: &str) -> v1::License {
    let request = v1::AdminServiceGetLicenseRequest {
        serial: serial.to_owned(),
    };
    let answer = admin.get_license(request).await.unwrap().into_inner();
    answer.license.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n12_a_license_keeps_the_revision_it_was_bought_under() {
    let place = with_programme(RULES);
    let serving = place.serve();
    let mut admin = AdminServiceClient::new(place.admin(&serving).await);
    let product = v1::CreateProductRequest {
        product_id: "studio".to_owned(),
        display_name: "Studio".to_owned(),
        programme_id: "vendor-care".to_owned(),
        ..v1::CreateProductRequest::default()
    };
    admin.create_product(product).await.unwrap();
    let customer = v1::CreateCustomerRequest {
        customer_id: "globex".to_owned(),
        display_name: "Globex".to_owned(),
        ..v1::CreateCustomerRequest::default()
    };
    admin.create_customer(customer).await.unwrap();
    let old = sell(&mut admin, "CARE-0001").await;
    assert_eq!(last_day(&old), "2027-03-14");
    serving.stop();

    // The file is edited, its revision raised.
    fs::write(place.path("vendor.toml"), second_revision()).unwrap();
    let serving = place.serve();
    let mut admin = AdminServiceClient::new(place.admin(&serving).await);
    let new = sell(&mut admin, "CARE-0002").await;
    assert_eq!(last_day(&new), "2026-09-14");
    for (serial, last) in [("CARE-0001", "2028-03-14"), ("CARE-0002", "2027-03-14")] {
        let request = v1::AddMaintenanceTermsRequest {
            serial: serial.to_owned(),
            terms: 1,
            first_date: next_day(&look(&mut admin, serial).await),
            ..v1::AddMaintenanceTermsRequest::default()
        };
        let answer = admin.add_maintenance_terms(request).await.unwrap();
        let license = answer.into_inner().license.unwrap();
        assert_eq!(last_day(&license), last, "{serial}");
    }

    // Both are told apart, and told in full.
    let listed = admin
        .list_programmes(v1::ListProgrammesRequest::default())
        .await
        .unwrap()
        .into_inner();
    let found: Vec<(&str, u32, bool)> = listed
        .programmes
        .iter()
        .map(|one| (one.programme_id.as_str(), one.revision, one.current))
        .collect();
    assert_eq!(found, [("vendor-care", 1, false), ("vendor-care", 2, true)]);
    let explained = async |admin: &mut AdminServiceClient<Channel>, revision| {
        let request = v1::GetProgrammeRequest {
            programme_id: "vendor-care".to_owned(),
            revision,
            purchase_date: "2026-03-15".to_owned(),
        };
        admin.get_programme(request).await.unwrap().into_inner()
    };
    let first = explained(&mut admin, 1).await;
    assert_eq!(first.source, RULES);
    assert!(
        first
            .explanation
            .contains("it is covered through 2027-03-14")
    );
    let current = explained(&mut admin, 0).await;
    assert_eq!(current.source, second_revision());
    assert!(
        current
            .explanation
            .contains("it is covered through 2026-09-14")
    );
    let unknown = v1::GetProgrammeRequest {
        programme_id: "vendor-care".to_owned(),
        revision: 3,
        ..v1::GetProgrammeRequest::default()
    };
    let refused = admin.get_programme(unknown).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    serving.stop();
}

#[test]
fn n12_a_revision_that_was_served_is_never_changed() {
    let place = with_programme(RULES);
    place.serve().stop();
    // Comments and layout may change.
    let file = place.path("vendor.toml");
    fs::write(&file, format!("# Ours.\n\n{RULES}")).unwrap();
    place.serve().stop();
    // Rules may not.
    fs::write(&file, RULES.replace("4000", "5000")).unwrap();
    let changed = place.run(&[
        "serve",
        "--products",
        "127.0.0.1:0",
        "--staff",
        "127.0.0.1:0",
    ]);
    assert_refused(
        changed,
        3,
        &[
            "vendor.toml: programme.rev: revision 1 of vendor-care",
            "raise programme.rev to 2",
        ],
    );
    let raised = RULES.replace("4000", "5000").replace("rev = 1", "rev = 2");
    fs::write(&file, raised).unwrap();
    place.serve().stop();
    // And a refused start has changed nothing: the first revision is as it was.
    fs::write(&file, RULES).unwrap();
    place.serve().stop();
}

#[test]
fn config_check_names_warnings_and_mistakes() {
    let place = with_programme(&RULES.replace("4000", "1999"));
    let (code, stdout, stderr) = place.run(&["config", "check"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        stdout,
        "The configuration is good. Programmes: vendor-care.\n"
    );
    assert!(
        stderr.starts_with("warning: vendor-care: lapse: "),
        "{stderr}"
    );
    assert!(stderr.contains("S-24"), "{stderr}");
    fs::write(place.path("vendor.toml"), RULES.replace("UTC", "Mars")).unwrap();
    assert_refused(
        place.run(&["config", "check"]),
        3,
        &["vendor.toml: programme.tz: "],
    );
}

#[test]
fn explain_says_what_a_file_means() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("vendor.toml");
    fs::write(&file, RULES).unwrap();
    let (code, stdout, stderr) =
        run(upkeep_server(["programme", "explain", "--bought", "2024-02-29"]).arg(&file));
    assert_eq!(code, 0, "{stderr}");
    for sentence in [
        "bought on 2024-02-29, it is covered through 2025-02-28",
        "the next term runs from 2025-03-01 through 2026-02-28",
        "A renewal: 20 % of the list price",
        "or later than the license: 40 % of the list price",
    ] {
        assert!(stdout.contains(sentence), "no {sentence:?} in: {stdout}");
    }
    let (code, stdout, _) = run(&mut upkeep_server([
        "programme",
        "explain",
        "seetec-sma",
        "--json",
    ]));
    assert_eq!(code, 0);
    let explained: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(explained["programme_id"], "seetec-sma");
    assert_eq!(explained["warnings"], Value::Array(Vec::new()));
    let titles: Vec<&str> = explained["chapters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chapter| chapter["title"].as_str().unwrap())
        .collect();
    assert!(
        titles.contains(&"Extension") && titles.contains(&"Prices"),
        "{titles:?}"
    );

    // A bad file is told as a whole.
    fs::write(&file, RULES.replace("UTC", "Mars").replace("4000", "-4000")).unwrap();
    assert_refused(
        run(upkeep_server(["programme", "explain"]).arg(&file)),
        3,
        &["programme.tz: ", "lapse.price_bp_of_list: "],
    );
    assert_refused(
        run(&mut upkeep_server(["programme", "explain", "nobody-sma"])),
        3,
        &["nobody-sma cannot be read", "programme list"],
    );
}

#[test]
fn list_shows_what_comes_with_the_server() {
    let (code, stdout, _) = run(&mut upkeep_server(["programme", "list", "--json"]));
    assert_eq!(code, 0);
    let listed: Value = serde_json::from_str(&stdout).unwrap();
    let ids: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["programme_id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [
            "perkinelmer-sma",
            "seetec-maintenance",
            "seetec-sma",
            "smartertools-ms",
            "teklynx-sma"
        ]
    );
    assert_eq!(listed[1]["sold_until"], "2009-12-31");
}

fn last_day(license: &v1::License) -> &str {
    license.terms.last().map_or("", |term| &term.last_date)
}

fn next_day(license: &v1::License) -> String {
    let last = CivilDate::parse(last_day(license)).unwrap();
    last.next().unwrap().to_string()
}

#[test]
fn simulate_compares_a_story_with_what_comes_out() {
    let root = tempfile::tempdir().unwrap();
    let (programme, story) = (
        root.path().join("vendor.toml"),
        root.path().join("story.toml"),
    );
    fs::write(&programme, RULES).unwrap();
    let text = "\
title   = \"Bought and renewed\"
license = { product = \"studio\" }
price   = [{ from = 2026-01-01, list = \"1000.00 EUR\" }]
step    = [
  { on = 2026-03-15, action = \"buy\", expect = { last_day = 2027-03-14 } },
  { on = 2027-03-14, action = \"renew\", expect = { price = \"200.00 EUR\" } },
]
";
    let simulate = |form: &[&str]| {
        let mut command = upkeep_server(["programme", "simulate"]);
        run(command
            .arg(&programme)
            .arg("--story")
            .arg(&story)
            .args(form))
    };
    fs::write(&story, text).unwrap();
    let (code, stdout, stderr) = simulate(&[]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let line = "2027-03-14  renewed 2027-03-15 to 2028-03-14, 200.00 EUR (20 % of the list price 1000.00 EUR)\n";
    assert!(stdout.contains(line), "{stdout}");
    let (code, stdout, _) = simulate(&["--json"]);
    assert_eq!(code, 0);
    let events: Value = serde_json::from_str(&stdout).unwrap();
    let renewed = &events[1];
    assert_eq!(renewed["event"], "renewed");
    assert_eq!(
        (&renewed["step"], &renewed["derived"]),
        (&1.into(), &false.into())
    );
    assert_eq!(renewed["facts"]["last_day"], "2028-03-14");
    assert_eq!(
        renewed["lines"][0]["how"],
        "20 % of the list price 1000.00 EUR"
    );

    // A wrong expectation is shown with what came out.
    fs::write(&story, text.replace("200.00", "199.00")).unwrap();
    let (code, stdout, stderr) = simulate(&[]);
    assert_eq!(code, 5, "{stdout}");
    assert!(stdout.contains("  ! step[1]: price: expected 199.00 EUR, got 200.00 EUR\n"));
    assert!(stderr.contains("1 of 4 expectations"), "{stderr}");
    let (code, stdout, _) = simulate(&["--json"]);
    assert_eq!(code, 5);
    let events: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(events[1]["unmet"][0]["got"], "200.00 EUR");

    // A bad story is told as a whole.
    fs::write(
        &story,
        text.replace("\"buy\"", "\"sell\"")
            .replace("1000.00", "-1000.00"),
    )
    .unwrap();
    assert_refused(
        simulate(&[]),
        3,
        &[
            "story.toml: price[0].list: must not be negative",
            "story.toml: step[0].action: must be buy, ",
        ],
    );
}

#[test]
fn built_in_stories_are_played_by_name() {
    for (story, programme) in upkeep_server::domain::story::built_in_names() {
        let (code, stdout, stderr) = run(&mut upkeep_server([
            "programme",
            "simulate",
            programme,
            "--story",
            story,
        ]));
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    }
    assert_refused(
        run(&mut upkeep_server([
            "programme",
            "simulate",
            "teklynx-sma",
            "--story",
            "nobody",
        ])),
        3,
        &["nobody cannot be read", "perkinelmer, seetec"],
    );
}
