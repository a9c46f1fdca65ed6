//! The whole life of an activation on a TPM, online and by files.

use upkeep::artefact::ActivationCertificate;
use upkeep::jws;
use upkeep::key;
use upkeep::rpc::v1;
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep_server::attest::{EndorsementClass, EvidenceError};
use upkeep_server::flow::evidence;
use upkeep_server::pki::Role;

use super::*;
use crate::device::Device;

#[tokio::test]
async fn a_chip_is_enrolled_activated_verified_and_returned() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let (mut machine, seat) = scene.active().await;
    let server = scene.world.server_key().await;
    let find = |_: &_| Some(server.clone());
    let read = jws::verify::<ActivationCertificate>(&seat.certificate, find, key::verify).unwrap();
    let said = read.claims();
    let counter = said.counter.unwrap();
    assert_eq!(counter.value, machine.key.value);
    assert_eq!(said.assurance.to_string(), "hardware");
    assert_eq!(said.cnf.jkt, machine.key.key.public_key().thumbprint());

    let id = seat.activation_id;
    let verified = machine.verify(&mut scene.api, &id).await.unwrap();
    let shown = verified.activation.unwrap();
    assert_eq!(shown.assurance(), v1::AssuranceLevel::Hardware);
    assert!(claims(&verified.certificate)["counter"]["value"].is_u64());

    let ticket = machine.ticket(&mut scene.api, &id).await.unwrap();
    machine.chip.increment(INDEX);
    let proof = machine.proof(&id, Some(&ticket));
    let done = deactivate(&mut scene.api, &proof).await.unwrap();
    assert_eq!(claims(&done.receipt)["grade"], "HARDWARE");
    assert_eq!(scene.license().await.seats_taken, 0);
    // The same proof, and another one for the same activation, get the same receipt and free nothing twice.
    let other = machine.proof(&id, None);
    for again in [&proof, &other] {
        let same = deactivate(&mut scene.api, again).await.unwrap();
        assert_eq!(claims(&same.receipt)["jti"], claims(&done.receipt)["jti"]);
    }
    assert_eq!(scene.license().await.seats_taken, 0);
    // The key is dead and its enrollment is over.
    assert_eq!(machine.chip.sign(&machine.key, &[1; 32]), None);
    let again = machine.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(again), "ENROLLMENT_INVALID");
    // The machine comes back with a new key.
    machine
        .enroll_again(&mut scene.api, &scene.wish)
        .await
        .unwrap();
    machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    scene.close().await;
}

#[tokio::test]
async fn a_proof_without_a_ticket_is_carried_by_a_reseller() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let (mut machine, seat) = scene.active().await;
    let proof = machine.retire(&seat.activation_id);
    let file = proof.to_file(None);
    let mut support = scene.support().await;
    scene.world.set_day("2026-11-01");
    let request = v1::SupportServiceRecordProofRequest {
        proof: file.clone(),
    };
    let done = support.record_proof(request).await.unwrap().into_inner();
    assert_eq!(claims(&done.receipt)["grade"], "HARDWARE");
    let mut acme = PartnerServiceClient::new(scene.world.staff(Role::Partner, "acme").await);
    let request = v1::PartnerServiceRecordProofRequest {
        proof: file.clone(),
    };
    let same = acme.record_proof(request).await.unwrap().into_inner();
    assert_eq!(claims(&same.receipt)["jti"], claims(&done.receipt)["jti"]);
    let mut other = PartnerServiceClient::new(scene.world.staff(Role::Partner, "other").await);
    let request = v1::PartnerServiceRecordProofRequest { proof: file };
    assert_eq!(
        reason(other.record_proof(request).await),
        "NOT_YOUR_CUSTOMER"
    );
    scene.close().await;
}

#[tokio::test]
async fn the_same_device_asking_again_gets_its_own_seat() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let (machine, seat) = scene.active().await;
    let again = machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    assert_eq!(again.activation_id, seat.activation_id);
    let other = scene.machine().await;
    let refused = other.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(refused), "NO_SEAT");
    scene.close().await;
}

