//! Challenges, signatures, proofs and credentials that are not what they should be.

use super::*;

#[test]
fn challenges_that_are_not_fresh() {
    run(async {
        let world = World::selling().await;
        let device = Device::new(1);
        let spent = activate_request(&world).await;
        let seat = world.device().activate(spent.clone()).await.unwrap();
        let id = seat.into_inner().activation_id;
        let before = world.substance();
        let again = |challenge: Vec<u8>| {
            let mut request = v1::ActivateRequest {
                request_id: fresh_id(),
                challenge,
                ..spent.clone()
            };
            device.sign_activate(&mut request);
            request
        };
        let answer = world
            .device()
            .activate(again(spent.challenge.clone()))
            .await;
        refused(answer, "CHALLENGE_SPENT", &[]);
        assert_eq!(world.last_event().outcome, "CHALLENGE_SPENT");
        for purpose in [
            v1::ChallengePurpose::Verify,
            v1::ChallengePurpose::BeginDeactivation,
            v1::ChallengePurpose::Redeem,
        ] {
            let other = world.challenge(purpose).await;
            let answer = world.device().activate(again(other)).await;
            refused(answer, "CHALLENGE_INVALID", &[]);
        }
        let fresh = world.challenge(v1::ChallengePurpose::Activate).await;
        for at in 0..fresh.len() {
            let mut changed = fresh.clone();
            changed[at] ^= 1;
            let answer = world.device().activate(again(changed)).await;
            refused(answer, "CHALLENGE_INVALID", &[]);
        }
        let request = world.begin_request(&id, &device, &fresh_id()).await;
        world.clock.advance(TimeDelta::seconds(120));
        let answer = world.device().activate(again(fresh)).await;
        refused(answer, "CHALLENGE_EXPIRED", &[]);
        let answer = world.device().begin_deactivation(request).await;
        refused(answer, "CHALLENGE_EXPIRED", &[]);
        assert!(before == world.substance());
    });
}

#[test]
fn calls_that_another_device_signed() {
    run(async {
        let world = World::selling().await;
        let (device, other) = (Device::new(1), Device::new(2));
        let id = world.activate(CODED, &device).await.activation_id;
        let before = world.substance();
        let mut request = world
            .activate_request(NSP, password(PASSWORD), &device, &fresh_id())
            .await;
        other.sign_activate(&mut request);
        let answer = world.device().activate(request.clone()).await;
        refused(answer, "ATTESTATION_FAILED", &[]);
        device.sign_activate(&mut request);
        for at in 0..64 {
            request.signature[at] ^= 1;
            let answer = world.device().activate(request.clone()).await;
            refused(answer, "ATTESTATION_FAILED", &[]);
            request.signature[at] ^= 1;
        }
        // What was signed can't be denied, nor passed on: each fact is under the signature.
        for change in [
            (|r| r.request_id = fresh_id()) as fn(&mut v1::ActivateRequest),
            |r| r.version = "2.0".to_owned(),
            |r| r.virtual_environment = 2,
            |r| r.product_id = "mail".to_owned(),
        ] {
            let mut changed = request.clone();
            change(&mut changed);
            let answer = world.device().activate(changed).await;
            refused(answer, "ATTESTATION_FAILED", &[]);
        }
        let foreign = world.begin_request(&id, &other, &fresh_id()).await;
        let answer = world.device().begin_deactivation(foreign).await;
        refused(answer, "ATTESTATION_FAILED", &[]);
        assert_eq!(world.last_event().outcome, "ATTESTATION_FAILED");
        let absent = "00000000-0000-4000-8000-ffffffffffff";
        let unknown = world.begin_request(absent, &device, &fresh_id()).await;
        let answer = world.device().begin_deactivation(unknown).await;
        refused(answer, "ATTESTATION_FAILED", &[]);
        assert!(before == world.substance());
        world.device().activate(request).await.unwrap();
    });
}

