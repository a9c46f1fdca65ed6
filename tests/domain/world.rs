//! Short spellings for dates, instants, serials and programmes.

use chrono::{DateTime, Utc};
use upkeep::date::{CivilDate, Term};
use upkeep::id::ProgrammeId;
use upkeep::serial::SerialNumber;
use upkeep_server::domain::programme::{Programme, Programmes};

pub(crate) fn day(text: &str) -> CivilDate {
    CivilDate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn term(first: &str, last: &str) -> Term {
    Term::new(day(first), day(last)).unwrap()
}

pub(crate) fn instant(text: &str) -> DateTime<Utc> {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn serial(text: &str) -> SerialNumber {
    SerialNumber::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// One of the four programmes that come with the server.
pub(crate) fn built_in(id: &str) -> Programme {
    let programmes = Programmes::built_in().unwrap_or_else(|errors| panic!("{errors}"));
    let id = ProgrammeId::parse(id).unwrap();
    programmes
        .current(&id)
        .expect("a built-in programme")
        .clone()
}

/// A programme with these lines after its identity.
pub(crate) fn programme(lines: &str) -> Programme {
    let text = format!("programme = {{ id = \"test\", rev = 1, tz = \"UTC\" }}\n{lines}");
    Programme::parse("test.toml", &text).unwrap_or_else(|errors| panic!("{errors}"))
}
