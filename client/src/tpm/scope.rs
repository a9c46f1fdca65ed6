//! What one operation loads into the TPM, and the commands on it. Whatever the operation comes to, nothing of it stays there.
//!
//! A TPM without a resource manager holds three objects and three sessions, so each operation loads little and lets go early.

use upkeep::tpm::{NvPublic, Public, Reader, alg};

use super::channel::Channel;
use super::code::ResponseCode;
use super::command::{Auth, Command, CommandCode, NONCE, Response};
use super::error::{TpmError, within};
use super::key::Certified;

/// The handles that one operation has loaded, flushed when it ends.
pub(super) struct Scope<'a> {
    channel: &'a mut Channel,
    loaded: Vec<u32>,
}

/// A key in the TPM.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Where it is.
    pub(super) handle: u32,
    /// Its TPMT_PUBLIC as the TPM gave it.
    pub(super) public: Vec<u8>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(channel: &'a mut Channel) -> Self {
        Self {
            channel,
            loaded: Vec::new(),
        }
    }

    /// Runs a command that loads nothing.
    pub(super) fn run(&mut self, command: &Command) -> Result<Response, TpmError> {
        self.channel.run(command)
    }

    /// A primary key of a hierarchy, made again from its template. Source: TPM 2.0 Part 3 section 24.1.
    pub(super) fn create_primary(
        &mut self,
        hierarchy: u32,
        template: &[u8],
    ) -> Result<Loaded, TpmError> {
        let command = Command::new(CommandCode::CreatePrimary)
            .authorized(hierarchy, Auth::EmptyPassword)
            .sized(NO_SENSITIVE)
            .sized(template)
            .sized(&[])
            .u32(NO_PCRS);
        let response = self.load(&command)?;
        let name = command.code().name();
        let public = Reader::new(&response.1)
            .and_then(|mut reader| reader.sized(MAX_PUBLIC).map(<[u8]>::to_vec))
            .map_err(within(name))?;
        Ok(Loaded {
            handle: response.0,
            public,
        })
    }

    /// A new key under `parent`: its private part, wrapped for this parent, and its TPMT_PUBLIC. Source: TPM 2.0 Part 3 section 12.1.
    pub(super) fn create(
        &mut self,
        parent: &Loaded,
        template: &Public,
    ) -> Result<(Vec<u8>, Vec<u8>), TpmError> {
        let command = Command::new(CommandCode::Create)
            .authorized(parent.handle, Auth::EmptyPassword)
            .sized(NO_SENSITIVE)
            .sized(&template.to_bytes())
            .sized(&[])
            .u32(NO_PCRS);
        let response = self.run(&command)?;
        read(&command, &response.parameters, |reader| {
            let private = reader.sized(MAX_PRIVATE)?.to_vec();
            let public = reader.sized(MAX_PUBLIC)?.to_vec();
            // creationData, creationHash, creationTicket: they tell nothing that TPM2_Certify does not.
            reader.sized(MAX_PUBLIC)?;
            reader.sized(MAX_DIGEST)?;
            reader.bytes(6)?;
            reader.sized(MAX_DIGEST)?;
            Ok((private, public))
        })
    }

    /// Loads a key that [`Scope::create`] made. Source: TPM 2.0 Part 3 section 12.2.
    pub(super) fn load_key(
        &mut self,
        parent: &Loaded,
        private: &[u8],
        public: &[u8],
    ) -> Result<Loaded, TpmError> {
        let command = Command::new(CommandCode::Load)
            .authorized(parent.handle, Auth::EmptyPassword)
            .sized(private)
            .sized(public);
        match self.load(&command) {
            Ok((handle, _)) => Ok(Loaded {
                handle,
                public: public.to_vec(),
            }),
            Err(error) if error.code().is_some_and(|code| code.is_integrity()) => {
                Err(TpmError::OtherTpm)
            }
            Err(error) => Err(error),
        }
    }

    /// A policy session whose policy is still empty. Source: TPM 2.0 Part 3 section 11.1.
    pub(super) fn start_policy(&mut self) -> Result<u32, TpmError> {
        let command = Command::new(CommandCode::StartAuthSession)
            .handle(TPM_RH_NULL)
            .handle(TPM_RH_NULL)
            .sized(&NONCE)
            .sized(&[])
            .u8(TPM_SE_POLICY)
            .u16(alg::NULL)
            .u16(alg::SHA256);
        self.load(&command).map(|(handle, _)| handle)
    }

    /// Satisfies "the endorsement hierarchy's password", which is empty. Source: TPM 2.0 Part 3 section 23.4.
    pub(super) fn policy_secret(&mut self, session: u32) -> Result<(), TpmError> {
        let command = Command::new(CommandCode::PolicySecret)
            .authorized(TPM_RH_ENDORSEMENT, Auth::EmptyPassword)
            .handle(session)
            .sized(&[])
            .sized(&[])
            .sized(&[])
            .u32(0);
        self.run(&command).map(drop)
    }

    /// Satisfies "the counter stands at `value`". Source: TPM 2.0 Part 3 section 23.9.
    ///
    /// # Errors
    /// [`TpmError::KeyEnded`] when it does not, or is gone.
    pub(super) fn policy_counter(
        &mut self,
        session: u32,
        counter: &NvPublic,
        value: u64,
    ) -> Result<(), TpmError> {
        let command = Command::new(CommandCode::PolicyNv)
            .authorized(counter.index, Auth::EmptyPassword)
            .handle(counter.index)
            .handle(session)
            .sized(&value.to_be_bytes())
            .u16(0)
            .u16(TPM_EO_EQ);
        match self.run(&command) {
            Ok(_) => Ok(()),
            Err(error) if error.is_no_such_handle() => Err(TpmError::KeyEnded),
            Err(error) => match error.code() {
                Some(ResponseCode::POLICY | ResponseCode::NV_UNINITIALIZED) => {
                    Err(TpmError::KeyEnded)
                }
                _ => Err(error),
            },
        }
    }

    /// Signs a digest: TPMT_SIGNATURE. Source: TPM 2.0 Part 3 section 20.2.
    pub(super) fn sign(
        &mut self,
        key: &Loaded,
        auth: Auth,
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, TpmError> {
        let command = Command::new(CommandCode::Sign)
            .authorized(key.handle, auth)
            .sized(digest)
            .u16(alg::NULL)
            .u16(TPM_ST_HASHCHECK)
            .u32(TPM_RH_NULL)
            .sized(&[]);
        self.run(&command).map(|response| response.parameters)
    }

    /// The attestation key's word that `key` is in this TPM. Source: TPM 2.0 Part 3 section 18.2.
    pub(super) fn certify(
        &mut self,
        key: &Loaded,
        attestation_key: &Loaded,
        qualifying_data: &[u8; 32],
    ) -> Result<Certified, TpmError> {
        // TPM2_Certify wants the key's ADMIN role, which the empty password has while adminWithPolicy is clear. Set, it would want a
        // policy with TPM2_PolicyCommandCode in it, and the key's is its counter alone. What this opens is certification of a key
        // that has ended, which a verifier sees by the counter's own statement.
        let command = Command::new(CommandCode::Certify)
            .authorized(key.handle, Auth::EmptyPassword)
            .authorized(attestation_key.handle, Auth::EmptyPassword)
            .sized(qualifying_data)
            .u16(alg::NULL);
        self.attested(&command)
    }

    /// The attestation key's word on where the counter stands. Source: TPM 2.0 Part 3 section 31.16.
    pub(super) fn certify_counter(
        &mut self,
        counter: &NvPublic,
        attestation_key: &Loaded,
        qualifying_data: &[u8; 32],
    ) -> Result<Certified, TpmError> {
        let command = Command::new(CommandCode::NvCertify)
            .authorized(attestation_key.handle, Auth::EmptyPassword)
            .authorized(counter.index, Auth::EmptyPassword)
            .handle(counter.index)
            .sized(qualifying_data)
            .u16(alg::NULL)
            .u16(counter.data_size)
            .u16(0);
        self.attested(&command)
    }

    /// Opens a credential: the secret that was meant for this endorsement key together with this attestation key.
    /// Source: TPM 2.0 Part 3 section 12.5.
    pub(super) fn activate_credential(
        &mut self,
        attestation_key: &Loaded,
        endorsement_key: &Loaded,
        auth: Auth,
        blob: &[u8],
        secret: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let command = Command::new(CommandCode::ActivateCredential)
            .authorized(attestation_key.handle, Auth::EmptyPassword)
            .authorized(endorsement_key.handle, auth)
            .sized(blob)
            .sized(secret);
        let response = self.run(&command)?;
        read(&command, &response.parameters, |reader| {
            reader.sized(MAX_DIGEST).map(<[u8]>::to_vec)
        })
    }

    /// Lets go of one handle before the operation ends.
    pub(super) fn flush(&mut self, handle: u32) -> Result<(), TpmError> {
        self.loaded.retain(|loaded| *loaded != handle);
        self.run(&flush_context(handle)).map(drop)
    }

    fn attested(&mut self, command: &Command) -> Result<Certified, TpmError> {
        let response = self.run(command)?;
        let name = command.code().name();
        let mut reader = Reader::new(&response.parameters).map_err(within(name))?;
        let attest = reader.sized(MAX_PUBLIC).map_err(within(name))?.to_vec();
        let length = response.parameters.len().saturating_sub(2 + attest.len());
        let signature = reader.bytes(length).map_err(within(name))?.to_vec();
        Ok(Certified { attest, signature })
    }

    fn load(&mut self, command: &Command) -> Result<(u32, Vec<u8>), TpmError> {
        let response = self.run(command)?;
        let handle = response.handle.ok_or_else(|| {
            TpmError::malformed(command.code().name(), "it should begin with a handle")
        })?;
        self.loaded.push(handle);
        Ok((handle, response.parameters))
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        for handle in std::mem::take(&mut self.loaded).into_iter().rev() {
            // What can't be flushed is gone already, or the TPM is.
            let _ = self.channel.run(&flush_context(handle));
        }
    }
}

