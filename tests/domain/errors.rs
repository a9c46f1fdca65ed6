//! `docs/errors.md` and the table of reasons say the same; `UPKEEP_BLESS=1` rewrites the page.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use upkeep_server::domain::refusal::{Class, Reason, Refusal, Violation};

const HEAD: &str = "# Errors

Every refusal is a gRPC status with a `google.rpc.ErrorInfo` whose `reason` is one of these texts. They are API: callers may
compare them, and they are never renamed. Wrong fields come with `google.rpc.BadRequest`, all of them at once; limits that pass
come with `google.rpc.RetryInfo`. The message says what, why and what next; a detail of the case may stand in between.

This page is made from `server/src/domain/refusal/reason.rs`: `UPKEEP_BLESS=1 cargo test --test domain errors` rewrites it.
";

/// What no rule answers: the listener, and faults.
const TAIL: &str = "
## Not refusals

These come from the listener or from a fault, and say nothing about the request. A call that changes something may be repeated with
the same `request_id`.

| code | reason | what and why | what next |
| --- | --- | --- | --- |
| UNAVAILABLE | `OVERLOADED` | The server has as many calls in work as it takes. Nothing was done. | Try again after the time in the answer. |
| UNAVAILABLE | `STORE_STOPPED` | The server stopped writing after a fault of its disk. | Try again later; the operator has to restart it. |
| UNAVAILABLE | `SIGNING_UNAVAILABLE` | The key that signs can't be used now. What was decided is on record. | Repeat the call with the same `request_id`; the operator looks after the key. |
| UNAUTHENTICATED | `CLIENT_CERTIFICATE_REVOKED` | The vendor has withdrawn the client certificate of this connection. Nothing was done. | Ask the vendor for another certificate, and connect with it. |
| DEADLINE_EXCEEDED | `DEADLINE_EXCEEDED` | The call did not finish in time; it may still have taken effect. | Repeat it with the same `request_id`. |
| INTERNAL | `INTERNAL` | The server failed; its log says how. | Tell the vendor the time of the call, or its `x-request-id`. |
| OUT_OF_RANGE | none | The message is larger than this listener takes. | Send less. |
";

#[test]
fn errors_md_lists_every_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors.md");
    let page = page();
    if std::env::var_os("UPKEEP_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/errors.md differs from the table of reasons: run with UPKEEP_BLESS=1 and review the difference"
    );
}

#[test]
fn reasons_are_stable_texts() {
    let mut seen = BTreeSet::new();
    for reason in Reason::ALL {
        let text = reason.as_str();
        assert!(seen.insert(text), "{text} stands twice");
        assert_eq!(Reason::parse(text), Some(*reason));
        assert!(
            text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'),
            "{text}"
        );
        // The text is the variant's name, so that neither can drift.
        let spelled: String = format!("{reason:?}")
            .char_indices()
            .flat_map(|(i, c)| {
                let gap = (i > 0 && c.is_ascii_uppercase()).then_some('_');
                gap.into_iter().chain([c.to_ascii_uppercase()])
            })
            .collect();
        assert_eq!(spelled, text);
    }
    assert_eq!(Reason::parse("no_seat"), None);
}

#[test]
fn every_reason_says_why_and_what_next() {
    for reason in Reason::ALL {
        for sentence in [reason.meaning(), reason.next_step()] {
            assert!(sentence.ends_with('.'), "{reason}: {sentence}");
            assert!(sentence.len() > 15, "{reason}: {sentence}");
            assert!(!sentence.contains('|'), "{reason} breaks the table");
        }
    }
}

