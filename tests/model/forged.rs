//! G10 at the server: challenges, tickets, proofs of software and of TPMs, codes, page tokens and release manifests that are forged or
//! changed, sent by whoever would gain by them. None is granted, and nothing changes.
//!
//! `UPKEEP_G10_CALLS=100_000 cargo test --workspace --test model g10` is the long run.

use data_encoding::BASE64URL_NOPAD;
use tonic::{Code, Status};
use upkeep::artefact::{Confirmation, DeactivationProof, DeactivationTicket, HardwareProof};
use upkeep::id::ActivationId;
use upkeep::key::SigningKey;
use upkeep::rpc::v1;

use crate::grammar::Dice;
use crate::size;
use crate::world::{
    CODED, DONGLE, Device, MAIL, NSP, PASSWORD, World, activation_code, claims, defined, details,
    fresh_id, license, password, product_code, run,
};

/// Sends forgeries that `make` sends, each another, and expects every one to be refused without effect.
async fn none_granted(
    world: &World,
    kind: &str,
    mut make: impl AsyncFnMut(&mut Dice) -> Result<(), Status>,
) {
    let before = world.substance();
    let calls = size("UPKEEP_G10_CALLS", 150);
    let mut dice = Dice(10);
    for number in 0..calls {
        let refused = make(&mut dice).await;
        let status = refused.expect_err(&format!("{kind}: forgery {number} was granted"));
        if let Err(why) = defined(&status) {
            panic!("{kind}: {why}: {status:?}");
        }
        assert!(
            !matches!(status.code(), Code::Unknown | Code::Internal),
            "{kind}: {status:?}"
        );
    }
    assert!(before == world.substance(), "{kind}: something changed");
    println!("g10: {kind}: {calls} forgeries sent, 0 granted");
}

/// Bytes with one to three of them changed, left out or added.
fn changed(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut new = bytes.to_vec();
    while new == bytes {
        for _ in 0..=dice.below(3) {
            let at = dice.below(new.len().max(1) as u64) as usize;
            match dice.below(4) {
                0 if !new.is_empty() => drop(new.remove(at)),
                1 => new.insert(at, dice.byte()),
                _ if !new.is_empty() => new[at] ^= 1 << dice.below(8),
                _ => {}
            }
        }
    }
    new
}

/// A text of the same alphabet with symbols changed.
fn changed_text(text: &str, dice: &mut Dice) -> String {
    let mut new = text.to_owned();
    while new == text {
        let at = dice.below(text.len() as u64) as usize;
        let symbol = *dice.one(&text.bytes().collect::<Vec<_>>());
        if symbol != b'-' && !text[at..].starts_with('-') {
            new.replace_range(at..=at, std::str::from_utf8(&[symbol]).unwrap());
        }
    }
    new
}

#[test]
fn g10_challenges() {
    run(async {
        let world = World::selling().await;
        let device = Device::new(1);
        let fresh = world.challenge(v1::ChallengePurpose::Activate).await;
        let other = world.challenge(v1::ChallengePurpose::Redeem).await;
        none_granted(&world, "challenge", async |dice| {
            let challenge = match dice.below(6) {
                0 => other.clone(),
                // The time of one, the tag of another.
                1 => [&fresh[..26], &other[26..]].concat(),
                2 => [&other[..26], &fresh[26..]].concat(),
                3 => (0..42).map(|_| dice.byte()).collect(),
                _ => changed(&fresh, dice),
            };
            let mut request = world
                .activate_request(NSP, password(PASSWORD), &device, &fresh_id())
                .await;
            request.challenge = challenge;
            device.sign_activate(&mut request);
            world.device().activate(request).await.map(drop)
        })
        .await;
    });
}

#[test]
fn g10_signatures_of_devices() {
    run(async {
        let world = World::selling().await;
        let (device, other) = (Device::new(1), Device::new(2));
        let seat = world.activate(CODED, &device).await;
        none_granted(&world, "device signature", async |dice| {
            let mut request = world
                .begin_request(&seat.activation_id, &device, &fresh_id())
                .await;
            match dice.below(4) {
                0 => {
                    request = world
                        .begin_request(&seat.activation_id, &other, &fresh_id())
                        .await
                }
                1 => request.request_id = fresh_id(),
                2 => {
                    request.challenge = world
                        .challenge(v1::ChallengePurpose::BeginDeactivation)
                        .await
                }
                _ => {
                    let signature = changed(&request.signature, dice);
                    request.signature = signature;
                }
            }
            world.device().begin_deactivation(request).await.map(drop)
        })
        .await;
    });
}

