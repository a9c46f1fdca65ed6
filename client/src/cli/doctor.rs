//! `doctor`: looks at the store, at the TPM and at the way to the server, and says what to do about each finding.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use upkeep::rpc::v1::ChallengePurpose;
use upkeep_client::Client;
use upkeep_client::check::CheckError;
use upkeep_client::error::ClientError;
use upkeep_client::store::{LicenseStore, State};

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::facts;

mod tpm;

/// Look at the store, the TPM and the way to the server, and say what to do about each finding
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep doctor
  upkeep doctor --json | jq '.findings[] | select(.level != \"ok\")'
  upkeep doctor --json | jq .tpm

It changes nothing. A TPM is asked about itself: its maker, its endorsement certificate, the counters that it has \
room for, and what keeps this program from using it. Exit code 0 when nothing failed, else the code that fits the first failure.")]
pub(super) struct Args {}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    message: String,
    next: Option<String>,
}

/// All findings so far, and the exit code that they come to.
#[derive(Debug, Serialize)]
struct Report {
    findings: Vec<Finding>,
    tpm: Option<tpm::Facts>,
    #[serde(skip)]
    exit: Exit,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            findings: Vec::new(),
            tpm: None,
            exit: Exit::Ok,
        }
    }
}

pub(super) async fn run(_: &Args, global: &Global) -> Result<Exit, Failure> {
    let mut report = Report::default();
    look(global, &mut report).await?;
    global.output().answer(&report, || report.text())?;
    Ok(report.exit)
}

async fn look(global: &Global, report: &mut Report) -> Result<(), Failure> {
    let directory = global.directory()?;
    permissions(&directory, report);
    let store = match LicenseStore::read(&directory) {
        Ok(store) => store,
        Err(error) => {
            report.fail("store", error);
            tpm::look(None, global.tpm(), report);
            return Ok(());
        }
    };
    report.ok(
        "store",
        format_args!("{} is readable and whole", directory.display()),
    );
    license(&store, report);
    tpm::look(Some(&store), global.tpm(), report);
    let client = match Client::of(&store) {
        Ok(client) => client,
        Err(error) => {
            report.fail("ca", error);
            return Ok(());
        }
    };
    report.ok("ca", "the pinned CA certificate is readable");
    if server(&store, &client, report).await {
        keys(&store, &client, report).await;
    }
    Ok(())
}

/// Whether others may read the store. Opening it refuses that too; this names every file at once.
fn permissions(directory: &Path, report: &mut Report) {
    let open = open_to_others(directory);
    if open.is_empty() {
        if directory.is_dir() {
            report.ok("permissions", "only the owner can read the store");
        }
        return;
    }
    report.add(
        Exit::Store,
        Finding {
            check: "permissions",
            level: Level::Fail,
            message: format!("other users can read or write {}", open.join(", ")),
            next: Some(format!("run `chmod -R go= {}`", directory.display())),
        },
    );
}

#[cfg(unix)]
fn open_to_others(directory: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;

    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .map(|entry| entry.path())
        .chain([directory.to_owned()])
        .filter(|path| {
            std::fs::symlink_metadata(path)
                .is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
        })
        .map(|path| path.display().to_string())
        .collect()
}

#[cfg(not(unix))]
fn open_to_others(_: &Path) -> Vec<String> {
    Vec::new()
}

