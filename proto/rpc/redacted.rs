//! `Debug` for the messages that carry a secret: the name of the message and nothing of its content.

use std::fmt;

use super::v1;

macro_rules! redacted {
    ($($message:ty),+ $(,)?) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), " { *** }"))
            }
        })+
    };
}

redacted!(
    v1::Credential,
    v1::credential::Secret,
    v1::RedeemUpgradeCodeRequest,
    v1::RedeemUpgradeCodeResponse,
    v1::CreateLicenseRequest,
    v1::CreateLicenseResponse,
    v1::LicenseRow,
    v1::GetActivationCodeResponse,
    v1::ActivateResponse,
    v1::UpgradeCode,
    v1::CompleteEnrollmentRequest,
);
