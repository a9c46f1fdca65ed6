//! The fields of a row by name, and their values as text.

use upkeep::rpc::v1::{
    LicenseModule, LicenseRow, LicenseState, MaintenanceTerm, Money, Protection,
};

use crate::domain::money;

macro_rules! fields {
    ($($variant:ident $name:ident $kind:ident,)+) => {
        /// A field of [`LicenseRow`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the message documents its fields")]
        pub enum Field {
            $($variant,)+
        }

        impl Field {
            /// All of them, in the order of the message.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in the message.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($name),)+ }
            }

            /// Where a row holds it.
            pub(super) fn of(self, row: &mut LicenseRow) -> Slot<'_> {
                match self { $(Self::$variant => Slot::$kind(&mut row.$name),)+ }
            }
        }
    };
}

fields! {
    ExternalId external_id Text,
    Serial serial Text,
    ProductId product_id Text,
    CustomerId customer_id Text,
    CustomerExternalId customer_external_id Text,
    CustomerName customer_name Text,
    CustomerEmail customer_email Text,
    CustomerLanguage customer_language Text,
    CustomerRegionId customer_region_id Text,
    PartnerId partner_id Text,
    PartnerExternalId partner_external_id Text,
    PartnerName partner_name Text,
    PartnerEmail partner_email Text,
    PartnerLanguage partner_language Text,
    PartnerRegionId partner_region_id Text,
    Protection protection Protection,
    DongleNumber dongle_number Text,
    LicenseType license_type Text,
    Edition edition Text,
    AddOns add_ons Names,
    Seats seats Count,
    VirtualEnvironmentAllowed virtual_environment_allowed Flag,
    SpecialConditions special_conditions Text,
    PurchaseDate purchase_date Text,
    State state State,
    Generation generation Count,
    LicenseKind license_kind Text,
    TierId tier_id Text,
    Modules modules Modules,
    Paid paid Money,
    ProgrammeId programme_id Text,
    ProgrammeRevision programme_revision Count,
    Terms terms Terms,
    NoMaintenance no_maintenance Flag,
    CancelledDate cancelled_date Text,
    RemindedDays reminded_days Counts,
    Password password Text,
}

impl Field {
    /// The field of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }

    /// Sets it from its text form.
    ///
    /// # Errors
    /// What the text has to be.
    pub fn set(self, row: &mut LicenseRow, text: &str) -> Result<(), String> {
        self.of(row).read(text)?;
        self.check_given(row)
    }

