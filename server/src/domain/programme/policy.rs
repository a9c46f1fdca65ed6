//! What a programme file says, section by section (DOMAIN 4). Plain values: what they mean is computed elsewhere, and what may stand
//! in a file is checked by `read`, the only place where they are made.

use std::fmt;

use upkeep::date::CivilDate;
use upkeep::id::{
    AddOn, Edition, LicenseKind, LicenseType, ProductId, ProgrammeId, RegionId, TierId,
};

use super::{CredentialKind, OnContradiction, Protection, SmaCheck, VmRule};
use crate::domain::money::BasisPoints;
use crate::domain::vocabulary::vocabulary;
use upkeep::level::AssuranceLevel;

/// `cover`: what a new license brings along, and how long a term is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cover {
    /// The kinds of license that come with maintenance: a subscription does not (T-05).
    pub(crate) license_kinds: Vec<LicenseKind>,
    pub(crate) included_months: u32,
    pub(crate) term_months: u32,
    pub(crate) vm: VmRule,
}

/// `tiers`: the types of contract (T-06, T-07).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tier {
    pub(crate) id: TierId,
    pub(crate) grants: Vec<Grant>,
}

vocabulary! {
    /// What a tier grants.
    Grant {
        /// Version updates.
        Updates = "updates",
        /// Technical support.
        Support = "support",
        /// The use of add-ons.
        AddOns = "addons",
    }
}

/// `renew`: when and how often a contract is renewed, and for how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renew {
    pub(crate) opens_clear_days: Option<u32>,
    pub(crate) grace_days: u32,
    pub(crate) max_terms_per_order: u32,
    pub(crate) price: PriceRule,
}

/// `lapse`: what happens once cover and grace have passed (N-05).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lapse {
    pub(crate) mode: LapseMode,
    pub(crate) price: PriceRule,
    /// Whether a major release in the gap has to be bought as an upgrade (P-14).
    pub(crate) major_release: MajorRelease,
}

vocabulary! {
    /// Where the first term after a lapse starts.
    LapseMode {
        /// On the day of purchase (S-23, P-14).
        FromPurchase = "from_purchase",
        /// On the day after the old end; the gap is paid for (E-07).
        Backdate = "backdate",
        /// A person at the vendor decides (T-12, A-08).
        Refer = "refer",
    }
}

vocabulary! {
    /// What a major release in a gap means (P-14).
    MajorRelease {
        /// Nothing.
        Ignore = "ignore",
        /// An upgrade has to be bought first.
        UpgradeRequired = "upgrade_required",
    }
}

/// How the price of a term is found (N-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceRule {
    /// A person quotes.
    Quote,
    /// A part of the list price of a new license on the day of purchase (S-15, S-20).
    PartOfList(BasisPoints),
    /// A rate on the list prices of all modules, falling with the contract's years (V-12 to V-14).
    Modules,
    /// The same with the rates of a contract that was bought later than the software (V-10).
    ModulesLate,
}

/// `auto`: extension without an order (V-05). Absent, or `extend = false`: none (S-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AutoExtend {
    pub(crate) months: u32,
    pub(crate) notice_days: u32,
}

/// `group`: licenses on one dongle share one end date (P-04 to P-07). `kind = "none"` is no group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Whether all of them are renewed together (P-04).
    pub(crate) renew_all: bool,
    pub(crate) billing: GroupBilling,
}

vocabulary! {
    /// How the months up to a group's common end are paid for (N-07).
    GroupBilling {
        /// The smallest number of whole months that reaches it.
        WholeMonthsUp = "whole_months_up",
        /// Full terms, and the days of the last one by their share of it.
        Days = "days",
    }
}

/// `unlock`: a dongle's date is extended by a code (P-08). A code always carries a counter that only grows, and never shortens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unlock;

/// `free`: editions without a contract (S-28).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Free {
    pub(crate) editions: Vec<Edition>,
    /// Whether they run, download and update to any version.
    pub(crate) updates: bool,
    pub(crate) support: bool,
    pub(crate) add_ons: bool,
}

/// `addons`: purchased add-ons that need maintenance (S-09 to S-11). Absent: add-ons do not depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddOns {
    /// Which add-ons; none named: every one.
    pub(crate) ids: Vec<AddOn>,
    pub(crate) require_latest_release: bool,
}

/// `support`: one rule, for one product or for all that have none of their own (P-10, P-11, T-07, S-05). No rule: no support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Support {
    pub(crate) product: Option<ProductId>,
    pub(crate) require: SupportNeeds,
    /// For [`SupportNeeds::Tier`].
    pub(crate) tiers: Vec<TierId>,
    pub(crate) versions: SupportedVersions,
    /// By which ways, such as `email`; for people.
    pub(crate) channels: Vec<String>,
}

vocabulary! {
    /// What support needs.
    SupportNeeds {
        /// Nothing.
        None = "none",
        /// Maintenance in force.
        ActiveSma = "active_sma",
        /// Maintenance in force, of one of some tiers.
        Tier = "tier",
    }
}

