//! The TPM as `doctor` sees it: where it is, who made it, and what of it is missing for a device key.

use serde::Serialize;
use upkeep::tpm::template::EkKind;
use upkeep_client::error::ClientError;
use upkeep_client::store::{LicenseStore, State};
use upkeep_client::tpm::{Tpm, TpmAddress, TpmError, TpmFacts};
use upkeep_client::{Attester, Device};

use super::Report;

/// What the TPM says about itself, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    address: String,
    manufacturer: String,
    model: String,
    firmware: String,
    endorsement: Option<&'static str>,
    counters_left: Option<u32>,
    owner_password: bool,
    endorsement_password: bool,
    lockout: bool,
}

/// Whether anything here needs the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// A license is bound to it, a return waits for its proof, or it is asked for.
    Needed,
    /// A software key will do instead.
    Welcome,
}

/// Looks at the TPM that the store, the command line or the machine has.
pub(super) fn look(store: Option<&LicenseStore>, named: Option<&TpmAddress>, report: &mut Report) {
    let attester = store.map_or(Attester::Auto, LicenseStore::attester);
    let key = store.and_then(|store| in_force(store.state()));
    let owes_proof = store.is_some_and(|store| owes_proof(store.state()));
    let need = match attester {
        _ if key.is_some() || owes_proof => Need::Needed,
        Attester::Tpm => Need::Needed,
        Attester::Auto => Need::Welcome,
        Attester::Software => {
            report.ok("tpm", "not looked at: the attester is `software`");
            return;
        }
    };
    let address = named.or_else(|| store?.tpm()).cloned();
    let Some(address) = address.or_else(TpmAddress::default_address) else {
        problem(need, report, "tpm", no_tpm());
        return;
    };
    match Tpm::open(&address).and_then(|mut tpm| tpm.facts()) {
        Ok(facts) => {
            judge(&facts, need, report);
            report.tpm = Some(Facts::of(&address, &facts));
        }
        Err(error) => {
            problem(need, report, "tpm", error);
            return;
        }
    }
    if let Some(key) = key {
        match key.is_alive(Some(&address)) {
            Ok(true) => report.ok("tpm key", format_args!("the license's key works: {key}")),
            Ok(false) => report.fail("tpm key", TpmError::KeyEnded.into()),
            Err(error) => report.fail("tpm key", error),
        }
    }
}

/// The TPM's key that the license in force is bound to.
fn in_force(state: &State) -> Option<&Device> {
    let device = match state {
        State::Active(held) => held.device(),
        State::Activating(pending) => return in_force(pending.before()),
        State::Redeeming(pending) => return in_force(pending.before()),
        _ => return None,
    };
    matches!(device, Device::Tpm(_)).then_some(device)
}

/// Whether a return waits for what only the TPM can prove.
fn owes_proof(state: &State) -> bool {
    matches!(
        state,
        State::Releasing(journal) if journal.proof().is_none() && matches!(journal.device(), Device::Tpm(_))
    )
}

fn judge(facts: &TpmFacts, need: Need, report: &mut Report) {
    report.ok(
        "tpm",
        format_args!(
            "{} {}, firmware {}, answers",
            facts.manufacturer,
            facts.model,
            firmware(facts.firmware)
        ),
    );
    match facts.endorsement {
        Some(kind) => report.ok(
            "endorsement",
            format_args!("its maker's certificate is for a key of {}", name(kind)),
        ),
        None => problem(need, report, "endorsement", TpmError::NoEndorsement),
    }
    for (hierarchy, has_password) in [
        ("owner", facts.owner_password),
        ("endorsement", facts.endorsement_password),
    ] {
        if has_password {
            let error = TpmError::Owned { command: hierarchy };
            let next = error.next_step();
            let message =
                format!("the {hierarchy} hierarchy has a password that Upkeep does not know");
            report.warn("hierarchies", message, next);
        }
    }
    if !facts.owner_password && !facts.endorsement_password {
        report.ok("hierarchies", "open: no password is set");
    }
    match facts.counters_left {
        Some(0) => report.warn(
            "counters",
            "no room for another: only where a vendor's licenses share a counter already can one more of theirs be activated with the TPM",
            TpmError::NoSpace.next_step(),
        ),
        Some(left) if left <= FEW => report.warn(
            "counters",
            format_args!(
                "room for {left} more: further licenses of one vendor share it, and deactivating one ends the others' keys"
            ),
            "activate those again when it happens; each gets its own seat again",
        ),
        Some(left) => report.ok("counters", format_args!("room for {left} more")),
        None => report.ok("counters", "it does not say how many more there is room for"),
    }
    if facts.lockout {
        report.warn(
            "lockout",
            format_args!("{}; Upkeep's keys work all the same", TpmError::Lockout),
            TpmError::Lockout.next_step(),
        );
    } else {
        report.ok("lockout", "not locked");
    }
}

