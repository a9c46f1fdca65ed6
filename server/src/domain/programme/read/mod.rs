//! Reads a programme file: every key with its default and range (DOMAIN 4, "Load-time validation").
//!
//! One file per group of sections; `across` checks what two sections say together.

mod across;
mod contract;
mod help;
mod identity;
mod price;
mod update;

use toml::Table;

use self::across::Facts;
pub(super) use self::across::shortest_term;
use super::Programme;
use super::error::{ProgrammeError, ProgrammeErrors};
use super::section::{Problems, Section};

/// Reads the text of `file`; defaults stand for what is absent.
pub(super) fn read(file: &str, text: &str) -> Result<Programme, ProgrammeErrors> {
    if text.len() > MAX_TEXT {
        let problem = format!(
            "has {} bytes; a programme file has at most {MAX_TEXT}",
            text.len()
        );
        return Err(ProgrammeErrors::new(vec![ProgrammeError::new(
            file, "", problem,
        )]));
    }
    let table: Table = toml::from_str(text)
        .map_err(|error| ProgrammeErrors::new(vec![not_toml(file, text, &error)]))?;
    read_table(file, &table)
}

/// Reads a table that `file` holds.
pub(super) fn read_table(file: &str, table: &Table) -> Result<Programme, ProgrammeErrors> {
    let mut problems = Problems::new(file);
    let programme = read_root(table, &mut problems);
    match (programme, problems.into_vec()) {
        (Some(programme), found) if found.is_empty() => Ok(programme),
        (_, found) => Err(ProgrammeErrors::new(found)),
    }
}

/// `None` only together with a problem: what has no default is required.
fn read_root(table: &Table, problems: &mut Problems<'_>) -> Option<Programme> {
    let mut root = Section::root(table);
    let identity = identity::identity(root.section(problems, "programme"), problems);
    let cover = contract::cover(root.section(problems, "cover"), problems);
    let tiers = contract::tiers(&mut root, problems);
    let renew = contract::renew(root.section(problems, "renew"), problems);
    let lapse = contract::lapse(root.section(problems, "lapse"), problems);
    let auto_extend = contract::auto(root.section(problems, "auto"), cover.term_months, problems);
    let rates = price::rates(root.section(problems, "price"), problems);
    let expand = price::expand(root.section(problems, "expand"), problems);
    let legacy = identity::legacy(root.section(problems, "legacy"), problems);
    let group = update::group(root.section(problems, "group"), problems);
    let unlock = update::unlock(root.section(problems, "unlock"), problems);
    update::run(root.section(problems, "run"), problems);
    let free = help::free(root.section(problems, "free"), problems);
    let add_ons = help::add_ons(root.section(problems, "addons"), problems);
    let support = help::support(&mut root, problems);
    let update = update::update(root.section(problems, "update"), problems);
    let proof = update::proof(root.section(problems, "proof"), problems);
    let assurance = update::assurance(root.section(problems, "assurance"), problems);
    let remind = help::remind(&mut root, problems);
    let status = help::status(root.section(problems, "status"), &renew, problems);
    let download = help::download(root.section(problems, "download"), problems);
    let regions = help::regions(&mut root, problems);
    let quote = help::quote(root.section(problems, "quote"), problems);
    across::check(
        &Facts {
            currency: identity.currency,
            cover: &cover,
            renew: &renew,
            lapse: &lapse,
            rates: rates.as_ref(),
            expand: expand.as_ref(),
            update: &update,
            tiers: &tiers,
            support: &support,
        },
        problems,
    );
    root.close(problems);
    Some(Programme {
        id: identity.id?,
        revision: identity.revision?,
        time_zone: identity.time_zone?,
        currency: identity.currency,
        channel: identity.channel,
        aliases: identity.aliases,
        sold_until: identity.sold_until,
        cover,
        tiers,
        renew,
        lapse,
        auto_extend,
        group,
        unlock,
        free,
        add_ons,
        support,
        update,
        proof,
        assurance,
        rates,
        expand,
        legacy,
        remind,
        status,
        download,
        regions,
        quote,
    })
}

/// Where the text stops being TOML, in words that repeat no value of it. A day that does not exist ends here too, so the key is
/// named where there is one.
fn not_toml(file: &str, text: &str, error: &toml::de::Error) -> ProgrammeError {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.split('\n').count();
    let problem = match key_before(before) {
        Some(key) => format!("line {line}, at {key}: {}", error.message()),
        None => format!("line {line}: {}", error.message()),
    };
    ProgrammeError::new(file, "", problem)
}

/// The bare key whose value was being read where `before` ends.
fn key_before(before: &str) -> Option<&str> {
    let line = before.rsplit('\n').next()?;
    let (left, _) = line.rsplit_once('=')?;
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let left = left.trim_end();
    let start = left
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_bare(*c))
        .last()?
        .0;
    left.get(start..)
}

/// The store keeps the text as one value (N-12).
const MAX_TEXT: usize = 60_000;
/// Windows, grace and notice: 0 to 366 days (DOMAIN 4).
const MAX_DAYS: u32 = 366;
/// Fifty years: more is a typing error.
const MAX_MONTHS: u32 = 600;
/// A part of a list price: all of it at most (DOMAIN 4).
const WHOLE: u32 = 10_000;
