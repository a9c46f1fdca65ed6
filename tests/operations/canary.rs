//! Secrets that are planted in a wide run, and looked for wherever the server writes (SECURITY OPS4).
//!
//! Logs are those of TRACE, of every crate in the process, and the clients' as well. What is looked through: log lines, spans,
//! the metrics page, answers that refuse with all their details, the text of panics, every file of ledger and index. Memory is
//! not: there they have to be.

use std::fs;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use tonic::{Request, Status};
use upkeep::rpc::v1;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep_server::config::MailSecurity;
use upkeep_server::pki::Role;

use crate::device::{Device, Wish, request_id};
use crate::http::get;
use crate::lines::lines;
use crate::scene::Scene;
use crate::traces::collector;

/// A secret, in every form in which it could turn up.
struct Canary {
    what: String,
    forms: Vec<String>,
}

impl Canary {
    /// As it stands, and without the dashes that people type.
    fn text(what: &str, secret: &str) -> Self {
        let forms = [secret.to_owned(), secret.replace('-', "")];
        Self {
            what: what.to_owned(),
            forms: forms.map(|form| letters(form.as_bytes())).into(),
        }
    }

    /// A key of raw bytes: as they stand, in hexadecimal, in base64, and as a list of numbers.
    fn bytes(what: &str, secret: &[u8]) -> Self {
        let listed: Vec<String> = secret.iter().take(12).map(u8::to_string).collect();
        Self {
            what: what.to_owned(),
            forms: vec![
                letters(secret),
                HEXLOWER.encode(secret),
                base64(secret),
                listed.join(", "),
            ],
        }
    }

    /// A file of the data directory: PEM by a line from its middle, anything else as bytes.
    fn file(path: &Path) -> Self {
        let what = path.display().to_string();
        let bytes = fs::read(path).unwrap();
        match std::str::from_utf8(&bytes) {
            Ok(pem) if pem.starts_with("-----BEGIN") => {
                let line = pem.lines().nth(2).filter(|line| line.len() > 20);
                Self::text(&what, line.unwrap_or_else(|| pem.lines().nth(1).unwrap()))
            }
            _ => Self::bytes(&what, &bytes),
        }
    }

    fn is_in(&self, text: &str) -> bool {
        self.forms.iter().any(|form| text.contains(form))
    }
}

/// Something the server wrote.
struct Surface {
    what: String,
    text: String,
}

impl Surface {
    fn new(what: impl ToString, bytes: &[u8]) -> Self {
        Self {
            what: what.to_string(),
            text: letters(bytes),
        }
    }
}

