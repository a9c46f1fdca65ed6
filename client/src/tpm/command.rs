//! One command as bytes, and its response taken apart. Source: TPM 2.0 Part 1 section 18, Part 3 section 4.

use upkeep::tpm::{Reader, WireError, Writer};

use super::code::ResponseCode;
use super::error::TpmError;

/// The commands that are used here, TPM_CC. Source: TPM 2.0 Part 2 section 6.5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandCode {
    UndefineSpace,
    DefineSpace,
    CreatePrimary,
    Increment,
    ActivateCredential,
    Certify,
    PolicyNv,
    NvRead,
    PolicySecret,
    Create,
    Load,
    Sign,
    FlushContext,
    NvReadPublic,
    StartAuthSession,
    GetCapability,
    NvCertify,
}

impl CommandCode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::UndefineSpace => "TPM2_NV_UndefineSpace",
            Self::DefineSpace => "TPM2_NV_DefineSpace",
            Self::CreatePrimary => "TPM2_CreatePrimary",
            Self::Increment => "TPM2_NV_Increment",
            Self::ActivateCredential => "TPM2_ActivateCredential",
            Self::Certify => "TPM2_Certify",
            Self::PolicyNv => "TPM2_PolicyNV",
            Self::NvRead => "TPM2_NV_Read",
            Self::PolicySecret => "TPM2_PolicySecret",
            Self::Create => "TPM2_Create",
            Self::Load => "TPM2_Load",
            Self::Sign => "TPM2_Sign",
            Self::FlushContext => "TPM2_FlushContext",
            Self::NvReadPublic => "TPM2_NV_ReadPublic",
            Self::StartAuthSession => "TPM2_StartAuthSession",
            Self::GetCapability => "TPM2_GetCapability",
            Self::NvCertify => "TPM2_NV_Certify",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::UndefineSpace => 0x122,
            Self::DefineSpace => 0x12A,
            Self::CreatePrimary => 0x131,
            Self::Increment => 0x134,
            Self::ActivateCredential => 0x147,
            Self::Certify => 0x148,
            Self::PolicyNv => 0x149,
            Self::NvRead => 0x14E,
            Self::PolicySecret => 0x151,
            Self::Create => 0x153,
            Self::Load => 0x157,
            Self::Sign => 0x15D,
            Self::FlushContext => 0x165,
            Self::NvReadPublic => 0x169,
            Self::StartAuthSession => 0x176,
            Self::GetCapability => 0x17A,
            Self::NvCertify => 0x184,
        }
    }

    /// Whether the response begins with a handle.
    fn answers_handle(self) -> bool {
        matches!(
            self,
            Self::CreatePrimary | Self::Load | Self::StartAuthSession
        )
    }
}

/// What opens a handle of a command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Auth {
    /// The empty password, TPM_RS_PW.
    EmptyPassword,
    /// A policy session whose policy is satisfied and asks for no secret.
    Policy(u32),
}

/// A command that is being put together.
#[derive(Debug)]
pub(super) struct Command {
    code: CommandCode,
    handles: Vec<u32>,
    auths: Vec<Auth>,
    parameters: Writer,
}

impl Command {
    pub(super) fn new(code: CommandCode) -> Self {
        Self {
            code,
            handles: Vec::new(),
            auths: Vec::new(),
            parameters: Writer::new(),
        }
    }

    pub(super) fn code(&self) -> CommandCode {
        self.code
    }

    /// A handle that needs an authorization; these come before the others.
    pub(super) fn authorized(mut self, handle: u32, auth: Auth) -> Self {
        self.handles.push(handle);
        self.auths.push(auth);
        self
    }

    /// A handle that needs none.
    pub(super) fn handle(mut self, handle: u32) -> Self {
        self.handles.push(handle);
        self
    }

    pub(super) fn u16(mut self, value: u16) -> Self {
        self.parameters.u16(value);
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.parameters.u32(value);
        self
    }

    pub(super) fn u8(mut self, value: u8) -> Self {
        self.parameters.u8(value);
        self
    }

    pub(super) fn sized(mut self, bytes: &[u8]) -> Self {
        self.parameters.sized(bytes);
        self
    }

    /// The command as it is sent.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut body = Writer::new();
        for handle in &self.handles {
            body.u32(*handle);
        }
        if !self.auths.is_empty() {
            let area = authorization_area(&self.auths);
            body.u32(length(&area)).bytes(&area);
        }
        let body = body.bytes(&self.parameters.clone().finish()).finish();
        Writer::new()
            .u16(self.tag())
            .u32(length(&body).saturating_add(HEADER))
            .u32(self.code.number())
            .bytes(&body)
            .finish()
    }

    /// Takes the response to this command apart.
    ///
    /// # Errors
    /// The code, when the TPM refused; [`TpmError::Malformed`].
    pub(super) fn read(&self, response: &[u8]) -> Result<Result<Response, ResponseCode>, TpmError> {
        self.parse(response)
            .map_err(|error| TpmError::malformed(self.code.name(), error))
    }

    fn parse(&self, response: &[u8]) -> Result<Result<Response, ResponseCode>, WireError> {
        let mut reader = Reader::new(response)?;
        let tag = reader.u16()?;
        let size = reader.u32()?;
        if usize::try_from(size) != Ok(response.len()) {
            return Err(WireError::Value {
                field: "responseSize",
                value: size,
            });
        }
        if let Some(code) = ResponseCode::new(reader.u32()?) {
            // A TPM 1.2 answers with a tag of its own, TPM_TAG_RSP_COMMAND.
            expect(tag, TPM_ST_NO_SESSIONS)?;
            reader.finish()?;
            return Ok(Err(code));
        }
        expect(tag, self.tag())?;
        let handle = if self.code.answers_handle() {
            Some(reader.u32()?)
        } else {
            None
        };
        let parameters = if self.auths.is_empty() {
            let rest = response.len().saturating_sub(HEADER as usize);
            reader
                .bytes(rest.saturating_sub(if handle.is_some() { 4 } else { 0 }))?
                .to_vec()
        } else {
            let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
            let parameters = reader.bytes(count)?.to_vec();
            for _ in &self.auths {
                // TPMS_AUTH_RESPONSE: nonceTPM, sessionAttributes, hmac. No session here makes an HMAC, so there is none to check.
                reader.sized(MAX_DIGEST)?;
                reader.u8()?;
                reader.sized(MAX_DIGEST)?;
            }
            parameters
        };
        reader.finish()?;
        Ok(Ok(Response { handle, parameters }))
    }

    fn tag(&self) -> u16 {
        if self.auths.is_empty() {
            TPM_ST_NO_SESSIONS
        } else {
            TPM_ST_SESSIONS
        }
    }
}

