//! What is sent again and what is not, and how an error tells whose turn it is.

use std::time::{Duration, Instant};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use upkeep::rpc::v1;
use upkeep_client::{Client, ClientError};

use crate::relay::{Fault, refused};
use crate::site::Site;

async fn call(client: &Client) -> Result<(), ClientError> {
    let answer = client.challenge(v1::ChallengePurpose::Verify).await;
    answer.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_unavailable_is_sent_again() {
    let site = Site::new().await;
    let client = site.client(5);
    for (code, calls) in [
        (Code::Unavailable, 5),
        (Code::Cancelled, 1),
        (Code::Unknown, 1),
        (Code::InvalidArgument, 1),
        (Code::DeadlineExceeded, 1),
        (Code::NotFound, 1),
        (Code::AlreadyExists, 1),
        (Code::PermissionDenied, 1),
        (Code::ResourceExhausted, 1),
        (Code::FailedPrecondition, 1),
        (Code::Aborted, 1),
        (Code::OutOfRange, 1),
        (Code::Unimplemented, 1),
        (Code::Internal, 1),
        (Code::DataLoss, 1),
        (Code::Unauthenticated, 1),
    ] {
        site.relay.answer_all(Status::new(code, "no"));
        let error = call(&client).await.unwrap_err();
        assert_eq!(site.relay.heal().len(), calls, "{code:?}");
        let fits = match code {
            Code::Unavailable => matches!(error, ClientError::Unreachable { .. }),
            Code::DeadlineExceeded => matches!(error, ClientError::Deadline { .. }),
            Code::Unimplemented => matches!(error, ClientError::Answer(_)),
            Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
                matches!(error, ClientError::ServerFailed(_))
            }
            _ => matches!(error, ClientError::Refused(_)) && !error.outcome_unknown(),
        };
        assert!(fits, "{code:?}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_call_is_repaired() {
    let site = Site::new().await;
    for fault in [Fault::Before, Fault::After, Fault::Cut] {
        let client = site.client(3);
        call(&client).await.unwrap();
        site.relay.fail_at(0, fault);
        call(&client).await.unwrap();
        assert_eq!(site.relay.heal().len(), 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_pauses_are_kept() {
    let site = Site::new().await;
    let client = site.client(2);
    let asked = |wait| {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(wait));
        Status::with_error_details(Code::Unavailable, "busy", details)
    };
    site.relay.answer_all(asked(Duration::from_millis(120)));
    let begun = Instant::now();
    call(&client).await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(120));
    assert_eq!(site.relay.heal().len(), 2);
    // Longer than anyone waits for: that is the caller's decision.
    site.relay.answer_all(asked(Duration::from_secs(3600)));
    let error = call(&client).await.unwrap_err();
    assert_eq!(site.relay.heal().len(), 1);
    let ClientError::Unreachable { retry_after, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*retry_after, Some(Duration::from_secs(3600)));
    // Not to come back.
    let mut stop = Status::unavailable("go away");
    stop.metadata_mut()
        .insert("grpc-retry-pushback-ms", "-1".parse().unwrap());
    site.relay.answer_all(stop);
    call(&client).await.unwrap_err();
    assert_eq!(site.relay.heal().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_at_the_deadline_and_is_not_repeated() {
    let site = Site::new().await;
    let client = site.client(5);
    call(&client).await.unwrap();
    site.relay.fail_at(0, Fault::Silent);
    let error = call(&client).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Deadline { after, .. } if *after == Duration::from_millis(400)),
        "{error:?}"
    );
    assert!(error.outcome_unknown());
    assert_eq!(site.relay.heal().len(), 1);
    call(&client).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_carries_everything_that_the_server_said() {
    let site = Site::new().await;
    let mut details = ErrorDetails::with_error_info(
        "INVALID_FIELD",
        "upkeep.example",
        [("field".to_owned(), "serial".to_owned())],
    );
    details.set_bad_request(vec![tonic_types::FieldViolation::new(
        "serial",
        "too short",
    )]);
    site.relay.answer_all(Status::with_error_details(
        Code::InvalidArgument,
        "wrong",
        details,
    ));
    let ClientError::Refused(refusal) = call(&site.client(5)).await.unwrap_err() else {
        panic!("no refusal");
    };
    assert_eq!(refusal.code, "INVALID_ARGUMENT");
    assert_eq!(refusal.reason.as_deref(), Some("INVALID_FIELD"));
    assert_eq!(refusal.metadata.get("field").unwrap(), "serial");
    assert_eq!(
        refusal.violations,
        [("serial".to_owned(), "too short".to_owned())]
    );
    assert_eq!(refusal.attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_renewed_twice_and_no_more() {
    let mut site = Site::new().await;
    let machine = site.machine("LS-STALE").await;
    let mut store = machine.open();
    let stale = refused(Code::Aborted, "CHALLENGE_SPENT");
    site.relay.answer_signed(stale);
    let error = upkeep_client::activate(&mut store, &site.client(5), &machine.options)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Some("CHALLENGE_SPENT"));
    let seen = site.relay.heal();
    let signed: Vec<_> = seen.iter().filter(|seen| seen.call == "Activate").collect();
    assert_eq!(signed.len(), 3, "{seen:?}");
    assert!(
        signed
            .iter()
            .all(|seen| seen.request_id == signed[0].request_id)
    );
}
