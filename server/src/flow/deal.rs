//! What a purchase is and costs on a day: the facts are loaded here, the rules are `domain::maintenance`'s.
//!
//! A quote and its order both go through [`decide`], so what is ordered is decided by the same rules as what was quoted.

use std::collections::BTreeMap;

use upkeep::date::{CivilDate, Term};
use upkeep::id::{DongleNumber, ProductId};
use upkeep::serial::SerialNumber;

use super::asker::{Asker, check_sellable};
use super::price_book::Size;
use super::{Deps, Fault, Outcome};
use crate::domain::catalogue::{self, Release};
use crate::domain::license::{Carrier, License, MAX_ON_DONGLE};
use crate::domain::machine::LicenseState;
use crate::domain::maintenance::access;
use crate::domain::maintenance::group::{self, GroupLine, GroupPurchase, Length, Member};
use crate::domain::maintenance::price::{self, Price};
use crate::domain::maintenance::purchase::{self, Facts, Kind, Purchase};
use crate::domain::maintenance::{self, last_day};
use crate::domain::price_book::Item;
use crate::domain::programme::Programme;
use crate::domain::programme::policy::MajorRelease;
use crate::domain::quote::{Asked, Deal, Line};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::record::{Records, keys};

/// What is bought, and what each license gets.
pub(crate) struct Decided {
    pub(crate) deal: Deal,
    pub(crate) lines: Vec<Line>,
}

/// Decides a purchase for `license` on the day `today`.
///
/// * `selected` - for a group: which licenses were named; `None` for all on the hardware key.
///
/// # Errors
/// As the rules of the programme: [`purchase::decide`], [`group::renew`], [`group::add`], [`super::expansion`]; PRICE_UNKNOWN.
pub(crate) fn decide(
    deps: &Deps,
    reads: &mut impl Records,
    asker: &Asker,
    license: &License,
    asked: &Asked,
    selected: Option<&[SerialNumber]>,
    today: CivilDate,
) -> Result<Decided, Outcome> {
    let programme = deps.programme(license)?;
    match asked {
        Asked::Terms {
            wanted: Some(Deal::Upgrade),
            count,
        } => upgrade(reads, programme, license, *count, today),
        Asked::Terms { wanted, count } => {
            let beside = group_of(deps, reads, asker, license, today)?;
            if beside.is_empty() {
                return terms(reads, programme, license, *wanted, *count, today);
            }
            // P-04: not without the others. One that is alone on its key costs what it costs beside others.
            let alone = [license.serial.clone()];
            renew(
                (deps, programme),
                reads,
                &beside,
                &alone,
                (*wanted, *count),
                today,
            )
        }
        Asked::Group { wanted, count } => {
            let members = dongle_members(deps, reads, asker, license, today)?;
            let all: Vec<SerialNumber>;
            let selected = match selected {
                Some(named) => named,
                None => {
                    all = members.iter().map(|one| one.serial.clone()).collect();
                    &all
                }
            };
            renew(
                (deps, programme),
                reads,
                &members,
                selected,
                (*wanted, *count),
                today,
            )
        }
        Asked::Join => join(deps, reads, asker, license, today),
        Asked::Expand(to) => super::expansion::decide(deps, reads, programme, license, to, today),
    }
}

/// Terms for one license, and what they cost.
///
/// # Errors
/// As [`purchase`]; PRICE_UNKNOWN, CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE.
pub(crate) fn terms(
    reads: &mut impl Records,
    programme: &Programme,
    license: &License,
    wanted: Option<Deal>,
    count: u32,
    today: CivilDate,
) -> Result<Decided, Outcome> {
    let purchase = purchase(reads, programme, license, wanted, count, today)?;
    let prices = Size::of(license).prices(reads, programme, today)?;
    let months = programme.term_months();
    let lines = price::price(programme, &purchase, &prices)?;
    Ok(Decided {
        deal: deal_of(purchase.kind),
        lines: lines
            .into_iter()
            .map(|line| Line {
                serial: license.serial.clone(),
                term: Some(line.term),
                months,
                amount: amount(line.price),
                how: line.how,
            })
            .collect(),
    })
}

