//! A vendor's data directory with products, and the commands that fill and read it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use upkeep::rpc::v1::CreateProductRequest;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep_server::clock::SystemClock;
use upkeep_server::config::Settings;
use upkeep_server::flow::check::verify_records;
use upkeep_server::random::SystemRandom;
use upkeep_server::serve::Server;
use upkeep_server::store::{Options, Store};

use crate::world::{Place, Serving};

/// How a command ended: exit code, standard output, standard error.
pub(crate) type Answer = (i32, String, String);

pub(crate) struct Vendor {
    pub(crate) place: Place,
}

impl Vendor {
    /// With the products `label` (teklynx-sma) and `mail` (smartertools-ms).
    pub(crate) fn new() -> Self {
        let vendor = Self {
            place: Place::new(),
        };
        let serving = vendor.place.serve();
        vendor.create_products(&serving);
        serving.stop();
        vendor
    }

    fn create_products(&self, serving: &Serving) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut admin = AdminServiceClient::new(self.place.admin(serving).await);
            for (product, programme) in [("label", "teklynx-sma"), ("mail", "smartertools-ms")] {
                let product = CreateProductRequest {
                    product_id: product.to_owned(),
                    display_name: product.to_owned(),
                    programme_id: programme.to_owned(),
                    ..Default::default()
                };
                admin.create_product(product).await.unwrap();
            }
        });
    }

    /// A file beside the data directory.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.place.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// `import NAME`, with the content written first.
    pub(crate) fn import(&self, name: &str, content: impl AsRef<[u8]>, more: &[&str]) -> Answer {
        let path = self.file(name, content).display().to_string();
        self.place.run(&[&["import", &path], more].concat())
    }

    /// The same with `--json`: exit code and report.
    pub(crate) fn report(&self, name: &str, content: &str, more: &[&str]) -> (i32, Value) {
        let (code, stdout, stderr) = self.import(name, content, &[&["--json"], more].concat());
        let report = serde_json::from_str(&stdout);
        (code, report.unwrap_or_else(|_| panic!("{stdout}{stderr}")))
    }

    /// The errors of an import: field, reason and what, by line.
    pub(crate) fn errors(&self, name: &str, content: impl AsRef<[u8]>) -> Vec<(u64, String)> {
        let path = self.place.path("errors.jsonl");
        let _absent = fs::remove_file(&path);
        let errors = path.display().to_string();
        let (code, _, stderr) = self.import(name, content, &["--errors", &errors]);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(code, if text.is_empty() { 0 } else { 5 }, "{stderr}");
        let line = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap();
            let part = |name: &str| value[name].as_str().unwrap().to_owned();
            assert!(!part("next").is_empty(), "{line}");
            let said = format!("{} {}: {}", part("reason"), part("field"), part("what"));
            (value["line"].as_u64().unwrap(), said)
        };
        text.lines().map(line).collect()
    }

    pub(crate) fn export(&self, more: &[&str]) -> String {
        let (code, stdout, stderr) = self.place.run(&[&["export"], more].concat());
        assert_eq!(code, 0, "{stderr}");
        stdout
    }

    /// The newest entry of the ledger.
    pub(crate) fn head(&self) -> u64 {
        let store = Store::open(Options::new(self.place.data())).unwrap();
        let head = store.head().sequence();
        store.close().unwrap();
        head
    }

    /// Nothing that is stored contradicts anything else.
    pub(crate) fn check_records(&self) {
        let settings = Settings {
            data_dir: self.place.data(),
            ..Settings::default()
        };
        let clock = Arc::new(SystemClock);
        let server = Server::open(&settings, clock, Arc::new(SystemRandom)).unwrap();
        let violations = verify_records(server.deps()).unwrap();
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "records:\n{}", lines.join("\n"));
    }
}

/// A row that every rule likes: license `number` of one of a hundred customers.
pub(crate) fn row(number: u64) -> Value {
    json!({
        "external_id": format!("legacy/{number}"),
        "serial": format!("LS-{number:06}"),
        "product_id": "label",
        "customer_external_id": format!("K {}", number % 100),
        "customer_name": format!("Customer {}", number % 100),
        "customer_email": format!("it@customer-{}.example", number % 100),
        "partner_id": format!("partner-{}", number % 5),
        "partner_name": format!("Partner {}", number % 5),
        "protection": "software_key",
        "license_type": "single-user",
        "edition": "pro",
        "seats": 1 + number % 9,
        "purchase_date": "2019-03-01",
        "terms": [
            { "first_date": "2019-03-01", "last_date": "2020-02-29" },
            { "first_date": "2020-03-01", "last_date": "2021-02-28" },
        ],
    })
}

/// The row with some members changed; `null` takes one away.
pub(crate) fn with(mut row: Value, changes: Value) -> Value {
    let members = row.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    row
}

/// JSON lines.
pub(crate) fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}
