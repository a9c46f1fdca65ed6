//! Domain to wire.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use upkeep::date::Term;
use upkeep::level::{AssuranceLevel, ProofGrade};
use upkeep::rpc::v1;

use super::maintenance::present as contract;
use crate::domain::activation::Activation;
use crate::domain::catalogue::{Product, Release};
use crate::domain::license::{Carrier, License, VirtualEnvironment, VmPermission};
use crate::domain::machine::{
    ActivationState, DeactivationState, LicenseState, Role, UpgradeState,
};
use crate::domain::mail::{Mail, MailState};
use crate::domain::maintenance;
use crate::domain::upgrade::Upgrade;
use crate::flow::party::{Opened, OpenedPartner};
use crate::flow::update_request::email_field;
use crate::flow::upgrade_code::Issued;
use crate::flow::{Caller, Deps, Outcome, tpm};
use crate::record::event::Event;

pub(super) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp::from(SystemTime::from(at))
}

/// A license as it stands now, whenever it was loaded.
pub(super) fn license(deps: &Deps, license: &License) -> Result<v1::License, Outcome> {
    let license = &deps.as_of(license.clone(), deps.clock.now())?;
    Ok(v1::License {
        serial: license.serial.to_string(),
        generation: license.generation,
        state: license_state(license.state).into(),
        product_id: license.product.to_string(),
        customer_id: license.customer.to_string(),
        partner_id: license
            .partner
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        protection: match license.carrier {
            Carrier::SoftwareKey => v1::Protection::SoftwareKey,
            Carrier::HardwareKey(_) => v1::Protection::HardwareKey,
        }
        .into(),
        dongle_number: match &license.carrier {
            Carrier::SoftwareKey => String::new(),
            Carrier::HardwareKey(number) => number.to_string(),
        },
        license_type: license.license_type.to_string(),
        edition: license.edition.to_string(),
        add_ons: license.add_ons.iter().map(ToString::to_string).collect(),
        seats: license.seats,
        seats_taken: license.usage.seats_taken,
        virtual_environment_allowed: license.vm == VmPermission::Allowed,
        purchase_date: license.purchased_on.to_string(),
        maintenance: Some(maintenance_status(deps, license)?),
        terms: contract::terms(license),
        update_request_id: license
            .open_upgrade
            .map(|id| id.to_string())
            .unwrap_or_default(),
        create_time: Some(timestamp(license.created_at)),
        license_kind: license.kind.to_string(),
        tier_id: license
            .contract
            .tier
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        modules: contract::modules(&license.modules),
        paid: license.paid.map(contract::money),
        programme_id: license.programme.to_string(),
        programme_revision: license.programme_rev,
        external_id: license
            .imported
            .as_ref()
            .and_then(|imported| imported.external.as_ref())
            .map(ToString::to_string)
            .unwrap_or_default(),
    })
}

/// A term; `derived` where it follows from automatic extension and is not on record.
pub(super) fn term(term: &Term, derived: bool) -> v1::MaintenanceTerm {
    v1::MaintenanceTerm {
        first_date: term.first().to_string(),
        last_date: term.last().to_string(),
        derived,
    }
}

pub(super) fn licenses(deps: &Deps, found: &[License]) -> Result<Vec<v1::License>, Outcome> {
    found.iter().map(|found| license(deps, found)).collect()
}

/// Flag and date (S-12).
pub(super) fn maintenance_status(
    deps: &Deps,
    license: &License,
) -> Result<v1::MaintenanceStatus, Outcome> {
    let license = &deps.as_of(license.clone(), deps.clock.now())?;
    let today = deps.today(license, deps.clock.now())?;
    let flag = maintenance::flag(deps.programme(license)?, &license.terms, today);
    let last_date = maintenance::last_day(&license.terms)
        .map(|day| day.to_string())
        .unwrap_or_default();
    Ok(v1::MaintenanceStatus {
        flag: contract::flag(flag).into(),
        last_date,
    })
}

/// An activation for the vendor's staff: with what speaks against it.
pub(super) fn activation_for_staff(
    deps: &Deps,
    activation: &Activation,
    license: &License,
) -> Result<v1::Activation, Outcome> {
    Ok(v1::Activation {
        virtual_environment_contradiction: activation.vm_contradiction.clone().unwrap_or_default(),
        frozen_reason: tpm::frozen_reason(deps, activation)?.unwrap_or_default(),
        ..self::activation(activation, license)
    })
}