#[tokio::test]
async fn a_proof_has_to_be_that_activations_own() {
    let mut scene = Scene::new(EndorsementClass::Chip, 3).await;
    let (mut machine, seat) = scene.active().await;
    let id = seat.activation_id;
    // The counter has not moved.
    let early = machine.proof(&id, None);
    assert_eq!(
        reason(deactivate(&mut scene.api, &early).await),
        "PROOF_INVALID"
    );
    // Another TPM: its counter has the same Name and a larger value.
    let (mut other, other_seat) = scene.active().await;
    other.chip.increment(INDEX);
    let foreign = other.proof(&id, None);
    assert_eq!(
        reason(deactivate(&mut scene.api, &foreign).await),
        "PROOF_INVALID"
    );
    // The other's proof under this activation's name.
    let mut renamed = other.proof(&other_seat.activation_id, None);
    renamed.activation_id = early.activation_id;
    assert_eq!(
        reason(deactivate(&mut scene.api, &renamed).await),
        "PROOF_INVALID"
    );
    // A ticket of the other activation, and one that this server never gave.
    let ticket = machine.ticket(&mut scene.api, &id).await.unwrap();
    machine.chip.increment(INDEX);
    let mut borrowed = other.proof(&other_seat.activation_id, Some(&ticket));
    assert_eq!(
        reason(deactivate(&mut scene.api, &borrowed).await),
        "PROOF_INVALID"
    );
    borrowed.ticket = Some("a.b.c".to_owned());
    assert_eq!(
        reason(deactivate(&mut scene.api, &borrowed).await),
        "PROOF_INVALID"
    );
    // An activation that nobody made.
    let mut unknown = machine.proof(&id, None);
    unknown.activation_id = ActivationId::parse("0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11").unwrap();
    assert_eq!(
        reason(deactivate(&mut scene.api, &unknown).await),
        "PROOF_INVALID"
    );
    // A statement of the counter under another one's index.
    let q = binding::deactivate_offline(&early.activation_id);
    machine.chip.increment(INDEX + 1);
    let said = machine.chip.nv_certify(INDEX + 1, &q);
    let other_index = HardwareProof {
        attest: said.attest,
        signature: said.signature,
        ..early.clone()
    };
    assert_eq!(
        reason(deactivate(&mut scene.api, &other_index).await),
        "PROOF_INVALID"
    );
    assert_eq!(scene.license().await.seats_taken, 2);
    let own = machine.proof(&id, Some(&ticket));
    deactivate(&mut scene.api, &own).await.unwrap();
    scene.close().await;
}

#[tokio::test]
async fn a_ticket_that_is_not_out_is_refused_and_the_bare_proof_is_not() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let (mut machine, seat) = scene.active().await;
    let id = seat.activation_id;
    let ticket = machine.ticket(&mut scene.api, &id).await.unwrap();
    machine.chip.increment(INDEX);
    scene.world.set_day("2026-07-01");
    let late = machine.proof(&id, Some(&ticket));
    assert_eq!(
        reason(deactivate(&mut scene.api, &late).await),
        "TICKET_EXPIRED"
    );
    let bare = machine.proof(&id, None);
    deactivate(&mut scene.api, &bare).await.unwrap();
    scene.close().await;
}

#[tokio::test]
async fn a_declaration_frees_no_seat_of_a_chip_and_a_counter_none_of_a_file() {
    let mut scene = Scene::new(EndorsementClass::Chip, 2).await;
    let (mut machine, seat) = scene.active().await;
    let id = seat.activation_id;
    let server = scene.world.server_key().await;
    let ticket = machine.ticket(&mut scene.api, &id).await.unwrap();
    // The chip's key signs whatever it is given, so it can sign a software proof, too.
    let signed = Device {
        key: machine
            .key
            .key
            .to_pkcs8_pem()
            .map(|pem| key::SigningKey::from_pkcs8_pem(&pem))
            .unwrap()
            .unwrap(),
    }
    .prove(&ticket, &server);
    let request = v1::DeactivateRequest { proof: signed };
    assert_eq!(reason(scene.api.deactivate(request).await), "PROOF_INVALID");

    let software = Device::new();
    let soft = software
        .activate(&mut scene.api, &scene.wish, &request_id())
        .await
        .unwrap();
    machine.chip.increment(INDEX);
    let counter = machine.proof(&soft.activation_id, None);
    assert_eq!(
        reason(deactivate(&mut scene.api, &counter).await),
        "PROOF_INVALID"
    );
    assert_eq!(scene.license().await.seats_taken, 2);
    scene.close().await;
}