fn license(store: &LicenseStore, report: &mut Report) {
    let check = "license";
    match store.state() {
        State::Active(held) if held.verified().is_none() => report.warn(
            check,
            format_args!("{} is held, but {}", held.serial(), CheckError::UnknownKey),
            CheckError::UnknownKey.next_step(),
        ),
        State::Active(held) => report.ok(check, format_args!("{} is active", held.serial())),
        State::Upgraded(file) => {
            report.ok(
                check,
                format_args!("{} is upgraded by file", file.claims().serial),
            );
        }
        State::Empty => report.warn(check, "no license is active", "run `upkeep activate`"),
        State::Deactivated(journal) => report.warn(
            check,
            format_args!("{} was deactivated here", journal.serial()),
            "run `upkeep activate` if the product is to be used here",
        ),
        State::Activating(pending) => report.warn(
            check,
            format_args!("an activation of {} is unfinished", pending.serial()),
            format_args!("run `upkeep activate {}` again", pending.serial()),
        ),
        State::Redeeming(pending) => report.warn(
            check,
            format_args!("an upgrade of {} is unfinished", pending.serial()),
            format_args!("run `upkeep upgrade redeem {}` again", pending.serial()),
        ),
        State::Releasing(journal) => report.warn(
            check,
            format_args!("the return of {} is unfinished", journal.serial()),
            "run `upkeep deactivate` to finish it",
        ),
    }
}

/// Whether the server answers, proves its identity, and has the time that this machine has.
async fn server(store: &LicenseStore, client: &Client, report: &mut Report) -> bool {
    let endpoint = &store.enrollment().endpoint;
    let began = Instant::now();
    let answer = client.challenge(ChallengePurpose::Verify).await;
    let took = began.elapsed();
    let challenge = match answer {
        Ok(challenge) => challenge,
        Err(error @ ClientError::Tls { .. }) => {
            report.ok("reachable", format_args!("something answers at {endpoint}"));
            report.fail("identity", error);
            return false;
        }
        Err(error) => {
            report.fail("reachable", error);
            return false;
        }
    };
    report.ok(
        "reachable",
        format_args!("{endpoint} answers in {} ms", took.as_millis()),
    );
    report.ok(
        "identity",
        "it proved its identity by TLS 1.3 and the pinned CA",
    );
    clock(challenge.expires_at, now(), took, report);
    true
}

/// Compares the clocks: the server made the challenge somewhere between our question and its answer.
fn clock(expires_at: DateTime<Utc>, now: DateTime<Utc>, took: Duration, report: &mut Report) {
    let took = TimeDelta::from_std(took).unwrap_or(TimeDelta::zero());
    let made_at = expires_at
        .checked_sub_signed(CHALLENGE_LIVES)
        .unwrap_or(expires_at);
    let here = now.checked_sub_signed(took / 2).unwrap_or(now);
    let ahead = here.signed_duration_since(made_at);
    let margin = TimeDelta::seconds(2).checked_add(&took).unwrap_or(took);
    let seconds = ahead.num_seconds();
    if ahead.abs() <= margin {
        report.ok("clock", "this machine's clock agrees with the server's");
    } else if ahead.abs() <= TOLERATED {
        report.ok(
            "clock",
            format_args!("this machine's clock differs by {} s", seconds.abs()),
        );
    } else {
        let side = if seconds > 0 { "ahead of" } else { "behind" };
        report.warn(
            "clock",
            format_args!(
                "this machine's clock is {} s {side} the server's ({})",
                seconds.abs(),
                facts::instant(made_at)
            ),
            "set the clock: certificates and leases end by it (the offline check does not need it)",
        );
    }
}

/// Whether the pinned keys are the server's.
async fn keys(store: &LicenseStore, client: &Client, report: &mut Report) {
    let theirs = match client.verification_keys().await {
        Ok(keys) => keys,
        Err(error) => {
            report.fail("keys", error);
            return;
        }
    };
    match upkeep_client::judge_published(store, client).await {
        Ok(None | Some(Ok(_))) => {}
        Ok(Some(Err(why))) => report.warn(
            "key list",
            format_args!("the server's key list is passed over: {why}"),
            "tell the vendor; what is held here goes on by the list that is known here",
        ),
        Err(error) => report.fail("key list", error),
    }
    let pinned = store.trusted_keys().keys();
    let known = theirs
        .keys()
        .filter(|key| pinned.get(&key.thumbprint()).is_some())
        .count();
    let (new, retired) = (
        theirs.keys().count().saturating_sub(known),
        pinned.keys().count().saturating_sub(known),
    );
    let again = match store.trusted_keys().root() {
        None => "run `upkeep enroll` again with the same server and CA; the license stays",
        Some(_) => "run `upkeep refresh`, which learns what the vendor's root has certified",
    };
    if known == 0 {
        report.add(
            Exit::Artefact,
            Finding {
                check: "keys",
                level: Level::Fail,
                message: "none of the pinned keys is the server's: nothing that it signs now verifies here"
                    .to_owned(),
                next: Some(again.to_owned()),
            },
        );
    } else if new > 0 {
        let message = format!("the server has {new} key(s) that are not pinned here");
        report.warn("keys", message, again);
    } else if retired > 0 {
        report.ok(
            "keys",
            format_args!("the server has retired {retired} of the pinned keys"),
        );
    } else {
        report.ok("keys", "the pinned keys are the server's");
    }
}

