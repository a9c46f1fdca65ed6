//! A TPM with little room: its NV memory filled by the owner, in the few raw commands that it takes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::SoftwareTpm;

impl SoftwareTpm {
    /// Sends one raw command over the unix socket and returns the response code.
    ///
    /// # Panics
    /// When the TPM does not answer.
    pub fn send(&self, command: &[u8]) -> u32 {
        let mut stream = UnixStream::connect(self.unix_path()).expect("the TPM listens");
        stream.write_all(command).expect("the TPM takes a command");
        let mut header = [0; 10];
        stream.read_exact(&mut header).expect("the TPM answers");
        let [.., a, b, c, d] = header;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Defines indices until not one more counter has room, and returns the last, which is a counter.
    ///
    /// # Panics
    /// As [`SoftwareTpm::send`].
    pub fn fill(&self) -> u32 {
        const ORDINARY: u8 = 0x04;
        const COUNTER: u8 = 0x14;
        let mut index = 0x0150_0000;
        for (size, kind) in [(2048, ORDINARY), (64, ORDINARY), (8, COUNTER)] {
            while self.send(&define(index, size, kind)) == 0 {
                index += 1;
            }
        }
        index - 1
    }

    /// Fills it but for one counter: what a chip with few has for all licenses of a vendor.
    ///
    /// # Panics
    /// As [`SoftwareTpm::send`].
    pub fn leave_one_counter(&self) {
        self.undefine(self.fill());
    }

    /// Whether something is defined at an index.
    ///
    /// # Panics
    /// As [`SoftwareTpm::send`].
    pub fn is_defined(&self, index: u32) -> bool {
        // TPM2_NV_ReadPublic. Source: TPM 2.0 Part 3 section 31.6.
        let mut command = vec![0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x69];
        command.extend(index.to_be_bytes());
        self.send(&command) == 0
    }

    /// Deletes an index.
    ///
    /// # Panics
    /// When the TPM refuses.
    pub fn undefine(&self, index: u32) {
        // TPM2_NV_UndefineSpace by the owner. Source: TPM 2.0 Part 3 section 31.4.
        let mut command = vec![0x80, 0x02, 0, 0, 0, 31, 0, 0, 0x01, 0x22, 0x40, 0, 0, 1];
        command.extend(index.to_be_bytes());
        command.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 1, 0, 0]);
        assert_eq!(self.send(&command), 0, "an index that is there");
    }
}

/// TPM2_NV_DefineSpace by the owner: AUTHREAD, AUTHWRITE and a type. Source: TPM 2.0 Part 3 section 31.3.
fn define(index: u32, size: u16, kind: u8) -> Vec<u8> {
    let mut command = vec![0x80, 0x02, 0, 0, 0, 45, 0, 0, 0x01, 0x2A];
    command.extend([0x40, 0, 0, 1, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 1, 0, 0]);
    command.extend([0, 0, 0, 14]);
    command.extend(index.to_be_bytes());
    command.extend([0, 0x0B, 0, 4, 0, kind, 0, 0]);
    command.extend(size.to_be_bytes());
    command
}
