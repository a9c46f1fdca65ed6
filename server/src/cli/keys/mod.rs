//! `keys`: the issuing keys and their windows, the list that the offline root certifies, and the listeners' certificate.

mod root;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::Serialize;
use upkeep::artefact::{CertifiedKey, Issuer, KeyList, KeyState, MAX_KEYS};
use upkeep::key::PublicKey;
use upkeep::rpc::v1::{
    IssuingKey, IssuingKeyState, ListIssuingKeysRequest, ListIssuingKeysResponse,
    PublishKeyListRequest, RetireIssuingKeyRequest, RevokeIssuingKeyRequest,
    RotateIssuingKeyRequest,
};

use crate::cli::admin::{Admin, Ask, Why, open_keys};
use crate::cli::client_certificates::instant;
use crate::cli::exit::{Exit, Failure};
use crate::cli::files;
use crate::cli::output::{Form, note};
use crate::cli::place::Place;
use crate::cli::serve::block_on;
use crate::clock::{Clock, SystemClock};
use crate::domain::issuing::LEFT_OUT_AFTER;
use crate::keys::{SERVER_DAYS, replace_tls, tls_files};
use crate::logging::{self, LogFormat};
use crate::pki;
use crate::random::{SystemRandom, uuid_v7};

/// Look after issuing keys, the offline root, and the listeners' certificate
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(ListArgs),
    Rotate(RotateArgs),
    Retire(RetireArgs),
    Revoke(RevokeArgs),
    Publish(PublishArgs),
    Accept(AcceptArgs),
    #[command(subcommand)]
    Root(root::Command),
    Certify(root::CertifyArgs),
    RenewTls(RenewTlsArgs),
}

/// List the issuing keys, their windows and what they are good for
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server keys list --data /var/lib/upkeep
  upkeep-server keys list --data /var/lib/upkeep --json \\
      | jq -r '.keys[] | select(.state == \"signing\").key_id'

States: next (published, does not sign yet), signing, verifying (signs no more; what it signed counts), \
retired and revoked (what it signed counts no more).")]
pub(super) struct ListArgs {
    #[command(flatten)]
    ask: Ask,
}

/// Make and publish the next issuing key; it signs after the lead
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server keys rotate --data /var/lib/upkeep
  upkeep-server keys rotate --lead-days 30 --data /var/lib/upkeep
  upkeep-server keys rotate --lead-days 0 --data /var/lib/upkeep       # a published key begins now

Works while the server runs. During the lead the new key is published and the old one signs; afterwards \
the old one goes on verifying, until `keys retire`. So there is time to have the key certified \
(`keys publish`) and for products to learn it.")]
pub(super) struct RotateArgs {
    /// For how many days the key is published before it signs
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u16).range(..=366))]
    lead_days: u16,

    #[command(flatten)]
    ask: Ask,
}

/// End a key that signs no more: what it signed counts no more
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server keys retire x4qTj4... --data /var/lib/upkeep
  upkeep-server keys retire x4qTj4... --in-use --data /var/lib/upkeep

Refused while activations have their certificate from this key, unless --in-use is given: they are refused \
from then on until they refresh. A key that is published and does not sign yet may be retired too: the \
rotation is undone.")]
pub(super) struct RetireArgs {
    /// The key's id, as `keys list` shows it
    // In base64url, of which one symbol is a hyphen.
    #[arg(allow_hyphen_values = true)]
    key_id: String,

    /// Retire it even though activations rest on it
    #[arg(long)]
    in_use: bool,

    #[command(flatten)]
    ask: Ask,
}

/// Withdraw a key that fell into other hands
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server keys revoke x4qTj4... --reason \"backup tape lost\" --data /var/lib/upkeep

Nothing that the key signed counts any more, whatever date it bears. If it signed, the next key signs at \
once. Then `keys publish`, `keys certify` and `keys accept`: products that pin the root refuse the key as \
soon as they have the list, and get new certificates when they refresh.")]
pub(super) struct RevokeArgs {
    /// The key's id, as `keys list` shows it
    // In base64url, of which one symbol is a hyphen.
    #[arg(allow_hyphen_values = true)]
    key_id: String,

    #[command(flatten)]
    why: Why,

    #[command(flatten)]
    ask: Ask,
}

/// Write the key list that the offline root is to certify
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server keys publish --out keys.json --data /var/lib/upkeep
  upkeep-server keys certify keys.json --root ./root --out keys.txt     # on the machine apart
  upkeep-server keys accept keys.txt --data /var/lib/upkeep

Without a root none of this is needed: the keys are published as a JWK set (GetVerificationKeys).")]
pub(super) struct PublishArgs {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    ask: Ask,
}

