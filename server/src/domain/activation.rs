//! Activation: a seat of a license bound to a device key, and the return of that seat.

use chrono::{DateTime, Utc};
use upkeep::artefact::{Counter, TpmName};
use upkeep::date::CivilDate;
use upkeep::id::{ActivationId, DeviceId, DongleNumber};
use upkeep::key::Thumbprint;
use upkeep::level::{AssuranceLevel, ProofGrade};
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use crate::attest::Appraised;
use crate::domain::assurance;
use crate::domain::catalogue::Release;
use crate::domain::credential::Authenticated;
use crate::domain::enrollment::Enrollment;
use crate::domain::license::{Carrier, License, VirtualEnvironment, VmPermission};
use crate::domain::machine::{
    ActivationEvent, ActivationState, DeactivationEvent, DeactivationState, LicenseEvent, Role,
    step,
};
use crate::domain::maintenance::access;
use crate::domain::programme::{CredentialKind, OnContradiction, Programme};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::seat::{self, Cooling};

/// A seat bound to a device key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    pub(crate) id: ActivationId,
    pub(crate) serial: SerialNumber,
    pub(crate) generation: u32,
    pub(crate) state: ActivationState,
    pub(crate) device: Thumbprint,
    pub(crate) level: AssuranceLevel,
    pub(crate) version: Version,
    pub(crate) vm: VirtualEnvironment,
    /// What contradicts its declaration about a virtual machine, in words (T-29).
    pub(crate) vm_contradiction: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    /// When the last of its certificates ends; none where one is perpetual.
    pub(crate) lease_end: Option<DateTime<Utc>>,
    /// The signing input of its current certificate: stored before it is signed (I4).
    pub(crate) certificate: String,
    pub(crate) deactivation: Option<Deactivation>,
    /// The enrollment of its key; none for a software key.
    pub(crate) enrolled: Option<Enrolled>,
}

/// The hardware that the device key is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    pub(crate) device: DeviceId,
    /// The TPM; none for a dongle.
    pub(crate) tpm: Option<TpmSeat>,
}

/// The TPM and the counter that the device key dies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TpmSeat {
    pub(crate) ek_id: [u8; 32],
    pub(crate) ak_name: TpmName,
    pub(crate) counter: Counter,
    /// The TPM's era when the key was enrolled.
    pub(crate) era: u32,
}

impl Enrolled {
    /// The hardware of an enrollment.
    pub(crate) fn of(enrollment: &Enrollment) -> Self {
        Self {
            device: enrollment.id,
            tpm: enrollment.tpm().map(|tpm| TpmSeat {
                ek_id: tpm.ek_id,
                ak_name: tpm.ak_name,
                counter: tpm.counter,
                era: tpm.era,
            }),
        }
    }
}

/// The return of an activation: ticket, then proof or waiver, then receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deactivation {
    pub(crate) state: DeactivationState,
    pub(crate) nonce: [u8; 32],
    /// The signing input of the ticket.
    pub(crate) ticket: String,
    pub(crate) ticket_expires_at: DateTime<Utc>,
    pub(crate) outcome: Option<Return>,
}

/// How a return ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    pub(crate) grade: ProofGrade,
    pub(crate) recorded_at: DateTime<Utc>,
    /// The license's return epoch at that time; a later epoch means an upgrade code consumed it.
    pub(crate) epoch: u32,
    /// The signing input of the receipt.
    pub(crate) receipt: String,
    /// Why it was waived.
    pub(crate) reason: Option<String>,
}

/// What an Activate call asks for, already parsed.
#[derive(Clone, Debug)]
pub struct Ask {
    pub(crate) release: Release,
    pub(crate) vm: VirtualEnvironment,
    /// What contradicts that, in words.
    pub(crate) vm_contradiction: Option<String>,
    /// The dongle that asks, where one does.
    pub(crate) dongle: Option<DongleNumber>,
    pub(crate) today: CivilDate,
    pub(crate) now: DateTime<Utc>,
}

/// What `decide` grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// A seat is taken.
    NewSeat,
    /// The device holds a seat already: it gets the same activation again, with a fresh certificate.
    SameSeat,
}

/// Decides an activation. `held` is the device's live activation on this license, if any; `cooling` is what was returned and still
/// holds a seat.
///
/// # Errors
/// In this order: the license's state, a code that is out, the carrier, the credential, the product, the level of assurance, the
/// virtual environment, the build, the seats.
pub fn decide(
    license: &License,
    programme: &Programme,
    who: &Authenticated,
    shown: &Appraised,
    held: Option<&Activation>,
    cooling: &Cooling,
    ask: &Ask,
) -> Result<Granted, Refusal> {
    step(license.state, LicenseEvent::Activate, Role::EndUser)?;
    if let Some(seal) = license.seal
        && seal.until.is_none_or(|until| ask.now < until)
    {
        return Err(Refusal::new(Reason::CodeAlreadyIssued)
            .with("update_request_id", seal.upgrade.to_string()));
    }
    if let Carrier::HardwareKey(own) = &license.carrier
        && ask.dongle.as_ref() != Some(own)
    {
        return Err(Reason::HardwareKeyLicense.into());
    }
    if who.kind() == CredentialKind::ProductCode && held.map(|held| held.id) != who.activation() {
        // A product code names the activation it was shown for; on another device it moves no seat.
        return Err(Reason::CredentialInvalid.into());
    }
    admit(license, programme, shown, ask)?;
    if let Some(held) = held {
        // A ticket that is out keeps the seat; the certificate comes again only when it has run out (DOMAIN 7: refresh).
        step(held.state, ActivationEvent::Refresh, Role::EndUser)?;
        return Ok(Granted::SameSeat);
    }
    seat::check(license, cooling, ask.today)?;
    Ok(Granted::NewSeat)
}