    /// A number that says nothing stands for one that is left out, and is not to be taken for it.
    pub(super) fn check_given(self, row: &LicenseRow) -> Result<(), String> {
        match self {
            Self::Seats if row.seats == 0 => Err("must be 1 or more".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Where a field is kept, by its kind.
pub(super) enum Slot<'r> {
    Text(&'r mut String),
    Flag(&'r mut bool),
    Count(&'r mut u32),
    Counts(&'r mut Vec<u32>),
    Protection(&'r mut i32),
    State(&'r mut i32),
    Names(&'r mut Vec<String>),
    Modules(&'r mut Vec<LicenseModule>),
    Money(&'r mut Option<Money>),
    Terms(&'r mut Vec<MaintenanceTerm>),
}

impl Slot<'_> {
    /// Reads the text form.
    pub(super) fn read(self, text: &str) -> Result<(), String> {
        match self {
            Self::Text(own) => text.clone_into(own),
            Self::Flag(own) => *own = flag(text)?,
            Self::Count(own) => *own = count(text)?,
            Self::Counts(own) => *own = parts(text).map(count).collect::<Result<_, _>>()?,
            Self::Protection(own) => *own = i32::from(protection(text)?),
            Self::State(own) => *own = i32::from(state(text)?),
            Self::Names(own) => *own = parts(text).map(str::to_owned).collect(),
            Self::Modules(own) => *own = parts(text).map(module).collect::<Result<_, _>>()?,
            Self::Money(own) => *own = Some(amount(text)?),
            Self::Terms(own) => *own = parts(text).map(term).collect::<Result<_, _>>()?,
        }
        Ok(())
    }

    /// The text form; empty where it is not set.
    pub(super) fn text(&self) -> String {
        let joined = |parts: Vec<String>| parts.join(";");
        match self {
            Self::Text(own) => (*own).clone(),
            Self::Flag(own) => (if **own { "true" } else { "" }).to_owned(),
            Self::Count(own) => match **own {
                0 => String::new(),
                count => count.to_string(),
            },
            Self::Counts(own) => joined(own.iter().map(ToString::to_string).collect()),
            Self::Protection(own) => word(
                Protection::try_from(**own).map(|known| known.as_str_name()),
                PROTECTION,
            ),
            Self::State(own) => word(
                LicenseState::try_from(**own).map(|known| known.as_str_name()),
                STATE,
            ),
            Self::Names(own) => joined(own.to_vec()),
            Self::Modules(own) => joined(
                own.iter()
                    .map(|module| format!("{}:{}", module.module_id, module.count))
                    .collect(),
            ),
            Self::Money(own) => own.as_ref().map(amount_text).unwrap_or_default(),
            Self::Terms(own) => joined(
                own.iter()
                    .map(|term| format!("{}..{}", term.first_date, term.last_date))
                    .collect(),
            ),
        }
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

fn count(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| "must be a whole number, at most 4294967295".to_owned())
}

fn protection(text: &str) -> Result<Protection, String> {
    match without(text, PROTECTION).as_str() {
        "software_key" => Ok(Protection::SoftwareKey),
        "hardware_key" => Ok(Protection::HardwareKey),
        _ => Err("must be software_key or hardware_key".to_owned()),
    }
}

fn state(text: &str) -> Result<LicenseState, String> {
    match without(text, STATE).as_str() {
        "ordered" => Ok(LicenseState::Ordered),
        "issued" => Ok(LicenseState::Issued),
        "suspended" => Ok(LicenseState::Suspended),
        "revoked" => Ok(LicenseState::Revoked),
        _ => Err("must be ordered, issued, suspended or revoked".to_owned()),
    }
}

/// An enum value in lower case, without what all values of its enum begin with.
fn without(text: &str, prefix: &str) -> String {
    let text = text.to_ascii_lowercase();
    text.strip_prefix(prefix).unwrap_or(&text).to_owned()
}

fn word<E>(name: Result<&'static str, E>, prefix: &str) -> String {
    let word = name.map(|name| without(name, prefix)).unwrap_or_default();
    if word == "unspecified" {
        String::new()
    } else {
        word
    }
}

fn module(text: &str) -> Result<LicenseModule, String> {
    let (id, number) = text
        .rsplit_once(':')
        .ok_or("must be MODULE:COUNT, several with ';' between them")?;
    Ok(LicenseModule {
        module_id: id.trim().to_owned(),
        count: count(number.trim())?,
    })
}

fn term(text: &str) -> Result<MaintenanceTerm, String> {
    let (first, last) = text
        .split_once("..")
        .ok_or("must be FIRST..LAST, both days covered, several with ';' between them")?;
    Ok(MaintenanceTerm {
        first_date: first.trim().to_owned(),
        last_date: last.trim().to_owned(),
        derived: false,
    })
}

fn amount(text: &str) -> Result<Money, String> {
    let amount = money::Money::parse(text).map_err(|error| error.to_string())?;
    Ok(Money {
        minor_units: amount.minor(),
        currency_code: amount.currency().code().to_owned(),
    })
}

/// The text form, or what it comes nearest to for an amount that is none.
fn amount_text(amount: &Money) -> String {
    money::Currency::parse(&amount.currency_code)
        .and_then(|currency| money::Money::new(amount.minor_units, currency))
        .map_or_else(
            |_| format!("{} {}", amount.minor_units, amount.currency_code),
            |amount| amount.to_string(),
        )
}

const PROTECTION: &str = "protection_";
const STATE: &str = "license_state_";
