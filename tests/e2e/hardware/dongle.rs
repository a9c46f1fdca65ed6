//! Dongles that attest themselves: the license moves with them (P-03, P-04).

use upkeep::rpc::v1;
use upkeep_server::attest::EndorsementClass;

use super::*;
use crate::chip::Dongle;
use crate::device::Device;

const NUMBER: u64 = 13_400_123;

/// A license on the hardware key with this number.
async fn dongle_license(scene: &Scene, serial: &str, number: &str) -> Wish {
    scene
        .world
        .admin()
        .await
        .create_license(v1::CreateLicenseRequest {
            serial: serial.into(),
            product_id: "label-studio".into(),
            customer_id: "baker".into(),
            protection: v1::Protection::HardwareKey.into(),
            dongle_number: number.into(),
            license_type: "single-user".into(),
            edition: "pro".into(),
            seats: 1,
            purchase_date: "2025-01-15".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    Wish {
        serial: serial.into(),
        credential: v1::credential::Secret::DongleNumber(number.into()),
        ..scene.wish.clone()
    }
}

async fn enroll(api: &mut Api, dongle: &Dongle, wish: &Wish) -> Result<v1::EnrolledDevice, Status> {
    let (challenge, q) = enroll_binding(api, wish, false).await?;
    let asked = v1::BeginEnrollmentRequest {
        challenge,
        serial: wish.serial.clone(),
        product_id: wish.product.clone(),
        virtual_environment: 1,
        client_build: BUILD.to_owned(),
        evidence: Some(v1::begin_enrollment_request::Evidence::Piv(
            dongle.evidence(dongle.key().sign_digest(&q)),
        )),
    };
    let begun = api.begin_enrollment(asked.clone()).await?.into_inner();
    assert_eq!(begun.enrollment_id, "");
    assert_eq!(reason(api.begin_enrollment(asked).await), "CHALLENGE_SPENT");
    Ok(begun.device.unwrap())
}

async fn activate(
    api: &mut Api,
    dongle: &Dongle,
    device_id: &str,
    wish: &Wish,
) -> Result<v1::ActivateResponse, Status> {
    let device = Device { key: dongle.key() };
    let asked = v1::ActivateRequest {
        device_key: Some(device_key(device_id)),
        ..device.activate_request(api, wish, &request_id()).await?
    };
    Ok(api.activate(asked).await?.into_inner())
}

#[tokio::test]
async fn two_products_on_one_dongle_and_its_return() {
    let mut scene = Scene::new(EndorsementClass::Dongle, 1).await;
    let dongle = scene.maker.dongle(NUMBER);
    let first = dongle_license(&scene, "LS-3000", &NUMBER.to_string()).await;
    let second = dongle_license(&scene, "LS-3001", &NUMBER.to_string()).await;
    let mut seats = Vec::new();
    for wish in [&first, &second] {
        let enrolled = enroll(&mut scene.api, &dongle, wish).await.unwrap();
        assert_eq!(enrolled.assurance(), v1::AssuranceLevel::Dongle);
        let seat = activate(&mut scene.api, &dongle, &enrolled.device_id, wish)
            .await
            .unwrap();
        let said = claims(&seat.certificate);
        assert_eq!(said["dongle_number"], NUMBER.to_string());
        assert_eq!(said["assurance"], "dongle");
        assert!(said.get("counter").is_none());
        seats.push((seat.activation_id, enrolled.device_id));
    }
    let device = Device { key: dongle.key() };
    device.verify(&mut scene.api, &seats[0].0).await.unwrap();
    // The number alone, another dongle, and a key in a file activate nothing.
    let other = scene.maker.dongle(NUMBER + 1);
    let enrolled = enroll(&mut scene.api, &other, &first).await.unwrap();
    let refused = activate(&mut scene.api, &other, &enrolled.device_id, &first).await;
    assert_eq!(reason(refused), "HARDWARE_KEY_LICENSE");
    let refused = Device::new()
        .activate(&mut scene.api, &first, &request_id())
        .await;
    assert_eq!(reason(refused), "HARDWARE_KEY_LICENSE");
    // Its return is a declaration by the dongle's key, on record here.
    let server = scene.world.server_key().await;
    let ticket = device.ticket(&mut scene.api, &seats[0].0).await.unwrap();
    let request = v1::DeactivateRequest {
        proof: device.prove(&ticket, &server),
    };
    let done = scene.api.deactivate(request).await.unwrap().into_inner();
    assert_eq!(claims(&done.receipt)["grade"], "DONGLE");
    device.verify(&mut scene.api, &seats[1].0).await.unwrap();
    let again = activate(&mut scene.api, &dongle, &seats[0].1, &first).await;
    assert_eq!(reason(again), "ENROLLMENT_INVALID");
    let enrolled = enroll(&mut scene.api, &dongle, &first).await.unwrap();
    activate(&mut scene.api, &dongle, &enrolled.device_id, &first)
        .await
        .unwrap();
    let request = v1::GetEvidenceRequest {
        activation_id: seats[1].0.clone(),
    };
    let kept = scene
        .support()
        .await
        .get_evidence(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(kept.assurance_today(), v1::AssuranceLevel::Dongle);
    scene.close().await;
}

#[tokio::test]
async fn a_dongle_of_another_maker_and_anothers_signature_are_refused() {
    let mut scene = Scene::new(EndorsementClass::Dongle, 1).await;
    let wish = dongle_license(&scene, "LS-3000", &NUMBER.to_string()).await;
    let stranger = Maker::new("Chip Works").dongle(NUMBER);
    let refused = enroll(&mut scene.api, &stranger, &wish).await;
    assert_eq!(reason(refused), "ATTESTATION_FAILED");
    let dongle = scene.maker.dongle(NUMBER);
    let (challenge, q) = enroll_binding(&mut scene.api, &wish, false).await.unwrap();
    let asked = v1::BeginEnrollmentRequest {
        challenge,
        serial: wish.serial.clone(),
        product_id: wish.product.clone(),
        virtual_environment: 1,
        client_build: BUILD.to_owned(),
        evidence: Some(v1::begin_enrollment_request::Evidence::Piv(
            dongle.evidence(Device::new().key.sign_digest(&q)),
        )),
    };
    assert_eq!(
        reason(scene.api.begin_enrollment(asked).await),
        "ATTESTATION_FAILED"
    );
    scene.close().await;
}

#[tokio::test]
async fn so_many_enrollments_wait_on_one_dongle() {
    let mut scene = Scene::new(EndorsementClass::Dongle, 1).await;
    let dongle = scene.maker.dongle(NUMBER);
    let named = |number: u32| Wish {
        serial: format!("LS-{}", 3_000 + number),
        ..scene.wish.clone()
    };
    let names: Vec<_> = (0..17).map(named).collect();
    for wish in names.iter().take(16).chain(names.first()) {
        enroll(&mut scene.api, &dongle, wish).await.unwrap();
    }
    let full = enroll(&mut scene.api, &dongle, &names[16]).await;
    assert_eq!(reason(full), "TOO_MANY_TRIES");
    scene.close().await;
}
