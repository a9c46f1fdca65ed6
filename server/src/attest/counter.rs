//! TPM2_NV_Certify of a counter: what it stands at (steps 10 to 14, 19 to 22 and 24).
//!
//! A counter's value never falls, in any TPM, whatever is undefined, defined again or cleared. So a statement that it is past a
//! value stays true: it proves a deactivation without a question of the server's.

use upkeep::artefact::TpmName;
use upkeep::tpm::{Attested, ClockInfo, NvPublic, NvType, alg, nv_attributes};

use super::ak::AttestationKey;
use super::error::EvidenceError;
use super::statement::statement;

/// How a counter has to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// At this value: the activation's own.
    Equal(u64),
    /// Past this value: the key bound to it is dead.
    Greater(u64),
    /// Not before this value: the last one seen.
    AtLeast(u64),
}

impl Relation {
    fn holds(self, value: u64) -> bool {
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::Greater(bound) => value > bound,
            Self::AtLeast(last) => value >= last,
        }
    }
}

/// A counter as its TPM stated it. Made only by [`nv_certify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterReading {
    value: u64,
    nv_name: TpmName,
    clock: ClockInfo,
    firmware: u64,
}

impl CounterReading {
    /// The value.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// The Name of the counter.
    pub fn nv_name(&self) -> TpmName {
        self.nv_name
    }

    /// The TPM's clock when it spoke. Whether it runs forward is for who knows what it was before.
    pub fn clock(&self) -> ClockInfo {
        self.clock
    }

    /// The TPM's firmware version, 64 bits.
    pub fn firmware(&self) -> u64 {
        self.firmware
    }
}

/// Appraises a TPM2_NV_Certify of a counter by `ak`.
///
/// Trust: `ak` and `nv_public` are those of the enrollment, or this is the enrollment; `attest` and `signature` are untrusted.
///
/// * `nv_public` - TPMS_NV_PUBLIC with WRITTEN set.   * `attest`, `signature` - TPMS_ATTEST and TPMT_SIGNATURE.
/// * `qualifying_data` - what extraData has to be, never empty.   * `relation` - how the value has to stand.
///
/// # Errors
/// Any [`EvidenceError`] of steps 10 to 14 and 19 to 22.
///
/// Source: TPM 2.0 Part 3 section 31.16 (TPM2_NV_Certify); Part 1 section 37.2.4 (counters).
pub fn nv_certify(
    ak: &AttestationKey,
    nv_public: &[u8],
    attest: &[u8],
    signature: &[u8],
    qualifying_data: &[u8],
    relation: Relation,
) -> Result<CounterReading, EvidenceError> {
    // 10 to 14
    let statement = statement(ak, attest, signature, qualifying_data)?;
    let Attested::Nv {
        index_name,
        offset,
        contents,
    } = &statement.body
    else {
        return Err(EvidenceError::Type);
    };
    // 19 and 20
    let nv_name = self::nv_public(nv_public)?.name();
    if index_name != nv_name.as_bytes() {
        return Err(EvidenceError::NvName);
    }
    // 21
    let contents = <[u8; 8]>::try_from(contents.as_slice());
    let (0, Ok(contents)) = (*offset, contents) else {
        return Err(EvidenceError::NvContents);
    };
    // 22
    let value = u64::from_be_bytes(contents);
    if !relation.holds(value) {
        return Err(EvidenceError::CounterRelation);
    }
    Ok(CounterReading {
        value,
        nv_name,
        // 24
        clock: statement.clock,
        firmware: statement.firmware,
    })
}

/// Whether a TPM's clock went on from `before` to `now`. If it did not, there was a TPM2_Clear, or two copies of one TPM speak.
///
/// Source: TPM 2.0 Part 1 section 36 (timing components).
pub fn clock_went_on(before: &ClockInfo, now: &ClockInfo) -> bool {
    (now.reset_count, now.clock) > (before.reset_count, before.clock)
}

/// Steps 19 and 20 for the public area alone: an index that was written, and that does nothing but count up for ever.
pub(super) fn nv_public(bytes: &[u8]) -> Result<NvPublic, EvidenceError> {
    let public = NvPublic::parse(bytes).map_err(|_| EvidenceError::NvForm)?;
    // The Name changes with the first write: before it, the index has no value.
    if !public.has(nv_attributes::WRITTEN) {
        return Err(EvidenceError::NvName);
    }
    let only_counts = public.nv_type() == Some(NvType::Counter)
        && public.data_size == 8
        && public.name_alg == alg::SHA256
        && public.attributes & MUST_NOT == 0;
    if !only_counts {
        return Err(EvidenceError::NvAttributes);
    }
    Ok(public)
}

/// What would let a counter jump, stand still, vanish at a reset, or be the platform's.
const MUST_NOT: u32 = nv_attributes::ORDERLY
    | nv_attributes::WRITELOCKED
    | nv_attributes::WRITEDEFINE
    | nv_attributes::WRITE_STCLEAR
    | nv_attributes::GLOBALLOCK
    | nv_attributes::READLOCKED
    | nv_attributes::READ_STCLEAR
    | nv_attributes::CLEAR_STCLEAR
    | nv_attributes::PLATFORMCREATE
    | nv_attributes::POLICY_DELETE
    | nv_attributes::PPWRITE
    | nv_attributes::PPREAD;
