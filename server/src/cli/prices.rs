//! `prices`: import the price book from a file, and list it.

mod rows;

use std::path::{Path, PathBuf};

use serde::Serialize;
use upkeep::rpc::v1::{
    ImportPricesRequest, ImportPricesResponse, ListPricesRequest, Price, PriceProblem,
};

use crate::cli::admin::{Admin, Reach};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, Form};
use crate::cli::prices::rows::{Row, Rows};
use crate::cli::serve::block_on;
use crate::logging::{self, LogFormat};

/// Import and list prices
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Import(ImportArgs),
    List(ListArgs),
}

/// Import prices from a CSV file: all rows or none
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server prices import prices.csv --dry-run --data /var/lib/upkeep
  upkeep-server prices import prices.csv --data /var/lib/upkeep

The first line names the columns:
  product,item,edition,license_type,per,amount,currency,valid_from

  item          license, sma, upgrade, module:ID or addon:ID
  edition       empty for all editions; the same for license_type
  per           license or seat
  amount        in major units, such as 399.00; or the column amount_minor, such as 39900
  valid_from    the first day on which the price holds, YYYY-MM-DD

Every bad row is named, and nothing is written unless all are good. Importing the same rows again \
changes nothing. A price that has held since a day in the past is never changed: add one with a \
later day.")]
pub(super) struct ImportArgs {
    /// The file
    file: PathBuf,

    /// Only check
    #[arg(long)]
    dry_run: bool,

    /// Change amounts that are in the book and do not hold yet
    #[arg(long)]
    replace: bool,

    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    form: Form,
}

/// List the price book
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server prices list --data /var/lib/upkeep
  upkeep-server prices list --product mail-server --json --data /var/lib/upkeep")]
pub(super) struct ListArgs {
    /// Only those of one product
    #[arg(long, value_name = "ID", default_value = "")]
    product: String,

    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    form: Form,
}

/// What an import did or would do.
#[derive(Debug, Default, Serialize)]
struct Report {
    added: u32,
    replaced: u32,
    unchanged: u32,
    dry_run: bool,
    problems: Vec<Remark>,
    warnings: Vec<Remark>,
}

/// Something about one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Remark {
    line: u64,
    column: String,
    description: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    product: String,
    item: String,
    edition: String,
    license_type: String,
    per: &'static str,
    amount_minor: i64,
    currency: String,
    valid_from: String,
}

/// Whether a file is good in every row.
pub(super) fn is_good(bytes: &[u8]) -> bool {
    let source = Box::new(std::io::Cursor::new(bytes.to_vec()));
    let Ok(mut rows) = Rows::read(source, Path::new("")) else {
        return false;
    };
    while matches!(rows.next_batch(), Ok(Some(_))) {}
    rows.problems().is_empty()
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let _ = logging::init(LogFormat::Text, "warn");
    match command {
        Command::Import(args) => block_on(import(args)),
        Command::List(args) => block_on(list(args)),
    }
}

/// Reads the file twice: once to find everything that is wrong, once to write.
async fn import(args: &ImportArgs) -> Result<(), Failure> {
    let mut report = Report {
        dry_run: args.dry_run,
        ..Report::default()
    };
    // What the file alone tells needs no server.
    let mut rows = Rows::open(&args.file)?;
    while rows.next_batch()?.is_some() {}
    report.problems = rows.problems();
    if !report.problems.is_empty() {
        return failed(report, args.form);
    }
    let mut admin = args.reach.admin().await?;
    let done = send(&mut admin, args, &mut report).await;
    admin.close()?;
    done?;
    if !report.problems.is_empty() {
        return failed(report, args.form);
    }
    for warning in &report.warnings {
        output::note(format_args!("warning: {warning}"));
    }
    args.form.print(&report, || {
        let would = if args.dry_run { "would be " } else { "" };
        format!(
            "{} {would}added, {} {would}changed, {} there already",
            report.added, report.replaced, report.unchanged
        )
    })
}