/// What buying `count` terms for a license is on `today`.
///
/// # Errors
/// As [`purchase::decide`].
pub(crate) fn purchase(
    reads: &mut impl Records,
    programme: &Programme,
    license: &License,
    wanted: Option<Deal>,
    count: u32,
    today: CivilDate,
) -> Result<Purchase, Outcome> {
    check_kind(programme, license)?;
    let majors = majors(reads, programme, &license.product)?;
    let facts = Facts {
        terms: &license.terms,
        on: today,
        terms_requested: count,
        wanted: wanted.and_then(kind_of),
        majors: &majors,
        purchased_on: Some(license.purchased_on),
    };
    Ok(purchase::decide(programme, &facts)?)
}

/// T-05, S-28: neither a Free Edition nor a kind of license that the programme does not name has a contract to buy.
///
/// # Errors
/// ILLEGAL_TRANSITION.
pub(crate) fn check_kind(programme: &Programme, license: &License) -> Result<(), Refusal> {
    let detail = if access::is_free(programme, &license.edition) {
        "a Free Edition needs no maintenance"
    } else if !programme.cover().license_kinds.contains(&license.kind) {
        "a license of this kind has no maintenance of its own"
    } else {
        return Ok(());
    };
    Err(Refusal::new(Reason::IllegalTransition)
        .detail(detail)
        .with("license_kind", &license.kind)
        .with("edition", &license.edition))
}

/// An upgrade over a major release that was missed; cover starts with it (P-14, A-11). It is priced from the price book, or by a
/// person.
fn upgrade(
    reads: &mut impl Records,
    programme: &Programme,
    license: &License,
    count: u32,
    today: CivilDate,
) -> Result<Decided, Outcome> {
    match purchase(reads, programme, license, None, count, today) {
        Err(Outcome::Refused(refusal)) if refusal.reason == Reason::UpgradeRequired => {}
        Err(other) => return Err(other),
        Ok(_) => {
            return Err(Refusal::new(Reason::IllegalTransition)
                .detail("no major release was missed, so no upgrade is needed")
                .into());
        }
    }
    if count > 1 {
        let detail = "an upgrade brings one term; renew for more";
        return Err(Refusal::new(Reason::TooManyTerms)
            .detail(detail)
            .with("most", 1)
            .into());
    }
    let term = Term::of_months(today, programme.term_months())
        .map_err(|_| Refusal::new(Reason::TooManyTerms))?;
    let price = Size::of(license).price(reads, &Item::Upgrade, today)?;
    Ok(Decided {
        deal: Deal::Upgrade,
        lines: vec![Line {
            serial: license.serial.clone(),
            term: Some(term),
            months: programme.term_months(),
            how: match price {
                Some(price) => format!("the upgrade at {price}, with maintenance from today"),
                None => BY_A_PERSON.to_owned(),
            },
            amount: price,
        }],
    })
}

/// Renews the licenses on one hardware key (P-04, N-07).
fn renew(
    (deps, programme): (&Deps, &Programme),
    reads: &mut impl Records,
    members: &[License],
    selected: &[SerialNumber],
    (wanted, count): (Option<Deal>, u32),
    today: CivilDate,
) -> Result<Decided, Outcome> {
    let majors = majors_of(reads, programme, members)?;
    let members = group_members((deps, programme), reads, members, &majors, today)?;
    // The latest day on the hardware key is that of all.
    let end = members.iter().filter_map(|member| member.last_day).max();
    let kind = purchase::kind_on(programme, end, today, wanted.and_then(kind_of))?;
    let purchase = group::renew(programme, &members, selected, None, count, today)?;
    Ok(Decided {
        deal: deal_of(kind),
        lines: group_lines(purchase),
    })
}