/// Reads all parameters of a response.
pub(super) fn read<T>(
    command: &Command,
    parameters: &[u8],
    fields: impl FnOnce(&mut Reader<'_>) -> Result<T, upkeep::tpm::WireError>,
) -> Result<T, TpmError> {
    let parse = || {
        let mut reader = Reader::new(parameters)?;
        let value = fields(&mut reader)?;
        reader.finish()?;
        Ok(value)
    };
    parse().map_err(within(command.code().name()))
}

/// Source: TPM 2.0 Part 3 section 28.4.
fn flush_context(handle: u32) -> Command {
    Command::new(CommandCode::FlushContext).u32(handle)
}

/// The owner hierarchy. Source: TPM 2.0 Part 2 section 7.4.
pub(super) const TPM_RH_OWNER: u32 = 0x4000_0001;
/// The endorsement hierarchy.
pub(super) const TPM_RH_ENDORSEMENT: u32 = 0x4000_000B;
const TPM_RH_NULL: u32 = 0x4000_0007;
const TPM_ST_HASHCHECK: u16 = 0x8024;
const TPM_SE_POLICY: u8 = 0x01;
const TPM_EO_EQ: u16 = 0x0000;
/// TPMS_SENSITIVE_CREATE: no password, no data.
const NO_SENSITIVE: &[u8] = &[0; 4];
/// An empty TPML_PCR_SELECTION.
const NO_PCRS: u32 = 0;
const MAX_PUBLIC: usize = 2048;
const MAX_PRIVATE: usize = 2048;
const MAX_DIGEST: usize = 64;
