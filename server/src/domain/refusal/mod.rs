//! Refusals: answers that say no, and say what, why and what next (DESIGN 7, DOMAIN 6).
//!
//! A refusal is not a failure: nothing broke. It never carries a secret, a credential or key material, because it is
//! logged, kept in the ledger and sent to the caller. The transport turns it into a gRPC status in one place.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use self::reason::{Class, Reason};

mod reason;

/// One refusal: the reason and what this case adds to it. The fields are free: any combination is a valid answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why: stable, and API.
    pub reason: Reason,
    /// One sentence about this case, such as the number of seats taken. Never a secret.
    pub detail: Option<String>,
    /// Facts for programs, such as `opens_on`: the metadata of `google.rpc.ErrorInfo`.
    pub metadata: BTreeMap<&'static str, String>,
    /// Every field that is wrong: `google.rpc.BadRequest`.
    pub violations: Vec<Violation>,
    /// When to try again: `google.rpc.RetryInfo`.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal that says no more than its reason.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            retry_after: None,
        }
    }

    /// A refusal of a request whose fields are wrong: all of them at once (DESIGN 8, step 1).
    pub fn invalid(violations: Vec<Violation>) -> Self {
        Self {
            violations,
            ..Self::new(Reason::InvalidField)
        }
    }

    /// A refusal of a request that leaves fields empty: all of them at once (N-13, vector D58).
    pub fn missing<I, F>(fields: I) -> Self
    where
        I: IntoIterator<Item = F>,
        F: Into<String>,
    {
        let violations = fields
            .into_iter()
            .map(|field| Violation::new(field, "is required"))
            .collect();
        Self {
            violations,
            ..Self::new(Reason::MissingField)
        }
    }

    /// Adds one sentence about this case.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a fact for programs; keys are lower snake_case.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.metadata.insert(key, value.to_string());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The text for people: what and why, this case, what next.
    pub fn message(&self) -> String {
        let mut message = self.reason.meaning().to_owned();
        if let Some(detail) = &self.detail {
            push_sentence(&mut message, detail);
        }
        if !self.violations.is_empty() {
            let fields: Vec<String> = self.violations.iter().map(Violation::to_string).collect();
            push_sentence(&mut message, &fields.join("; "));
        }
        push_sentence(&mut message, self.reason.next_step());
        if let Some(wait) = self.retry_after {
            push_sentence(
                &mut message,
                &format!("Try again in {} s", whole_secs(wait)),
            );
        }
        message
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message())
    }
}

impl std::error::Error for Refusal {}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the request, such as `details.email`.
    pub field: String,
    /// What it has to be. The value itself is not repeated: it may be a secret.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}

fn push_sentence(message: &mut String, sentence: &str) {
    message.push(' ');
    message.push_str(sentence);
    if !sentence.ends_with(['.', '!', '?']) {
        message.push('.');
    }
}

/// Whole seconds, rounded up, so that nobody is told to come back too early.
fn whole_secs(wait: Duration) -> u64 {
    let partial = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(partial)
}
