//! TPMS_NV_PUBLIC: the public part of an NV index, whose hash is the index' Name (TPM 2.0 Part 2 section 13.5).

use super::{Name, Reader, WireError, Writer, name_of};

/// The public area of an NV index, TPMS_NV_PUBLIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvPublic {
    /// The handle, `0x01xxxxxx`.
    pub index: u32,
    /// The hash that the Name is made with, TPM_ALG_ID.
    pub name_alg: u16,
    /// TPMA_NV: of [`nv_attributes`] and the type; reserved bits are clear.
    pub attributes: u32,
    /// The policy that must be satisfied to use it, at most 64 bytes; empty for none.
    pub auth_policy: Vec<u8>,
    /// The size of the contents in bytes.
    pub data_size: u16,
}

/// Bits of TPMA_NV. Source: TPM 2.0 Part 2 section 13.4.
pub mod nv_attributes {
    /// The platform may write.
    pub const PPWRITE: u32 = 1;
    /// The owner may write.
    pub const OWNERWRITE: u32 = 1 << 1;
    /// Who knows the index' password may write.
    pub const AUTHWRITE: u32 = 1 << 2;
    /// Who satisfies the index' policy may write.
    pub const POLICYWRITE: u32 = 1 << 3;
    /// Only the policy allows to delete it.
    pub const POLICY_DELETE: u32 = 1 << 10;
    /// Writing is locked.
    pub const WRITELOCKED: u32 = 1 << 11;
    /// A write must be of the whole contents.
    pub const WRITEALL: u32 = 1 << 12;
    /// Writing can be locked for ever.
    pub const WRITEDEFINE: u32 = 1 << 13;
    /// Writing can be locked until the next reset.
    pub const WRITE_STCLEAR: u32 = 1 << 14;
    /// The global lock locks it.
    pub const GLOBALLOCK: u32 = 1 << 15;
    /// The platform may read.
    pub const PPREAD: u32 = 1 << 16;
    /// The owner may read.
    pub const OWNERREAD: u32 = 1 << 17;
    /// Who knows the index' password may read.
    pub const AUTHREAD: u32 = 1 << 18;
    /// Who satisfies the index' policy may read.
    pub const POLICYREAD: u32 = 1 << 19;
    /// Wrong passwords do not lock the TPM.
    pub const NO_DA: u32 = 1 << 25;
    /// Kept in RAM and saved at an orderly shutdown only.
    pub const ORDERLY: u32 = 1 << 26;
    /// A reset makes it unwritten again.
    pub const CLEAR_STCLEAR: u32 = 1 << 27;
    /// Reading is locked.
    pub const READLOCKED: u32 = 1 << 28;
    /// It has been written, so it has contents.
    pub const WRITTEN: u32 = 1 << 29;
    /// The platform made it, and only the platform deletes it.
    pub const PLATFORMCREATE: u32 = 1 << 30;
    /// Reading can be locked until the next reset.
    pub const READ_STCLEAR: u32 = 1 << 31;
    /// TPM_NT_COUNTER in the type's place: only TPM2_NV_Increment writes it.
    pub const NT_COUNTER: u32 = 1 << NT_SHIFT;

    pub(super) const NT_SHIFT: u32 = 4;
    pub(super) const RESERVED: u32 = 0x01f0_0300;
}

/// The type of an index, TPM_NT. Source: TPM 2.0 Part 2 section 13.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvType {
    /// Any contents.
    Ordinary,
    /// A number that only grows.
    Counter,
    /// Bits that are only set.
    Bits,
    /// A digest that is only extended.
    Extend,
    /// A PIN that failures count against.
    PinFail,
    /// A PIN that uses count against.
    PinPass,
}

impl NvPublic {
    /// Reads a TPMS_NV_PUBLIC of at most 8 KiB, without the length of a TPM2B_NV_PUBLIC before it.
    ///
    /// # Errors
    /// [`WireError`]; a handle that is no NV index, reserved bits and reserved types among them.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes)?;
        let public = Self {
            index: reader.u32()?,
            name_alg: reader.u16()?,
            attributes: reader.u32()?,
            auth_policy: reader.sized(MAX_DIGEST)?.to_vec(),
            data_size: reader.u16()?,
        };
        reader.finish()?;
        if public.index >> 24 != TPM_HT_NV_INDEX {
            return Err(refused("TPMI_RH_NV_INDEX", public.index));
        }
        if public.attributes & nv_attributes::RESERVED != 0 || public.nv_type().is_none() {
            return Err(refused("TPMA_NV", public.attributes));
        }
        Ok(public)
    }

    /// The TPMS_NV_PUBLIC: the very bytes that [`Self::parse`] accepted.
    pub fn to_bytes(&self) -> Vec<u8> {
        Writer::new()
            .u32(self.index)
            .u16(self.name_alg)
            .u32(self.attributes)
            .sized(&self.auth_policy)
            .u16(self.data_size)
            .finish()
    }

    /// The index' Name, for an index whose `name_alg` is SHA-256. It changes with the first write, and it is the same in every TPM
    /// that has such an index.
    pub fn name(&self) -> Name {
        name_of(&self.to_bytes())
    }

    /// Whether every bit of `wanted` is set.
    pub fn has(&self, wanted: u32) -> bool {
        self.attributes & wanted == wanted
    }

    /// The type in the attributes, unless it is a reserved one.
    pub fn nv_type(&self) -> Option<NvType> {
        match self.attributes >> nv_attributes::NT_SHIFT & 0xf {
            0 => Some(NvType::Ordinary),
            1 => Some(NvType::Counter),
            2 => Some(NvType::Bits),
            4 => Some(NvType::Extend),
            8 => Some(NvType::PinFail),
            9 => Some(NvType::PinPass),
            _ => None,
        }
    }
}

fn refused(field: &'static str, value: u32) -> WireError {
    WireError::Value { field, value }
}

const MAX_DIGEST: usize = 64;
/// TPM_HT_NV_INDEX (Part 2 section 7.2).
const TPM_HT_NV_INDEX: u32 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::template;

    #[test]
    fn an_index_has_one_encoding() {
        let counter = template::counter(0x0180_0001, true);
        let bytes = counter.to_bytes();
        assert_eq!(NvPublic::parse(&bytes).as_ref(), Ok(&counter));
        assert_eq!(counter.nv_type(), Some(NvType::Counter));
        assert!(counter.has(nv_attributes::WRITTEN | nv_attributes::NO_DA));
        assert!(!counter.has(nv_attributes::WRITTEN | nv_attributes::ORDERLY));
    }

    #[test]
    fn what_the_specification_reserves_is_refused() {
        let good = template::counter(0x0180_0001, true);
        for bit in [8, 9, 20, 21, 22, 23, 24] {
            let bytes = NvPublic {
                attributes: good.attributes | 1 << bit,
                ..good.clone()
            }
            .to_bytes();
            let refused = NvPublic::parse(&bytes);
            assert!(
                matches!(refused, Err(WireError::Value { .. })),
                "bit {bit}: {refused:?}"
            );
        }
        for kind in [3, 5, 6, 7, 10, 15] {
            let bytes = NvPublic {
                attributes: good.attributes & !0xf0 | kind << 4,
                ..good.clone()
            }
            .to_bytes();
            assert!(NvPublic::parse(&bytes).is_err(), "type {kind}");
        }
        for index in [0, 0x8180_0001] {
            let bytes = NvPublic {
                index,
                ..good.clone()
            }
            .to_bytes();
            assert!(NvPublic::parse(&bytes).is_err(), "{index:#x}");
        }
    }
}
