//! Response codes, TPM_RC: what a TPM says when it refuses, by the names of the specification.
//!
//! Source: TPM 2.0 Part 2 section 6.6, with its two formats.

use std::fmt;

/// A response code other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResponseCode(u32);

impl ResponseCode {
    /// Of the policy: it is not satisfied, or the session's digest is another one.
    pub(super) const POLICY: Self = Self(0x126);
    /// No space for another index.
    pub(super) const NV_SPACE: Self = Self(0x14B);
    /// The index is there already.
    pub(super) const NV_DEFINED: Self = Self(0x14C);
    /// The index was never written.
    pub(super) const NV_UNINITIALIZED: Self = Self(0x14A);
    /// Too many wrong passwords: what counts them is locked.
    pub(super) const LOCKOUT: Self = Self(0x921);
    /// The object memory is full.
    pub(super) const OBJECT_MEMORY: Self = Self(0x902);
    /// The session memory is full.
    pub(super) const SESSION_MEMORY: Self = Self(0x903);
    /// All session handles are taken.
    pub(super) const SESSION_HANDLES: Self = Self(0x905);
    /// All object handles are taken.
    pub(super) const OBJECT_HANDLES: Self = Self(0x906);

    /// The code as it stands in a response; `None` for success.
    pub(super) fn new(code: u32) -> Option<Self> {
        (code != 0).then_some(Self(code))
    }

    /// Whether the same command may do in a moment: TPM_RC_YIELDED, TESTING, NV_RATE, RETRY.
    pub(super) fn is_passing(self) -> bool {
        matches!(self.0, 0x908 | 0x90A | 0x920 | 0x922)
    }

    /// Whether the password of a handle was wrong: TPM_RC_AUTH_FAIL or BAD_AUTH, of any session.
    pub(super) fn is_wrong_password(self) -> bool {
        matches!(self.of_format_one(), Some(0x0E | 0x22))
    }

    /// Whether the private part was not made by this TPM, or its hierarchy is another since: TPM_RC_INTEGRITY.
    pub(super) fn is_integrity(self) -> bool {
        self.of_format_one() == Some(0x1F)
    }

    /// Whether a handle names nothing: TPM_RC_HANDLE, of any position.
    pub(super) fn is_no_such_handle(self) -> bool {
        self.of_format_one() == Some(0x0B)
    }

    /// The number of a format-one code, which speaks of a handle, session or parameter.
    fn of_format_one(self) -> Option<u32> {
        (self.0 & !0xFFF == 0 && self.0 & 0x080 != 0).then_some(self.0 & 0x3F)
    }

    /// The name in the specification, without `TPM_RC_`.
    fn name(self) -> Option<&'static str> {
        let (names, number) = match self.of_format_one() {
            Some(number) => (FORMAT_ONE, number),
            None if self.0 & !0xFFF == 0 && self.0 & 0x900 == 0x900 => (WARNINGS, self.0 & 0x7F),
            None if self.0 & !0xFFF == 0 && self.0 & 0x900 == 0x100 => (FORMAT_ZERO, self.0 & 0x7F),
            None => return None,
        };
        names
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, name)| *name)
    }

    /// Which handle, session or parameter a format-one code speaks of.
    fn subject(self) -> Option<(&'static str, u32)> {
        self.of_format_one()?;
        let number = self.0 >> 8 & 0xF;
        match (self.0 & 0x040 != 0, number) {
            (_, 0) => None,
            (true, number) => Some(("parameter", number)),
            (false, number) if number >= 8 => Some(("session", number - 8)),
            (false, number) => Some(("handle", number)),
        }
    }
}

/// Such as `TPM_RC_HANDLE of handle 2 (0x28b)`.
impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TPM_RC_{}", self.name().unwrap_or("?"))?;
        if let Some((what, number)) = self.subject() {
            write!(f, " of {what} {number}")?;
        }
        write!(f, " ({:#05x})", self.0)
    }
}