/// Whether this device and build may hold a seat of the license at all, seats apart.
///
/// # Errors
/// In this order: WRONG_PRODUCT, ATTESTATION_FAILED, VM_NOT_ALLOWED, VM_CONTRADICTION, BUILD_NOT_COVERED.
pub fn admit(
    license: &License,
    programme: &Programme,
    shown: &Appraised,
    ask: &Ask,
) -> Result<(), Refusal> {
    if ask.release.product != license.product {
        return Err(Reason::WrongProduct.into());
    }
    let needed = assurance::least_level(programme, license);
    if shown.level() < needed {
        return Err(Refusal::new(Reason::AttestationFailed)
            .detail("this license needs a device key at a higher level of assurance")
            .with("required_level", needed));
    }
    if ask.vm == VirtualEnvironment::Yes && license.vm == VmPermission::NotAllowed {
        return Err(Reason::VmNotAllowed.into());
    }
    if let Some(contradiction) = &ask.vm_contradiction
        && programme.on_vm_contradiction() == OnContradiction::Refuse
    {
        return Err(Refusal::new(Reason::VmContradiction).detail(contradiction));
    }
    check_build(license, programme, &ask.release)
}

/// Whether maintenance ever bought covers the build (N-06, P-02). A license that never had maintenance runs what it was sold with,
/// and an edition whose updates are always included runs any build (S-28).
///
/// # Errors
/// BUILD_NOT_COVERED with both dates.
pub fn check_build(
    license: &License,
    programme: &Programme,
    release: &Release,
) -> Result<(), Refusal> {
    let last_day = access::newest_build(programme, license).unwrap_or(license.purchased_on);
    if release.build_date <= last_day {
        return Ok(());
    }
    Err(Refusal::new(Reason::BuildNotCovered)
        .with("build_date", release.build_date.to_string())
        .with("maintenance_last_date", last_day.to_string()))
}

impl Activation {
    /// The activation as it stands at `now`, with its license: a ticket that ran out has returned the seat to the device (never
    /// freed it). Where an overlap has let another device in, the older one stays Releasing while there are more of them than
    /// seats, cooling ones with them (DOMAIN 7): it may ask for another ticket, not for another certificate.
    pub(crate) fn at(mut self, now: DateTime<Utc>, license: &License) -> Self {
        if let Some(deactivation) = &mut self.deactivation
            && deactivation.state == DeactivationState::TicketIssued
            && now >= deactivation.ticket_expires_at
        {
            if let Ok(expired) = step(deactivation.state, DeactivationEvent::Timeout, Role::System)
            {
                deactivation.state = expired;
            }
            if license.seats_held() <= license.seats
                && let Ok(active) = step(self.state, ActivationEvent::Timeout, Role::System)
            {
                self.state = active;
            }
        }
        self
    }

    /// Takes over what its device declares now. A contradiction stays on record until a virtual machine is declared: leaving the
    /// hints out the next time does not undo it.
    pub(crate) fn declare(&mut self, ask: &Ask) {
        self.vm = ask.vm;
        let known = self.vm_contradiction.take();
        self.vm_contradiction = match ask.vm {
            VirtualEnvironment::Yes => None,
            VirtualEnvironment::No => ask.vm_contradiction.clone().or(known),
        };
    }

    /// Begins the return, or hands the ticket that is out again.
    ///
    /// # Errors
    /// ROLE_NOT_ALLOWED, ACTIVATION_FINAL, ATTESTATION_FAILED when no proof of this device can be strong enough, RETURN_LIMIT.
    pub(crate) fn begin_release(
        &mut self,
        license: &mut License,
        programme: &Programme,
        role: Role,
        today: CivilDate,
    ) -> Result<TicketWanted, Refusal> {
        let next = step(self.state, ActivationEvent::BeginRelease, role)?;
        if self
            .deactivation
            .as_ref()
            .is_some_and(|d| d.state == DeactivationState::TicketIssued)
        {
            return Ok(TicketWanted::SameAgain);
        }
        self.check_proof_level(programme)?;
        license.check_return_limit(programme, self.level, today)?;
        if programme.overlap_days() > 0 {
            license.usage.overlap_until = today.plus_days(programme.overlap_days()).ok();
        }
        self.state = next;
        Ok(TicketWanted::New)
    }

