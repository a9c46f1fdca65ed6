//! Reads a programme file: every key with its default and range (DOMAIN 4, "Load-time validation").
//!
//! One file per group of sections; `across` checks what two sections say together.

mod across;
mod assurance;
mod contract;
mod help;
mod identity;
mod price;
mod update;

use toml::Table;

use self::across::Facts;
pub(super) use self::across::shortest_term;
use super::Programme;
use super::error::ProgrammeErrors;
use super::section::{Problems, Section, table};

/// Reads the text of `file`; defaults stand for what is absent.
pub(super) fn read(file: &str, text: &str) -> Result<Programme, ProgrammeErrors> {
    let table = table(file, text, MAX_TEXT)?;
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
    let proof = assurance::proof(root.section(problems, "proof"), problems);
    let assurance = assurance::assurance(root.section(problems, "assurance"), problems);
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
            auto: auto_extend.as_ref(),
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

/// The store keeps the text as one value (N-12).
const MAX_TEXT: usize = 60_000;
/// Windows, grace and notice: 0 to 366 days (DOMAIN 4).
const MAX_DAYS: u32 = 366;
/// Fifty years: more is a typing error.
const MAX_MONTHS: u32 = 600;
/// A part of a list price: all of it at most (DOMAIN 4).
const WHOLE: u32 = 10_000;
