//! `check`: may this build run on this device? It decides offline.

use std::path::PathBuf;

use serde::Serialize;
use upkeep::date::CivilDate;
use upkeep::id::ProductId;
use upkeep::version::Version;
use upkeep_client::check::Build;

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::value::missing;
use crate::cli::{facts, file, keys};

/// Decide offline whether a build may run on this device
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep check --version 10.0 --build-date 2026-06-01
  upkeep check --version 10.0 --build-date 2026-06-01 --product label-studio -q && label-studio
  upkeep check --release-manifest label-studio-11.0.release.txt --build-key build.pub

Exit code 0: it may run. 5: no license is active here. 6: it may not; the error says which rule. 7: the store, or \
the license in it, was changed. 9: the release manifest does not verify.

The certificate is verified with the pinned keys, the device key signs a random challenge, and the build's date \
must lie on or before the last day of maintenance ever bought. No network takes part, and no clock but for a \
lease, which ends.")]
pub(super) struct Args {
    /// The product [default: the licensed one, or the manifest's]
    #[arg(long, value_name = "ID", value_parser = ProductId::parse)]
    product: Option<ProductId>,

    /// The version of the build; a manifest states its own
    #[arg(long, value_name = "VERSION", value_parser = Version::parse, required_unless_present = "release_manifest")]
    version: Option<Version>,

    /// The day of the build, YYYY-MM-DD in the vendor's calendar
    #[arg(
        long,
        value_name = "DATE",
        value_parser = CivilDate::parse,
        conflicts_with = "release_manifest",
        required_unless_present = "release_manifest"
    )]
    build_date: Option<CivilDate>,

    /// The build's signed release manifest, instead of a date
    #[arg(long, value_name = "FILE", requires = "build_key")]
    release_manifest: Option<PathBuf>,

    /// The vendor's public build key: PEM, JWK, or the base64 that `upkeep-server release keygen` prints
    #[arg(long, value_name = "FILE", requires = "release_manifest")]
    build_key: Option<PathBuf>,
}

#[derive(Serialize)]
struct Allowed {
    allowed: bool,
    product: String,
    version: String,
    build_date: String,
    lease_ends_at: Option<String>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let build = build(args)?;
    let store = global.look()?;
    let held = facts::Held::of(&store)?;
    let product = build.product.as_ref();
    let allowed = Allowed {
        allowed: true,
        product: product
            .map_or(held.license().product(), ProductId::as_str)
            .to_owned(),
        version: build.version.to_string(),
        build_date: build.date.to_string(),
        lease_ends_at: None,
    };
    let verdict = upkeep_client::check::check(&store, &build)?;
    let allowed = Allowed {
        lease_ends_at: verdict.lease_ends_at.map(facts::instant_of),
        ..allowed
    };
    global.output().done(&allowed, || {
        let lease = match &allowed.lease_ends_at {
            Some(end) => format!("; its lease ends at {end}"),
            None => String::new(),
        };
        format!(
            "{} {} of {} may run on this device{lease}.",
            allowed.product, allowed.version, allowed.build_date
        )
    })?;
    Ok(Exit::Ok)
}

fn build(args: &Args) -> Result<Build, Failure> {
    let (Some(manifest), Some(key)) = (&args.release_manifest, &args.build_key) else {
        return Ok(Build {
            product: args.product.clone(),
            version: args
                .version
                .clone()
                .ok_or_else(|| missing("--version VERSION", "the version of the build"))?,
            date: args
                .build_date
                .ok_or_else(|| missing("--build-date DATE", "the day of the build"))?,
        });
    };
    let text = file::read_path(manifest)?;
    let key = keys::read_one(key)?;
    let (product, version, date) = upkeep_client::check::build_of_manifest(&text, &key)?;
    let differs = |what: &str, stated: &dyn std::fmt::Display| {
        Failure::usage(
            format_args!("the release manifest is of {what} {stated}"),
            "give the manifest of this very build, or leave the option out",
        )
    };
    if args.product.as_ref().is_some_and(|given| *given != product) {
        return Err(differs("the product", &product));
    }
    if args.version.as_ref().is_some_and(|given| *given != version) {
        return Err(differs("version", &version));
    }
    Ok(Build {
        product: Some(product),
        version,
        date,
    })
}
