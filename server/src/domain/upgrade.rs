//! Update requests and their upgrade codes (T-13 to T-31, N-13).

use chrono::{DateTime, Utc};
use upkeep::date::CivilDate;
use upkeep::id::{LicenseType, UpgradeId};
use upkeep::key::Thumbprint;
use upkeep::level::AssuranceLevel;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use crate::domain::assurance;
use crate::domain::catalogue::{Release, newest};
use crate::domain::license::{Carrier, License, Seal, VirtualEnvironment, VmPermission};
use crate::domain::machine::{LicenseState, Role, UpgradeEvent, UpgradeState, step};
use crate::domain::maintenance::access::{self, Holding};
use crate::domain::programme::{Programme, SmaCheck};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::upgrade_check::{self, Case, Next, Returns};

/// A request to update a license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    pub(crate) id: UpgradeId,
    pub(crate) serial: SerialNumber,
    /// The generation that is to be replaced.
    pub(crate) generation: u32,
    pub(crate) state: UpgradeState,
    pub(crate) wish: Wish,
    pub(crate) target: Version,
    pub(crate) target_build_date: CivilDate,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    /// Counts the codes issued: a reissue makes the older ones stop working.
    pub(crate) code_number: u32,
    /// The signing input of the file form.
    pub(crate) file: Option<String>,
}

/// What the customer wants (T-22 to T-30).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Sealed under the customer's key (T-23).
    pub(crate) email: Vec<u8>,
    pub(crate) vm: VirtualEnvironment,
    pub(crate) license_type: LicenseType,
    pub(crate) target: Option<Version>,
    pub(crate) device: Option<Thumbprint>,
}

/// Checks a new request in the order of N-13 (fields and credential are checked before) and gives its first state.
///
/// # Errors
/// The license's state, CODE_ALREADY_ISSUED while another request is open, SMA_EXPIRED, VM_NOT_ALLOWED, NO_RELEASE_COVERED,
/// BUILD_NOT_COVERED, RELEASE_UNKNOWN.
pub fn submit(
    license: &License,
    programme: &Programme,
    wish: &Wish,
    releases: &[Release],
    today: CivilDate,
) -> Result<(UpgradeState, Release), Refusal> {
    check_issued(license)?;
    let next = upgrade_check::decide(programme, &case(license, wish, today))?;
    let target = choose_target(license, programme, wish, releases, today)?;
    let submitted = UpgradeState::Submitted;
    let state = match next {
        Next::ReferToVendor => step(submitted, UpgradeEvent::Refer, Role::System)?,
        // A code that lacks a proof is refused when it is asked for, with the reason why.
        Next::DeactivateFirst | Next::IssueCode => after_referral(submitted, license)?,
    };
    Ok((state, target))
}

/// What the check of N-13 looks at.
fn case<'a>(license: &'a License, wish: &Wish, today: CivilDate) -> Case<'a> {
    Case {
        holding: Holding::of(license, today),
        environment: wish.vm,
        permission: license.vm,
        protection: license.carrier.protection(),
        returns: Returns::of(license),
    }
}

/// The state of a submitted request that needs no (more) decision: wait for the old license's return, or go on.
///
/// # Errors
/// What the machine answers.
pub fn after_referral(submitted: UpgradeState, license: &License) -> Result<UpgradeState, Refusal> {
    let event = if needs_return(license) {
        UpgradeEvent::NeedProof
    } else {
        UpgradeEvent::Pass
    };
    Ok(step(submitted, event, Role::System)?)
}

/// Whether the old license must still be returned (T-17): a seat is taken. A license that was never activated has nothing to
/// return; neither has one on a hardware key that never attested itself.
pub fn needs_return(license: &License) -> bool {
    license.usage.seats_taken > 0
}

/// Whether a code would be paid for by a recorded or waived return, where the programme asks for one. A license that was never
/// activated owes none.
pub fn is_paid_for(license: &License, programme: &Programme) -> bool {
    let proof_due =
        programme.needs_proof(license.carrier.protection()) && license.usage.activations > 0;
    !proof_due || license.usage.unconsumed_returns > 0
}

/// Checks everything again and consumes the returns: at most one code per return (I6, I7). The caller signs afterwards.
///
/// # Errors
/// What the machine answers for the role and state, then the license's state, SMA_EXPIRED (T-15, A-09), SEAT_IN_USE,
/// PROOF_REQUIRED, PROOF_ALREADY_USED.
pub fn issue(
    upgrade: &mut Upgrade,
    license: &mut License,
    programme: &Programme,
    role: Role,
    today: CivilDate,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    upgrade.state = step(upgrade.state, UpgradeEvent::IssueCode, role)?;
    check_issued(license)?;
    check_cover_at_issue(license, programme, today)?;
    access::run(
        programme,
        &Holding::of(license, today),
        upgrade.target_build_date,
    )?;
    if needs_return(license) {
        return Err(Refusal::new(Reason::SeatInUse).with("seats_taken", license.usage.seats_taken));
    }
    if !is_paid_for(license, programme) {
        let consumed_before = license.usage.return_epoch > 0;
        return Err(if consumed_before {
            Reason::ProofAlreadyUsed
        } else {
            Reason::ProofRequired
        }
        .into());
    }
    license.usage.unconsumed_returns = 0;
    license.usage.return_epoch = license.usage.return_epoch.saturating_add(1);
    upgrade.code_number = 1;
    upgrade.expires_at = code_end(programme, now);
    seal(upgrade, license, programme);
    Ok(())
}

