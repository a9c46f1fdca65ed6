//! `state.json`: the text of the whole state, versioned, and its strict reading.
//!
//! Unknown members are refused, and so is everything that does not verify: a changed certificate, or one for another device. The TPM keys
//! in it are of no use without their chip.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use upkeep::code::Code;
use upkeep::id::RequestId;
use upkeep::key::SigningKey;
use upkeep::serial::SerialNumber;
use upkeep::trust::TrustedKeys;
use upkeep::version::Version;

use super::state::{
    AskedActivation, AskedRedeem, Held, Journal, PendingActivation, PendingRedeem, State,
    Tombstone, UpgradeFile, VirtualEnvironment,
};
use crate::attester::{Attester, AttesterChoice};
use crate::device::{Device, TpmDevice};
use crate::verify;

/// Everything that `state.json` says.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// What stands here.
    pub(crate) state: State,
    /// The last return, while another license stands here: its proof and receipt stay exportable.
    pub(crate) returned: Option<Journal>,
    /// Which kind of device key a new activation gets.
    pub(crate) choice: AttesterChoice,
}

impl Record {
    /// Nothing yet.
    pub(crate) fn empty() -> Self {
        Self {
            state: State::Empty,
            returned: None,
            choice: AttesterChoice::default(),
        }
    }

    /// Whether the keys that it was read with verify all that is held.
    pub(crate) fn is_verified(&self) -> bool {
        fn journal(journal: &Journal) -> bool {
            journal.held().is_none_or(|held| held.verified().is_some())
        }

        fn state(of: &State) -> bool {
            match of {
                State::Active(held) => held.verified().is_some(),
                State::Upgraded(file) => file.verified().is_some(),
                State::Releasing(one) | State::Deactivated(one) => journal(one),
                State::Activating(pending) => state(pending.before()),
                State::Redeeming(pending) => state(pending.before()),
                State::Empty => true,
            }
        }

        state(&self.state) && self.returned.iter().all(journal)
    }

    /// The text of the file.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&Document {
            format: FORMAT,
            state: StateText::from(&self.state),
            returned: self.returned.as_ref().map(JournalText::from),
            attester: Some(self.choice.attester).filter(|attester| *attester != Attester::Auto),
            tpm: self.choice.tpm.as_ref().map(ToString::to_string),
        })
    }

    /// Reads the text of the file.
    ///
    /// Trust: certificates and upgrade codes are verified by `keys`, unless those do not have the key that signed, and must be for the TPM
    /// key that stands beside them, else for `software`, the store's own.
    pub(crate) fn from_json(
        text: &str,
        keys: &TrustedKeys,
        software: &Arc<SigningKey>,
    ) -> Result<Self, Unreadable> {
        let document: Document = read_versioned(text)?;
        let reader = Reader { keys, software };
        let state = reader.state(document.state)?;
        if let State::Activating(PendingActivation { before, .. })
        | State::Redeeming(PendingRedeem { before, .. }) = &state
            && matches!(**before, State::Activating(_) | State::Redeeming(_))
        {
            return Err(Unreadable::damaged(
                "an unfinished request stands on another",
            ));
        }
        Ok(Self {
            state,
            returned: document
                .returned
                .map(|text| reader.journal(text))
                .transpose()?,
            choice: AttesterChoice {
                attester: document.attester.unwrap_or_default(),
                tpm: document
                    .tpm
                    .map(|text| text.parse().map_err(Unreadable::damaged))
                    .transpose()?,
            },
        })
    }
}

/// Reads a versioned JSON document: its format first, then strictly.
pub(super) fn read_versioned<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Unreadable> {
    let probe: Probe = serde_json::from_str(text).map_err(Unreadable::damaged)?;
    if probe.format > FORMAT {
        return Err(Unreadable::Newer(probe.format));
    }
    if probe.format < FORMAT {
        return Err(Unreadable::damaged("its format is none that ever was"));
    }
    serde_json::from_str(text).map_err(Unreadable::damaged)
}

/// Why a file of the store says nothing.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Newer(u32),
    Damaged(String),
}

impl Unreadable {
    fn damaged(why: impl ToString) -> Self {
        Self::Damaged(why.to_string())
    }
}

/// The format that this version writes and reads.
pub(super) const FORMAT: u32 = 1;

#[derive(Deserialize)]
struct Probe {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    state: StateText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    returned: Option<JournalText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attester: Option<Attester>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tpm: Option<String>,
}

