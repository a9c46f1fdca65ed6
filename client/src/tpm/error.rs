//! What can go wrong with a TPM, by what its owner can do about it.

use std::io;

use upkeep::tpm::WireError;

use super::address::TpmAddress;
use super::code::ResponseCode;

/// Why the TPM did not do its part.
///
/// `Display` says what happened and why, [`TpmError::next_step`] what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    // The way to the TPM.
    /// There is no TPM at the address.
    #[error("there is no TPM at {address}: {why}")]
    Unavailable {
        /// Where it should be; `this machine` when none was named and none was found.
        address: String,
        /// What the operating system said.
        why: String,
    },
    /// The TPM is there and this user may not use it.
    #[error("this user has no right to use the TPM at {address}")]
    Denied {
        /// Where it is.
        address: String,
    },
    /// Another program has the device open, and there is no resource manager between.
    #[error("another program uses the TPM at {address}")]
    Busy {
        /// Where it is.
        address: String,
    },
    /// The connection broke, or the TPM was silent for too long.
    #[error("the TPM does not answer: {0}")]
    Io(#[source] io::Error),
    /// What came back is no response of a TPM 2.0 to the command.
    #[error("what {command} brought back is no response of a TPM 2.0: {why}")]
    Malformed {
        /// The command, by the specification's name.
        command: &'static str,
        /// What is wrong with the response.
        why: String,
    },

    // The TPM as its owner set it up.
    /// No endorsement certificate is stored in the TPM.
    #[error("this TPM holds no endorsement certificate, so nothing proves that it is one")]
    NoEndorsement,
    /// The endorsement key that the TPM makes is not the one that its certificate is for.
    #[error("this TPM's endorsement key does not fit its certificate")]
    EndorsementMismatch,
    /// The owner or the endorsement hierarchy has a password.
    #[error("this TPM is owned: {command} wants a password that only its owner knows")]
    Owned {
        /// The command that was refused.
        command: &'static str,
    },
    /// The dictionary attack protection is on.
    #[error("this TPM is locked after too many wrong passwords")]
    Lockout,
    /// No room for another counter.
    #[error("this TPM has no room for a counter")]
    NoSpace,
    /// Other programs left keys or sessions in the TPM and fill its memory.
    #[error("the memory of this TPM is full of what other programs left in it ({code})")]
    Exhausted {
        /// Which memory.
        code: ResponseCode,
    },

    // The key and its counter.
    /// The counter has moved on, or is gone: the key signs nothing more, for ever.
    #[error("the TPM has ended this key: its counter does not stand where it stood at activation")]
    KeyEnded,
    /// The key was made by another TPM, or by this one before TPM2_Clear.
    #[error("this TPM did not make this key, or was cleared since")]
    OtherTpm,
    /// Something else stands where the counter stood.
    #[error("the TPM holds something else at {index:#010x}, where the counter should be")]
    IndexTaken {
        /// The NV index.
        index: u32,
    },
    /// The counter stands lower than at activation, which a counter never does.
    #[error(
        "the counter stands at {found} and stood at {activated} at activation: this is another TPM, or an earlier state of a virtual one"
    )]
    CounterBehind {
        /// What the TPM says now.
        found: u64,
        /// What it said at activation.
        activated: u64,
    },

    /// The TPM refused for a reason that is none of the above.
    #[error("the TPM refused {command}: {code}")]
    Refused {
        /// The command, by the specification's name.
        command: &'static str,
        /// What it answered.
        code: ResponseCode,
    },
}