/// Replaces the code that is out.
///
/// # Errors
/// What the machine answers; the license's state; SMA_EXPIRED: a new code is a new issue (T-15, A-09).
pub fn reissue(
    upgrade: &mut Upgrade,
    license: &mut License,
    programme: &Programme,
    role: Role,
    today: CivilDate,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    upgrade.state = step(upgrade.state, UpgradeEvent::ReissueCode, role)?;
    check_issued(license)?;
    check_cover_at_issue(license, programme, today)?;
    upgrade.code_number = upgrade.code_number.saturating_add(1);
    upgrade.expires_at = code_end(programme, now);
    seal(upgrade, license, programme);
    Ok(())
}

/// From here on the old generation can't be activated; for ever once the file form has left the server, because nothing calls
/// a file back.
fn seal(upgrade: &Upgrade, license: &mut License, programme: &Programme) {
    let until = if has_file_form(upgrade, license, programme) {
        None
    } else {
        Some(upgrade.expires_at)
    };
    let for_ever = license.seal.is_some_and(|seal| seal.until.is_none());
    license.seal = Some(Seal {
        upgrade: upgrade.id,
        until: if for_ever { None } else { until },
    });
}

/// Whether the code can be given as a file: it must be bound to a dongle, or to a device key that the request named, and the
/// programme must ask neither a lease nor more than that. A file is a license by itself, for a key that nobody has appraised.
pub fn has_file_form(upgrade: &Upgrade, license: &License, programme: &Programme) -> bool {
    let level = match license.carrier {
        Carrier::HardwareKey(_) => AssuranceLevel::Dongle,
        Carrier::SoftwareKey if upgrade.wish.device.is_some() => AssuranceLevel::Software,
        Carrier::SoftwareKey => return false,
    };
    assurance::files_are_enough(programme, license, level)
}

/// Marks the code used by `device`; none for a hardware key.
///
/// # Errors
/// CODE_ALREADY_REDEEMED and what else the machine answers; WRONG_DEVICE; VM_NOT_ALLOWED when the declaration differs from the
/// request's.
pub fn redeem(
    upgrade: &mut Upgrade,
    device: Option<&Thumbprint>,
    vm: VirtualEnvironment,
) -> Result<(), Refusal> {
    upgrade.state = step(upgrade.state, UpgradeEvent::Redeem, Role::EndUser)?;
    // A hardware key is no device: its code is bound to its number, whatever device the request named.
    if let (Some(bound), Some(shown)) = (&upgrade.wish.device, device)
        && bound != shown
    {
        return Err(Reason::WrongDevice.into());
    }
    if vm == VirtualEnvironment::Yes && upgrade.wish.vm == VirtualEnvironment::No {
        return Err(Refusal::new(Reason::VmNotAllowed).detail(
            "the update request said that the software would not run in a virtual machine",
        ));
    }
    Ok(())
}

impl Upgrade {
    /// The request as it stands at `now`.
    pub(crate) fn at(mut self, now: DateTime<Utc>) -> Self {
        if now >= self.expires_at
            && let Ok(expired) = step(self.state, UpgradeEvent::Timeout, Role::System)
        {
            self.state = expired;
        }
        self
    }

    /// The permission that the new generation gets.
    pub(crate) fn vm_permission(&self) -> VmPermission {
        match self.wish.vm {
            VirtualEnvironment::Yes => VmPermission::Allowed,
            VirtualEnvironment::No => VmPermission::NotAllowed,
        }
    }

    /// What has to happen next, for the person who reads the request.
    pub(crate) fn next_step(&self, license: &License) -> String {
        match self.state {
            UpgradeState::Submitted | UpgradeState::Approved => {
                "Ask your reseller or the vendor to generate the upgrade code.".to_owned()
            }
            UpgradeState::Referred => {
                "The vendor decides about the virtual environment; wait for its answer.".to_owned()
            }
            UpgradeState::AwaitingDeactivation if !needs_return(license) => {
                "The last seat was withdrawn, which is no proof: activate the old license once more and deactivate it, \
                 or ask the vendor's support."
                    .to_owned()
            }
            UpgradeState::AwaitingDeactivation => format!(
                "Deactivate the old license on every device ({} left), then have the code generated.",
                license.usage.seats_taken
            ),
            UpgradeState::CodeIssued => {
                "Redeem the upgrade code on the new installation.".to_owned()
            }
            UpgradeState::Redeemed => "Nothing: the license is upgraded.".to_owned(),
            UpgradeState::Rejected => {
                "The vendor refused it; contact the vendor's support.".to_owned()
            }
            UpgradeState::Withdrawn | UpgradeState::Expired => {
                "Make a new update request.".to_owned()
            }
        }
    }
}

