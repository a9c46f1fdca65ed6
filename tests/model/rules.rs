//! What a programme's file says is what happens: settings that none of the built-in programmes uses.

use tonic::Status;
use tonic_types::StatusExt;
use upkeep::rpc::v1;
use upkeep_server::domain::programme::Programmes;

use crate::world::{
    Device, World, activation_code, details, fresh_id, generous, license, no_faults, reason, run,
};

const SERIAL: &str = "XX-0001";

/// A server whose only programme has these lines, with one license of it and its activation code.
async fn world(lines: &str) -> (World, v1::Credential) {
    let text = format!(
        "[programme]\nid = \"own\"\nrev = 1\ntz = \"UTC\"\n[cover]\nincluded_months = 12\n{lines}"
    );
    let programmes = Programmes::load(&[("own.toml", text)]).unwrap();
    let world = World::with(no_faults(), programmes, generous(), 1 << 16);
    world.create_product("label", "own").await;
    let customer = v1::CreateCustomerRequest {
        customer_id: "buyer".to_owned(),
        display_name: "Buyer".to_owned(),
        ..Default::default()
    };
    world.admin().create_customer(customer).await.unwrap();
    let code = world.create_license(license(SERIAL, "label", 1)).await;
    (world, activation_code(&code.unwrap()))
}

/// Asks on the 350th day of maintenance and has the code made on the 370th, when it is over.
async fn code_after_the_end(lines: &str) -> Result<v1::UpgradeCode, String> {
    let (world, credential) = world(lines).await;
    world.pass_days(350);
    let request = v1::CreateUpdateRequestRequest {
        request_id: fresh_id(),
        serial: SERIAL.to_owned(),
        credential: Some(credential),
        details: Some(details()),
    };
    let asked = world.customer().create_update_request(request).await;
    let asked = asked.unwrap().into_inner().update_request.unwrap();
    world.pass_days(20);
    let request = v1::SupportServiceGenerateUpgradeCodeRequest {
        request_id: fresh_id(),
        update_request_id: asked.update_request_id,
    };
    let code = world.support().generate_upgrade_code(request).await;
    world.check_records();
    match code {
        Ok(code) => Ok(code.into_inner().upgrade_code.unwrap()),
        Err(status) => Err(reason(&status)),
    }
}

/// the moment at which maintenance must be in force is the programme's.
#[test]
fn maintenance_is_checked_when_the_programme_says() {
    run(async {
        let at_issue = code_after_the_end("[update]\nsma_checked_at = \"issue\"").await;
        assert_eq!(at_issue.unwrap_err(), "SMA_EXPIRED");
        let at_submit = code_after_the_end("[update]\nsma_checked_at = \"submit\"").await;
        assert_eq!(at_submit.unwrap().target_version, "1.0");
    });
}

/// E-10: too weak a proof frees no seat, and the customer is told before the device is wiped for it.
#[test]
fn a_programme_may_ask_for_a_stronger_proof_than_a_device_can_give() {
    run(async {
        let (world, credential) = world("[proof]\nmin_level = \"hardware\"").await;
        let device = Device::new(1);
        let request = world
            .activate_request(SERIAL, credential, &device, &fresh_id())
            .await;
        let seat = world.device().activate(request).await.unwrap().into_inner();
        let id = seat.activation_id;
        let request = world.begin_request(&id, &device, &fresh_id()).await;
        let refused = world.device().begin_deactivation(request).await;
        assert_eq!(reason(&refused.unwrap_err()), "ATTESTATION_FAILED");
        let request = v1::DeclareLostRequest {
            request_id: fresh_id(),
            activation_id: id,
            reason: "the machine is gone".to_owned(),
        };
        world.support().declare_lost(request).await.unwrap();
        world.check_records();
    });
}

/// Activates with what the client says of a virtual machine.
async fn activate(
    world: &World,
    credential: &v1::Credential,
    device: &Device,
    (declared, hints): (v1::VirtualEnvironment, &[&str]),
) -> Result<v1::ActivateResponse, Status> {
    let mut request = world
        .activate_request(SERIAL, credential.clone(), device, &fresh_id())
        .await;
    request.virtual_environment = declared.into();
    request.virtual_machine_hints = hints.iter().map(ToString::to_string).collect();
    device.sign_activate(&mut request);
    Ok(world.device().activate(request).await?.into_inner())
}

/// What staff see of the license's only activation.
async fn flag(world: &World) -> String {
    let request = v1::SupportServiceListActivationsRequest {
        serial: SERIAL.to_owned(),
        ..Default::default()
    };
    let answer = world.support().list_activations(request).await.unwrap();
    let mut found = answer.into_inner().activations;
    found.remove(0).virtual_environment_contradiction
}

