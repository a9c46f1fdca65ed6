//! Exit codes, and why a command failed. The codes are an interface: they are never given another meaning.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigErrors;
use crate::keys::KeysError;
use crate::keys::file::KeyFileError;
use crate::pki::{IdentityError, PkiError};
use crate::serve::ServeError;
use crate::store::StoreError;

/// How a command ended. The help text of the program lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Ok = 0,
    /// The operating system or this program failed.
    Fault = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// The data directory is missing, in use, damaged or newer.
    Data = 4,
    /// Refused by the rules, or by a server that can't be reached.
    Refused = 5,
    /// An address to listen on can't be had.
    Address = 6,
    /// The store stopped while serving.
    Stopped = 7,
}

impl Exit {
    /// The number.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Fault => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Data => 4,
            Self::Refused => 5,
            Self::Address => 6,
            Self::Stopped => 7,
        }
    }

    /// What it is called in JSON.
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Fault => "FAULT",
            Self::Usage => "USAGE",
            Self::Config => "CONFIG",
            Self::Data => "DATA",
            Self::Refused => "REFUSED",
            Self::Address => "ADDRESS",
            Self::Stopped => "STOPPED",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed, in words for its user, and the exit code for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl ToString) -> Self {
        let message = message.to_string();
        Self { exit, message }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// The failure as programs read it on standard error.
    pub(super) fn to_json(&self) -> String {
        let (code, exit) = (self.exit.name(), self.exit.code());
        let error = serde_json::json!({ "code": code, "exit": exit, "message": self.message });
        serde_json::json!({ "error": error }).to_string()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigErrors> for Failure {
    fn from(error: ConfigErrors) -> Self {
        let exit = match error.are_of_flags() {
            true => Exit::Usage,
            false => Exit::Config,
        };
        Self::new(exit, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match error {
            StoreError::Stopped(_) => Exit::Stopped,
            _ => Exit::Data,
        };
        Self::new(exit, error)
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        Self::new(Exit::Data, error)
    }
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        let exit = match error {
            KeysError::File(_) | KeysError::Foreign { .. } => Exit::Data,
            _ => Exit::Config,
        };
        Self::new(exit, error)
    }
}

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        Self::new(Exit::Fault, error)
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Store(error) => error.into(),
            ServeError::Keys(error) => error.into(),
            ServeError::Issuer(_)
            | ServeError::ProgrammeFile { .. }
            | ServeError::Mail(_)
            | ServeError::Endorsements(_)
            | ServeError::Programmes(_) => Self::new(Exit::Config, error),
            ServeError::Tls(_) | ServeError::Directory { .. } => Self::new(Exit::Data, error),
            ServeError::Resources(_)
            | ServeError::Parts(_)
            | ServeError::Listener(_)
            | ServeError::Reflection(_)
            | ServeError::Panicked => Self::new(Exit::Fault, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode as Code;

    use super::*;

    #[test]
    fn faults_have_the_codes_that_the_help_promises() {
        let dir = std::path::PathBuf::from("data");
        for (failure, code) in [
            (Failure::from(StoreError::Locked { dir: dir.clone() }), 4),
            (
                Failure::from(ServeError::from(StoreError::Missing { dir })),
                4,
            ),
            (
                Failure::from(ServeError::from(StoreError::Stopped(
                    "a write failed".into(),
                ))),
                7,
            ),
            (Failure::from(ServeError::Panicked), 1),
            (Failure::from(IdentityError::Id), 2),
        ] {
            assert_eq!(failure.exit().code(), code, "{failure}");
        }
        assert_eq!(Code::from(Exit::Ok), Code::SUCCESS);
    }
}
