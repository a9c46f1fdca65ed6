//! The rows of a price file, read one after another: what is wrong with each is kept by its line, and good ones come in batches.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use upkeep::date::CivilDate;
use upkeep::id::{Edition, LicenseType, ProductId};
use upkeep::rpc::v1::{Money, Price, PriceItem, PriceUnit};

use super::Remark;
use crate::cli::exit::{Exit, Failure};
use crate::domain::money::{self, Currency};
use crate::domain::price_book::{Item, Per};
use crate::license_file::{Cells, Records, TOO_LONG};

/// A good row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) price: Price,
}

/// A file while it is read.
pub(super) struct Rows {
    records: Records<Box<dyn Read>>,
    columns: Columns,
    /// How many columns there are.
    width: usize,
    problems: Vec<Remark>,
    /// On which line each thing and day stands.
    seen: HashMap<String, u64>,
}

/// Where the columns stand.
#[derive(Clone, Copy, Debug, Default)]
struct Columns {
    product: usize,
    item: usize,
    edition: Option<usize>,
    license_type: Option<usize>,
    per: usize,
    amount: Option<usize>,
    amount_minor: Option<usize>,
    currency: usize,
    valid_from: usize,
}

impl Rows {
    /// Opens a file and reads its first line.
    ///
    /// # Errors
    /// Exit 2 when it can't be opened, exit 5 when its columns are not those of prices.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|e| unreadable(path, &e))?;
        Self::read(Box::new(file), path)
    }

    /// Reads the first line of `source`.
    ///
    /// * `path` - what messages call it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn read(source: Box<dyn Read>, path: &Path) -> Result<Self, Failure> {
        let mut records = Records::new(source, b',', b'"');
        let head = records.next_record().map_err(|e| unreadable(path, &e))?;
        let head = head.map_or_else(|| Ok(Vec::new()), |(_, cells)| texts(cells));
        let head = head.map_err(Columns::wrong)?;
        Ok(Self {
            columns: Columns::find(&head)?,
            width: head.len(),
            records,
            problems: Vec::new(),
            seen: HashMap::new(),
        })
    }

    /// The next rows, as many as one call takes; none at the end. A bad row is left out and remembered.
    ///
    /// # Errors
    /// Exit 1 when the file can't be read on.
    pub(super) fn next_batch(&mut self) -> Result<Option<Vec<Row>>, Failure> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let next = self.records.next_record().map_err(|error| {
                Failure::new(Exit::Fault, format_args!("the file can't be read: {error}"))
            })?;
            let Some((line, cells)) = next else { break };
            match texts(cells).and_then(|texts| self.fitting(texts)) {
                Ok(texts) => match self.row(line, &texts) {
                    Ok(price) => batch.push(Row { line, price }),
                    Err(problems) => self.problems.extend(problems),
                },
                Err(description) => self.problems.push(Remark {
                    line,
                    column: "row".to_owned(),
                    description,
                }),
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// What was wrong so far.
    pub(super) fn problems(self) -> Vec<Remark> {
        self.problems
    }

    /// The cells, if there are as many as columns.
    fn fitting(&self, texts: Vec<String>) -> Result<Vec<String>, String> {
        match texts.len() {
            count if count == self.width => Ok(texts),
            count => Err(format!(
                "has {count} columns, the header has {}",
                self.width
            )),
        }
    }

    fn row(&mut self, line: u64, texts: &[String]) -> Result<Price, Vec<Remark>> {
        let at = |column: usize| texts.get(column).map_or("", String::as_str);
        let optional = |column: Option<usize>| column.map(at).unwrap_or_default();
        let columns = self.columns;
        let mut found = Found {
            line,
            problems: Vec::new(),
        };
        let product = found.read("product", at(columns.product), ProductId::parse);
        let item = found.read("item", at(columns.item), Item::parse);
        let edition = optional(columns.edition);
        if !edition.is_empty() {
            found.read("edition", edition, Edition::parse);
        }
        let license_type = optional(columns.license_type);
        if !license_type.is_empty() {
            found.read("license_type", license_type, LicenseType::parse);
        }
        let per = found.read("per", at(columns.per), |word| {
            Per::parse(word).ok_or("must be license or seat")
        });
        let currency = found.read("currency", at(columns.currency), Currency::parse);
        let amount = match (columns.amount, columns.amount_minor) {
            (_, Some(minor)) => found.minor(at(minor), currency),
            (major, None) => found.major(optional(major), currency),
        };
        let valid_from = found.read("valid_from", at(columns.valid_from), CivilDate::parse);
        let (Some(product), Some(item), Some(per), Some(amount), Some(valid_from)) =
            (product, item, per, amount, valid_from)
        else {
            return Err(found.problems);
        };
        let key = format!("{product}\0{item}\0{edition}\0{license_type}\0{valid_from}");
        if let Some(first) = self.seen.get(&key) {
            found.wrong(
                "valid_from",
                format!("line {first} has a price for the same thing and day"),
            );
        }
        self.seen.entry(key).or_insert(line);
        if !found.problems.is_empty() {
            return Err(found.problems);
        }
        let (item, item_id) = item_fields(&item);
        Ok(Price {
            product_id: product.to_string(),
            item: item.into(),
            item_id,
            edition: edition.to_owned(),
            license_type: license_type.to_owned(),
            unit: match per {
                Per::License => PriceUnit::License,
                Per::Seat => PriceUnit::Seat,
            }
            .into(),
            amount: Some(Money {
                minor_units: amount.minor(),
                currency_code: amount.currency().code().to_owned(),
            }),
            valid_from_date: valid_from.to_string(),
        })
    }
}