vocabulary! {
    /// Which versions are supported.
    SupportedVersions {
        /// All.
        Any = "any",
        /// Those of the newest release's major version.
        LatestMajor = "latest_major",
    }
}

/// `update`: what an update request needs (T-13 to T-30).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) proof_for: Vec<Protection>,
    pub(crate) sma_checked_at: SmaCheck,
    pub(crate) vm: VmRule,
    /// The price of an update in minor units: 0 under maintenance (T-14).
    pub(crate) price_minor: i64,
    /// The fields that must be given, in the order in which missing ones are told; the credential comes last (N-13).
    pub(crate) fields: Vec<UpdateField>,
    pub(crate) credentials: Vec<CredentialRule>,
    pub(crate) request_days: u32,
}

vocabulary! {
    /// A field of an update request (T-22 to T-30).
    UpdateField {
        /// Where the upgrade code is sent (T-23).
        Email = "email",
        /// T-24.
        Serial = "serial",
        /// T-29.
        VirtualEnvironment = "virtual_environment",
        /// T-30.
        LicenseType = "license_type",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CredentialRule {
    pub(crate) serial_prefix: String,
    pub(crate) any_of: Vec<CredentialKind>,
}

/// `proof`: what a proof of deactivation must be (E-14 to E-16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) min_level: AssuranceLevel,
    pub(crate) ticket_days: u32,
    pub(crate) waivers_per_365_days: u32,
    pub(crate) overlap_days: u32,
}

/// `assurance`: what a device key must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assurance {
    pub(crate) activate_min_level: AssuranceLevel,
    /// What is sold only to better devices; no thing twice.
    pub(crate) options: Vec<OptionLevel>,
    pub(crate) returns_per_365_days: u32,
    /// How long a certificate holds that could be copied; 0 for ever.
    pub(crate) lease_days: u32,
    pub(crate) vm_contradiction: OnContradiction,
}

/// The level that a sold option needs at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OptionLevel {
    pub(crate) sold: SoldOption,
    pub(crate) min_level: AssuranceLevel,
}

/// Something that a license may have been bought with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SoldOption {
    Edition(Edition),
    AddOn(AddOn),
    LicenseType(LicenseType),
}

/// `price`: the yearly rates on module prices (V-13, V-14). The last rate holds for all later years.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Never empty.
    pub(crate) by_year: Vec<BasisPoints>,
    /// For a contract bought later than the software (V-10); empty where the file has none.
    pub(crate) late_by_year: Vec<BasisPoints>,
}

/// `expand`: what is credited when a system is expanded (V-07, N-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expand {
    pub(crate) credit: BasisPoints,
    pub(crate) requires_active_sma: bool,
}

/// `legacy`: the programme that this one replaced (V-06, A-14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Legacy {
    pub(crate) id: Option<ProgrammeId>,
    pub(crate) sold_until: CivilDate,
}

/// `remind`: one reminder before the end of cover (T-11, S-18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remind {
    pub(crate) days_before: u32,
    pub(crate) to: Audience,
    /// Who gets it where there is no reseller (T-10).
    pub(crate) fallback: Option<Audience>,
}

vocabulary! {
    /// Who a mail goes to.
    Audience {
        /// The owner of the license.
        Customer = "customer",
        /// The usual reseller (T-10).
        Reseller = "reseller",
        /// The vendor's office in the customer's region (T-10, T-20).
        VendorRegion = "vendor_region",
    }
}

/// `status`: how a customer sees maintenance (S-12, S-13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) soon: super::Soon,
    /// The colour of *Protected*, such as green.
    pub(crate) protected: String,
    /// The colour of *Expiring Soon*, such as red.
    pub(crate) expiring: String,
    /// By what staff may look a license up, for people.
    pub(crate) lookup_by: Vec<String>,
    /// By what anybody may ask for the flag, for people (T-02).
    pub(crate) public_by: Vec<String>,
}

/// `download`: who gets a release (V-11, N-16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Download {
    /// Where, for people, such as `protected`.
    pub(crate) area: Option<String>,
    pub(crate) after_expiry: AfterExpiry,
}

vocabulary! {
    /// What may be downloaded once cover has ended (N-16).
    AfterExpiry {
        /// Builds that were covered.
        EntitledBuilds = "entitled_builds",
        /// Nothing.
        None = "none",
    }
}

/// `regions`: the vendor's offices (T-20).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) id: RegionId,
    pub(crate) phone: String,
    /// Where its mail goes; without it, to the vendor's own address.
    pub(crate) email: Option<String>,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({})", self.id)
    }
}

/// `quote`: what a request for a quote must say (P-17), and how long a quote stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quote {
    pub(crate) fields: Vec<QuoteField>,
    pub(crate) valid_days: u32,
}

vocabulary! {
    /// A field of a request for a quote (P-17).
    QuoteField {
        /// Whom to answer.
        Contact = "contact",
        /// The number of the hardware key.
        DongleNumber = "dongle_number",
    }
}
