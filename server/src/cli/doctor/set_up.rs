//! Keys, certificates, mail, and what is odd about the configuration.

use std::fs;
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;

use crate::cli::doctor::{Finding, Findings, Level};
use crate::cli::exit::Exit;
use crate::clock::Clock;
use crate::config::Settings;
use crate::flow::issuing;
use crate::keys::ring::{Holder, Ring};
use crate::keys::{Keys, KeysError, keys_dir};
use crate::pki;
use crate::serve::{check_mail, read_programmes};
use crate::signer::FileSigner;
use crate::store::Store;

pub(super) fn keys(settings: &Settings, clock: &dyn Clock) -> Vec<Finding> {
    let mut findings = Findings::new(Exit::Data);
    if !Store::exists(&settings.data_dir).unwrap_or(false) {
        // Told already, and there can be no keys.
        return findings.all;
    }
    match Keys::open_for(settings) {
        Ok(keys) => match keys.server_certificate() {
            Ok(_) => findings.ok(
                "keys",
                "all are there, fit together, and are for their owner only",
            ),
            Err(error) => findings.add("keys", Level::Problem, error, "the next start refuses"),
        },
        Err(error) => findings.add("keys", Level::Problem, &error, remedy(&error)),
    }
    rotated(&mut findings, settings, clock);
    for (name, file) in [
        ("the server's certificate", "tls.crt"),
        ("the CA", "ca.crt"),
    ] {
        let pem = fs::read_to_string(keys_dir(&settings.data_dir).join(file));
        // What cannot be read was told with the keys.
        let Some(ends) = pem.ok().and_then(|pem| pki::expires_at(&pem).ok()) else {
            continue;
        };
        let days = ends.signed_duration_since(clock.now()).num_days();
        let remedy = match file {
            "tls.crt" => "issue it anew: upkeep-server keys renew-tls".to_owned(),
            _ => format!(
                "issue keys/{file} anew (docs/operating.md) and see that whoever pins it has the new one in time"
            ),
        };
        let (level, found) = match days {
            i64::MIN..0 => (Level::Problem, format!("{name} ended on {ends}")),
            0..WARN_DAYS => (
                Level::Warning,
                format!("{name} ends in {days} days, on {ends}"),
            ),
            _ => (Level::Ok, format!("{name} lasts {days} more days")),
        };
        match level {
            Level::Ok => findings.ok("certificates", found),
            level => findings.add("certificates", level, found, remedy),
        }
    }
    findings.all
}

/// The private keys that rotations made: none is to be read by others, each is to be a key, and those that sign now or later are to be
/// there. Which those are stands in the ledger.
fn rotated(findings: &mut Findings, settings: &Settings, clock: &dyn Clock) {
    let dir = keys_dir(&settings.data_dir);
    let holder = match &settings.signing {
        Some(token) => Holder::Token(token.clone()),
        None => Holder::Files(dir.clone()),
    };
    let mut told: Vec<String> = findings.all.iter().map(|one| one.found.clone()).collect();
    let mut tell = |error: KeysError| {
        let found = error.to_string();
        if !told.contains(&found) {
            findings.add("keys", Level::Problem, &found, remedy(&error));
            told.push(found);
        }
    };
    // A ledger that cannot be read was told.
    for key in issuing::on_disk(&settings.data_dir).unwrap_or_default() {
        if let Err(error) = Ring::open(vec![key], &holder, &[], clock.now()) {
            tell(error);
        }
    }
    // What nothing names may have been copied all the same.
    for path in file_keys(&dir) {
        if let Err(error) = FileSigner::open(&path) {
            tell(error.into());
        }
    }
}

/// The files of keys that rotations made, sorted; none where the directory cannot be read, which was told with the keys.
fn file_keys(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            name.starts_with("signing.") && name.ends_with(".key") && name != "signing.key"
        })
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

fn remedy(error: &KeysError) -> &'static str {
    match error {
        KeysError::File(_) => {
            "restore keys/ from its own backup; a file that others could read may have been copied"
        }
        KeysError::WrongKey { .. } => "look which copy of keys/ belongs to this store",
        _ => "correct [signing], or the token; without it nothing can be signed",
    }
}

