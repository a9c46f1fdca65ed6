//! Programmes: a vendor's rules as data (DOMAIN 4). A product names its programme; no rule asks which vendor it is.
//!
//! A file is read and checked as a whole by `read`; `policy` has its sections as values. `docs/programmes.md` explains every key.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use upkeep::date::{CivilDate, DateError};
use upkeep::id::ProgrammeId;
use upkeep::level::AssuranceLevel;
use upkeep::serial::SerialNumber;

use self::policy::{
    AddOns, Assurance, AutoExtend, Cover, Download, Expand, Free, Group, Lapse, Legacy, Proof,
    Quote, Rates, Region, Remind, Renew, Status, Support, Tier, Unlock, Update,
};
use crate::domain::money::Currency;
use crate::domain::vocabulary::vocabulary;

pub use self::error::{ProgrammeError, ProgrammeErrors};
pub use self::kept::Kept;
pub use self::policy::{
    AfterExpiry, Audience, Grant, GroupBilling, LapseMode, MajorRelease, PriceRule, QuoteField,
    SupportNeeds, SupportedVersions, UpdateField,
};
pub use self::set::{Programmes, built_in_files};

mod error;
mod kept;
pub(crate) mod policy;
mod read;
pub(in crate::domain) mod section;
mod set;
mod warnings;

vocabulary! {
    /// How a license is protected against copying (T-21).
    Protection {
        /// Bound to the key of the device it is activated on.
        SoftwareKey = "software_key",
        /// Bound to a hardware key; the license moves with it.
        HardwareKey = "hardware_key",
    }
}

vocabulary! {
    /// The kinds of secret that go with a serial number (T-25 to T-28).
    CredentialKind {
        /// Delivered with NSP products (T-25).
        Password = "password",
        /// Delivered with every other product (T-27).
        ActivationCode = "activation_code",
        /// Shown where the product is activated, and valid for that device only (T-28, A-20).
        ProductCode = "product_code",
        /// The number of the hardware key of a license (P-17). It goes with the protection, never with a serial prefix.
        DongleNumber = "dongle_number",
    }
}

vocabulary! {
    /// What happens when a virtual machine is involved (T-08, T-29, A-17).
    VmRule {
        /// As on a physical machine.
        Allow = "allow",
        /// A person at the vendor decides.
        Refer = "refer",
        /// Refused.
        Deny = "deny",
    }
}

vocabulary! {
    /// What happens when evidence contradicts what a device declared about a virtual machine (T-29, E-14).
    OnContradiction {
        /// No seat.
        Refuse = "refuse",
        /// A seat, and a note for the vendor's staff.
        Flag = "flag",
    }
}

vocabulary! {
    /// When maintenance must be in force for an update (T-15, A-09).
    SmaCheck {
        /// When the code is issued; a request is checked beforehand as well, to warn early.
        Issue = "issue",
        /// When the request is made; a code may then be issued after maintenance has ended.
        Submit = "submit",
    }
}

/// From when on maintenance counts as expiring soon (S-12, A-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soon {
    /// Never: the programme has neither a window nor days.
    Never,
    /// From this many days before the last covered day on.
    Days(u32),
    /// As long as a renewal is possible: that many clear days before the last covered day (N-09).
    RenewWindow(u32),
}

/// One programme, in one revision (N-12). Made from its file by [`Programme::parse`] only, so it is always a valid one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programme {
    id: ProgrammeId,
    revision: u32,
    time_zone: Tz,
    currency: Option<Currency>,
    /// Where a customer buys, for people, such as `self_service` (T-10, P-17, V-19).
    channel: String,
    /// Other names that people know it by (S-16).
    aliases: Vec<String>,
    /// The last day on which it is sold; contracts that exist go on (V-06).
    sold_until: Option<CivilDate>,
    cover: Cover,
    tiers: Vec<Tier>,
    renew: Renew,
    lapse: Lapse,
    auto_extend: Option<AutoExtend>,
    group: Option<Group>,
    unlock: Option<Unlock>,
    free: Option<Free>,
    add_ons: Option<AddOns>,
    support: Vec<Support>,
    update: Update,
    proof: Proof,
    assurance: Assurance,
    rates: Option<Rates>,
    expand: Option<Expand>,
    legacy: Option<Legacy>,
    remind: Vec<Remind>,
    status: Status,
    download: Option<Download>,
    regions: Vec<Region>,
    quote: Quote,
}

