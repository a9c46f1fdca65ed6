//! Programmes at the start of a server: its files, and the revisions that its store keeps.

use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::programme::{Programme, Programmes, built_in_files};
use crate::flow::programme;
use crate::serve::error::ServeError;
use crate::serve::{Purpose, apart};
use crate::store::Store;

/// Reads the programme files, or takes the built-in programmes.
///
/// # Errors
/// [`ServeError::ProgrammeFile`], [`ServeError::Programmes`] with everything that is wrong.
pub fn read_programmes(settings: &Settings) -> Result<Programmes, ServeError> {
    Programmes::load(&files(settings)?).map_err(ServeError::Programmes)
}

/// The names and texts of the programme files. They are valid ones: a server with a wrong one opens nothing.
///
/// # Errors
/// As [`read_programmes`].
pub(super) fn files(settings: &Settings) -> Result<Vec<(String, String)>, ServeError> {
    let files = match settings.programmes.as_slice() {
        [] => built_in_files()
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect(),
        paths => {
            let mut files = Vec::with_capacity(paths.len());
            for path in paths {
                let read = std::fs::read_to_string(path);
                let text = read.map_err(|source| ServeError::ProgrammeFile {
                    path: path.clone(),
                    source,
                })?;
                files.push((path.display().to_string(), text));
            }
            files
        }
    };
    Programmes::load(&files).map_err(ServeError::Programmes)?;
    Ok(files)
}

/// The programmes of the files beside all revisions that were ever served; what is new is kept from now on (N-12), unless nothing is
/// served.
///
/// # Errors
/// [`ServeError::Programmes`] for a revision that was changed; store faults.
pub(super) fn with_kept(
    store: &Store,
    files: &[(String, String)],
    clock: &dyn Clock,
    purpose: Purpose,
) -> Result<Programmes, ServeError> {
    let kept = programme::kept(store)?;
    let (programmes, new) = Programmes::with_kept(files, &kept).map_err(ServeError::Programmes)?;
    for programme in programmes.iter() {
        for warning in programme.warnings() {
            tracing::warn!(programme = %programme.id(), "{warning}");
        }
    }
    for (name, text) in files {
        warn_of_older(&programmes, name, text);
    }
    if !new.is_empty() && purpose == Purpose::Serve {
        let now = clock.now();
        apart::wait(programme::keep(store, now, new))??;
    }
    Ok(programmes)
}

/// A file that went back to an older revision sells nothing by it: the newest one counts.
fn warn_of_older(programmes: &Programmes, file: &str, text: &str) {
    let Ok(programme) = Programme::parse(file, text) else {
        return;
    };
    let newest = programmes.current(programme.id()).map(Programme::revision);
    if newest != Some(programme.revision()) {
        tracing::warn!(
            %file,
            programme = %programme.id(),
            revision = programme.revision(),
            newest,
            "a newer revision was served before, and new licenses follow that one; raise programme.rev to change them"
        );
    }
}