/// Take the key list that the offline root certified, and hand it out from now on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server keys accept keys.txt --root root.pub --data /var/lib/upkeep     # the first time
  upkeep-server keys accept keys.txt --data /var/lib/upkeep

The list must have the key that signs now, and a higher number than the one before. Give the same file to \
products without a network: `upkeep keys import keys.txt`.")]
pub(super) struct AcceptArgs {
    /// The certified list
    list: PathBuf,

    /// The root's public key, PEM: for the first list, and when the root changes
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,

    #[command(flatten)]
    ask: Ask,
}

/// Issue the listeners' certificate again, for the names in `tls.names`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server keys renew-tls --data /var/lib/upkeep

From the server's own CA, with a new key, into keys/tls.crt and keys/tls.key. A server that runs takes it \
up within seconds, and its connections go on. A certificate of another CA may be put there instead.")]
pub(super) struct RenewTlsArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Serialize)]
struct Listed {
    keys: Vec<Key>,
    list_sequence: i64,
    root_key_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Key {
    key_id: String,
    state: &'static str,
    signs_from: Option<DateTime<Utc>>,
    signs_until: Option<DateTime<Utc>>,
    verifies_until: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    place: String,
}

#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    list_sequence: u64,
    keys: usize,
}

#[derive(Debug, Serialize)]
struct Accepted {
    list_sequence: i64,
    root_key_id: String,
}

#[derive(Debug, Serialize)]
struct Renewed {
    certificate: PathBuf,
    names: Vec<String>,
    expires_at: DateTime<Utc>,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    // What the store has to say while it is opened here.
    let _ = logging::init(LogFormat::Text, "warn");
    match command {
        Command::List(args) => block_on(list(args)),
        Command::Rotate(args) => block_on(rotate(args)),
        Command::Retire(args) => block_on(retire(args)),
        Command::Revoke(args) => block_on(revoke(args)),
        Command::Publish(args) => block_on(publish(args)),
        Command::Accept(args) => block_on(accept(args)),
        Command::Root(command) => root::run(command),
        Command::Certify(args) => root::certify(args),
        Command::RenewTls(args) => renew_tls(args),
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut admin = args.ask.reach.admin().await?;
    let found = ask(&mut admin).await;
    admin.close()?;
    show(&found?, args.ask.form)
}

async fn rotate(args: &RotateArgs) -> Result<(), Failure> {
    let mut admin = args.ask.reach.admin().await?;
    let request = RotateIssuingKeyRequest {
        request_id: request_id(),
        lead_seconds: i64::from(args.lead_days) * DAY_SECS,
    };
    let done = admin.client.rotate_issuing_key(request).await;
    let done = done.map(drop).map_err(|status| admin.refused(&status));
    then_show(admin, done, args.ask.form).await
}

async fn retire(args: &RetireArgs) -> Result<(), Failure> {
    let mut admin = args.ask.reach.admin().await?;
    let request = RetireIssuingKeyRequest {
        request_id: request_id(),
        key_id: args.key_id.clone(),
        in_use: args.in_use,
    };
    let before = ask(&mut admin).await?;
    let done = admin.client.retire_issuing_key(request).await;
    let done = done.map(drop).map_err(|status| admin.refused(&status));
    then_show(admin, done, args.ask.form).await?;
    say_what_products_know(&before, &args.key_id);
    Ok(())
}

async fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let mut admin = args.ask.reach.admin().await?;
    let request = RevokeIssuingKeyRequest {
        request_id: request_id(),
        key_id: args.key_id.clone(),
        reason: args.why.reason.clone(),
    };
    let before = ask(&mut admin).await?;
    let done = admin.client.revoke_issuing_key(request).await;
    let done = done.map(drop).map_err(|status| admin.refused(&status));
    then_show(admin, done, args.ask.form).await?;
    say_what_products_know(&before, &args.key_id);
    Ok(())
}

async fn publish(args: &PublishArgs) -> Result<(), Failure> {
    let mut admin = args.ask.reach.admin().await?;
    let found = ask(&mut admin).await;
    admin.close()?;
    let list = to_certify(&found?)?;
    let text = crate::cli::output::pretty(&list)?;
    files::write(&args.out, &format!("{text}\n"))?;
    let written = Written {
        file: args.out.clone(),
        list_sequence: list.sequence(),
        keys: list.keys().len(),
    };
    args.ask.form.print(&written, || {
        format!(
            "Wrote {}: list {} with {} keys.\nHave it certified where the root is:\n\n  upkeep-server keys certify {0} --root DIR --out keys.txt",
            written.file.display(),
            written.list_sequence,
            written.keys
        )
    })
}

