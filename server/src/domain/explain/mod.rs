//! What a programme means, in plain words with worked dates: for whoever wrote the file, and for whoever has to answer a customer.
//!
//! Everything is computed by the rules that the server applies; nothing is told that it does not do.

mod contract;
mod device;
mod help;
mod money;
mod update;

use std::fmt;

use upkeep::date::CivilDate;

use crate::domain::programme::Programme;

/// One part of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// What it is about, such as `Renewal`.
    pub title: &'static str,
    /// What holds, one sentence each, in order.
    pub sentences: Vec<String>,
}

/// A whole explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Its parts, in order; none is empty.
    pub chapters: Vec<Chapter>,
    /// What the file probably does not mean.
    pub warnings: Vec<String>,
}

/// Explains `programme` with a license that is bought on `bought_on`.
pub fn explain(programme: &Programme, bought_on: CivilDate) -> Explanation {
    let chapters = [
        ("Programme", contract::identity(programme)),
        ("New license", contract::cover(programme, bought_on)),
        ("Types of contract", contract::tiers(programme)),
        ("Renewal", contract::renewal(programme, bought_on)),
        ("After a lapse", contract::lapse(programme, bought_on)),
        ("Extension", contract::extension(programme, bought_on)),
        ("Prices", money::prices(programme)),
        ("Hardware keys", update::dongles(programme)),
        ("Support", help::support(programme)),
        ("Add-ons", help::add_ons(programme)),
        ("Free editions", help::free(programme)),
        ("Updates", update::updates(programme)),
        ("Deactivation", update::proofs(programme)),
        ("Devices", device::devices(programme)),
        ("Running and downloading", help::downloads(programme)),
        ("Reminders", help::reminders(programme, bought_on)),
        ("Status", help::status(programme, bought_on)),
        ("Offices", help::regions(programme)),
        ("Quotes", help::quotes(programme)),
    ];
    Explanation {
        chapters: chapters
            .into_iter()
            .filter(|(_, sentences)| !sentences.is_empty())
            .map(|(title, sentences)| Chapter { title, sentences })
            .collect(),
        warnings: programme.warnings(),
    }
}

/// Text for a terminal: a title, then its sentences, indented.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for chapter in &self.chapters {
            writeln!(f, "{between}{}", chapter.title)?;
            for sentence in &chapter.sentences {
                writeln!(f, "  {sentence}")?;
            }
            between = "\n";
        }
        if !self.warnings.is_empty() {
            writeln!(f, "\nWarnings")?;
            for warning in &self.warnings {
                writeln!(f, "  {warning}")?;
            }
        }
        Ok(())
    }
}

/// `3 days`, `1 day`.
fn count(number: u32, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {one}{ending}")
}

/// `a`, `a and b`, `a, b and c`.
fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    joined(items, "and")
}

/// `a`, `a or b`, `a, b or c`.
fn either<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    joined(items, "or")
}

fn joined<T: fmt::Display>(items: impl IntoIterator<Item = T>, word: &str) -> String {
    let mut items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let Some(last) = items.pop() else {
        return "nothing".to_owned();
    };
    if items.is_empty() {
        last
    } else {
        format!("{} {word} {last}", items.join(", "))
    }
}
