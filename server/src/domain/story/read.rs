//! Reads a story: every key, and all mistakes at once, as for programme files.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use toml::Table;
use upkeep::date::CivilDate;
use upkeep::id::{AddOn, DongleNumber, Edition, LicenseKind, ModuleId, ProductId, TierId};
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use super::books::{Books, Entry, Release};
use super::expect::Expect;
use super::{Action, Bought, Build, Buy, Request, Step, Story, Word};
use crate::domain::maintenance::VmProduct;
use crate::domain::maintenance::purchase::Kind;
use crate::domain::money::Money;
use crate::domain::programme::policy::UpdateField;
use crate::domain::programme::section::{Problems, Section, table};
use crate::domain::programme::{CredentialKind, ProgrammeErrors};
use crate::domain::upgrade_check::Returns;

/// Reads the text of `file`.
pub(super) fn read(file: &str, text: &str) -> Result<Story, ProgrammeErrors> {
    let table = table(file, text, MAX_TEXT)?;
    let mut problems = Problems::new(file);
    let story = root(&table, &mut problems);
    match (story, problems.into_vec()) {
        (Some(story), found) if found.is_empty() => Ok(story),
        (_, found) => Err(ProgrammeErrors::new(found)),
    }
}

/// `None` only together with a problem, here as in every function below: what has no default is required.
fn root(table: &Table, problems: &mut Problems<'_>) -> Option<Story> {
    let mut root = Section::root(table);
    root.require(problems, &["title", "step"]);
    let title = root.line(problems, "title");
    let mut defaults = root.section(problems, "license");
    let start = Start::read(&mut defaults, problems);
    defaults.close(problems);
    let books = Books {
        prices: prices(&mut root, problems),
        releases: releases(&mut root, problems),
    };
    let steps = steps(&mut root, &start, problems);
    root.close(problems);
    Some(Story {
        title: title?,
        books,
        steps: steps?,
    })
}

/// The entries of a book, as many as may stand in one.
fn book<'t>(
    root: &mut Section<'t>,
    name: &'static str,
    problems: &mut Problems<'_>,
) -> Vec<Section<'t>> {
    let found = root.sections(problems, name).unwrap_or_default();
    if found.len() > MAX_BOOK {
        problems.add(name, format!("has more than {MAX_BOOK} entries"));
        return Vec::new();
    }
    found
}

fn prices(root: &mut Section<'_>, problems: &mut Problems<'_>) -> Vec<Entry> {
    let mut found = Vec::new();
    for mut section in book(root, "price", problems) {
        section.require(problems, &["from"]);
        let from = section.day(problems, "from");
        let mut modules = Vec::new();
        for (name, path, value) in section.entries(problems, "modules").unwrap_or_default() {
            let price = value.as_str().ok_or("must be a text".to_owned());
            let price = price.and_then(|text| Money::parse(text).map_err(|e| e.to_string()));
            match (ModuleId::parse(name), price) {
                (Ok(module), Ok(price)) => modules.push((module, price)),
                (Err(problem), _) => problems.add(&path, problem.to_string()),
                (_, Err(problem)) => problems.add(&path, problem),
            }
        }
        let product = section.parsed(problems, "product", ProductId::parse);
        let edition = section.parsed(problems, "edition", Edition::parse);
        let list = section.parsed(problems, "list", Money::parse);
        let annual = section.parsed(problems, "annual", Money::parse);
        section.close(problems);
        found.extend(from.map(|from| Entry {
            from,
            product,
            edition,
            list,
            annual,
            modules,
        }));
    }
    found
}

