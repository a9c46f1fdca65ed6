//! A license: what was bought, who owns it, how many seats are taken, and until when it is maintained.
//!
//! A license record is small and stays small: it holds counters and terms, never its activations.

use std::fmt;

use chrono::{DateTime, Utc};
use upkeep::date::{CivilDate, Term};
use upkeep::id::{
    AddOn, CustomerId, DongleNumber, Edition, LicenseKind, LicenseType, ModuleId, PartnerId,
    ProductId, ProgrammeId, TierId, UpgradeId,
};
use upkeep::level::AssuranceLevel;
use upkeep::serial::SerialNumber;

use crate::domain::assurance;
use crate::domain::external::ExternalId;
use crate::domain::machine::{LicenseEvent, LicenseState, Role, SmaState, step};
use crate::domain::maintenance;
use crate::domain::money::Money;
use crate::domain::programme::{Programme, Protection};
use crate::domain::refusal::{Reason, Refusal};

/// One generation of a license. The serial stays for life; each redeemed upgrade code makes the next generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct License {
    pub(crate) serial: SerialNumber,
    pub(crate) generation: u32,
    pub(crate) state: LicenseState,
    pub(crate) product: ProductId,
    pub(crate) programme: ProgrammeId,
    /// The programme revision it was bought under (N-12).
    pub(crate) programme_rev: u32,
    pub(crate) customer: CustomerId,
    pub(crate) partner: Option<PartnerId>,
    pub(crate) carrier: Carrier,
    /// Perpetual, subscription, free: what maintenance comes along (T-05).
    pub(crate) kind: LicenseKind,
    pub(crate) license_type: LicenseType,
    pub(crate) edition: Edition,
    pub(crate) add_ons: Vec<AddOn>,
    /// The software modules in use, and how many of each (V-12).
    pub(crate) modules: Vec<Module>,
    pub(crate) seats: u32,
    pub(crate) vm: VmPermission,
    pub(crate) purchased_on: CivilDate,
    /// What was paid for the license itself, where it is known (V-07).
    pub(crate) paid: Option<Money>,
    /// The maintenance terms as they stand on the day the license was loaded for: those on record, then those that follow from
    /// automatic extension (N-14).
    pub(crate) terms: Vec<Term>,
    /// How many of `terms` are on record.
    pub(crate) terms_on_record: usize,
    pub(crate) contract: Contract,
    pub(crate) placed: Placed,
    pub(crate) password: Option<PasswordVerifier>,
    pub(crate) usage: Usage,
    pub(crate) open_upgrade: Option<UpgradeId>,
    pub(crate) seal: Option<Seal>,
    /// Where it came from, for one that was imported.
    pub(crate) imported: Option<Imported>,
    pub(crate) created_at: DateTime<Utc>,
}

/// What tells a row that was imported before from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its id in the system that it came from; without one its serial.
    pub(crate) external: Option<ExternalId>,
    /// A keyed digest of the row.
    pub(crate) content: [u8; 32],
}

/// The maintenance contract beside its terms (T-04, N-12): flags and notices. Covered or not is read from the terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// The type of contract (T-06, T-07).
    pub(crate) tier: Option<TierId>,
    /// The day on which a cancellation was received: the contract ends with its term (N-14).
    pub(crate) cancelled_on: Option<CivilDate>,
    /// The reminders that were sent for the present last day, by their days before it (N-09).
    pub(crate) reminded: Vec<u32>,
}

/// Where the license stands in the dated indexes. Kept with it, so that moving it needs no look at what it was before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// In the index by last day.
    pub(crate) last_day: Option<CivilDate>,
    /// In the index of what is due.
    pub(crate) due_on: Option<CivilDate>,
}

/// A software module in use (V-12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    pub(crate) id: ModuleId,
    pub(crate) count: u32,
}

/// What carries the license (T-21, P-18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A device key.
    SoftwareKey,
    /// A dongle, by its number.
    HardwareKey(DongleNumber),
}

impl Carrier {
    /// The protection class.
    pub fn protection(&self) -> Protection {
        match self {
            Self::SoftwareKey => Protection::SoftwareKey,
            Self::HardwareKey(_) => Protection::HardwareKey,
        }
    }
}

