//! Products and their releases.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use upkeep::date::CivilDate;
use upkeep::id::{ProductId, ProgrammeId};
use upkeep::key::PublicKey;
use upkeep::version::Version;

/// A product and the programme whose rules it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    pub(crate) id: ProductId,
    pub(crate) display_name: String,
    pub(crate) programme: ProgrammeId,
    /// With it, builds state their own date by a release manifest (P-03).
    pub(crate) build_key: Option<PublicKey>,
    pub(crate) created_at: DateTime<Utc>,
}

/// A release: the build date is a civil date in the programme's time zone (N-06).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub(crate) product: ProductId,
    pub(crate) version: Version,
    pub(crate) build_date: CivilDate,
    pub(crate) created_at: DateTime<Utc>,
}

/// The newest of the releases that are `open` to a license (T-15, S-19).
pub(crate) fn newest(releases: &[Release], open: impl Fn(&Release) -> bool) -> Option<&Release> {
    releases
        .iter()
        .filter(|release| open(release))
        .max_by_key(|release| (release.build_date, release.version.numbers()))
}

/// The days on which each major version first came out, by major version (P-14, A-18).
pub(crate) fn majors(releases: &[Release]) -> Vec<CivilDate> {
    let built = releases.iter().map(|one| (&one.version, one.build_date));
    let firsts = first_of_majors(built);
    firsts.into_iter().map(|(_, day)| day).collect()
}

/// The first release of each major version, by major version, from versions and their build dates.
pub(crate) fn first_of_majors<'r>(
    releases: impl Iterator<Item = (&'r Version, CivilDate)>,
) -> Vec<(&'r Version, CivilDate)> {
    let mut first: BTreeMap<u32, (&Version, CivilDate)> = BTreeMap::new();
    for (version, day) in releases {
        let known = first.entry(version.major()).or_insert((version, day));
        if day < known.1 {
            *known = (version, day);
        }
    }
    first.into_values().collect()
}
