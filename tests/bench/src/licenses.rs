//! `licenses`: a file of licenses for `upkeep-server import`, as many as are wanted, the same each time.
//!
//! One in a hundred is a customer of its own, one in fifty a partner's; half have one term behind them, half two. No line is like another.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Write a file of licenses for `upkeep-server import`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example, into a data directory with the product that the rows name (--product):
  upkeep-bench licenses 1000000 --out million.jsonl
  upkeep-server import million.jsonl --data DIR")]
pub(crate) struct Arguments {
    /// How many.
    count: u64,
    /// Number of the first one.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// The product of all of them.
    #[arg(long, default_value = PRODUCT)]
    product: String,
    /// How many licenses a customer has.
    #[arg(long, default_value_t = PER_CUSTOMER)]
    per_customer: u64,
    /// The file; by default standard output.
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Arguments {
    /// So many into `out`.
    pub(crate) fn to(out: &Path, count: u64) -> Self {
        Self {
            count,
            first: 0,
            product: PRODUCT.to_owned(),
            per_customer: PER_CUSTOMER,
            out: Some(out.to_owned()),
        }
    }
}

pub(crate) fn write(arguments: &Arguments) -> anyhow::Result<()> {
    let to: Box<dyn Write> = match &arguments.out {
        None => Box::new(io::stdout().lock()),
        Some(path) => Box::new(File::create(path)?),
    };
    let mut to = BufWriter::new(to);
    let end = arguments.first.saturating_add(arguments.count);
    for number in arguments.first..end {
        let customer = number / arguments.per_customer.max(1);
        let year = 2022 + number % 5;
        let next = year + 1;
        let mut row = serde_json::json!({
            "external_id": format!("legacy-{number}"),
            "serial": format!("LS-{number:09}"),
            "product_id": arguments.product,
            "customer_external_id": format!("customer-{customer}"),
            "customer_name": format!("Customer {customer} GmbH"),
            "customer_email": format!("licenses@customer-{customer}.example"),
            "protection": "software_key",
            "license_type": "single-user",
            "edition": if number.is_multiple_of(3) { "pro" } else { "basic" },
            "seats": 1 + number % 10,
            "purchase_date": format!("{year}-03-01"),
            "terms": if number.is_multiple_of(2) {
                format!("{year}-03-01..{next}-02-28")
            } else {
                format!("{year}-03-01..{next}-02-28;{next}-03-01..{}-02-28", next + 1)
            },
        });
        if number.is_multiple_of(50) {
            let partner = number / 50 % 100;
            row["partner_id"] = format!("partner-{partner}").into();
            row["partner_name"] = format!("Partner {partner}").into();
        }
        writeln!(to, "{row}")?;
    }
    to.flush()?;
    Ok(())
}

const PRODUCT: &str = "label-studio";
const PER_CUSTOMER: u64 = 100;
