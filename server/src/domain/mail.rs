//! Mails in the outbox: what each is about, who gets it, and when it is tried again (T-11, T-23, T-31, P-17, S-18).
//!
//! A mail names records, and nothing else. No address, no code and no text of it is ever stored: when it is sent, the address
//! is resolved and the text is written from the records as they stand then. So deleting a customer's key erases every address,
//! a corrected address counts at once, and codes stay derived. Who sends is the business of the flow and of `mail/`.

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::date::CivilDate;
use upkeep::id::{CustomerId, MailId, OrderId, PartnerId, QuoteId, RegionId, UpgradeId};
use upkeep::serial::SerialNumber;

use crate::domain::programme::Audience;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::vocabulary::vocabulary;

/// One mail, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub(crate) id: MailId,
    pub(crate) kind: MailKind,
    pub(crate) to: Recipient,
    pub(crate) state: MailState,
    /// How often it was tried and not taken.
    pub(crate) attempts: u32,
    /// When it is due; none once it is settled.
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    /// Why the last attempt failed or the mail was cancelled, for people. Never an address.
    pub(crate) last_error: String,
    pub(crate) created_at: DateTime<Utc>,
    /// When it was sent, cancelled or given up.
    pub(crate) settled_at: Option<DateTime<Utc>>,
}

/// What a mail is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailKind {
    /// Cover ends soon (T-11, S-18).
    Reminder {
        /// The license.
        serial: SerialNumber,
        /// The last covered day that it speaks of; when that has moved, the mail is void (N-09).
        last_day: CivilDate,
        /// The programme's threshold that it is for.
        days_before: u32,
        /// Who it is written for, which decides the text.
        to: Audience,
    },
    /// The upgrade code of an update request (T-23, T-31).
    UpgradeCode {
        /// The request.
        upgrade: UpgradeId,
        /// Which of its codes; an older one is void.
        code_number: u32,
    },
    /// An order was taken.
    OrderConfirmation {
        /// The order.
        order: OrderId,
        /// The license that it is for.
        serial: SerialNumber,
    },
    /// A quote is wanted from the vendor's desk (P-17).
    QuoteRequest {
        /// The quote.
        quote: QuoteId,
        /// The license that it is for.
        serial: SerialNumber,
    },
    /// The desk has answered a quote.
    QuoteAnswer {
        /// The quote.
        quote: QuoteId,
        /// The license that it is for.
        serial: SerialNumber,
    },
}

/// Who gets a mail. The address is looked up when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The customer's address on record.
    Customer(CustomerId),
    /// The partner's.
    Partner(PartnerId),
    /// The programme's address for the region, or else the vendor's desk (T-10, T-20).
    Vendor(Option<RegionId>),
    /// The address that an update request gave (T-23).
    Requester(UpgradeId),
}

vocabulary! {
    /// What became of a mail.
    MailState {
        /// It waits for its next attempt.
        Pending = "pending",
        /// The mail server took it.
        Sent = "sent",
        /// Given up: refused for good, or tried too often.
        Dead = "dead",
        /// No longer true when it was due, so never sent.
        Cancelled = "cancelled",
    }
}

vocabulary! {
    /// The texts that there are, each in several languages.
    Template {
        /// A reminder for the owner of the license.
        ReminderCustomer = "reminder-customer",
        /// A reminder for the usual reseller.
        ReminderReseller = "reminder-reseller",
        /// A reminder for the vendor's office.
        ReminderVendor = "reminder-vendor",
        /// An upgrade code.
        UpgradeCode = "upgrade-code",
        /// An order was taken.
        OrderConfirmation = "order-confirmation",
        /// A quote is wanted.
        QuoteRequest = "quote-request",
        /// A quote was answered.
        QuoteAnswer = "quote-answer",
    }
}