async fn accept(args: &AcceptArgs) -> Result<(), Failure> {
    let key_list = String::from_utf8(files::read(&args.list)?).map_err(|_| {
        Failure::new(
            Exit::Usage,
            format_args!("{} is no key list", args.list.display()),
        )
    })?;
    let root_spki = match &args.root {
        Some(path) => root::read_public_key(path)?.to_spki_der(),
        None => Vec::new(),
    };
    let mut admin = args.ask.reach.admin().await?;
    if args.root.is_none() && ask(&mut admin).await?.root_key_id.is_empty() {
        admin.close()?;
        return Err(Failure::new(
            Exit::Refused,
            format_args!(
                "this server knows no root yet; the first list takes its public key: `upkeep-server keys accept {} --root root.pub`",
                args.list.display()
            ),
        ));
    }
    let request = PublishKeyListRequest {
        request_id: request_id(),
        key_list,
        root_spki,
    };
    let done = admin.client.publish_key_list(request).await;
    let done = done.map_err(|status| admin.refused(&status));
    admin.close()?;
    let done = done?.into_inner();
    let accepted = Accepted {
        list_sequence: done.list_sequence,
        root_key_id: done.root_key_id,
    };
    args.ask.form.print(&accepted, || {
        format!(
            "List {} of the root {} is handed out from now on.",
            accepted.list_sequence, accepted.root_key_id
        )
    })
}

fn renew_tls(args: &RenewTlsArgs) -> Result<(), Failure> {
    let config = args.place.own_config(&[])?;
    let settings = config.settings();
    let keys = open_keys(settings)?;
    let names = settings.tls_names.clone();
    let issued = keys
        .authority()
        .issue_server(&names, SystemClock.now(), SERVER_DAYS)?;
    replace_tls(&settings.data_dir, &issued)?;
    let renewed = Renewed {
        certificate: tls_files(&settings.data_dir).0,
        names,
        expires_at: pki::expires_at(issued.certificate_pem())?,
    };
    args.form.print(&renewed, || {
        format!(
            "Issued {} for {}, valid until {}.\nA server that runs takes it up within seconds.",
            renewed.certificate.display(),
            renewed.names.join(", "),
            renewed.expires_at.format("%Y-%m-%d")
        )
    })
}

async fn ask(admin: &mut Admin) -> Result<ListIssuingKeysResponse, Failure> {
    let found = admin
        .client
        .list_issuing_keys(ListIssuingKeysRequest {})
        .await;
    found
        .map(tonic::Response::into_inner)
        .map_err(|status| admin.refused(&status))
}

/// Shows the keys as they are after a change.
async fn then_show(mut admin: Admin, done: Result<(), Failure>, form: Form) -> Result<(), Failure> {
    let found = match done {
        Ok(()) => ask(&mut admin).await,
        Err(failure) => Err(failure),
    };
    admin.close()?;
    show(&found?, form)
}

/// Where a list is published, products know the keys as they were. One that ended before it signed leaves them with a list on which the
/// key before it stops on that day.
///
/// * `before` - the keys before the change.
fn say_what_products_know(before: &ListIssuingKeysResponse, key_id: &str) {
    if before.root_key_id.is_empty() {
        return;
    }
    let next = i32::from(IssuingKeyState::Next);
    let begins = before
        .keys
        .iter()
        .filter(|key| key.key_id == key_id && key.state == next)
        .find_map(|key| key.sign_start_time.and_then(instant));
    let when = begins.map_or("now".to_owned(), |at| {
        format!("before {}", at.format("%Y-%m-%d %H:%M UTC"))
    });
    note(format_args!(
        "Products know the keys by list {}, from before this. Certify a new list {when}: keys publish, keys certify, keys accept.",
        before.list_sequence
    ));
}

fn show(found: &ListIssuingKeysResponse, form: Form) -> Result<(), Failure> {
    let listed = Listed {
        keys: found.keys.iter().map(Key::from).collect(),
        list_sequence: found.list_sequence,
        root_key_id: Some(found.root_key_id.clone()).filter(|root| !root.is_empty()),
    };
    form.print(&listed, || listed.text())
}