#[test]
fn g10_proofs_and_tickets() {
    run(async {
        let world = World::selling().await;
        let (device, other) = (Device::new(1), Device::new(2));
        let seat = world.activate(CODED, &device).await;
        let second = world.activate(CODED, &other).await;
        let ticket = world.ticket(&seat.activation_id, &device).await;
        let second_ticket = world.ticket(&second.activation_id, &other).await;
        let good = device.proof(&ticket);
        let stranger = SigningKey::from_seed(&[9; 32]).unwrap();
        none_granted(&world, "proof", async |dice| {
            let proof = match dice.below(8) {
                // Another device speaks for this one.
                0 => other.proof(&ticket),
                // A ticket for the other activation, said to be for this one.
                1 => device.proof(&second_ticket),
                2 => {
                    let mut said: DeactivationProof = claims(&good);
                    said.ticket.clone_from(&second_ticket);
                    device.seal(&said)
                }
                3 => {
                    let mut said: DeactivationProof = claims(&good);
                    said.activation_id = ActivationId::parse(&second.activation_id).unwrap();
                    device.seal(&said)
                }
                // A ticket that the device wrote itself.
                4 => {
                    let mut asked: DeactivationTicket = claims(&ticket);
                    asked.exp += 1 + dice.below(1_000_000);
                    let mut said: DeactivationProof = claims(&good);
                    said.ticket = device.seal(&asked);
                    device.seal(&said)
                }
                // Somebody's key that says it is the device's.
                5 => {
                    let mut said: DeactivationProof = claims(&good);
                    said.cnf = Confirmation {
                        jkt: stranger.public_key().thumbprint(),
                    };
                    device.seal(&said)
                }
                6 => {
                    let (signed, signature) = good.rsplit_once('.').unwrap();
                    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
                    let signature = changed(&signature, dice);
                    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
                }
                _ => changed_text(&good, dice),
            };
            world
                .device()
                .deactivate(v1::DeactivateRequest { proof })
                .await
                .map(drop)
        })
        .await;
        // The good one still works: what was refused was refused for what it was.
        world
            .device()
            .deactivate(v1::DeactivateRequest { proof: good })
            .await
            .unwrap();
    });
}

#[test]
fn g10_proofs_of_a_tpm() {
    run(async {
        let world = World::selling().await;
        let mut seat = world.activate_chip(MAIL).await;
        let mut other = world.activate_chip(MAIL).await;
        // What the chip said before its counter moved, and what another chip says.
        let id = ActivationId::parse(&seat.activation_id).unwrap();
        let q = upkeep::binding::deactivate_offline(&id);
        let stale = seat.chip.nv_certify(seat.key.index, &q);
        let good = seat.retire();
        let foreign = other.retire();
        none_granted(&world, "hardware proof", async |dice| {
            let proof = match dice.below(7) {
                0 => HardwareProof {
                    attest: stale.attest.clone(),
                    signature: stale.signature.clone(),
                    ..good.clone()
                },
                1 => HardwareProof {
                    activation_id: good.activation_id,
                    ..foreign.clone()
                },
                2 => HardwareProof {
                    activation_id: foreign.activation_id,
                    ..good.clone()
                },
                3 => HardwareProof {
                    signature: foreign.signature.clone(),
                    ..good.clone()
                },
                4 => HardwareProof {
                    attest: changed(&good.attest, dice),
                    ..good.clone()
                },
                5 => HardwareProof {
                    signature: changed(&good.signature, dice),
                    ..good.clone()
                },
                _ => HardwareProof {
                    ticket: Some("a.b.c".to_owned()),
                    ..good.clone()
                },
            };
            let proof = proof.to_text();
            world
                .device()
                .deactivate(v1::DeactivateRequest { proof })
                .await
                .map(drop)
        })
        .await;
        let proof = good.to_text();
        world
            .device()
            .deactivate(v1::DeactivateRequest { proof })
            .await
            .unwrap();
    });
}

#[test]
fn g10_codes() {
    run(async {
        let world = World::selling().await;
        let device = Device::new(1);
        let seat = world.activate(MAIL, &device).await;
        let Some(v1::credential::Secret::ActivationCode(code)) =
            world.credential(CODED).await.secret
        else {
            unreachable!()
        };
        none_granted(&world, "code", async |dice| {
            let text = changed_text(&code, dice);
            let (serial, credential) = match dice.below(4) {
                0 => (CODED, product_code(&text)),
                // Good ones of another license, of another kind.
                1 => (CODED, product_code(&seat.product_code)),
                2 => (MAIL, activation_code(&code)),
                _ => (CODED, activation_code(&text)),
            };
            let request = v1::GetLicenseRequest {
                serial: serial.to_owned(),
                credential: Some(credential),
            };
            world.customer().get_license(request).await.map(drop)
        })
        .await;
    });
}

