//! A letter: a text with an address, and the message that it becomes on the wire (RFC 5322, UTF-8 throughout).

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use lettre::Message;
use lettre::address::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use upkeep::id::MailId;

use crate::mail::facts::plain;
use crate::mail::texts::Text;

/// What is to be sent.
pub(crate) struct Letter {
    /// The address, as it stands on record.
    pub(crate) to: String,
    /// The recipient's name, if it has one.
    pub(crate) name: String,
    pub(crate) text: Text,
    /// A file in text form.
    pub(crate) file: Option<File>,
}

/// A file beside the text.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) content: String,
}

/// Who writes.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) from: Mailbox,
    pub(crate) reply_to: Option<Mailbox>,
}

impl Letter {
    /// The message. Its Message-ID follows from the mail's id alone, so whoever gets it twice can tell.
    ///
    /// # Errors
    /// What is wrong with it, without its contents.
    pub(crate) fn message(
        &self,
        head: &Head,
        id: &MailId,
        now: DateTime<Utc>,
    ) -> Result<Message, String> {
        let to: Address = self
            .to
            .parse()
            .map_err(|_| "the address on record is no e-mail address".to_owned())?;
        let name = Some(plain(&self.name)).filter(|name| !name.is_empty());
        let mut builder = Message::builder()
            .from(head.from.clone())
            .to(Mailbox::new(name, to))
            .subject(self.text.subject.clone())
            .date(SystemTime::from(now))
            .message_id(Some(format!("<{id}@{}>", head.from.email.domain())))
            .raw_header(auto_submitted());
        if let Some(reply_to) = &head.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        let text = SinglePart::plain(self.text.body.clone());
        let built = match &self.file {
            None => builder.singlepart(text),
            Some(file) => builder.multipart(
                MultiPart::mixed().singlepart(text).singlepart(
                    Attachment::new(file.name.clone())
                        .body(file.content.clone(), ContentType::TEXT_PLAIN),
                ),
            ),
        };
        built.map_err(|error| format!("the message cannot be made: {error}"))
    }
}

/// Keeps holiday notices from answering (RFC 3834 section 5).
fn auto_submitted() -> HeaderValue {
    HeaderValue::new(
        HeaderName::new_from_ascii_str("Auto-Submitted"),
        "auto-generated".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(name: &str, subject: &str) -> String {
        let head = Head {
            from: Mailbox::new(
                Some("Vendor, \"the\" Best".to_owned()),
                "licenses@vendor.example".parse().unwrap(),
            ),
            reply_to: Some("help@vendor.example".parse().unwrap()),
        };
        let letter = Letter {
            to: "anna@baker.example".to_owned(),
            name: name.to_owned(),
            text: Text {
                subject: subject.to_owned(),
                body: "Grüße, 日本\n".to_owned(),
                source: "built-in".to_owned(),
            },
            file: Some(File {
                name: "upgrade-code-LS-1.txt".to_owned(),
                content: "-----BEGIN-----\n".to_owned(),
            }),
        };
        let id = MailId::parse("0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11").unwrap();
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let message = letter.message(&head, &id, now).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    #[test]
    fn the_message_is_ascii_and_names_itself() {
        let message = letter("Anna", "Ablauf: 31. August für Müller");
        assert!(message.is_ascii(), "{message}");
        for header in [
            "Message-ID: <0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11@vendor.example>\r\n",
            "Reply-To: help@vendor.example\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "=?utf-8?",
        ] {
            assert!(message.contains(header), "{header}: {message}");
        }
    }

    #[test]
    fn no_name_adds_a_header() {
        for name in [
            "Anna\r\nBcc: evil@x.example",
            "Anna \"Bcc: evil@x.example\" <x@y.example>",
            "Anna, evil@x.example",
            "אנה\u{202e}",
            &"ü".repeat(3_000),
            &"\"\\".repeat(300),
        ] {
            let message = letter(name, "Subject\r\nBcc: evil@x.example");
            let (headers, _) = message.split_once("\r\n\r\n").unwrap();
            assert!(!headers.contains("\r\nBcc:"), "{headers}");
            assert_eq!(headers.matches("\r\nTo:").count(), 1, "{headers}");
            assert!(headers.contains("anna@baker.example"), "{headers}");
            assert!(headers.lines().all(|line| line.len() <= 998), "{headers}");
        }
    }
}
