//! What a programme's file says is what happens: settings that none of the built-in programmes uses.

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
