//! The section `[mail]` as it is written, and its checks. Files that it names are read when the server starts and by
//! `config check`, not here.

use std::net::IpAddr;
use std::path::PathBuf;

use lettre::message::Mailbox;
use serde::{Deserialize, Serialize};

use crate::config::raw::Check;
use crate::config::settings::{MailSecurity, MailSettings};
use crate::pki::authority::is_host_name;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMail {
    server: String,
    port: u64,
    security: String,
    user: String,
    password_file: String,
    from: String,
    reply_to: String,
    vendor: String,
    ca_file: String,
    templates: String,
    portal_url: String,
    timeout_secs: u64,
}

impl RawMail {
    pub(super) fn from_settings(settings: &MailSettings) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let path = |value: &Option<PathBuf>| {
            value
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default()
        };
        Self {
            server: text(&settings.server),
            port: settings.port.into(),
            security: settings.security.as_str().to_owned(),
            user: text(&settings.user),
            password_file: path(&settings.password_file),
            from: text(&settings.from),
            reply_to: text(&settings.reply_to),
            vendor: text(&settings.vendor),
            ca_file: path(&settings.ca_file),
            templates: path(&settings.templates),
            portal_url: text(&settings.portal_url),
            timeout_secs: settings.timeout.as_secs(),
        }
    }

    pub(super) fn check(self, check: &mut Check<'_>) -> MailSettings {
        let security = MailSecurity::parse(&self.security).unwrap_or_else(|| {
            check.wrong("mail.security", r#"must be "starttls", "tls" or "none""#);
            MailSecurity::StartTls
        });
        let address = self.server.parse::<IpAddr>().ok();
        check.that(
            self.server.is_empty() || address.is_some() || is_host_name(&self.server),
            "mail.server",
            "must be a host name or an IP address, without a port (that is mail.port)",
        );
        let local = self.server == "localhost" || address.is_some_and(|ip| ip.is_loopback());
        check.that(
            security != MailSecurity::None || self.server.is_empty() || local,
            "mail.security",
            r#"may be "none" only for a mail server on this machine (localhost, 127.0.0.1, ::1)"#,
        );
        check.that(
            self.server.is_empty() || !self.from.is_empty(),
            "mail.from",
            "must name the sender when mail.server is set, such as \"Vendor Licenses <licenses@vendor.example>\"",
        );
        check.that(
            self.user.is_empty() == self.password_file.is_empty(),
            "mail.password_file",
            "goes with mail.user: set both or neither",
        );
        check.that(
            !self.user.chars().any(char::is_control),
            "mail.user",
            "must not have control characters",
        );
        for (key, text) in [
            ("mail.from", &self.from),
            ("mail.reply_to", &self.reply_to),
            ("mail.vendor", &self.vendor),
        ] {
            let good = text.is_empty()
                || !text.chars().any(char::is_control) && text.parse::<Mailbox>().is_ok();
            check.that(
                good,
                key,
                "must be an address such as licenses@vendor.example or \"Vendor <licenses@vendor.example>\"",
            );
        }
        let url = self.portal_url.as_str();
        let link = url.starts_with("https://") || url.starts_with("http://");
        check.that(
            url.is_empty() || link && url.bytes().all(|b| b.is_ascii_graphic()),
            "mail.portal_url",
            "must be a link such as https://licenses.vendor.example",
        );
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let path = |text: String| some(text).map(PathBuf::from);
        MailSettings {
            port: check.count("mail.port", self.port, 1, 65_535),
            timeout: check.secs("mail.timeout_secs", self.timeout_secs, 1, 300),
            security,
            server: some(self.server),
            user: some(self.user),
            password_file: path(self.password_file),
            from: some(self.from),
            reply_to: some(self.reply_to),
            vendor: some(self.vendor),
            ca_file: path(self.ca_file),
            templates: path(self.templates),
            portal_url: some(self.portal_url),
        }
    }
}
