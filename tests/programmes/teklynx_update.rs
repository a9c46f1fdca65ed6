//! "How to update your software using your SMA contract" (source 000, lines 33 to 85): T-13, four questions in this order: is the
//! agreement valid, when, where, and with what data.

use tonic::Status;
use upkeep::artefact::UpgradeCode;
use upkeep::check::{self, Build, LicensedBy};
use upkeep::date::CivilDate;
use upkeep::id::{DongleNumber, ProductId};
use upkeep::rpc::v1;
use upkeep::rpc::v1::credential::Secret;
use upkeep::version::Version;
use upkeep::{armor, jws, key};

use crate::device::{Device, request_id};
use crate::license::{License, Seat};
use crate::teklynx::{Owned, PRODUCT};
use crate::vendor::{Vendor, fields, reason};

type State = v1::UpdateRequestState;

/// The whole of it for three kinds of license; answers a request that nobody follows up.
pub(crate) async fn tell(vendor: &Vendor, owned: &mut Owned) -> v1::UpdateRequest {
    // The computers on which 10.0 runs, and then 11.0 comes out.
    let old_pc = owned.nsp.install(vendor, PRODUCT, "10.0").await;
    let gold_pc = owned.gold.install(vendor, PRODUCT, "10.0").await;
    vendor.releases(PRODUCT, "11.0", "2026-07-01").await;
    what_it_must_say(vendor, owned).await;
    through_the_reseller(vendor, owned, old_pc).await;
    owned.gold = directly(vendor, owned, gold_pc).await;
    hardware_key(vendor, &owned.hardware).await;
    virtual_environments(vendor, owned).await;
    // T-16 (line 41): "An update should only be requested when the user requires the update": one that nobody uses runs out.
    let details = details(v1::VirtualEnvironment::Yes, "single-user");
    let unused = ask(vendor, &owned.virtual_machine, details).await.unwrap();
    // T-08: this license was sold for a virtual machine, so nobody has to decide again.
    assert_eq!(unused.state(), State::Approved);
    unused
}

/// T-22 (line 66): "The update request must include".
async fn what_it_must_say(vendor: &Vendor, owned: &Owned) {
    let mut acme = vendor.at_partner("acme").await;
    let empty = v1::PartnerServiceCreateUpdateRequestRequest {
        serial: "NSP-0042".into(),
        details: Some(v1::UpdateRequestDetails::default()),
        ..Default::default()
    };
    let gaps = acme.create_update_request(empty).await.unwrap_err();
    assert_eq!(reason(&gaps), "MISSING_FIELD");
    // T-23 (line 68) the e-mail address, T-29 (line 80) the virtual environment, T-30 (line 82) the license type, T-25 (line 73)
    // the secret: all gaps at once.
    assert_eq!(
        fields(&gaps),
        [
            "details.email",
            "details.virtual_environment",
            "details.license_type",
            "credential"
        ]
    );
    // T-24 (line 69): "License serial number"
    let nameless = License {
        serial: String::new(),
        ..owned.nsp.clone()
    };
    let refused = ask(vendor, &nameless, plain()).await.unwrap_err();
    assert_eq!(fields(&refused), ["serial"]);
    // T-25 (line 73): "For license serial numbers starting with NSP: the Password": no other secret.
    let wrong_kind = License {
        credential: owned.gold.credential.clone(),
        ..owned.nsp.clone()
    };
    let refused = ask(vendor, &wrong_kind, plain()).await.unwrap_err();
    assert_eq!(reason(&refused), "CREDENTIAL_KIND_MISMATCH");
    // T-26 (line 73): "For all other serial numbers (non-NSP): either the Activation Code or the Product Code": no password.
    let wrong_kind = License {
        credential: owned.nsp.credential.clone(),
        ..owned.gold.clone()
    };
    let refused = ask(vendor, &wrong_kind, plain()).await.unwrap_err();
    assert_eq!(reason(&refused), "CREDENTIAL_KIND_MISMATCH");
}

