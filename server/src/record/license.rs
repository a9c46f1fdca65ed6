//! The stored license.

use upkeep::date::{CivilDate, Term};
use upkeep::id::{
    AddOn, CustomerId, DongleNumber, Edition, LicenseKind, LicenseType, ModuleId, PartnerId,
    ProductId, ProgrammeId, TierId, UpgradeId,
};
use upkeep::serial::SerialNumber;

use super::wire::{
    Bad, MoneyWire, TermWire, array, date, from_micros, number_of, optional_text, text_of, value_of,
};
use super::{Record, keys};
use crate::domain::external::ExternalId;
use crate::domain::license::{
    Carrier, Contract, Imported, License, Module, PasswordVerifier, Placed, Seal, Usage,
    VmPermission,
};
use crate::domain::machine::LicenseState;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LicenseWire {
    #[prost(string, tag = "1")]
    serial: String,
    #[prost(uint32, tag = "2")]
    generation: u32,
    #[prost(uint32, tag = "3")]
    state: u32,
    #[prost(string, tag = "4")]
    product: String,
    #[prost(string, tag = "5")]
    programme: String,
    #[prost(uint32, tag = "6")]
    programme_rev: u32,
    #[prost(string, tag = "7")]
    customer: String,
    #[prost(string, tag = "8")]
    partner: String,
    #[prost(string, tag = "9")]
    dongle: String,
    #[prost(string, tag = "10")]
    license_type: String,
    #[prost(string, tag = "11")]
    edition: String,
    #[prost(string, repeated, tag = "12")]
    add_ons: Vec<String>,
    #[prost(uint32, tag = "13")]
    seats: u32,
    #[prost(bool, tag = "14")]
    vm_allowed: bool,
    #[prost(string, tag = "15")]
    purchased_on: String,
    #[prost(message, repeated, tag = "16")]
    terms: Vec<TermWire>,
    #[prost(bytes = "vec", tag = "17")]
    password_mac: Vec<u8>,
    #[prost(string, tag = "18")]
    password_argon2: String,
    #[prost(message, optional, tag = "19")]
    usage: Option<UsageWire>,
    #[prost(bytes = "vec", tag = "20")]
    open_upgrade: Vec<u8>,
    #[prost(message, optional, tag = "21")]
    seal: Option<SealWire>,
    #[prost(int64, tag = "22")]
    created_at: i64,
    #[prost(string, tag = "23")]
    kind: String,
    #[prost(message, repeated, tag = "24")]
    modules: Vec<ModuleWire>,
    #[prost(message, optional, tag = "25")]
    paid: Option<MoneyWire>,
    #[prost(string, tag = "26")]
    tier: String,
    #[prost(string, tag = "27")]
    cancelled_on: String,
    #[prost(uint32, repeated, tag = "28")]
    reminded: Vec<u32>,
    #[prost(string, tag = "29")]
    placed_last_day: String,
    #[prost(string, tag = "30")]
    placed_due_on: String,
    #[prost(string, tag = "31")]
    external_id: String,
    #[prost(bytes = "vec", tag = "32")]
    import_content: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModuleWire {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint32, tag = "2")]
    count: u32,
}

impl From<&Module> for ModuleWire {
    fn from(module: &Module) -> Self {
        Self {
            id: module.id.to_string(),
            count: module.count,
        }
    }
}

impl TryFrom<&ModuleWire> for Module {
    type Error = Bad;

