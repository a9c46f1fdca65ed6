//! Secrets that are planted in a wide run, and looked for wherever the server writes (SECURITY OPS4).
//!
//! Logs are those of TRACE, of every crate in the process, and the clients' as well. What is looked through: log lines, spans,
//! the metrics page, answers that refuse with all their details, the text of panics, every file of ledger and index. Memory is
//! not: there they have to be.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use tonic::transport::Channel;
use tonic::{Request, Status};
use upkeep::rpc::v1;
use upkeep::rpc::v1::credential::Secret;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep_server::config::MailSecurity;
use upkeep_server::pki::Role;

use crate::device::{Device, Wish, request_id};
use crate::http::get;
use crate::lines::lines;
use crate::postman::Postman;
use crate::scene::Scene;
use crate::traces::collector;
use crate::world::{license, server_key};

const SMTP_PASSWORD: &str = "canary-smtp-9f3b61";

/// What has to be among the canaries, beside the keys' files.
const PLANTED: [&str; 17] = [
    "a customer's address",
    "a customer's name",
    "an activation code",
    "an activation code of another license",
    "a password",
    "an imported password",
    "a product code",
    "another product code",
    "an address in a quote",
    "an address in a request",
    "a replaced upgrade code",
    "an upgrade code",
    "the next product code",
    "the next activation code",
    "a wrong password",
    "a code that is none",
    "the mail server's password",
];

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
    fs::write(&password_file, format!("{SMTP_PASSWORD}\n")).unwrap();
    fs::set_permissions(
        &password_file,
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let mut postman = Postman::start().await;
    let scene = Scene::new(|settings| {
        settings.weak_passwords = true;
        settings.mail.server = Some("127.0.0.1".into());
        settings.mail.port = postman.port;
        settings.mail.security = MailSecurity::None;
        settings.mail.user = Some("licenses".into());
        settings.mail.password_file = Some(password_file);
        settings.mail.from = Some("licenses@vendor.example".into());
    })
    .await;
    let (mut canaries, statuses) = wide_run(&scene, &mut postman).await;
    canaries.push(Canary::text("the mail server's password", SMTP_PASSWORD));
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
    let planted: BTreeSet<&str> = canaries.iter().map(|one| one.what.as_str()).collect();
    for what in PLANTED {
        assert!(planted.contains(what), "{what} is not among {planted:?}");
    }

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
    tracing::trace!(leak = SMTP_PASSWORD, "planted");
    let logs = [Surface::new("log lines", lines().text().as_bytes())];
    assert_eq!(hits(&canaries, &logs).len(), 1);
}

/// What was planted, and what was refused.
struct Run<'a> {
    scene: &'a Scene,
    canaries: Vec<Canary>,
    statuses: Vec<Status>,
}

/// Every call that takes a secret gets one, and every call that gives one gives it, but for hardware: the secret of an enrollment needs
/// a chip. A dongle's number, which stands for a secret, and an unlock code are none: they are of use on that dongle alone.
async fn wide_run(scene: &Scene, postman: &mut Postman) -> (Vec<Canary>, Vec<Status>) {
    let mut run = Run {
        scene,
        canaries: Vec::new(),
        statuses: Vec::new(),
    };
    run.plant("a customer's address", "it@baker.example");
    run.plant("a customer's name", "Bäckerei Müller");
    let wish = scene.license("CAN-1000", 2).await;
    run.plant("an activation code", secret(&wish));
    let imported = run.import().await;
    let other = license(&mut scene.admin().await, "CAN-2000", 1, "2026-01-01").await;
    run.plant("an activation code of another license", secret(&other));
    // Made with a password, as CreateLicense takes it.
    license(&mut scene.admin().await, "NSP-CAN-3", 1, "2026-01-01").await;
    run.plant("a password", "correct horse battery");
    run.tell_code(&wish).await;
    let (device, activation) = run.activate(&wish, &imported).await;
    run.maintain(&wish).await;
    run.give_back(&device, &activation).await;
    run.upgrade(&wish, postman).await;
    // Last, for wrong guesses make their license wait.
    run.guess(&other, &imported).await;
    (run.canaries, run.statuses)
}