/// T-19 (line 43): "Customers should request updates at the same place they usually place orders": here at the reseller's.
async fn through_the_reseller(vendor: &Vendor, owned: &Owned, old_pc: Seat) {
    let mut acme = vendor.at_partner("acme").await;
    // T-01 (line 6): "a change of PC": the license moves from the old computer to a new one.
    let new_pc = Device::new();
    let request = v1::PartnerServiceCreateUpdateRequestRequest {
        request_id: request_id(),
        serial: "nsp-0042".into(),
        credential: owned.nsp.credential.clone(),
        details: Some(v1::UpdateRequestDetails {
            device_thumbprint: new_pc.thumbprint(),
            ..details(v1::VirtualEnvironment::No, "network")
        }),
    };
    let mut other = vendor.at_partner("other").await;
    let foreign = other.create_update_request(request.clone()).await;
    assert_eq!(reason(&foreign.unwrap_err()), "NOT_YOUR_CUSTOMER");
    let made = acme.create_update_request(request.clone()).await.unwrap();
    let update = made.into_inner().update_request.unwrap();
    // T-17 (line 41): "the timing is crucial, as the old license must be deactivated and proof of deactivation must be returned":
    // everything else is in order, so that is asked for now.
    assert_eq!(update.state(), State::AwaitingDeactivation);
    assert_eq!(update.seats_to_deactivate, 1);
    assert_eq!(update.target_version, "11.0");
    // T-16: a code belongs to one request, and there is one at a time.
    let second = v1::PartnerServiceCreateUpdateRequestRequest {
        request_id: request_id(),
        ..request
    };
    let second = acme.create_update_request(second).await.unwrap_err();
    assert_eq!(reason(&second), "ALREADY_EXISTS");
    let generate = || v1::PartnerServiceGenerateUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id: update.update_request_id.clone(),
    };
    let early = acme.generate_upgrade_code(generate()).await.unwrap_err();
    assert_eq!(reason(&early), "PROOF_REQUIRED");
    // T-18 (line 41): "returned to your reseller or to TEKLYNX": to the reseller.
    let proof = old_pc.deactivate(vendor).await;
    let recorded = acme
        .record_proof(v1::PartnerServiceRecordProofRequest { proof })
        .await
        .unwrap();
    assert!(!recorded.into_inner().receipt.is_empty());
    let code = acme.generate_upgrade_code(generate()).await.unwrap();
    let code = code.into_inner().upgrade_code.unwrap();
    // T-23, T-31 (line 68): the address is "where the upgrade code will be sent to".
    assert_eq!(
        vendor.mails("upgrade-code").await,
        [format!(" to requester/{}", update.update_request_id)]
    );
    let again = acme.generate_upgrade_code(generate()).await.unwrap_err();
    assert_eq!(reason(&again), "CODE_ALREADY_ISSUED");
    // T-30: the license is of the wanted type afterwards. One code, one computer.
    let mut products = vendor.products.clone();
    let elsewhere = Device::new();
    let wrong = elsewhere.redeem(&mut products, "NSP-0042", &code.code, "11.0");
    assert_eq!(reason(&wrong.await.unwrap_err()), "WRONG_DEVICE");
    let redeemed = new_pc
        .redeem(&mut products, "NSP-0042", &code.code, "11.0")
        .await
        .unwrap();
    let license = redeemed.license.unwrap();
    assert_eq!(
        (license.generation, license.license_type.as_str()),
        (2, "network")
    );
    let used = new_pc.redeem(&mut products, "NSP-0042", &code.code, "11.0");
    assert_eq!(reason(&used.await.unwrap_err()), "CODE_ALREADY_REDEEMED");
    // T-14 (line 16): "at no extra cost": the one order is that of the renewal.
    assert_eq!(owned.nsp.orders().await.len(), 1);
}