/// A license that is stopped or withdrawn gets no update, and no code for one that was asked for before.
fn check_issued(license: &License) -> Result<(), Reason> {
    match license.state {
        LicenseState::Issued => Ok(()),
        LicenseState::Ordered => Err(Reason::LicenseNotIssued),
        LicenseState::Suspended => Err(Reason::LicenseSuspended),
        LicenseState::Superseded | LicenseState::Revoked => Err(Reason::LicenseFinal),
    }
}

/// A request was checked when it was made; whether it is checked again is the programme's.
fn check_cover_at_issue(
    license: &License,
    programme: &Programme,
    today: CivilDate,
) -> Result<(), Refusal> {
    match programme.sma_checked_at() {
        SmaCheck::Issue => access::update(programme, &Holding::of(license, today)),
        SmaCheck::Submit => Ok(()),
    }
}

/// A Free Edition takes any release, the newest where none is named (S-28).
fn choose_target(
    license: &License,
    programme: &Programme,
    wish: &Wish,
    releases: &[Release],
    today: CivilDate,
) -> Result<Release, Refusal> {
    let holding = Holding::of(license, today);
    let Some(wanted) = &wish.target else {
        return newest(releases, |release| {
            access::run(programme, &holding, release.build_date).is_ok()
        })
        .cloned()
        .ok_or_else(|| Reason::NoReleaseCovered.into());
    };
    let release = releases
        .iter()
        .find(|release| release.version == *wanted)
        .ok_or_else(|| Refusal::new(Reason::ReleaseUnknown).with("version", wanted.to_string()))?;
    access::run(programme, &holding, release.build_date)?;
    Ok(release.clone())
}

fn code_end(programme: &Programme, now: DateTime<Utc>) -> DateTime<Utc> {
    now.checked_add_signed(chrono::TimeDelta::days(i64::from(programme.request_days())))
        .unwrap_or(now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

    use upkeep::date::Term;
    use upkeep::id::{CustomerId, DongleNumber, Edition, LicenseKind, ProductId, ProgrammeId};

    use super::*;
    use crate::domain::license::{Contract, Placed, Usage};

    fn license(carrier: Carrier) -> License {
        let day = CivilDate::parse("2026-01-01").unwrap();
        License {
            serial: SerialNumber::parse("LS-1000").unwrap(),
            generation: 1,
            state: LicenseState::Issued,
            product: ProductId::parse("label").unwrap(),
            programme: ProgrammeId::parse("p").unwrap(),
            programme_rev: 1,
            customer: CustomerId::parse("c").unwrap(),
            partner: None,
            carrier,
            kind: LicenseKind::parse("perpetual").unwrap(),
            license_type: LicenseType::parse("single-user").unwrap(),
            edition: Edition::parse("standard").unwrap(),
            add_ons: Vec::new(),
            modules: Vec::new(),
            seats: 1,
            vm: VmPermission::NotAllowed,
            purchased_on: day,
            paid: None,
            terms: vec![Term::of_months(day, 12).unwrap()],
            terms_on_record: 1,
            contract: Contract::default(),
            placed: Placed::default(),
            password: None,
            usage: Usage::default(),
            open_upgrade: None,
            seal: None,
            imported: None,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    fn upgrade(device: Option<Thumbprint>) -> Upgrade {
        Upgrade {
            id: UpgradeId::parse("0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11").unwrap(),
            serial: SerialNumber::parse("LS-1000").unwrap(),
            generation: 1,
            state: UpgradeState::CodeIssued,
            wish: Wish {
                email: Vec::new(),
                vm: VirtualEnvironment::No,
                license_type: LicenseType::parse("single-user").unwrap(),
                target: None,
                device,
            },
            target: Version::parse("2").unwrap(),
            target_build_date: CivilDate::parse("2026-01-01").unwrap(),
            created_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH,
            code_number: 1,
            file: None,
        }
    }

    /// A file is a license without an end, so it is given only where such a license may be had on such a key.
    #[test]
    fn a_file_is_no_way_round_levels_and_leases() {
        let device = upkeep::key::SigningKey::from_seed(&[1; 32]).unwrap();
        let device = Some(device.public_key().thumbprint());
        let dongle = license(Carrier::HardwareKey(DongleNumber::parse("17").unwrap()));
        let software = license(Carrier::SoftwareKey);
        for (assurance, on_software, on_dongle) in [
            ("assurance.lease_days = 0", true, true),
            ("assurance.lease_days = 30", false, false),
            ("assurance.activate_min_level = \"dongle\"", false, true),
            ("assurance.activate_min_level = \"hardware\"", false, false),
        ] {
            let text = format!("programme = {{ id = \"p\", rev = 1, tz = \"UTC\" }}\n{assurance}");
            let programme = Programme::parse("p.toml", &text).unwrap();
            let given = has_file_form(&upgrade(device), &software, &programme);
            assert_eq!(given, on_software, "{assurance}");
            let given = has_file_form(&upgrade(None), &dongle, &programme);
            assert_eq!(given, on_dongle, "{assurance}");
            assert!(!has_file_form(&upgrade(None), &software, &programme));
        }
    }
}
