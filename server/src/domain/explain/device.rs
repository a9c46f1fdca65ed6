//! Devices: what they have to be, how long their certificates hold, and virtual machines.

use upkeep::level::AssuranceLevel;

use super::count;
use crate::domain::programme::policy::SoldOption;
use crate::domain::programme::{OnContradiction, Programme};

pub(super) fn devices(programme: &Programme) -> Vec<String> {
    let mut found = vec![format!(
        "A seat is taken by {}, and returned by proof of {}.",
        device_key(programme.min_activation_level()),
        device_key(programme.min_proof_level())
    )];
    for rule in &programme.assurance().options {
        let sold = match &rule.sold {
            SoldOption::Edition(edition) => format!("of the edition {edition}"),
            SoldOption::AddOn(add_on) => format!("with the add-on {add_on}"),
            SoldOption::LicenseType(kind) => format!("of the type {kind}"),
        };
        found.push(format!(
            "A license {sold} needs {}.",
            device_key(rule.min_level)
        ));
    }
    found.extend(match programme.lease_days() {
        0 => vec![
            "A certificate has no end.".to_owned(),
            format!(
                "Each seat is returned at most {} in any 365 days, those of TPM chips apart: a restored disk could go on using what \
                 was returned.",
                times(programme.returns_per_365_days())
            ),
        ],
        days => vec![
            format!(
                "A certificate holds for {} and is renewed online or by file; that of a TPM chip has no end.",
                count(days, "day")
            ),
            "A seat that was returned, lost or withdrawn is free when its certificate has ended; its own device may have it back before."
                .to_owned(),
        ],
    });
    found.push(
        match programme.on_vm_contradiction() {
            OnContradiction::Refuse => {
                "A device that declares a physical machine, and shows signs of a virtual one, gets no seat."
            }
            OnContradiction::Flag => {
                "A device that declares a physical machine, and shows signs of a virtual one, gets its seat and a note for staff."
            }
        }
        .to_owned(),
    );
    found
}

fn device_key(least: AssuranceLevel) -> &'static str {
    match least {
        AssuranceLevel::Hardware => "a key in a TPM chip",
        AssuranceLevel::CloudVtpm => "a key in a TPM chip or a cloud provider's TPM",
        AssuranceLevel::Dongle => "a key in a TPM chip, a cloud provider's TPM or a dongle",
        _ => "any device key",
    }
}

fn times(number: u32) -> String {
    match number {
        1 => "once".to_owned(),
        number => format!("{number} times"),
    }
}
