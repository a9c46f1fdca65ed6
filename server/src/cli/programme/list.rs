//! `programme list`: the programmes that come with the server.

use serde::Serialize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Form;
use crate::domain::programme::{Programme, Programmes};

/// List the programmes that come with the server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server programme list
  upkeep-server programme list --json

A server that names no files in `programmes` serves these.")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Serialize)]
struct Listed {
    programme_id: String,
    revision: u32,
    time_zone: &'static str,
    currency: Option<&'static str>,
    sold_until: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let programmes = Programmes::built_in().map_err(|errors| Failure::new(Exit::Config, errors))?;
    let listed: Vec<Listed> = programmes.iter().map(of).collect();
    args.form.print(&listed, || {
        let lines: Vec<String> = listed.iter().map(line).collect();
        lines.join("\n")
    })
}

fn of(programme: &Programme) -> Listed {
    Listed {
        programme_id: programme.id().to_string(),
        revision: programme.revision(),
        time_zone: programme.time_zone().name(),
        currency: programme.currency().map(|currency| currency.code()),
        sold_until: programme.sold_until().map(|day| day.to_string()),
    }
}

fn line(one: &Listed) -> String {
    let until = match &one.sold_until {
        None => String::new(),
        Some(day) => format!("  sold until {day}"),
    };
    format!(
        "{:<20}  revision {}  {:<3}  {}{until}",
        one.programme_id,
        one.revision,
        one.currency.unwrap_or("-"),
        one.time_zone
    )
}
