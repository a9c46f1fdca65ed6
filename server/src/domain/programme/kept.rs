//! Revisions that a server has kept: contracts live on under the one that they were bought under, whatever the files say now (N-12).

use upkeep::id::ProgrammeId;

use super::error::{ProgrammeError, ProgrammeErrors};
use super::{Programme, Programmes};

/// One revision as its file said it. Comments and layout are kept, but do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The programme.
    pub(crate) id: ProgrammeId,
    /// Its revision.
    pub(crate) revision: u32,
    /// The TOML text.
    pub(crate) text: String,
}

impl Programmes {
    /// The programmes of `files` beside the revisions that were `kept` before, and what is to be kept from now on.
    ///
    /// # Errors
    /// Everything that is wrong with the files; a revision that says something else than the one that was kept; a kept revision that
    /// this server does not understand.
    pub fn with_kept<N, T>(
        files: &[(N, T)],
        kept: &[Kept],
    ) -> Result<(Self, Vec<Kept>), ProgrammeErrors>
    where
        N: AsRef<str>,
        T: AsRef<str>,
    {
        let mut known = Self::load(files)?;
        let mut errors = Vec::new();
        for old in kept {
            let name = format!("{} in revision {}, as kept", old.id, old.revision);
            match Programme::parse(&name, &old.text) {
                Err(problems) => errors.extend(problems),
                Ok(programme) => match known.get(&old.id, old.revision) {
                    None => known.insert(programme),
                    Some(new) if *new == programme => {}
                    Some(_) => errors.push(changed(files, old)),
                },
            }
        }
        if !errors.is_empty() {
            return Err(ProgrammeErrors::new(errors));
        }
        let new = files
            .iter()
            .filter_map(|(name, text)| {
                let programme = Programme::parse(name.as_ref(), text.as_ref()).ok()?;
                Some(Kept {
                    id: programme.id().clone(),
                    revision: programme.revision(),
                    text: text.as_ref().to_owned(),
                })
            })
            .filter(|new| {
                let is_same = |old: &Kept| old.id == new.id && old.revision == new.revision;
                !kept.iter().any(is_same)
            })
            .collect();
        Ok((known, new))
    }
}

/// The file that changed a revision under the contracts that follow it.
fn changed<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)], old: &Kept) -> ProgrammeError {
    let is_it = |name: &N, text: &T| {
        Programme::parse(name.as_ref(), text.as_ref())
            .is_ok_and(|new| *new.id() == old.id && new.revision() == old.revision)
    };
    let file = files
        .iter()
        .find(|(name, text)| is_it(name, text))
        .map_or("", |(name, _)| name.as_ref());
    let next = old.revision.saturating_add(1);
    let problem = format!(
        "revision {} of {} was served with other rules, which contracts follow: raise programme.rev to {next} for the changed \
         ones, or put the old ones back (comments and layout may change)",
        old.revision, old.id
    );
    ProgrammeError::new(file, "programme.rev", problem)
}
