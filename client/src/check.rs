//! The start-up check: may this build run here? No network, no server; the clock is looked at for leases only (DESIGN 8).
//!
//! The store has verified certificate or upgrade code by the trusted keys when it was opened, as far as it knows their keys. Here the
//! device key answers a fresh random challenge, and [`upkeep::check`] decides the rest. A TPM signs only while its counter stands where it
//! stood at the activation, so the chip itself answers whether the license was returned.

use upkeep::armor;
use upkeep::artefact::ReleaseManifest;
use upkeep::binding;
use upkeep::check::{self as rules, LicensedBy};
use upkeep::date::CivilDate;
use upkeep::id::ProductId;
use upkeep::jws;
use upkeep::key::{self, PublicKey};
use upkeep::version::Version;

use crate::error::{ClientError, NotActivated};
use crate::store::{LicenseStore, State};
use crate::{clock, lease, random};

pub use upkeep::check::Verdict;

/// The running build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The product; `None` takes the license's word for it.
    pub product: Option<ProductId>,
    /// The version.
    pub version: Version,
    /// The build's civil date in the vendor's calendar.
    pub date: CivilDate,
}

/// Why the build may not run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The license does not cover this build or this device.
    #[error("{0}")]
    Refused(#[from] rules::Refusal),
    /// The vendor has retired or revoked the key that signed the license.
    #[error("the vendor has withdrawn the key that signed this license")]
    IssuingKey,
    /// The key that signed the license is not known here.
    #[error("no key that is known here signed this license")]
    UnknownKey,
    /// The device key does not answer for itself.
    #[error("the device key in the license store does not work")]
    DeviceKey,
    /// The lease has ended.
    #[error("the lease of this license has ended")]
    LeaseEnded,
    /// The clock stands before a time that was already seen.
    #[error("this machine's clock was set back, and this license is a lease")]
    ClockSetBack,
}

impl CheckError {
    /// What to do next, in one sentence.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Refused(rules::Refusal::NewerThanMaintenance { .. }) => {
                "renew the maintenance and run `upkeep refresh`, or install an older build"
            }
            Self::Refused(rules::Refusal::NoMaintenance) => {
                "install the version that was activated, or buy maintenance and run `upkeep refresh`"
            }
            Self::Refused(_) => "run `upkeep status` and compare it with what is installed",
            Self::IssuingKey | Self::UnknownKey => {
                "run `upkeep refresh` while the server can be reached; an upgrade code file is to be had again from where it came"
            }
            Self::DeviceKey => "restore the license store from a backup, or activate again",
            Self::LeaseEnded => "run `upkeep refresh` while the server can be reached",
            Self::ClockSetBack => {
                "set the clock; if it once stood in the future, run `upkeep refresh` while the server can be reached"
            }
        }
    }
}

/// Decides whether `build` may run here.
///
/// While an activation or an upgrade is unfinished, what was in force before it counts. A held ticket stops the product (DOMAIN E-10).
///
/// # Errors
/// [`ClientError::NotActivated`], also when a TPM's key has ended; [`ClientError::Check`]; [`ClientError::Tpm`] when the chip can't be
/// asked.
pub fn check(store: &LicenseStore, build: &Build) -> Result<Verdict, ClientError> {
    let software = store.software(None);
    let (licensed_by, licensed_product, device) = match in_force(store.state()) {
        State::Active(held) => (
            held.verified().map(LicensedBy::Activation),
            &held.claims().product,
            held.device(),
        ),
        State::Upgraded(file) => (
            file.verified().map(LicensedBy::Upgrade),
            &file.claims().product,
            &software,
        ),
        State::Releasing(_) => return Err(ClientError::NotActivated(NotActivated::Releasing)),
        State::Deactivated(_) => {
            return Err(ClientError::NotActivated(NotActivated::Deactivated));
        }
        State::Empty | State::Activating(_) | State::Redeeming(_) => {
            return Err(ClientError::NotActivated(NotActivated::Never));
        }
    };
    let licensed_by = licensed_by.ok_or(CheckError::UnknownKey)?;
    let (kid, issued_at) = match licensed_by {
        LicensedBy::Activation(certificate) => (certificate.kid(), certificate.claims().iat),
        LicensedBy::Upgrade(code) => (code.kid(), code.claims().iat),
    };
    if store.keys().check_standing(&kid, issued_at).is_err() {
        return Err(CheckError::IssuingKey.into());
    }
    let asked = binding::b("start-up", &[&random::bytes::<32>()?]);
    let answer = device.sign_digest(store.tpm(), &asked)?;
    if !device.public_key().verify_digest(&asked, &answer) {
        return Err(CheckError::DeviceKey.into());
    }
    let running = rules::Build {
        product: build.product.as_ref().unwrap_or(licensed_product),
        version: &build.version,
        date: build.date,
    };
    let found = rules::Device::Key(device.thumbprint());
    let verdict = rules::check(licensed_by, found, running).map_err(CheckError::Refused)?;
    if let LicensedBy::Activation(certificate) = licensed_by {
        let judged = lease::judge(certificate.claims(), store.clock_mark(), clock::now_secs());
        if let Some(mark) = judged.mark {
            store.keep_clock_mark(mark);
        }
        judged.verdict?;
    }
    Ok(verdict)
}

/// What a release manifest says about its build: product, version, date.
///
/// * `manifest` - bare or armoured, untrusted.
/// * `build_key` - the vendor's build key, compiled into the product.
///
/// # Errors
/// [`ClientError::Artefact`].
pub fn build_of_manifest(
    manifest: &str,
    build_key: &PublicKey,
) -> Result<(ProductId, Version, CivilDate), ClientError> {
    let text = armor::read_either::<ReleaseManifest>(manifest)
        .map_err(|error| ClientError::artefact(MANIFEST, error))?;
    let name = build_key.thumbprint();
    let find = |kid: &_| (*kid == name).then(|| build_key.clone());
    let said = jws::verify::<ReleaseManifest>(&text, find, key::verify)
        .map_err(|error| ClientError::artefact(MANIFEST, error))?
        .into_claims();
    Ok((said.product, said.version, said.build_date))
}

/// What counts while a request is unfinished: what was in force before it.
fn in_force(state: &State) -> &State {
    match state {
        State::Activating(pending) => pending.before(),
        State::Redeeming(pending) => pending.before(),
        State::Empty
        | State::Active(_)
        | State::Upgraded(_)
        | State::Releasing(_)
        | State::Deactivated(_) => state,
    }
}

const MANIFEST: &str = "the release manifest";
