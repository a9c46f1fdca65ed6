//! Mails through a real mail server (aiosmtpd, see smtpd.py): a server in this process, on a clock that the tests move.
//!
//! `tests/mail/setup.sh` fetches aiosmtpd; `UPKEEP_MAIL_PYTHON` names another Python. Without it these tests are skipped with a
//! line on stderr; with `UPKEEP_REQUIRE_INTEROP=1` they fail. Nothing waits for a time, everything for a condition.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../binaries/mod.rs"]
mod binaries;
#[path = "../e2e/dial.rs"]
mod dial;
mod smtpd;
mod world;

use chrono::TimeDelta;
use serde_json::{Value, json};
use upkeep::artefact::UpgradeCode;
use upkeep::rpc::v1::{self, MailState};
use upkeep::{armor, jws, key};
use upkeep_server::config::{MailSecurity, MailSettings};

use crate::binaries::{run, upkeep_server};
use crate::smtpd::{Smtpd, until};
use crate::world::{SERIAL, TO, World, request_id};

fn text<'a>(message: &'a Value, key: &str) -> &'a str {
    message[key].as_str().unwrap()
}

/// The mail of T-23 and T-31, in the customer's language, with text form and file.
async fn code_mail(security: MailSecurity, language: &str, words: &[&str]) {
    let Some(smtpd) = Smtpd::start(security) else {
        return;
    };
    let world = World::new(smtpd.settings()).await;
    world.sell(language).await;
    let (id, code) = world.generate_code(TO).await;
    let taken = smtpd.take(1).await;
    let message = &taken[0];
    assert_eq!(message["to"], json!([TO]));
    assert_eq!(message["from"], "licenses@vendor.example");
    assert_eq!(message["tls"], true);
    assert_eq!(message["login"], true);
    assert_eq!(message["reply_to"], "help@vendor.example");
    assert_eq!(message["auto_submitted"], "auto-generated");
    let body = text(message, "text");
    for word in words.iter().copied().chain([
        code.code.as_str(),
        "11.0",
        SERIAL,
        "株式会社ベーカリー",
        id.as_str(),
    ]) {
        assert!(body.contains(word), "{word}: {body}");
    }
    let name = format!("upgrade-code-{SERIAL}.txt");
    let file = message["files"][&name].as_str().unwrap();
    // Signed anew, so the signatures differ; what is signed is the same.
    let signed = |file: &str| {
        let sealed = armor::read_either::<UpgradeCode>(file).unwrap();
        let (signed, _) = sealed.rsplit_once('.').unwrap();
        signed.to_owned()
    };
    assert_eq!(signed(file), signed(&code.file));
    let sealed = armor::read_either::<UpgradeCode>(file).unwrap();
    let keys = world.server_keys().await;
    let read = jws::verify::<UpgradeCode>(&sealed, |kid| keys.get(kid).cloned(), key::verify);
    assert_eq!(read.unwrap().claims().serial.as_str(), SERIAL);
    let sent = world
        .mail("it is on record as sent", |mail| {
            mail.state() == MailState::Sent
        })
        .await;
    assert_eq!(sent.kind, "upgrade-code");
    assert_eq!(sent.recipient, format!("requester/{id}"));
    assert!(text(message, "message_id").contains(&sent.mail_id));
    // Neither address nor code is anywhere in the record.
    assert!(!format!("{sent:?}").contains('@'), "{sent:?}");
}

#[tokio::test]
async fn the_upgrade_code_goes_out_over_starttls_in_japanese() {
    let words = ["2026年", "アップグレードコード"];
    code_mail(MailSecurity::StartTls, "ja", &words).await;
}

#[tokio::test]
async fn the_upgrade_code_goes_out_over_implicit_tls_in_german() {
    let words = ["Upgrade-Code", "Guten Tag"];
    code_mail(MailSecurity::Tls, "de-AT", &words).await;
}

