//! The check that an installed product makes at every start: may this build run on this device?
//!
//! Pure and total: no clock, no network, no store (N-06). It takes verified artefacts only. The caller shows, before, that the device
//! answers for its key: the product signs a random challenge with it. It does not look at a lease's end; [`Verdict::lease_ends_at`]
//! hands that to the caller, who has a clock.

use crate::artefact::{ActivationCertificate, BoundTo, UpgradeCode};
use crate::date::CivilDate;
use crate::id::{DongleNumber, ProductId};
use crate::jws::Verified;
use crate::key::Thumbprint;
use crate::version::Version;

/// The artefact that licenses the product here.
#[derive(Clone, Copy, Debug)]
pub enum LicensedBy<'a> {
    /// An activation certificate.
    Activation(&'a Verified<ActivationCertificate>),
    /// An upgrade code in its file form.
    Upgrade(&'a Verified<UpgradeCode>),
}

/// What was found on this machine.
#[derive(Clone, Copy, Debug)]
pub enum Device<'a> {
    /// A device key that answered a challenge.
    Key(Thumbprint),
    /// A dongle that answered a challenge.
    Dongle(&'a DongleNumber),
}

/// The running build, as its release manifest or its own constants say.
#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    /// The product.
    pub product: &'a ProductId,
    /// The version.
    pub version: &'a Version,
    /// The build's civil date in the vendor's calendar.
    pub date: CivilDate,
}

/// The build may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// When the lease ends, in seconds since 1970; `None` is perpetual. The caller compares it with its clock.
    pub lease_ends_at: Option<u64>,
}

/// Decides whether `build` may run on `device` (N-06): its date lies on or before the last day of maintenance ever bought.
///
/// A license that never had maintenance runs the version that was activated and no other. An upgrade code also needs its own
/// target release to be covered.
///
/// # Errors
/// [`Refusal`], the first that applies: device, product, dates.
///
/// Source: N-06, S-21.
pub fn check(
    licensed_by: LicensedBy<'_>,
    device: Device<'_>,
    build: Build<'_>,
) -> Result<Verdict, Refusal> {
    match licensed_by {
        LicensedBy::Activation(certificate) => {
            check_activation(certificate.claims(), device, build)
        }
        LicensedBy::Upgrade(code) => check_upgrade(code.claims(), device, build),
    }
}

/// Why the build may not run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The license is for another device or dongle.
    #[error("this license is for another device: activate the product here, or plug in its dongle")]
    OtherDevice,
    /// The license is for another product.
    #[error("this license is for another product")]
    OtherProduct,
    /// The build is newer than the maintenance.
    #[error(
        "this build of {build_date} is newer than the maintenance, which covers builds up to {last_day}: renew it, or install an older build"
    )]
    NewerThanMaintenance {
        /// The build's date.
        build_date: CivilDate,
        /// The last covered day.
        last_day: CivilDate,
    },
    /// There never was maintenance, and this is not the activated version.
    #[error("this license has no maintenance: it runs the version that was activated and no other")]
    NoMaintenance,
    /// The upgrade code's own target is newer than the maintenance: the vendor issued it wrongly.
    #[error(
        "the upgrade code is for a build of {build_date}, but its maintenance ends on {last_day}: ask the vendor for another code"
    )]
    TargetNotCovered {
        /// The target's build date.
        build_date: CivilDate,
        /// The last covered day.
        last_day: CivilDate,
    },
}

fn check_activation(
    certificate: &ActivationCertificate,
    device: Device<'_>,
    build: Build<'_>,
) -> Result<Verdict, Refusal> {
    let here = match device {
        Device::Key(jkt) => certificate.cnf.jkt == jkt,
        Device::Dongle(number) => certificate.dongle_number.as_ref() == Some(number),
    };
    if !here {
        return Err(Refusal::OtherDevice);
    }
    if certificate.product != *build.product {
        return Err(Refusal::OtherProduct);
    }
    match certificate.maintenance_last_day {
        Some(last_day) => covered(build.date, last_day)?,
        None if certificate.version == *build.version => {}
        None => return Err(Refusal::NoMaintenance),
    }
    Ok(Verdict {
        lease_ends_at: certificate.exp,
    })
}

fn check_upgrade(
    code: &UpgradeCode,
    device: Device<'_>,
    build: Build<'_>,
) -> Result<Verdict, Refusal> {
    let here = match (&code.bound_to, device) {
        (BoundTo::DeviceKey(jkt), Device::Key(found)) => *jkt == found,
        (BoundTo::Dongle(number), Device::Dongle(found)) => number == found,
        (BoundTo::DeviceKey(_), Device::Dongle(_)) | (BoundTo::Dongle(_), Device::Key(_)) => false,
    };
    if !here {
        return Err(Refusal::OtherDevice);
    }
    if code.product != *build.product {
        return Err(Refusal::OtherProduct);
    }
    if code.target_build_date > code.maintenance_last_day {
        return Err(Refusal::TargetNotCovered {
            build_date: code.target_build_date,
            last_day: code.maintenance_last_day,
        });
    }
    covered(build.date, code.maintenance_last_day)?;
    Ok(Verdict {
        lease_ends_at: None,
    })
}

/// N-06: the last day itself is covered (N-02).
fn covered(build_date: CivilDate, last_day: CivilDate) -> Result<(), Refusal> {
    if build_date <= last_day {
        Ok(())
    } else {
        Err(Refusal::NewerThanMaintenance {
            build_date,
            last_day,
        })
    }
}