#[test]
fn every_byte_of_a_proof() {
    run(async {
        let world = World::selling().await;
        let device = Device::new(1);
        let id = world.activate(CODED, &device).await.activation_id;
        let ticket = world.ticket(&id, &device).await;
        let proof = device.proof(&ticket);
        let before = world.substance();
        for at in 0..proof.len() {
            let mut bytes = proof.clone().into_bytes();
            bytes[at] = match bytes[at] {
                b'A' => b'B',
                b'.' => b'_',
                _ => b'A',
            };
            let changed = String::from_utf8(bytes).unwrap();
            let request = v1::DeactivateRequest { proof: changed };
            let status = world.device().deactivate(request).await.unwrap_err();
            assert_eq!(reason(&status), "PROOF_INVALID", "byte {at}");
        }
        assert_eq!(world.last_event().outcome, "PROOF_INVALID");
        assert!(before == world.substance());
        let request = v1::DeactivateRequest { proof };
        world.device().deactivate(request).await.unwrap();
        world.check_records();
    });
}

/// Every artefact in the place of a proof, and a proof signed in every way but the right one.
#[test]
fn what_is_no_proof() {
    run(async {
        let world = World::selling().await;
        let (device, other) = (Device::new(1), Device::new(2));
        let seat = world.activate(CODED, &device).await;
        let second = world.activate(CODED, &other).await;
        let receipt = world.give_back(&second.activation_id, &other).await;
        let ticket = world.ticket(&seat.activation_id, &device).await;
        let proof = device.proof(&ticket);
        let before = world.substance();
        let said: upkeep::artefact::DeactivationProof = claims(&proof);
        let payload = proof.split('.').nth(1).unwrap();
        let kid = device.thumbprint();
        let typ = upkeep::artefact::DeactivationProof::TYP.as_str();
        let none = header(&format!(r#"{{"alg":"none","kid":"{kid}","typ":"{typ}"}}"#));
        let hs256 = header(&format!(r#"{{"alg":"HS256","kid":"{kid}","typ":"{typ}"}}"#));
        let own_key = device.key.public_key();
        let our_key = keys().signer().public_key_sec1();
        let with = |key: &[u8]| {
            let input = format!("{hs256}.{payload}");
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            let tag = hmac::sign(&key, input.as_bytes());
            format!("{input}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
        };
        let good_signature = proof.rsplit('.').next().unwrap();
        for (name, text) in [
            ("a certificate", seat.certificate.clone()),
            ("a receipt", receipt),
            ("a ticket", ticket.clone()),
            ("alg none", format!("{none}.{payload}.")),
            (
                "alg none, signed",
                format!("{none}.{payload}.{good_signature}"),
            ),
            ("HS256 with our public key", with(&our_key)),
            (
                "HS256 with the device's public key",
                with(own_key.sec1_bytes()),
            ),
            ("HS256 with its DER", with(&own_key.to_spki_der())),
            ("another device's word", other.proof(&ticket)),
            (
                "its own ticket",
                device.seal(&upkeep::artefact::DeactivationProof {
                    ticket: device.seal(&claims::<upkeep::artefact::DeactivationTicket>(&ticket)),
                    ..said.clone()
                }),
            ),
            (
                "a certificate as ticket",
                device.seal(&upkeep::artefact::DeactivationProof {
                    ticket: seat.certificate.clone(),
                    ..said.clone()
                }),
            ),
            (
                "another nonce",
                device.seal(&upkeep::artefact::DeactivationProof {
                    nonce: upkeep::artefact::TicketNonce::from_bytes([0; 32]),
                    ..said.clone()
                }),
            ),
            (
                "another activation",
                device.seal(&upkeep::artefact::DeactivationProof {
                    activation_id: upkeep::id::ActivationId::parse(&second.activation_id).unwrap(),
                    ..said.clone()
                }),
            ),
        ] {
            let request = v1::DeactivateRequest { proof: text };
            let status = world.device().deactivate(request).await.unwrap_err();
            assert_eq!(reason(&status), "PROOF_INVALID", "{name}");
            assert_eq!(world.last_event().outcome, "PROOF_INVALID", "{name}");
        }
        for text in ["", "-----BEGIN UPKEEP DEACTIVATION PROOF-----", NUL] {
            let request = v1::DeactivateRequest {
                proof: text.to_owned(),
            };
            let status = world.device().deactivate(request).await.unwrap_err();
            let known = ["MISSING_FIELD", "INVALID_FIELD", "PROOF_INVALID"];
            assert!(
                known.contains(&reason(&status).as_str()),
                "{text:?}: {status:?}"
            );
        }
        assert!(before == world.substance());
        let request = v1::DeactivateRequest { proof };
        world.device().deactivate(request).await.unwrap();
    });
}

fn header(json: &str) -> String {
    BASE64URL_NOPAD.encode(json.as_bytes())
}

/// NET2: which of serial, secret and generation is wrong, nobody can tell.
#[test]
fn one_answer_to_every_wrong_credential() {
    run(async {
        let world = World::selling().await;
        let device = Device::new(1);
        let old = world.credential(CODED).await;
        let seat = world.activate(CODED, &device).await;
        world.give_back(&seat.activation_id, &device).await;
        let request = v1::CreateUpdateRequestRequest {
            request_id: fresh_id(),
            serial: CODED.to_owned(),
            credential: Some(old.clone()),
            details: Some(details()),
        };
        let asked = world.send(Sent::Ask(request)).await.unwrap();
        let request = v1::SupportServiceGenerateUpgradeCodeRequest {
            update_request_id: asked.id.clone(),
            ..Default::default()
        };
        let code = world
            .send(Sent::SupportGenerate(request))
            .await
            .unwrap()
            .code;
        let request = world
            .redeem_request(CODED, &code, &device, &fresh_id())
            .await;
        world.send(Sent::Redeem(request)).await.unwrap();

        let junk = upkeep::code::Code::from_mac(&[5; 32]).to_string();
        let dongle = |number: &str| secret(v1::credential::Secret::DongleNumber(number.to_owned()));
        let before = world.substance();
        let cases = [
            ("unknown serial, code", "TK-9999", activation_code(&junk)),
            (
                "unknown serial, password",
                "NSP-9999",
                password("correct horse battery"),
            ),
            (
                "unknown serial, product code",
                "TK-9999",
                product_code(&junk),
            ),
            ("unknown serial, dongle", "VL-9999", dongle("d-1001")),
            ("wrong code", CODED, activation_code(&junk)),
            ("wrong password", NSP, password("wrong horse battery")),
            ("wrong product code", CODED, product_code(&junk)),
            ("wrong dongle", DONGLE, dongle("d-9")),
            ("a dongle where there is none", NSP, dongle("d-1001")),
            ("the code of an older generation", CODED, old),
            (
                "the product code of an ended activation",
                CODED,
                product_code(&seat.product_code),
            ),
        ];
        let mut answers = Vec::new();
        for (name, serial, credential) in &cases {
            let request = v1::GetLicenseRequest {
                serial: (*serial).to_owned(),
                credential: Some(credential.clone()),
            };
            let read = world.customer().get_license(request).await.unwrap_err();
            assert_eq!(world.last_event().outcome, "CREDENTIAL_INVALID", "{name}");
            let mut request = world
                .activate_request(serial, credential.clone(), &device, &fresh_id())
                .await;
            request.product_id = "label".to_owned();
            device.sign_activate(&mut request);
            let taken = world.device().activate(request).await.unwrap_err();
            let request = v1::CreateUpdateRequestRequest {
                serial: (*serial).to_owned(),
                credential: Some(credential.clone()),
                details: Some(details()),
                ..Default::default()
            };
            let asked_for = world.customer().create_update_request(request).await;
            let request = v1::GetUpdateRequestRequest {
                serial: (*serial).to_owned(),
                credential: Some(credential.clone()),
                update_request_id: asked.id.clone(),
            };
            let looked_at = world.customer().get_update_request(request).await;
            for status in [read, taken, asked_for.unwrap_err(), looked_at.unwrap_err()] {
                assert_eq!(defined(&status).unwrap(), "CREDENTIAL_INVALID", "{name}");
                let shown = (
                    status.code(),
                    status.message().to_owned(),
                    status.details().to_vec(),
                );
                answers.push(shown);
            }
        }
        assert!(
            answers.windows(2).all(|pair| pair[0] == pair[1]),
            "byte for byte"
        );
        assert!(before == world.substance());
    });
}

/// The same for upgrade codes, which are credentials too.
#[test]
fn one_answer_to_every_wrong_upgrade_code() {
    unchanged(async |world| {
        let junk = upkeep::code::Code::from_mac(&[5; 32]).to_string();
        let mut answers = Vec::new();
        for serial in ["TK-9999", CODED, NSP, DONGLE] {
            let device = Device::new(1);
            let request = world
                .redeem_request(serial, &junk, &device, &fresh_id())
                .await;
            let status = world
                .device()
                .redeem_upgrade_code(request)
                .await
                .unwrap_err();
            assert_eq!(reason(&status), "CODE_INVALID");
            answers.push((status.message().to_owned(), status.details().to_vec()));
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    });
}
