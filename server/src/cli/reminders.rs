//! `reminders`: the due pass by hand, and who would get what on a day.

use serde::Serialize;
use upkeep::rpc::v1::{DueExtension, DueReminder, DueWork, RunRemindersRequest};

use crate::cli::admin::{Admin, Reach};
use crate::cli::exit::Failure;
use crate::cli::output::Form;
use crate::cli::serve::block_on;
use crate::logging::{self, LogFormat};

/// Send the reminders that are due, or list who would get one
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Run(RunArgs),
}

/// Queue the reminders that are due today, and record what extends by itself
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server reminders run --dry-run --data /var/lib/upkeep
  upkeep-server reminders run --dry-run --on 2026-12-24 --data /var/lib/upkeep --json
  upkeep-server reminders run --data /var/lib/upkeep

A serving server does this by itself each minute. A dry run writes nothing; for a later day it lists \
what would be due then if nothing were sent before. Works while the server runs, and while it does \
not.")]
pub(super) struct RunArgs {
    /// List who would get what, and send nothing
    #[arg(long)]
    dry_run: bool,

    /// The day to list for; without --dry-run it can only be today
    #[arg(long, value_name = "YYYY-MM-DD")]
    on: Option<String>,

    /// List at most so many
    #[arg(long, value_name = "N", default_value_t = 1_000, requires = "dry_run")]
    limit: usize,

    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Default, Serialize)]
struct Listed {
    reminders: Vec<Mail>,
    extensions: Vec<Extension>,
    /// There are more than the limit.
    more: bool,
}

#[derive(Debug, Serialize)]
struct Mail {
    serial: String,
    last_date: String,
    days_before: u32,
    due_date: String,
    recipient_kind: String,
    recipient_id: String,
    language: String,
    fallback: bool,
}

#[derive(Debug, Serialize)]
struct Extension {
    serial: String,
    terms: Vec<Covered>,
}

#[derive(Debug, Serialize)]
struct Covered {
    first_date: String,
    last_date: String,
}

#[derive(Debug, Default, Serialize)]
struct Done {
    index_keys_read: u64,
    licenses_read: u64,
    licenses_settled: u64,
    mails: u64,
    extensions: u64,
    passed: u64,
    faulty: u64,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    // What the store has to say while it is opened here.
    let _ = logging::init(LogFormat::Text, "warn");
    match command {
        Command::Run(args) => block_on(run_due(args)),
    }
}

async fn run_due(args: &RunArgs) -> Result<(), Failure> {
    let mut admin = args.reach.admin().await?;
    if args.dry_run {
        let listed = list(&mut admin, args).await;
        admin.close()?;
        let listed = listed?;
        return args.form.print(&listed, || table(&listed, args));
    }
    let done = work(&mut admin, args).await;
    admin.close()?;
    let done = done?;
    args.form.print(&done, || {
        format!(
            "{} licenses were due: {} mails queued, {} terms recorded, {} reminders too late to send{}",
            done.licenses_settled,
            done.mails,
            done.extensions,
            done.passed,
            match done.faulty {
                0 => String::new(),
                faulty => format!("; {faulty} licenses could not be decided, see the server's log"),
            }
        )
    })
}

/// Page by page, up to the limit.
async fn list(admin: &mut Admin, args: &RunArgs) -> Result<Listed, Failure> {
    let mut listed = Listed::default();
    let mut page_token = String::new();
    loop {
        let request = RunRemindersRequest {
            dry_run: true,
            on_date: args.on.clone().unwrap_or_default(),
            page_size: 500,
            page_token,
        };
        let page = admin.client.run_reminders(request).await;
        let page = page.map_err(|status| admin.refused(&status))?.into_inner();
        listed
            .reminders
            .extend(page.reminders.into_iter().map(mail));
        listed
            .extensions
            .extend(page.extensions.into_iter().map(extension));
        let over = listed.reminders.len() > args.limit || listed.extensions.len() > args.limit;
        listed.reminders.truncate(args.limit);
        listed.extensions.truncate(args.limit);
        if over || page.next_page_token.is_empty() {
            listed.more = over;
            return Ok(listed);
        }
        page_token = page.next_page_token;
    }
}

/// Call by call, until nothing is left.
async fn work(admin: &mut Admin, args: &RunArgs) -> Result<Done, Failure> {
    let mut done = Done::default();
    loop {
        let request = RunRemindersRequest {
            on_date: args.on.clone().unwrap_or_default(),
            ..Default::default()
        };
        let answer = admin.client.run_reminders(request).await;
        let answer = answer.map_err(|status| admin.refused(&status))?;
        let answer = answer.into_inner();
        done.add(&answer.done.unwrap_or_default());
        if !answer.more {
            return Ok(done);
        }
    }
}

impl Done {
    fn add(&mut self, more: &DueWork) {
        for (sum, more) in [
            (&mut self.index_keys_read, more.index_keys_read),
            (&mut self.licenses_read, more.licenses_read),
            (&mut self.licenses_settled, more.licenses_settled),
            (&mut self.mails, more.mails),
            (&mut self.extensions, more.extensions),
            (&mut self.passed, more.passed),
            (&mut self.faulty, more.faulty),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

fn mail(due: DueReminder) -> Mail {
    Mail {
        serial: due.serial,
        last_date: due.last_date,
        days_before: due.days_before,
        due_date: due.due_date,
        recipient_kind: due.recipient_kind,
        recipient_id: due.recipient_id,
        language: due.language,
        fallback: due.fallback,
    }
}

fn extension(due: DueExtension) -> Extension {
    let covered = |term: upkeep::rpc::v1::MaintenanceTerm| Covered {
        first_date: term.first_date,
        last_date: term.last_date,
    };
    Extension {
        serial: due.serial,
        terms: due.terms.into_iter().map(covered).collect(),
    }
}

fn table(listed: &Listed, args: &RunArgs) -> String {
    let mut lines = Vec::new();
    for mail in &listed.reminders {
        let to = match mail.recipient_id.as_str() {
            "" => mail.recipient_kind.clone(),
            id => format!("{} {id}", mail.recipient_kind),
        };
        lines.push(format!(
            "{}  ends {}  due {} ({} days before)  to {to}{}{}",
            mail.serial,
            mail.last_date,
            mail.due_date,
            mail.days_before,
            match mail.language.as_str() {
                "" => String::new(),
                language => format!(", in {language}"),
            },
            if mail.fallback {
                ", for want of a reseller"
            } else {
                ""
            },
        ));
    }
    for extension in &listed.extensions {
        if let Some(last) = extension.terms.last() {
            lines.push(format!(
                "{}  extends by itself to {}",
                extension.serial, last.last_date
            ));
        }
    }
    if lines.is_empty() {
        lines.push("Nothing is due.".to_owned());
    }
    if listed.more {
        lines.push(format!(
            "... and more; --limit shows more than {}",
            args.limit
        ));
    }
    lines.join("\n")
}
