//! The mail server: one connection for a round of letters, each step with its own meaning when it fails.
//!
//! TLS is required, never tried: a server that does not offer STARTTLS where it is configured gets nothing, and certificates
//! are always checked (RFC 3207, RFC 8314). What a failure means depends on the step: a recipient or content that is refused for
//! good is this letter's end; everything before it (connection, login, sender) is about the server and its configuration, and no
//! recipient's fault.

use std::fmt;
use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use tokio::time::timeout;

use crate::config::{MailSecurity, MailSettings};
use crate::domain::mail::Failure;
use crate::keys::file::{KeyFileError, read_public, read_secret};
use crate::mail::letter::Head;
use crate::mail::{MailError, mailbox};

/// The way to the mail server.
pub(crate) struct Mailer {
    pub(crate) head: Head,
    server: String,
    port: u16,
    security: MailSecurity,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    hello: ClientId,
    patience: Duration,
}

/// An open connection, logged in.
pub(crate) struct Session {
    connection: AsyncSmtpConnection,
    patience: Duration,
    /// After a failure the server still holds half a letter.
    dirty: bool,
}

/// Where sending failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Reaching the server, or its certificate.
    Connect,
    /// STARTTLS.
    StartTls,
    /// The login.
    Login,
    /// The sender's address.
    Sender,
    /// The recipient's address.
    Recipient,
    /// The message.
    Message,
}

/// Why a letter was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SendError {
    pub(crate) step: Step,
    /// The server's answer, such as 550; none when there was none.
    code: Option<u16>,
    /// What the server or the operating system said. It may repeat an address, so it is shown and never kept.
    said: String,
}

impl Mailer {
    /// Reads the password and the CA. `None` when no mail server is configured.
    ///
    /// # Errors
    /// [`MailError`].
    pub(crate) fn open(settings: &MailSettings) -> Result<Option<Self>, MailError> {
        let Some(server) = settings.server.clone() else {
            return Ok(None);
        };
        let from = mailbox("mail.from", settings.from.as_deref())?;
        let head = Head {
            from: from.ok_or(MailError::Address { key: "mail.from" })?,
            reply_to: mailbox("mail.reply_to", settings.reply_to.as_deref())?,
        };
        let tls = match settings.security {
            MailSecurity::None => None,
            MailSecurity::StartTls | MailSecurity::Tls => Some(tls(&server, settings)?),
        };
        Ok(Some(Self {
            head,
            server,
            port: settings.port,
            security: settings.security,
            tls,
            credentials: credentials(settings)?,
            hello: ClientId::default(),
            patience: settings.timeout,
        }))
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// [`SendError`] of the steps before the recipient.
    pub(crate) async fn connect(&self) -> Result<Session, SendError> {
        let implicit = match self.security {
            MailSecurity::Tls => self.tls.clone(),
            MailSecurity::StartTls | MailSecurity::None => None,
        };
        let server = (self.server.as_str(), self.port);
        let connecting = AsyncSmtpConnection::connect_tokio1(
            server,
            Some(self.patience),
            &self.hello,
            implicit,
            None,
        );
        let mut connection = within(self.patience, Step::Connect, connecting).await?;
        if let (MailSecurity::StartTls, Some(tls)) = (self.security, &self.tls) {
            let upgrading = connection.starttls(tls.clone(), &self.hello);
            within(self.patience, Step::StartTls, upgrading).await?;
        }
        if let Some(credentials) = &self.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let login = connection.auth(&mechanisms, credentials);
            within(self.patience, Step::Login, login).await?;
        }
        Ok(Session {
            connection,
            patience: self.patience,
            dirty: false,
        })
    }

    /// `host:port`, for people.
    pub(crate) fn server(&self) -> String {
        format!("{}:{}", self.server, self.port)
    }
}

