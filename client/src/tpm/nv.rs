//! NV indices: the certificates that the maker stored, and the counter of an activation.

use upkeep::tpm::template;
use upkeep::tpm::{NvPublic, nv_attributes};

use super::code::ResponseCode;
use super::command::{Auth, Command, CommandCode};
use super::error::{TpmError, within};
use super::scope::{Scope, TPM_RH_OWNER, read};

impl Scope<'_> {
    /// The public part of an index and its bytes, `None` where nothing is defined. Source: TPM 2.0 Part 3 section 31.6.
    pub(super) fn nv_public(&mut self, index: u32) -> Result<Option<NvPublic>, TpmError> {
        let command = Command::new(CommandCode::NvReadPublic).handle(index);
        let response = match self.run(&command) {
            Ok(response) => response,
            Err(error) if error.is_no_such_handle() => return Ok(None),
            Err(error) => return Err(error),
        };
        let public = read(&command, &response.parameters, |reader| {
            let public = reader.sized(MAX_NV_PUBLIC)?.to_vec();
            reader.sized(MAX_NAME)?;
            Ok(public)
        })?;
        NvPublic::parse(&public)
            .map(Some)
            .map_err(within(command.code().name()))
    }

    /// The contents of an index, read in pieces; `None` where nothing is defined or was written. Source: TPM 2.0 Part 3 section 31.13.
    pub(super) fn nv_contents(&mut self, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
        let Some(public) = self
            .nv_public(index)?
            .filter(|public| public.has(nv_attributes::WRITTEN))
        else {
            return Ok(None);
        };
        let reader = if public.has(nv_attributes::AUTHREAD) {
            index
        } else {
            TPM_RH_OWNER
        };
        let mut contents = Vec::new();
        while let Some(left) = usize::from(public.data_size)
            .checked_sub(contents.len())
            .filter(|left| *left > 0)
        {
            let offset = u16::try_from(contents.len()).unwrap_or(u16::MAX);
            let size = u16::try_from(left.min(MAX_PIECE)).unwrap_or(u16::MAX);
            let command = Command::new(CommandCode::NvRead)
                .authorized(reader, Auth::EmptyPassword)
                .handle(index)
                .u16(size)
                .u16(offset);
            let response = self.run(&command)?;
            let piece = read(&command, &response.parameters, |reader| {
                reader.sized(usize::from(size)).map(<[u8]>::to_vec)
            })?;
            if piece.len() != usize::from(size) {
                return Err(TpmError::malformed(
                    command.code().name(),
                    "it is too short",
                ));
            }
            contents.extend_from_slice(&piece);
        }
        Ok(Some(contents))
    }

    /// Where the counter stands; `None` before its first increment and where it is gone.
    pub(super) fn counter_value(&mut self, index: u32) -> Result<Option<u64>, TpmError> {
        let Some(contents) = self.nv_contents(index)? else {
            return Ok(None);
        };
        <[u8; 8]>::try_from(contents.as_slice())
            .map(|bytes| Some(u64::from_be_bytes(bytes)))
            .map_err(|_| TpmError::IndexTaken { index })
    }

    /// Where our counter stands; `None` also where something else is.
    pub(super) fn own_counter_value(&mut self, index: u32) -> Result<Option<u64>, TpmError> {
        match self.nv_public(index)? {
            Some(there) if is_ours(&there) => self.counter_value(index),
            Some(_) | None => Ok(None),
        }
    }

    /// Deletes an index of the owner's. Source: TPM 2.0 Part 3 section 31.4.
    pub(super) fn undefine(&mut self, index: u32) -> Result<(), TpmError> {
        let command = Command::new(CommandCode::UndefineSpace)
            .authorized(TPM_RH_OWNER, Auth::EmptyPassword)
            .handle(index);
        self.run(&command).map(drop)
    }

    /// Adds one; the first time, one more than any counter had that this TPM has deleted. Source: TPM 2.0 Part 3 section 31.8.
    pub(super) fn increment(&mut self, index: u32) -> Result<(), TpmError> {
        let command = Command::new(CommandCode::Increment)
            .authorized(index, Auth::EmptyPassword)
            .handle(index);
        self.run(&command).map(drop)
    }

    /// Makes sure that our counter is defined at `index`; `true` when it was not before.
    ///
    /// # Errors
    /// [`TpmError::IndexTaken`] when something else is, [`TpmError::NoSpace`].
    pub(super) fn define_counter(&mut self, index: u32) -> Result<bool, TpmError> {
        let command = Command::new(CommandCode::DefineSpace)
            .authorized(TPM_RH_OWNER, Auth::EmptyPassword)
            .sized(&[])
            .sized(&template::counter(index, false).to_bytes());
        // Looked at first: a TPM without space may still have it.
        match self.nv_public(index)? {
            Some(there) if is_ours(&there) => Ok(false),
            Some(_) => Err(TpmError::IndexTaken { index }),
            None => match self.run(&command) {
                Ok(_) => Ok(true),
                Err(error) if error.code() == Some(ResponseCode::NV_DEFINED) => {
                    Err(TpmError::IndexTaken { index })
                }
                Err(error) => Err(error),
            },
        }
    }
}

/// Whether an index is a counter as [`template::counter`] defines it, written or not.
fn is_ours(there: &NvPublic) -> bool {
    [false, true]
        .into_iter()
        .any(|written| *there == template::counter(there.index, written))
}

const MAX_NV_PUBLIC: usize = 128;
const MAX_NAME: usize = 68;
/// Every TPM reads so much at once (TPM_PT_NV_BUFFER_MAX is at least 512 in the PC Client profile).
const MAX_PIECE: usize = 512;