impl TpmError {
    /// Whether this TPM can't carry a license, so that a software key may stand in; else it is a fault that passes or has to be seen to.
    pub fn is_unfit(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. }
                | Self::Denied { .. }
                | Self::NoEndorsement
                | Self::EndorsementMismatch
                | Self::Owned { .. }
                | Self::NoSpace
        )
    }

    /// What to do next, in one sentence.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => {
                "switch the TPM on in the firmware's settings, or name its address; without one, activate at the level `software` if the vendor allows it. Where the TPM of an active license is gone for good, the vendor's support can waive the seat: record their receipt with `upkeep deactivate --receipt FILE`"
            }
            Self::Denied { .. } => {
                "let an administrator add this user to the group `tss` (`usermod -aG tss USER`), then log in again"
            }
            Self::Busy { .. } => {
                "end the other program, or use /dev/tpmrm0, which several programs can share"
            }
            Self::Io(_) => {
                "run the same command again; if it fails again, restart the machine, then look at the kernel's log"
            }
            Self::Malformed { .. } => {
                "check the address: a TPM 2.0 must answer there; beside a TPM 1.2 choose `--attester software` if the vendor allows it"
            }
            Self::NoEndorsement => {
                "ask the maker of the machine for a firmware update that stores it; until then activate at the level `software` if the vendor allows it"
            }
            Self::EndorsementMismatch => {
                "ask the maker of the machine; the mainboard's TPM may have been reset to other seeds"
            }
            Self::Owned { .. } => {
                "let the TPM's owner clear the owner and endorsement passwords; without that, activate at the level `software` if the vendor allows it"
            }
            Self::Lockout => {
                "wait until the TPM lets go of the lock (some hours), or let its owner reset it (`tpm2_dictionarylockout -c`)"
            }
            Self::NoSpace => {
                "let the TPM's owner delete indices that nobody uses (`tpm2_getcap handles-nv-index`, `tpm2_nvundefine`)"
            }
            Self::Exhausted { .. } => {
                "use /dev/tpmrm0 instead of /dev/tpm0, or restart the machine to empty it"
            }
            Self::KeyEnded => "run `upkeep activate` again",
            Self::OtherTpm => {
                "name the TPM that made it (`--tpm`), or run `upkeep activate` again on this machine; a license store can't be moved to another one"
            }
            Self::IndexTaken { .. } => {
                "let the TPM's owner delete that index, then run the same command again"
            }
            Self::CounterBehind { .. } => {
                "bring back the machine's latest state, or ask the vendor's support"
            }
            Self::Refused { .. } => "give the vendor's support this message",
        }
    }

    /// What the operating system's word means when the way to a TPM is opened.
    pub(super) fn opening(address: &TpmAddress, error: &io::Error) -> Self {
        let address = address.to_string();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { address },
            io::ErrorKind::ResourceBusy => Self::Busy { address },
            _ => Self::Unavailable {
                address,
                why: error.to_string(),
            },
        }
    }

    /// What a response code means for every command.
    pub(super) fn refused(command: &'static str, code: ResponseCode) -> Self {
        match code {
            ResponseCode::LOCKOUT => Self::Lockout,
            ResponseCode::NV_SPACE => Self::NoSpace,
            ResponseCode::OBJECT_MEMORY
            | ResponseCode::OBJECT_HANDLES
            | ResponseCode::SESSION_MEMORY
            | ResponseCode::SESSION_HANDLES => Self::Exhausted { code },
            code if code.is_wrong_password() => Self::Owned { command },
            code => Self::Refused { command, code },
        }
    }

    /// A [`TpmError::Malformed`].
    pub(super) fn malformed(command: &'static str, why: impl ToString) -> Self {
        Self::Malformed {
            command,
            why: why.to_string(),
        }
    }

    /// The code of a [`TpmError::Refused`].
    pub(super) fn code(&self) -> Option<ResponseCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether a handle of the command names nothing.
    pub(super) fn is_no_such_handle(&self) -> bool {
        self.code().is_some_and(ResponseCode::is_no_such_handle)
    }
}

/// A structure inside a response of `command`.
pub(super) fn within(command: &'static str) -> impl Fn(WireError) -> TpmError {
    move |error| TpmError::malformed(command, error)
}