/// What a TPM answered to a command that it carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// The handle, for the commands that answer one.
    pub(super) handle: Option<u32>,
    /// The parameters, without the authorization area.
    pub(super) parameters: Vec<u8>,
}

/// TPMS_AUTH_COMMAND, one for each.
fn authorization_area(auths: &[Auth]) -> Vec<u8> {
    let mut area = Writer::new();
    for auth in auths {
        match auth {
            Auth::EmptyPassword => area.u32(TPM_RS_PW).sized(&[]),
            Auth::Policy(session) => area.u32(*session).sized(&NONCE),
        };
        area.u8(CONTINUE_SESSION).sized(&[]);
    }
    area.finish()
}

fn expect(found: u16, wanted: u16) -> Result<(), WireError> {
    if found == wanted {
        Ok(())
    } else {
        Err(WireError::Value {
            field: "tag",
            value: found.into(),
        })
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The caller's nonce of every session. It freshens HMACs, and no session here makes one: all passwords are empty.
pub(super) const NONCE: [u8; 16] = [0; 16];

/// Tag, size, code.
const HEADER: u32 = 10;
const MAX_DIGEST: usize = 64;
const TPM_ST_NO_SESSIONS: u16 = 0x8001;
const TPM_ST_SESSIONS: u16 = 0x8002;
const TPM_RS_PW: u32 = 0x4000_0009;
/// TPMA_SESSION: whoever started the session ends it.
const CONTINUE_SESSION: u8 = 0x01;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [CommandCode; 17] = [
        CommandCode::UndefineSpace,
        CommandCode::DefineSpace,
        CommandCode::CreatePrimary,
        CommandCode::Increment,
        CommandCode::ActivateCredential,
        CommandCode::Certify,
        CommandCode::PolicyNv,
        CommandCode::NvRead,
        CommandCode::PolicySecret,
        CommandCode::Create,
        CommandCode::Load,
        CommandCode::Sign,
        CommandCode::FlushContext,
        CommandCode::NvReadPublic,
        CommandCode::StartAuthSession,
        CommandCode::GetCapability,
        CommandCode::NvCertify,
    ];

    fn increment() -> Command {
        Command::new(CommandCode::Increment)
            .authorized(0x0180_0001, Auth::EmptyPassword)
            .handle(0x0180_0001)
    }

    #[test]
    fn a_command_is_marshalled_as_the_specification_says() {
        let bytes = increment().to_bytes();
        let wanted = [
            0x80, 0x02, 0, 0, 0, 31, 0, 0, 1, 0x34, 1, 0x80, 0, 1, 1, 0x80, 0, 1, 0, 0, 0, 9, 0x40,
            0, 0, 9, 0, 0, 1, 0, 0,
        ];
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn a_response_is_taken_apart() {
        let response = [0x80, 2, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
        let read = increment().read(&response).unwrap().unwrap();
        assert_eq!((read.handle, read.parameters), (None, Vec::new()));
    }

    #[test]
    fn a_refusal_is_a_code_and_nothing_else() {
        let refusal = [0x80, 1, 0, 0, 0, 10, 0, 0, 9, 0x21];
        let code = increment().read(&refusal).unwrap().unwrap_err();
        assert_eq!(code, ResponseCode::LOCKOUT);
        let mut longer = refusal.to_vec();
        longer.push(0);
        assert!(increment().read(&longer).is_err());
        longer[5] = 11;
        assert!(increment().read(&longer).is_err());
    }

    #[test]
    fn a_tpm_1_2_is_not_understood() {
        let response = [0, 0xC4, 0, 0, 0, 10, 0, 0, 0, 0x1E];
        assert!(matches!(
            increment().read(&response),
            Err(TpmError::Malformed { .. })
        ));
    }

    #[test]
    fn a_response_without_the_sessions_of_its_command_is_refused() {
        let response = [0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0];
        assert!(increment().read(&response).is_err());
    }

    proptest! {
        #[test]
        fn no_response_panics(which in 0..ALL.len(), authorized: bool, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let command = Command::new(ALL[which]);
            let command = if authorized { command.authorized(1, Auth::EmptyPassword) } else { command };
            let _ = command.read(&bytes);
            // Behind a header that is right.
            let tag = if authorized { 2 } else { 1 };
            let mut framed = vec![0x80, tag, 0, 0, 0, (bytes.len() + 10) as u8, 0, 0, 0, 0];
            framed.extend_from_slice(&bytes);
            let _ = command.read(&framed);
        }
    }
}