impl Report {
    fn ok(&mut self, check: &'static str, message: impl ToString) {
        self.add(
            Exit::Ok,
            Finding {
                check,
                level: Level::Ok,
                message: message.to_string(),
                next: None,
            },
        );
    }

    fn warn(&mut self, check: &'static str, message: impl ToString, next: impl ToString) {
        self.add(
            Exit::Ok,
            Finding {
                check,
                level: Level::Warn,
                message: message.to_string(),
                next: Some(next.to_string()),
            },
        );
    }

    fn fail(&mut self, check: &'static str, error: ClientError) {
        let failure = Failure::from(error);
        self.add(
            failure.exit(),
            Finding {
                check,
                level: Level::Fail,
                message: failure.to_string(),
                next: failure.next().map(str::to_owned),
            },
        );
    }

    /// The first failure decides the exit code.
    fn add(&mut self, exit: Exit, finding: Finding) {
        if self.exit == Exit::Ok {
            self.exit = exit;
        }
        self.findings.push(finding);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let level = match finding.level {
                Level::Ok => "ok  ",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            text.push_str(&format!(
                "{level}  {:11}  {}\n",
                finding.check, finding.message
            ));
            if let Some(next) = &finding.next {
                text.push_str(&format!("{:17}  next: {next}\n", ""));
            }
        }
        text
    }
}

/// The machine's clock, to compare it and for nothing else.
#[allow(
    clippy::disallowed_methods,
    reason = "the clock itself is what is examined"
)]
fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// How long a challenge lives from when the server makes it.
const CHALLENGE_LIVES: TimeDelta = TimeDelta::seconds(120);
/// A difference that harms nothing.
const TOLERATED: TimeDelta = TimeDelta::seconds(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_finding(expires: &str, now: &str) -> (Level, String) {
        let mut report = Report::default();
        let [expires, now] = [expires, now].map(|text| text.parse().expect("instant"));
        clock(expires, now, Duration::from_millis(20), &mut report);
        let finding = report.findings.pop().expect("a finding");
        (finding.level, finding.message)
    }

    #[test]
    fn a_wrong_clock_is_found_on_either_side() {
        let expires = "2026-06-01T12:02:00Z";
        assert_eq!(clock_finding(expires, "2026-06-01T12:00:00Z").0, Level::Ok);
        assert_eq!(clock_finding(expires, "2026-06-01T12:00:30Z").0, Level::Ok);
        let (level, message) = clock_finding(expires, "2026-06-01T13:00:00Z");
        assert_eq!(level, Level::Warn);
        assert!(message.contains("ahead of"), "{message}");
        let (level, message) = clock_finding(expires, "2026-05-31T12:00:00Z");
        assert_eq!(level, Level::Warn);
        assert!(message.contains("behind"), "{message}");
    }

    #[test]
    fn the_first_failure_decides() {
        let mut report = Report::default();
        report.warn("license", "none", "activate");
        report.fail("store", ClientError::NotEnrolled);
        report.fail("x", ClientError::Input("bad".to_owned()));
        assert_eq!(report.exit, Exit::NotActivated);
        assert!(report.text().contains("FAIL  store"));
    }
}
