//! Exit codes, and why a command failed. The codes are an interface: they are never given another meaning.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;
use upkeep_client::error::ClientError;
use upkeep_client::store::StoreError;
use upkeep_client::tpm::TpmError;

use crate::cli::reason;

/// How a command ended. `upkeep --help` and docs/client.md list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Ok,
    /// This program, the operating system or the server failed.
    Fault,
    /// The command line, or a value on it, is wrong.
    Usage,
    /// The server understood and said no.
    Refused,
    /// Nobody answered in time.
    Unreachable,
    /// What is in the store does not allow it: not enrolled, not activated, an earlier step unfinished.
    NotActivated,
    /// This build may not run here.
    CheckFailed,
    /// The store is damaged, locked, or open to others.
    Store,
    /// The server did not prove its identity.
    Identity,
    /// A signed text does not verify.
    Artefact,
}

impl Exit {
    /// The number.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Fault => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::NotActivated => 5,
            Self::CheckFailed => 6,
            Self::Store => 7,
            Self::Identity => 8,
            Self::Artefact => 9,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed: words for a person, and exit code, `code` and `reason` for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    exit: Exit,
    code: &'static str,
    reason: Option<String>,
    message: String,
    next: Option<String>,
}

impl Failure {
    /// The command line, or a value on it, is wrong.
    pub(super) fn usage(message: impl fmt::Display, next: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, "USAGE", message).with_next(next)
    }

    /// The operating system or this program failed.
    pub(super) fn fault(message: impl fmt::Display, next: impl fmt::Display) -> Self {
        Self::new(Exit::Fault, "FAULT", message).with_next(next)
    }

    /// A signed text does not verify.
    pub(super) fn artefact(message: impl fmt::Display, next: impl fmt::Display) -> Self {
        Self::new(Exit::Artefact, "ARTEFACT_INVALID", message).with_next(next)
    }

    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// What to do next.
    pub(super) fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// The failure as programs read it on standard error.
    pub(super) fn to_json(&self) -> String {
        let error = JsonError {
            code: self.code,
            exit: self.exit.code(),
            reason: self.reason.as_deref(),
            message: &self.message,
            next: self.next(),
        };
        // Text and a number always have a JSON form.
        serde_json::to_string(&JsonErrors { error }).unwrap_or_default()
    }

    fn new(exit: Exit, code: &'static str, message: impl fmt::Display) -> Self {
        Self {
            exit,
            code,
            reason: None,
            message: message.to_string(),
            next: None,
        }
    }

    fn with_next(self, next: impl fmt::Display) -> Self {
        let next = Some(next.to_string());
        Self { next, ..self }
    }
}

/// What happened and why, without the next step.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (exit, code) = match &error {
            ClientError::Refused(_) => (Exit::Refused, "REFUSED"),
            ClientError::ServerFailed(_) => (Exit::Fault, "SERVER_FAILED"),
            ClientError::Answer(_) => (Exit::Fault, "ANSWER_UNUSABLE"),
            ClientError::Unreachable { .. } => (Exit::Unreachable, "UNREACHABLE"),
            ClientError::Deadline { .. } => (Exit::Unreachable, "DEADLINE"),
            ClientError::Tls { .. } => (Exit::Identity, "SERVER_IDENTITY"),
            ClientError::Store(_) => (Exit::Store, "STORE"),
            // The license is bound to another machine, or to this one as it was.
            ClientError::Tpm(TpmError::OtherTpm) => (Exit::NotActivated, "TPM"),
            ClientError::Tpm(_) => (Exit::Fault, "TPM"),
            ClientError::NotEnrolled => (Exit::NotActivated, "NOT_ENROLLED"),
            ClientError::NotActivated(_) => (Exit::NotActivated, "NOT_ACTIVATED"),
            ClientError::Unfinished(_) => (Exit::NotActivated, "UNFINISHED"),
            ClientError::Artefact { .. } => (Exit::Artefact, "ARTEFACT_INVALID"),
            ClientError::Input(_) => (Exit::Usage, "USAGE"),
            ClientError::Check(_) => (Exit::CheckFailed, "CHECK_FAILED"),
            _ => (Exit::Fault, "FAULT"),
        };
        let failure = Self::new(exit, code, &error).with_next(error.next_step());
        let reason = reason::of(&error).map(str::to_owned);
        Self { reason, ..failure }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        ClientError::from(error).into()
    }
}

#[derive(Serialize)]
struct JsonErrors<'a> {
    error: JsonError<'a>,
}

#[derive(Serialize)]
struct JsonError<'a> {
    code: &'static str,
    exit: u8,
    reason: Option<&'a str>,
    message: &'a str,
    next: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_never_change() {
        let all = [
            Exit::Ok,
            Exit::Fault,
            Exit::Usage,
            Exit::Refused,
            Exit::Unreachable,
            Exit::NotActivated,
            Exit::CheckFailed,
            Exit::Store,
            Exit::Identity,
            Exit::Artefact,
        ];
        let codes: Vec<u8> = all.into_iter().map(Exit::code).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn json_has_every_member() {
        let json = Failure::usage("no serial", "give one").to_json();
        let value: serde_json::Value = serde_json::from_str(&json).expect("json");
        assert_eq!(
            value,
            serde_json::json!({"error": {
                "code": "USAGE", "exit": 2, "reason": null, "message": "no serial", "next": "give one",
            }})
        );
    }

    #[test]
    fn errors_of_the_library_keep_their_words() {
        let failure = Failure::from(ClientError::NotEnrolled);
        assert_eq!(failure.exit(), Exit::NotActivated);
        assert_eq!(failure.to_string(), ClientError::NotEnrolled.to_string());
        assert!(
            failure
                .next()
                .is_some_and(|next| next.contains("upkeep enroll"))
        );
    }
}