/// T-19 (line 46): "if you don't know who your reseller is, you can contact TEKLYNX directly"; T-33: the end user and Customer Care.
async fn directly(vendor: &Vendor, owned: &Owned, pc: Seat) -> License {
    // T-28 (line 77): "The Product Code ... can be found ... on the computer where the product is activated". T-27 (line 75): the
    // Activation Code, "delivered with the product", activated it and would do as well.
    let with_product_code = License {
        credential: Some(v1::Credential {
            secret: Some(Secret::ProductCode(pc.product_code.clone())),
        }),
        ..owned.gold.clone()
    };
    let update = ask(vendor, &with_product_code, plain()).await.unwrap();
    assert_eq!(update.state(), State::AwaitingDeactivation);
    // T-18: the proof goes to TEKLYNX.
    let proof = pc.deactivate(vendor).await;
    let mut eva = vendor.support.clone();
    let record = v1::SupportServiceRecordProofRequest { proof };
    eva.record_proof(record).await.unwrap();
    let seen = state(vendor, &owned.gold, &update).await.unwrap();
    assert_eq!(seen, State::Approved);
    let generate = v1::SupportServiceGenerateUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id: update.update_request_id.clone(),
    };
    let code = eva.generate_upgrade_code(generate).await.unwrap();
    let code = code.into_inner().upgrade_code.unwrap().code;
    assert_eq!(
        state(vendor, &owned.gold, &update).await.unwrap(),
        State::CodeIssued
    );
    let mut products = vendor.products.clone();
    let redeemed = Device::new()
        .redeem(&mut products, "CS-0007", &code, "11.0")
        .await
        .unwrap();
    assert_eq!(redeemed.license.unwrap().generation, 2);
    // T-27: the new generation comes with an Activation Code of its own; the old one opens nothing more.
    let next = License {
        credential: Some(v1::Credential {
            secret: Some(Secret::ActivationCode(redeemed.activation_code)),
        }),
        ..owned.gold.clone()
    };
    let stale = state(vendor, &owned.gold, &update).await.unwrap_err();
    assert_eq!(reason(&stale), "CREDENTIAL_INVALID");
    let read = v1::SupportServiceGetUpdateRequestRequest {
        update_request_id: update.update_request_id,
    };
    let seen = eva.get_update_request(read).await.unwrap().into_inner();
    let seen = seen.update_request.unwrap();
    assert_eq!(seen.state(), State::Redeemed);
    // T-23: only Customer Care sees the address.
    assert_eq!(seen.details.unwrap().email, "it@baker.example");
    next
}

/// T-21 (line 63), A-07: the right moves with the key, so no secret and no proof are asked for; the code is bound to the key.
async fn hardware_key(vendor: &Vendor, license: &License) {
    let mut acme = vendor.at_partner("acme").await;
    let request = v1::PartnerServiceCreateUpdateRequestRequest {
        request_id: request_id(),
        serial: license.serial.clone(),
        details: Some(plain()),
        ..Default::default()
    };
    let made = acme.create_update_request(request).await.unwrap();
    let update = made.into_inner().update_request.unwrap();
    assert_eq!(update.state(), State::Approved);
    let generate = v1::PartnerServiceGenerateUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id: update.update_request_id,
    };
    let code = acme.generate_upgrade_code(generate).await.unwrap();
    let file = code.into_inner().upgrade_code.unwrap().file;
    let server = vendor.world.server_key().await;
    let find = |_: &key::Thumbprint| Some(server.clone());
    let file = armor::read::<UpgradeCode>(file.as_bytes()).unwrap();
    let code = jws::verify::<UpgradeCode>(&file, find, key::verify).unwrap();
    let runs_with = |number: &str| {
        let number = DongleNumber::parse(number).unwrap();
        let build = Build {
            product: &ProductId::parse(PRODUCT).unwrap(),
            version: &Version::parse("11.0").unwrap(),
            date: CivilDate::parse("2026-07-01").unwrap(),
        };
        let device = check::Device::Dongle(&number);
        check::check(LicensedBy::Upgrade(&code), device, build).map(|_| ())
    };
    assert_eq!(runs_with("usb-2001"), Ok(()));
    assert_eq!(runs_with("usb-2002"), Err(check::Refusal::OtherDevice));
}