/// T-29: signs of a virtual machine on a physical one are noted for staff, and stay noted.
#[test]
fn a_contradiction_about_a_virtual_machine_is_flagged() {
    use v1::VirtualEnvironment::{No, Yes};
    run(async {
        let (world, credential) = world("").await;
        let device = Device::new(1);
        activate(
            &world,
            &credential,
            &device,
            (No, &["cpuid:KVMKVMKVM", "dmi:QEMU"]),
        )
        .await
        .unwrap();
        let text = "a physical machine was declared, but it reports cpuid:KVMKVMKVM, dmi:QEMU";
        assert_eq!(world.last_event().reason, text);
        assert_eq!(flag(&world).await, text);
        // Hints that are left out the next time undo nothing.
        activate(&world, &credential, &device, (No, &[]))
            .await
            .unwrap();
        assert_eq!(flag(&world).await, text);
        // Who declares the virtual machine has to have a license for it.
        let refused = activate(&world, &credential, &device, (Yes, &["dmi:QEMU"])).await;
        assert_eq!(reason(&refused.unwrap_err()), "VM_NOT_ALLOWED");
        world.check_records();
    });
}

/// T-29: or refused, where the programme says so, with the refusal on record.
#[test]
fn a_contradiction_about_a_virtual_machine_is_refused_where_the_programme_says_so() {
    use v1::VirtualEnvironment::No;
    run(async {
        let (world, credential) = world("[assurance]\nvm_contradiction = \"refuse\"").await;
        let device = Device::new(1);
        let refused = activate(&world, &credential, &device, (No, &["dmi:QEMU"])).await;
        assert_eq!(reason(&refused.unwrap_err()), "VM_CONTRADICTION");
        let event = world.last_event();
        assert_eq!(event.outcome, "VM_CONTRADICTION");
        assert!(event.reason.contains("dmi:QEMU"), "{event:?}");
        activate(&world, &credential, &device, (No, &[]))
            .await
            .unwrap();
        assert_eq!(flag(&world).await, "");
        world.check_records();
    });
}

/// Hints go on record and into answers, so they are short and plain.
#[test]
fn hints_are_at_most_eight_of_sixty_four_plain_characters() {
    use v1::VirtualEnvironment::No;
    run(async {
        let (world, credential) = world("").await;
        let device = Device::new(1);
        let long = "x".repeat(65);
        let nine = vec!["dmi:QEMU"; 9];
        for hints in [
            &["", "dmi:QEMU"][..],
            &["dmi:Bj\u{f6}rn"],
            &["a\nb"],
            &[&long],
            &nine,
        ] {
            let refused = activate(&world, &credential, &device, (No, hints)).await;
            let refused = refused.unwrap_err();
            assert_eq!(reason(&refused), "INVALID_FIELD", "{hints:?}");
            let details = refused.get_error_details();
            let violations = &details.bad_request().unwrap().field_violations;
            assert_eq!(violations.len(), 1, "{hints:?}");
            assert_eq!(violations[0].field, "virtual_machine_hints");
        }
        let full = "x".repeat(64);
        let most = vec![full.as_str(); 8];
        activate(&world, &credential, &device, (No, &most))
            .await
            .unwrap();
    });
}

/// DESIGN 9: what was sold may need a better device key than the programme asks of everybody.
#[test]
fn a_sold_option_may_need_a_higher_level() {
    run(async {
        for (option, fits) in [
            ("edition = \"pro\"", true),
            ("license_type = \"single-user\"", true),
            ("edition = \"lite\"", false),
            ("add_on = \"mapi\"", false),
        ] {
            let lines =
                format!("[assurance]\noptions = [{{ {option}, min_level = \"hardware\" }}]");
            let (world, credential) = world(&lines).await;
            let none = (v1::VirtualEnvironment::No, &[][..]);
            let answer = activate(&world, &credential, &Device::new(1), none).await;
            assert_eq!(answer.is_err(), fits, "{option}");
            let Err(status) = answer else { continue };
            assert_eq!(reason(&status), "ATTESTATION_FAILED");
            let details = status.get_error_details();
            let metadata = &details.error_info().unwrap().metadata;
            assert_eq!(metadata["required_level"], "hardware");
        }
    });
}

/// A code as a file is a license for a key that nobody has appraised: a programme that asks for a level has none.
#[test]
fn a_programme_that_asks_for_a_level_has_no_codes_as_files() {
    run(async {
        for (lines, is_file) in [
            ("", true),
            ("[assurance]\nactivate_min_level = \"dongle\"", false),
            (
                "[assurance]\noptions = [{ edition = \"pro\", min_level = \"hardware\" }]",
                false,
            ),
        ] {
            let (world, credential) = world(lines).await;
            let request = v1::CreateUpdateRequestRequest {
                request_id: fresh_id(),
                serial: SERIAL.to_owned(),
                credential: Some(credential),
                details: Some(v1::UpdateRequestDetails {
                    device_thumbprint: Device::new(1).thumbprint(),
                    ..details()
                }),
            };
            let asked = world.customer().create_update_request(request).await;
            let asked = asked.unwrap().into_inner().update_request.unwrap();
            let request = v1::SupportServiceGenerateUpgradeCodeRequest {
                request_id: fresh_id(),
                update_request_id: asked.update_request_id,
            };
            let code = world.support().generate_upgrade_code(request).await;
            let code = code.unwrap().into_inner().upgrade_code.unwrap();
            assert_eq!(!code.file.is_empty(), is_file, "{lines}");
        }
    });
}