/// What the root is to certify: the number after the newest list's, and no more keys than fit; of those that were retired long ago the
/// oldest are left out.
fn to_certify(found: &ListIssuingKeysResponse) -> Result<KeyList, Failure> {
    let broken = |why: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Fault,
            format_args!("the server's answer is of no use: {why}; is it of another version?"),
        )
    };
    let now = SystemClock.now();
    let mut keys = found.keys.iter().collect::<Vec<_>>();
    while keys.len() > MAX_KEYS {
        let Some(at) = keys.iter().position(|key| may_be_left_out(key, now)) else {
            return Err(Failure::new(
                Exit::Refused,
                format_args!(
                    "there are {} keys, a list holds {MAX_KEYS}, and only those may be left out that were retired more than {} years ago: a product that was built with another would go by it again. Rotate less often; products that pin keys one by one need no list",
                    keys.len(),
                    LEFT_OUT_AFTER.num_days() / 365
                ),
            ));
        };
        keys.remove(at);
    }
    let keys = keys
        .into_iter()
        .map(certified)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| broken(&"a key cannot be read"))?;
    let issuer = Issuer::parse(&found.issuer).map_err(|e| broken(&e))?;
    let sequence = u64::try_from(found.list_sequence)
        .unwrap_or(0)
        .saturating_add(1);
    let now = u64::try_from(now.timestamp()).unwrap_or(0);
    KeyList::new(issuer, now, sequence, keys).map_err(|e| broken(&e))
}

fn may_be_left_out(key: &IssuingKey, now: DateTime<Utc>) -> bool {
    key.state == i32::from(IssuingKeyState::Retired)
        && key
            .verify_end_time
            .and_then(instant)
            .is_some_and(|end| now.signed_duration_since(end) > LEFT_OUT_AFTER)
}

fn certified(key: &IssuingKey) -> Option<CertifiedKey> {
    let state = match IssuingKeyState::try_from(key.state).ok()? {
        IssuingKeyState::Unspecified => return None,
        IssuingKeyState::Next => KeyState::Next,
        IssuingKeyState::Signing => KeyState::Signing,
        IssuingKeyState::Verifying => KeyState::Verifying,
        IssuingKeyState::Retired => KeyState::Retired,
        IssuingKeyState::Revoked => KeyState::Revoked,
    };
    let public = PublicKey::from_spki_der(&key.public_key_spki).ok()?;
    let begins = key.sign_start_time.and_then(instant)?;
    // Rounded up: what is signed in the last part of a second bears that second.
    let ends = key.sign_end_time.and_then(instant).map(|end| {
        let whole = end.timestamp();
        u64::try_from(if end.timestamp_subsec_nanos() == 0 {
            whole
        } else {
            whole.saturating_add(1)
        })
    });
    let begins = u64::try_from(begins.timestamp()).ok()?;
    Some(CertifiedKey::new(
        public,
        state,
        begins,
        ends.transpose().ok()?,
    ))
}

impl Listed {
    fn text(&self) -> String {
        let day = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M").to_string();
        let mut lines: Vec<String> = self
            .keys
            .iter()
            .map(|key| {
                let mut line = format!("{}  {:9}", key.key_id, key.state);
                let begins = key.signs_from.filter(|at| *at != DateTime::UNIX_EPOCH);
                line.push_str(&begins.map_or("  from the beginning".to_owned(), |at| {
                    format!("  signs from {}", day(at))
                }));
                for (word, at) in [
                    ("until", key.signs_until),
                    ("retired", key.verifies_until),
                    ("revoked", key.revoked_at),
                ] {
                    if let Some(at) = at {
                        line.push_str(&format!(", {word} {}", day(at)));
                    }
                }
                line
            })
            .collect();
        lines.push(match &self.root_key_id {
            None => "\nNo root has certified these keys; products pin them one by one.".to_owned(),
            Some(root) => format!(
                "\nList {} is certified by the root {root}.",
                self.list_sequence
            ),
        });
        lines.join("\n")
    }
}

impl From<&IssuingKey> for Key {
    fn from(key: &IssuingKey) -> Self {
        Self {
            key_id: key.key_id.clone(),
            state: certified(key).map_or("unknown", |key| key.state().as_str()),
            signs_from: key.sign_start_time.and_then(instant),
            signs_until: key.sign_end_time.and_then(instant),
            verifies_until: key.verify_end_time.and_then(instant),
            revoked_at: key.revoke_time.and_then(instant),
            place: key.place.clone(),
        }
    }
}

fn request_id() -> String {
    uuid_v7(&SystemClock, &SystemRandom).to_string()
}

/// The form in which people paste public keys: base64 of the SubjectPublicKeyInfo, in PEM.
fn pem(key: &PublicKey) -> String {
    let mut text = String::from("-----BEGIN PUBLIC KEY-----\n");
    for (at, symbol) in STANDARD.encode(key.to_spki_der()).chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(symbol);
    }
    text.push_str("\n-----END PUBLIC KEY-----\n");
    text
}

const DAY_SECS: i64 = 86_400;