/// * `missing` - the file that would have been read.
pub(super) fn configuration(settings: &Settings, missing: Option<&Path>) -> Vec<Finding> {
    let mut findings = Findings::new(Exit::Config);
    if let Some(file) = missing
        && Store::exists(&settings.data_dir).unwrap_or(false)
    {
        findings.add(
            "configuration",
            Level::Problem,
            format_args!(
                "{} is not there: all else is judged by the defaults",
                file.display()
            ),
            "put your copy of it back, or name one with --config",
        );
    }
    mail(&mut findings, settings);
    if let Err(error) = read_programmes(settings) {
        findings.add(
            "programmes",
            Level::Problem,
            error,
            "correct the file: upkeep-server programme explain FILE",
        );
    }
    let before = findings.all.len();
    oddities(&mut findings, settings);
    if findings.all.len() == before {
        findings.ok("configuration", "nothing odd");
    }
    findings.all
}

fn mail(findings: &mut Findings, settings: &Settings) {
    let mistakes = check_mail(settings);
    for mistake in &mistakes {
        findings.add(
            "mail",
            Level::Problem,
            mistake,
            "correct section [mail] or the file, then: upkeep-server mail test --to YOU",
        );
    }
    match (&settings.mail.server, mistakes.is_empty()) {
        (None, _) => findings.add(
            "mail",
            Level::Note,
            "no mail server is configured: reminders and codes wait in the outbox",
            "set [mail] server and from, then: upkeep-server mail test --to YOU",
        ),
        (Some(server), true) => {
            findings.ok(
                "mail",
                format_args!("{server}:{}; not tried", settings.mail.port),
            );
        }
        (Some(_), false) => {}
    }
}

fn oddities(findings: &mut Findings, settings: &Settings) {
    let mut odd = |holds: bool, level, found: &str, remedy: &str| {
        if holds {
            findings.add("configuration", level, found, remedy);
        }
    };
    let public = !settings.listen_products.ip().is_loopback();
    odd(
        public && settings.tls_names.iter().all(|name| is_local(name)),
        Level::Warning,
        "products connect from elsewhere, but the certificate names this machine only",
        "set tls.names to what they connect to and issue keys/tls.crt anew",
    );
    odd(
        public && settings.issuer == Settings::default().issuer,
        Level::Warning,
        "the issuer is the one of a trial, and stands in every license",
        "choose issuer before the first license is sold",
    );
    odd(
        settings.endorsements.allow_test_roots,
        Level::Warning,
        "endorsements.allow_test_roots is on: anybody's software passes for a chip",
        "switch it off where real licenses are",
    );
    odd(
        settings.weak_passwords,
        Level::Note,
        "weak_passwords is on: each check of one costs 85 ms of a core",
        "switch it off when no such password is left",
    );
    odd(
        settings.ops.listen.is_some_and(|at| !at.ip().is_loopback()),
        Level::Warning,
        "the ops port answers other machines, without asking who they are",
        "let a firewall say who reaches it, or take 127.0.0.1",
    );
    odd(
        settings.ops.listen.is_none(),
        Level::Note,
        "there is no ops port: nobody sees metrics",
        "set ops.listen = \"127.0.0.1:9464\" and let a monitoring system scrape /metrics",
    );
    odd(
        settings.connections.call_target.is_none(),
        Level::Note,
        "limits.call_target_ms is 0: a slow disk makes every caller wait instead of refusing some",
        "set it to what callers wait for, such as 1000",
    );
    let detailed = EnvFilter::try_new(&settings.log_filter)
        .ok()
        .and_then(|filter| filter.max_level_hint());
    odd(
        detailed.is_some_and(|level| level >= tracing::level_filters::LevelFilter::DEBUG),
        Level::Note,
        "log.filter writes debug or trace lines: they are many, and slow",
        "go back to info when what you look for is found",
    );
}

fn is_local(name: &str) -> bool {
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

const WARN_DAYS: i64 = 30;