#[test]
fn messages_say_what_why_and_what_next() {
    let refusal = Refusal::new(Reason::NoSeat)
        .detail("3 of 3 seats are taken")
        .with("seats", 3);
    assert_eq!(
        refusal.message(),
        "Every seat of this license is taken. 3 of 3 seats are taken. Deactivate the product on a machine that no longer \
         needs it, or buy a seat."
    );
    assert_eq!(refusal.metadata.get("seats").map(String::as_str), Some("3"));
    assert!(refusal.to_string().starts_with("NO_SEAT: Every seat"));

    let waits = Refusal::from(Reason::TooManyTries).retry_after(Duration::from_millis(1_200));
    assert!(waits.message().ends_with("Try again in 2 s."), "{waits}");

    let invalid = Refusal::invalid(vec![
        Violation::new("serial", "has 4 to 64 characters"),
        Violation::new("request_id", "must be a UUID"),
    ]);
    assert_eq!(invalid.reason, Reason::InvalidField);
    assert!(
        invalid
            .message()
            .contains("serial: has 4 to 64 characters; request_id: must be a UUID."),
        "{invalid}"
    );

    let missing = Refusal::missing(["details.email", "credential"]);
    assert_eq!(missing.reason, Reason::MissingField);
    assert_eq!(missing.violations.len(), 2);
}

#[test]
fn the_answer_to_a_wrong_credential_names_neither_half() {
    let message = Refusal::from(Reason::CredentialInvalid).message();
    assert!(!message.contains("unknown") && !message.contains("not exist"));
}

#[test]
fn classes_are_those_of_the_specification() {
    for (class, reasons) in [
        (
            Class::InvalidArgument,
            "MISSING_FIELD CREDENTIAL_KIND_MISMATCH INVALID_TERM_COUNT",
        ),
        (Class::Unauthenticated, "CREDENTIAL_INVALID"),
        (
            Class::PermissionDenied,
            "ROLE_NOT_ALLOWED NOT_YOUR_CUSTOMER VM_NOT_ALLOWED ATTESTATION_FAILED",
        ),
        (Class::NotFound, "NOT_FOUND"),
        (
            Class::AlreadyExists,
            "PROOF_ALREADY_USED CODE_ALREADY_ISSUED CODE_ALREADY_REDEEMED",
        ),
        (
            Class::ResourceExhausted,
            "NO_SEAT LOST_LIMIT WAIVER_LIMIT RETURN_LIMIT TOO_MANY_TRIES",
        ),
        (Class::OutOfRange, "TOO_MANY_TERMS"),
        (
            Class::FailedPrecondition,
            "SMA_EXPIRED RENEWAL_TOO_EARLY REINSTATEMENT_REQUIRED COVER_STILL_ACTIVE UPGRADE_REQUIRED COTERM_INCOMPLETE \
             REFER_TO_VENDOR BUILD_NOT_COVERED PROOF_REQUIRED PROOF_INVALID TICKET_REQUIRED TICKET_EXPIRED WRONG_DEVICE \
             CODE_TOO_OLD AUTO_EXTEND_OFF CANCELLED ORDER_FIRST SEAT_IN_USE RELEASE_IN_PROGRESS LICENSE_NOT_ISSUED \
             LICENSE_SUSPENDED LICENSE_FINAL ACTIVATION_FINAL DEACTIVATION_FINAL SMA_FINAL UPGRADE_FINAL ILLEGAL_TRANSITION",
        ),
    ] {
        for text in reasons.split_whitespace() {
            let reason = Reason::parse(text).unwrap_or_else(|| panic!("{text} is missing"));
            assert_eq!(reason.class(), class, "{text}");
        }
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let classes: BTreeSet<Class> = Reason::ALL.iter().map(|reason| reason.class()).collect();
    for class in classes {
        write!(
            page,
            "\n## {class}\n\n| reason | what and why | what next |\n| --- | --- | --- |\n"
        )
        .unwrap();
        for reason in Reason::ALL.iter().filter(|reason| reason.class() == class) {
            let (what, next) = (reason.meaning(), reason.next_step());
            writeln!(page, "| `{reason}` | {what} | {next} |").unwrap();
        }
    }
    page + TAIL
}
