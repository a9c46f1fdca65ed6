//! `programme explain`: what a file means.

use serde::Serialize;
use upkeep::date::CivilDate;

use crate::cli::exit::Failure;
use crate::cli::output::Form;
use crate::domain::explain::explain;

/// Say in plain words what a programme file means, with worked dates
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server programme explain vendor.toml
  upkeep-server programme explain teklynx-sma --bought 2026-02-28
  upkeep-server programme explain vendor.toml --json

Exit code 3 when something is wrong with the file, with every mistake.")]
pub(in crate::cli) struct Args {
    /// A programme file, or the id of a programme that comes with the server
    #[arg(value_name = "FILE")]
    file: String,

    /// The day on which the license of the examples is bought
    #[arg(long, value_name = "DATE", default_value = "2026-03-15", value_parser = CivilDate::parse)]
    bought: CivilDate,

    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Serialize)]
struct Shown<'e> {
    programme_id: String,
    revision: u32,
    bought: String,
    chapters: Vec<Chapter<'e>>,
    warnings: &'e [String],
}

#[derive(Debug, Serialize)]
struct Chapter<'e> {
    title: &'static str,
    sentences: &'e [String],
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let programme = super::read(&args.file)?;
    let explanation = explain(&programme, args.bought);
    let shown = Shown {
        programme_id: programme.id().to_string(),
        revision: programme.revision(),
        bought: args.bought.to_string(),
        chapters: explanation
            .chapters
            .iter()
            .map(|chapter| Chapter {
                title: chapter.title,
                sentences: &chapter.sentences,
            })
            .collect(),
        warnings: &explanation.warnings,
    };
    args.form
        .print(&shown, || explanation.to_string().trim_end().to_owned())
}