/// An activation for everybody else: whoever gives evidence does not learn what is made of it.
pub(super) fn activation(activation: &Activation, license: &License) -> v1::Activation {
    v1::Activation {
        activation_id: activation.id.to_string(),
        serial: activation.serial.to_string(),
        generation: activation.generation,
        state: activation_state(activation.state).into(),
        device_thumbprint: activation.device.to_string(),
        assurance: assurance(activation.level).into(),
        version: activation.version.to_string(),
        virtual_environment: virtual_environment(activation.vm).into(),
        create_time: Some(timestamp(activation.created_at)),
        deactivation: deactivation(activation, license),
        virtual_environment_contradiction: String::new(),
        lease_expire_time: activation.lease_end.map(timestamp),
        frozen_reason: String::new(),
    }
}

fn deactivation(activation: &Activation, license: &License) -> Option<v1::Deactivation> {
    let begun = activation.deactivation.as_ref()?;
    let state = activation.deactivation_state(license)?;
    let end = begun.outcome.as_ref();
    Some(v1::Deactivation {
        state: deactivation_state(state).into(),
        ticket_expire_time: Some(timestamp(begun.ticket_expires_at)),
        grade: end
            .map_or(v1::ProofGrade::Unspecified, |end| grade(end.grade))
            .into(),
        record_time: end.map(|end| timestamp(end.recorded_at)),
        reason: end.and_then(|end| end.reason.clone()).unwrap_or_default(),
    })
}

/// The e-mail address is personal: support and admin see it, others don't.
pub(super) fn update_request(
    deps: &Deps,
    caller: &Caller,
    upgrade: &Upgrade,
    license: &License,
) -> v1::UpdateRequest {
    let email = match caller.role {
        Role::Support | Role::Admin => deps
            .personal
            .open(
                &license.customer,
                &email_field(&upgrade.id),
                &upgrade.wish.email,
            )
            .unwrap_or_default(),
        Role::EndUser | Role::Partner | Role::System => String::new(),
    };
    let of_this_generation = upgrade.generation == license.generation;
    v1::UpdateRequest {
        update_request_id: upgrade.id.to_string(),
        serial: upgrade.serial.to_string(),
        generation: upgrade.generation,
        state: update_request_state(upgrade.state).into(),
        details: Some(v1::UpdateRequestDetails {
            email,
            virtual_environment: virtual_environment(upgrade.wish.vm).into(),
            license_type: upgrade.wish.license_type.to_string(),
            target_version: upgrade
                .wish
                .target
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            device_thumbprint: upgrade
                .wish
                .device
                .map(|device| device.to_string())
                .unwrap_or_default(),
        }),
        target_version: upgrade.target.to_string(),
        next_step: upgrade.next_step(license),
        create_time: Some(timestamp(upgrade.created_at)),
        expire_time: Some(timestamp(upgrade.expires_at)),
        seats_to_deactivate: if of_this_generation {
            license.usage.seats_taken
        } else {
            0
        },
    }
}

pub(super) fn upgrade_code(issued: Issued) -> v1::UpgradeCode {
    v1::UpgradeCode {
        update_request_id: issued.id.to_string(),
        code: issued.code.to_string(),
        file: issued.file.unwrap_or_default(),
        target_version: issued.target.to_string(),
        expire_time: Some(timestamp(issued.expires_at)),
    }
}

pub(super) fn product(product: &Product) -> v1::Product {
    v1::Product {
        product_id: product.id.to_string(),
        display_name: product.display_name.clone(),
        programme_id: product.programme.to_string(),
        build_key_spki: product
            .build_key
            .as_ref()
            .map(|key| key.to_spki_der())
            .unwrap_or_default(),
        create_time: Some(timestamp(product.created_at)),
    }
}

pub(super) fn release(release: &Release) -> v1::Release {
    v1::Release {
        product_id: release.product.to_string(),
        version: release.version.to_string(),
        build_date: release.build_date.to_string(),
        create_time: Some(timestamp(release.created_at)),
    }
}

pub(super) fn customer(opened: Opened) -> v1::Customer {
    v1::Customer {
        customer_id: opened.customer.id.to_string(),
        display_name: opened.display_name,
        email: opened.email,
        partner_id: opened
            .customer
            .partner
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        create_time: Some(timestamp(opened.customer.created_at)),
        language: opened.customer.contact.language,
        region_id: opened
            .customer
            .contact
            .region
            .map(|region| region.to_string())
            .unwrap_or_default(),
    }
}

pub(super) fn partner(opened: OpenedPartner) -> v1::Partner {
    let OpenedPartner { partner, email } = opened;
    v1::Partner {
        partner_id: partner.id.to_string(),
        display_name: partner.display_name,
        create_time: Some(timestamp(partner.created_at)),
        email,
        language: partner.contact.language,
        region_id: partner
            .contact
            .region
            .map(|region| region.to_string())
            .unwrap_or_default(),
    }
}

