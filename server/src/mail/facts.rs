//! What a text can say: the names that templates use. They are an interface to whoever writes texts of their own.
//!
//! Names come from customers and may hold anything, so they pass [`plain`] on their way in.

use serde::Serialize;

use crate::domain::mail::Template;
use crate::domain::money::Money;

/// All that a text can speak of. What a kind of mail has nothing to say about is absent, and using it is an error.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Facts {
    /// Who writes.
    pub(crate) sender: String,
    /// The vendor's desk: an address.
    pub(crate) desk: Option<String>,
    /// A link to the customer's licenses.
    pub(crate) portal: Option<String>,
    /// The customer's name; empty once it was erased.
    pub(crate) customer: String,
    /// The usual reseller (T-10).
    pub(crate) reseller: Option<Reseller>,
    /// The vendor's office in the region (T-20).
    pub(crate) office: Option<Office>,
    /// How the programme sells, such as `reseller` (S-18, T-10).
    pub(crate) channel: String,
    /// The product's name.
    pub(crate) product: String,
    pub(crate) serial: String,
    pub(crate) edition: String,
    pub(crate) seats: u32,
    pub(crate) add_ons: Vec<String>,
    /// The number of the hardware key.
    pub(crate) dongle: Option<String>,
    pub(crate) reminder: Option<Reminder>,
    pub(crate) upgrade: Option<Upgrade>,
    pub(crate) deal: Option<Deal>,
}

/// The usual reseller.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Reseller {
    pub(crate) name: String,
    pub(crate) email: Option<String>,
}

/// An office of the vendor's.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Office {
    pub(crate) region: String,
    pub(crate) phone: String,
    pub(crate) email: Option<String>,
}

/// Of reminders.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Reminder {
    /// `YYYY-MM-DD`, the last covered day.
    pub(crate) last_day: String,
    /// Days from today to it.
    pub(crate) days_left: u32,
    /// For an agreement that goes on by itself: the last day on which a cancellation ends it, `YYYY-MM-DD`.
    pub(crate) cancel_by: Option<String>,
}

/// Of upgrade codes.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Upgrade {
    pub(crate) id: String,
    /// The text form.
    pub(crate) code: String,
    /// The version that it leads to.
    pub(crate) version: String,
    /// `YYYY-MM-DD`: the last whole day on which it can be redeemed.
    pub(crate) expires_on: String,
    /// Whether the file form is attached.
    pub(crate) has_file: bool,
}

/// Of orders and quotes.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Deal {
    /// The order's or quote's id.
    pub(crate) id: String,
    /// What is bought, such as `renewal` or `reinstatement`.
    pub(crate) kind: String,
    pub(crate) lines: Vec<Line>,
    pub(crate) total: Option<Amount>,
    /// `YYYY-MM-DD`, of a quote.
    pub(crate) valid_until: Option<String>,
    /// Whom the desk answers (P-17).
    pub(crate) contact: Option<String>,
    /// What the customer or the desk added.
    pub(crate) note: Option<String>,
}

/// One line of an order or quote.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Line {
    /// The license that it is for.
    pub(crate) serial: String,
    /// `YYYY-MM-DD`, the days that it covers; none for an expansion.
    pub(crate) first_day: Option<String>,
    pub(crate) last_day: Option<String>,
    /// The months that are paid for.
    pub(crate) months: u32,
    /// None until a person has priced it.
    pub(crate) amount: Option<Amount>,
}

/// An amount for the filter `money`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Amount {
    pub(crate) minor: i64,
    pub(crate) currency: String,
    /// How many decimals the minor unit stands for.
    pub(crate) digits: u32,
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self {
            minor: money.minor(),
            currency: money.currency().code().to_owned(),
            digits: money.currency().digits(),
        }
    }
}

impl Facts {
    /// Sample data for a preview and for checking texts.
    ///
    /// * `all` - with everything that may be absent, or without.
    pub(crate) fn sample(template: Template, all: Extent) -> Self {
        let full = all == Extent::Full;
        let some = |text: &str| full.then(|| text.to_owned());
        let mut facts = Self {
            sender: "Vendor Licenses".to_owned(),
            desk: some("sma-desk@vendor.example"),
            portal: some("https://licenses.vendor.example"),
            customer: "Baker Foods".to_owned(),
            reseller: full.then(|| Reseller {
                name: "Acme Labels".to_owned(),
                email: Some("licenses@acme.example".to_owned()),
            }),
            office: full.then(|| Office {
                region: "west-eu".to_owned(),
                phone: "+33 562 601 080".to_owned(),
                email: Some("west-eu@vendor.example".to_owned()),
            }),
            channel: "reseller".to_owned(),
            product: "Label Studio".to_owned(),
            serial: "NSP-000001".to_owned(),
            edition: "standard".to_owned(),
            seats: 2,
            add_ons: some("mapi").into_iter().collect(),
            dongle: some("d-1001"),
            ..Self::default()
        };
        match template {
            Template::ReminderCustomer | Template::ReminderReseller | Template::ReminderVendor => {
                facts.reminder = Some(Reminder {
                    last_day: "2026-08-31".to_owned(),
                    days_left: 75,
                    // One of the two texts in either sample.
                    cancel_by: (!full).then(|| "2026-08-31".to_owned()),
                });
            }
            Template::UpgradeCode => facts.upgrade = Some(Upgrade::sample(full)),
            Template::OrderConfirmation | Template::QuoteRequest | Template::QuoteAnswer => {
                facts.deal = Some(Deal::sample(full));
            }
        }
        facts
    }
}

/// How much of what may be absent a sample has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Full,
    /// None of it.
    Bare,
}

impl Upgrade {
    /// A code that is none.
    pub(crate) fn sample(has_file: bool) -> Self {
        Self {
            id: "0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11".to_owned(),
            code: "XXXXX-XXXXX-XXXXX-XXXXX-XXXXX".to_owned(),
            version: "11.0".to_owned(),
            expires_on: "2026-09-30".to_owned(),
            has_file,
        }
    }
}

impl Deal {
    pub(crate) fn sample(full: bool) -> Self {
        let some = |text: &str| full.then(|| text.to_owned());
        let amount = || Amount {
            minor: 123_450,
            currency: "EUR".to_owned(),
            digits: 2,
        };
        Self {
            id: "0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a12".to_owned(),
            kind: "renewal".to_owned(),
            lines: vec![Line {
                serial: "NSP-000001".to_owned(),
                first_day: some("2026-09-01"),
                last_day: some("2027-08-31"),
                months: 12,
                amount: full.then(amount),
            }],
            total: full.then(amount),
            valid_until: some("2026-09-30"),
            contact: some("anna@baker.example"),
            note: some("Please call back."),
        }
    }
}

/// A name without what could break a line, a header or the direction of writing, and not longer than a name is.
pub(crate) fn plain(text: &str) -> String {
    let spaced = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !is_directional(*c));
    let mut plain: String = spaced.take(MOST_CHARS).collect();
    plain.truncate(plain.trim_end().len());
    plain.trim_start().to_owned()
}

/// Unicode Bidi_Control (UAX 9), and the separators that end a line without being control characters.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// As long as the names that this server takes.
const MOST_CHARS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_on_their_line() {
        assert_eq!(
            plain("Baker\r\nBcc: x@evil.example"),
            "Baker  Bcc: x@evil.example"
        );
        assert_eq!(plain("abc\u{202e}def\u{2066}"), "abcdef");
        assert_eq!(plain("שלום בע\"מ"), "שלום בע\"מ");
        assert_eq!(plain(&"x".repeat(5_000)).chars().count(), MOST_CHARS);
    }
}
