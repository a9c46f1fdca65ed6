//! A story: dated steps in the life of some licenses, replayed against a programme by the rules that the server applies.
//!
//! `read` makes one from its file, `run` plays it, `passing` adds what follows from the dates alone, and `timeline` is what comes out.
//! Pure, so a vendor checks its stories wherever it checks its programme file.

mod act;
mod ask;
mod books;
mod built_in;
mod dongle;
mod expect;
mod passing;
mod read;
mod run;
mod timeline;

use upkeep::date::CivilDate;
use upkeep::id::{AddOn, DongleNumber, Edition, LicenseKind, ModuleId, ProductId, TierId};
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use self::books::Books;
use self::expect::Expect;
use crate::domain::maintenance::VmProduct;
use crate::domain::maintenance::purchase::Kind;
use crate::domain::money::Money;
use crate::domain::programme::policy::UpdateField;
use crate::domain::programme::{CredentialKind, Programme, ProgrammeErrors};
use crate::domain::upgrade_check::Returns;
use crate::domain::vocabulary::vocabulary;

pub use self::built_in::{built_in, built_in_names};
pub use self::expect::Fact;
pub use self::timeline::{Event, Paid, Timeline, Unmet, What};

/// A story. Made from its file by [`Story::parse`] only: its steps are in the order of their dates, and each is about a license that
/// a step before it buys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    title: String,
    books: Books,
    steps: Vec<Step>,
}

impl Story {
    /// Reads a story from the TOML text of the file called `file`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with file and key.
    pub fn parse(file: &str, text: &str) -> Result<Self, ProgrammeErrors> {
        read::read(file, text)
    }

    /// Plays the story under `programme`.
    pub fn run(&self, programme: &Programme) -> Timeline {
        run::run(programme, self)
    }
}

/// What is done on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    on: CivilDate,
    /// The license that it is about, by its name in the story.
    license: String,
    action: Action,
    expect: Expect,
}

vocabulary! {
    /// The word of an action.
    Word {
        /// A new license is bought.
        Buy = "buy",
        /// Maintenance is renewed.
        Renew = "renew",
        /// Maintenance is bought again after a lapse.
        Reinstate = "reinstate",
        /// Maintenance is bought, and the day decides what that is.
        Order = "order",
        /// The contract is to end with its term.
        Cancel = "cancel",
        /// That is taken back.
        WithdrawCancellation = "withdraw_cancellation",
        /// The vendor ends the contract for good.
        Terminate = "terminate",
        /// Somebody asks how maintenance stands.
        Status = "status",
        /// A build is started.
        Run = "run",
        /// A build is downloaded.
        Download = "download",
        /// Support is asked for.
        Support = "support",
        /// An add-on is used.
        AddOn = "add_on",
        /// An update is asked for.
        UpdateRequest = "update_request",
        /// All licenses on the dongle are brought to one end, this one being the new one.
        AddToGroup = "add_to_group",
        /// Licenses on one dongle are renewed together.
        RenewGroup = "renew_group",
        /// An unlock code is made and taken by the dongle.
        Unlock = "unlock",
        /// The system is expanded.
        Expand = "expand",
        /// The fees of the years ahead are asked for.
        Fees = "fees",
        /// Time passes.
        Until = "until",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Buy(Box<Buy>),
    /// Renew, reinstate, order.
    Order {
        /// `None` lets the day decide.
        wanted: Option<Kind>,
        terms: u32,
    },
    Cancel,
    WithdrawCancellation,
    Terminate,
    Status,
    Run(Build),
    Download(Build),
    /// With the version that runs; the newest where none is named.
    Support(Option<Version>),
    AddOn {
        add_on: AddOn,
        /// The version that runs; the newest where none is named.
        version: Option<Version>,
    },
    UpdateRequest(Box<Request>),
    AddToGroup,
    RenewGroup {
        /// `None` for every license on the dongle.
        licenses: Option<Vec<String>>,
        terms: u32,
    },
    /// The number of an earlier code that is taken again, from 1; `None` makes the next one.
    Unlock(Option<u32>),
    Expand {
        product: Option<ProductId>,
        edition: Option<Edition>,
        modules: Option<Vec<(ModuleId, u32)>>,
    },
    Fees {
        years: u32,
    },
    Until,
}

/// A license that is bought.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Buy {
    license: Bought,
    vm: VmProduct,
    /// Terms of maintenance that are bought with it.
    terms: Option<u32>,
}

/// What a license is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bought {
    product: ProductId,
    edition: Edition,
    kind: LicenseKind,
    tier: Option<TierId>,
    /// Whether it was bought from a reseller (T-10).
    reseller: bool,
    dongle: Option<DongleNumber>,
    serial: Option<SerialNumber>,
    add_ons: Vec<AddOn>,
    /// How many of each software module (V-12).
    modules: Vec<(ModuleId, u32)>,
    /// What was paid for it; `None` takes its list price on the day of purchase (V-07).
    paid: Option<Money>,
}

/// A build of the product.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Build {
    Version(Version),
    Date(CivilDate),
}

/// An update request (T-22 to T-30).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    /// The fields that are filled in; `None` for all that the programme asks for.
    given: Option<Vec<UpdateField>>,
    credentials: Vec<CredentialKind>,
    virtual_environment: bool,
    returns: Returns,
}
