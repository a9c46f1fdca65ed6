//! Why a server did not start, or could not go on.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tokio::task::JoinError;
use upkeep::artefact::ClaimError;

use crate::domain::programme::ProgrammeErrors;
use crate::endorsement::EndorsementErrors;
use crate::flow::Fault;
use crate::keys::KeysError;
use crate::listener;
use crate::mail::MailError;
use crate::store::StoreError;
use crate::tls::TlsError;

/// Why a server did not start, or could not go on. Every message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    // The configuration.
    /// The issuer is none.
    #[error("issuer: {0}")]
    Issuer(#[from] ClaimError),
    /// A programme file cannot be read.
    #[error("the programme file {} cannot be read: {source}; correct `programmes`", .path.display())]
    ProgrammeFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Programmes are wrong, one line each.
    #[error("{}", lines(.0))]
    Programmes(ProgrammeErrors),

    /// Mail cannot be sent as configured, or a text of one's own is wrong.
    #[error(transparent)]
    Mail(#[from] MailError),

    /// The endorsement CAs or the deny list are wrong, one line each.
    #[error(transparent)]
    Endorsements(#[from] EndorsementErrors),

    // The data directory.
    /// The store cannot be opened, or has stopped.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key cannot be opened.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A directory in the data directory cannot be made.
    #[error("{} cannot be made: {source}; check its owner and the free space", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    // The running server.
    /// The operating system grants no task.
    #[error("the operating system grants no more: {0}; check the limits of open files and threads")]
    Resources(io::Error),
    /// The parts do not fit together.
    #[error(transparent)]
    Parts(#[from] Fault),
    /// A listener ended before it was told to.
    #[error(transparent)]
    Listener(#[from] listener::ServeError),
    /// Reflection cannot be built from what was compiled in.
    #[error("reflection cannot be served: {0}; this is a defect, please report it")]
    Reflection(String),
    /// A part of the server panicked.
    #[error("a part of the server panicked; this is a defect, please report it with the log")]
    Panicked,
}

impl ServeError {
    /// A listener's task has ended although nobody asked it to.
    pub(super) fn of_listener(ended: Result<Result<(), listener::ServeError>, JoinError>) -> Self {
        match ended {
            Ok(Err(error)) => Self::Listener(error),
            Ok(Ok(())) | Err(_) => Self::Panicked,
        }
    }
}

/// Makes `path` for the owner alone, unless it is there.
pub(super) fn make_private_directory(path: &Path) -> Result<(), ServeError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| ServeError::Directory {
            path: path.to_owned(),
            source,
        })
}

fn lines(errors: &ProgrammeErrors) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