/// T-29 (line 80): "whether: a) you will be using your TEKLYNX software in a virtual environment"; T-08: then a person decides.
async fn virtual_environments(vendor: &Vendor, owned: &Owned) {
    let license = &owned.later;
    let in_vm = || details(v1::VirtualEnvironment::Yes, "single-user");
    let mut eva = vendor.support.clone();
    let update = ask(vendor, license, in_vm()).await.unwrap();
    assert_eq!(update.state(), State::Referred);
    let mut acme = vendor.at_partner("acme").await;
    let generate = v1::PartnerServiceGenerateUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id: update.update_request_id.clone(),
    };
    let early = acme.generate_upgrade_code(generate).await.unwrap_err();
    assert_eq!(reason(&early), "REFER_TO_VENDOR");
    let reject = v1::RejectUpdateRequestRequest {
        update_request_id: update.update_request_id,
        reason: "no virtual machines on this contract".into(),
        ..Default::default()
    };
    let refused = eva.reject_update_request(reject).await.unwrap();
    let refused = refused.into_inner().update_request.unwrap();
    assert_eq!(refused.state(), State::Rejected);
    // The next one is cleared, and the customer takes it back.
    let update = ask(vendor, license, in_vm()).await.unwrap();
    let clear = v1::ClearReferralRequest {
        update_request_id: update.update_request_id.clone(),
        reason: "the office agrees".into(),
        ..Default::default()
    };
    let cleared = eva.clear_referral(clear).await.unwrap().into_inner();
    assert_eq!(cleared.update_request.unwrap().state(), State::Approved);
    let withdraw = v1::WithdrawUpdateRequestRequest {
        serial: license.serial.clone(),
        credential: license.credential.clone(),
        update_request_id: update.update_request_id,
        ..Default::default()
    };
    let mut customers = vendor.customers.clone();
    let withdrawn = customers.withdraw_update_request(withdraw).await.unwrap();
    let withdrawn = withdrawn.into_inner().update_request.unwrap();
    assert_eq!(withdrawn.state(), State::Withdrawn);
}

/// T-15 (line 36): "No update will be provided if the SMA has expired."
pub(crate) async fn refused_once_expired(vendor: &Vendor, owned: &Owned) {
    let refused = ask(vendor, &owned.direct, plain()).await.unwrap_err();
    assert_eq!(reason(&refused), "SMA_EXPIRED");
    // T-13: that is the first of the four questions: who fails it is not referred to a person, and deactivates nothing.
    let in_vm = details(v1::VirtualEnvironment::Yes, "single-user");
    for license in [&owned.direct, &owned.gold] {
        let refused = ask(vendor, license, in_vm.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), "SMA_EXPIRED");
    }
    // T-15 (line 35): "Your SMA must be valid": also of a request that was in order before, on the day of the code.
    let license = &owned.later;
    vendor.day("2026-09-30").await;
    let update = ask(vendor, license, plain()).await.unwrap();
    assert_eq!(update.state(), State::Approved);
    vendor.day("2026-10-01").await;
    let generate = v1::SupportServiceGenerateUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id: update.update_request_id,
    };
    let late = vendor.support.clone().generate_upgrade_code(generate).await;
    assert_eq!(reason(&late.unwrap_err()), "SMA_EXPIRED");
}

/// T-16: the request of July that nobody followed up.
pub(crate) async fn ran_out(vendor: &Vendor, license: &License, unused: &v1::UpdateRequest) {
    vendor.day("2026-10-14").await;
    assert_eq!(
        state(vendor, license, unused).await.unwrap(),
        State::Approved
    );
    vendor.day("2026-10-15").await;
    assert_eq!(
        state(vendor, license, unused).await.unwrap(),
        State::Expired
    );
}

fn plain() -> v1::UpdateRequestDetails {
    details(v1::VirtualEnvironment::No, "single-user")
}

fn details(vm: v1::VirtualEnvironment, license_type: &str) -> v1::UpdateRequestDetails {
    v1::UpdateRequestDetails {
        email: "it@baker.example".into(),
        virtual_environment: vm.into(),
        license_type: license_type.into(),
        ..Default::default()
    }
}

/// A customer asks for an update, with the license's secret.
async fn ask(
    vendor: &Vendor,
    license: &License,
    details: v1::UpdateRequestDetails,
) -> Result<v1::UpdateRequest, Status> {
    let request = v1::CreateUpdateRequestRequest {
        request_id: request_id(),
        serial: license.serial.clone(),
        credential: license.credential.clone(),
        details: Some(details),
    };
    let mut customers = vendor.customers.clone();
    let answer = customers.create_update_request(request).await?;
    Ok(answer.into_inner().update_request.unwrap())
}

/// How a customer's update request stands.
async fn state(
    vendor: &Vendor,
    license: &License,
    update: &v1::UpdateRequest,
) -> Result<State, Status> {
    let request = v1::GetUpdateRequestRequest {
        serial: license.serial.clone(),
        credential: license.credential.clone(),
        update_request_id: update.update_request_id.clone(),
    };
    let answer = vendor.customers.clone().get_update_request(request).await?;
    Ok(answer.into_inner().update_request.unwrap().state())
}
