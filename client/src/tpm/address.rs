//! Where a TPM is reached, as text that a person writes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where to send TPM commands.
///
/// As text: `/dev/tpmrm0`, `device:/dev/tpm0`, `unix:/path` or `tcp:host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TpmAddress {
    /// A character device; `/dev/tpmrm0` has the kernel's resource manager behind it, `/dev/tpm0` has not.
    Device(PathBuf),
    /// A unix socket that takes raw commands, as `swtpm` opens one.
    Unix(PathBuf),
    /// `host:port` that takes raw commands. Nothing protects them on their way: for a loopback only.
    Tcp(String),
}

impl TpmAddress {
    /// The machine's own TPM: with the resource manager if the kernel offers one, `None` where there is no TPM.
    pub fn default_address() -> Option<Self> {
        ["/dev/tpmrm0", "/dev/tpm0"]
            .into_iter()
            .map(Path::new)
            .find(|device| device.exists())
            .map(|device| Self::Device(device.to_owned()))
    }
}

impl FromStr for TpmAddress {
    type Err = InvalidTpmAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = |path: &str| {
            if path.starts_with('/') {
                Ok(PathBuf::from(path))
            } else {
                Err(InvalidTpmAddress)
            }
        };
        if let Some(device) = text.strip_prefix("device:") {
            path(device).map(Self::Device)
        } else if let Some(socket) = text.strip_prefix("unix:") {
            path(socket).map(Self::Unix)
        } else if let Some(host_port) = text.strip_prefix("tcp:") {
            match host_port.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                    Ok(Self::Tcp(host_port.to_owned()))
                }
                _ => Err(InvalidTpmAddress),
            }
        } else {
            path(text).map(Self::Device)
        }
    }
}

impl fmt::Display for TpmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "device:{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host_port) => write!(f, "tcp:{host_port}"),
        }
    }
}

/// The text names no TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a TPM is named /dev/tpmrm0, device:/path, unix:/path or tcp:host:port, with absolute paths"
)]
pub struct InvalidTpmAddress;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_shown() {
        for text in [
            "device:/dev/tpm0",
            "unix:/run/tpm",
            "tcp:127.0.0.1:2321",
            "tcp:[::1]:2321",
        ] {
            let address: TpmAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let device = TpmAddress::Device(PathBuf::from("/dev/tpmrm0"));
        assert_eq!("/dev/tpmrm0".parse(), Ok(device));
    }

    #[test]
    fn what_names_no_tpm_is_refused() {
        for text in [
            "",
            "tpm0",
            "unix:tpm",
            "tcp:host",
            "tcp::1",
            "tcp:host:99999",
            "device:",
        ] {
            assert_eq!(text.parse::<TpmAddress>(), Err(InvalidTpmAddress), "{text}");
        }
    }
}
