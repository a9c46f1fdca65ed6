//! Passwords and codes: from a file, the environment, or whoever sits at the terminal, and never from the command line.
//!
//! At a terminal the echo is switched off by `stty`, and a watching shell switches it on again even if this program is killed.
//! Where there is no `stty`, the question says that the answer will be visible.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use upkeep::code::Code;
use upkeep::serial::SerialNumber;
use upkeep_client::Credential;
use zeroize::Zeroizing;

use crate::cli::exit::Failure;
use crate::cli::file;

/// The secret that goes with a serial number: at most one file; else the environment; else it is asked for.
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct CredentialArgs {
    /// A file with the password (serial numbers that start with NSP) [env: UPKEEP_PASSWORD]
    #[arg(long, value_name = "FILE", help_heading = CREDENTIAL)]
    password_file: Option<PathBuf>,

    /// A file with the activation code (all others) [env: UPKEEP_ACTIVATION_CODE]
    #[arg(long, value_name = "FILE", help_heading = CREDENTIAL)]
    activation_code_file: Option<PathBuf>,

    /// A file with the product code of an earlier activation of this device [env: UPKEEP_PRODUCT_CODE]
    #[arg(long, value_name = "FILE", help_heading = CREDENTIAL)]
    product_code_file: Option<PathBuf>,
}

impl CredentialArgs {
    /// The credential for this serial number.
    ///
    /// # Errors
    /// Exit 2: a file can't be read, nothing was answered, or a code was mistyped.
    pub(super) fn credential(&self, serial: &SerialNumber) -> Result<Credential, Failure> {
        for kind in Kind::ALL {
            if let Some(path) = self.file(kind) {
                return kind.read(&file::read_path(path)?);
            }
        }
        let usual = Kind::usual(serial);
        let order = [usual].into_iter().chain(Kind::ALL);
        for kind in order {
            if let Some(text) = variable(kind.variable())? {
                return kind.read(&text);
            }
        }
        usual.read(&ask(&format!("The {} of {serial}", usual.name()))?)
    }

    fn file(&self, kind: Kind) -> Option<&Path> {
        match kind {
            Kind::Password => self.password_file.as_deref(),
            Kind::ActivationCode => self.activation_code_file.as_deref(),
            Kind::ProductCode => self.product_code_file.as_deref(),
        }
    }
}

/// The upgrade code of a license: a file, else the environment, else it is asked for.
///
/// # Errors
/// Exit 2, as for a credential.
pub(super) fn upgrade_code(path: Option<&Path>, serial: &SerialNumber) -> Result<Code, Failure> {
    let text = match path {
        Some(path) => file::read_path(path)?,
        None => match variable("UPKEEP_UPGRADE_CODE")? {
            Some(text) => text,
            None => ask(&format!("The upgrade code of {serial}"))?,
        },
    };
    code(&text, "upgrade code")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Password,
    ActivationCode,
    ProductCode,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Password, Self::ActivationCode, Self::ProductCode];

    /// What is delivered with a serial number of this form (T-25, T-26).
    fn usual(serial: &SerialNumber) -> Self {
        if serial.as_str().starts_with("NSP") {
            Self::Password
        } else {
            Self::ActivationCode
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::ActivationCode => "activation code",
            Self::ProductCode => "product code",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Password => "UPKEEP_PASSWORD",
            Self::ActivationCode => "UPKEEP_ACTIVATION_CODE",
            Self::ProductCode => "UPKEEP_PRODUCT_CODE",
        }
    }

    fn read(self, text: &str) -> Result<Credential, Failure> {
        match self {
            Self::Password => {
                let password = text.trim_end_matches(['\r', '\n']);
                if password.is_empty() {
                    return Err(empty(self.name()));
                }
                Ok(Credential::Password(Zeroizing::new(password.to_owned())))
            }
            Self::ActivationCode => code(text, self.name()).map(Credential::ActivationCode),
            Self::ProductCode => code(text, self.name()).map(Credential::ProductCode),
        }
    }
}

fn code(text: &str, name: &str) -> Result<Code, Failure> {
    if text.trim().is_empty() {
        return Err(empty(name));
    }
    Code::parse(text).map_err(|error| {
        Failure::usage(
            format_args!("the {name} can't be right: {error}"),
            "compare it with the delivery papers and try again",
        )
    })
}

