//! Parses what is said about quotes, orders and prices.

use upkeep::id::{AddOn, Edition, LicenseType, ModuleId, OrderId, ProductId, QuoteId, TierId};
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;

use crate::domain::license::{MAX_ON_DONGLE, Module};
use crate::domain::money::{Currency, Money};
use crate::domain::price_book::{Entry, Item, Per, Thing};
use crate::domain::quote::Deal;
use crate::domain::refusal::Refusal;
use crate::flow::quote::{Request, Shape};
use crate::transport::fields::{Fields, text};

impl Fields {
    pub(in crate::transport) fn quote_id(&mut self, text: &str) -> Option<QuoteId> {
        self.required("quote_id", text, QuoteId::parse)
    }

    pub(in crate::transport) fn order_id(&mut self, text: &str) -> Option<OrderId> {
        self.required("order_id", text, OrderId::parse)
    }

    /// An amount that must be there.
    pub(in crate::transport) fn money(
        &mut self,
        field: &str,
        money: Option<&v1::Money>,
    ) -> Option<Money> {
        let Some(money) = money else {
            self.missing(field);
            return None;
        };
        let currency = self.required(
            &format!("{field}.currency_code"),
            &money.currency_code,
            Currency::parse,
        );
        let minor = money.minor_units;
        self.parsed(
            &format!("{field}.minor_units"),
            Money::new(minor, currency?),
        )
    }

    /// The software modules of a license, each once (V-12).
    pub(in crate::transport) fn modules(
        &mut self,
        field: &str,
        modules: &[v1::LicenseModule],
    ) -> Option<Vec<Module>> {
        if modules.len() > MAX_MODULES {
            self.wrong(field, "must be at most 100");
            return None;
        }
        let mut parsed: Vec<Module> = Vec::with_capacity(modules.len());
        let mut good = true;
        for (index, module) in modules.iter().enumerate() {
            let place = format!("{field}[{index}]");
            let id = self.required(
                &format!("{place}.module_id"),
                &module.module_id,
                ModuleId::parse,
            );
            if !(1..=MAX_COUNT).contains(&module.count) {
                self.wrong(&format!("{place}.count"), "must be 1 to 1000000");
                good = false;
            }
            match id {
                Some(id) if parsed.iter().any(|other| other.id == id) => {
                    self.wrong(&format!("{place}.module_id"), "is there twice; count it");
                    good = false;
                }
                Some(id) => parsed.push(Module {
                    id,
                    count: module.count,
                }),
                None => good = false,
            }
        }
        parsed.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        good.then_some(parsed)
    }

    /// One entry of the price book.
    pub(in crate::transport) fn price(&mut self, place: &str, price: &v1::Price) -> Option<Entry> {
        let field = |name: &str| format!("{place}.{name}");
        let product = self.required(&field("product_id"), &price.product_id, ProductId::parse);
        let item = self.item(place, price);
        let edition = self.optional(&field("edition"), &price.edition, Edition::parse);
        let license_type = self.optional(
            &field("license_type"),
            &price.license_type,
            LicenseType::parse,
        );
        let per = self.choice(
            &field("unit"),
            price.unit,
            |number| match v1::PriceUnit::try_from(number).ok()? {
                v1::PriceUnit::Unspecified => None,
                v1::PriceUnit::License => Some(Per::License),
                v1::PriceUnit::Seat => Some(Per::Seat),
            },
        );
        let amount = self.money(&field("amount"), price.amount.as_ref());
        let valid_from = self.date(&field("valid_from_date"), &price.valid_from_date);
        Some(Entry {
            thing: Thing {
                product: product?,
                item: item?,
                edition: edition?,
                license_type: license_type?,
            },
            valid_from: valid_from?,
            per: per?,
            amount: amount?,
        })
    }

    /// A module or add-on has an id, everything else has none.
    fn item(&mut self, place: &str, price: &v1::Price) -> Option<Item> {
        let kind = self.choice(&format!("{place}.item"), price.item, |number| {
            match v1::PriceItem::try_from(number).ok()? {
                v1::PriceItem::Unspecified => None,
                known => Some(known),
            }
        })?;
        let field = format!("{place}.item_id");
        match kind {
            v1::PriceItem::Module => self
                .required(&field, &price.item_id, ModuleId::parse)
                .map(Item::Module),
            v1::PriceItem::AddOn => self
                .required(&field, &price.item_id, AddOn::parse)
                .map(Item::AddOn),
            _ if !price.item_id.is_empty() => {
                self.wrong(&field, "belongs to modules and add-ons only");
                None
            }
            v1::PriceItem::Sma => Some(Item::Sma),
            v1::PriceItem::Upgrade => Some(Item::Upgrade),
            _ => Some(Item::License),
        }
    }
}

