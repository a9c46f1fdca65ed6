//! The whole way of one license: activated, verified, deactivated against a proof, upgraded by a partner's code, redeemed.

use tonic::Code;
use tonic_types::StatusExt;
use upkeep::artefact::{ActivationCertificate, DeactivationReceipt, UpgradeCode};
use upkeep::rpc::v1;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep::{armor, jws, key};
use upkeep_server::pki::Role;

use crate::device::{Device, Wish, request_id};
use crate::world::{World, license, seed};

fn reason(status: &tonic::Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_purchase_to_upgrade() {
    let world = World::new("2026-03-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    // Seed 000: "Your first year of SMA is included with every new perpetual license" (T-05).
    let wish = license(&mut admin, "NSP-0042", 1, "2025-09-01").await;
    let mut api = world.api().await;
    let server_key = world.server_key().await;
    let find = |_: &key::Thumbprint| Some(server_key.clone());

    // Activate, with the same request twice: one seat, the same claims (I5).
    let (old, request) = (Device::new(), request_id());
    let first = old.activate(&mut api, &wish, &request).await.unwrap();
    let again = old.activate(&mut api, &wish, &request).await.unwrap();
    assert_eq!(first.activation_id, again.activation_id);
    let claims = |jws: &str| {
        jws::verify::<ActivationCertificate>(jws, find, key::verify)
            .unwrap()
            .into_claims()
    };
    assert_eq!(claims(&first.certificate), claims(&again.certificate));
    assert_eq!(
        claims(&first.certificate).cnf.jkt.to_string(),
        old.thumbprint()
    );
    assert_eq!(first.license.as_ref().unwrap().seats_taken, 1);

    // Another device finds no seat.
    let full = Device::new()
        .activate(&mut api, &wish, &request_id())
        .await
        .unwrap_err();
    assert_eq!(
        (full.code(), reason(&full).as_str()),
        (Code::ResourceExhausted, "NO_SEAT")
    );

    // The online check, some time later. As nothing has changed, what is signed is what is on record (I4).
    world.clock.advance(chrono::TimeDelta::minutes(10));
    let verified = old.verify(&mut api, &first.activation_id).await.unwrap();
    assert_eq!(verified.maintenance.unwrap().last_date, "2026-08-31");
    assert_eq!(claims(&verified.certificate), claims(&first.certificate));
    let stranger = Device::new()
        .verify(&mut api, &first.activation_id)
        .await
        .unwrap_err();
    assert_eq!(reason(&stranger), "ATTESTATION_FAILED");

    // The partner asks for the update: everything else is right, so the old license has to be returned first (T-17).
    let mut acme = PartnerServiceClient::new(world.staff(Role::Partner, "acme").await);
    let new = Device::new();
    let asked = v1::PartnerServiceCreateUpdateRequestRequest {
        request_id: request_id(),
        serial: "nsp-0042".into(),
        credential: Some(v1::Credential {
            secret: Some(wish.credential.clone()),
        }),
        details: Some(v1::UpdateRequestDetails {
            email: "it@baker.example".into(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            license_type: "network".into(),
            target_version: String::new(),
            device_thumbprint: new.thumbprint(),
        }),
    };
    let update = acme
        .create_update_request(asked)
        .await
        .unwrap()
        .into_inner()
        .update_request
        .unwrap();
    assert_eq!(update.state(), v1::UpdateRequestState::AwaitingDeactivation);
    assert_eq!(update.target_version, "11.0");
    assert_eq!(
        update.details.as_ref().unwrap().email,
        "",
        "the address is for support and admin"
    );
    let generate = v1::PartnerServiceGenerateUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id: update.update_request_id.clone(),
    };
    let early = acme
        .generate_upgrade_code(generate.clone())
        .await
        .unwrap_err();
    assert_eq!(reason(&early), "PROOF_REQUIRED");

    // Ticket, proof; the reseller records it (T-18). The same proof again gets the same receipt, and frees nothing twice (I6).
    let ticket = old.ticket(&mut api, &first.activation_id).await.unwrap();
    let held = old
        .verify(&mut api, &first.activation_id)
        .await
        .unwrap_err();
    assert_eq!(reason(&held), "RELEASE_IN_PROGRESS");
    let proof = old.prove(&ticket, &server_key);
    let mut other = PartnerServiceClient::new(world.staff(Role::Partner, "other").await);
    let foreign = other
        .record_proof(v1::PartnerServiceRecordProofRequest {
            proof: proof.clone(),
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&foreign), "NOT_YOUR_CUSTOMER");
    let recorded = acme
        .record_proof(v1::PartnerServiceRecordProofRequest {
            proof: proof.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    let repeated = api
        .deactivate(v1::DeactivateRequest {
            proof: proof.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    let receipt = |jws: &str| {
        jws::verify::<DeactivationReceipt>(jws, find, key::verify)
            .unwrap()
            .into_claims()
    };
    assert_eq!(receipt(&recorded.receipt), receipt(&repeated.receipt));

    // Now the code, in both forms; the same request again gets the same code.
    let code = acme
        .generate_upgrade_code(generate.clone())
        .await
        .unwrap()
        .into_inner()
        .upgrade_code
        .unwrap();
    let same = acme
        .generate_upgrade_code(generate)
        .await
        .unwrap()
        .into_inner()
        .upgrade_code
        .unwrap();
    assert_eq!(code.code, same.code);
    let file = armor::read::<UpgradeCode>(code.file.as_bytes()).unwrap();
    let file = jws::verify::<UpgradeCode>(&file, find, key::verify)
        .unwrap()
        .into_claims();
    assert_eq!((file.generation, file.target_version.as_str()), (2, "11.0"));
    let mut second = update.clone();
    second
        .update_request_id
        .clone_from(&update.update_request_id);
    let twice = acme
        .generate_upgrade_code(v1::PartnerServiceGenerateUpgradeCodeRequest {
            request_id: request_id(),
            update_request_id: second.update_request_id,
        })
        .await
        .unwrap_err();
    assert_eq!(
        (twice.code(), reason(&twice).as_str()),
        (Code::AlreadyExists, "CODE_ALREADY_ISSUED")
    );

    // From here on the old generation can't be activated.
    let sealed = old
        .activate(&mut api, &wish, &request_id())
        .await
        .unwrap_err();
    assert_eq!(reason(&sealed), "CODE_ALREADY_ISSUED");

    // A restart in between loses nothing.
    let world = world.restart().await;
    let mut api = world.api().await;

    // The wrong device, then the right one, then again.
    let wrong = Device::new()
        .redeem(&mut api, "NSP-0042", &code.code, "11.0")
        .await
        .unwrap_err();
    assert_eq!(reason(&wrong), "WRONG_DEVICE");
    let redeemed = new
        .redeem(&mut api, "NSP-0042", &code.code, "11.0")
        .await
        .unwrap();
    let next = redeemed.license.clone().unwrap();
    assert_eq!(
        (
            next.generation,
            next.license_type.as_str(),
            next.seats_taken
        ),
        (2, "network", 1)
    );
    assert_eq!(claims(&redeemed.certificate).generation, 2);
    let used = new
        .redeem(&mut api, "NSP-0042", &code.code, "11.0")
        .await
        .unwrap_err();
    assert_eq!(reason(&used), "CODE_ALREADY_REDEEMED");

    // A code of no use any more makes up for no wrong password.
    let wrong = Wish {
        credential: v1::credential::Secret::Password("not the password".into()),
        ..wish
    };
    for _ in 0..=10 {
        let guessed = new.activate(&mut api, &wrong, &request_id()).await;
        assert_eq!(reason(&guessed.unwrap_err()), "CREDENTIAL_INVALID");
        let dead = new.redeem(&mut api, "NSP-0042", &code.code, "11.0").await;
        assert!(dead.is_err());
    }
    let guessed = new.activate(&mut api, &wrong, &request_id()).await;
    assert_eq!(reason(&guessed.unwrap_err()), "TOO_MANY_TRIES");

    // What happened is on record, with who did it.
    let mut support = SupportServiceClient::new(world.staff(Role::Support, "eva").await);
    let history = support
        .list_history(v1::ListHistoryRequest {
            serial: "NSP-0042".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let told: Vec<_> = history
        .entries
        .iter()
        .rev()
        .map(|entry| format!("{} {} {}", entry.actor, entry.action, entry.outcome))
        .collect();
    for expected in [
        "admin/root CreateLicense ok",
        "customer Activate ok",
        "customer Activate NO_SEAT",
        "partner/acme CreateUpdateRequest ok",
        "partner/acme GenerateUpgradeCode PROOF_REQUIRED",
        "customer BeginDeactivation ok",
        "partner/acme RecordProof ok",
        "partner/acme GenerateUpgradeCode ok",
        "customer Activate CODE_ALREADY_ISSUED",
        "customer RedeemUpgradeCode WRONG_DEVICE",
        "customer RedeemUpgradeCode ok",
    ] {
        assert!(
            told.iter().any(|line| line == expected),
            "{expected} is not in {told:#?}"
        );
    }
    world.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_update_once_maintenance_has_expired() {
    let world = World::new("2026-08-31").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    let wish = license(&mut admin, "LS-0001", 1, "2025-09-01").await;
    let mut customer = CustomerServiceClient::new(world.products().await);
    let asked = v1::CreateUpdateRequestRequest {
        request_id: request_id(),
        serial: wish.serial.clone(),
        credential: Some(v1::Credential {
            secret: Some(wish.credential.clone()),
        }),
        details: Some(v1::UpdateRequestDetails {
            email: "it@baker.example".into(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            license_type: "single-user".into(),
            ..Default::default()
        }),
    };
    // The last covered day still counts (N-02).
    let update = customer
        .create_update_request(asked.clone())
        .await
        .unwrap()
        .into_inner()
        .update_request
        .unwrap();
    assert_eq!(
        update.state(),
        v1::UpdateRequestState::Approved,
        "nothing was ever activated"
    );
    // Seed 000: "No update will be provided if the SMA has expired" (T-15): checked again at issue.
    world.set_day("2026-09-01");
    let mut acme = PartnerServiceClient::new(world.staff(Role::Partner, "acme").await);
    let late = acme
        .generate_upgrade_code(v1::PartnerServiceGenerateUpgradeCodeRequest {
            request_id: request_id(),
            update_request_id: update.update_request_id,
        })
        .await
        .unwrap_err();
    assert_eq!(
        (late.code(), reason(&late).as_str()),
        (Code::FailedPrecondition, "SMA_EXPIRED")
    );
    // Anyone may ask for the flag (T-02); once expired it says no date.
    let status = customer
        .get_maintenance_status(v1::GetMaintenanceStatusRequest {
            serial: wish.serial.clone(),
        })
        .await
        .unwrap()
        .into_inner()
        .maintenance
        .unwrap();
    assert_eq!(
        (status.flag(), status.last_date.as_str()),
        (v1::MaintenanceFlag::Expired, "")
    );
    // The product itself goes on: the old build still activates (S-25, P-15).
    let device = Device::new();
    let mut api = world.api().await;
    device
        .activate(&mut api, &wish, &request_id())
        .await
        .unwrap();
    world.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_taken_once_however_often_it_is_sent() {
    let world = World::new("2026-03-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    license(&mut admin, "LS-0009", 1, "2025-09-01").await;
    let mut support = SupportServiceClient::new(world.staff(Role::Support, "eva").await);
    let suspend = v1::SuspendLicenseRequest {
        serial: "LS-0009".into(),
        reason: "payment".into(),
        request_id: request_id(),
    };
    let first = support
        .suspend_license(suspend.clone())
        .await
        .unwrap()
        .into_inner();
    // The reply was lost: the same request again is the same answer, not ILLEGAL_TRANSITION (I5, N-10).
    assert_eq!(
        support
            .suspend_license(suspend.clone())
            .await
            .unwrap()
            .into_inner(),
        first
    );
    let other = v1::SuspendLicenseRequest {
        reason: "fraud".into(),
        ..suspend
    };
    assert_eq!(
        reason(&support.suspend_license(other.clone()).await.unwrap_err()),
        "REQUEST_ID_REUSED"
    );
    let again = v1::SuspendLicenseRequest {
        request_id: request_id(),
        ..other
    };
    assert_eq!(
        reason(&support.suspend_license(again).await.unwrap_err()),
        "ILLEGAL_TRANSITION"
    );
    world.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_seat_is_no_proof_of_deactivation() {
    let world = World::new("2026-03-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    let wish = license(&mut admin, "LS-0010", 1, "2025-09-01").await;
    let mut api = world.api().await;
    let seat = Device::new()
        .activate(&mut api, &wish, &request_id())
        .await
        .unwrap();
    let mut customer = CustomerServiceClient::new(world.products().await);
    let asked = v1::CreateUpdateRequestRequest {
        request_id: request_id(),
        serial: wish.serial.clone(),
        credential: Some(v1::Credential {
            secret: Some(wish.credential.clone()),
        }),
        details: Some(v1::UpdateRequestDetails {
            email: "it@baker.example".into(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            license_type: "single-user".into(),
            ..Default::default()
        }),
    };
    let update = customer
        .create_update_request(asked)
        .await
        .unwrap()
        .into_inner()
        .update_request
        .unwrap();
    admin
        .revoke_activation(v1::RevokeActivationRequest {
            activation_id: seat.activation_id,
            reason: "stolen".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    // The seat is free, but nothing was returned (T-17): the request waits on, and says what is left to do.
    let read = v1::GetUpdateRequestRequest {
        serial: wish.serial.clone(),
        credential: Some(v1::Credential {
            secret: Some(wish.credential.clone()),
        }),
        update_request_id: update.update_request_id,
    };
    let waiting = customer
        .get_update_request(read.clone())
        .await
        .unwrap()
        .into_inner()
        .update_request
        .unwrap();
    assert_eq!(
        waiting.state(),
        v1::UpdateRequestState::AwaitingDeactivation
    );
    assert!(
        waiting.next_step.contains("no proof"),
        "{}",
        waiting.next_step
    );
    // One more activation and return, and it goes on.
    let device = Device::new();
    let seat = device
        .activate(&mut api, &wish, &request_id())
        .await
        .unwrap();
    let ticket = device.ticket(&mut api, &seat.activation_id).await.unwrap();
    let proof = device.prove(&ticket, &world.server_key().await);
    api.deactivate(v1::DeactivateRequest { proof })
        .await
        .unwrap();
    let approved = customer
        .get_update_request(read)
        .await
        .unwrap()
        .into_inner()
        .update_request
        .unwrap();
    assert_eq!(approved.state(), v1::UpdateRequestState::Approved);
    world.running.stop().await.unwrap();
}
