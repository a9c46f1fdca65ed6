//! `programme` and `legacy`: which programme it is, and which one it replaced.

use std::str::FromStr;

use chrono_tz::Tz;
use upkeep::date::CivilDate;
use upkeep::id::ProgrammeId;

use super::super::policy::Legacy;
use super::super::section::{Problems, Section};
use crate::domain::money::Currency;

/// What `programme` says. What is required is absent only together with a problem.
pub(super) struct Identity {
    pub(super) id: Option<ProgrammeId>,
    pub(super) revision: Option<u32>,
    pub(super) time_zone: Option<Tz>,
    pub(super) currency: Option<Currency>,
    pub(super) channel: String,
    pub(super) aliases: Vec<String>,
    pub(super) sold_until: Option<CivilDate>,
}

pub(super) fn identity(mut section: Section<'_>, problems: &mut Problems<'_>) -> Identity {
    section.require(problems, &["id", "rev", "tz"]);
    let identity = Identity {
        id: section.parsed(problems, "id", ProgrammeId::parse),
        revision: section.number(problems, "rev", 1..=u32::MAX),
        time_zone: section.parsed(problems, "tz", |text| {
            Tz::from_str(text).map_err(|_| "must be an IANA time zone such as Europe/Paris")
        }),
        currency: section.parsed(problems, "currency", Currency::parse),
        channel: section.line(problems, "channel").unwrap_or_default(),
        aliases: section.lines(problems, "aliases"),
        sold_until: section.day(problems, "sold_until"),
    };
    section.close(problems);
    identity
}

/// V-06: contracts of the old programme live on under their own terms, and this is not for a file to change.
pub(super) fn legacy(mut section: Section<'_>, problems: &mut Problems<'_>) -> Option<Legacy> {
    let present = section.is_present();
    if present {
        section.require(problems, &["sold_until"]);
    }
    let id = section.parsed(problems, "id", ProgrammeId::parse);
    let sold_until = section.day(problems, "sold_until");
    if section.flag(problems, "keeps_own_terms") == Some(false) {
        let problem =
            "must be true: a contract keeps the terms that it was bought under (A-14, N-12)";
        problems.add(&section.key("keeps_own_terms"), problem);
    }
    section.close(problems);
    Some(Legacy {
        id,
        sold_until: sold_until?,
    })
}