/// Whether a license may run in a virtual machine (T-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmPermission {
    /// It may.
    Allowed,
    /// It may not.
    NotAllowed,
}

/// Where the software runs, as declared (T-29).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtualEnvironment {
    /// On a physical machine.
    No,
    /// In a virtual machine.
    Yes,
}

/// What a password is checked against; the password itself is never kept.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordVerifier {
    /// HMAC-SHA256 under the pepper, for strong passwords.
    Mac([u8; 32]),
    /// argon2id in PHC text form over that HMAC, where weak passwords are allowed.
    Argon2(String),
}

impl fmt::Debug for PasswordVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordVerifier(***)")
    }
}

/// Counters of one generation. They change in the transaction that changes what they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Activations in Active or Releasing.
    pub(crate) seats_taken: u32,
    /// Devices whose activation has ended before its lease. It counts on through the generations, as the certificates do.
    pub(crate) seats_cooling: u32,
    /// Activations ever made.
    pub(crate) activations: u32,
    /// Recorded or waived returns that no upgrade code has consumed.
    pub(crate) unconsumed_returns: u32,
    /// How often returns were consumed; a return recorded in an earlier epoch is consumed.
    pub(crate) return_epoch: u32,
    /// The last day on which one activation more than the seats may exist (`overlap_days`, E-16).
    pub(crate) overlap_until: Option<CivilDate>,
    /// The last year's returns by day, oldest first: at most 366 pairs however many seats there are.
    pub(crate) returned_on: Vec<(CivilDate, u32)>,
    /// Days of the last year's waivers and losses, oldest first.
    pub(crate) waived_on: Vec<CivilDate>,
}

/// Stops new activations of a generation whose upgrade code is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    pub(crate) upgrade: UpgradeId,
    /// Until the unused code runs out; without end once the file form has left the server.
    pub(crate) until: Option<DateTime<Utc>>,
}

impl License {
    /// The license as it stands on the day `today`: terms that follow from automatic extension are added (N-12, N-14).
    ///
    /// They are derived on reading and never stored as truth; [`License::settle`] puts them on record.
    #[must_use]
    pub(crate) fn at(mut self, programme: &Programme, today: CivilDate) -> Self {
        self.terms.truncate(self.terms_on_record);
        let derived =
            maintenance::extended(programme, &self.terms, self.contract.cancelled_on, today);
        self.terms.extend(derived);
        self
    }

    /// Puts derived terms on record; gives those that were not.
    pub(crate) fn settle(&mut self) -> Vec<Term> {
        let derived = self
            .terms
            .get(self.terms_on_record..)
            .unwrap_or_default()
            .to_vec();
        self.terms_on_record = self.terms.len();
        if !derived.is_empty() {
            self.contract.reminded.clear();
        }
        derived
    }

    /// Puts bought terms on record, in order; what was derived before is settled with them. A new end is reminded of anew, and
    /// the same end is not reminded of twice (N-09).
    pub(crate) fn add_terms(&mut self, terms: impl IntoIterator<Item = Term>) {
        let on_record = self.terms.get(..self.terms_on_record);
        let end = maintenance::last_day(on_record.unwrap_or_default());
        self.terms.extend(terms);
        self.terms.sort_unstable();
        self.terms_on_record = self.terms.len();
        if maintenance::last_day(&self.terms) != end {
            self.contract.reminded.clear();
        }
    }

    /// Takes the contract away: its terms no longer count (N-06).
    pub(crate) fn end_contract(&mut self) {
        self.terms.clear();
        self.terms_on_record = 0;
        self.contract = Contract::default();
    }

    /// The state of the contract; `None` where there never was one or it was terminated (DOMAIN 7).
    pub(crate) fn contract_state(&self) -> Option<SmaState> {
        maintenance::cancel::state(&self.terms, self.contract.cancelled_on)
    }

    /// Whether the caller's role and the state allow `event`, and the state after it.
    ///
    /// # Errors
    /// What the license machine answers (DOMAIN 7).
    pub fn step(&mut self, event: LicenseEvent, role: Role) -> Result<(), Refusal> {
        self.state = step(self.state, event, role)?;
        Ok(())
    }