#[test]
fn g10_upgrade_codes() {
    run(async {
        let world = World::selling().await;
        let device = Device::new(1);
        let mut codes = Vec::new();
        for (serial, buyer) in [("TK-0100", "acme"), ("TK-0101", "other")] {
            let new = v1::CreateLicenseRequest {
                partner_id: buyer.to_owned(),
                ..license(serial, "label", 1)
            };
            world.create_license(new).await.unwrap();
            let request = v1::PartnerServiceCreateUpdateRequestRequest {
                request_id: fresh_id(),
                serial: serial.to_owned(),
                credential: Some(world.credential(serial).await),
                details: Some(details()),
            };
            let mut partner = world.partner(buyer);
            let asked = partner.create_update_request(request).await.unwrap();
            let request = v1::PartnerServiceGenerateUpgradeCodeRequest {
                request_id: fresh_id(),
                update_request_id: asked.into_inner().update_request.unwrap().update_request_id,
            };
            let made = partner.generate_upgrade_code(request).await.unwrap();
            codes.push(made.into_inner().upgrade_code.unwrap().code);
        }
        none_granted(&world, "upgrade code", async |dice| {
            let code = match dice.below(3) {
                // That of the other license.
                0 => codes[1].clone(),
                _ => changed_text(&codes[0], dice),
            };
            let request = world
                .redeem_request("TK-0100", &code, &device, &fresh_id())
                .await;
            world.device().redeem_upgrade_code(request).await.map(drop)
        })
        .await;
        let request = world
            .redeem_request("TK-0100", &codes[0], &device, &fresh_id())
            .await;
        world.device().redeem_upgrade_code(request).await.unwrap();
    });
}

#[test]
fn g10_page_tokens() {
    run(async {
        let world = World::selling().await;
        let ask = |page_token: &str| v1::PartnerServiceListLicensesRequest {
            page_size: 1,
            page_token: page_token.to_owned(),
        };
        let page = world.partner("acme").list_licenses(ask("")).await.unwrap();
        let token = page.into_inner().next_page_token;
        let whole = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
        none_granted(&world, "page token", async |dice| {
            let token = match dice.below(3) {
                // The tag of this listing around the key of another.
                0 => {
                    let keys: [&[u8]; 4] = [b"l/", b"s/other\0SM-0003", b"s/acme\0", b"\xff"];
                    let key = *dice.one(&keys);
                    BASE64URL_NOPAD.encode(&[&whole[..16], key].concat())
                }
                1 => BASE64URL_NOPAD.encode(&changed(&whole, dice)),
                _ => changed_text(&token, dice),
            };
            // A last symbol has bits that carry nothing: one spelling only is taken, so no change gives the same key.
            world
                .partner("acme")
                .list_licenses(ask(&token))
                .await
                .map(drop)
        })
        .await;
        world
            .partner("acme")
            .list_licenses(ask(&token))
            .await
            .unwrap();
    });
}

#[test]
fn g10_release_manifests() {
    run(async {
        let world = World::selling().await;
        let build = Device::new(77);
        let request = v1::CreateProductRequest {
            product_id: "signed".to_owned(),
            display_name: "Signed builds".to_owned(),
            programme_id: "teklynx-sma".to_owned(),
            build_key_spki: build.key.public_key().to_spki_der(),
            ..Default::default()
        };
        world.admin().create_product(request).await.unwrap();
        world
            .create_license(license("TK-0200", "signed", 3))
            .await
            .unwrap();
        let device = Device::new(1);
        let manifest = |by: &Device, product: &str, day: &str| {
            by.seal(&upkeep::artefact::ReleaseManifest {
                iss: upkeep::artefact::Issuer::parse("vendor").unwrap(),
                jti: upkeep::artefact::ArtefactId::parse("build-1").unwrap(),
                iat: 1_700_000_000,
                product: upkeep::id::ProductId::parse(product).unwrap(),
                version: upkeep::version::Version::parse("1.0").unwrap(),
                build_date: upkeep::date::CivilDate::parse(day).unwrap(),
            })
        };
        let good = manifest(&build, "signed", "2025-01-01");
        let credential = world.credential("TK-0200").await;
        let activate = async |release_manifest: String| {
            let mut request = world
                .activate_request("TK-0200", credential.clone(), &device, &fresh_id())
                .await;
            request.product_id = "signed".to_owned();
            request.release_manifest = release_manifest;
            device.sign_activate(&mut request);
            world.device().activate(request).await.map(drop)
        };
        none_granted(&world, "release manifest", async |dice| {
            let forged = match dice.below(5) {
                // An installation that dates its own build.
                0 => manifest(&device, "signed", "2025-01-01"),
                // The vendor's word about something else, or about a build that is not covered.
                1 => manifest(&build, "label", "2025-01-01"),
                2 => manifest(&build, "signed", "2099-01-01"),
                3 => String::new(),
                _ => changed_text(&good, dice),
            };
            activate(forged).await
        })
        .await;
        activate(good).await.unwrap();
    });
}

#[test]
fn g10_dongles_numbers() {
    run(async {
        let world = World::selling().await;
        none_granted(&world, "dongle number", async |dice| {
            let number = changed_text("d-1001", dice);
            let credential = v1::Credential {
                secret: Some(v1::credential::Secret::DongleNumber(number)),
            };
            let request = v1::GetLicenseRequest {
                serial: DONGLE.to_owned(),
                credential: Some(credential),
            };
            world.customer().get_license(request).await.map(drop)
        })
        .await;
    });
}