/// What is wrong with one row.
struct Found {
    line: u64,
    problems: Vec<Remark>,
}

impl Found {
    fn wrong(&mut self, column: &str, description: String) {
        self.problems.push(Remark {
            line: self.line,
            column: column.to_owned(),
            description,
        });
    }

    fn read<T, E: std::fmt::Display>(
        &mut self,
        column: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if text.is_empty() {
            self.wrong(column, "is required".to_owned());
            return None;
        }
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(column, error.to_string());
                None
            }
        }
    }

    fn major(&mut self, text: &str, currency: Option<Currency>) -> Option<money::Money> {
        let currency = currency?;
        self.read("amount", text, |text| {
            money::Money::parse_major(text, currency)
        })
    }

    fn minor(&mut self, text: &str, currency: Option<Currency>) -> Option<money::Money> {
        let minor = self.read("amount_minor", text, |text| {
            text.parse::<i64>()
                .map_err(|_| "must be a whole number of minor units")
        })?;
        let currency = currency?;
        match money::Money::new(minor, currency) {
            Ok(amount) => Some(amount),
            Err(error) => {
                self.wrong("amount_minor", error.to_string());
                None
            }
        }
    }
}

impl Columns {
    fn wrong(problem: String) -> Failure {
        Failure::new(
            Exit::Refused,
            format_args!("nothing was imported; line 1: {problem}"),
        )
    }

    fn find(headers: &[String]) -> Result<Self, Failure> {
        let unknown: Vec<&str> = headers
            .iter()
            .map(String::as_str)
            .filter(|name| !KNOWN.contains(name))
            .collect();
        let place = |name: &str| headers.iter().position(|header| header == name);
        let missing: Vec<&str> = REQUIRED
            .into_iter()
            .filter(|name| place(name).is_none())
            .collect();
        let twice = KNOWN
            .into_iter()
            .find(|name| headers.iter().filter(|header| header == name).count() > 1);
        let amounts = [place("amount"), place("amount_minor")];
        let problem = match (unknown.as_slice(), missing.as_slice(), twice, amounts) {
            ([first, ..], ..) => format!(
                "there is no column {first:?}; known are {}",
                KNOWN.join(", ")
            ),
            (_, [_, ..], ..) => format!("columns are missing: {}", missing.join(", ")),
            (_, _, Some(name), _) => format!("the column {name} is there twice"),
            (_, _, _, [None, None] | [Some(_), Some(_)]) => {
                "needs one of the columns amount and amount_minor".to_owned()
            }
            _ => String::new(),
        };
        if !problem.is_empty() {
            return Err(Self::wrong(problem));
        }
        let known = |name: &str| place(name).unwrap_or(usize::MAX);
        Ok(Self {
            product: known("product"),
            item: known("item"),
            edition: place("edition"),
            license_type: place("license_type"),
            per: known("per"),
            amount: place("amount"),
            amount_minor: place("amount_minor"),
            currency: known("currency"),
            valid_from: known("valid_from"),
        })
    }
}

