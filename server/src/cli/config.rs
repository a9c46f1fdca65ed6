//! `config`: check, show, template.

use serde_json::{Map, Value, json};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, Form};
use crate::cli::place::{self, Place};
use crate::config::{self, Config};
use crate::endorsement::load_endorsements;
use crate::serve;

/// Check or show the configuration, or print a file to start from
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Check(CheckArgs),
    Show(ShowArgs),
    /// Print a configuration file with every default and what it means
    #[command(after_help = "\
Examples:
  upkeep-server config template > upkeep.toml
  upkeep-server config check --config upkeep.toml")]
    Template,
}

/// Check the configuration, its programme files and endorsements, and name every mistake at once
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server config check --config /etc/upkeep.toml && systemctl restart upkeep-server
  upkeep-server config check --data /var/lib/upkeep

Exit code 0 when all is well, 3 when something is wrong.")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    place: Place,
}

/// Show every value that counts, and where it came from
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server config show --data /var/lib/upkeep
  UPKEEP_LISTEN_STAFF=0.0.0.0:7444 upkeep-server config show --data /var/lib/upkeep | grep listen")]
pub(super) struct ShowArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    form: Form,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check(args) => check(args),
        Command::Show(args) => show(args),
        Command::Template => output::line(config::template().trim_end()),
    }
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    if let Some(file) = args.place.missing_file() {
        return Err(place::without_file(&file));
    }
    let config = args.place.any_config(&[])?;
    let mail = serve::check_mail(config.settings());
    let endorsements = load_endorsements(config.settings()).err();
    let programmes = match serve::read_programmes(config.settings()) {
        Ok(programmes) if mail.is_empty() && endorsements.is_none() => programmes,
        programmes => {
            let programmes = programmes.err().map(|wrong| wrong.to_string());
            let mail = mail.iter().map(ToString::to_string);
            let endorsements = endorsements.map(|wrong| wrong.to_string());
            let wrong: Vec<String> = programmes
                .into_iter()
                .chain(mail)
                .chain(endorsements)
                .collect();
            return Err(Failure::new(Exit::Config, wrong.join("\n")));
        }
    };
    for programme in programmes.iter() {
        for warning in programme.warnings() {
            output::note(format_args!("warning: {}: {warning}", programme.id()));
        }
    }
    let names: Vec<String> = programmes.iter().map(|one| one.id().to_string()).collect();
    output::line(format_args!(
        "The configuration is good. Programmes: {}.",
        names.join(", ")
    ))
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let config = args.place.any_config(&[])?;
    if args.form.is_json() {
        return output::json(&values(&config)?);
    }
    output::line(config.show().trim_end())
}

/// Each key with its value and source.
fn values(config: &Config) -> Result<Map<String, Value>, Failure> {
    let defect = |e: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Fault,
            format_args!("the configuration does not show: {e}"),
        )
    };
    let mut found = Map::new();
    for line in config.show().lines() {
        let table: toml::Table = line.parse().map_err(|e: toml::de::Error| defect(&e))?;
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        let value = serde_json::to_value(leaf(table.into())).map_err(|e| defect(&e))?;
        let source = config.origin(key).to_string();
        found.insert(key.to_owned(), json!({ "value": value, "source": source }));
    }
    Ok(found)
}

/// The one value inside nested tables.
fn leaf(mut value: toml::Value) -> toml::Value {
    while let toml::Value::Table(table) = &value {
        let Some(inner) = table.values().next().cloned() else {
            break;
        };
        value = inner;
    }
    value
}