/// A CreateQuote request.
pub(super) fn quote(
    mut fields: Fields,
    asked: &v1::CreateQuoteRequest,
    body: Vec<u8>,
) -> Result<Request, Refusal> {
    let serial = fields.serial(&asked.serial);
    let credential = fields.optional_credential(asked.credential.as_ref());
    let wanted = match asked.kind {
        0 => Some(None),
        number => fields.choice("kind", number, deal).map(Some),
    };
    let tier = fields.optional("tier_id", &asked.tier_id, TierId::parse);
    let contact = fields.optional("contact", &asked.contact, |contact| text(contact, 1, 500));
    let dongle = match asked.dongle_number.is_empty() {
        true => Some(None),
        false => fields
            .dongle("dongle_number", &asked.dongle_number)
            .map(Some),
    };
    let shape = shape(&mut fields, asked);
    let has_terms = matches!(shape, Some(Shape::One | Shape::Group | Shape::Named(_)));
    if shape.is_some() && !has_terms && asked.terms != 0 {
        fields.wrong("terms", "belongs to terms; leave it out here");
    }
    if shape.is_some() && !has_terms && !asked.tier_id.is_empty() {
        fields.wrong("tier_id", "belongs to terms; leave it out here");
    }
    fields.finish(|| {
        Some(Request {
            serial: serial?,
            credential: credential?,
            wanted: wanted?,
            terms: asked.terms,
            tier: tier?,
            contact: contact?,
            dongle: dongle?,
            shape: shape?,
            body,
        })
    })
}

/// Which of the shapes was asked for: they exclude each other, and say themselves what is bought.
fn shape(fields: &mut Fields, asked: &v1::CreateQuoteRequest) -> Option<Shape> {
    let given = [
        (asked.dongle_group, "dongle_group"),
        (!asked.serials.is_empty(), "serials"),
        (asked.add_to_group, "add_to_group"),
        (asked.expand_to.is_some(), "expand_to"),
    ];
    let mut given = given.into_iter().filter(|(is, _)| *is);
    let first = given.next();
    if let Some((_, second)) = given.next() {
        fields.wrong(
            second,
            "goes not with dongle_group, serials, add_to_group or expand_to: one of them at most",
        );
        return None;
    }
    let fixed = match (asked.add_to_group, asked.expand_to.is_some()) {
        (true, _) => Some(v1::PurchaseKind::CoTermination),
        (_, true) => Some(v1::PurchaseKind::Expansion),
        _ => None,
    };
    let kind = v1::PurchaseKind::try_from(asked.kind).unwrap_or_default();
    let is_fixed = matches!(
        kind,
        v1::PurchaseKind::CoTermination | v1::PurchaseKind::Expansion
    );
    let fits = match fixed {
        Some(fixed) => kind == fixed || kind == v1::PurchaseKind::Unspecified,
        None => !is_fixed,
    };
    let upgrades_many = kind == v1::PurchaseKind::Upgrade && first.is_some();
    if !fits || upgrades_many {
        fields.wrong("kind", "is another than the rest of the request asks for");
        return None;
    }
    if let Some(to) = &asked.expand_to {
        return expand(fields, to);
    }
    if asked.add_to_group {
        return Some(Shape::Join);
    }
    if asked.dongle_group {
        return Some(Shape::Group);
    }
    if asked.serials.is_empty() {
        return Some(Shape::One);
    }
    if asked.serials.len() > MAX_ON_DONGLE {
        fields.wrong("serials", "must be at most 50");
        return None;
    }
    let named: Vec<_> = asked
        .serials
        .iter()
        .enumerate()
        .map(|(index, serial)| {
            fields.required(&format!("serials[{index}]"), serial, SerialNumber::parse)
        })
        .collect();
    named
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .map(Shape::Named)
}

fn expand(fields: &mut Fields, to: &v1::Expansion) -> Option<Shape> {
    let product = fields.optional("expand_to.product_id", &to.product_id, ProductId::parse);
    let edition = fields.required("expand_to.edition", &to.edition, Edition::parse);
    let license_type = fields.optional(
        "expand_to.license_type",
        &to.license_type,
        LicenseType::parse,
    );
    let modules = fields.modules("expand_to.modules", &to.modules);
    Some(Shape::Expand {
        product: product?,
        edition: edition?,
        license_type: license_type?,
        modules: modules?,
    })
}

fn deal(number: i32) -> Option<Deal> {
    Some(match v1::PurchaseKind::try_from(number).ok()? {
        v1::PurchaseKind::Unspecified | v1::PurchaseKind::AutoExtension => return None,
        v1::PurchaseKind::First => Deal::First,
        v1::PurchaseKind::Renewal => Deal::Renewal,
        v1::PurchaseKind::Reinstatement => Deal::Reinstatement,
        v1::PurchaseKind::Upgrade => Deal::Upgrade,
        v1::PurchaseKind::CoTermination => Deal::CoTermination,
        v1::PurchaseKind::Expansion => Deal::Expansion,
    })
}

/// The prices of one import.
pub(in crate::transport) fn prices(
    fields: &mut Fields,
    prices: &[v1::Price],
) -> Option<Vec<Entry>> {
    match prices.len() {
        0 => {
            fields.missing("prices");
            return None;
        }
        1..=MAX_PRICES => {}
        _ => {
            fields.wrong(
                "prices",
                "must be at most 400; send the rest in another call",
            );
            return None;
        }
    }
    let parsed: Vec<_> = prices
        .iter()
        .enumerate()
        .map(|(index, price)| fields.price(&format!("prices[{index}]"), price))
        .collect();
    parsed.into_iter().collect()
}

const MAX_MODULES: usize = 100;
const MAX_COUNT: u32 = 1_000_000;
const MAX_PRICES: usize = 400;