/// A device key; absent where it is the store's own and nobody looked for a TPM.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DeviceText {
    Software(String),
    Tpm(Box<TpmDevice>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateText {
    Empty,
    Activating(ActivatingText),
    Active(HeldText),
    Upgraded(String),
    Redeeming(RedeemingText),
    Releasing(JournalText),
    Deactivated(JournalText),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivatingText {
    asked: AskedActivation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceText>,
    before: Box<StateText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedeemingText {
    request_id: RequestId,
    serial: SerialNumber,
    code: String,
    version: Version,
    virtual_environment: VirtualEnvironment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceText>,
    before: Box<StateText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldText {
    certificate: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    product_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalText {
    tombstone: Tombstone,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<HeldText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ended_key: bool,
}

impl From<&State> for StateText {
    fn from(state: &State) -> Self {
        match state {
            State::Empty => Self::Empty,
            State::Activating(pending) => Self::Activating(ActivatingText {
                asked: pending.asked.clone(),
                device: device_text(&pending.device),
                before: Box::new(Self::from(&*pending.before)),
            }),
            State::Active(held) => Self::Active(HeldText::from(held)),
            State::Upgraded(file) => Self::Upgraded(file.code.clone()),
            State::Redeeming(pending) => Self::Redeeming(RedeemingText {
                request_id: pending.asked.request_id,
                serial: pending.asked.serial.clone(),
                code: pending.asked.code.canonical().to_owned(),
                version: pending.asked.version.clone(),
                virtual_environment: pending.asked.virtual_environment,
                device: device_text(&pending.device),
                before: Box::new(Self::from(&*pending.before)),
            }),
            State::Releasing(journal) => Self::Releasing(JournalText::from(journal)),
            State::Deactivated(journal) => Self::Deactivated(JournalText::from(journal)),
        }
    }
}

impl From<&Held> for HeldText {
    fn from(held: &Held) -> Self {
        Self {
            certificate: held.certificate.clone(),
            product_code: held
                .product_code
                .as_ref()
                .map(|code| code.canonical().to_owned()),
            device: device_text(&held.device),
        }
    }
}

fn device_text(device: &Device) -> Option<DeviceText> {
    match device {
        Device::Software(_) => device
            .because()
            .map(|because| DeviceText::Software(because.to_owned())),
        Device::Tpm(device) => Some(DeviceText::Tpm(Box::new(TpmDevice::clone(device)))),
    }
}

impl From<&Journal> for JournalText {
    fn from(journal: &Journal) -> Self {
        Self {
            tombstone: journal.tombstone.clone(),
            device: device_text(&journal.device),
            ticket: journal.ticket.clone(),
            held: journal.held.as_ref().map(HeldText::from),
            proof: journal.proof.clone(),
            receipt: journal.receipt.clone(),
            ended_key: journal.ended_key,
        }
    }
}

/// What the reading of a state trusts.
struct Reader<'a> {
    keys: &'a TrustedKeys,
    software: &'a Arc<SigningKey>,
}

impl Reader<'_> {
    fn device(&self, text: Option<DeviceText>) -> Device {
        match text {
            Some(DeviceText::Tpm(device)) => Device::Tpm(Arc::from(device)),
            Some(DeviceText::Software(because)) => {
                Device::software(Arc::clone(self.software), Some(because.into()))
            }
            None => Device::software(Arc::clone(self.software), None),
        }
    }

    fn state(&self, text: StateText) -> Result<State, Unreadable> {
        Ok(match text {
            StateText::Empty => State::Empty,
            StateText::Activating(text) => State::Activating(PendingActivation {
                asked: text.asked,
                device: self.device(text.device),
                before: Box::new(self.state(*text.before)?),
            }),
            StateText::Active(text) => State::Active(self.held(text)?),
            StateText::Upgraded(code) => {
                let kept = verify::held_upgrade_code(
                    &code,
                    self.keys,
                    &self.software.public_key().thumbprint(),
                )
                .map_err(Unreadable::damaged)?;
                State::Upgraded(UpgradeFile::new(code, kept))
            }
            StateText::Redeeming(text) => State::Redeeming(PendingRedeem {
                asked: AskedRedeem {
                    request_id: text.request_id,
                    serial: text.serial,
                    code: Code::parse(&text.code).map_err(Unreadable::damaged)?,
                    version: text.version,
                    virtual_environment: text.virtual_environment,
                },
                device: self.device(text.device),
                before: Box::new(self.state(*text.before)?),
            }),
            StateText::Releasing(text) => State::Releasing(self.journal(text)?),
            StateText::Deactivated(text) => State::Deactivated(self.journal(text)?),
        })
    }

    fn held(&self, text: HeldText) -> Result<Held, Unreadable> {
        let device = self.device(text.device);
        let kept = verify::held_certificate(&text.certificate, self.keys, &device)
            .map_err(Unreadable::damaged)?;
        let code = text.product_code.as_deref().map(Code::parse).transpose();
        let code = code.map_err(Unreadable::damaged)?;
        Ok(Held::new(text.certificate, kept, code, device))
    }

    fn journal(&self, text: JournalText) -> Result<Journal, Unreadable> {
        let device = self.device(text.device);
        if text.tombstone.jkt != device.thumbprint() {
            return Err(Unreadable::damaged("it is the return of another device"));
        }
        Ok(Journal {
            tombstone: text.tombstone,
            device,
            ticket: text.ticket,
            held: text.held.map(|held| self.held(held)).transpose()?,
            proof: text.proof,
            receipt: text.receipt,
            ended_key: text.ended_key,
        })
    }
}