/// Brings all licenses on the hardware key of `license` to one end date, it being the new one (P-06, P-07).
fn join(
    deps: &Deps,
    reads: &mut impl Records,
    asker: &Asker,
    license: &License,
    today: CivilDate,
) -> Result<Decided, Outcome> {
    let programme = deps.programme(license)?;
    let all = group_of(deps, reads, asker, license, today)?;
    if all.is_empty() {
        let violation = Violation::new(
            "add_to_group",
            "this license has no end date in common with others",
        );
        return Err(Refusal::invalid(vec![violation]).into());
    }
    let majors = majors_of(reads, programme, &all)?;
    let mut members = group_members((deps, programme), reads, &all, &majors, today)?;
    let own = members
        .iter()
        .position(|member| member.license == license.serial)
        .ok_or(NOT_THERE)?;
    let new = members.remove(own);
    let purchase = group::add(programme, &members, &new, today)?;
    if let (true, Some(ended)) = (purchase.lines.is_empty(), purchase.last_day)
        && ended < today
    {
        // There is no day to be brought up to.
        return Err(Refusal::new(Reason::ReinstatementRequired)
            .detail("no license on the hardware key is covered; buy terms for all of them")
            .with("last_day", ended)
            .into());
    }
    if purchase.lines.is_empty() {
        let refusal = Refusal::new(Reason::CoverStillActive)
            .detail("all licenses on the hardware key end on the same day already");
        return Err(match purchase.last_day {
            Some(day) => refusal.with("last_day", day).into(),
            None => refusal.into(),
        });
    }
    Ok(Decided {
        deal: Deal::CoTermination,
        lines: group_lines(purchase),
    })
}

/// The licenses that share an end date with `license`, it among them; none where the programme has no groups or the license is on
/// no hardware key.
fn group_of(
    deps: &Deps,
    reads: &mut impl Records,
    asker: &Asker,
    license: &License,
    today: CivilDate,
) -> Result<Vec<License>, Outcome> {
    let grouped = deps.programme(license)?.group().is_some();
    match &license.carrier {
        Carrier::HardwareKey(_) if grouped => dongle_members(deps, reads, asker, license, today),
        Carrier::HardwareKey(_) | Carrier::SoftwareKey => Ok(Vec::new()),
    }
}

/// The licenses on the hardware key of `license` that can be bought for.
fn dongle_members(
    deps: &Deps,
    reads: &mut impl Records,
    asker: &Asker,
    license: &License,
    today: CivilDate,
) -> Result<Vec<License>, Outcome> {
    let Carrier::HardwareKey(number) = &license.carrier else {
        let violation = Violation::new("dongle_group", "this license is on no hardware key");
        return Err(Refusal::invalid(vec![violation]).into());
    };
    if deps.programme(license)?.group().is_none() {
        let why = "its programme knows no common end date; quote each license for itself";
        return Err(Refusal::invalid(vec![Violation::new("dongle_group", why)]).into());
    }
    let found = on_dongle(deps, reads, number, today)?;
    for other in &found {
        asker.check_beside(license, other)?;
    }
    Ok(found)
}

/// The licenses on a hardware key that were not replaced or withdrawn, by serial.
///
/// # Errors
/// Store faults.
pub(crate) fn on_dongle(
    deps: &Deps,
    reads: &mut impl Records,
    number: &DongleNumber,
    today: CivilDate,
) -> Result<Vec<License>, Outcome> {
    let range = keys::dongle_licenses(number);
    let mut found = Vec::new();
    for (key, _) in reads.range(&range.from, &range.to, MAX_ON_DONGLE)? {
        let serial = std::str::from_utf8(keys::tail(&key, &range))
            .ok()
            .and_then(|text| SerialNumber::parse(text).ok())
            .ok_or(NOT_THERE)?;
        let stored: License = reads.load(&keys::license(&serial))?.ok_or(NOT_THERE)?;
        let license = stored.clone().at(deps.programme(&stored)?, today);
        if license.state != LicenseState::Revoked {
            found.push(license);
        }
    }
    Ok(found)
}

