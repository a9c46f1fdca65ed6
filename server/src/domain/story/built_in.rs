//! The stories that come with the server: one for each built-in programme, as examples and as tests of the rules.

/// The text of the built-in story called `name`, such as `teklynx`.
pub fn built_in(name: &str) -> Option<&'static str> {
    let story = BUILT_IN.into_iter().find(|(known, ..)| *known == name);
    story.map(|(_, _, text)| text)
}

/// The names of the built-in stories, each with the id of the programme that it is about.
pub fn built_in_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    BUILT_IN
        .into_iter()
        .map(|(name, programme, _)| (name, programme))
}

const BUILT_IN: [(&str, &str, &str); 5] = [
    (
        "perkinelmer",
        "perkinelmer-sma",
        include_str!("../../../programmes/stories/perkinelmer.toml"),
    ),
    (
        "seetec",
        "seetec-sma",
        include_str!("../../../programmes/stories/seetec.toml"),
    ),
    (
        "seetec-maintenance",
        "seetec-maintenance",
        include_str!("../../../programmes/stories/seetec-maintenance.toml"),
    ),
    (
        "smartertools",
        "smartertools-ms",
        include_str!("../../../programmes/stories/smartertools.toml"),
    ),
    (
        "teklynx",
        "teklynx-sma",
        include_str!("../../../programmes/stories/teklynx.toml"),
    ),
];
