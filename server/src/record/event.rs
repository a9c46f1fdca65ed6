//! The event of a ledger entry: who did what, and how it ended. Refusals are events too.

/// One event. No secret, no personal data: it stays in the ledger for ever.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// Microseconds since 1970, UTC.
    #[prost(int64, tag = "1")]
    pub at: i64,
    /// `customer`, `partner/acme`, `support/eva`, `admin/root`, `system`.
    #[prost(string, tag = "2")]
    pub actor: String,
    /// The call, such as Activate.
    #[prost(string, tag = "3")]
    pub action: String,
    /// `ok`, or the reason of the refusal.
    #[prost(string, tag = "4")]
    pub outcome: String,
    /// The license, where it is about one.
    #[prost(string, tag = "5")]
    pub serial: String,
    /// The record it is about.
    #[prost(string, tag = "6")]
    pub subject: String,
    /// A reason that a person gave.
    #[prost(string, tag = "7")]
    pub reason: String,
    /// The caller's request id, if given.
    #[prost(string, tag = "8")]
    pub request_id: String,
}
