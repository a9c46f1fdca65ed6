//! `mail`: preview texts, try the mail server out, look at the outbox, take up again what was given up.

use chrono::{DateTime, SecondsFormat, Utc};
use prost_types::Timestamp;
use serde::Serialize;
use upkeep::id::MailId;
use upkeep::rpc::v1::{
    ListMailsRequest, Mail, MailState, PreviewMailRequest, PreviewMailResponse, RetryMailRequest,
};

use crate::cli::admin::{Admin, Reach};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, Form};
use crate::cli::place::Place;
use crate::cli::serve::block_on;
use crate::clock::{Clock, SystemClock};
use crate::domain::mail::MailState as State;
use crate::logging::{self, LogFormat};
use crate::mail::MailError;
use crate::mail::letter::Letter;
use crate::mail::smtp::{Mailer, SendError};
use crate::mail::texts::Text;
use crate::random::{SystemRandom, uuid_v7};

/// Preview mails, try the mail server out, look after the outbox
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Preview(PreviewArgs),
    Test(TestArgs),
    Outbox(OutboxArgs),
    Retry(RetryArgs),
}

/// Print what a mail would say; nothing is sent
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server mail preview reminder-customer --lang de --data /var/lib/upkeep
  upkeep-server mail preview upgrade-code --serial LS-1000 --data /var/lib/upkeep

Kinds: reminder-customer, reminder-reseller, reminder-vendor, upgrade-code, order-confirmation, \
quote-request, quote-answer. Without a serial number it speaks of sample data; a code in it is a \
sample in either case. Mails are plain text.")]
pub(super) struct PreviewArgs {
    /// Which mail
    kind: String,

    /// The language: en, de, fr or ja; English for any other; without it the recipient's
    #[arg(
        long,
        value_name = "TAG",
        default_value = "",
        hide_default_value = true
    )]
    lang: String,

    /// A license to speak of
    #[arg(
        long,
        value_name = "SERIAL",
        default_value = "",
        hide_default_value = true
    )]
    serial: String,

    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    form: Form,
}

/// Send a test mail with the configuration, and say what to correct when it does not go out
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server mail test --to you@vendor.example --data /var/lib/upkeep

Works while the server runs, and while it does not. Exit code 3 when the configuration is wrong, 5 \
when the mail server can't be reached or refuses.")]
pub(super) struct TestArgs {
    /// Where it goes
    #[arg(long, value_name = "ADDRESS")]
    to: String,

    #[command(flatten)]
    place: Place,
}

/// List the mails of the outbox and what became of them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server mail outbox --state dead --data /var/lib/upkeep
  upkeep-server mail outbox --state pending --json --data /var/lib/upkeep | jq length")]
pub(super) struct OutboxArgs {
    /// Only those in this state: pending, sent, dead or cancelled
    #[arg(long, value_parser = parse_state)]
    state: Option<State>,

    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    form: Form,
}

/// Take mails up again that were given up or wait: they are due at once
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server mail retry 0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11 --data /var/lib/upkeep
  upkeep-server mail retry --all-dead --data /var/lib/upkeep")]
pub(super) struct RetryArgs {
    /// The mail, by its id in `mail outbox`
    #[arg(required_unless_present = "all_dead", conflicts_with = "all_dead")]
    id: Option<String>,

    /// All that were given up
    #[arg(long)]
    all_dead: bool,

    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    form: Form,
}

/// What programs read; the names are an interface.
#[derive(Debug, Serialize)]
struct Listed {
    mail_id: String,
    kind: String,
    recipient: String,
    state: &'static str,
    serial: String,
    attempts: u32,
    next_attempt_at: Option<String>,
    last_error: String,
    created_at: Option<String>,
    settled_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    subject: String,
    body: String,
    source: String,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let _ = logging::init(LogFormat::Text, "warn");
    match command {
        Command::Preview(args) => block_on(preview(args)),
        Command::Test(args) => block_on(test(args)),
        Command::Outbox(args) => block_on(outbox(args)),
        Command::Retry(args) => block_on(retry(args)),
    }
}

async fn preview(args: &PreviewArgs) -> Result<(), Failure> {
    let mut admin = args.reach.admin().await?;
    let request = PreviewMailRequest {
        kind: args.kind.clone(),
        language: args.lang.clone(),
        serial: args.serial.clone(),
    };
    let shown = admin.client.preview_mail(request).await;
    let shown = shown.map_err(|status| admin.refused(&status));
    admin.close()?;
    let PreviewMailResponse {
        subject,
        body,
        source,
    } = shown?.into_inner();
    let shown = Shown {
        subject,
        body,
        source,
    };
    args.form.print(&shown, || {
        format!(
            "Text: {}\nSubject: {}\n\n{}",
            shown.source,
            shown.subject,
            shown.body.trim_end()
        )
    })
}

