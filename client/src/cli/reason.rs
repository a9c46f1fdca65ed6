//! The `reason` of an error in JSON: a stable name for the case. The server's refusals bring their own (docs/errors.md).

use upkeep::check::Refusal;
use upkeep_client::check::CheckError;
use upkeep_client::error::{ClientError, NotActivated, Unfinished};
use upkeep_client::store::StoreError;
use upkeep_client::tpm::TpmError;

/// The case of this error, where there are several. docs/client.md lists the names.
pub(super) fn of(error: &ClientError) -> Option<&str> {
    match error {
        ClientError::Refused(_) => error.reason(),
        ClientError::Store(error) => of_store(error),
        ClientError::Tpm(error) => of_tpm(error),
        ClientError::NotActivated(why) => of_missing(*why),
        ClientError::Unfinished(what) => of_unfinished(what),
        ClientError::Check(error) => of_check(error),
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::NoHome => Some("NO_HOME"),
        StoreError::Missing { .. } => Some("MISSING"),
        StoreError::Locked { .. } => Some("LOCKED"),
        StoreError::Loose { .. } => Some("OPEN_TO_OTHERS"),
        StoreError::Damaged { .. } => Some("DAMAGED"),
        StoreError::Newer { .. } => Some("NEWER_FORMAT"),
        StoreError::Io { .. } | StoreError::Unknown { .. } => Some("FILE_SYSTEM"),
        _ => None,
    }
}

fn of_tpm(error: &TpmError) -> Option<&'static str> {
    match error {
        TpmError::Unavailable { .. } => Some("NO_TPM"),
        TpmError::Denied { .. } => Some("NO_RIGHTS"),
        TpmError::Busy { .. } => Some("BUSY"),
        TpmError::Io(_) => Some("SILENT"),
        TpmError::NoEndorsement | TpmError::EndorsementMismatch => Some("NO_ENDORSEMENT"),
        TpmError::Owned { .. } => Some("OWNED"),
        TpmError::Lockout => Some("LOCKOUT"),
        TpmError::NoSpace => Some("NO_SPACE"),
        TpmError::Exhausted { .. } => Some("EXHAUSTED"),
        TpmError::OtherTpm => Some("OTHER_TPM"),
        TpmError::CounterBehind { .. } => Some("COUNTER_BEHIND"),
        _ => None,
    }
}

fn of_missing(why: NotActivated) -> Option<&'static str> {
    match why {
        NotActivated::Never => Some("NEVER_ACTIVATED"),
        NotActivated::Releasing => Some("RELEASING"),
        NotActivated::Deactivated => Some("DEACTIVATED"),
        NotActivated::KeyEnded => Some("KEY_ENDED"),
        NotActivated::UpgradeFile => Some("UPGRADED_BY_FILE"),
        _ => None,
    }
}

fn of_unfinished(what: &Unfinished) -> Option<&'static str> {
    match what {
        Unfinished::Activation { .. } => Some("ACTIVATION_UNFINISHED"),
        Unfinished::Redeem { .. } => Some("REDEEM_UNFINISHED"),
        Unfinished::Deactivation { .. } => Some("DEACTIVATION_UNFINISHED"),
        Unfinished::OtherKey { .. } => Some("OTHER_KIND_OF_KEY"),
        Unfinished::OtherUse { .. } => Some("OTHER_USE"),
        Unfinished::Active { .. } => Some("OTHER_LICENSE_ACTIVE"),
        _ => None,
    }
}

fn of_check(error: &CheckError) -> Option<&'static str> {
    match error {
        CheckError::Refused(refusal) => of_refusal(*refusal),
        CheckError::IssuingKey => Some("ISSUING_KEY"),
        CheckError::UnknownKey => Some("UNKNOWN_KEY"),
        CheckError::DeviceKey => Some("DEVICE_KEY"),
        CheckError::ClockSetBack => Some("CLOCK_SET_BACK"),
        CheckError::LeaseEnded => Some("LEASE_ENDED"),
        _ => None,
    }
}

fn of_refusal(refusal: Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::OtherDevice => Some("OTHER_DEVICE"),
        Refusal::OtherProduct => Some("OTHER_PRODUCT"),
        Refusal::NewerThanMaintenance { .. } => Some("NEWER_THAN_MAINTENANCE"),
        Refusal::NoMaintenance => Some("NO_MAINTENANCE"),
        Refusal::TargetNotCovered { .. } => Some("TARGET_NOT_COVERED"),
        _ => None,
    }
}