async fn send(admin: &mut Admin, args: &ImportArgs, report: &mut Report) -> Result<(), Failure> {
    let mut rows = Rows::open(&args.file)?;
    while let Some(batch) = rows.next_batch()? {
        let answer = call(admin, args, &batch, true).await?;
        report.added = report.added.saturating_add(answer.added);
        report.replaced = report.replaced.saturating_add(answer.replaced);
        report.unchanged = report.unchanged.saturating_add(answer.unchanged);
        report.problems.extend(remarks(&batch, answer.problems));
        report.warnings.extend(remarks(&batch, answer.warnings));
    }
    if args.dry_run || !report.problems.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::open(&args.file)?;
    while let Some(batch) = rows.next_batch()? {
        call(admin, args, &batch, false).await?;
    }
    Ok(())
}

async fn call(
    admin: &mut Admin,
    args: &ImportArgs,
    batch: &[Row],
    dry_run: bool,
) -> Result<ImportPricesResponse, Failure> {
    let request = ImportPricesRequest {
        request_id: String::new(),
        prices: batch.iter().map(|row| row.price.clone()).collect(),
        dry_run,
        replace: args.replace,
    };
    let answer = admin.client.import_prices(request).await;
    Ok(answer
        .map_err(|status| admin.refused(&status))?
        .into_inner())
}

fn remarks(batch: &[Row], found: Vec<PriceProblem>) -> Vec<Remark> {
    let remark = |problem: PriceProblem| {
        let index = usize::try_from(problem.index).unwrap_or(usize::MAX);
        Remark {
            line: batch.get(index).map_or(0, |row| row.line),
            column: column_of(&problem.field).to_owned(),
            description: problem.description,
        }
    };
    found.into_iter().map(remark).collect()
}

/// What a field of the call is called in the file.
fn column_of(field: &str) -> &str {
    match field {
        "product_id" => "product",
        "item_id" => "item",
        "unit" => "per",
        "valid_from_date" => "valid_from",
        other => other,
    }
}

fn failed(report: Report, form: Form) -> Result<(), Failure> {
    let shown: Vec<String> = report
        .problems
        .iter()
        .take(MAX_SHOWN)
        .map(ToString::to_string)
        .collect();
    let count = report.problems.len();
    let rest = match count.saturating_sub(shown.len()) {
        0 => String::new(),
        rest => format!("\n  and {rest} more"),
    };
    if form.is_json() {
        output::json(&report)?;
    }
    Err(Failure::new(
        Exit::Refused,
        format_args!(
            "nothing was imported; {count} things are wrong:\n  {}{rest}",
            shown.join("\n  ")
        ),
    ))
}

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "line {}, {}: {}",
            self.line, self.column, self.description
        )
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut admin = args.reach.admin().await?;
    let found = all(&mut admin, &args.product).await;
    admin.close()?;
    let listed: Vec<Listed> = found?.into_iter().map(listed).collect();
    args.form.print(&listed, || table(&listed))
}

async fn all(admin: &mut Admin, product: &str) -> Result<Vec<Price>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListPricesRequest {
            product_id: product.to_owned(),
            page_size: 500,
            page_token,
        };
        let page = admin.client.list_prices(request).await;
        let page = page.map_err(|status| admin.refused(&status))?.into_inner();
        found.extend(page.prices);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

fn listed(price: Price) -> Listed {
    let item = rows::item_text(price.item(), &price.item_id);
    let per = rows::per_text(price.unit());
    let amount = price.amount.unwrap_or_default();
    Listed {
        product: price.product_id,
        item,
        edition: price.edition,
        license_type: price.license_type,
        per,
        amount_minor: amount.minor_units,
        currency: amount.currency_code,
        valid_from: price.valid_from_date,
    }
}

fn table(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "There are no prices; `upkeep-server prices import FILE` adds some.".to_owned();
    }
    let any = |text: &str| if text.is_empty() { "*" } else { text }.to_owned();
    let cells: Vec<[String; 7]> = listed
        .iter()
        .map(|one| {
            [
                one.product.clone(),
                one.item.clone(),
                any(&one.edition),
                any(&one.license_type),
                rows::amount_text(one.amount_minor, &one.currency),
                format!("a {}", one.per),
                format!("from {}", one.valid_from),
            ]
        })
        .collect();
    let mut widths = [0_usize; 7];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 7]| {
        let padded: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// More lines of what is wrong help nobody.
const MAX_SHOWN: usize = 50;
