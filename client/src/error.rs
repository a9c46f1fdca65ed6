//! What can go wrong, by whose turn it is next: the server refused, nobody answered, the store needs care, the build is not covered.
//!
//! Every error says what happened and why in its `Display`, and what to do next in [`ClientError::next_step`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use upkeep::id::RequestId;
use upkeep::serial::SerialNumber;

use crate::check::CheckError;
use crate::store::StoreError;
use crate::tpm::TpmError;

/// Why a flow of this crate did not reach its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    // The server's answer.
    /// The server understood and said no.
    #[error("the server refused: {0}")]
    Refused(Box<Refusal>),
    /// The server failed while it worked on the call; whether it took effect is not known.
    #[error("the server failed: {0}")]
    ServerFailed(Box<Refusal>),
    /// The server answered something that this client can't use.
    #[error("the server's answer can't be used: {0}")]
    Answer(String),

    // No answer.
    /// Nobody answered, or the connection broke; whether the call took effect is not known.
    #[error("the server at {endpoint} can't be reached: {why}")]
    Unreachable {
        /// Where the server should be.
        endpoint: String,
        /// What the network said.
        why: String,
        /// How long the server asked to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// No answer came in time; whether the call took effect is not known.
    #[error("no answer from {endpoint} within {}", seconds(.after))]
    Deadline {
        /// Where the server should be.
        endpoint: String,
        /// The deadline that passed.
        after: Duration,
    },
    /// Whoever answered is not the pinned server, or speaks no TLS 1.3.
    #[error("the server at {endpoint} did not prove its identity: {why}")]
    Tls {
        /// Where the server should be.
        endpoint: String,
        /// What the TLS layer found.
        why: String,
    },

    // This installation.
    /// The license store can't be used as it is.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The TPM can't do what is asked of it.
    #[error("the TPM: {0}")]
    Tpm(TpmError),
    /// No server is known yet.
    #[error("this installation is not enrolled: no server and no keys are pinned")]
    NotEnrolled,
    /// No activation stands in the store.
    #[error("this installation is not activated: {0}")]
    NotActivated(NotActivated),
    /// An earlier step waits to be finished first.
    #[error("{0}")]
    Unfinished(Unfinished),

    // What was given to us.
    /// A signed text is not what it has to be.
    #[error("{what} does not verify: {why}")]
    Artefact {
        /// Which text.
        what: &'static str,
        /// Which check failed.
        why: String,
    },
    /// A value from the caller can't be used.
    #[error("{0}")]
    Input(String),
    /// The start-up check failed.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl ClientError {
    /// What to do next, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.next_step(),
            Self::ServerFailed(_) | Self::Deadline { .. } => {
                "run the same command again: it goes on where it stopped and takes nothing twice"
                    .to_owned()
            }
            Self::Unreachable { retry_after, .. } => match retry_after {
                Some(wait) => format!("run the same command again after {}", seconds(wait)),
                None => {
                    "check the network, then run the same command again: it goes on where it stopped"
                        .to_owned()
                }
            },
            Self::Answer(_) => {
                "ask the vendor whether client and server fit together; `upkeep doctor` shows more"
                    .to_owned()
            }
            Self::Tls { .. } => {
                "check the address; if the vendor changed the server's CA, get the new PEM file and run `upkeep enroll` again"
                    .to_owned()
            }
            Self::Store(error) => error.next_step(),
            Self::Tpm(error) => error.next_step().to_owned(),
            Self::NotEnrolled => {
                "run `upkeep enroll --server https://HOST:PORT --ca FILE`".to_owned()
            }
            Self::NotActivated(why) => why.next_step().to_owned(),
            Self::Unfinished(what) => what.next_step(),
            Self::Artefact { .. } => {
                "get the file again from where it came; `upkeep inspect FILE` shows what it says"
                    .to_owned()
            }
            Self::Input(_) => "see `upkeep help` for what is expected".to_owned(),
            Self::Check(error) => error.next_step().to_owned(),
        }
    }

    /// Whether the call may have taken effect although no usable answer came.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.attempts > 1,
            Self::ServerFailed(_)
            | Self::Answer(_)
            | Self::Unreachable { .. }
            | Self::Deadline { .. } => true,
            Self::Tls { .. }
            | Self::Store(_)
            | Self::Tpm(_)
            | Self::NotEnrolled
            | Self::NotActivated(_)
            | Self::Unfinished(_)
            | Self::Artefact { .. }
            | Self::Input(_)
            | Self::Check(_) => false,
        }
    }

    /// The refusal's reason, where the server refused with one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.reason.as_deref(),
            _ => None,
        }
    }

    /// Tells a refusal that the device key was a software key, and why; the server may want a better one.
    pub(crate) fn with_key(self, because: Option<&str>) -> Self {
        match self {
            Self::Refused(mut refusal) => {
                refusal.software_because = because.map(str::to_owned);
                Self::Refused(refusal)
            }
            error => error,
        }
    }

    /// An [`ClientError::Artefact`].
    pub(crate) fn artefact(what: &'static str, why: impl fmt::Display) -> Self {
        Self::Artefact {
            what,
            why: why.to_string(),
        }
    }
}

