//! What a day costs a server with a thousand contracts, and one with a million: the due pass, and the calls of a customer.
//!
//! The server is inside this process, with a real store on a real disk, TLS and sockets. Licenses are sold through its own API, so
//! the records are what CreateLicense writes. The client runs on this thread alone, so the server's CPU time is the process's
//! without this thread's. Both sizes run one after another in one process; the ratio between them is what is claimed.

mod client;
mod sale;
mod vendor;

use std::path::PathBuf;

use anyhow::Context;
use chrono::TimeDelta;
use serde_json::{Value, json};
use upkeep_server::config::Settings;

use self::client::Client;
use self::vendor::Vendor;
use crate::{cpu, float, micros};

/// Measures the due pass, status and quotes with few contracts and with many
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Contracts in the large store.
    #[arg(long, default_value_t = 1_000_000)]
    count: u32,
    /// 20000 contracts: shows the shape in a minute.
    #[arg(long, conflicts_with = "count")]
    quick: bool,
    /// Calls of each kind that are measured.
    #[arg(long, default_value_t = 4_000)]
    calls: u32,
    /// Where the stores go; by default a temporary directory, which may be in memory: name a disk.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Memory for the cache of the server's index, as `store.cache_mib` sets it.
    #[arg(long, default_value_t = Settings::default().store_cache_mib)]
    cache_mib: u64,
    /// Write the figures to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One size, measured.
struct Measured {
    count: u32,
    /// Days of the due pass.
    days: u32,
    keys_read: u64,
    licenses_read: u64,
    due: u64,
    mails: u64,
    extensions: u64,
    us_per_due: f64,
    status_us: f64,
    quote_us: f64,
    resident_mib: u64,
}

const SMALL: u32 = 1_000;
const QUICK: u32 = 20_000;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let count = if arguments.quick {
        QUICK
    } else {
        arguments.count
    };
    // So many days for the small store that there is something to measure.
    let small = measure(arguments, SMALL, 60)?;
    let large = measure(arguments, count, 1)?;
    print(&small, &large);
    if let Some(path) = &arguments.json {
        let figures = json!({ "small": value(&small), "large": value(&large) });
        std::fs::write(path, format!("{figures:#}\n"))
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(())
}

fn measure(arguments: &Arguments, count: u32, days: u32) -> anyhow::Result<Measured> {
    let vendor = Vendor::open(arguments.data.as_deref(), arguments.cache_mib)?;
    vendor.sell(count)?;
    // What was due before is done before: a server runs every day.
    eprintln!("{count} contracts: doing what was due until yesterday");
    vendor.pass()?;
    let mut read = upkeep_server::flow::due::Pass::default();
    let before = cpu::of_process(std::process::id())?;
    for _ in 0..days {
        vendor.clock.advance(TimeDelta::days(1));
        let pass = vendor.pass()?;
        read.due_keys_read += pass.due_keys_read;
        read.licenses_read += pass.licenses_read;
        read.settled += pass.settled;
        read.mails += pass.mails;
        read.extensions += pass.extensions;
    }
    let used = cpu::of_process(std::process::id())?.saturating_sub(before);
    eprintln!("{count} contracts: calling");
    let client = Client::connect(vendor.serve()?)?;
    let status_us = client.statuses(count, arguments.calls)?;
    let quote_us = client.quotes(count, arguments.calls)?;
    let resident_mib = resident_mib()?;
    client.stop()?;
    Ok(Measured {
        count,
        days,
        keys_read: read.due_keys_read,
        licenses_read: read.licenses_read,
        due: read.settled,
        mails: read.mails,
        extensions: read.extensions,
        us_per_due: micros(used) / float(read.settled),
        status_us,
        quote_us,
        resident_mib,
    })
}

fn print(small: &Measured, large: &Measured) {
    let row = |what: &str, small: f64, large: f64| {
        println!(
            "{what:<44} {small:>12.1} {large:>12.1} {:>8.2}",
            large / small
        );
    };
    println!(
        "{:<44} {:>12} {:>12} {:>8}",
        "contracts", small.count, large.count, "ratio"
    );
    row(
        "due pass: licenses read for one that was due",
        float(small.licenses_read) / float(small.due),
        float(large.licenses_read) / float(large.due),
    );
    row(
        "due pass: server CPU for one that was due, us",
        small.us_per_due,
        large.us_per_due,
    );
    row(
        "GetMaintenance: server CPU, us",
        small.status_us,
        large.status_us,
    );
    row(
        "CreateQuote: server CPU, us",
        small.quote_us,
        large.quote_us,
    );
    row(
        "memory of client and server, MiB",
        float(small.resident_mib),
        float(large.resident_mib),
    );
    for one in [small, large] {
        println!(
            "{} contracts, {} days: {} index keys and {} licenses read, {} due, {} mails, {} terms",
            one.count,
            one.days,
            one.keys_read,
            one.licenses_read,
            one.due,
            one.mails,
            one.extensions
        );
    }
}

fn value(one: &Measured) -> Value {
    json!({
        "contracts": one.count,
        "due_pass": {
            "days": one.days,
            "index_keys_read": one.keys_read,
            "licenses_read": one.licenses_read,
            "licenses_due": one.due,
            "mails": one.mails,
            "terms": one.extensions,
            "cpu_us_per_due": one.us_per_due,
        },
        "get_maintenance_cpu_us": one.status_us,
        "create_quote_cpu_us": one.quote_us,
        "resident_mib": one.resident_mib,
    })
}

/// The memory that this process holds.
fn resident_mib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok());
    Ok(kib.context("/proc has no VmRSS here: this benchmark needs Linux")? / 1024)
}
