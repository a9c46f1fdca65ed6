//! Support, downloads and add-ons: questions, so a no is an answer and not a refusal of the call (P-10, P-11, N-16, S-09).

use chrono::{DateTime, Utc};
use upkeep::id::AddOn;
use upkeep::version::Version;

use super::deal::releases;
use super::{Deps, Outcome};
use crate::domain::catalogue::{self, Release};
use crate::domain::license::License;
use crate::domain::machine::LicenseState;
use crate::domain::maintenance::access::{self, Holding, Running, Versions, support_rule};
use crate::domain::programme::policy::SupportedVersions;
use crate::domain::refusal::{Reason, Refusal};
use crate::record::{Records, keys};

/// What may be used, or why not.
pub(crate) type Verdict = Result<(), Refusal>;

/// Whether support is given for `version` today, and by which ways.
///
/// # Errors
/// Faults only.
pub(crate) fn support(
    deps: &Deps,
    license: &License,
    version: &Version,
    now: DateTime<Utc>,
) -> Result<(Verdict, Vec<String>), Outcome> {
    let (programme, today) = (deps.programme(license)?, deps.today(license, now)?);
    let rule = support_rule(programme, &license.product);
    let latest_major = match rule {
        Some(rule) if rule.versions == SupportedVersions::LatestMajor => {
            newest(deps, license)?.map(|release| release.version.major())
        }
        _ => None,
    };
    let versions = Versions {
        running_major: version.major(),
        // Without a release on record no version is older than the newest.
        latest_major: latest_major.unwrap_or(version.major()),
    };
    let verdict = usable(license).and_then(|()| {
        access::support(
            programme,
            &Holding::of(license, today),
            &license.product,
            versions,
        )
    });
    let channels = rule.map(|rule| rule.channels.clone()).unwrap_or_default();
    Ok((verdict, channels))
}

/// Whether `version` may be downloaded today, and where downloads are.
///
/// # Errors
/// RELEASE_UNKNOWN.
pub(crate) fn download(
    deps: &Deps,
    license: &License,
    version: &Version,
    now: DateTime<Utc>,
) -> Result<(Verdict, Option<String>), Outcome> {
    let (programme, today) = (deps.programme(license)?, deps.today(license, now)?);
    let release = release(deps, license, version)?;
    let verdict = usable(license).and_then(|()| {
        access::download(programme, &Holding::of(license, today), release.build_date)
    });
    let area = programme.download().and_then(|rule| rule.area.clone());
    Ok((verdict, area))
}

/// Whether a purchased add-on may be used today with `version`.
///
/// # Errors
/// RELEASE_UNKNOWN.
pub(crate) fn add_on(
    deps: &Deps,
    license: &License,
    add_on: &AddOn,
    version: &Version,
    now: DateTime<Utc>,
) -> Result<Verdict, Outcome> {
    let (programme, today) = (deps.programme(license)?, deps.today(license, now)?);
    let release = release(deps, license, version)?;
    let asks_for_newest = programme
        .add_ons()
        .is_some_and(|rule| rule.require_latest_release);
    let running = match asks_for_newest {
        true if newest(deps, license)?.is_some_and(|newest| newest.version != release.version) => {
            Running::Older
        }
        _ => Running::Latest,
    };
    let holding = Holding::of(license, today);
    Ok(usable(license).and_then(|()| access::add_on(programme, &holding, add_on, running)))
}

/// Nothing is given for a license that the vendor has stopped.
fn usable(license: &License) -> Verdict {
    match license.state {
        LicenseState::Issued => Ok(()),
        LicenseState::Ordered => Err(Reason::LicenseNotIssued.into()),
        LicenseState::Suspended => Err(Reason::LicenseSuspended.into()),
        LicenseState::Superseded | LicenseState::Revoked => Err(Reason::LicenseFinal.into()),
    }
}

fn release(deps: &Deps, license: &License, version: &Version) -> Result<Release, Outcome> {
    let mut store = &deps.store;
    let found: Option<Release> = store.load(&keys::release(&license.product, version))?;
    found.ok_or_else(|| {
        Refusal::new(Reason::ReleaseUnknown)
            .with("version", version)
            .into()
    })
}

fn newest(deps: &Deps, license: &License) -> Result<Option<Release>, Outcome> {
    let mut store = &deps.store;
    let all = releases(&mut store, &license.product)?;
    Ok(catalogue::newest(&all, |_| true).cloned())
}