/// A refusal as the server sent it: gRPC status with `google.rpc` details.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The gRPC code in SCREAMING_SNAKE_CASE, such as `FAILED_PRECONDITION`.
    pub code: &'static str,
    /// The stable reason (ErrorInfo), such as `NO_SEAT`; see docs/errors.md.
    pub reason: Option<String>,
    /// The server's message: what, why and what next.
    pub message: String,
    /// The values that the message speaks of (ErrorInfo).
    pub metadata: BTreeMap<String, String>,
    /// Fields that were wrong, with the rule each broke (BadRequest).
    pub violations: Vec<(String, String)>,
    /// How long the server asked to wait (RetryInfo).
    pub retry_after: Option<Duration>,
    /// How often the call was sent before this answer came, from 1.
    pub attempts: u32,
    /// Why the device key was a software key, where a TPM was looked for.
    pub software_because: Option<String>,
}

impl Refusal {
    fn next_step(&self) -> String {
        if let Some(wait) = self.retry_after {
            return format!("try again after {}", seconds(&wait));
        }
        match self.reason.as_deref() {
            Some("DEVICE_FROZEN") => {
                "this TPM's counter or clock went back, as when a virtual machine is restored from a snapshot: give the vendor's support the activation; they can thaw it"
            }
            Some("HEARTBEAT_REQUIRED") => {
                "update this program: the server wants the TPM's own word about its counter"
            }
            Some("ATTESTATION_FAILED") => {
                "run `upkeep activate` again, which makes a new key; when it fails again, `upkeep doctor` shows this TPM, and the vendor's log says which check failed"
            }
            Some("ENROLLMENT_INVALID") => "run the same command again: it enrolls the TPM anew",
            Some("VM_CONTRADICTION") => {
                "declare it: activate again with `--virtual-environment yes`"
            }
            _ => "do what the message says, or give the vendor's support the reason",
        }
        .to_owned()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({})",
            self.message,
            self.reason.as_deref().unwrap_or(self.code)
        )?;
        for (field, rule) in &self.violations {
            write!(f, "; {field}: {rule}")?;
        }
        if let Some(because) = &self.software_because {
            write!(f, "; a software key was used, not a TPM's: {because}")?;
        }
        Ok(())
    }
}

/// Why there is no activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotActivated {
    /// There never was one here.
    #[error("no license was activated here")]
    Never,
    /// A deactivation ticket is held: the product stops at once (DOMAIN E-10).
    #[error("it is being deactivated, the ticket is here")]
    Releasing,
    /// It was deactivated here.
    #[error("it was deactivated here")]
    Deactivated,
    /// The TPM refuses the device key for good: its counter has moved past the value that the key works at.
    #[error(
        "its TPM key has ended: the license, or one that shares its counter, was deactivated on this machine, or the counter moved, or the TPM was cleared"
    )]
    KeyEnded,
    /// The device was upgraded by file, so there is no activation on record at the server.
    #[error("it runs on an upgrade code file, which names no activation")]
    UpgradeFile,
}