#[tokio::test]
async fn the_level_is_the_makers_class_and_so_is_the_grade() {
    for (class, level, grade) in [
        (
            EndorsementClass::CloudVtpm,
            v1::AssuranceLevel::CloudVtpm,
            "CLOUD_VTPM",
        ),
        (
            EndorsementClass::Software,
            v1::AssuranceLevel::Software,
            "SOFTWARE",
        ),
    ] {
        let mut scene = Scene::new(class, 1).await;
        let mut machine = scene.machine().await;
        // A virtual TPM contradicts a declared physical machine: staff see it, the customer does not.
        let seat = machine.activate(&mut scene.api, &scene.wish).await.unwrap();
        let verified = machine
            .verify(&mut scene.api, &seat.activation_id)
            .await
            .unwrap();
        let shown = verified.activation.unwrap();
        assert_eq!(shown.assurance(), level);
        assert_eq!(shown.virtual_environment_contradiction, "");
        let staff = scene.activations().await.remove(0);
        assert!(
            staff.virtual_environment_contradiction.contains("TPM"),
            "{staff:?}"
        );
        let noted = scene.history().await;
        assert!(noted.iter().any(|entry| entry.reason.contains("TPM")));
        let proof = machine.retire(&seat.activation_id);
        let done = deactivate(&mut scene.api, &proof).await.unwrap();
        assert_eq!(claims(&done.receipt)["grade"], grade);
        scene.close().await;
    }
}

#[tokio::test]
async fn an_upgrade_moves_to_a_new_key_of_the_same_chip() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut admin = scene.world.admin().await;
    let wish = world::license(&mut admin, "LS-4000", 1, "2025-09-01").await;
    let chip = scene.maker.chip();
    let mut machine = Machine::enroll(&mut scene.api, chip, &wish).await.unwrap();
    let seat = machine.activate(&mut scene.api, &wish).await.unwrap();
    let mut acme = PartnerServiceClient::new(scene.world.staff(Role::Partner, "acme").await);
    let asked = v1::PartnerServiceCreateUpdateRequestRequest {
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
    let asked = acme
        .create_update_request(asked)
        .await
        .unwrap()
        .into_inner();
    let generate = v1::PartnerServiceGenerateUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id: asked.update_request.unwrap().update_request_id,
    };
    let early = acme.generate_upgrade_code(generate.clone()).await;
    assert_eq!(reason(early), "PROOF_REQUIRED");
    let proof = machine.retire(&seat.activation_id);
    deactivate(&mut scene.api, &proof).await.unwrap();
    let code = acme
        .generate_upgrade_code(generate)
        .await
        .unwrap()
        .into_inner();
    let code = code.upgrade_code.unwrap().code;

    // The dead key redeems nothing; a new one of the same chip does.
    let refused = machine.redeem(&mut scene.api, &wish, &code).await;
    assert_eq!(reason(refused), "ENROLLMENT_INVALID");
    machine.enroll_again(&mut scene.api, &wish).await.unwrap();
    let done = machine.redeem(&mut scene.api, &wish, &code).await.unwrap();
    let said = claims(&done.certificate);
    assert_eq!(
        (&said["generation"], &said["assurance"]),
        (&2.into(), &"hardware".into())
    );
    assert_eq!(said["counter"]["value"], machine.key.value);
    machine
        .verify(&mut scene.api, &done.activation_id)
        .await
        .unwrap();
    scene.close().await;
}

