//! Mail: texts in the reader's language, letters made of them, and the mail server that takes them.
//!
//! Which mail is due, what it speaks of and where it goes is decided in `flow/`; here nothing reads a record. Tests send to a
//! real mail server.

pub(crate) mod facts;
pub(crate) mod filters;
pub(crate) mod letter;
pub(crate) mod smtp;
pub(crate) mod texts;

use std::path::PathBuf;

use lettre::message::Mailbox;

use crate::config::MailSettings;
use crate::keys::file::KeyFileError;
use crate::mail::texts::{TextError, Texts};

/// What the configuration of mail has to be corrected in. Every message names the key or the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// An address is none.
    #[error(
        "{key} is no e-mail address; write it as licenses@vendor.example or \"Vendor <licenses@vendor.example>\""
    )]
    Address {
        /// The key.
        key: &'static str,
    },
    /// The password file is not there.
    #[error("mail.password_file: {} is missing; write the password into it, one line, and run `chmod 600`", .path.display())]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
    /// The password file can't be used.
    #[error("mail.password_file: {0}")]
    Password(KeyFileError),
    /// The password file holds no password.
    #[error("mail.password_file: {} must hold the password: one line of text, not empty", .path.display())]
    BadPassword {
        /// The file.
        path: PathBuf,
    },
    /// The CA file can't be used.
    #[error("mail.ca_file: {} cannot be used: {why}; it must hold CA certificates in PEM", .path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// TLS can't be set up.
    #[error("mail.server: TLS to it cannot be set up: {0}")]
    Tls(String),
    /// Texts of one's own are wrong, one line each.
    #[error("{}", lines(.0))]
    Texts(Vec<TextError>),
}

/// What every letter of this server has in common.
#[derive(Debug, Default)]
pub struct Stationery {
    pub(crate) texts: Texts,
    /// The sender's name for the end of a letter.
    pub(crate) sender: String,
    /// The vendor's desk (P-17).
    pub(crate) desk: Option<String>,
    /// Where customers see their licenses.
    pub(crate) portal: Option<String>,
}

impl Stationery {
    /// Reads and checks the texts of one's own, and takes the rest from the settings.
    ///
    /// # Errors
    /// [`MailError::Texts`] with everything that is wrong with them; [`MailError::Address`].
    pub fn open(settings: &MailSettings) -> Result<Self, MailError> {
        let texts = Texts::open(settings.templates.as_deref()).map_err(MailError::Texts)?;
        let from = mailbox("mail.from", settings.from.as_deref())?;
        let desk = mailbox("mail.vendor", settings.vendor.as_deref())?;
        Ok(Self {
            texts,
            sender: from
                .map(|from| from.name.unwrap_or_else(|| from.email.to_string()))
                .unwrap_or_default(),
            desk: desk.map(|desk| desk.email.to_string()),
            portal: settings.portal_url.clone(),
        })
    }
}

/// Parses an address of the configuration.
fn mailbox(key: &'static str, text: Option<&str>) -> Result<Option<Mailbox>, MailError> {
    text.map(|text| text.parse().map_err(|_| MailError::Address { key }))
        .transpose()
}

fn lines(errors: &[TextError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
