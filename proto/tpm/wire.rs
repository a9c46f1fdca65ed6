//! Big-endian integers and sized buffers: how a TPM marshals everything (TPM 2.0 Part 2 section 4).

/// The longest structure that is read, in bytes: far more than any that evidence holds.
pub const MAX_STRUCTURE: usize = 8 * 1024;

/// Reads one structure, from its first byte to its last.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    ///
    /// # Errors
    /// [`WireError::TooLong`] for more than [`MAX_STRUCTURE`] bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_STRUCTURE {
            return Err(WireError::TooLong);
        }
        Ok(Self { rest: bytes })
    }

    /// One byte.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A TPMI_YES_NO: 0 or 1 and nothing else (Part 2 section 9.2).
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Value`].
    pub fn yes_no(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::Value {
                field: "TPMI_YES_NO",
                value: other.into(),
            }),
        }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A TPM2B: a length of two bytes and as many bytes, at most `max` (Part 2 section 10.4).
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::TooLong`].
    pub fn sized(&mut self, max: usize) -> Result<&'a [u8], WireError> {
        let count = usize::from(self.u16()?);
        if count > max {
            return Err(WireError::TooLong);
        }
        self.bytes(count)
    }

    /// Ends the reading: nothing may be left.
    ///
    /// # Errors
    /// [`WireError::Trailing`].
    pub fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::Trailing)
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// Writes one structure.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends these bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends a TPM2B: the length in two bytes, then the bytes. No structure of ours comes near 64 KiB; more than that gets a
    /// length that no reader accepts.
    pub fn sized(&mut self, bytes: &[u8]) -> &mut Self {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        self.bytes(bytes)
    }

    /// What was written.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// Why bytes are not the structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside the structure.
    #[error("the TPM structure ends too early")]
    Truncated,
    /// Bytes follow the structure.
    #[error("bytes follow the TPM structure")]
    Trailing,
    /// The structure or a buffer in it is longer than its bound.
    #[error("the TPM structure or a buffer in it is too long")]
    TooLong,
    /// A field has a value that the specification reserves or that evidence never has.
    #[error("{field} cannot be {value:#x}")]
    Value {
        /// The field or its type, as the specification names it.
        field: &'static str,
        /// What stands there.
        value: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_is_read_to_its_last_byte() {
        let bytes = Writer::new()
            .u8(1)
            .u16(2)
            .u32(3)
            .u64(4)
            .sized(b"five")
            .bytes(b"6")
            .finish();
        let mut reader = Reader::new(&bytes).unwrap();
        assert_eq!(reader.yes_no(), Ok(true));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u64(), Ok(4));
        assert_eq!(reader.sized(4), Ok(b"five".as_slice()));
        assert_eq!(reader.bytes(2), Err(WireError::Truncated));
        assert_eq!(reader.finish(), Err(WireError::Trailing));
    }

    #[test]
    fn lengths_are_bounded_before_they_are_believed() {
        let mut reader = Reader::new(&[0xff, 0xff, 0]).unwrap();
        assert_eq!(reader.sized(64), Err(WireError::TooLong));
        let mut reader = Reader::new(&[0, 2, 0]).unwrap();
        assert_eq!(reader.sized(64), Err(WireError::Truncated));
        let refused = Reader::new(&[0; MAX_STRUCTURE + 1]).map(drop);
        assert_eq!(refused, Err(WireError::TooLong));
    }

    #[test]
    fn yes_and_no_have_one_byte_each() {
        for byte in 2..=u8::MAX {
            let answer = Reader::new(&[byte]).and_then(|mut reader| reader.yes_no());
            assert!(matches!(answer, Err(WireError::Value { .. })), "{byte}");
        }
    }
}