    fn try_from(wire: &ModuleWire) -> Result<Self, Bad> {
        Ok(Self {
            id: ModuleId::parse(&wire.id).map_err(|_| Bad("modules"))?,
            count: wire.count,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct UsageWire {
    #[prost(uint32, tag = "1")]
    seats_taken: u32,
    #[prost(uint32, tag = "2")]
    activations: u32,
    #[prost(uint32, tag = "3")]
    unconsumed_returns: u32,
    #[prost(uint32, tag = "4")]
    return_epoch: u32,
    #[prost(string, tag = "5")]
    overlap_until: String,
    #[prost(message, repeated, tag = "6")]
    returned_on: Vec<DayWire>,
    #[prost(string, repeated, tag = "7")]
    waived_on: Vec<String>,
    #[prost(uint32, tag = "8")]
    seats_cooling: u32,
}

/// How often something happened on a day.
#[derive(Clone, PartialEq, prost::Message)]
struct DayWire {
    #[prost(string, tag = "1")]
    day: String,
    #[prost(uint32, tag = "2")]
    count: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SealWire {
    #[prost(bytes = "vec", tag = "1")]
    upgrade: Vec<u8>,
    #[prost(int64, optional, tag = "2")]
    until: Option<i64>,
}

impl Record for License {
    type Wire = LicenseWire;

    fn key(&self) -> Vec<u8> {
        keys::license(&self.serial)
    }

    fn to_wire(&self) -> LicenseWire {
        let (password_mac, password_argon2) = match &self.password {
            None => (Vec::new(), String::new()),
            Some(PasswordVerifier::Mac(mac)) => (mac.to_vec(), String::new()),
            Some(PasswordVerifier::Argon2(phc)) => (Vec::new(), phc.clone()),
        };
        LicenseWire {
            serial: self.serial.to_string(),
            generation: self.generation,
            state: number_of(STATES, self.state),
            product: self.product.to_string(),
            programme: self.programme.to_string(),
            programme_rev: self.programme_rev,
            customer: self.customer.to_string(),
            partner: self
                .partner
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            dongle: match &self.carrier {
                Carrier::SoftwareKey => String::new(),
                Carrier::HardwareKey(number) => number.to_string(),
            },
            license_type: self.license_type.to_string(),
            edition: self.edition.to_string(),
            add_ons: self.add_ons.iter().map(ToString::to_string).collect(),
            seats: self.seats,
            vm_allowed: self.vm == VmPermission::Allowed,
            purchased_on: self.purchased_on.to_string(),
            terms: self
                .terms
                .iter()
                .take(self.terms_on_record)
                .map(TermWire::from)
                .collect(),
            password_mac,
            password_argon2,
            usage: Some(usage_to_wire(&self.usage)),
            open_upgrade: self
                .open_upgrade
                .map(|id| id.as_bytes().to_vec())
                .unwrap_or_default(),
            seal: self.seal.map(|seal| SealWire {
                upgrade: seal.upgrade.as_bytes().to_vec(),
                until: seal.until.map(|at| at.timestamp_micros()),
            }),
            created_at: self.created_at.timestamp_micros(),
            kind: self.kind.to_string(),
            modules: self.modules.iter().map(ModuleWire::from).collect(),
            paid: self.paid.map(MoneyWire::from),
            tier: text_of(self.contract.tier.as_ref()),
            cancelled_on: text_of(self.contract.cancelled_on.as_ref()),
            reminded: self.contract.reminded.clone(),
            placed_last_day: text_of(self.placed.last_day.as_ref()),
            placed_due_on: text_of(self.placed.due_on.as_ref()),
            external_id: text_of(
                self.imported
                    .as_ref()
                    .and_then(|imported| imported.external.as_ref()),
            ),
            import_content: self
                .imported
                .as_ref()
                .map(|imported| imported.content.to_vec())
                .unwrap_or_default(),
        }
    }

    fn from_wire(wire: LicenseWire) -> Result<Self, Bad> {
        let password = match (
            wire.password_mac.as_slice(),
            wire.password_argon2.is_empty(),
        ) {
            ([], true) => None,
            ([], false) => Some(PasswordVerifier::Argon2(wire.password_argon2)),
            (mac, _) => Some(PasswordVerifier::Mac(array(mac, "password_mac")?)),
        };
        let terms: Vec<Term> = wire
            .terms
            .iter()
            .map(TryInto::try_into)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            serial: SerialNumber::parse(&wire.serial).map_err(|_| Bad("serial"))?,
            generation: wire.generation,
            state: value_of(STATES, wire.state, "state")?,
            product: ProductId::parse(&wire.product).map_err(|_| Bad("product"))?,
            programme: ProgrammeId::parse(&wire.programme).map_err(|_| Bad("programme"))?,
            programme_rev: wire.programme_rev,
            customer: CustomerId::parse(&wire.customer).map_err(|_| Bad("customer"))?,
            partner: optional_text(&wire.partner, "partner", PartnerId::parse)?,
            carrier: match optional_text(&wire.dongle, "dongle", DongleNumber::parse)? {
                None => Carrier::SoftwareKey,
                Some(number) => Carrier::HardwareKey(number),
            },
            kind: LicenseKind::parse(&wire.kind).map_err(|_| Bad("kind"))?,
            modules: wire
                .modules
                .iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            paid: wire.paid.map(TryInto::try_into).transpose()?,
            license_type: LicenseType::parse(&wire.license_type)
                .map_err(|_| Bad("license_type"))?,
            edition: Edition::parse(&wire.edition).map_err(|_| Bad("edition"))?,
            add_ons: wire
                .add_ons
                .iter()
                .map(|text| AddOn::parse(text).map_err(|_| Bad("add_ons")))
                .collect::<Result<_, _>>()?,
            seats: wire.seats,
            vm: if wire.vm_allowed {
                VmPermission::Allowed
            } else {
                VmPermission::NotAllowed
            },
            purchased_on: date(&wire.purchased_on, "purchased_on")?,
            terms_on_record: terms.len(),
            terms,
            contract: Contract {
                tier: optional_text(&wire.tier, "tier", TierId::parse)?,
                cancelled_on: optional_text(&wire.cancelled_on, "cancelled_on", CivilDate::parse)?,
                reminded: wire.reminded,
            },
            placed: Placed {
                last_day: optional_text(&wire.placed_last_day, "placed", CivilDate::parse)?,
                due_on: optional_text(&wire.placed_due_on, "placed", CivilDate::parse)?,
            },
            password,
            usage: usage_from_wire(wire.usage.unwrap_or_default())?,
            open_upgrade: match wire.open_upgrade.as_slice() {
                [] => None,
                bytes => Some(UpgradeId::from_slice(bytes).map_err(|_| Bad("open_upgrade"))?),
            },
            seal: wire.seal.map(seal_from_wire).transpose()?,
            imported: match wire.import_content.as_slice() {
                [] => None,
                content => Some(Imported {
                    external: optional_text(&wire.external_id, "external_id", ExternalId::parse)?,
                    content: array(content, "import_content")?,
                }),
            },
            created_at: from_micros(wire.created_at, "created_at")?,
        })
    }
}

fn usage_to_wire(usage: &Usage) -> UsageWire {
    UsageWire {
        seats_taken: usage.seats_taken,
        activations: usage.activations,
        unconsumed_returns: usage.unconsumed_returns,
        return_epoch: usage.return_epoch,
        overlap_until: usage
            .overlap_until
            .map(|day| day.to_string())
            .unwrap_or_default(),
        returned_on: usage
            .returned_on
            .iter()
            .map(|(day, count)| DayWire {
                day: day.to_string(),
                count: *count,
            })
            .collect(),
        waived_on: usage.waived_on.iter().map(ToString::to_string).collect(),
        seats_cooling: usage.seats_cooling,
    }
}

fn usage_from_wire(wire: UsageWire) -> Result<Usage, Bad> {
    let days = |texts: &[String]| {
        texts
            .iter()
            .map(|text| date(text, "usage"))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Usage {
        seats_taken: wire.seats_taken,
        seats_cooling: wire.seats_cooling,
        activations: wire.activations,
        unconsumed_returns: wire.unconsumed_returns,
        return_epoch: wire.return_epoch,
        overlap_until: if wire.overlap_until.is_empty() {
            None
        } else {
            Some(date(&wire.overlap_until, "usage")?)
        },
        returned_on: wire
            .returned_on
            .iter()
            .map(|entry| Ok((date(&entry.day, "usage")?, entry.count)))
            .collect::<Result<_, Bad>>()?,
        waived_on: days(&wire.waived_on)?,
    })
}

fn seal_from_wire(wire: SealWire) -> Result<Seal, Bad> {
    Ok(Seal {
        upgrade: UpgradeId::from_slice(&wire.upgrade).map_err(|_| Bad("seal"))?,
        until: wire.until.map(|at| from_micros(at, "seal")).transpose()?,
    })
}

const STATES: &[(LicenseState, u32)] = &[
    (LicenseState::Ordered, 1),
    (LicenseState::Issued, 2),
    (LicenseState::Suspended, 3),
    (LicenseState::Superseded, 4),
    (LicenseState::Revoked, 5),
];
