//! What a TPM says about itself: for a report to a person, never for a decision.

use upkeep::tpm::template::EkKind;

use super::Tpm;
use super::command::{Command, CommandCode};
use super::error::TpmError;
use super::scope::{Scope, read};

/// A TPM's word on itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmFacts {
    /// The maker's four letters, such as `IFX` or `IBM`.
    pub manufacturer: String,
    /// The maker's name for the model.
    pub model: String,
    /// The firmware's version, as statements carry it.
    pub firmware: u64,
    /// How many more counters can be defined; `None` where the TPM does not say.
    pub counters_left: Option<u32>,
    /// The first endorsement key that a certificate is stored for.
    pub endorsement: Option<EkKind>,
    /// Whether the owner hierarchy has a password: then no counter can be defined.
    pub owner_password: bool,
    /// Whether the endorsement hierarchy has a password: then there is no attestation.
    pub endorsement_password: bool,
    /// Whether too many wrong passwords have locked what counts them. Nothing of ours does.
    pub lockout: bool,
}

impl Tpm {
    /// Asks the TPM about itself.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn facts(&mut self) -> Result<TpmFacts, TpmError> {
        let mut scope = self.scope();
        let mut letters = |first: u32, count: u32| -> Result<String, TpmError> {
            let mut text = Vec::new();
            for property in first..first.saturating_add(count) {
                text.extend(scope.property(property)?.unwrap_or(0).to_be_bytes());
            }
            text.retain(|byte| byte.is_ascii_graphic() || *byte == b' ');
            Ok(String::from_utf8_lossy(&text).trim().to_owned())
        };
        let manufacturer = letters(TPM_PT_MANUFACTURER, 1)?;
        let model = letters(TPM_PT_VENDOR_STRING_1, 4)?;
        let high = scope.property(TPM_PT_FIRMWARE_VERSION_1)?.unwrap_or(0);
        let low = scope.property(TPM_PT_FIRMWARE_VERSION_2)?.unwrap_or(0);
        let permanent = scope.property(TPM_PT_PERMANENT)?.unwrap_or(0);
        Ok(TpmFacts {
            manufacturer,
            model,
            firmware: u64::from(high) << 32 | u64::from(low),
            counters_left: scope.counters_left()?,
            endorsement: scope.endorsement_kind()?,
            owner_password: permanent & OWNER_AUTH_SET != 0,
            endorsement_password: permanent & ENDORSEMENT_AUTH_SET != 0,
            lockout: permanent & IN_LOCKOUT != 0,
        })
    }
}

impl Scope<'_> {
    /// How many more counters can be defined.
    pub(super) fn counters_left(&mut self) -> Result<Option<u32>, TpmError> {
        self.property(TPM_PT_NV_COUNTERS_AVAIL)
    }

    /// One TPM_PT; `None` where the TPM does not have it. Source: TPM 2.0 Part 3 section 30.2.
    fn property(&mut self, property: u32) -> Result<Option<u32>, TpmError> {
        let command = Command::new(CommandCode::GetCapability)
            .u32(TPM_CAP_TPM_PROPERTIES)
            .u32(property)
            .u32(1);
        let response = self.run(&command)?;
        read(&command, &response.parameters, |reader| {
            // TPMI_YES_NO moreData, then TPMS_CAPABILITY_DATA with a TPML_TAGGED_TPM_PROPERTY.
            reader.yes_no()?;
            reader.u32()?;
            if reader.u32()? == 0 {
                return Ok(None);
            }
            let found = reader.u32()?;
            let value = reader.u32()?;
            // A TPM without this property answers with the next one that it has.
            Ok((found == property).then_some(value))
        })
    }
}

const TPM_CAP_TPM_PROPERTIES: u32 = 6;
// TPM_PT. Source: TPM 2.0 Part 2 section 6.13.
const TPM_PT_MANUFACTURER: u32 = 0x105;
const TPM_PT_VENDOR_STRING_1: u32 = 0x106;
const TPM_PT_FIRMWARE_VERSION_1: u32 = 0x10B;
const TPM_PT_FIRMWARE_VERSION_2: u32 = 0x10C;
const TPM_PT_PERMANENT: u32 = 0x200;
const TPM_PT_NV_COUNTERS_AVAIL: u32 = 0x20B;
// TPMA_PERMANENT. Source: TPM 2.0 Part 2 section 8.6.
const OWNER_AUTH_SET: u32 = 1;
const ENDORSEMENT_AUTH_SET: u32 = 1 << 1;
const IN_LOCKOUT: u32 = 1 << 9;