impl NotActivated {
    fn next_step(self) -> &'static str {
        match self {
            Self::Never | Self::Deactivated => "run `upkeep activate`",
            Self::KeyEnded => {
                "activate again: `upkeep activate SERIAL` makes a new key, and this machine gets its own seat again; below the level `hardware` that counts as a return, of which a year has few"
            }
            Self::Releasing => "run `upkeep deactivate` again to finish it",
            Self::UpgradeFile => "redeem the 25-character code online: `upkeep upgrade redeem`",
        }
    }
}

/// Which earlier step waits to be finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfinished {
    /// An activation was asked for and its answer never came.
    #[error(
        "an activation of {serial} is unfinished (request {request_id}): it may have taken a seat"
    )]
    Activation {
        /// The license that was asked for.
        serial: SerialNumber,
        /// The request whose answer is missing.
        request_id: RequestId,
    },
    /// An upgrade code was sent and its answer never came.
    #[error("an upgrade of {serial} is unfinished (request {request_id}): its code may be used up")]
    Redeem {
        /// The license that was to be upgraded.
        serial: SerialNumber,
        /// The request whose answer is missing.
        request_id: RequestId,
    },
    /// A deactivation has begun and has no receipt yet.
    #[error("a deactivation of {serial} has begun and has no receipt yet")]
    Deactivation {
        /// The license whose seat is being returned.
        serial: SerialNumber,
    },
    /// Another license is active here.
    #[error("{serial} is active here")]
    Active {
        /// The active license.
        serial: SerialNumber,
    },
    /// The license is in force here with the other kind of device key.
    #[error("{serial} stands here with a {kind} key: another kind of key would take a second seat")]
    OtherKey {
        /// The license.
        serial: SerialNumber,
        /// The kind of its key: `software` or `tpm`.
        kind: &'static str,
    },
    /// The license is in force here with a TPM's key that was enrolled for another product or declaration.
    #[error(
        "{serial} stands here with a TPM key for another product, or another `--virtual-environment`: a new key would end it"
    )]
    OtherUse {
        /// The license.
        serial: SerialNumber,
    },
}

impl Unfinished {
    fn next_step(&self) -> String {
        match self {
            Self::Activation { serial, .. } => format!(
                "run `upkeep activate {serial}` again to finish it, or with --abandon to give it up"
            ),
            Self::Redeem { serial, .. } => {
                format!(
                    "run `upkeep upgrade redeem {serial}` again with the same code, or with --abandon to give it up"
                )
            }
            Self::Deactivation { .. } => "run `upkeep deactivate` to finish it".to_owned(),
            Self::Active { .. } => {
                "run `upkeep deactivate` first, or use another --store for another installation"
                    .to_owned()
            }
            Self::OtherKey { kind, .. } => format!(
                "leave it at `--attester {kind}` or `auto`, or run `upkeep deactivate` first; where its key is out of reach for good, the vendor's support can waive the seat: record their receipt with `upkeep deactivate --receipt FILE`"
            ),
            Self::OtherUse { .. } => {
                "name the values that it was activated with, or run `upkeep deactivate` first"
                    .to_owned()
            }
        }
    }
}

impl From<TpmError> for ClientError {
    fn from(error: TpmError) -> Self {
        match error {
            TpmError::KeyEnded => Self::NotActivated(NotActivated::KeyEnded),
            error => Self::Tpm(error),
        }
    }
}

/// A duration for a person.
fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_why_the_key_was_a_software_key() {
        let refusal = Refusal {
            code: "FAILED_PRECONDITION",
            reason: Some("ASSURANCE_TOO_LOW".to_owned()),
            message: "a TPM is needed".to_owned(),
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            retry_after: None,
            attempts: 1,
            software_because: None,
        };
        let plain = ClientError::Refused(Box::new(refusal.clone())).with_key(None);
        assert_eq!(
            plain.to_string(),
            "the server refused: a TPM is needed (ASSURANCE_TOO_LOW)"
        );
        let told = ClientError::Refused(Box::new(refusal)).with_key(Some("there is no TPM"));
        assert!(told.to_string().ends_with("not a TPM's: there is no TPM"));
    }

    #[test]
    fn what_a_tpm_ended_is_not_activated_any_more() {
        assert!(matches!(
            ClientError::from(TpmError::KeyEnded),
            ClientError::NotActivated(NotActivated::KeyEnded)
        ));
    }
}