vocabulary! {
    /// The languages of the texts, by their BCP 47 primary tags.
    Language {
        /// English, and whatever is not listed.
        En = "en",
        /// German.
        De = "de",
        /// French.
        Fr = "fr",
        /// Japanese.
        Ja = "ja",
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work later: a 4xx answer, no connection, a login that is refused.
    Transient,
    /// It never will: a 5xx answer for this recipient, an address that is none.
    Permanent,
}

impl Mail {
    /// A mail that is due at once.
    pub(crate) fn new(id: MailId, kind: MailKind, to: Recipient, now: DateTime<Utc>) -> Self {
        Self {
            id,
            kind,
            to,
            state: MailState::Pending,
            attempts: 0,
            next_attempt_at: Some(now),
            last_error: String::new(),
            created_at: now,
            settled_at: None,
        }
    }

    /// The mail server has taken it.
    pub(crate) fn sent(&mut self, now: DateTime<Utc>) {
        self.last_error.clear();
        self.settle(MailState::Sent, now);
    }

    /// It is no longer true.
    pub(crate) fn cancel(&mut self, why: &str, now: DateTime<Utc>) {
        why.clone_into(&mut self.last_error);
        self.settle(MailState::Cancelled, now);
    }

    /// An attempt failed: later again, or never.
    pub(crate) fn failed(&mut self, failure: Failure, why: &str, now: DateTime<Utc>) {
        self.attempts = self.attempts.saturating_add(1);
        why.clone_into(&mut self.last_error);
        if failure == Failure::Permanent || self.attempts >= MAX_ATTEMPTS {
            self.settle(MailState::Dead, now);
        } else {
            let next = now.checked_add_signed(back_off(self.attempts));
            self.next_attempt_at = Some(next.unwrap_or(now));
        }
    }

    /// Takes a dead or waiting mail up again: due at once, with all its attempts.
    ///
    /// # Errors
    /// ILLEGAL_TRANSITION for one that was sent or cancelled: it would arrive twice, or say what is no longer true.
    pub(crate) fn retry(&mut self, now: DateTime<Utc>) -> Result<(), Refusal> {
        match self.state {
            MailState::Dead | MailState::Pending => {
                self.state = MailState::Pending;
                self.attempts = 0;
                self.next_attempt_at = Some(now);
                self.settled_at = None;
                Ok(())
            }
            MailState::Sent | MailState::Cancelled => {
                Err(Refusal::new(Reason::IllegalTransition).with("state", self.state))
            }
        }
    }

    fn settle(&mut self, state: MailState, now: DateTime<Utc>) {
        self.state = state;
        self.next_attempt_at = None;
        self.settled_at = Some(now);
    }
}

impl MailKind {
    /// The text that it is written with.
    pub fn template(&self) -> Template {
        match self {
            Self::Reminder { to, .. } => match to {
                Audience::Customer => Template::ReminderCustomer,
                Audience::Reseller => Template::ReminderReseller,
                Audience::VendorRegion => Template::ReminderVendor,
            },
            Self::UpgradeCode { .. } => Template::UpgradeCode,
            Self::OrderConfirmation { .. } => Template::OrderConfirmation,
            Self::QuoteRequest { .. } => Template::QuoteRequest,
            Self::QuoteAnswer { .. } => Template::QuoteAnswer,
        }
    }

    /// The license that it is about; none for an upgrade code, whose request knows it.
    pub fn serial(&self) -> Option<&SerialNumber> {
        match self {
            Self::Reminder { serial, .. }
            | Self::OrderConfirmation { serial, .. }
            | Self::QuoteRequest { serial, .. }
            | Self::QuoteAnswer { serial, .. } => Some(serial),
            Self::UpgradeCode { .. } => None,
        }
    }

    /// What there is one mail of: per contract, last day, threshold and recipient (N-09), per code, per order, per quote and what
    /// happened to it.
    pub(crate) fn once_per(&self, to: &Recipient) -> String {
        match self {
            Self::Reminder {
                serial,
                last_day,
                days_before,
                ..
            } => format!("reminder/{serial}/{last_day}/{days_before}/{to}"),
            Self::UpgradeCode {
                upgrade,
                code_number,
            } => format!("upgrade-code/{upgrade}/{code_number}"),
            Self::OrderConfirmation { order, .. } => format!("order-confirmation/{order}"),
            Self::QuoteRequest { quote, .. } => format!("quote-request/{quote}"),
            Self::QuoteAnswer { quote, .. } => format!("quote-answer/{quote}"),
        }
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Customer(id) => write!(f, "customer/{id}"),
            Self::Partner(id) => write!(f, "partner/{id}"),
            Self::Vendor(None) => f.write_str("vendor"),
            Self::Vendor(Some(region)) => write!(f, "vendor/{region}"),
            Self::Requester(upgrade) => write!(f, "requester/{upgrade}"),
        }
    }
}

impl Language {
    /// The language of a BCP 47 tag, such as `de-AT`; English for every other one.
    pub fn of_tag(tag: &str) -> Self {
        let primary = tag.split(['-', '_']).next().unwrap_or_default();
        Self::parse(&primary.to_ascii_lowercase()).unwrap_or(Self::En)
    }
}

/// How long to wait after the `attempts`th failure: 1 min, doubling, never more than 6 h.
pub fn back_off(attempts: u32) -> TimeDelta {
    let doublings = attempts.saturating_sub(1);
    let minutes = 1_i64.checked_shl(doublings).filter(|minutes| *minutes > 0);
    minutes
        .and_then(TimeDelta::try_minutes)
        .map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT))
}