impl Programme {
    /// Reads a programme from the TOML text of the file called `file`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with file and key.
    pub fn parse(file: &str, text: &str) -> Result<Self, ProgrammeErrors> {
        read::read(file, text)
    }

    /// Reads a programme from a table that was made elsewhere; `file` names it in errors.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_table(file: &str, table: &toml::Table) -> Result<Self, ProgrammeErrors> {
        read::read_table(file, table)
    }

    /// What is allowed, but probably not meant, one sentence each: a reinstatement that costs no more than a renewal (S-24), say.
    pub fn warnings(&self) -> Vec<String> {
        warnings::warnings(self)
    }

    /// Its id, such as `teklynx-sma`.
    pub fn id(&self) -> &ProgrammeId {
        &self.id
    }

    /// Its revision: contracts keep the one they were bought under (N-12).
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// The time zone whose calendar its dates are in (N-01).
    pub fn time_zone(&self) -> Tz {
        self.time_zone
    }

    /// The civil date at `now` in the programme's time zone (N-01).
    ///
    /// # Errors
    /// [`DateError::Range`] outside the years 1970 to 9999.
    pub fn today(&self, now: DateTime<Utc>) -> Result<CivilDate, DateError> {
        CivilDate::from_naive(now.with_timezone(&self.time_zone).date_naive())
    }

    /// The months of maintenance that come with a new license; 0 for none (T-05, P-05, S-03, V-09).
    pub fn included_months(&self) -> u32 {
        self.cover.included_months
    }

    /// The months of one bought term (T-03, V-02).
    pub fn term_months(&self) -> u32 {
        self.cover.term_months
    }

    /// What a license for a virtual machine means at its sale (T-08).
    pub fn cover_vm(&self) -> VmRule {
        self.cover.vm
    }

    /// The clear days before the last covered day on which renewal opens; `None` for any time (S-14, N-09).
    pub fn opens_clear_days(&self) -> Option<u32> {
        self.renew.opens_clear_days
    }

    /// The days after the last covered day on which a renewal is still one (N-05, A-03).
    pub fn grace_days(&self) -> u32 {
        self.renew.grace_days
    }

    /// The most terms in one order: at most 50 (N-11).
    pub fn max_terms_per_order(&self) -> u32 {
        self.renew.max_terms_per_order
    }

    /// From when on maintenance counts as expiring soon (S-12, A-06).
    pub fn soon(&self) -> Soon {
        self.status.soon
    }

    /// Whether an update needs proof that the old license was deactivated (T-17, T-21).
    pub fn needs_proof(&self, protection: Protection) -> bool {
        self.update.proof_for.contains(&protection)
    }

    /// When maintenance must be in force for an update.
    pub fn sma_checked_at(&self) -> SmaCheck {
        self.update.sma_checked_at
    }

    /// What an update for a virtual machine means (T-29).
    pub fn update_vm(&self) -> VmRule {
        self.update.vm
    }

    /// The credentials that a serial number takes, any one of them (T-25, T-26). The longest prefix decides.
    ///
    /// For software keys; a license on a hardware key takes [`CredentialKind::DongleNumber`] whatever its serial.
    pub fn credential_kinds(&self, serial: &SerialNumber) -> &[CredentialKind] {
        self.update
            .credentials
            .iter()
            .filter(|rule| serial.as_str().starts_with(&rule.serial_prefix))
            .max_by_key(|rule| rule.serial_prefix.len())
            .map_or(&[], |rule| &rule.any_of)
    }

    /// The credentials of serial numbers that no other prefix names (T-26).
    pub(crate) fn other_credential_kinds(&self) -> &[CredentialKind] {
        let rules = &self.update.credentials;
        rules
            .iter()
            .find(|rule| rule.serial_prefix.is_empty())
            .map_or(&[], |rule| &rule.any_of)
    }

    /// How many days an update request or an unused upgrade code lives.
    pub fn request_days(&self) -> u32 {
        self.update.request_days
    }

    /// The level that a proof of deactivation needs at least (E-10, DESIGN 9).
    pub fn min_proof_level(&self) -> AssuranceLevel {
        self.proof.min_level
    }

    /// How many days a deactivation ticket lives.
    pub fn ticket_days(&self) -> u32 {
        self.proof.ticket_days
    }

    /// How many proofs may be waived, or machines declared lost, per license in any 365 days (E-15).
    pub fn waivers_per_365_days(&self) -> u32 {
        self.proof.waivers_per_365_days
    }

    /// How many days the old machine may run beside the new one after its return has begun; 0 for none (E-16).
    pub fn overlap_days(&self) -> u32 {
        self.proof.overlap_days
    }

    /// The level that any activation needs at least; what was sold may need more (DESIGN 9).
    pub fn min_activation_level(&self) -> AssuranceLevel {
        self.assurance.activate_min_level
    }

    /// How often each seat of a license may be returned in any 365 days by proofs that a restored disk could fake, where no lease
    /// ends what was copied (DESIGN 9).
    pub fn returns_per_365_days(&self) -> u32 {
        self.assurance.returns_per_365_days
    }

    /// How many days a certificate holds that could be copied; 0 for ever (DESIGN 9).
    pub fn lease_days(&self) -> u32 {
        self.assurance.lease_days
    }

    /// What happens when evidence contradicts what a device declared about a virtual machine (T-29).
    pub fn on_vm_contradiction(&self) -> OnContradiction {
        self.assurance.vm_contradiction
    }

    /// What device keys must be, and how long their certificates hold.
    pub(crate) fn assurance(&self) -> &Assurance {
        &self.assurance
    }

    /// The currency of its prices; `None` where a person quotes everything.
    pub fn currency(&self) -> Option<Currency> {
        self.currency
    }

    /// Where a customer buys, for people, such as `self_service` (T-10, P-17, V-19).
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Other names that people know it by (S-16).
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// The last day on which it is sold (V-06); `None` for no end.
    pub fn sold_until(&self) -> Option<CivilDate> {
        self.sold_until
    }

    /// What a new license brings along.
    pub(crate) fn cover(&self) -> &Cover {
        &self.cover
    }

    /// Renewals.
    pub(crate) fn renew(&self) -> &Renew {
        &self.renew
    }

    /// What happens after a lapse.
    pub(crate) fn lapse(&self) -> &Lapse {
        &self.lapse
    }

    /// Update requests.
    pub(crate) fn update(&self) -> &Update {
        &self.update
    }

    /// How maintenance is shown.
    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    /// Quotes.
    pub(crate) fn quote(&self) -> &Quote {
        &self.quote
    }

    /// Extension without an order (V-05); `None` where nothing extends by itself (S-17).
    pub(crate) fn auto_extend(&self) -> Option<&AutoExtend> {
        self.auto_extend.as_ref()
    }

    /// How licenses on one dongle belong together (P-04); `None` where they do not.
    pub(crate) fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// Unlock codes for dongles (P-08).
    pub(crate) fn unlock(&self) -> Option<&Unlock> {
        self.unlock.as_ref()
    }

    /// Free Editions (S-28).
    pub(crate) fn free(&self) -> Option<&Free> {
        self.free.as_ref()
    }

    /// Add-ons that need maintenance (S-09).
    pub(crate) fn add_ons(&self) -> Option<&AddOns> {
        self.add_ons.as_ref()
    }

    /// The yearly rates on module prices (V-13).
    pub(crate) fn rates(&self) -> Option<&Rates> {
        self.rates.as_ref()
    }

    /// Credit when a system is expanded (V-07).
    pub(crate) fn expand(&self) -> Option<&Expand> {
        self.expand.as_ref()
    }

    /// The programme that this one replaced (V-06).
    pub(crate) fn legacy(&self) -> Option<&Legacy> {
        self.legacy.as_ref()
    }

    /// Downloads (V-11).
    pub(crate) fn download(&self) -> Option<&Download> {
        self.download.as_ref()
    }

    /// The types of contract (T-06).
    pub(crate) fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// Support, product by product (P-10).
    pub(crate) fn support(&self) -> &[Support] {
        &self.support
    }

    /// Reminders before the end (T-11).
    pub(crate) fn remind(&self) -> &[Remind] {
        &self.remind
    }

    /// The vendor's offices (T-20).
    pub(crate) fn regions(&self) -> &[Region] {
        &self.regions
    }
}