fn empty(name: &str) -> Failure {
    Failure::usage(
        format_args!("the {name} is empty"),
        "see `--help` for the ways to give it: a file, the environment, or standard input",
    )
}

fn variable(name: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(Zeroizing::new(text)).filter(|text| !text.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(
            format_args!("the variable {name} is no text (UTF-8)"),
            "set it again, or use a file",
        )),
    }
}

/// One line of standard input, asked for when a person sits there.
fn ask(question: &str) -> Result<Zeroizing<String>, Failure> {
    let input = io::stdin();
    let hidden = input.is_terminal().then(Hidden::start);
    if let Some(hidden) = &hidden {
        let seen = if hidden.is_some() {
            "not shown"
        } else {
            "it will be visible"
        };
        let mut err = io::stderr().lock();
        // Where nobody can see the question, the answer may still come.
        let _ = write!(err, "{question} ({seen}): ").and_then(|()| err.flush());
    }
    let mut line = Zeroizing::new(String::new());
    let read = input.lock().take(MAX_LINE).read_line(&mut line);
    if let Some(Some(hidden)) = hidden {
        hidden.end();
    }
    read.map_err(|error| {
        Failure::usage(
            format_args!("standard input can't be read: {error}"),
            "give the secret in a file, or in the environment",
        )
    })?;
    Ok(line)
}

/// A terminal whose echo is off until [`Hidden::end`], or until this program is gone.
struct Hidden {
    watcher: Child,
    alive: ChildStdin,
}

impl Hidden {
    /// Switches the echo off; `None` where that can't be done.
    fn start() -> Option<Self> {
        let mut watcher = Command::new("sh")
            .args(["-c", WATCHER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let alive = watcher.stdin.take();
        let mut said = String::new();
        if let Some(output) = watcher.stdout.take() {
            // No line means no echo switched off.
            let _ = BufReader::new(output).read_line(&mut said);
        }
        match alive {
            Some(alive) if said == "off\n" => Some(Self { watcher, alive }),
            _ => {
                let _ = watcher.wait();
                None
            }
        }
    }

    /// Switches the echo on again.
    fn end(mut self) {
        drop(self.alive);
        let _ = self.watcher.wait();
        // The line end that the person typed was not shown either.
        let _ = writeln!(io::stderr().lock());
    }
}

/// Ends when its standard input does: when we close it, or are killed. It outlives the Ctrl-C that ends us.
const WATCHER: &str = "\
trap '' INT QUIT HUP TERM TSTP TTIN TTOU
saved=$(stty -g </dev/tty) && stty -echo </dev/tty && echo off && exec >/dev/null || exit 1
read -r gone
stty \"$saved\" </dev/tty";

const CREDENTIAL: &str = "The credential";
const MAX_LINE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "00000-00000-00000-00000-00000";

    fn args() -> CredentialArgs {
        CredentialArgs {
            password_file: None,
            activation_code_file: None,
            product_code_file: None,
        }
    }

    #[test]
    fn the_serial_says_what_is_asked() {
        for (serial, kind) in [
            ("NSP-2000", Kind::Password),
            ("nsp1", Kind::Password),
            ("LS-1000", Kind::ActivationCode),
            ("X-NSP-1", Kind::ActivationCode),
        ] {
            let serial = SerialNumber::parse(serial).expect("serial");
            assert_eq!(Kind::usual(&serial), kind);
        }
    }

    #[test]
    fn a_file_says_which_kind_it_is() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("secret");
        let serial = SerialNumber::parse("LS-1000").expect("serial");
        std::fs::write(&path, format!("{CODE}\n")).expect("write");
        let given = CredentialArgs {
            product_code_file: Some(path.clone()),
            ..args()
        };
        assert!(matches!(
            given.credential(&serial),
            Ok(Credential::ProductCode(_))
        ));
        std::fs::write(&path, "pass word \r\n").expect("write");
        let given = CredentialArgs {
            password_file: Some(path),
            ..args()
        };
        let read = given.credential(&serial);
        assert!(matches!(read, Ok(Credential::Password(text)) if text.as_str() == "pass word "));
    }

    #[test]
    fn a_mistyped_code_is_not_repeated() {
        for bad in ["", "\n", "SECRET", "00000-00000-00000-00000-00001"] {
            let failure = code(bad, "activation code").expect_err("bad");
            assert!(!failure.to_string().contains("SECRET"));
            assert!(!failure.to_string().contains("00001"));
        }
    }
}