pub(super) fn mail(mail: &Mail) -> v1::Mail {
    v1::Mail {
        mail_id: mail.id.to_string(),
        kind: mail.kind.template().to_string(),
        recipient: mail.to.to_string(),
        state: match mail.state {
            MailState::Pending => v1::MailState::Pending,
            MailState::Sent => v1::MailState::Sent,
            MailState::Dead => v1::MailState::Dead,
            MailState::Cancelled => v1::MailState::Cancelled,
        }
        .into(),
        serial: mail
            .kind
            .serial()
            .map(ToString::to_string)
            .unwrap_or_default(),
        attempts: mail.attempts,
        next_attempt_time: mail.next_attempt_at.map(timestamp),
        last_error: mail.last_error.clone(),
        create_time: Some(timestamp(mail.created_at)),
        settle_time: mail.settled_at.map(timestamp),
    }
}

pub(super) fn history_entry(sequence: u64, event: Event) -> v1::HistoryEntry {
    v1::HistoryEntry {
        sequence,
        time: DateTime::from_timestamp_micros(event.at).map(timestamp),
        actor: event.actor,
        action: event.action,
        outcome: event.outcome,
        serial: event.serial,
        subject: event.subject,
        reason: event.reason,
    }
}

pub(super) fn license_state(state: LicenseState) -> v1::LicenseState {
    match state {
        LicenseState::Ordered => v1::LicenseState::Ordered,
        LicenseState::Issued => v1::LicenseState::Issued,
        LicenseState::Suspended => v1::LicenseState::Suspended,
        LicenseState::Superseded => v1::LicenseState::Superseded,
        LicenseState::Revoked => v1::LicenseState::Revoked,
    }
}

fn activation_state(state: ActivationState) -> v1::ActivationState {
    match state {
        // Enrollments are records of their own: no activation is ever stored in these two.
        ActivationState::Challenged | ActivationState::Abandoned => {
            v1::ActivationState::Unspecified
        }
        ActivationState::Active => v1::ActivationState::Active,
        ActivationState::Releasing => v1::ActivationState::Releasing,
        ActivationState::Deactivated => v1::ActivationState::Deactivated,
        ActivationState::Lost => v1::ActivationState::Lost,
        ActivationState::Revoked => v1::ActivationState::Revoked,
    }
}

fn deactivation_state(state: DeactivationState) -> v1::DeactivationState {
    match state {
        DeactivationState::TicketIssued => v1::DeactivationState::TicketIssued,
        DeactivationState::Recorded => v1::DeactivationState::Recorded,
        DeactivationState::Expired => v1::DeactivationState::Expired,
        DeactivationState::Waived => v1::DeactivationState::Waived,
        DeactivationState::Consumed => v1::DeactivationState::Consumed,
    }
}

fn update_request_state(state: UpgradeState) -> v1::UpdateRequestState {
    match state {
        // A submitted request moves on in the transaction that submits it.
        UpgradeState::Submitted => v1::UpdateRequestState::Unspecified,
        UpgradeState::Referred => v1::UpdateRequestState::Referred,
        UpgradeState::AwaitingDeactivation => v1::UpdateRequestState::AwaitingDeactivation,
        UpgradeState::Approved => v1::UpdateRequestState::Approved,
        UpgradeState::Rejected => v1::UpdateRequestState::Rejected,
        UpgradeState::CodeIssued => v1::UpdateRequestState::CodeIssued,
        UpgradeState::Redeemed => v1::UpdateRequestState::Redeemed,
        UpgradeState::Withdrawn => v1::UpdateRequestState::Withdrawn,
        UpgradeState::Expired => v1::UpdateRequestState::Expired,
    }
}

pub(super) fn assurance(level: AssuranceLevel) -> v1::AssuranceLevel {
    match level {
        AssuranceLevel::Software => v1::AssuranceLevel::Software,
        AssuranceLevel::Dongle => v1::AssuranceLevel::Dongle,
        AssuranceLevel::CloudVtpm => v1::AssuranceLevel::CloudVtpm,
        AssuranceLevel::Hardware => v1::AssuranceLevel::Hardware,
        _ => v1::AssuranceLevel::Unspecified,
    }
}

fn grade(grade: ProofGrade) -> v1::ProofGrade {
    match grade {
        ProofGrade::Waived => v1::ProofGrade::Waived,
        ProofGrade::Software => v1::ProofGrade::Software,
        ProofGrade::Dongle => v1::ProofGrade::Dongle,
        ProofGrade::CloudVtpm => v1::ProofGrade::CloudVtpm,
        ProofGrade::Hardware => v1::ProofGrade::Hardware,
        _ => v1::ProofGrade::Unspecified,
    }
}

pub(super) fn virtual_environment(vm: VirtualEnvironment) -> v1::VirtualEnvironment {
    match vm {
        VirtualEnvironment::No => v1::VirtualEnvironment::No,
        VirtualEnvironment::Yes => v1::VirtualEnvironment::Yes,
    }
}