async fn test(args: &TestArgs) -> Result<(), Failure> {
    let config = args.place.config(&[])?;
    let wrong = |error: MailError| Failure::new(Exit::Config, error);
    let mailer = Mailer::open(&config.settings().mail).map_err(wrong)?;
    let mailer = mailer.ok_or_else(|| {
        Failure::new(
            Exit::Config,
            "no mail server is configured: set mail.server and mail.from",
        )
    })?;
    let letter = Letter {
        to: args.to.clone(),
        name: String::new(),
        text: Text {
            subject: "Test mail from upkeep-server".to_owned(),
            body: "This is a test. Mails of this license server reach you.\n\nGrüße / Salutations / よろしくお願いいたします\n"
                .to_owned(),
            source: String::new(),
        },
        file: None,
    };
    let id = MailId::from_uuid(uuid_v7(&SystemClock, &SystemRandom));
    let message = letter
        .message(&mailer.head, &id, SystemClock.now())
        .map_err(|_| {
            Failure::new(
                Exit::Usage,
                format_args!(
                    "{:?} is no e-mail address; write --to you@vendor.example",
                    args.to
                ),
            )
        })?;
    let refused = |error: SendError| {
        Failure::new(
            Exit::Refused,
            format_args!("{}: {error}; {}", mailer.server(), error.advice()),
        )
    };
    let mut session = mailer.connect().await.map_err(refused)?;
    let sent = session.send(&message).await.map_err(refused);
    session.close().await;
    sent?;
    output::line(format_args!(
        "{} took the test mail for {}.",
        mailer.server(),
        args.to
    ));
    Ok(())
}

async fn outbox(args: &OutboxArgs) -> Result<(), Failure> {
    let mut admin = args.reach.admin().await?;
    let found = all(&mut admin, args.state).await;
    admin.close()?;
    let listed: Vec<Listed> = found?.into_iter().map(listed).collect();
    args.form.print(&listed, || table(&listed))
}

async fn retry(args: &RetryArgs) -> Result<(), Failure> {
    let mut admin = args.reach.admin().await?;
    let done = retry_with(&mut admin, args.id.as_deref()).await;
    admin.close()?;
    let listed: Vec<Listed> = done?.into_iter().map(listed).collect();
    args.form.print(&listed, || match listed.len() {
        0 => "No mail was given up.".to_owned(),
        _ => table(&listed),
    })
}

/// One mail, or all that were given up.
async fn retry_with(admin: &mut Admin, id: Option<&str>) -> Result<Vec<Mail>, Failure> {
    let ids = match id {
        Some(id) => vec![id.to_owned()],
        None => {
            let dead = all(admin, Some(State::Dead)).await?;
            dead.into_iter().map(|mail| mail.mail_id).collect()
        }
    };
    let mut done = Vec::with_capacity(ids.len());
    for mail_id in ids {
        let request = RetryMailRequest {
            request_id: uuid_v7(&SystemClock, &SystemRandom).to_string(),
            mail_id,
        };
        let answer = admin.client.retry_mail(request).await;
        let answer = answer.map_err(|status| admin.refused(&status))?;
        done.extend(answer.into_inner().mail);
    }
    Ok(done)
}

async fn all(admin: &mut Admin, state: Option<State>) -> Result<Vec<Mail>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListMailsRequest {
            page_size: 500,
            page_token,
            state: state.map_or(MailState::Unspecified, wire).into(),
        };
        let page = admin.client.list_mails(request).await;
        let page = page.map_err(|status| admin.refused(&status))?.into_inner();
        found.extend(page.mails);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

fn listed(mail: Mail) -> Listed {
    let state = State::ALL
        .iter()
        .find(|state| i32::from(wire(**state)) == mail.state);
    Listed {
        state: state.map_or("unknown", |state| state.as_str()),
        mail_id: mail.mail_id,
        kind: mail.kind,
        recipient: mail.recipient,
        serial: mail.serial,
        attempts: mail.attempts,
        next_attempt_at: mail.next_attempt_time.map(written),
        last_error: mail.last_error,
        created_at: mail.create_time.map(written),
        settled_at: mail.settle_time.map(written),
    }
}

fn table(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "There is no such mail in the outbox.".to_owned();
    }
    let kinds = listed.iter().map(|one| one.kind.len()).max().unwrap_or(0);
    let lines: Vec<String> = listed
        .iter()
        .map(|one| {
            let when = one.next_attempt_at.as_ref().or(one.settled_at.as_ref());
            let line = format!(
                "{}  {:9}  {:kinds$}  {}  {}  {}",
                one.mail_id,
                one.state,
                one.kind,
                when.map_or("-", String::as_str),
                one.recipient,
                one.last_error
            );
            line.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

fn written(at: Timestamp) -> String {
    DateTime::<Utc>::from_timestamp(at.seconds, 0)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn parse_state(word: &str) -> Result<State, String> {
    State::parse(word).ok_or_else(|| {
        let words: Vec<&str> = State::ALL.iter().map(|one| one.as_str()).collect();
        format!("must be one of {}", words.join(", "))
    })
}

fn wire(state: State) -> MailState {
    match state {
        State::Pending => MailState::Pending,
        State::Sent => MailState::Sent,
        State::Dead => MailState::Dead,
        State::Cancelled => MailState::Cancelled,
    }
}
