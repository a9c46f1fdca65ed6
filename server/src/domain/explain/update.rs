//! Updates, proofs of deactivation, and hardware keys.

use super::{count, either, listed};
use crate::domain::programme::policy::{GroupBilling, UpdateField};
use crate::domain::programme::{CredentialKind, Programme, Protection, SmaCheck, VmRule};

pub(super) fn updates(programme: &Programme) -> Vec<String> {
    let update = programme.update();
    let field = |field: &UpdateField| match field {
        UpdateField::Email => "the mail address for the code",
        UpdateField::Serial => "the serial number",
        UpdateField::VirtualEnvironment => "whether it will run in a virtual machine",
        UpdateField::LicenseType => "the wanted license type",
    };
    let mut found = Vec::new();
    if !update.fields.is_empty() {
        found.push(format!(
            "A request for an update says {}.",
            listed(update.fields.iter().map(field))
        ));
    }
    for rule in &update.credentials {
        let serials = match rule.serial_prefix.as_str() {
            "" => "Every other serial number".to_owned(),
            prefix => format!("A serial number that starts with {prefix}"),
        };
        let kind = |kind: &CredentialKind| match kind {
            CredentialKind::Password => "the password",
            CredentialKind::ActivationCode => "the activation code",
            CredentialKind::ProductCode => "the product code",
            CredentialKind::DongleNumber => "the number of its hardware key",
        };
        found.push(format!(
            "{serials} goes with {}.",
            either(rule.any_of.iter().map(kind))
        ));
    }
    found.push(
        match update.sma_checked_at {
            SmaCheck::Issue => "Maintenance must be in force when the code is issued.",
            SmaCheck::Submit => "Maintenance must be in force when the update is requested.",
        }
        .to_owned(),
    );
    found.push(
        match update.vm {
            VmRule::Allow => "An update for a virtual machine is like any other.",
            VmRule::Refer => "An update for a virtual machine is decided by a person.",
            VmRule::Deny => "An update for a virtual machine is refused.",
        }
        .to_owned(),
    );
    found.push(format!(
        "A request, or a code that nobody redeems, lives {}.",
        count(update.request_days, "day")
    ));
    found
}

pub(super) fn proofs(programme: &Programme) -> Vec<String> {
    let class = |class: &Protection| match class {
        Protection::SoftwareKey => "software keys",
        Protection::HardwareKey => "hardware keys",
    };
    let needs = &programme.update().proof_for;
    let mut found = vec![match needs.as_slice() {
        [] => "An update needs no proof that the old license was deactivated.".to_owned(),
        needs => format!(
            "For {}, the old license is deactivated and the proof recorded before the code is issued.",
            listed(needs.iter().map(class))
        ),
    }];
    found.push(format!(
        "A deactivation ticket waits {} for its proof.",
        count(programme.ticket_days(), "day")
    ));
    found.push(match programme.overlap_days() {
        0 => "The old machine stops before the new one starts.".to_owned(),
        days => format!(
            "The old machine may run beside the new one for {}.",
            count(days, "day")
        ),
    });
    found.push(format!(
        "A license has at most {} without proof in any 365 days.",
        count(programme.waivers_per_365_days(), "return")
    ));
    found
}

pub(super) fn dongles(programme: &Programme) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(group) = programme.group() {
        found.push(
            "All licenses on one hardware key end on the same day: the latest of their dates."
                .to_owned(),
        );
        found.push(match group.billing {
            GroupBilling::WholeMonthsUp => "Each license that ends before it pays the smallest number of whole months that reaches it, a twelfth of its yearly price each.",
            GroupBilling::Days => "Each license that ends before it pays full years, and the days of the last one by their share.",
        }.to_owned());
        if group.renew_all {
            found.push("A renewal is bought for every license on the key at once.".to_owned());
        }
    }
    if programme.unlock().is_some() {
        found.push("An unlock code moves the date in the key forward. It works once, for one key, and never shortens.".to_owned());
    }
    found
}
