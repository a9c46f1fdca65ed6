//! The check at the start of a product: the real program, run again and again, and the same within a process.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use tempfile::TempDir;
use upkeep::date::CivilDate;
use upkeep::version::Version;
use upkeep_client::check::{self, Build};
use upkeep_client::store::LicenseStore;

use super::Arguments;
use crate::figures::{Single, Spread};
use crate::server::{Server, beside_this};
use crate::{cpu, float, micros};

pub(super) fn measure(arguments: &Arguments) -> anyhow::Result<[Single; 3]> {
    let client = match &arguments.client {
        Some(path) => path.clone(),
        None => beside_this("upkeep")?,
    };
    let server = Server::start(arguments.server.as_deref(), arguments.data.as_deref(), &[])?;
    let home = TempDir::new()?;
    // The first one whose secret is a code.
    let (serial, product, code) = (0..LICENSES)
        .find_map(|n| {
            let of = |what| server.sample(&format!("/licenses/{n}/{what}")).ok();
            Some((
                of("serial")?,
                of("product_id")?,
                of("credential/activation_code")?,
            ))
        })
        .context("no sample license has an activation code")?;
    let run = |words: &[&str]| -> anyhow::Result<()> {
        let status = Command::new(&client)
            .args(words)
            .arg("--store")
            .arg(home.path().join("store"))
            .env("UPKEEP_ACTIVATION_CODE", code)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("upkeep {} ended with {status}", words.join(" "));
        }
        Ok(())
    };
    let products = (0..8).find(|n| {
        let id = server.sample(&format!("/products/{n}/product_id"));
        id.is_ok_and(|id| id == product)
    });
    let at = format!("/products/{}/releases/0", products.context("no product")?);
    let version = server.sample(&format!("{at}/version"))?;
    let date = server.sample(&format!("{at}/build_date"))?;
    run(&[
        "enroll",
        "--server",
        server.sample("/products_url")?,
        "--ca",
        server.sample("/ca")?,
    ])?;
    run(&[
        "activate",
        serial,
        "--product",
        product,
        "--version",
        version,
        "--attester",
        "software",
    ])?;

    let check = ["check", "--version", version, "--build-date", date];
    let before = cpu::of_children()?;
    let mut walls = Vec::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        run(&check)?;
        walls.push(micros(began.elapsed()) / 1_000.0);
    }
    let used = cpu::of_children()?.saturating_sub(before);

    let store = LicenseStore::open(&home.path().join("store"))?;
    let build = Build {
        product: None,
        version: Version::parse(version)?,
        date: CivilDate::parse(date)?,
    };
    let own = cpu::of_this_thread()?;
    for _ in 0..CHECKS {
        check::check(&store, &build)?;
    }
    let own = cpu::of_this_thread()?.saturating_sub(own);
    let one = |value: f64| Spread::of(std::iter::once(value));
    Ok([
        Single {
            name: "check_cpu_ms",
            title: "offline check within a process, CPU".into(),
            value: one(micros(own) / 1_000.0 / float(CHECKS)),
            unit: "ms",
            goal: Some("<= 0.5"),
        },
        Single {
            name: "check_process_ms",
            title: "`upkeep check`, a fresh process, from start to end".into(),
            value: Spread::of(walls.into_iter()),
            unit: "ms",
            goal: Some("< 10"),
        },
        Single {
            name: "check_process_cpu_ms",
            title: "the same as CPU of the process".into(),
            value: one(micros(used) / 1_000.0 / float(RUNS)),
            unit: "ms",
            goal: None,
        },
    ])
}

/// More than there are samples.
const LICENSES: usize = 32;
const RUNS: u64 = 200;
const CHECKS: u64 = 2_000;