/// The licenses as the rules of a group take them.
///
/// # Errors
/// REFER_TO_VENDOR for a license of another programme, whose rules for a common end may be others; what a license alone is refused for.
fn group_members<'a>(
    (deps, programme): (&Deps, &Programme),
    reads: &mut impl Records,
    licenses: &[License],
    majors: &'a BTreeMap<ProductId, Vec<CivilDate>>,
    today: CivilDate,
) -> Result<Vec<Member<'a, SerialNumber>>, Outcome> {
    let mut members = Vec::with_capacity(licenses.len());
    for license in licenses {
        if license.programme != *programme.id() {
            return Err(Refusal::new(Reason::ReferToVendor)
                .detail("a license on the hardware key follows another programme")
                .with("serial", &license.serial)
                .into());
        }
        check_sellable(license)?;
        check_kind(deps.programme(license)?, license)?;
        maintenance::check_room(&license.terms)?;
        members.push(Member {
            license: license.serial.clone(),
            last_day: last_day(&license.terms),
            annual: Size::of(license).price(reads, &Item::Sma, today)?,
            majors: majors.get(&license.product).map_or(&[], Vec::as_slice),
        });
    }
    Ok(members)
}

fn group_lines(purchase: GroupPurchase<SerialNumber>) -> Vec<Line> {
    purchase.lines.into_iter().map(group_line).collect()
}

fn group_line(line: GroupLine<SerialNumber>) -> Line {
    Line {
        serial: line.license,
        term: Some(line.term),
        months: match line.length {
            Length::Months(months) => months,
            Length::Days { terms, .. } => terms.saturating_mul(12),
        },
        amount: amount(line.price),
        how: line.how,
    }
}

fn majors_of(
    reads: &mut impl Records,
    programme: &Programme,
    licenses: &[License],
) -> Result<BTreeMap<ProductId, Vec<CivilDate>>, Outcome> {
    let mut found = BTreeMap::new();
    for license in licenses {
        if !found.contains_key(&license.product) {
            let days = majors(reads, programme, &license.product)?;
            found.insert(license.product.clone(), days);
        }
    }
    Ok(found)
}

/// The days on which each major version of a product first came out (P-14, A-18). Looked up only where the programme asks.
///
/// # Errors
/// Store faults.
pub(crate) fn majors(
    reads: &mut impl Records,
    programme: &Programme,
    product: &ProductId,
) -> Result<Vec<CivilDate>, Outcome> {
    if programme.lapse().major_release == MajorRelease::Ignore {
        return Ok(Vec::new());
    }
    Ok(catalogue::majors(&releases(reads, product)?))
}

/// All releases of a product.
///
/// # Errors
/// Store faults.
pub(crate) fn releases(
    reads: &mut impl Records,
    product: &ProductId,
) -> Result<Vec<Release>, Outcome> {
    let range = keys::releases(product);
    let found = reads.load_range::<Release>(&range, MAX_RELEASES)?;
    Ok(found.into_iter().map(|(_, release)| release).collect())
}

/// The deal that a purchase is.
pub(crate) fn deal_of(kind: Kind) -> Deal {
    match kind {
        Kind::New => Deal::First,
        Kind::Renewal => Deal::Renewal,
        Kind::Reinstatement => Deal::Reinstatement,
    }
}

/// The kind of purchase that a deal is; `None` for those that are no terms.
fn kind_of(deal: Deal) -> Option<Kind> {
    match deal {
        Deal::First => Some(Kind::New),
        Deal::Renewal => Some(Kind::Renewal),
        Deal::Reinstatement => Some(Kind::Reinstatement),
        Deal::Upgrade | Deal::CoTermination | Deal::Expansion | Deal::AutoExtension => None,
    }
}

/// The amount of a price; `None` where a person has to find it.
pub(crate) fn amount(price: Price) -> Option<crate::domain::money::Money> {
    match price {
        Price::Amount(amount) => Some(amount),
        Price::Quote => None,
    }
}

/// What stands in the place of a computation.
pub(crate) const BY_A_PERSON: &str = "a person at the vendor quotes";
/// Releases of one product that are looked through.
const MAX_RELEASES: usize = 10_000;
const NOT_THERE: Fault =
    Fault::Inconsistent("a hardware key's index names a license that is not there");