fn releases(root: &mut Section<'_>, problems: &mut Problems<'_>) -> Vec<Release> {
    let mut found: Vec<Release> = Vec::new();
    for mut section in book(root, "release", problems) {
        section.require(problems, &["version", "build_date"]);
        let version = section.parsed(problems, "version", Version::parse);
        let build_date = section.day(problems, "build_date");
        let product = section.parsed(problems, "product", ProductId::parse);
        if let (Some(version), Some(build_date)) = (version, build_date) {
            let is_same = |other: &Release| other.version == version && other.product == product;
            if found.iter().any(is_same) {
                problems.add(
                    &section.key("version"),
                    "is that of another release as well",
                );
            }
            found.push(Release {
                version,
                build_date,
                product,
            });
        }
        section.close(problems);
    }
    found
}

/// What is bought, as far as it is said.
#[derive(Clone, Default)]
struct Start {
    product: Option<ProductId>,
    edition: Option<Edition>,
    kind: Option<LicenseKind>,
    tier: Option<TierId>,
    reseller: Option<bool>,
    dongle: Option<DongleNumber>,
    serial: Option<SerialNumber>,
    add_ons: Option<Vec<AddOn>>,
    modules: Option<Vec<(ModuleId, u32)>>,
    paid: Option<Money>,
}

impl Start {
    fn read(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Self {
        Self {
            product: section.parsed(problems, "product", ProductId::parse),
            edition: section.parsed(problems, "edition", Edition::parse),
            kind: section.parsed(problems, "kind", LicenseKind::parse),
            tier: section.parsed(problems, "tier", TierId::parse),
            reseller: section.flag(problems, "reseller"),
            dongle: section.parsed(problems, "dongle", DongleNumber::parse),
            serial: section.parsed(problems, "serial", SerialNumber::parse),
            add_ons: section.parsed_list(problems, "add_ons", AddOn::parse),
            modules: modules(section, problems),
            paid: section.parsed(problems, "paid", Money::parse),
        }
    }

    /// This, and what it leaves open from `start`.
    fn or(self, start: &Self) -> Self {
        let start = start.clone();
        Self {
            product: self.product.or(start.product),
            edition: self.edition.or(start.edition),
            kind: self.kind.or(start.kind),
            tier: self.tier.or(start.tier),
            reseller: self.reseller.or(start.reseller),
            dongle: self.dongle.or(start.dongle),
            serial: self.serial.or(start.serial),
            add_ons: self.add_ons.or(start.add_ons),
            modules: self.modules.or(start.modules),
            paid: self.paid.or(start.paid),
        }
    }

    fn bought(self) -> Option<Bought> {
        Some(Bought {
            product: self.product?,
            edition: self.edition.or_else(|| Edition::parse("standard").ok())?,
            kind: self.kind.or_else(|| LicenseKind::parse("perpetual").ok())?,
            tier: self.tier,
            reseller: self.reseller.unwrap_or(true),
            dongle: self.dongle,
            serial: self.serial,
            add_ons: self.add_ons.unwrap_or_default(),
            modules: self.modules.unwrap_or_default(),
            paid: self.paid,
        })
    }
}

/// How many of each module.
fn modules(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<Vec<(ModuleId, u32)>> {
    let mut found = Vec::new();
    for (name, path, value) in section.entries(problems, "modules")? {
        let count = value
            .as_integer()
            .and_then(|count| u32::try_from(count).ok());
        match (
            ModuleId::parse(name),
            count.filter(|count| MODULES.contains(count)),
        ) {
            (Ok(module), Some(count)) => found.push((module, count)),
            (Err(problem), _) => problems.add(&path, problem.to_string()),
            (_, None) => {
                let problem = format!("must be a whole number from 1 to {}", MODULES.end());
                problems.add(&path, problem);
            }
        }
    }
    if found.len() > MAX_MODULES {
        let problem = format!("has more than {MAX_MODULES} modules");
        problems.add(&section.key("modules"), problem);
    }
    Some(found)
}

fn steps(root: &mut Section<'_>, start: &Start, problems: &mut Problems<'_>) -> Option<Vec<Step>> {
    let sections = root.sections(problems, "step")?;
    if sections.is_empty() || sections.len() > MAX_STEPS {
        problems.add("step", format!("must be 1 to {MAX_STEPS} steps"));
        return None;
    }
    let mut reader = Reader {
        start,
        bought: BTreeSet::new(),
        first: None,
        before: None,
        is_unclear: false,
    };
    let read: Vec<Option<Step>> = sections
        .into_iter()
        .map(|section| reader.step(section, problems))
        .collect();
    if reader.bought.len() > MAX_LICENSES {
        let problem = format!("buys more than {MAX_LICENSES} different licenses");
        problems.add("step", problem);
    }
    read.into_iter().collect()
}

/// What the steps so far say about the next one.
struct Reader<'s> {
    start: &'s Start,
    bought: BTreeSet<String>,
    /// The first license that was bought: the one that a step is about when it names none.
    first: Option<String>,
    before: Option<CivilDate>,
    /// Whether a step that is wrong may have bought a license: what is missing then is not its own mistake.
    is_unclear: bool,
}

impl Reader<'_> {
    fn step(&mut self, mut section: Section<'_>, problems: &mut Problems<'_>) -> Option<Step> {
        section.require(problems, &["on", "action"]);
        let on = section.day(problems, "on");
        if let (Some(day), Some(before)) = (on, self.before)
            && day < before
        {
            let problem = format!("lies before the step above, which is on {before}");
            problems.add(&section.key("on"), problem);
        }
        self.before = on.or(self.before);
        let word = section.word(problems, "action", Word::WORDS);
        // Time passes for all of them.
        let named = match word {
            Some(Word::Until) => None,
            _ => section.parsed(problems, "license", name),
        };
        let expect = Expect::read(&mut section, problems);
        // Without an action no other key means anything.
        self.is_unclear |= word.is_none_or(|word| word == Word::Buy);
        let word = word?;
        let action = self.action(word, &mut section, problems);
        let license = self.license(named, word, action.as_ref(), &section, problems);
        section.close(problems);
        Some(Step {
            on: on?,
            license: license?,
            action: action?,
            expect,
        })
    }