    /// Whether a proof by this device's key can free the seat (E-10). Asked before the device is wiped for it, and again when
    /// the proof is there: the programme may have changed.
    fn check_proof_level(&self, programme: &Programme) -> Result<(), Refusal> {
        let needed = programme.min_proof_level();
        if self.level >= needed {
            return Ok(());
        }
        Err(Refusal::new(Reason::AttestationFailed)
            .detail("this license is returned only by a proof at a higher level of assurance")
            .with("required_level", needed.to_string()))
    }

    /// Records a proof whose signature and ticket are verified, and frees the seat: one transaction for both machines.
    ///
    /// # Errors
    /// What the two machines answer, TICKET_EXPIRED for a ticket that is not the one out, ATTESTATION_FAILED for a proof that
    /// is weaker than the programme asks for.
    pub(crate) fn submit_proof(
        &mut self,
        license: &mut License,
        programme: &Programme,
        role: Role,
        nonce: &[u8; 32],
        how: Return,
    ) -> Result<(), Refusal> {
        let next = step(self.state, ActivationEvent::SubmitProof, role);
        if next == Err(Reason::ActivationFinal) {
            // No new ticket would help it.
            return Err(Reason::ActivationFinal.into());
        }
        let Some(deactivation) = &mut self.deactivation else {
            return Err(next.err().unwrap_or(Reason::TicketRequired).into());
        };
        if deactivation.nonce != *nonce {
            return Err(Reason::TicketExpired.into());
        }
        let recorded = step(deactivation.state, DeactivationEvent::SubmitProof, role)?;
        let next = next?;
        deactivation.state = recorded;
        deactivation.outcome = Some(how);
        self.check_proof_level(programme)?;
        self.state = next;
        license.release_seat();
        Ok(())
    }

    /// Records a proof that answers no ticket: the TPM's counter alone makes it valid, once and for ever. The return begins and
    /// ends at once; a ticket that is out ends with it.
    ///
    /// * `nonce` - what the return is told apart by, as its ticket would be.
    ///
    /// # Errors
    /// What the two machines answer, ATTESTATION_FAILED as for any proof, RETURN_LIMIT for a level that can be copied: no ticket
    /// asked for it before.
    pub(crate) fn return_at_once(
        &mut self,
        license: &mut License,
        programme: &Programme,
        role: Role,
        today: CivilDate,
        nonce: [u8; 32],
        how: Return,
    ) -> Result<(), Refusal> {
        let begun = self.deactivation.as_ref();
        let ticket = begun.filter(|begun| begun.state == DeactivationState::TicketIssued);
        let nonce = match ticket {
            Some(begun) => begun.nonce,
            None => {
                let next = step(self.state, ActivationEvent::BeginRelease, role)?;
                license.check_return_limit(programme, self.level, today)?;
                self.state = next;
                self.deactivation = Some(Deactivation {
                    state: DeactivationState::TicketIssued,
                    nonce,
                    ticket: String::new(),
                    ticket_expires_at: how.recorded_at,
                    outcome: None,
                });
                nonce
            }
        };
        self.submit_proof(license, programme, role, &nonce, how)
    }

    /// The grade of a proof by this device's key (DESIGN 5).
    pub(crate) fn proof_grade(&self) -> ProofGrade {
        match self.level {
            AssuranceLevel::Hardware => ProofGrade::Hardware,
            AssuranceLevel::CloudVtpm => ProofGrade::CloudVtpm,
            AssuranceLevel::Dongle => ProofGrade::Dongle,
            _ => ProofGrade::Software,
        }
    }

    /// The TPM and counter that its key dies with, where it is in a TPM.
    pub(crate) fn tpm(&self) -> Option<&TpmSeat> {
        self.enrolled.as_ref()?.tpm.as_ref()
    }

    /// Frees the seat without a proof: the machine is declared lost, or the proof of a begun return is waived (E-15).
    ///
    /// # Errors
    /// What the machines answer.
    pub(crate) fn give_up(
        &mut self,
        license: &mut License,
        role: Role,
        nonce: [u8; 32],
        how: Return,
    ) -> Result<(), Refusal> {
        self.state = step(self.state, ActivationEvent::DeclareLost, role)?;
        let (nonce, ticket, ticket_expires_at) = match self.deactivation.take() {
            Some(begun) => (begun.nonce, begun.ticket, begun.ticket_expires_at),
            None => (nonce, String::new(), how.recorded_at),
        };
        self.deactivation = Some(Deactivation {
            state: DeactivationState::Waived,
            nonce,
            ticket,
            ticket_expires_at,
            outcome: Some(how),
        });
        license.release_seat();
        Ok(())
    }

    /// The state of the return as seen with its license: consumed once an upgrade code was issued after it.
    pub(crate) fn deactivation_state(&self, license: &License) -> Option<DeactivationState> {
        let deactivation = self.deactivation.as_ref()?;
        let consumed = self.generation < license.generation
            || deactivation
                .outcome
                .as_ref()
                .is_some_and(|end| end.epoch < license.usage.return_epoch);
        if consumed && deactivation.outcome.is_some() {
            return Some(DeactivationState::Consumed);
        }
        Some(deactivation.state)
    }
}

/// What `begin_release` wants signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketWanted {
    /// The ticket that is already out.
    SameAgain,
    /// A new one.
    New,
}