impl Session {
    /// Hands a message over. When it returns, the server has answered for it.
    ///
    /// # Errors
    /// [`SendError`].
    pub(crate) async fn send(&mut self, message: &Message) -> Result<(), SendError> {
        let patience = self.patience;
        if self.dirty {
            within(patience, Step::Connect, self.connection.command(Rset)).await?;
        }
        self.dirty = true;
        let envelope = message.envelope();
        let mut parameters = Vec::new();
        let addresses = envelope.to().iter().chain(envelope.from());
        if addresses.into_iter().any(|one| !one.to_string().is_ascii()) {
            let info = self.connection.server_info();
            if !info.supports_feature(Extension::SmtpUtfEight) {
                return Err(SendError {
                    step: Step::Recipient,
                    code: Some(NOT_ASCII),
                    said: "the address is not ASCII and the server has no SMTPUTF8".to_owned(),
                });
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let sender = Mail::new(envelope.from().cloned(), parameters);
        within(patience, Step::Sender, self.connection.command(sender)).await?;
        for to in envelope.to() {
            let recipient = Rcpt::new(to.clone(), Vec::new());
            within(
                patience,
                Step::Recipient,
                self.connection.command(recipient),
            )
            .await?;
        }
        within(patience, Step::Message, self.connection.command(Data)).await?;
        let formatted = message.formatted();
        within(patience, Step::Message, self.connection.message(&formatted)).await?;
        self.dirty = false;
        Ok(())
    }

    /// Says goodbye; a server that does not answer changes nothing.
    pub(crate) async fn close(mut self) {
        let _ = timeout(self.patience, self.connection.quit()).await;
    }
}

impl SendError {
    /// Whether this letter may still be taken later. Only a 5xx answer about recipient or content ends it.
    pub(crate) fn failure(&self) -> Failure {
        let for_good = self.code.is_some_and(|code| (500..600).contains(&code));
        match self.step {
            Step::Recipient | Step::Message if for_good => Failure::Permanent,
            _ => Failure::Transient,
        }
    }

    /// Whether the next letter would fare no better on this connection.
    pub(crate) fn is_about_server(&self) -> bool {
        match self.step {
            Step::Connect | Step::StartTls | Step::Login | Step::Sender => true,
            Step::Recipient | Step::Message => self.code.is_none(),
        }
    }

    /// What is kept: the step and the answer's number. A server's text may repeat an address.
    pub(crate) fn for_record(&self) -> String {
        let answer = match self.code {
            None => "no answer".to_owned(),
            Some(code) => code.to_string(),
        };
        format!("{} ({answer})", self.step)
    }

    /// What to correct, for whoever runs the server.
    pub(crate) fn advice(&self) -> &'static str {
        match self.step {
            Step::Connect => "check mail.server, mail.port, mail.security and mail.ca_file",
            Step::StartTls => {
                "check mail.security and mail.ca_file; a server on port 465 usually wants \"tls\""
            }
            Step::Login => "check mail.user and the password in mail.password_file",
            Step::Sender => "check mail.from: the mail server does not let this user send from it",
            Step::Recipient => "check the recipient's address",
            Step::Message => "ask whoever runs the mail server",
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.said)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "the mail server cannot be reached",
            Self::StartTls => "the mail server does not start TLS as it must",
            Self::Login => "the mail server refused the login",
            Self::Sender => "the mail server refused the sender",
            Self::Recipient => "the mail server did not take the recipient",
            Self::Message => "the mail server did not take the message",
        })
    }
}

/// One step with an end: the library's own limit covers the connection only.
async fn within<T>(
    patience: Duration,
    step: Step,
    running: impl Future<Output = Result<T, SmtpError>>,
) -> Result<T, SendError> {
    match timeout(patience, running).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(SendError {
            step,
            code: error.status().map(u16::from),
            said: causes(&error),
        }),
        Err(_) => Err(SendError {
            step,
            code: None,
            said: format!("no answer within {} s", patience.as_secs()),
        }),
    }
}

/// The whole chain: the outermost says where, the innermost what.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

fn tls(server: &str, settings: &MailSettings) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(server.to_owned());
    if let Some(path) = &settings.ca_file {
        let wrong = |why: String| MailError::Ca {
            path: path.clone(),
            why,
        };
        let pem = read_public(path).map_err(|error| wrong(error.to_string()))?;
        let ca = Certificate::from_pem(&pem).map_err(|error| wrong(causes(&error)))?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(ca);
    }
    builder
        .build_rustls()
        .map_err(|error| MailError::Tls(causes(&error)))
}

fn credentials(settings: &MailSettings) -> Result<Option<Credentials>, MailError> {
    let (Some(user), Some(path)) = (&settings.user, &settings.password_file) else {
        return Ok(None);
    };
    let bytes = read_secret(path).map_err(|error| match error {
        KeyFileError::Missing { path } => MailError::NoPassword { path },
        other => MailError::Password(other),
    })?;
    let password = std::str::from_utf8(&bytes)
        .ok()
        .map(|text| text.trim_end_matches(['\r', '\n']))
        .filter(|text| !text.is_empty() && !text.chars().any(char::is_control));
    let password = password.ok_or_else(|| MailError::BadPassword { path: path.clone() })?;
    Ok(Some(Credentials::new(user.clone(), password.to_owned())))
}

/// "Mailbox name not allowed" is the answer that a server would give (RFC 6531 section 3.4).
const NOT_ASCII: u16 = 553;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_recipient_or_message_is_for_good() {
        let error = |step, code| SendError {
            step,
            code,
            said: "550 <anna@baker.example> unknown".to_owned(),
        };
        for step in [Step::Connect, Step::StartTls, Step::Login, Step::Sender] {
            let error = error(step, Some(535));
            assert_eq!(error.failure(), Failure::Transient, "{error}");
            assert!(error.is_about_server());
        }
        for step in [Step::Recipient, Step::Message] {
            assert_eq!(error(step, Some(550)).failure(), Failure::Permanent);
            assert_eq!(error(step, Some(451)).failure(), Failure::Transient);
            assert_eq!(error(step, None).failure(), Failure::Transient);
            assert!(error(step, None).is_about_server());
        }
        let kept = error(Step::Recipient, Some(550)).for_record();
        assert!(!kept.contains('@'), "{kept}");
    }

    #[test]
    fn a_password_is_one_line_of_a_private_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let settings = MailSettings {
            user: Some("licenses".to_owned()),
            password_file: Some(path.clone()),
            ..MailSettings::default()
        };
        assert!(matches!(
            credentials(&settings),
            Err(MailError::NoPassword { .. })
        ));
        for (text, mode, good) in [
            ("secret\n", 0o600, true),
            ("secret\n", 0o644, false),
            ("\n", 0o600, false),
            ("one\ntwo\n", 0o600, false),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = credentials(&settings);
            assert_eq!(read.is_ok(), good, "{text:?} {mode:o}");
            if let Err(error) = read {
                assert!(!error.to_string().contains("secret"));
            }
        }
    }
}