    /// The license that the step is about.
    fn license(
        &mut self,
        named: Option<String>,
        word: Word,
        action: Option<&Action>,
        section: &Section<'_>,
        problems: &mut Problems<'_>,
    ) -> Option<String> {
        if word == Word::Buy {
            let product = match action {
                Some(Action::Buy(buy)) => Some(buy.license.product.to_string()),
                _ => None,
            };
            let name = named.or(product)?;
            self.is_unclear = false;
            self.bought.insert(name.clone());
            self.first.get_or_insert(name.clone());
            return Some(name);
        }
        let name = named.or_else(|| self.first.clone());
        match name {
            // Nothing has to be there for time to pass.
            _ if word == Word::Until => Some(String::new()),
            Some(name) if self.bought.contains(&name) => Some(name),
            _ => {
                if !self.is_unclear {
                    problems.add(&section.key("license"), "is bought by no step above");
                }
                None
            }
        }
    }

    fn action(
        &self,
        word: Word,
        section: &mut Section<'_>,
        problems: &mut Problems<'_>,
    ) -> Option<Action> {
        Some(match word {
            Word::Buy => Action::Buy(Box::new(self.buy(section, problems)?)),
            Word::Renew => order(Some(Kind::Renewal), section, problems),
            Word::Reinstate => order(Some(Kind::Reinstatement), section, problems),
            Word::Order => order(None, section, problems),
            Word::Cancel => Action::Cancel,
            Word::WithdrawCancellation => Action::WithdrawCancellation,
            Word::Terminate => Action::Terminate,
            Word::Status => Action::Status,
            Word::Run => Action::Run(build(section, problems)?),
            Word::Download => Action::Download(build(section, problems)?),
            Word::Support => Action::Support(section.parsed(problems, "version", Version::parse)),
            Word::AddOn => {
                section.require(problems, &["add_on"]);
                let version = section.parsed(problems, "version", Version::parse);
                Action::AddOn {
                    add_on: section.parsed(problems, "add_on", AddOn::parse)?,
                    version,
                }
            }
            Word::UpdateRequest => Action::UpdateRequest(Box::new(request(section, problems))),
            Word::AddToGroup => Action::AddToGroup,
            Word::RenewGroup => Action::RenewGroup {
                licenses: section.parsed_list(problems, "licenses", name),
                terms: terms(section, problems).unwrap_or(1),
            },
            Word::Unlock => Action::Unlock(section.number(problems, "code", 1..=u32::MAX)),
            Word::Expand => Action::Expand {
                product: section.parsed(problems, "product", ProductId::parse),
                edition: section.parsed(problems, "edition", Edition::parse),
                modules: modules(section, problems),
            },
            Word::Fees => Action::Fees {
                years: section.number(problems, "years", TERMS).unwrap_or(1),
            },
            Word::Until => Action::Until,
        })
    }

