//! The ways to a TPM: a command goes out as bytes, its response comes back as bytes. Nothing here knows what they say.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::address::TpmAddress;
use super::error::TpmError;

/// A way to a TPM.
pub(super) trait Transport: Send {
    /// Sends one command and waits for its response.
    ///
    /// # Errors
    /// Whatever the operating system says; afterwards the next response can't be trusted to belong to the next command.
    fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
}

/// Opens the way to the TPM at `address`.
///
/// # Errors
/// [`TpmError::Unavailable`], [`TpmError::Denied`], [`TpmError::Busy`], [`TpmError::Io`].
pub(super) fn open(address: &TpmAddress) -> Result<Box<dyn Transport>, TpmError> {
    match address {
        TpmAddress::Device(path) => OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map(|file| Box::new(Device(file)) as Box<dyn Transport>),
        TpmAddress::Unix(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(Socket(stream)) as Box<dyn Transport>)
        }),
        TpmAddress::Tcp(host_port) => connect(host_port).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(Box::new(Socket(stream)) as Box<dyn Transport>)
        }),
    }
    .map_err(|error| TpmError::opening(address, &error))
}

/// A character device takes a command in one write and gives the response in one read. The kernel has deadlines of its own for it.
struct Device(File);

impl Transport for Device {
    fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        let mut response = vec![0; MAX_RESPONSE];
        let length = self.0.read(&mut response)?;
        response.truncate(length);
        Ok(response)
    }
}

/// A stream: the header of a response says how long it is.
struct Socket<S>(S);

impl<S: Read + Write + Send> Transport for Socket<S> {
    fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        self.0.flush()?;
        // Tag (2), size (4), code (4): TPM 2.0 Part 1, 18.
        let mut header = [0; 10];
        self.0.read_exact(&mut header)?;
        let [_, _, a, b, c, d, ..] = header;
        let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let Some(rest) = size
            .checked_sub(header.len())
            .filter(|_| size <= MAX_RESPONSE)
        else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a response says that it is {size} bytes long"),
            ));
        };
        let mut response = header.to_vec();
        response.resize(size, 0);
        let body = response.get_mut(header.len()..).unwrap_or_default();
        debug_assert_eq!(body.len(), rest);
        self.0.read_exact(body)?;
        Ok(response)
    }
}

fn connect(host_port: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in host_port.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// How long a socket may be silent. The slowest command is the creation of an RSA key, some seconds on a chip.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest response of any TPM (TPM_PT_MAX_RESPONSE_SIZE of the PC Client profile).
const MAX_RESPONSE: usize = 4096;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    struct Script {
        says: Cursor<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.says.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answer(says: &[u8]) -> io::Result<Vec<u8>> {
        Socket(Script {
            says: Cursor::new(says.to_vec()),
            heard: Vec::new(),
        })
        .transmit(b"command")
    }

    #[test]
    fn a_response_is_as_long_as_its_header_says() {
        let said = [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7, 8, 99];
        assert_eq!(answer(&said).unwrap(), &said[..12]);
    }

    #[test]
    fn a_length_is_not_believed_before_it_is_checked() {
        for size in [0_u32, 9, 4097, u32::MAX] {
            let mut said = [0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            said[2..6].copy_from_slice(&size.to_be_bytes());
            assert_eq!(
                answer(&said).unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
        }
    }

    #[test]
    fn a_response_that_ends_early_is_an_error() {
        let said = [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7];
        assert_eq!(
            answer(&said).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
