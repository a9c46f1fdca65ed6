//! Corners of the rules, each over a running server: what may not be had twice, by whom, and how often.

use std::collections::BTreeMap;

use tonic::{Code, Status};
use tonic_types::StatusExt;
use upkeep::binding;
use upkeep::id::RequestId;
use upkeep::rpc::v1;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep_server::keys::KeysError;
use upkeep_server::pki::Role;
use upkeep_server::serve::ServeError;

use crate::device::{Device, Wish, challenge, request_id};
use crate::world::{World, license, seed};

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

fn wants_update(wish: &Wish) -> v1::CreateUpdateRequestRequest {
    v1::CreateUpdateRequestRequest {
        request_id: String::new(),
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
    }
}

/// A code is found however many update requests were made and withdrawn before it.
#[tokio::test(flavor = "multi_thread")]
async fn many_withdrawn_requests_hide_no_code() {
    let world = World::new("2026-03-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    let wish = license(&mut admin, "LS-0001", 1, "2025-09-01").await;
    let mut customer = CustomerServiceClient::new(world.products().await);
    let mut last = String::new();
    for round in 0..=201 {
        let made = customer.create_update_request(wants_update(&wish)).await;
        last = made
            .unwrap()
            .into_inner()
            .update_request
            .unwrap()
            .update_request_id;
        if round == 201 {
            break;
        }
        customer
            .withdraw_update_request(v1::WithdrawUpdateRequestRequest {
                serial: wish.serial.clone(),
                credential: Some(v1::Credential {
                    secret: Some(wish.credential.clone()),
                }),
                update_request_id: last.clone(),
                ..Default::default()
            })
            .await
            .unwrap();
    }
    let mut support = SupportServiceClient::new(world.staff(Role::Support, "eva").await);
    let code = support
        .generate_upgrade_code(v1::SupportServiceGenerateUpgradeCodeRequest {
            request_id: String::new(),
            update_request_id: last,
        })
        .await
        .unwrap()
        .into_inner()
        .upgrade_code
        .unwrap();

    // A suspended license says that it is suspended, and the code stays good.
    let suspend = v1::SuspendLicenseRequest {
        serial: wish.serial.clone(),
        reason: "unpaid".into(),
        ..Default::default()
    };
    support.suspend_license(suspend).await.unwrap();
    let (mut api, device) = (world.api().await, Device::new());
    let stopped = device
        .redeem(&mut api, &wish.serial, &code.code, "10.0")
        .await
        .unwrap_err();
    assert_eq!(reason(&stopped), "LICENSE_SUSPENDED");
    admin
        .resume_license(v1::ResumeLicenseRequest {
            serial: wish.serial.clone(),
            reason: "paid".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    let done = device
        .redeem(&mut api, &wish.serial, &code.code, "10.0")
        .await
        .unwrap();
    assert_eq!(done.license.unwrap().generation, 2);
    world.running.stop().await.unwrap();
}

/// A reissue with another reason is another request (I5).
#[tokio::test(flavor = "multi_thread")]
async fn a_reissue_for_another_reason_is_no_retry() {
    let world = World::new("2026-03-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    let wish = license(&mut admin, "LS-0001", 1, "2025-09-01").await;
    let mut customer = CustomerServiceClient::new(world.products().await);
    let made = customer.create_update_request(wants_update(&wish)).await;
    let id = made.unwrap().into_inner().update_request.unwrap();
    let update_request_id = id.update_request_id;
    let mut support = SupportServiceClient::new(world.staff(Role::Support, "eva").await);
    support
        .generate_upgrade_code(v1::SupportServiceGenerateUpgradeCodeRequest {
            request_id: String::new(),
            update_request_id: update_request_id.clone(),
        })
        .await
        .unwrap();
    let ask = v1::ReissueUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id,
        reason: "the mail was lost".into(),
    };
    support.reissue_upgrade_code(ask.clone()).await.unwrap();
    let other = v1::ReissueUpgradeCodeRequest {
        reason: "sent to a wrong address".into(),
        ..ask
    };
    let refused = support.reissue_upgrade_code(other).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    world.running.stop().await.unwrap();
}

/// The answer kept for a retry is the device's own: who only knows the ids gets nothing of it. And what strangers send goes on
/// record so many times only, while the device itself is answered all along.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_no_kept_answer_and_fill_no_ledger() {
    let world = World::new("2026-03-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    let wish = license(&mut admin, "LS-0001", 1, "2025-09-01").await;
    let (mut api, device) = (world.api().await, Device::new());
    let seat = device
        .activate(&mut api, &wish, &request_id())
        .await
        .unwrap();
    let request = request_id();
    let verify = async |signer: &Device| {
        let mut api = world.api().await;
        let challenge = challenge(&mut api, v1::ChallengePurpose::Verify)
            .await
            .unwrap();
        let id = RequestId::parse(&request).unwrap();
        let b = binding::verify(&challenge, &id, &seat.activation_id);
        api.verify_activation(v1::VerifyActivationRequest {
            request_id: request.clone(),
            challenge,
            activation_id: seat.activation_id.clone(),
            signature: signer.key.sign_digest(&b).to_vec(),
            heartbeat: None,
        })
        .await
    };
    verify(&device).await.unwrap();
    let stranger = verify(&Device::new()).await.unwrap_err();
    assert_eq!(reason(&stranger), "ATTESTATION_FAILED");

    let entries = async || {
        let mut admin = world.admin().await;
        let info = admin.get_server_info(v1::GetServerInfoRequest {}).await;
        info.unwrap().into_inner().ledger_sequence
    };
    let before = entries().await;
    for _ in 0..300 {
        let refused = device_with_wrong_key(&mut api, &seat.activation_id).await;
        assert_eq!(reason(&refused), "ATTESTATION_FAILED");
        let proof = "e30.e30.e30".to_owned();
        let refused = api.deactivate(v1::DeactivateRequest { proof }).await;
        let told = reason(&refused.unwrap_err());
        assert!(
            ["PROOF_INVALID", "INVALID_FIELD"].contains(&told.as_str()),
            "{told}"
        );
    }
    let grown = entries().await - before;
    assert!((1..=110).contains(&grown), "{grown} entries");
    device.verify(&mut api, &seat.activation_id).await.unwrap();
    world.running.stop().await.unwrap();
}

async fn device_with_wrong_key(api: &mut crate::device::Api, activation: &str) -> Status {
    Device::new().verify(api, activation).await.unwrap_err()
}

/// Where passwords may be weak, tries that come all at once count like tries that come one after another.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_the_same_moment_are_not_free() {
    let mut world = World::new("2026-03-01").await;
    world.settings.weak_passwords = true;
    let world = world.restart().await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    let wish = license(&mut admin, "NSP-0001", 1, "2025-09-01").await;
    let mut tries = tokio::task::JoinSet::new();
    for guess in 0..60 {
        let mut customer = CustomerServiceClient::new(world.products().await);
        let serial = wish.serial.clone();
        tries.spawn(async move {
            let secret = v1::credential::Secret::Password(format!("guess {guess}"));
            let asked = v1::GetLicenseRequest {
                serial,
                credential: Some(v1::Credential {
                    secret: Some(secret),
                }),
            };
            reason(&customer.get_license(asked).await.unwrap_err())
        });
    }
    let mut told = BTreeMap::new();
    while let Some(one) = tries.join_next().await {
        *told.entry(one.unwrap()).or_insert(0) += 1;
    }
    let compared = told["CREDENTIAL_INVALID"];
    assert!(compared <= 11, "{told:?}");
    assert_eq!(told["TOO_MANY_TRIES"], 60 - compared, "{told:?}");
    world.running.stop().await.unwrap();
}

/// E-16, DOMAIN 7: an overlap lets one device more in; the ticket of the older one runs out, and it stays on its way out as long
/// as there are more devices than seats.
#[tokio::test(flavor = "multi_thread")]
async fn an_overlap_never_becomes_a_second_seat() {
    let world = World::new("2026-03-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    admin
        .create_product(v1::CreateProductRequest {
            product_id: "mail".into(),
            display_name: "Mail".into(),
            programme_id: "smartertools-ms".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    admin
        .create_release(v1::CreateReleaseRequest {
            product_id: "mail".into(),
            version: "17.0".into(),
            build_date: "2025-05-01".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    let made = admin
        .create_license(v1::CreateLicenseRequest {
            serial: "SM-0001".into(),
            product_id: "mail".into(),
            customer_id: "baker".into(),
            protection: v1::Protection::SoftwareKey.into(),
            license_type: "server".into(),
            edition: "pro".into(),
            seats: 1,
            purchase_date: "2025-09-01".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let wish = Wish {
        serial: "SM-0001".into(),
        credential: v1::credential::Secret::ActivationCode(made.activation_code),
        product: "mail".into(),
        version: "17.0".into(),
    };
    let mut api = world.api().await;
    let (old, new) = (Device::new(), Device::new());
    let leaving = old.activate(&mut api, &wish, &request_id()).await.unwrap();
    old.ticket(&mut api, &leaving.activation_id).await.unwrap();
    let coming = new.activate(&mut api, &wish, &request_id()).await.unwrap();

    world.set_day("2026-04-15");
    let mut api = world.api().await;
    let held = old
        .verify(&mut api, &leaving.activation_id)
        .await
        .unwrap_err();
    assert_eq!(reason(&held), "RELEASE_IN_PROGRESS");
    new.verify(&mut api, &coming.activation_id).await.unwrap();
    let again = old
        .activate(&mut api, &wish, &request_id())
        .await
        .unwrap_err();
    assert_eq!(reason(&again), "RELEASE_IN_PROGRESS");

    // The new one goes back: the older one has its seat again.
    let ticket = new.ticket(&mut api, &coming.activation_id).await.unwrap();
    let proof = new.prove(&ticket, &world.server_key().await);
    api.deactivate(v1::DeactivateRequest { proof })
        .await
        .unwrap();
    old.verify(&mut api, &leaving.activation_id).await.unwrap();
    world.running.stop().await.unwrap();
}

/// Terms can be bought ahead, but not until a license is too large to be stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_license_holds_so_many_terms_and_no_more() {
    let world = World::new("2026-03-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    admin
        .create_product(v1::CreateProductRequest {
            product_id: "volocity".into(),
            display_name: "Volocity".into(),
            programme_id: "perkinelmer-sma".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    admin
        .create_license(v1::CreateLicenseRequest {
            serial: "VOL-0001".into(),
            product_id: "volocity".into(),
            customer_id: "baker".into(),
            protection: v1::Protection::HardwareKey.into(),
            dongle_number: "pe-1".into(),
            license_type: "dongle".into(),
            edition: "pro".into(),
            seats: 1,
            purchase_date: "2025-09-01".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    let refused = loop {
        let asked = v1::AddMaintenanceTermsRequest {
            serial: "VOL-0001".into(),
            terms: 50,
            ..Default::default()
        };
        if let Err(refused) = admin.add_maintenance_terms(asked).await {
            break refused;
        }
    };
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::OutOfRange, "TOO_MANY_TERMS")
    );
    world.running.stop().await.unwrap();
}

/// N-10: the role is checked before the state, and before whether there is such a record; and a history that nobody wrote is told
/// from an empty one.
#[tokio::test(flavor = "multi_thread")]
async fn staff_are_told_what_is_wrong_first() {
    let world = World::new("2026-03-01").await;
    let staff = world.staff(Role::Admin, "root").await;
    let mut as_admin = SupportServiceClient::new(staff);
    let refused = as_admin
        .begin_deactivation(v1::SupportServiceBeginDeactivationRequest {
            request_id: String::new(),
            activation_id: request_id(),
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
    let refused = as_admin
        .list_history(v1::ListHistoryRequest {
            serial: "NOPE-0001".into(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "NOT_FOUND");
    world.running.stop().await.unwrap();
}

/// Somebody has put back the keys of another server: nothing is served, and nobody is given codes and certificates that fit nothing. Nor
/// while there is no seat yet.
#[tokio::test(flavor = "multi_thread")]
async fn another_servers_keys_are_refused() {
    for name in ["pepper", "code.key", "signing.key"] {
        let foreign = World::new("2026-03-01").await;
        let foreign = std::fs::read(foreign.settings.data_dir.join("keys").join(name)).unwrap();
        let world = World::new("2026-03-01").await;
        let opened = world
            .opened_after(|keys| std::fs::write(keys.join(name), foreign).unwrap())
            .await;
        let refused = opened.map(drop).unwrap_err();
        assert!(
            matches!(refused, ServeError::Keys(KeysError::Foreign { .. })),
            "{name}: {refused}"
        );
    }
}
