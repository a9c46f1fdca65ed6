//! The Upkeep client: what an installed product carries to activate, check, refresh, return and upgrade its license.
//!
//! A product opens its [`LicenseStore`] and calls one flow; at every start it reads the store and calls [`check()`], which needs neither
//! network nor lock. Each flow writes what it is about to do before it does it, so that after
//! a crash or a lost answer the same call goes on where the last one stopped: no seat is taken twice, none is freed twice. What
//! goes over the wire is in docs/protocol.md.
//!
//! # A TPM blocks
//! The flows are async for the network alone. With a TPM's key they also run commands of the chip, and most of these block the thread
//! that polls the flow: tens of milliseconds each, and up to some seconds where the chip is busy. Run a flow on a thread of its own where
//! other tasks of the same runtime can't wait for that.

pub mod check;
pub mod error;
pub mod store;
pub mod tpm;

mod activate;
mod attester;
mod challenged;
mod client;
mod clock;
#[cfg(test)]
mod crash_tests;
mod deactivate;
mod device;
mod enroll;
mod hardware;
#[cfg(test)]
mod hardware_tests;
mod keys;
mod lease;
mod machine;
mod random;
mod redeem;
mod refresh;
mod retry;
mod status;
#[cfg(test)]
mod testing;
mod tls;
mod verify;

pub use activate::{
    ActivateOptions, Activated, Credential, abandon_activation, accept_activation, activate,
    activate_request,
};
pub use attester::Attester;
pub use check::{Build, CheckError, Verdict, build_of_manifest, check};
pub use client::{Challenge, Client, ClientBuilder, Deadlines};
pub use deactivate::{
    Deactivated, deactivate, deactivate_request, fetch_ticket, proof_file, prove, receipt_file,
    record_receipt,
};
pub use device::{Device, SoftwareDevice, TpmDevice};
pub use enroll::{enroll, enroll_with_root};
pub use error::{ClientError, NotActivated, Refusal, Unfinished};
pub use keys::{import_keys, judge_published};
pub use redeem::{RedeemOptions, Redeemed, accept_redeem, redeem, redeem_file, redeem_request};
pub use refresh::{Refreshed, refresh};
pub use retry::RetryPolicy;
pub use store::{
    Enrollment, Held, Journal, LicenseStore, PendingActivation, PendingRedeem, State, StoreError,
    UpgradeFile, VirtualEnvironment,
};