#[tokio::test]
async fn evidence_is_kept_and_judged_again_by_todays_endorsements() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let (_, seat) = scene.active().await;
    let request = v1::GetEvidenceRequest {
        activation_id: seat.activation_id,
    };
    let mut support = scene.support().await;
    let kept = support
        .get_evidence(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(kept.assurance(), v1::AssuranceLevel::Hardware);
    assert_eq!(kept.assurance_today(), v1::AssuranceLevel::Hardware);
    assert_eq!(
        (kept.serial.as_str(), kept.client_build.as_str()),
        ("LS-1000", BUILD)
    );
    assert!(matches!(
        kept.evidence,
        Some(v1::get_evidence_response::Evidence::Tpm(_))
    ));
    assert_eq!(kept.ek_id.len(), 64);
    // The maker's key is lost: what it vouched for is worth nothing today.
    let deny = format!(
        "[[ca]]\nsha256 = \"{}\"\nreason = \"its key is lost\"\n",
        scene.maker.key_id()
    );
    let place = scene.world.settings.data_dir.join("endorsements/deny.toml");
    std::fs::write(place, deny).unwrap();
    scene.world = scene.world.restart().await;
    let kept = scene
        .support()
        .await
        .get_evidence(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(kept.assurance(), v1::AssuranceLevel::Hardware);
    assert_eq!(kept.assurance_today(), v1::AssuranceLevel::Unspecified);
    assert!(
        kept.refusal_today.contains("step 5"),
        "{}",
        kept.refusal_today
    );
    let device = Device::new();
    scene.api = scene.world.api().await;
    let unknown = v1::GetEvidenceRequest {
        activation_id: "0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11".to_owned(),
    };
    assert_eq!(
        reason(scene.support().await.get_evidence(unknown).await),
        "NOT_FOUND"
    );
    drop(device);
    scene.close().await;
}

#[tokio::test]
async fn a_deny_list_reaches_what_is_enrolled() {
    let mut scene = Scene::new(EndorsementClass::Chip, 2).await;
    let (mut machine, seat) = scene.active().await;
    let kept = scene
        .support()
        .await
        .get_evidence(v1::GetEvidenceRequest {
            activation_id: seat.activation_id.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    let lists = [
        format!("[[ek]]\nsha256 = \"{}\"\nreason = \"stolen\"\n", kept.ek_id),
        "[[firmware]]\nmanufacturer = \"IFX\"\nfrom = \"0007005500000000\"\n\
         to = \"00070055ffffffff\"\nreason = \"a hole\"\n"
            .to_owned(),
    ];
    let place = scene.world.settings.data_dir.join("endorsements/deny.toml");
    for list in lists {
        std::fs::write(&place, list).unwrap();
        scene.world = scene.world.restart().await;
        scene.api = scene.world.api().await;
        let refused = machine.verify(&mut scene.api, &seat.activation_id).await;
        assert_eq!(reason(refused), "ATTESTATION_FAILED");
        let refused = machine.activate(&mut scene.api, &scene.wish).await;
        assert_eq!(reason(refused), "ATTESTATION_FAILED");
    }
    std::fs::write(&place, "").unwrap();
    scene.world = scene.world.restart().await;
    scene.api = scene.world.api().await;
    machine
        .verify(&mut scene.api, &seat.activation_id)
        .await
        .unwrap();
    scene.close().await;
}

#[tokio::test]
async fn seats_of_a_removed_authority_are_told() {
    for removed in [false, true] {
        let mut scene = Scene::new(EndorsementClass::Chip, 2).await;
        let (_, seat) = scene.active().await;
        let (mut returned, gone) = scene.active().await;
        let proof = returned.retire(&gone.activation_id);
        deactivate(&mut scene.api, &proof).await.unwrap();
        if removed {
            let held = scene.world.settings.data_dir.join("endorsements");
            std::fs::remove_dir_all(held).unwrap();
        }
        let opened = scene.world.opened().await;
        let mut told = Vec::new();
        evidence::doubtful(opened.server.deps(), |seat| told.push(seat))
            .await
            .unwrap();
        let told: Vec<_> = told
            .iter()
            .map(|seat| (seat.activation.to_string(), seat.today))
            .collect();
        let expected = (seat.activation_id, Err(EvidenceError::NotPinned));
        let expected: Vec<_> = removed.then_some(expected).into_iter().collect();
        assert_eq!(told, expected);
    }
}