/// Format one: RC_FMT1 and these.
const FORMAT_ONE: &[(u32, &str)] = &[
    (0x01, "ASYMMETRIC"),
    (0x02, "ATTRIBUTES"),
    (0x03, "HASH"),
    (0x04, "VALUE"),
    (0x05, "HIERARCHY"),
    (0x07, "KEY_SIZE"),
    (0x08, "MGF"),
    (0x09, "MODE"),
    (0x0A, "TYPE"),
    (0x0B, "HANDLE"),
    (0x0C, "KDF"),
    (0x0D, "RANGE"),
    (0x0E, "AUTH_FAIL"),
    (0x0F, "NONCE"),
    (0x10, "PP"),
    (0x12, "SCHEME"),
    (0x15, "SIZE"),
    (0x16, "SYMMETRIC"),
    (0x17, "TAG"),
    (0x18, "SELECTOR"),
    (0x1A, "INSUFFICIENT"),
    (0x1B, "SIGNATURE"),
    (0x1C, "KEY"),
    (0x1D, "POLICY_FAIL"),
    (0x1F, "INTEGRITY"),
    (0x20, "TICKET"),
    (0x21, "RESERVED_BITS"),
    (0x22, "BAD_AUTH"),
    (0x23, "EXPIRED"),
    (0x24, "POLICY_CC"),
    (0x25, "BINDING"),
    (0x26, "CURVE"),
    (0x27, "ECC_POINT"),
];

/// Format zero, errors: RC_VER1 and these.
const FORMAT_ZERO: &[(u32, &str)] = &[
    (0x00, "INITIALIZE"),
    (0x01, "FAILURE"),
    (0x03, "SEQUENCE"),
    (0x0B, "PRIVATE"),
    (0x19, "HMAC"),
    (0x20, "DISABLED"),
    (0x21, "EXCLUSIVE"),
    (0x24, "AUTH_TYPE"),
    (0x25, "AUTH_MISSING"),
    (0x26, "POLICY"),
    (0x27, "PCR"),
    (0x28, "PCR_CHANGED"),
    (0x2D, "UPGRADE"),
    (0x2E, "TOO_MANY_CONTEXTS"),
    (0x2F, "AUTH_UNAVAILABLE"),
    (0x30, "REBOOT"),
    (0x31, "UNBALANCED"),
    (0x42, "COMMAND_SIZE"),
    (0x43, "COMMAND_CODE"),
    (0x44, "AUTHSIZE"),
    (0x45, "AUTH_CONTEXT"),
    (0x46, "NV_RANGE"),
    (0x47, "NV_SIZE"),
    (0x48, "NV_LOCKED"),
    (0x49, "NV_AUTHORIZATION"),
    (0x4A, "NV_UNINITIALIZED"),
    (0x4B, "NV_SPACE"),
    (0x4C, "NV_DEFINED"),
    (0x50, "BAD_CONTEXT"),
    (0x51, "CPHASH"),
    (0x52, "PARENT"),
    (0x53, "NEEDS_TEST"),
    (0x54, "NO_RESULT"),
    (0x55, "SENSITIVE"),
];

/// Format zero, warnings: RC_WARN and these.
const WARNINGS: &[(u32, &str)] = &[
    (0x01, "CONTEXT_GAP"),
    (0x02, "OBJECT_MEMORY"),
    (0x03, "SESSION_MEMORY"),
    (0x04, "MEMORY"),
    (0x05, "SESSION_HANDLES"),
    (0x06, "OBJECT_HANDLES"),
    (0x07, "LOCALITY"),
    (0x08, "YIELDED"),
    (0x09, "CANCELED"),
    (0x0A, "TESTING"),
    (0x20, "NV_RATE"),
    (0x21, "LOCKOUT"),
    (0x22, "RETRY"),
    (0x23, "NV_UNAVAILABLE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_by_name_and_subject() {
        let shown = |code| ResponseCode(code).to_string();
        assert_eq!(shown(0x126), "TPM_RC_POLICY (0x126)");
        assert_eq!(shown(0x922), "TPM_RC_RETRY (0x922)");
        assert_eq!(shown(0x1DF), "TPM_RC_INTEGRITY of parameter 1 (0x1df)");
        assert_eq!(shown(0x28B), "TPM_RC_HANDLE of handle 2 (0x28b)");
        assert_eq!(shown(0x9A2), "TPM_RC_BAD_AUTH of session 1 (0x9a2)");
        assert_eq!(shown(0x99D), "TPM_RC_POLICY_FAIL of session 1 (0x99d)");
        assert_eq!(shown(0xFFFF_FFFF), "TPM_RC_? (0xffffffff)");
    }

    #[test]
    fn the_classes_do_not_overlap() {
        for code in 1..0x1000 {
            let code = ResponseCode(code);
            let classes = [
                code.is_passing(),
                code.is_wrong_password(),
                code.is_integrity(),
                code.is_no_such_handle(),
                code == ResponseCode::POLICY,
                code == ResponseCode::LOCKOUT,
            ];
            assert!(
                classes.iter().filter(|class| **class).count() <= 1,
                "{code}"
            );
        }
    }
}