impl Run<'_> {
    fn plant(&mut self, what: &str, secret: &str) {
        self.canaries.push(Canary::text(what, secret));
    }

    fn refused<T>(&mut self, answer: Result<T, Status>) {
        self.statuses
            .push(answer.err().expect("this call is refused"));
    }

    /// A license with a password, by import; and one whose password is refused.
    async fn import(&mut self) -> Wish {
        let (good, short) = ("canary-imported-password-31", "c?n");
        let row = |number: u64, password: &str| v1::ImportRow {
            number,
            license: Some(v1::LicenseRow {
                serial: format!("NSP-CAN-{number}"),
                product_id: "label-studio".into(),
                customer_id: "baker".into(),
                protection: v1::Protection::SoftwareKey.into(),
                license_type: "single-user".into(),
                edition: "pro".into(),
                seats: 1,
                purchase_date: "2026-01-01".into(),
                password: password.into(),
                ..Default::default()
            }),
        };
        let batch = v1::ImportLicensesRequest {
            dry_run: false,
            rows: vec![row(1, good), row(2, short)],
        };
        let mut admin = self.scene.admin().await;
        let answers = admin.import_licenses(tokio_stream::once(batch)).await;
        let report = answers.unwrap().into_inner().message().await.unwrap();
        let report = report.unwrap();
        assert_eq!((report.created, report.refused), (1, 1), "{report:?}");
        self.plant("an imported password", good);
        let text = format!("{report:?}");
        assert!(!text.contains(good) && !text.contains(short), "{text}");
        Wish {
            serial: "NSP-CAN-1".into(),
            credential: Secret::Password(good.into()),
            product: "label-studio".into(),
            version: "10.0".into(),
        }
    }

    /// Support reads an activation code out.
    async fn tell_code(&mut self, wish: &Wish) {
        let mut support = self.support().await;
        let asked = v1::GetActivationCodeRequest {
            serial: wish.serial.clone(),
            reason: "lost".into(),
        };
        let told = support.get_activation_code(asked).await.unwrap();
        assert_eq!(told.into_inner().activation_code, secret(wish));
    }

    /// One device by code, one by password, one by the first one's product code.
    async fn activate(&mut self, wish: &Wish, imported: &Wish) -> (Device, String) {
        let mut api = self.scene.api().await;
        let device = Device::new();
        let first = device.activate(&mut api, wish, &request_id()).await;
        let first = first.unwrap();
        self.plant("a product code", &first.product_code);
        let by_password = Device::new()
            .activate(&mut api, imported, &request_id())
            .await;
        self.plant("another product code", &by_password.unwrap().product_code);
        let id = first.activation_id;
        device.verify(&mut api, &id).await.unwrap();
        self.refused(Device::new().verify(&mut api, &id).await);
        let mut customer = CustomerServiceClient::new(self.scene.products().await);
        let by_product_code = v1::GetLicenseRequest {
            serial: wish.serial.clone(),
            credential: shown(&Secret::ProductCode(first.product_code)),
        };
        customer.get_license(by_product_code).await.unwrap();
        (device, id)
    }

    /// Each call about maintenance with the license's secret, whatever it answers.
    async fn maintain(&mut self, wish: &Wish) {
        let mut calls = MaintenanceServiceClient::new(self.scene.products().await);
        macro_rules! ask {
            ($($call:ident: $request:ident { $($more:tt)* })+) => {$(
                #[allow(clippy::needless_update, reason = "most have more fields")]
                let asked = v1::$request {
                    serial: wish.serial.clone(),
                    credential: shown(&wish.credential),
                    $($more)*
                    ..Default::default()
                };
                self.statuses.extend(calls.$call(asked).await.err());
            )+};
        }
        ask! {
            get_maintenance: GetMaintenanceRequest {}
            get_fee_schedule: GetFeeScheduleRequest { years: 2, }
            create_quote: CreateQuoteRequest { terms: 1, contact: "canary-quote@baker.example".into(), }
            get_quote: GetQuoteRequest { quote_id: request_id(), }
            list_quotes: ListQuotesRequest {}
            place_order: PlaceOrderRequest { quote_id: request_id(), }
            get_order: GetOrderRequest { order_id: request_id(), }
            list_orders: ListOrdersRequest {}
            cancel_maintenance: CancelMaintenanceRequest {}
            withdraw_cancellation: WithdrawCancellationRequest {}
            check_support: CheckSupportRequest { version: "10.0".into(), }
            check_download: CheckDownloadRequest { version: "10.0".into(), }
            check_add_on: CheckAddOnRequest { add_on: "any".into(), version: "10.0".into(), }
            get_unlock_code: GetUnlockCodeRequest {}
        }
        self.plant("an address in a quote", "canary-quote@baker.example");
    }

    async fn give_back(&mut self, device: &Device, activation: &str) {
        let mut api = self.scene.api().await;
        let key = server_key(&mut api).await;
        let ticket = device.ticket(&mut api, activation).await.unwrap();
        let other = Device::new().prove(&ticket, &key);
        self.refused(api.deactivate(v1::DeactivateRequest { proof: other }).await);
        let proof = device.prove(&ticket, &key);
        api.deactivate(v1::DeactivateRequest { proof })
            .await
            .unwrap();
    }

    /// From the customer's request to the code that is redeemed: one that was replaced, by mail, and the one that counts.
    async fn upgrade(&mut self, wish: &Wish, postman: &mut Postman) {
        let device = Device::new();
        let mut customer = CustomerServiceClient::new(self.scene.products().await);
        let asked = v1::CreateUpdateRequestRequest {
            request_id: String::new(),
            serial: wish.serial.clone(),
            credential: shown(&wish.credential),
            details: Some(v1::UpdateRequestDetails {
                email: "canary-update@baker.example".into(),
                virtual_environment: v1::VirtualEnvironment::No.into(),
                license_type: "single-user".into(),
                device_thumbprint: device.thumbprint(),
                ..Default::default()
            }),
        };
        self.plant("an address in a request", "canary-update@baker.example");
        let malformed = v1::CreateUpdateRequestRequest {
            serial: "!".into(),
            ..asked.clone()
        };
        self.refused(customer.create_update_request(malformed).await);
        let made = customer.create_update_request(asked.clone()).await.unwrap();
        let withdraw = v1::WithdrawUpdateRequestRequest {
            serial: wish.serial.clone(),
            credential: shown(&wish.credential),
            update_request_id: id_of(made.into_inner().update_request),
            request_id: String::new(),
        };
        customer.withdraw_update_request(withdraw).await.unwrap();
        let asked = v1::PartnerServiceCreateUpdateRequestRequest {
            request_id: String::new(),
            serial: asked.serial,
            credential: asked.credential,
            details: asked.details,
        };
        let mut partner = PartnerServiceClient::new(self.scene.staff(Role::Partner, "acme").await);
        let made = partner.create_update_request(asked).await.unwrap();
        let id = id_of(made.into_inner().update_request);
        let look = v1::GetUpdateRequestRequest {
            serial: wish.serial.clone(),
            credential: shown(&wish.credential),
            update_request_id: id.clone(),
        };
        customer.get_update_request(look).await.unwrap();

        let mut support = self.support().await;
        let generate = v1::SupportServiceGenerateUpgradeCodeRequest {
            request_id: String::new(),
            update_request_id: id.clone(),
        };
        let code = support.generate_upgrade_code(generate).await.unwrap();
        let replaced = code.into_inner().upgrade_code.unwrap().code;
        self.plant("a replaced upgrade code", &replaced);
        postman.letter_with(&replaced).await;
        let reissue = v1::ReissueUpgradeCodeRequest {
            request_id: request_id(),
            update_request_id: id.clone(),
            reason: "lost".into(),
        };
        let code = support.reissue_upgrade_code(reissue).await.unwrap();
        let code = code.into_inner().upgrade_code.unwrap().code;
        self.plant("an upgrade code", &code);
        let resend = v1::ResendUpgradeCodeMailRequest {
            request_id: request_id(),
            update_request_id: id,
        };
        support.resend_upgrade_code_mail(resend).await.unwrap();
        postman.letter_with(&code).await;

        let mut api = self.scene.api().await;
        let serial = &wish.serial;
        self.refused(device.redeem(&mut api, serial, &replaced, "11.0").await);
        let redeemed = device.redeem(&mut api, serial, &code, "11.0").await;
        let redeemed = redeemed.unwrap();
        self.plant("the next product code", &redeemed.product_code);
        self.plant("the next activation code", &redeemed.activation_code);
        // The secret of before is of no use any more.
        self.refused(device.activate(&mut api, wish, &request_id()).await);
    }

    /// Secrets that are wrong: a proper code of another license, a password, a code that is none.
    async fn guess(&mut self, other: &Wish, imported: &Wish) {
        let (password, nonsense) = ("canary-wrong-password-77", "CANAR-YCANA-RYCAN-ARYCA-NARYC");
        self.plant("a wrong password", password);
        self.plant("a code that is none", nonsense);
        let mut api = self.scene.api().await;
        for (serial, secret) in [
            ("CAN-1000", other.credential.clone()),
            ("CAN-1000", Secret::Password(password.into())),
            (&imported.serial, Secret::Password(password.into())),
            ("CAN-2000", Secret::ActivationCode(nonsense.into())),
        ] {
            let wrong = Wish {
                serial: serial.to_owned(),
                credential: secret,
                ..other.clone()
            };
            let guessed = Device::new()
                .activate(&mut api, &wrong, &request_id())
                .await;
            self.refused(guessed);
        }
        let mut unknown = Request::new(v1::GetMaintenanceStatusRequest {
            serial: "NOBODY-1".into(),
        });
        let authorization = format!("Bearer {SMTP_PASSWORD}").parse().unwrap();
        unknown
            .metadata_mut()
            .insert("authorization", authorization);
        let mut customer = CustomerServiceClient::new(self.scene.products().await);
        customer.get_maintenance_status(unknown).await.unwrap();
    }

    async fn support(&self) -> SupportServiceClient<Channel> {
        SupportServiceClient::new(self.scene.staff(Role::Support, "eva").await)
    }
}

fn secret(wish: &Wish) -> &str {
    match &wish.credential {
        Secret::ActivationCode(code) => code,
        other => panic!("{other:?}"),
    }
}

fn shown(secret: &Secret) -> Option<v1::Credential> {
    Some(v1::Credential {
        secret: Some(secret.clone()),
    })
}

fn id_of(request: Option<v1::UpdateRequest>) -> String {
    request.unwrap().update_request_id
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