    /// Seats that nobody else can have now: taken, or cooling.
    pub(crate) fn seats_held(&self) -> u32 {
        let usage = &self.usage;
        usage.seats_taken.saturating_add(usage.seats_cooling)
    }

    /// Frees one seat whose return is recorded or waived.
    pub(crate) fn release_seat(&mut self) {
        self.usage.seats_taken = self.usage.seats_taken.saturating_sub(1);
        self.usage.unconsumed_returns = self.usage.unconsumed_returns.saturating_add(1);
    }

    /// Counts a return without proof against the yearly cap (E-15).
    ///
    /// # Errors
    /// `limit` when the programme's cap for any 365 days is reached.
    pub(crate) fn count_waiver(
        &mut self,
        programme: &Programme,
        today: CivilDate,
        limit: Reason,
    ) -> Result<(), Refusal> {
        self.usage.waived_on.retain(|day| in_last_year(*day, today));
        let cap = programme.waivers_per_365_days();
        if u32::try_from(self.usage.waived_on.len()).unwrap_or(u32::MAX) >= cap {
            return Err(Refusal::new(limit).with("limit", cap.to_string()));
        }
        self.usage.waived_on.push(today);
        Ok(())
    }

    /// Whether one more return by proof fits the programme's yearly cap, which is per seat (DESIGN 9). Checked before the customer
    /// is asked to deactivate: a wipe can't be taken back. A return beyond the cap is therefore recorded all the same.
    ///
    /// * `level` - of the device that is to be returned.
    ///
    /// # Errors
    /// RETURN_LIMIT.
    pub(crate) fn check_return_limit(
        &self,
        programme: &Programme,
        level: AssuranceLevel,
        today: CivilDate,
    ) -> Result<(), Refusal> {
        if !assurance::returns_are_capped(programme, level) {
            return Ok(());
        }
        let cap = u64::from(programme.returns_per_365_days()).saturating_mul(u64::from(self.seats));
        let recent = self
            .usage
            .returned_on
            .iter()
            .filter(|(day, _)| in_last_year(*day, today));
        let returned = recent.fold(0_u64, |sum, (_, count)| {
            sum.saturating_add(u64::from(*count))
        });
        if returned >= cap {
            return Err(Refusal::new(Reason::ReturnLimit).with("limit", cap));
        }
        Ok(())
    }

    /// Counts a recorded return towards the yearly cap, where there is one for devices of `level`.
    pub(crate) fn count_return(
        &mut self,
        programme: &Programme,
        level: AssuranceLevel,
        today: CivilDate,
    ) {
        if !assurance::returns_are_capped(programme, level) {
            return;
        }
        let days = &mut self.usage.returned_on;
        days.retain(|(day, _)| in_last_year(*day, today));
        match days.last_mut() {
            Some((day, count)) if *day == today => *count = count.saturating_add(1),
            _ => days.push((today, 1)),
        }
    }

    /// The generation that a redeemed upgrade code makes: same serial, owner, seats and maintenance, nothing activated yet.
    pub(crate) fn next_generation(
        &self,
        license_type: LicenseType,
        vm: VmPermission,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            generation: self.generation.saturating_add(1),
            state: LicenseState::Issued,
            license_type,
            vm,
            usage: Usage {
                // Caps are per serial and year: an upgrade must not reset them.
                returned_on: self.usage.returned_on.clone(),
                waived_on: self.usage.waived_on.clone(),
                seats_cooling: self.usage.seats_cooling,
                ..Usage::default()
            },
            open_upgrade: None,
            seal: None,
            created_at: now,
            ..self.clone()
        }
    }
}

/// The most licenses on one hardware key: they are bought for together, and one transaction has to hold them all.
pub(crate) const MAX_ON_DONGLE: usize = 50;

/// Whether `day` lies in the 365 days that end today.
fn in_last_year(day: CivilDate, today: CivilDate) -> bool {
    day.plus_days(365).is_ok_and(|end| end > today)
}
