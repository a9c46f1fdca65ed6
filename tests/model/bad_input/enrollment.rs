//! Enrollment with messages that are not what they should be: each part is measured before anything looks into it.

use super::*;
use crate::world::new_chip;

const INDEX: u32 = 0x0180_0001;

fn with_tpm(
    request: &v1::BeginEnrollmentRequest,
    change: impl FnOnce(&mut v1::TpmEvidence),
) -> v1::BeginEnrollmentRequest {
    let mut request = request.clone();
    let Some(v1::begin_enrollment_request::Evidence::Tpm(tpm)) = &mut request.evidence else {
        unreachable!()
    };
    change(tpm);
    request
}

#[test]
fn parts_of_evidence_that_are_missing_or_too_long() {
    unchanged(async |world| {
        let mut chip = new_chip();
        let key = chip.prepare(INDEX);
        let good = world.enroll_request(CODED, &mut chip, &key).await;
        let answer = world
            .device()
            .begin_enrollment(v1::BeginEnrollmentRequest::default())
            .await;
        let all = [
            "challenge",
            "evidence",
            "product_id",
            "serial",
            "virtual_environment",
        ];
        refused(answer, "MISSING_FIELD", &all);
        let empty = with_tpm(&good, |tpm| *tpm = v1::TpmEvidence::default());
        let all = [
            "tpm.ak_public",
            "tpm.counter_certification.attest",
            "tpm.counter_certification.signature",
            "tpm.device_public",
            "tpm.ek_certificates",
            "tpm.key_certification.attest",
            "tpm.key_certification.signature",
            "tpm.nv_public",
        ];
        refused(
            world.device().begin_enrollment(empty).await,
            "MISSING_FIELD",
            &all,
        );
        let five = with_tpm(&good, |tpm| tpm.ek_certificates = vec![vec![1]; 5]);
        refused(
            world.device().begin_enrollment(five).await,
            "INVALID_FIELD",
            &["tpm.ek_certificates"],
        );
        let long = with_tpm(&good, |tpm| {
            tpm.ek_certificates.push(vec![1; 4_097]);
            tpm.ak_public = vec![1; 1_025];
            tpm.device_public = vec![1; 1_025];
            tpm.nv_public = vec![1; 1_025];
            tpm.key_certification.as_mut().unwrap().attest = vec![1; 1_025];
            tpm.counter_certification.as_mut().unwrap().signature = vec![1; 1_025];
        });
        let all = [
            "tpm.ak_public",
            "tpm.counter_certification.signature",
            "tpm.device_public",
            "tpm.ek_certificates[1]",
            "tpm.key_certification.attest",
            "tpm.nv_public",
        ];
        refused(
            world.device().begin_enrollment(long).await,
            "INVALID_FIELD",
            &all,
        );
        let build = v1::BeginEnrollmentRequest {
            client_build: "x".repeat(65),
            ..good.clone()
        };
        refused(
            world.device().begin_enrollment(build).await,
            "INVALID_FIELD",
            &["client_build"],
        );
        let piv = v1::BeginEnrollmentRequest {
            evidence: Some(v1::begin_enrollment_request::Evidence::Piv(
                v1::PivEvidence {
                    slot_certificate: Vec::new(),
                    attestation_certificate: vec![1; 4_097],
                    intermediate_certificates: vec![vec![1; 4_097]; 4],
                    signature: vec![1; 63],
                },
            )),
            ..good
        };
        let all = [
            "piv.attestation_certificate",
            "piv.intermediate_certificates",
            "piv.intermediate_certificates[0]",
            "piv.intermediate_certificates[1]",
            "piv.intermediate_certificates[2]",
            "piv.signature",
            "piv.slot_certificate",
        ];
        refused(
            world.device().begin_enrollment(piv).await,
            "INVALID_FIELD",
            &all,
        );
        for (secret, reason) in [(vec![], "MISSING_FIELD"), (vec![1; 31], "INVALID_FIELD")] {
            let request = v1::CompleteEnrollmentRequest {
                enrollment_id: fresh_id(),
                secret,
            };
            refused(
                world.device().complete_enrollment(request).await,
                reason,
                &["secret"],
            );
        }
        let request = v1::CompleteEnrollmentRequest {
            enrollment_id: "1".to_owned(),
            secret: vec![1; 32],
        };
        refused(
            world.device().complete_enrollment(request).await,
            "INVALID_FIELD",
            &["enrollment_id"],
        );
    });
}

/// Each changed byte of what was signed, and of the signatures, makes it other evidence; nothing of it reaches the store.
#[test]
fn every_byte_of_a_tpms_evidence() {
    unchanged(async |world| {
        let mut chip = new_chip();
        let key = chip.prepare(INDEX);
        let good = world.enroll_request(CODED, &mut chip, &key).await;
        let parts: [fn(&mut v1::TpmEvidence) -> &mut Vec<u8>; 8] = [
            |tpm| &mut tpm.ak_public,
            |tpm| &mut tpm.device_public,
            |tpm| &mut tpm.nv_public,
            |tpm| &mut tpm.ek_certificates[0],
            |tpm| &mut tpm.key_certification.as_mut().unwrap().attest,
            |tpm| &mut tpm.key_certification.as_mut().unwrap().signature,
            |tpm| &mut tpm.counter_certification.as_mut().unwrap().attest,
            |tpm| &mut tpm.counter_certification.as_mut().unwrap().signature,
        ];
        for part in parts {
            let mut length = 0;
            with_tpm(&good, |tpm| length = part(tpm).len());
            for at in 0..length {
                let changed = with_tpm(&good, |tpm| part(tpm)[at] ^= 1);
                let answer = world.device().begin_enrollment(changed).await;
                refused(answer, "ATTESTATION_FAILED", &[]);
            }
        }
        world.device().begin_enrollment(good).await.unwrap();
    });
}

#[test]
fn a_device_id_that_is_none() {
    unchanged(async |world| {
        let named = |id: &str| v1::DeviceKey {
            key: Some(v1::device_key::Key::DeviceId(id.to_owned())),
        };
        for (id, reason) in [("", "MISSING_FIELD"), ("7", "INVALID_FIELD")] {
            let request = v1::ActivateRequest {
                device_key: Some(named(id)),
                ..activate_request(world).await
            };
            refused(
                world.device().activate(request).await,
                reason,
                &["device_key.device_id"],
            );
        }
        let request = v1::ActivateRequest {
            device_key: Some(named(&fresh_id())),
            ..activate_request(world).await
        };
        refused(
            world.device().activate(request).await,
            "ENROLLMENT_INVALID",
            &[],
        );
        let request = v1::UnfreezeDeviceRequest {
            activation_id: fresh_id(),
            reason: "because".to_owned(),
            ..Default::default()
        };
        refused(
            world.support().unfreeze_device(request).await,
            "NOT_FOUND",
            &[],
        );
    });
}