/// The failures after which a mail is given up: with the waits between them nearly three days.
pub const MAX_ATTEMPTS: u32 = 20;
/// The longest wait between two attempts.
pub const LONGEST_WAIT: TimeDelta = TimeDelta::hours(6);

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(minutes: i64) -> DateTime<Utc> {
        let start = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        start
            .checked_add_signed(TimeDelta::minutes(minutes))
            .unwrap()
    }

    fn reminder(last_day: &str, days_before: u32) -> MailKind {
        MailKind::Reminder {
            serial: SerialNumber::parse("NSP-0001").unwrap(),
            last_day: CivilDate::parse(last_day).unwrap(),
            days_before,
            to: Audience::Reseller,
        }
    }

    fn mail() -> Mail {
        let to = Recipient::Partner(PartnerId::parse("acme").unwrap());
        let id = MailId::from_uuid(Uuid::nil());
        Mail::new(id, reminder("2026-08-31", 75), to, at(0))
    }

    #[test]
    fn waits_double_up_to_six_hours() {
        let minutes: Vec<i64> = (1..=11).map(|n| back_off(n).num_minutes()).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360]);
        for attempts in [0, 1] {
            assert_eq!(back_off(attempts), TimeDelta::minutes(1));
        }
        for attempts in [62, 63, 64, 65, u32::MAX] {
            assert_eq!(back_off(attempts), LONGEST_WAIT, "{attempts}");
        }
    }

    #[test]
    fn a_mail_is_given_up_after_its_last_attempt() {
        let mut mail = mail();
        for attempt in 1..MAX_ATTEMPTS {
            let now = mail.next_attempt_at.unwrap();
            mail.failed(Failure::Transient, "451", now);
            assert_eq!(mail.state, MailState::Pending);
            let next = now.checked_add_signed(back_off(attempt));
            assert_eq!(mail.next_attempt_at, next);
        }
        let now = mail.next_attempt_at.unwrap();
        let tried = now.signed_duration_since(at(0));
        assert_eq!(tried, TimeDelta::minutes(4_111), "nearly three days");
        mail.failed(Failure::Transient, "451", now);
        assert_eq!(mail.state, MailState::Dead);
        assert_eq!(mail.next_attempt_at, None);
        assert_eq!(mail.settled_at, Some(now));
    }

    #[test]
    fn a_refused_recipient_ends_it_at_once_and_a_retry_starts_anew() {
        let mut mail = mail();
        mail.failed(Failure::Permanent, "550", at(0));
        assert_eq!(mail.state, MailState::Dead);
        mail.retry(at(5)).unwrap();
        assert_eq!((mail.state, mail.attempts), (MailState::Pending, 0));
        assert_eq!(mail.next_attempt_at, Some(at(5)));
        mail.sent(at(6));
        assert_eq!(mail.last_error, "");
        let refused = mail.retry(at(7)).unwrap_err();
        assert_eq!(refused.reason, Reason::IllegalTransition);
        assert_eq!(mail.state, MailState::Sent);
    }

    #[test]
    fn there_is_one_mail_per_end_threshold_and_recipient() {
        let acme = Recipient::Partner(PartnerId::parse("acme").unwrap());
        let customer = Recipient::Customer(CustomerId::parse("acme").unwrap());
        let first = reminder("2026-08-31", 75).once_per(&acme);
        assert_eq!(first, reminder("2026-08-31", 75).once_per(&acme));
        for other in [
            reminder("2027-08-31", 75).once_per(&acme),
            reminder("2026-08-31", 30).once_per(&acme),
            reminder("2026-08-31", 75).once_per(&customer),
            reminder("2026-08-31", 75).once_per(&Recipient::Vendor(None)),
        ] {
            assert_ne!(first, other);
        }
        let quote = QuoteId::from_uuid(Uuid::nil());
        let serial = SerialNumber::parse("NSP-0001").unwrap();
        let asked = MailKind::QuoteRequest {
            quote,
            serial: serial.clone(),
        };
        let answered = MailKind::QuoteAnswer { quote, serial };
        assert_ne!(asked.once_per(&customer), answered.once_per(&customer));
    }

    #[test]
    fn languages_are_found_by_their_primary_tag() {
        for (tag, language) in [
            ("de", Language::De),
            ("de-AT", Language::De),
            ("JA-jp", Language::Ja),
            ("fr_CA", Language::Fr),
            ("pt-BR", Language::En),
            ("deu", Language::En),
            ("", Language::En),
        ] {
            assert_eq!(Language::of_tag(tag), language, "{tag}");
        }
    }
}