/// Fails where the TPM is needed, and else says what a software key is used for.
fn problem(need: Need, report: &mut Report, check: &'static str, error: TpmError) {
    match (need, &error) {
        (Need::Needed, _) => report.fail(check, ClientError::from(error)),
        // Most machines of a kind that never had one.
        (Need::Welcome, TpmError::Unavailable { .. }) => {
            report.ok(
                check,
                format_args!("{error}; activations get a software key"),
            );
        }
        (Need::Welcome, passing) if !passing.is_unfit() => {
            let next = passing.next_step();
            let message = format!("{passing}; until that is over nothing is activated by itself");
            report.warn(check, message, next);
        }
        (Need::Welcome, _) => {
            let next = error.next_step();
            report.warn(
                check,
                format_args!("{error}; activations get a software key"),
                next,
            );
        }
    }
}

fn no_tpm() -> TpmError {
    TpmError::Unavailable {
        address: "this machine".to_owned(),
        why: "neither /dev/tpmrm0 nor /dev/tpm0 is there".to_owned(),
    }
}

impl Facts {
    fn of(address: &TpmAddress, facts: &TpmFacts) -> Self {
        Self {
            address: address.to_string(),
            manufacturer: facts.manufacturer.clone(),
            model: facts.model.clone(),
            firmware: firmware(facts.firmware),
            endorsement: facts.endorsement.map(name),
            counters_left: facts.counters_left,
            owner_password: facts.owner_password,
            endorsement_password: facts.endorsement_password,
            lockout: facts.lockout,
        }
    }
}

/// Four numbers of 16 bits, as makers write it.
fn firmware(version: u64) -> String {
    let part = |shift: u32| (version >> shift) & 0xffff;
    format!("{}.{}.{}.{}", part(48), part(32), part(16), part(0))
}

fn name(kind: EkKind) -> &'static str {
    match kind {
        EkKind::Rsa2048 => "RSA-2048",
        EkKind::P256 => "P-256",
        EkKind::P384 => "P-384",
    }
}

/// With room for so few, licenses share a counter.
const FEW: u32 = 1;

#[cfg(test)]
mod tests {
    use crate::cli::doctor::Level;
    use crate::cli::exit::Exit;

    use super::*;

    fn facts() -> TpmFacts {
        TpmFacts {
            manufacturer: "IFX".to_owned(),
            model: "SLB9670".to_owned(),
            firmware: 0x0007_0055_1234_0000,
            counters_left: Some(5),
            endorsement: Some(EkKind::Rsa2048),
            owner_password: false,
            endorsement_password: false,
            lockout: false,
        }
    }

    fn levels(facts: &TpmFacts, need: Need) -> (Vec<(&'static str, Level)>, Exit) {
        let mut report = Report::default();
        judge(facts, need, &mut report);
        for finding in &report.findings {
            assert_eq!(
                finding.level == Level::Ok,
                finding.next.is_none(),
                "{finding:?}"
            );
        }
        let bad = report
            .findings
            .iter()
            .filter(|finding| finding.level != Level::Ok);
        (
            bad.map(|finding| (finding.check, finding.level)).collect(),
            report.exit,
        )
    }

    #[test]
    fn a_good_tpm_has_nothing_to_see_to() {
        assert_eq!(levels(&facts(), Need::Needed), (Vec::new(), Exit::Ok));
        assert_eq!(firmware(facts().firmware), "7.85.4660.0");
    }

    #[test]
    fn each_problem_has_its_next_step() {
        let bad = TpmFacts {
            counters_left: Some(0),
            endorsement: None,
            owner_password: true,
            endorsement_password: true,
            lockout: true,
            ..facts()
        };
        let (found, exit) = levels(&bad, Need::Welcome);
        let names: Vec<_> = found.iter().map(|(check, _)| *check).collect();
        assert_eq!(
            names,
            [
                "endorsement",
                "hierarchies",
                "hierarchies",
                "counters",
                "lockout"
            ]
        );
        assert_eq!(exit, Exit::Ok, "a software key will do");
        assert_eq!(levels(&bad, Need::Needed).1, Exit::Fault);
    }

    #[test]
    fn sharing_is_promised_only_while_there_is_room_for_it() {
        for (left, promised) in [(0, false), (1, true), (2, false)] {
            let facts = TpmFacts {
                counters_left: Some(left),
                ..facts()
            };
            let mut report = Report::default();
            judge(&facts, Need::Needed, &mut report);
            let said = report.findings.iter().find(|one| one.check == "counters");
            let said = said.expect("a finding");
            assert_eq!(said.message.contains("share it"), promised, "{said:?}");
            let no_room = TpmError::NoSpace.next_step();
            assert_eq!(said.next.as_deref() == Some(no_room), left == 0, "{said:?}");
        }
    }

    #[test]
    fn a_missing_tpm_fails_only_where_it_is_needed() {
        for (need, level) in [(Need::Needed, Level::Fail), (Need::Welcome, Level::Ok)] {
            let mut report = Report::default();
            problem(need, &mut report, "tpm", no_tpm());
            assert_eq!(
                report.findings.first().map(|finding| finding.level),
                Some(level)
            );
        }
    }
}