#[tokio::test]
async fn a_mail_server_with_a_wrong_certificate_gets_nothing() {
    let Some(smtpd) = Smtpd::start(MailSecurity::StartTls) else {
        return;
    };
    let settings = MailSettings {
        ca_file: Some(smtpd.path("other-ca.pem")),
        ..smtpd.settings()
    };
    let mut world = World::new(settings).await;
    world.sell("en").await;
    world.generate_code(TO).await;
    let waiting = world
        .mail("an attempt fails", |mail| mail.attempts == 1)
        .await;
    assert_eq!(waiting.state(), MailState::Pending);
    assert!(waiting.last_error.contains("TLS"), "{waiting:?}");
    assert_eq!(smtpd.taken().len(), 0);

    // Corrected and started again, nothing is lost: the mail was queued all the time.
    world.stop().await;
    world.settings.mail = smtpd.settings();
    world.advance(TimeDelta::minutes(1));
    world.start().await;
    assert_eq!(smtpd.take(1).await.len(), 1);
}

#[tokio::test]
async fn a_mail_server_without_starttls_gets_nothing() {
    let Some(smtpd) = Smtpd::start(MailSecurity::None) else {
        return;
    };
    let settings = MailSettings {
        security: MailSecurity::StartTls,
        ..smtpd.settings()
    };
    let world = World::new(settings).await;
    world.sell("en").await;
    world.generate_code(TO).await;
    world
        .mail("an attempt fails", |mail| mail.attempts == 1)
        .await;
    assert_eq!(smtpd.taken().len(), 0);
}

#[tokio::test]
async fn what_is_refused_for_now_is_sent_later() {
    let Some(smtpd) = Smtpd::start(MailSecurity::StartTls) else {
        return;
    };
    smtpd.rules(&json!({ TO: 451 }));
    let world = World::new(smtpd.settings()).await;
    world.sell("en").await;
    world.generate_code(TO).await;
    for (attempts, minutes) in [(1, 1), (2, 2), (3, 4)] {
        let waiting = world
            .mail("it is refused", |mail| mail.attempts == attempts)
            .await;
        let next = waiting.next_attempt_time.unwrap().seconds;
        let wait = TimeDelta::seconds(next - world.now().timestamp());
        assert_eq!(wait, TimeDelta::minutes(minutes), "{waiting:?}");
        assert!(waiting.last_error.contains("451"), "{waiting:?}");
        assert!(!waiting.last_error.contains('@'), "{waiting:?}");
        if attempts == 3 {
            smtpd.rules(&json!({}));
        }
        world.advance(TimeDelta::minutes(minutes));
    }
    smtpd.take(1).await;
    let sent = world
        .mail("it is sent", |mail| mail.state() == MailState::Sent)
        .await;
    assert_eq!(sent.attempts, 3);
    assert_eq!(sent.last_error, "");
}