    fn buy(&self, section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<Buy> {
        let start = Start::read(section, problems).or(self.start);
        if start.product.is_none() {
            let problem = "is required, here or in license";
            problems.add(&section.key("product"), problem);
        }
        let vm = section.word(problems, "virtual_machine", VM);
        Some(Buy {
            vm: vm.unwrap_or(VmProduct::No),
            terms: terms(section, problems),
            license: start.bought()?,
        })
    }
}

fn order(wanted: Option<Kind>, section: &mut Section<'_>, problems: &mut Problems<'_>) -> Action {
    Action::Order {
        wanted,
        terms: terms(section, problems).unwrap_or(1),
    }
}

fn terms(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<u32> {
    section.number(problems, "terms", TERMS)
}

fn build(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<Build> {
    let (version, date) = (section.get("version"), section.get("build_date"));
    match (version, date) {
        (Some(_), None) => section
            .parsed(problems, "version", Version::parse)
            .map(Build::Version),
        (None, Some(_)) => section.day(problems, "build_date").map(Build::Date),
        _ => {
            let problem = "is required, or build_date in its place";
            problems.add(&section.key("version"), problem);
            None
        }
    }
}

fn request(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Request {
    let given = section.words(problems, "given", UpdateField::WORDS);
    let credentials = section.words(problems, "credentials", CredentialKind::WORDS);
    let virtual_environment = section.flag(problems, "virtual_environment");
    let returns = section.word(problems, "proof", PROOF);
    Request {
        given,
        credentials: credentials.unwrap_or_default(),
        virtual_environment: virtual_environment.unwrap_or(false),
        returns: returns.unwrap_or(Returns::Unproved),
    }
}

/// The name of a license in a story: written like every other name.
fn name(text: &str) -> Result<String, upkeep::id::IdError> {
    ProductId::parse(text).map(|name| name.to_string())
}

const VM: &[(&str, VmProduct)] = &[
    ("no", VmProduct::No),
    ("yes", VmProduct::Yes),
    ("cleared", VmProduct::Cleared),
];
const PROOF: &[(&str, Returns)] = &[
    ("none", Returns::Unproved),
    ("recorded", Returns::Settled),
    ("seats_taken", Returns::SeatsTaken),
];
/// N-11; what a programme allows beyond one is for the rules to say.
const TERMS: RangeInclusive<u32> = 1..=50;
/// More of one module is a typing error.
const MODULES: RangeInclusive<u32> = 1..=10_000;
/// What a person can read, and a bound on the work of a run.
const MAX_STEPS: usize = 1_000;
/// Prices, or releases.
const MAX_BOOK: usize = 500;
/// Of one license.
const MAX_MODULES: usize = 100;
/// As many as go on one dongle.
const MAX_LICENSES: usize = 50;
/// As large as a story of that many steps becomes.
const MAX_TEXT: usize = 500_000;
