//! Each op of the vectors, as a call of the rule that the server itself uses. Nothing is computed here.

use chrono::SecondsFormat;
use serde_json::{Value, json};
use upkeep::date::{CivilDate, DateError, Term};
use upkeep::id::{AddOn, DongleNumber, Edition, LicenseKind, ProductId, TierId};
use upkeep::serial::SerialNumber;
use upkeep::unlock::{Device, Unlock, apply};
use upkeep_server::domain::license::{VirtualEnvironment, VmPermission};
use upkeep_server::domain::maintenance::access::{self, Holding, Running, Versions};
use upkeep_server::domain::maintenance::group::{self, GroupPurchase, Length, Member};
use upkeep_server::domain::maintenance::price::{Price, Prices, module_fee, price, total};
use upkeep_server::domain::maintenance::purchase::{Bought, Facts, Kind, decide};
use upkeep_server::domain::maintenance::zone::first_uncovered;
use upkeep_server::domain::maintenance::{
    LegacyAction, Maintained, NewLicense, Reseller, VmProduct, colour, cover_of_new, covered_on,
    expand, extended, flag, last_day, legacy, reminders, renewal_closes_on, renewal_opens_on,
};
use upkeep_server::domain::money::{BasisPoints, Money};
use upkeep_server::domain::programme::{
    CredentialKind, Programme, Protection, SmaCheck, UpdateField,
};
use upkeep_server::domain::refusal::{Reason, Refusal};
use upkeep_server::domain::upgrade_check::{Case, Form, Returns, check};

use crate::input::{Answer, Input, Malformed};
use crate::steps::transition;

/// The answer of the rules to one vector.
pub(crate) fn drive(
    op: &str,
    programme: &Programme,
    input: &Input<'_>,
) -> Result<Answer, Malformed> {
    match op {
        "term_last_day" => term_last_day(input),
        "civil_date" => civil_date(programme, input),
        "cover_end_instant" => cover_end_instant(programme, input),
        "covered_at" => covered_at(programme, input),
        "renewal_window" => renewal_window(programme, input),
        "new_license" => new_license(programme, input),
        "buy_cover" => buy_cover(programme, input),
        "status" => status(programme, input),
        "run_check" => run_check(programme, input),
        "reminder" => reminder(programme, input),
        "add_to_group" => add_to_group(programme, input),
        "renew_group" => renew_group(programme, input),
        "check_update_request" => check_update_request(programme, input),
        "apply_unlock_code" => apply_unlock_code(input),
        "percent_price" => percent_price(input),
        "module_fee" => fee(programme, input),
        "expand" => expansion(programme, input),
        "auto_extend" => auto_extend(programme, input),
        "support_access" => support_access(programme, input),
        "addon_access" => addon_access(programme, input),
        "download_access" => download_access(programme, input),
        "legacy_contract" => legacy_contract(programme, input),
        "transition" => transition(input),
        other => Err(Malformed(format!("there is no op {other}"))),
    }
}

fn term_last_day(input: &Input<'_>) -> Result<Answer, Malformed> {
    let (start, months) = (input.needed_day("start")?, input.needed_number("months")?);
    Ok(match Term::of_months(start, months) {
        Ok(term) => Ok(json!({"last_day": term.last().to_string()})),
        Err(DateError::Order) => Err(Reason::InvalidTermCount.into()),
        Err(_) => Err(Reason::TooManyTerms.into()),
    })
}

fn civil_date(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let date = today(programme, input)?;
    Ok(Ok(json!({"date": date.to_string()})))
}

fn cover_end_instant(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let at = first_uncovered(programme.time_zone(), input.needed_day("last_day")?);
    let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    Ok(Ok(json!({"first_uncovered_instant": at})))
}

fn covered_at(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let covered = covered_on(&input.terms("terms")?, today(programme, input)?);
    Ok(Ok(json!({"covered": covered})))
}

