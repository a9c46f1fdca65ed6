//! Who may call what (PRT1, PRT2): every method with every role, and partners with what is not theirs.

use tonic::Status;
use upkeep::rpc::v1;
use upkeep_server::pki::Role;

use crate::grammar::{Grammar, call};
use crate::sent::Sent;
use crate::world::{
    As, CODED, Device, MAIL, World, activation_code, defined, details, fresh_id, reason, run,
};

const NOBODY: &str = "00000000-0000-4000-8000-ffffffffffff";

/// How an empty message from `role` is refused for whom it comes from; `None` where the role may call the method.
fn refusal(service: &str, method: &str, role: Option<Role>) -> Option<&'static str> {
    let staff: &[Role] = match (service, method) {
        ("ActivationService" | "CustomerService", _) => return None,
        // DOMAIN 7: the contract's events are the customer's, the partner's and support's.
        ("MaintenanceService", "CancelMaintenance" | "WithdrawCancellation") => {
            return (role == Some(Role::Admin)).then_some("ROLE_NOT_ALLOWED");
        }
        // Whoever shows a secret is a customer, and customers list nothing.
        ("MaintenanceService", "ListExpiring") => {
            return role.is_none().then_some("ROLE_NOT_ALLOWED");
        }
        ("MaintenanceService", _) => return None,
        ("PartnerService", _) => &[Role::Partner],
        ("SupportService", _) => &[Role::Support, Role::Admin],
        ("AdminService", _) => &[Role::Admin],
        (other, _) => panic!("{other} is new: say here whom it is for"),
    };
    match role {
        None => Some("CLIENT_CERTIFICATE_REQUIRED"),
        Some(role) if staff.contains(&role) => None,
        Some(_) => Some("ROLE_NOT_ALLOWED"),
    }
}

/// Authentication and role come before everything else (N-10): an empty message shows which check is first.
#[test]
fn every_method_asks_for_its_role_first() {
    let grammar = Grammar::read();
    run(async {
        let world = World::selling().await;
        let callers: [(Option<Role>, As); 4] = [
            (None, world.anyone()),
            (Some(Role::Partner), world.named(Role::Partner, "acme")),
            (Some(Role::Support), world.named(Role::Support, "eva")),
            (Some(Role::Admin), world.named(Role::Admin, "root")),
        ];
        for method in &grammar.methods {
            for (role, who) in &callers {
                let answer = call(who.clone(), &method.path(), Vec::new()).await;
                let found = answer.err().map(|status| reason(&status));
                let expected = refusal(&method.service, &method.name, *role);
                let found = found.as_deref();
                let path = method.path();
                match expected {
                    Some(_) => assert_eq!(found, expected, "{path} as {role:?}"),
                    None => assert!(
                        !matches!(
                            found,
                            Some("CLIENT_CERTIFICATE_REQUIRED" | "ROLE_NOT_ALLOWED")
                        ),
                        "{path} as {role:?}: {found:?}"
                    ),
                }
            }
        }
    });
}

/// What a status shows on the wire.
fn shown(status: &Status) -> (tonic::Code, String, Vec<u8>) {
    defined(status).unwrap();
    let (code, message) = (status.code(), status.message().to_owned());
    (code, message, status.details().to_vec())
}

/// Another partner's license, activation and update request look exactly like ones that do not exist, and stay as they are.
#[test]
fn foreign_and_absent_look_the_same_to_a_partner() {
    run(async {
        let world = World::selling().await;
        let device = Device::new(1);
        let seat = world.activate(MAIL, &device).await;
        let ticket = world.ticket(&seat.activation_id, &device).await;
        let credential = world.credential(MAIL).await;
        let request = v1::CreateUpdateRequestRequest {
            request_id: fresh_id(),
            serial: MAIL.to_owned(),
            credential: Some(credential.clone()),
            details: Some(details()),
        };
        let asked = world.send(Sent::Ask(request)).await.unwrap().id;
        let before = world.substance();
        let foreign = probe(&world, MAIL, &seat.activation_id, &asked, &credential).await;
        let unknown = activation_code("00000-00000-00000-00000-00000");
        let absent = probe(&world, "SM-9999", NOBODY, NOBODY, &unknown).await;
        assert_eq!(foreign, absent);
        for (code, _, _) in &foreign {
            assert_eq!(*code, tonic::Code::PermissionDenied);
        }
        // A proof names its activation by the device's signature, so there is no absent one.
        let request = v1::PartnerServiceRecordProofRequest {
            proof: device.proof(&ticket),
        };
        let refused = world.partner("acme").record_proof(request).await;
        assert_eq!(reason(&refused.unwrap_err()), "NOT_YOUR_CUSTOMER");
        assert!(
            before == world.substance(),
            "a refused call changed something"
        );
        let listed = world
            .partner("acme")
            .list_licenses(v1::PartnerServiceListLicensesRequest::default())
            .await
            .unwrap()
            .into_inner();
        assert!(
            listed
                .licenses
                .iter()
                .all(|found| found.partner_id == "acme")
        );
        assert_eq!(listed.licenses.len(), 3);
    });
}

/// Every method of PartnerService that names something.
async fn probe(
    world: &World,
    serial: &str,
    activation: &str,
    asked: &str,
    credential: &v1::Credential,
) -> Vec<(tonic::Code, String, Vec<u8>)> {
    let mut acme = world.partner("acme");
    let serial = serial.to_owned();
    let (activation_id, update_request_id) = (activation.to_owned(), asked.to_owned());
    let mut found = Vec::new();
    let request = v1::PartnerServiceGetLicenseRequest {
        serial: serial.clone(),
    };
    found.push(acme.get_license(request).await.unwrap_err());
    let request = v1::PartnerServiceListActivationsRequest {
        serial: serial.clone(),
        ..Default::default()
    };
    found.push(acme.list_activations(request).await.unwrap_err());
    let request = v1::PartnerServiceBeginDeactivationRequest {
        activation_id,
        ..Default::default()
    };
    found.push(acme.begin_deactivation(request).await.unwrap_err());
    let request = v1::PartnerServiceCreateUpdateRequestRequest {
        serial,
        credential: Some(credential.clone()),
        details: Some(details()),
        ..Default::default()
    };
    found.push(acme.create_update_request(request).await.unwrap_err());
    let request = v1::PartnerServiceGetUpdateRequestRequest {
        update_request_id: update_request_id.clone(),
    };
    found.push(acme.get_update_request(request).await.unwrap_err());
    let request = v1::PartnerServiceWithdrawUpdateRequestRequest {
        update_request_id: update_request_id.clone(),
        ..Default::default()
    };
    found.push(acme.withdraw_update_request(request).await.unwrap_err());
    let request = v1::PartnerServiceGenerateUpgradeCodeRequest {
        update_request_id,
        ..Default::default()
    };
    found.push(acme.generate_upgrade_code(request).await.unwrap_err());
    found.iter().map(shown).collect()
}

/// Within a service the state machines say which role may do what (DOMAIN 7).
#[test]
fn an_administrator_begins_no_deactivation() {
    run(async {
        let world = World::selling().await;
        let seat = world.activate(CODED, &Device::new(1)).await;
        let request = v1::SupportServiceBeginDeactivationRequest {
            activation_id: seat.activation_id,
            ..Default::default()
        };
        let mut admin =
            v1::support_service_client::SupportServiceClient::new(world.named(Role::Admin, "root"));
        let refused = admin.begin_deactivation(request).await.unwrap_err();
        assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
    });
}
