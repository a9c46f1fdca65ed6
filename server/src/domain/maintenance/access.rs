//! What maintenance opens on a day: builds, downloads, support and add-ons (N-06, N-16; P-10, P-11, T-07, S-09, S-28, V-11).
//!
//! Running a build looks at no clock: only the last day ever bought counts. Everything else looks at today.

use upkeep::date::{CivilDate, Term};
use upkeep::id::{AddOn, Edition, ProductId, TierId};

use super::{covered_on, covers_build, last_day};
use crate::domain::license::License;
use crate::domain::programme::Programme;
use crate::domain::programme::policy::{
    AfterExpiry, Grant, Support, SupportNeeds, SupportedVersions,
};
use crate::domain::refusal::{Reason, Refusal};

/// What a license holds on a day.
#[derive(Clone, Copy, Debug)]
pub struct Holding<'a> {
    /// Its edition: a Free Edition needs no maintenance (S-28).
    pub edition: &'a Edition,
    /// Its maintenance terms, as they stand on the day.
    pub terms: &'a [Term],
    /// The type of its contract, where it has one (T-06, T-07).
    pub tier: Option<&'a TierId>,
    /// The add-ons that were bought (S-10).
    pub add_ons: &'a [AddOn],
    /// The day.
    pub today: CivilDate,
}

impl<'a> Holding<'a> {
    /// What `license` holds on `today`.
    pub fn of(license: &'a License, today: CivilDate) -> Self {
        Self {
            edition: &license.edition,
            terms: &license.terms,
            tier: license.contract.tier.as_ref(),
            add_ons: &license.add_ons,
            today,
        }
    }

    fn is_covered(&self) -> bool {
        covered_on(self.terms, self.today)
    }
}

/// Whether the edition gets every version without maintenance (S-28).
pub fn is_free(programme: &Programme, edition: &Edition) -> bool {
    programme
        .free()
        .is_some_and(|free| free.updates && free.editions.contains(edition))
}

/// The date of the newest build that `license` runs, as its certificate says it (N-06): the last day ever bought; the last day there
/// is for an edition whose updates are always included (S-28); `None` where there never was maintenance.
pub(crate) fn newest_build(programme: &Programme, license: &License) -> Option<CivilDate> {
    if is_free(programme, &license.edition) {
        return CivilDate::parse(END_OF_CALENDAR).ok();
    }
    last_day(&license.terms)
}

/// Whether the build of `build_date` runs (N-06, P-03, A-02): no clock, no gaps.
///
/// # Errors
/// BUILD_NOT_COVERED with `build_date`, and `maintenance_last_date` where there is one.
pub fn run(
    programme: &Programme,
    holding: &Holding<'_>,
    build_date: CivilDate,
) -> Result<(), Refusal> {
    if is_free(programme, holding.edition) || covers_build(holding.terms, build_date) {
        return Ok(());
    }
    let refusal = Refusal::new(Reason::BuildNotCovered).with("build_date", build_date);
    Err(with_last_day(refusal, holding.terms))
}

/// Whether the release of `build_date` may be downloaded (N-16, S-04, S-19, V-11).
///
/// # Errors
/// SMA_EXPIRED with `maintenance_last_date` where there is one.
pub fn download(
    programme: &Programme,
    holding: &Holding<'_>,
    build_date: CivilDate,
) -> Result<(), Refusal> {
    if is_free(programme, holding.edition) || holding.is_covered() {
        return Ok(());
    }
    let after = programme.download().map(|download| download.after_expiry);
    match after {
        Some(AfterExpiry::EntitledBuilds) if covers_build(holding.terms, build_date) => Ok(()),
        _ => Err(expired(holding.terms)),
    }
}

/// Whether maintenance, or a Free Edition, entitles to an update today (T-15, S-28).
///
/// # Errors
/// SMA_EXPIRED with `maintenance_last_date` where there is one.
pub fn update(programme: &Programme, holding: &Holding<'_>) -> Result<(), Refusal> {
    if is_free(programme, holding.edition) || holding.is_covered() {
        return Ok(());
    }
    Err(expired(holding.terms))
}

/// Which version a customer asks support for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The major version that runs.
    pub running_major: u32,
    /// The major version of the product's newest release.
    pub latest_major: u32,
}