fn renewal_window(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let last = input.needed_day("last_day")?;
    let opens = renewal_opens_on(programme, last).map(|day| day.to_string());
    Ok(match renewal_closes_on(programme, last) {
        Ok(closes) => Ok(json!({"opens_on": opens, "closes_on": closes.to_string()})),
        Err(_) => Err(Reason::TooManyTerms.into()),
    })
}

fn new_license(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let kind = input.optional("license_kind", LicenseKind::parse)?;
    let kind = kind.ok_or_else(|| Malformed("license_kind is required".to_owned()))?;
    let edition = input.optional("edition", Edition::parse)?;
    let license = NewLicense {
        kind: &kind,
        edition: edition.as_ref(),
        vm: vm_product(input)?,
        on: input.needed_day("on")?,
    };
    Ok(cover_of_new(programme, &license).map(|cover| json!({"cover": cover.map(term_shown)})))
}

fn vm_product(input: &Input<'_>) -> Result<VmProduct, Malformed> {
    Ok(match input.flag("vm_product")? {
        Some(true) => VmProduct::Yes,
        Some(false) | None => VmProduct::No,
    })
}

fn buy_cover(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let terms = input.terms("terms")?;
    let on = input.needed_day("on")?;
    let majors = input.days("major_releases")?;
    let modules = input.amounts("module_list_prices")?;
    let list = input.money("list_price")?.transpose();
    let purchased_on = match input.word("bought", Bought::parse)? {
        // The day before the first that is bought or held.
        Some(Bought::Later) => {
            let first = terms.iter().map(Term::first).min().unwrap_or(on);
            first
                .naive()
                .pred_opt()
                .and_then(|day| CivilDate::from_naive(day).ok())
        }
        Some(Bought::WithSoftware) | None => input.day("purchased_on")?,
    };
    let facts = Facts {
        terms: &terms,
        on,
        terms_requested: input.number("terms_requested")?.unwrap_or(1),
        wanted: input.word("kind", Kind::parse)?,
        majors: &majors,
        purchased_on,
    };
    Ok((|| {
        let purchase = decide(programme, &facts)?;
        let prices = Prices {
            list: list?,
            modules: modules?,
        };
        let lines = price(programme, &purchase, &prices)?;
        let total = total(&lines)?;
        let shown: Vec<Value> = lines
            .iter()
            .map(|line| {
                let mut shown = term_shown(line.term);
                shown["price"] = price_shown(line.price);
                shown
            })
            .collect();
        Ok(json!({
            "kind": purchase.kind.to_string(),
            "start": purchase.terms.first().map(|term| term.first().to_string()),
            "last_day": last_day(&purchase.terms).map(|day| day.to_string()),
            "terms": purchase.terms.len(),
            "contract_year": purchase.first_year,
            "lines": shown,
            "price": price_shown(total),
        }))
    })())
}

fn status(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let on = input.needed_day("on")?;
    let terms = held(input, "last_day", on)?;
    let flag = flag(programme, &terms, on);
    Ok(Ok(json!({
        "flag": flag.to_string(),
        "colour": colour(programme, flag),
        "date": last_day(&terms).map(|day| day.to_string()),
    })))
}

fn run_check(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let built = input.needed_day("build_date")?;
    let edition = edition(input)?;
    let terms = held(input, "sma_last_day", built)?;
    let holding = holding(&edition, &terms, built);
    Ok(access::run(programme, &holding, built).map(|()| json!({"run": true})))
}

fn reminder(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let reseller = match input.flag("has_reseller")? {
        Some(false) => Reseller::None,
        Some(true) | None => Reseller::Known,
    };
    let (created, last) = (
        input.needed_day("cover_created_on")?,
        input.needed_day("last_day")?,
    );
    let list: Vec<Value> = reminders(programme, created, last, reseller)
        .iter()
        .map(|due| {
            json!({
                "send_on": due.send_on.to_string(),
                "to": due.to.to_string(),
                "days_before": due.days_before,
            })
        })
        .collect();
    Ok(Ok(json!({ "reminders": list })))
}

/// The members of a dongle, each with its own major releases or those that the vector names for all.
struct Dongle {
    majors: Vec<Vec<CivilDate>>,
    facts: Vec<(String, Option<CivilDate>, Option<Money>)>,
}