#[tokio::test]
async fn what_is_refused_for_good_is_a_dead_letter_until_it_is_taken_up_again() {
    let Some(smtpd) = Smtpd::start(MailSecurity::StartTls) else {
        return;
    };
    smtpd.rules(&json!({ TO: 550 }));
    let world = World::new(smtpd.settings()).await;
    world.sell("en").await;
    world.generate_code(TO).await;
    let dead = world
        .mail("it is given up", |mail| mail.state() == MailState::Dead)
        .await;
    assert!(dead.last_error.contains("550"), "{dead:?}");
    assert_eq!(world.outbox(MailState::Dead).await.len(), 1);
    assert_eq!(world.outbox(MailState::Pending).await.len(), 0);

    // By the command, over the network, as an operator does it.
    let config = world.config_file();
    let address = world.staff_address();
    let command = |arguments: &[&str]| {
        let mut command = upkeep_server(arguments);
        command.arg("--config").arg(&config);
        if arguments[1] != "test" {
            command.args(["--address", &address]);
        }
        command
    };
    let run_command = async |arguments: &[&str]| {
        let mut command = command(arguments);
        tokio::task::spawn_blocking(move || run(&mut command))
            .await
            .unwrap()
    };
    let (code, stdout, stderr) =
        run_command(&["mail", "outbox", "--state", "dead", "--json"]).await;
    assert_eq!(code, 0, "{stderr}");
    let listed: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(listed[0]["mail_id"], json!(dead.mail_id));
    assert_eq!(listed[0]["state"], "dead");
    assert_eq!(listed[0]["attempts"], 1);

    smtpd.rules(&json!({}));
    let (code, stdout, stderr) = run_command(&["mail", "retry", "--all-dead"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(&dead.mail_id), "{stdout}");
    smtpd.take(1).await;
    world
        .mail("it is sent", |mail| mail.state() == MailState::Sent)
        .await;
    let (code, _, stderr) = run_command(&["mail", "retry", &dead.mail_id]).await;
    assert_eq!(code, 5, "a mail that was sent is not sent twice: {stderr}");

    let (code, stdout, stderr) =
        run_command(&["mail", "preview", "upgrade-code", "--serial", SERIAL]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("XXXXX-XXXXX"), "{stdout}");
    assert!(stdout.contains("株式会社ベーカリー"), "{stdout}");
    let (code, _, stderr) = run_command(&["mail", "preview", "postcard"]).await;
    assert_eq!(code, 5);
    assert!(stderr.contains("reminder-customer"), "{stderr}");

    let (code, _, stderr) = run_command(&["mail", "test", "--to", "me@vendor.example"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(smtpd.take(2).await[1]["to"], json!(["me@vendor.example"]));
    smtpd.rules(&json!({ "me@vendor.example": 553 }));
    let (code, _, stderr) = run_command(&["mail", "test", "--to", "me@vendor.example"]).await;
    assert_eq!(code, 5, "{stderr}");
    assert!(stderr.contains("check the recipient"), "{stderr}");
    std::fs::write(smtpd.path("password"), "wrong").unwrap();
    let (code, _, stderr) = run_command(&["mail", "test", "--to", "me@vendor.example"]).await;
    assert_eq!(code, 5, "{stderr}");
    assert!(stderr.contains("mail.password_file"), "{stderr}");
}

#[tokio::test]
async fn a_lost_answer_sends_again_under_the_same_message_id() {
    let Some(smtpd) = Smtpd::start(MailSecurity::StartTls) else {
        return;
    };
    smtpd.rules(&json!({ TO: "drop" }));
    let world = World::new(smtpd.settings()).await;
    world.sell("fr").await;
    world.generate_code(TO).await;
    world
        .mail("the answer is lost", |mail| mail.attempts == 1)
        .await;
    smtpd.rules(&json!({}));
    world.advance(TimeDelta::minutes(1));
    let taken = smtpd.take(2).await;
    assert_eq!(text(&taken[0], "message_id"), text(&taken[1], "message_id"));
    world
        .mail("it is sent", |mail| mail.state() == MailState::Sent)
        .await;
}

#[tokio::test]
async fn without_a_mail_server_mails_wait_and_survive_restarts() {
    let mut world = World::new(MailSettings::default()).await;
    world.sell("en").await;
    world.generate_code(TO).await;
    let waiting = world.outbox(MailState::Pending).await;
    assert_eq!(waiting.len(), 1);
    world.stop().await;
    let Some(smtpd) = Smtpd::start(MailSecurity::Tls) else {
        return;
    };
    world.settings.mail = smtpd.settings();
    world.start().await;
    let taken = smtpd.take(1).await;
    assert!(text(&taken[0], "message_id").contains(&waiting[0].mail_id));
}

#[tokio::test]
async fn a_code_is_mailed_once_and_again_only_when_asked() {
    let Some(smtpd) = Smtpd::start(MailSecurity::StartTls) else {
        return;
    };
    let world = World::new(smtpd.settings()).await;
    world.sell("en").await;
    let (id, _) = world.generate_code(TO).await;
    smtpd.take(1).await;
    world
        .mail("it is sent", |mail| mail.state() == MailState::Sent)
        .await;
    let mut support = world.support().await;
    let again = v1::ResendUpgradeCodeMailRequest {
        request_id: request_id(),
        update_request_id: id.clone(),
    };
    for _ in 0..3 {
        // A retry of one request is one mail.
        support
            .resend_upgrade_code_mail(again.clone())
            .await
            .unwrap();
    }
    let taken = smtpd.take(2).await;
    assert_eq!(taken[0]["text"], taken[1]["text"]);
    assert_ne!(taken[0]["message_id"], taken[1]["message_id"]);

    // A new code makes the old one's mail void; the new one goes out by itself.
    smtpd.rules(&json!({ TO: 451 }));
    let another = v1::ResendUpgradeCodeMailRequest {
        request_id: request_id(),
        update_request_id: id.clone(),
    };
    support.resend_upgrade_code_mail(another).await.unwrap();
    until("it is refused", async || {
        let waiting = world.outbox(MailState::Pending).await;
        (waiting.len() == 1 && waiting[0].attempts == 1).then_some(())
    })
    .await;
    let reissue = v1::ReissueUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id: id,
        reason: "told to the wrong person".into(),
    };
    let new = support.reissue_upgrade_code(reissue).await.unwrap();
    let new = new.into_inner().upgrade_code.unwrap();
    smtpd.rules(&json!({}));
    world.advance(TimeDelta::minutes(1));
    let taken = smtpd.take(3).await;
    assert!(text(&taken[2], "text").contains(&new.code));
    until("the old code's mail is cancelled", async || {
        Some(world.outbox(MailState::Cancelled).await).filter(|void| void.len() == 1)
    })
    .await;
    assert_eq!(smtpd.taken().len(), 3);
}

#[tokio::test]
async fn a_corrected_address_counts_at_once() {
    let world = World::new(MailSettings::default()).await;
    world.sell("en").await;
    let mut admin = world.admin().await;
    let update = v1::UpdateCustomerRequest {
        customer_id: "baker".into(),
        email: Some("new@baker.example".into()),
        language: Some("de".into()),
        region_id: Some("west-eu".into()),
        ..Default::default()
    };
    let changed = admin.update_customer(update).await.unwrap().into_inner();
    let customer = changed.customer.unwrap();
    assert_eq!(customer.email, "new@baker.example");
    assert_eq!(customer.display_name, "株式会社ベーカリー");
    assert_eq!(customer.partner_id, "acme");
    let preview = v1::PreviewMailRequest {
        kind: "reminder-customer".into(),
        serial: SERIAL.into(),
        ..Default::default()
    };
    let shown = admin.preview_mail(preview).await.unwrap().into_inner();
    assert!(shown.body.contains("31. August 2026"), "{}", shown.body);
    assert!(
        shown.body.contains("renewals@acme.example"),
        "{}",
        shown.body
    );

    let update = v1::UpdatePartnerRequest {
        partner_id: "acme".into(),
        email: Some(String::new()),
        ..Default::default()
    };
    let changed = admin.update_partner(update).await.unwrap().into_inner();
    let partner = changed.partner.unwrap();
    assert_eq!(partner.email, "");
    assert_eq!(partner.language, "fr");

    // Nothing half-way: all that is wrong is told, and nothing changes.
    let wrong = v1::UpdateCustomerRequest {
        customer_id: "baker".into(),
        email: Some("nobody".into()),
        language: Some("in German".into()),
        region_id: Some("West EU".into()),
        ..Default::default()
    };
    let status = admin.update_customer(wrong).await.unwrap_err();
    for field in ["email", "language", "region_id"] {
        assert!(status.message().contains(field), "{}", status.message());
    }
    let unknown = v1::UpdateCustomerRequest {
        customer_id: "nobody".into(),
        email: Some("a@b.example".into()),
        ..Default::default()
    };
    let status = admin.update_customer(unknown).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);

    // Whose key is deleted stays erased.
    std::fs::remove_file(world.settings.data_dir.join("keys/customers/baker.key")).unwrap();
    let back = v1::UpdateCustomerRequest {
        customer_id: "baker".into(),
        email: Some("back@baker.example".into()),
        ..Default::default()
    };
    let status = admin.update_customer(back).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn an_erased_customer_gets_no_mail() {
    let Some(smtpd) = Smtpd::start(MailSecurity::StartTls) else {
        return;
    };
    let mut world = World::new(MailSettings::default()).await;
    world.sell("en").await;
    world.generate_code(TO).await;
    std::fs::remove_file(world.settings.data_dir.join("keys/customers/baker.key")).unwrap();
    world.stop().await;
    world.settings.mail = smtpd.settings();
    world.start().await;
    let dead = world
        .mail("it is given up", |mail| mail.state() == MailState::Dead)
        .await;
    assert!(dead.last_error.contains("erased"), "{dead:?}");
    assert_eq!(smtpd.taken().len(), 0);
}

#[tokio::test]
async fn a_reminder_is_sent_once_and_cancelled_by_a_renewal() {
    let Some(smtpd) = Smtpd::start(MailSecurity::StartTls) else {
        return;
    };
    const RESELLER: &str = "renewals@acme.example";
    let world = World::new(smtpd.settings()).await;
    world.sell("de").await;
    let remind = async || {
        let request = v1::RunRemindersRequest::default();
        world.admin().await.run_reminders(request).await.unwrap();
    };
    // Cover ends on 2026-08-31: the usual reseller is told 75 days before (T-11), in its own language.
    world.set("2026-06-16T12:00:00Z");
    remind().await;
    assert_eq!(world.outbox(MailState::Unspecified).await.len(), 0);
    world.set("2026-06-17T12:00:00Z");
    for _ in 0..3 {
        remind().await;
    }
    let sent = world
        .mail("it is sent", |mail| mail.state() == MailState::Sent)
        .await;
    assert_eq!(sent.recipient, "partner/acme");
    assert_eq!(sent.serial, SERIAL);
    let taken = smtpd.take(1).await;
    assert_eq!(taken[0]["to"], json!([RESELLER]));
    let body = text(&taken[0], "text");
    for word in ["31 août 2026", "75 jours", "株式会社ベーカリー", "Söhne"] {
        assert!(body.contains(word), "{word}: {body}");
    }
    assert!(text(&taken[0], "header_to").contains("Acme"));

    // A year on, the reminder meets a mail server that does not take it, and then a renewal.
    let renew = async || {
        let request = v1::AddMaintenanceTermsRequest {
            request_id: request_id(),
            serial: SERIAL.into(),
            terms: 1,
            ..Default::default()
        };
        world
            .admin()
            .await
            .add_maintenance_terms(request)
            .await
            .unwrap();
    };
    renew().await;
    smtpd.rules(&json!({ RESELLER: 451 }));
    world.set("2027-06-17T12:00:00Z");
    remind().await;
    until("it is refused", async || {
        let waiting = world.outbox(MailState::Pending).await;
        (waiting.len() == 1 && waiting[0].attempts == 1).then_some(())
    })
    .await;
    renew().await;
    smtpd.rules(&json!({}));
    world.advance(TimeDelta::minutes(1));
    let void = until("it is cancelled", async || {
        world.outbox(MailState::Cancelled).await.pop()
    })
    .await;
    assert!(void.last_error.contains("moved"), "{void:?}");
    assert_eq!(smtpd.taken().len(), 1);
}

#[tokio::test]
async fn quotes_and_orders_are_told_to_whom_they_concern() {
    let Some(smtpd) = Smtpd::start(MailSecurity::StartTls) else {
        return;
    };
    let world = World::new(smtpd.settings()).await;
    world.sell("de").await;
    let asked = v1::CreateQuoteRequest {
        request_id: request_id(),
        serial: SERIAL.into(),
        terms: 1,
        contact: "Anna, +49 30 1234".into(),
        ..Default::default()
    };
    let mut partner = world.maintenance().await;
    let quote = partner.create_quote(asked).await.unwrap().into_inner();
    let quote_id = quote.quote.unwrap().quote_id;
    let taken = smtpd.take(1).await;
    assert_eq!(taken[0]["to"], json!(["sma-desk@vendor.example"]));
    for word in ["Anna, +49 30 1234", SERIAL, &quote_id] {
        assert!(text(&taken[0], "text").contains(word), "{word}");
    }

    let answer = v1::AnswerQuoteRequest {
        request_id: request_id(),
        quote_id: quote_id.clone(),
        amounts: vec![v1::Money {
            minor_units: 123_450,
            currency_code: "EUR".into(),
        }],
        reason: "Preisliste 2026".into(),
    };
    world.support().await.answer_quote(answer).await.unwrap();
    let taken = smtpd.take(2).await;
    assert_eq!(taken[1]["to"], json!([TO]));
    for word in [
        "1.234,50 EUR",
        "31. August 2027",
        "Preisliste 2026",
        &quote_id,
    ] {
        let body = text(&taken[1], "text");
        assert!(body.contains(word), "{word}: {body}");
    }

    let order = v1::PlaceOrderRequest {
        request_id: request_id(),
        quote_id,
        serial: SERIAL.into(),
        ..Default::default()
    };
    partner.place_order(order).await.unwrap();
    let taken = smtpd.take(3).await;
    assert_eq!(taken[2]["to"], json!([TO]));
    for word in ["Auftrag", "1.234,50 EUR", "1. September 2026"] {
        let body = text(&taken[2], "text");
        assert!(body.contains(word), "{word}: {body}");
    }
}
