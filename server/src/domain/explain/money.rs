//! What is paid.

use crate::domain::money::{BasisPoints, Money};
use crate::domain::programme::policy::LapseMode;
use crate::domain::programme::{PriceRule, Programme};

pub(super) fn prices(programme: &Programme) -> Vec<String> {
    let mut found = vec![format!(
        "A renewal: {}.",
        price(programme, programme.renew().price)
    )];
    if programme.lapse().mode != LapseMode::Refer {
        found.push(format!(
            "Maintenance bought after a lapse, or later than the license: {}.",
            price(programme, programme.lapse().price)
        ));
    }
    if programme.lapse().price == PriceRule::ModulesLate {
        found.push("A contract that began later keeps those rates when it is renewed.".to_owned());
    }
    if let Some(expand) = programme.expand() {
        let needs = if expand.requires_active_sma {
            ", while maintenance is in force"
        } else {
            ""
        };
        found.push(format!(
            "When a system is expanded{needs}, {} of what the license itself cost is credited, at most the new price. Maintenance fees are not credited.",
            expand.credit
        ));
    }
    let update = programme.update().price_minor;
    let amount = programme
        .currency()
        .and_then(|currency| Money::new(update, currency).ok());
    match amount {
        Some(amount) if update > 0 => {
            found.push(format!("An update under maintenance costs {amount}."))
        }
        _ => found.push("An update under maintenance costs nothing.".to_owned()),
    }
    found
}

fn price(programme: &Programme, rule: PriceRule) -> String {
    let rates = |list: fn(&Programme) -> Option<&[BasisPoints]>| match list(programme) {
        Some(rates) => by_year(rates),
        None => "a person quotes".to_owned(),
    };
    match rule {
        PriceRule::Quote => "a person quotes".to_owned(),
        PriceRule::PartOfList(part) => {
            format!("{part} of the list price that a new license has on the day of purchase")
        }
        PriceRule::Modules => rates(|programme| Some(&programme.rates()?.by_year)),
        PriceRule::ModulesLate => rates(|programme| Some(&programme.rates()?.late_by_year)),
    }
}

/// `19 % of the list prices of all modules in the first year, 17 % in year 2, and 15 % from year 3 on`.
fn by_year(rates: &[BasisPoints]) -> String {
    let last = rates.len();
    let years = rates.iter().zip(1_usize..).map(|(rate, year)| match year {
        1 if last == 1 => format!("{rate} of the list prices of all modules in every year"),
        1 => format!("{rate} of the list prices of all modules in the first year"),
        _ if year == last => format!("{rate} from year {year} on"),
        _ => format!("{rate} in year {year}"),
    });
    years.collect::<Vec<_>>().join(", ")
}