/// Whether support may be given for `product` today: maintenance, then its type, then the version (P-09 to P-11, T-07, S-05).
///
/// A programme without a rule for the product gives no support.
///
/// # Errors
/// SMA_EXPIRED, SUPPORT_NOT_INCLUDED, VERSION_NOT_SUPPORTED with `latest_major`.
pub fn support(
    programme: &Programme,
    holding: &Holding<'_>,
    product: &ProductId,
    versions: Versions,
) -> Result<(), Refusal> {
    let rule = support_rule(programme, product)
        .ok_or_else(|| Refusal::new(Reason::SupportNotIncluded).with("product", product))?;
    let free = programme
        .free()
        .filter(|free| free.editions.contains(holding.edition));
    match free {
        Some(free) if free.support => {}
        Some(_) => {
            return Err(Refusal::new(Reason::SupportNotIncluded).with("edition", holding.edition));
        }
        None => check_contract(programme, rule, holding)?,
    }
    match rule.versions {
        SupportedVersions::LatestMajor if versions.running_major < versions.latest_major => {
            Err(Refusal::new(Reason::VersionNotSupported)
                .with("latest_major", versions.latest_major))
        }
        SupportedVersions::LatestMajor | SupportedVersions::Any => Ok(()),
    }
}

/// The rule of a product: its own, else the one for all products.
pub(crate) fn support_rule<'p>(
    programme: &'p Programme,
    product: &ProductId,
) -> Option<&'p Support> {
    let rules = programme.support();
    let own = rules
        .iter()
        .find(|rule| rule.product.as_ref() == Some(product));
    own.or_else(|| rules.iter().find(|rule| rule.product.is_none()))
}

/// T-07, P-10: what the contract must be.
fn check_contract(
    programme: &Programme,
    rule: &Support,
    holding: &Holding<'_>,
) -> Result<(), Refusal> {
    match rule.require {
        SupportNeeds::None => Ok(()),
        SupportNeeds::ActiveSma | SupportNeeds::Tier if !holding.is_covered() => {
            Err(expired(holding.terms))
        }
        SupportNeeds::ActiveSma => Ok(()),
        SupportNeeds::Tier => {
            let included = holding
                .tier
                .is_some_and(|tier| grants_support(programme, rule, tier));
            if included {
                return Ok(());
            }
            let refusal = Refusal::new(Reason::SupportNotIncluded);
            Err(match holding.tier {
                Some(tier) => refusal.with("tier", tier),
                None => refusal,
            })
        }
    }
}

/// The rule's own list of tiers; without one, what the tiers grant.
fn grants_support(programme: &Programme, rule: &Support, tier: &TierId) -> bool {
    if rule.tiers.is_empty() {
        programme
            .tiers()
            .iter()
            .any(|known| known.id == *tier && known.grants.contains(&Grant::Support))
    } else {
        rule.tiers.contains(tier)
    }
}

/// Whether the newest release runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// It does.
    Latest,
    /// An older one does.
    Older,
}

/// Whether a bought add-on may run today (S-07, S-09 to S-11, A-16). The product itself goes on in any case.
///
/// # Errors
/// ADDON_NOT_COVERED when it was not bought, or needs maintenance and there is none; UPDATE_REQUIRED.
pub fn add_on(
    programme: &Programme,
    holding: &Holding<'_>,
    add_on: &AddOn,
    running: Running,
) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        Err(Refusal::new(Reason::AddonNotCovered)
            .detail(why)
            .with("add_on", add_on))
    };
    if !holding.add_ons.contains(add_on) {
        return refuse("the add-on was not bought for this license");
    }
    let free = programme
        .free()
        .filter(|free| free.editions.contains(holding.edition));
    if let Some(free) = free {
        return if free.add_ons {
            Ok(())
        } else {
            refuse("this edition has no add-ons")
        };
    }
    let Some(rule) = programme
        .add_ons()
        .filter(|rule| rule.ids.is_empty() || rule.ids.contains(add_on))
    else {
        return Ok(());
    };
    if !holding.is_covered() {
        return refuse("maintenance is not in force today");
    }
    if rule.require_latest_release && running == Running::Older {
        return Err(Refusal::new(Reason::UpdateRequired).with("add_on", add_on));
    }
    Ok(())
}

fn expired(terms: &[Term]) -> Refusal {
    with_last_day(Refusal::new(Reason::SmaExpired), terms)
}

fn with_last_day(refusal: Refusal, terms: &[Term]) -> Refusal {
    match last_day(terms) {
        Some(last) => refusal.with("maintenance_last_date", last),
        None => refusal,
    }
}

/// N-11: there is no later date.
const END_OF_CALENDAR: &str = "9999-12-31";
