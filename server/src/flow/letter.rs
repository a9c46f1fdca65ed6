//! What a mail says and where it goes, from the records as they stand when it is sent.

use chrono::{DateTime, Utc};
use upkeep::date::CivilDate;
use upkeep::id::UpgradeId;
use upkeep::serial::SerialNumber;

use super::update_request::email_field;
use super::{Deps, Fault, Outcome, party, quote, read, upgrade_code};
use crate::domain::catalogue::Product;
use crate::domain::license::{Carrier, License};
use crate::domain::machine::{LicenseState, UpgradeState};
use crate::domain::mail::{Language, Mail, MailKind, Recipient, Template};
use crate::domain::maintenance;
use crate::domain::money::MoneyError;
use crate::domain::order::Order;
use crate::domain::party::{Customer, Partner};
use crate::domain::quote::{Line, Quote, QuoteState};
use crate::domain::upgrade::Upgrade;
use crate::mail::facts::{self, Deal, Facts, Office, Reminder, Reseller, plain};
use crate::mail::letter::{File, Letter};
use crate::mail::texts::Text;
use crate::record::{Records, keys};

/// What became of a mail that was to be written.
pub(crate) enum Written {
    /// Ready to go.
    Letter(Box<Letter>),
    /// It is no longer true; why.
    Void(&'static str),
    /// Nobody can get it; why.
    Nowhere(&'static str),
}

/// The parties of a license, opened.
struct Parties {
    customer: Option<party::Opened>,
    partner: Option<party::OpenedPartner>,
}

/// An address with its name and language.
struct Reader {
    name: String,
    address: String,
    language: Language,
}

/// Writes a mail, or finds that it is void: a reminder whose day has moved (renewed) or whose license is no longer covered or
/// was taken away (N-09), a code that was replaced or used.
///
/// # Errors
/// Store faults; records that contradict each other.
pub(crate) fn write(deps: &Deps, mail: &Mail, now: DateTime<Utc>) -> Result<Written, Outcome> {
    let mut store = &deps.store;
    let (license, upgrade) = match &mail.kind {
        MailKind::UpgradeCode { upgrade, .. } => {
            let upgrade: Upgrade = store.load(&keys::upgrade(upgrade))?.ok_or(MALFORMED)?;
            let license = deps.license(&mut store, &upgrade.serial, now)?;
            (license, Some(upgrade.at(now)))
        }
        MailKind::Reminder { serial, .. }
        | MailKind::OrderConfirmation { serial, .. }
        | MailKind::QuoteRequest { serial, .. }
        | MailKind::QuoteAnswer { serial, .. } => (deps.license(&mut store, serial, now)?, None),
    };
    let license = license.ok_or(MALFORMED)?;
    let parties = parties(deps, &license)?;
    let mut facts = facts_of(deps, &license, &parties)?;
    let mut file = None;
    match &mail.kind {
        MailKind::Reminder { last_day, .. } => {
            let today = deps.today(&license, now)?;
            if let Some(why) = why_void(&license, *last_day, today) {
                return Ok(Written::Void(why));
            }
            facts.reminder = Some(reminder(deps, &license, *last_day, today)?);
        }
        MailKind::UpgradeCode { code_number, .. } => {
            let upgrade = upgrade.as_ref().ok_or(MALFORMED)?;
            if upgrade.state != UpgradeState::CodeIssued || upgrade.code_number != *code_number {
                return Ok(Written::Void(
                    "the code was replaced or used, or it has run out",
                ));
            }
            let armoured = upgrade.file.as_deref();
            let armoured = armoured
                .map(|stored| upgrade_code::armoured(deps, stored))
                .transpose()?;
            facts.upgrade = Some(upgrade_facts(deps, &license, upgrade)?);
            file = armoured.map(|content| File {
                name: format!("upgrade-code-{}.txt", license.serial),
                content,
            });
        }
        MailKind::OrderConfirmation { order, .. } => {
            let order: Order = store.load(&keys::order(order))?.ok_or(MALFORMED)?;
            facts.deal = Some(order_facts(&order)?);
        }
        MailKind::QuoteRequest { quote, .. } | MailKind::QuoteAnswer { quote, .. } => {
            let quote: Quote = store.load(&keys::quote(quote))?.ok_or(MALFORMED)?;
            let asked = matches!(mail.kind, MailKind::QuoteRequest { .. });
            let state = quote.state_on(deps.today(&license, now)?);
            match state {
                QuoteState::Pending if asked => {}
                QuoteState::Quoted if !asked => {}
                QuoteState::Pending
                | QuoteState::Quoted
                | QuoteState::Ordered
                | QuoteState::Expired => {
                    return Ok(Written::Void(
                        "the quote was answered or ordered, or it has run out",
                    ));
                }
            }
            facts.deal = Some(quote_facts(deps, &quote)?);
        }
    }
    let reader = match reader(deps, &mail.to, &license, &parties)? {
        Ok(reader) => reader,
        Err(why) => return Ok(Written::Nowhere(why)),
    };
    let text = deps
        .stationery
        .texts
        .render(mail.kind.template(), reader.language, &facts)
        .map_err(no_text)?;
    Ok(Written::Letter(Box::new(Letter {
        to: reader.address,
        name: reader.name,
        text,
        file,
    })))
}

/// What a mail would say about a license, or about sample data. A code in it is always a sample: the real one is told to nobody
/// who does not ask for it on record.
///
/// # Errors
/// NOT_FOUND for an unknown serial.
pub(crate) fn preview(
    deps: &Deps,
    template: Template,
    language: Option<Language>,
    serial: Option<&SerialNumber>,
) -> Result<Text, Outcome> {
    let sample = Facts::sample(template, facts::Extent::Full);
    let now = deps.clock.now();
    let (facts, readers) = match serial {
        None => (sample, Language::En),
        Some(serial) => {
            let mut store = &deps.store;
            let license: License = read::one(deps, &keys::license(serial))?;
            let license = deps
                .license(&mut store, &license.serial, now)?
                .ok_or(MALFORMED)?;
            let parties = parties(deps, &license)?;
            let mut facts = facts_of(deps, &license, &parties)?;
            let today = deps.today(&license, now)?;
            facts.reminder = match maintenance::last_day(&license.terms) {
                Some(last_day) => Some(reminder(deps, &license, last_day, today)?),
                None => sample.reminder,
            };
            facts.upgrade = sample.upgrade;
            facts.deal = sample.deal;
            let readers = match template {
                Template::ReminderReseller => parties.partner_language(),
                Template::ReminderVendor | Template::QuoteRequest => Language::En,
                Template::ReminderCustomer
                | Template::UpgradeCode
                | Template::OrderConfirmation
                | Template::QuoteAnswer => parties.customer_language(),
            };
            (facts, readers)
        }
    };
    let texts = &deps.stationery.texts;
    let text = texts.render(template, language.unwrap_or(readers), &facts);
    Ok(text.map_err(no_text)?)
}

/// Why a reminder of `last_day` is no longer true; `None` while it is.
fn why_void(license: &License, last_day: CivilDate, today: CivilDate) -> Option<&'static str> {
    if matches!(
        license.state,
        LicenseState::Superseded | LicenseState::Revoked
    ) {
        return Some("the license was revoked or superseded");
    }
    if maintenance::last_day(&license.terms) != Some(last_day) {
        return Some("the end of cover has moved: it was renewed, extended or ended");
    }
    if !maintenance::covered_on(&license.terms, today) {
        return Some("cover has ended before it was sent");
    }
    None
}

/// What every kind of mail can say.
fn facts_of(deps: &Deps, license: &License, parties: &Parties) -> Result<Facts, Outcome> {
    let mut store = &deps.store;
    let product: Option<Product> = store.load(&keys::product(&license.product))?;
    let programme = deps.programme(license)?;
    let Parties { customer, partner } = parties;
    let region = customer
        .as_ref()
        .and_then(|one| one.customer.contact.region.as_ref())
        .or_else(|| {
            partner
                .as_ref()
                .and_then(|one| one.partner.contact.region.as_ref())
        });
    let office = programme
        .regions()
        .iter()
        .find(|one| Some(&one.id) == region);
    let stationery = &deps.stationery;
    Ok(Facts {
        sender: stationery.sender.clone(),
        desk: stationery.desk.clone(),
        portal: stationery.portal.clone(),
        customer: customer
            .as_ref()
            .map(|one| plain(&one.display_name))
            .unwrap_or_default(),
        reseller: partner.as_ref().map(|one| Reseller {
            name: plain(&one.partner.display_name),
            email: some(&one.email),
        }),
        office: office.map(|office| Office {
            region: office.id.to_string(),
            phone: plain(&office.phone),
            email: office.email.clone(),
        }),
        channel: programme.channel().to_owned(),
        product: product.map_or_else(
            || license.product.to_string(),
            |product| plain(&product.display_name),
        ),
        serial: license.serial.to_string(),
        edition: license.edition.to_string(),
        seats: license.seats,
        add_ons: license.add_ons.iter().map(ToString::to_string).collect(),
        dongle: match &license.carrier {
            Carrier::SoftwareKey => None,
            Carrier::HardwareKey(number) => Some(number.to_string()),
        },
        ..Facts::default()
    })
}

fn reminder(
    deps: &Deps,
    license: &License,
    last_day: CivilDate,
    today: CivilDate,
) -> Result<Reminder, Outcome> {
    let programme = deps.programme(license)?;
    let left = last_day.naive().signed_duration_since(today.naive());
    let cancel_by = maintenance::extends(programme, license)
        .then(|| maintenance::cancel_by(programme, &license.terms))
        .flatten();
    Ok(Reminder {
        last_day: last_day.to_string(),
        days_left: u32::try_from(left.num_days()).unwrap_or(0),
        cancel_by: cancel_by.map(|day| day.to_string()),
    })
}

/// The code is derived here, on its way into the letter, and stored nowhere.
fn upgrade_facts(
    deps: &Deps,
    license: &License,
    upgrade: &Upgrade,
) -> Result<facts::Upgrade, Outcome> {
    // It can be redeemed until an instant; the last whole day is what a reader can rely on.
    let end = deps.today(license, upgrade.expires_at)?;
    let last_whole = end
        .naive()
        .pred_opt()
        .and_then(|day| CivilDate::from_naive(day).ok());
    Ok(facts::Upgrade {
        id: upgrade.id.to_string(),
        code: deps
            .codes
            .upgrade(&upgrade.id, upgrade.code_number)
            .to_string(),
        version: upgrade.target.to_string(),
        expires_on: last_whole.unwrap_or(end).to_string(),
        has_file: upgrade.file.is_some(),
    })
}

fn order_facts(order: &Order) -> Result<Deal, Outcome> {
    Ok(Deal {
        id: order.id.to_string(),
        kind: order.deal.to_string(),
        lines: order.lines.iter().map(line_facts).collect(),
        total: order.total().map_err(no_sum)?.map(Into::into),
        ..Deal::default()
    })
}

fn quote_facts(deps: &Deps, quote: &Quote) -> Result<Deal, Outcome> {
    Ok(Deal {
        id: quote.id.to_string(),
        kind: quote.deal.to_string(),
        lines: quote.lines.iter().map(line_facts).collect(),
        total: quote.total().map_err(no_sum)?.map(Into::into),
        valid_until: Some(quote.valid_until.to_string()),
        contact: some(&plain(&quote::contact(deps, quote))),
        note: some(&plain(&quote.answer)),
    })
}

fn line_facts(line: &Line) -> facts::Line {
    facts::Line {
        serial: line.serial.to_string(),
        first_day: line.term.map(|term| term.first().to_string()),
        last_day: line.term.map(|term| term.last().to_string()),
        months: line.months,
        amount: line.amount.map(Into::into),
    }
}

fn no_sum(_: MoneyError) -> Fault {
    Fault::Inconsistent("the lines of an order or quote have no sum")
}

fn parties(deps: &Deps, license: &License) -> Result<Parties, Outcome> {
    let mut store = &deps.store;
    let customer: Option<Customer> = store.load(&keys::customer(&license.customer))?;
    let partner: Option<Partner> = match &license.partner {
        None => None,
        Some(id) => store.load(&keys::partner(id))?,
    };
    Ok(Parties {
        customer: customer.map(|customer| party::open(deps, customer)),
        partner: partner.map(|partner| party::open_partner(deps, partner)),
    })
}

/// Who reads the mail; the reason when there is no address.
fn reader(
    deps: &Deps,
    to: &Recipient,
    license: &License,
    parties: &Parties,
) -> Result<Result<Reader, &'static str>, Outcome> {
    let mut store = &deps.store;
    let (name, address, language) = match to {
        Recipient::Customer(id) => {
            let customer: Customer = store.load(&keys::customer(id))?.ok_or(MALFORMED)?;
            let opened = party::open(deps, customer);
            let language = Language::of_tag(&opened.customer.contact.language);
            (opened.display_name, Some(opened.email), language)
        }
        Recipient::Partner(id) => {
            let partner: Partner = store.load(&keys::partner(id))?.ok_or(MALFORMED)?;
            let opened = party::open_partner(deps, partner);
            let language = Language::of_tag(&opened.partner.contact.language);
            (opened.partner.display_name, Some(opened.email), language)
        }
        Recipient::Vendor(region) => {
            let regions = deps.programme(license)?.regions();
            let office = regions.iter().find(|one| Some(&one.id) == region.as_ref());
            let address = office
                .and_then(|office| office.email.clone())
                .or_else(|| deps.stationery.desk.clone());
            (String::new(), address, Language::En)
        }
        Recipient::Requester(id) => {
            let given = requester(deps, license, id)?;
            // A programme need not ask for an address: then the owner's is the one to write to.
            let address = match given {
                Some(given) if given.is_empty() => {
                    parties.customer.as_ref().map(|one| one.email.clone())
                }
                given => given,
            };
            (String::new(), address, parties.customer_language())
        }
    };
    Ok(match address.filter(|address| !address.is_empty()) {
        Some(address) => Ok(Reader {
            name,
            address,
            language,
        }),
        None => Err(match to {
            Recipient::Customer(_) => "the customer has no e-mail address on record",
            Recipient::Partner(_) => "the partner has no e-mail address on record",
            Recipient::Vendor(_) => "neither the region nor mail.vendor has an address",
            Recipient::Requester(_) => "the address of the update request was erased",
        }),
    })
}

/// The address that an update request gave (T-23), sealed under the customer's key.
fn requester(deps: &Deps, license: &License, id: &UpgradeId) -> Result<Option<String>, Outcome> {
    let mut store = &deps.store;
    let upgrade: Upgrade = store.load(&keys::upgrade(id))?.ok_or(MALFORMED)?;
    Ok(deps
        .personal
        .open(&license.customer, &email_field(id), &upgrade.wish.email))
}

impl Parties {
    fn customer_language(&self) -> Language {
        let tag = self.customer.as_ref();
        Language::of_tag(tag.map_or("", |one| one.customer.contact.language.as_str()))
    }

    fn partner_language(&self) -> Language {
        let tag = self.partner.as_ref();
        Language::of_tag(tag.map_or("", |one| one.partner.contact.language.as_str()))
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn no_text(why: String) -> Fault {
    tracing::error!(%why, "a built-in mail text does not work; this is a defect, please report it");
    Fault::Inconsistent("a mail text does not work")
}

const MALFORMED: Fault = Fault::Inconsistent("a mail names a record that is not there");