impl Dongle {
    fn read(input: &Input<'_>) -> Result<Result<Self, Refusal>, Malformed> {
        let shared = input.days("major_releases")?;
        let (mut majors, mut facts) = (Vec::new(), Vec::new());
        for member in input.parts("existing")? {
            let own = member.days("major_releases")?;
            majors.push(if own.is_empty() { shared.clone() } else { own });
            let annual = match member.money("annual_price")?.transpose() {
                Ok(annual) => annual,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let label = member.needed_text("license")?.to_owned();
            facts.push((label, member.day("last_day")?, annual));
        }
        Ok(Ok(Self { majors, facts }))
    }

    fn members(&self) -> Vec<Member<'_, String>> {
        let both = self.facts.iter().zip(&self.majors);
        both.map(|((license, last_day, annual), majors)| Member {
            license: license.clone(),
            last_day: *last_day,
            annual: *annual,
            majors,
        })
        .collect()
    }
}

fn add_to_group(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let on = input.needed_day("on")?;
    let dongle = match Dongle::read(input)? {
        Ok(dongle) => dongle,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let new = input.needed_part("new")?;
    let kind = new.optional("license_kind", LicenseKind::parse)?;
    let perpetual =
        LicenseKind::parse("perpetual").map_err(|error| Malformed(error.to_string()))?;
    let license = NewLicense {
        kind: kind.as_ref().unwrap_or(&perpetual),
        edition: None,
        vm: vm_product(&new)?,
        on,
    };
    let annual = new.money("annual_price")?.transpose();
    let label = new.needed_text("license")?.to_owned();
    Ok((|| {
        let member = Member {
            license: label,
            last_day: cover_of_new(programme, &license)?.map(|term| term.last()),
            annual: annual?,
            majors: &[],
        };
        let bought = group::add(programme, &dongle.members(), &member, on)?;
        Ok(group_shown(programme, &bought))
    })())
}

fn renew_group(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let dongle = match Dongle::read(input)? {
        Ok(dongle) => dongle,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let bought = group::renew(
        programme,
        &dongle.members(),
        &input.texts("selected")?,
        input.day("group_last_day")?,
        input.number("terms_requested")?.unwrap_or(1),
        input.needed_day("on")?,
    );
    Ok(bought.map(|bought| group_shown(programme, &bought)))
}

fn group_shown(programme: &Programme, bought: &GroupPurchase<String>) -> Value {
    let lines: Vec<Value> = bought
        .lines
        .iter()
        .map(|line| {
            let mut shown = term_shown(line.term);
            shown["license"] = json!(line.license);
            shown["amount"] = price_shown(line.price);
            match line.length {
                Length::Months(months) => shown["months"] = json!(months),
                Length::Days { terms, days, .. } => {
                    shown["terms"] = json!(terms);
                    shown["days"] = json!(days);
                }
            }
            shown
        })
        .collect();
    let nothing = || {
        programme
            .currency()
            .map(|currency| Price::Amount(Money::zero(currency)))
    };
    json!({
        "start": bought.terms.first().map(|term| term.first().to_string()),
        "group_last_day": bought.last_day.map(|day| day.to_string()),
        "lines": lines,
        "total": bought.total.or_else(nothing).map(price_shown),
    })
}

fn check_update_request(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let request = input.needed_part("request")?;
    let filled = |name: &str| {
        Ok::<_, Malformed>(
            request
                .text(name)?
                .is_some_and(|text| !text.trim().is_empty()),
        )
    };
    let environment = request.flag("virtual_environment")?;
    let mut given = Vec::new();
    for field in UpdateField::ALL {
        let is_given = match field {
            UpdateField::VirtualEnvironment => environment.is_some(),
            UpdateField::Email | UpdateField::Serial | UpdateField::LicenseType => {
                filled(field.as_str())?
            }
        };
        if is_given {
            given.push(*field);
        }
    }
    let mut credentials = Vec::new();
    for kind in CredentialKind::ALL {
        if filled(kind.as_str())? {
            credentials.push(*kind);
        }
    }
    let serial = if filled("serial")? {
        request.optional("serial", SerialNumber::parse)?
    } else {
        None
    };
    let protection = input.needed_word("protection", Protection::parse)?;
    let on = match (programme.sma_checked_at(), input.day("submitted_on")?) {
        (SmaCheck::Submit, Some(submitted)) => submitted,
        (SmaCheck::Submit | SmaCheck::Issue, _) => input.needed_day("on")?,
    };
    let edition = edition(input)?;
    let terms = held(input, "sma_last_day", on)?;
    let returns = match input.needed_text("proof")? {
        "none" => Returns::Unproved,
        "recorded" | "waived" => Returns::Settled,
        other => return Err(Malformed(format!("there is no proof {other}"))),
    };
    let form = Form {
        given: &given,
        serial: serial.as_ref(),
        credentials: &credentials,
        protection,
    };
    let case = Case {
        holding: holding(&edition, &terms, on),
        environment: match environment {
            Some(true) => VirtualEnvironment::Yes,
            Some(false) | None => VirtualEnvironment::No,
        },
        permission: VmPermission::NotAllowed,
        protection,
        returns,
    };
    Ok(check(programme, &form, &case).map(|next| json!({"next": next.to_string()})))
}

fn apply_unlock_code(input: &Input<'_>) -> Result<Answer, Malformed> {
    let (device, code) = (input.needed_part("device")?, input.needed_part("code")?);
    let number = |part: &Input<'_>| {
        let found = part.optional("number", DongleNumber::parse)?;
        found.ok_or_else(|| Malformed("number is required".to_owned()))
    };
    let device = Device {
        number: number(&device)?,
        counter: device.needed_number("counter")?.into(),
        last_day: device.day("last_day")?,
    };
    let code = Unlock {
        number: number(&code)?,
        counter: code.needed_number("counter")?.into(),
        last_day: code.needed_day("last_day")?,
    };
    let after = apply(&device, &code).map_err(Refusal::from);
    Ok(after.map(|after| {
        let last = after.last_day.map(|day| day.to_string());
        json!({"number": after.number.to_string(), "last_day": last, "counter": after.counter})
    }))
}

fn percent_price(input: &Input<'_>) -> Result<Answer, Malformed> {
    let (amount, bp) = (input.needed_money("amount")?, input.needed_number("bp")?);
    Ok((|| {
        Ok(json!({"amount": money_shown(amount?.percent(BasisPoints::new(bp))?)}))
    })())
}

fn fee(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let modules = input.amounts("module_list_prices")?;
    let year = input.needed_number("contract_year")?;
    let bought = input
        .word("bought", Bought::parse)?
        .unwrap_or(Bought::WithSoftware);
    Ok((|| {
        Ok(json!({"fee": money_shown(module_fee(programme, &modules?, year, bought)?)}))
    })())
}

fn expansion(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let (paid, new) = (
        input.needed_money("initial_paid")?,
        input.needed_money("new_price")?,
    );
    let maintained = if input.needed_flag("sma_active")? {
        Maintained::Yes
    } else {
        Maintained::No
    };
    Ok((|| {
        let expansion = expand(programme, paid?, new?, maintained)?;
        Ok(json!({"credit": money_shown(expansion.credit), "due": money_shown(expansion.due)}))
    })())
}

fn auto_extend(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let first = input.needed_part("first_term")?.term()?;
    let on = input.needed_day("on")?;
    let mut terms = vec![first];
    let added = extended(programme, &terms, input.day("cancel_received_on")?, on);
    let extensions = added.len();
    terms.extend(added);
    Ok(Ok(json!({
        "last_day": last_day(&terms).map(|day| day.to_string()),
        "extensions": extensions,
        "in_force": covered_on(&terms, on),
    })))
}

fn support_access(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let edition = edition(input)?;
    let tier = input.optional("tier", TierId::parse)?;
    let product = input.optional("product", ProductId::parse)?;
    let any = ProductId::parse("any").map_err(|error| Malformed(error.to_string()))?;
    // The vector says whether maintenance is in force, on no day in particular.
    let day = CivilDate::parse("2020-01-01").map_err(|error| Malformed(error.to_string()))?;
    let term = Term::of_months(day, 12).map_err(|error| Malformed(error.to_string()))?;
    let terms: Vec<Term> = input
        .needed_flag("sma_active")?
        .then_some(term)
        .into_iter()
        .collect();
    let holding = Holding {
        tier: tier.as_ref(),
        ..holding(&edition, &terms, day)
    };
    let versions = Versions {
        running_major: input.needed_number("running_major")?,
        latest_major: input.needed_number("latest_major")?,
    };
    let answer = access::support(
        programme,
        &holding,
        product.as_ref().unwrap_or(&any),
        versions,
    );
    Ok(answer.map(|()| json!({"allowed": true})))
}

fn addon_access(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let on = input.needed_day("on")?;
    let edition = edition(input)?;
    let terms = held(input, "sma_last_day", on)?;
    let named = input.optional("addon", AddOn::parse)?;
    let some = AddOn::parse("some").map_err(|error| Malformed(error.to_string()))?;
    let add_on = named.unwrap_or(some);
    let bought = if input.flag("purchased")? == Some(false) {
        Vec::new()
    } else {
        vec![add_on.clone()]
    };
    let holding = Holding {
        add_ons: &bought,
        ..holding(&edition, &terms, on)
    };
    let running = match input.flag("running_latest_release")? {
        Some(false) => Running::Older,
        Some(true) | None => Running::Latest,
    };
    let answer = access::add_on(programme, &holding, &add_on, running);
    Ok(answer.map(|()| json!({"allowed": true})))
}

fn download_access(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let on = input.needed_day("on")?;
    let edition = edition(input)?;
    let terms = held(input, "sma_last_day", on)?;
    let holding = holding(&edition, &terms, on);
    let answer = access::download(programme, &holding, input.needed_day("build_date")?);
    Ok(answer.map(|()| json!({"allowed": true})))
}

fn legacy_contract(programme: &Programme, input: &Input<'_>) -> Result<Answer, Malformed> {
    let action = input.needed_word("action", LegacyAction::parse)?;
    let signed = input.day("contract_signed_on")?;
    let answer = legacy(programme, action, signed, input.needed_day("on")?);
    Ok(answer.map(|()| json!({"allowed": true})))
}

/// The civil date of the vector's instant.
fn today(programme: &Programme, input: &Input<'_>) -> Result<CivilDate, Malformed> {
    let today = programme.today(input.instant("instant")?);
    today.map_err(|error| Malformed(error.to_string()))
}

/// Cover that ends on the day called `name`, and has begun on `day` unless it had ended before; none where it is absent.
fn held(input: &Input<'_>, name: &str, day: CivilDate) -> Result<Vec<Term>, Malformed> {
    let Some(last) = input.day(name)? else {
        return Ok(Vec::new());
    };
    let term = Term::new(day.min(last), last).map_err(|error| Malformed(error.to_string()))?;
    Ok(vec![term])
}

fn edition(input: &Input<'_>) -> Result<Edition, Malformed> {
    let named = input.optional("edition", Edition::parse)?;
    named.map_or_else(
        || Edition::parse("standard").map_err(|error| Malformed(error.to_string())),
        Ok,
    )
}

fn holding<'a>(edition: &'a Edition, terms: &'a [Term], today: CivilDate) -> Holding<'a> {
    Holding {
        edition,
        terms,
        tier: None,
        add_ons: &[],
        today,
    }
}

fn term_shown(term: Term) -> Value {
    json!({"start": term.first().to_string(), "last_day": term.last().to_string()})
}

fn price_shown(price: Price) -> Value {
    match price {
        Price::Amount(amount) => money_shown(amount),
        Price::Quote => json!("quote"),
    }
}

fn money_shown(amount: Money) -> Value {
    json!({"minor": amount.minor(), "currency": amount.currency().code()})
}