/// Any bytes as text, each as the character of its number, so that they can be searched as fast as text.
fn letters(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Which canaries are where.
fn hits(canaries: &[Canary], surfaces: &[Surface]) -> Vec<String> {
    let mut hits = Vec::new();
    for canary in canaries {
        for surface in surfaces
            .iter()
            .filter(|surface| canary.is_in(&surface.text))
        {
            hits.push(format!("{} in {}", canary.what, surface.what));
        }
    }
    hits
}

#[tokio::test(flavor = "multi_thread")]
async fn g22_no_secret_is_in_anything_that_is_written() {
    lines();
    let dir = tempfile::tempdir().unwrap();
    let password_file = dir.path().join("smtp-password");
    fs::write(&password_file, "canary-smtp-9f3b61\n").unwrap();
    fs::set_permissions(
        &password_file,
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let scene = Scene::new(|settings| {
        settings.weak_passwords = true;
        // Nobody listens there: every attempt to send fails and is logged.
        settings.mail.server = Some("127.0.0.1".into());
        settings.mail.port = 9;
        settings.mail.security = MailSecurity::None;
        settings.mail.user = Some("licenses".into());
        settings.mail.password_file = Some(password_file);
        settings.mail.from = Some("licenses@vendor.example".into());
    })
    .await;
    let (mut canaries, statuses) = wide_run(&scene).await;
    canaries.push(Canary::text(
        "the mail server's password",
        "canary-smtp-9f3b61",
    ));
    let keys = scene.settings.data_dir.join("keys");
    for name in ["ca.key", "tls.key", "signing.key", "pepper", "code.key"] {
        canaries.push(Canary::file(&keys.join(name)));
    }
    for entry in fs::read_dir(keys.join("customers")).unwrap() {
        canaries.push(Canary::file(&entry.unwrap().path()));
    }
    canaries.push(Canary::file(
        &scene.settings.data_dir.join("admin/admin.key"),
    ));
    assert!(canaries.len() >= 14, "{}", canaries.len());

    let metrics = get(scene.ops, "/metrics").await.body;
    let data_dir = scene.settings.data_dir.clone();
    // Stopped, so that everything has been written.
    let Scene { running, _dir, .. } = scene;
    running.stop().await.unwrap();
    let mut surfaces = vec![
        Surface::new("log lines", lines().text().as_bytes()),
        Surface::new("spans", format!("{:?}", collector().all()).as_bytes()),
        Surface::new("metrics", metrics.as_bytes()),
    ];
    for status in &statuses {
        let shown = format!("{status:?}");
        surfaces.push(Surface::new("an answer that refuses", shown.as_bytes()));
        surfaces.push(Surface::new("its details", status.details()));
    }
    for part in ["ledger", "index"] {
        files_below(&data_dir.join(part), &mut surfaces);
    }
    let seen: usize = surfaces.iter().map(|surface| surface.text.len()).sum();
    assert!(seen > 1_000_000, "the run was wide: {seen} bytes");
    assert!(statuses.len() >= 6);
    // Neither is a secret, and they show that these are the lines and the entries of this run.
    for (part, sign) in [("log lines", "CreateUpdateRequest"), ("ledger", "CAN-1000")] {
        let mut of_part = surfaces
            .iter()
            .filter(|surface| surface.what.contains(part));
        assert!(of_part.any(|surface| surface.text.contains(sign)), "{part}");
    }
    let found = hits(&canaries, &surfaces);
    assert!(found.is_empty(), "{found:#?}");

    // The finder finds: each canary in each of its forms, in the middle of each kind of surface.
    for canary in &canaries {
        for form in &canary.forms {
            for surface in surfaces.iter().take(5).chain(surfaces.last()) {
                let around: String = surface.text.chars().take(2_000).collect();
                let planted = format!("{around}{form}{around}");
                assert!(
                    canary.is_in(&planted),
                    "{} in {}",
                    canary.what,
                    surface.what
                );
            }
        }
    }
    // And a leak as it would really happen, through the logging of this very process.
    tracing::trace!(leak = "canary-smtp-9f3b61", "planted");
    let logs = [Surface::new("log lines", lines().text().as_bytes())];
    assert_eq!(hits(&canaries, &logs).len(), 1);
}

/// Every kind of call, granted and refused, with secrets in all places that take one.
async fn wide_run(scene: &Scene) -> (Vec<Canary>, Vec<Status>) {
    let mut canaries = vec![
        Canary::text("a customer's address", "it@baker.example"),
        Canary::text("a customer's name", "Bäckerei Müller"),
        Canary::text("an address in a request", "canary-update@baker.example"),
        Canary::text("a wrong password", "canary-wrong-password-77"),
    ];
    let mut statuses = Vec::new();
    let wish = scene.license("CAN-1000", 2).await;
    let mut admin = scene.admin().await;
    let weak = crate::world::license(&mut admin, "NSP-CAN-1", 1, "2026-01-01").await;
    for wish in [&wish, &weak] {
        let secret = match &wish.credential {
            v1::credential::Secret::ActivationCode(code) => code,
            v1::credential::Secret::Password(password) => password,
            other => panic!("{other:?}"),
        };
        canaries.push(Canary::text("a credential", secret));
    }
    let mut api = scene.api().await;
    let device = Device::new();
    let first = device
        .activate(&mut api, &wish, &request_id())
        .await
        .unwrap();
    canaries.push(Canary::text("a product code", &first.product_code));
    Device::new()
        .activate(&mut api, &weak, &request_id())
        .await
        .unwrap();
    let wrong = |secret| Wish {
        credential: secret,
        ..wish.clone()
    };
    for bad in [
        wrong(v1::credential::Secret::ActivationCode(
            "CANAR-YCANA-RYCAN-ARYCA-NARYC".into(),
        )),
        wrong(v1::credential::Secret::Password(
            "canary-wrong-password-77".into(),
        )),
        Wish {
            serial: weak.serial.clone(),
            ..wrong(v1::credential::Secret::Password(
                "canary-wrong-password-77".into(),
            ))
        },
    ] {
        let refused = Device::new().activate(&mut api, &bad, &request_id()).await;
        statuses.push(refused.unwrap_err());
    }
    canaries.push(Canary::text(
        "a wrong code",
        "CANAR-YCANA-RYCAN-ARYCA-NARYC",
    ));
    let activation = first.activation_id.clone();
    device.verify(&mut api, &activation).await.unwrap();
    statuses.push(
        Device::new()
            .verify(&mut api, &activation)
            .await
            .unwrap_err(),
    );

    let shown = |wish: &Wish| {
        Some(v1::Credential {
            secret: Some(wish.credential.clone()),
        })
    };
    let mut maintenance = MaintenanceServiceClient::new(scene.products().await);
    let quote = v1::CreateQuoteRequest {
        serial: wish.serial.clone(),
        credential: shown(&wish),
        terms: 1,
        ..Default::default()
    };
    if let Err(status) = maintenance.create_quote(quote).await {
        statuses.push(status);
    }
    let mut customer = CustomerServiceClient::new(scene.products().await);
    let asked = v1::CreateUpdateRequestRequest {
        request_id: String::new(),
        serial: wish.serial.clone(),
        credential: shown(&wish),
        details: Some(v1::UpdateRequestDetails {
            email: "canary-update@baker.example".into(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            license_type: "single-user".into(),
            ..Default::default()
        }),
    };
    let made = customer.create_update_request(asked.clone()).await;
    match made {
        Err(status) => statuses.push(status),
        Ok(made) => {
            let id = made.into_inner().update_request.unwrap().update_request_id;
            let mut support = SupportServiceClient::new(scene.staff(Role::Support, "eva").await);
            let generate = v1::SupportServiceGenerateUpgradeCodeRequest {
                request_id: String::new(),
                update_request_id: id,
            };
            match support.generate_upgrade_code(generate).await {
                Ok(code) => {
                    let code = code.into_inner().upgrade_code.unwrap().code;
                    canaries.push(Canary::text("an upgrade code", &code));
                }
                Err(status) => statuses.push(status),
            }
        }
    }
    let malformed = v1::CreateUpdateRequestRequest {
        serial: "!".into(),
        ..asked
    };
    statuses.push(customer.create_update_request(malformed).await.unwrap_err());
    let mut unknown = Request::new(v1::GetMaintenanceStatusRequest {
        serial: "NOBODY-1".into(),
    });
    let authorization = "Bearer canary-smtp-9f3b61".parse().unwrap();
    unknown
        .metadata_mut()
        .insert("authorization", authorization);
    statuses.extend(customer.get_maintenance_status(unknown).await.err());
    (canaries, statuses)
}

fn files_below(dir: &Path, into: &mut Vec<Surface>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, into);
        } else {
            into.push(Surface::new(path.display(), &fs::read(&path).unwrap()));
        }
    }
}

/// Without its last, padded group, so that it is found within a longer text as well.
fn base64(bytes: &[u8]) -> String {
    let whole = bytes.len() - bytes.len() % 3;
    BASE64.encode(&bytes[..whole])
}
