//! `export`: all licenses as a file that `import` reads.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use upkeep::rpc::v1::{ExportLicensesRequest, LicenseRow};

use crate::cli::admin::{Admin, Reach};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::cli::serve::block_on;
use crate::license_file::{Format, csv_header, csv_line, json_line};
use crate::logging::{self, LogFormat};

/// Export all licenses as a file that import reads
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server export --out licenses.jsonl --data /var/lib/upkeep
  upkeep-server export --format csv --out licenses.csv --data /var/lib/upkeep

It has names and addresses of customers, and no secret. A server that imports it needs:
  the products and programmes           create them first
  passwords, for serials that take one  add the field password to those rows, and tell customers
  activation codes                      new ones are made there; with a copy of keys/code.key, as it
                                        was before the first license, the old ones stay good
Activations, orders, quotes and history are not in it; a backup has them all.")]
pub(super) struct Args {
    /// The form; without it CSV where --out ends in .csv, .tsv or .txt, else JSON lines
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// A new file, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let _ = logging::init(LogFormat::Text, "warn");
    block_on(export(args))
}

async fn export(args: &Args) -> Result<(), Failure> {
    let named = args
        .out
        .as_ref()
        .and_then(|path| Format::of_name(&path.display().to_string()));
    let format = args.format.or(named).unwrap_or(Format::Jsonl);
    let mut out = Out::create(args.out.as_deref(), format)?;
    let mut admin = args.reach.admin().await?;
    let done = pages(&mut admin, &mut out).await;
    admin.close()?;
    let written = done.and_then(|count| out.finish().map(|()| count));
    match (written, &args.out) {
        (Ok(count), path) => {
            let to = path.as_ref().map(|path| format!(" to {}", path.display()));
            output::note(format_args!(
                "{count} licenses exported{}",
                to.unwrap_or_default()
            ));
            Ok(())
        }
        (Err(failure), None) => Err(failure),
        (Err(failure), Some(path)) => Err(Failure::new(
            failure.exit(),
            format_args!(
                "{failure}; {} is not complete, remove it and try again",
                path.display()
            ),
        )),
    }
}

async fn pages(admin: &mut Admin, out: &mut Out) -> Result<u64, Failure> {
    let mut count = 0_u64;
    let called = admin
        .client
        .export_licenses(ExportLicensesRequest::default())
        .await;
    let mut pages = called
        .map_err(|status| admin.refused(&status))?
        .into_inner();
    while let Some(page) = pages
        .message()
        .await
        .map_err(|status| admin.refused(&status))?
    {
        for row in page.licenses {
            out.write(row)?;
            count = count.saturating_add(1);
        }
    }
    Ok(count)
}

/// Where rows are written to.
enum Out {
    Csv(Box<csv::Writer<Box<dyn Write>>>),
    Json(BufWriter<Box<dyn Write>>),
}

impl Out {
    fn create(path: Option<&Path>, format: Format) -> Result<Self, Failure> {
        let to: Box<dyn Write> = match path {
            None => Box::new(io::stdout()),
            // It has personal data: for its owner alone.
            Some(path) => Box::new(
                File::options()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(|error| {
                        let shown = path.display();
                        let why = format!("{shown} can't be made: {error}; name a new file");
                        Failure::new(Exit::Usage, why)
                    })?,
            ),
        };
        Ok(match format {
            Format::Jsonl => Self::Json(BufWriter::new(to)),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(to);
                writer.write_record(csv_header()).map_err(unwritten)?;
                Self::Csv(Box::new(writer))
            }
        })
    }

    fn write(&mut self, row: LicenseRow) -> Result<(), Failure> {
        match self {
            Self::Csv(writer) => writer.write_record(csv_line(row)).map_err(unwritten),
            Self::Json(writer) => {
                let line = json_line(row).map_err(unwritten)?;
                writeln!(writer, "{line}").map_err(unwritten)
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Csv(mut writer) => writer.flush().map_err(unwritten),
            Self::Json(mut writer) => writer.flush().map_err(unwritten),
        }
    }
}

fn unwritten(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Fault,
        format_args!("the licenses can't be written: {error}"),
    )
}