fn item_fields(item: &Item) -> (PriceItem, String) {
    match item {
        Item::License => (PriceItem::License, String::new()),
        Item::Sma => (PriceItem::Sma, String::new()),
        Item::Upgrade => (PriceItem::Upgrade, String::new()),
        Item::Module(id) => (PriceItem::Module, id.to_string()),
        Item::AddOn(id) => (PriceItem::AddOn, id.to_string()),
    }
}

/// An item as the file has it.
pub(super) fn item_text(item: PriceItem, id: &str) -> String {
    match item {
        PriceItem::Unspecified => String::new(),
        PriceItem::License => "license".to_owned(),
        PriceItem::Sma => "sma".to_owned(),
        PriceItem::Upgrade => "upgrade".to_owned(),
        PriceItem::Module => format!("module:{id}"),
        PriceItem::AddOn => format!("addon:{id}"),
    }
}

/// A unit as the file has it.
pub(super) fn per_text(unit: PriceUnit) -> &'static str {
    match unit {
        PriceUnit::Unspecified => "",
        PriceUnit::License => "license",
        PriceUnit::Seat => "seat",
    }
}

/// An amount for people.
pub(super) fn amount_text(minor: i64, currency: &str) -> String {
    Currency::parse(currency)
        .and_then(|currency| money::Money::new(minor, currency))
        .map_or_else(
            |_| format!("{minor} {currency}"),
            |amount| amount.to_string(),
        )
}

/// The cells of a record, without blanks around them.
fn texts(cells: Cells<'_>) -> Result<Vec<String>, String> {
    if matches!(cells, Cells::TooLong) {
        return Err(TOO_LONG.to_owned());
    }
    let text = |place| match std::str::from_utf8(cells.get(place).unwrap_or_default()) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_) => Err("is no UTF-8".to_owned()),
    };
    (0..cells.count()).map(text).collect()
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Usage,
        format_args!("{} can't be read: {error}", path.display()),
    )
}

const REQUIRED: [&str; 5] = ["product", "item", "per", "currency", "valid_from"];
const KNOWN: [&str; 9] = [
    "product",
    "item",
    "edition",
    "license_type",
    "per",
    "amount",
    "amount_minor",
    "currency",
    "valid_from",
];
/// As many as one call takes.
const BATCH: usize = 400;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(text: &str) -> Result<(Vec<Row>, Vec<Remark>), Failure> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut rows = Rows::open(file.path())?;
        let mut good = Vec::new();
        while let Some(batch) = rows.next_batch()? {
            good.extend(batch);
        }
        Ok((good, rows.problems()))
    }

    #[test]
    fn every_bad_row_is_named_with_its_column() {
        let (good, bad) = read(
            "product,item,edition,license_type,per,amount,currency,valid_from\n\
             mail,license,pro,,seat,399.00,USD,2026-01-01\n\
             mail,licence,,,seat,399.00,USD,2026-01-01\n\
             mail,license,,,box,-1,USD,2026-02-30\n\
             mail,license,,,seat,1.005,USX,2026-01-01\n\
             mail,license,pro,,license,400,USD,2026-01-01\n\
             mail,license\n",
        )
        .unwrap();
        assert_eq!(good.len(), 1);
        let places: Vec<(u64, &str)> = bad
            .iter()
            .map(|remark| (remark.line, remark.column.as_str()))
            .collect();
        let expected = [
            (3, "item"),
            (4, "per"),
            (4, "amount"),
            (4, "valid_from"),
            (5, "currency"),
            (6, "valid_from"),
            (7, "row"),
        ];
        assert_eq!(places, expected);
        let first = &good.first().unwrap().price;
        assert_eq!(first.amount.as_ref().unwrap().minor_units, 39_900);
    }

    #[test]
    fn columns_are_known_and_complete() {
        for head in [
            "product,item,per,currency,valid_from",
            "product,item,per,amount,amount_minor,currency,valid_from",
            "product,item,per,amount,currency,valid_from,colour",
            "product,item,amount,currency,valid_from",
            "product,product,item,per,amount,currency,valid_from",
        ] {
            assert_eq!(read(head).err().unwrap().exit(), Exit::Refused, "{head}");
        }
        let (good, bad) = read(
            "valid_from,currency,amount_minor,per,item,product\n2026-01-01,JPY,12345,license,module:vms,seetec\n",
        )
        .unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        assert_eq!(good.first().unwrap().price.item_id, "vms");
    }
}
