//! The client crate against the server: the calls that a product makes, and the files that a machine without a network carries.

use upkeep::artefact::{ArtefactId, Issuer, ReleaseManifest};
use upkeep::code::Code;
use upkeep::date::CivilDate;
use upkeep::id::ProductId;
use upkeep::jws::SigningInput;
use upkeep::key::SigningKey;
use upkeep::rpc::v1;
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use upkeep_client::{
    ActivateOptions, Build, Client, ClientError, Credential, LicenseStore, RedeemOptions,
    VirtualEnvironment,
};
use upkeep_server::pki::Role;

use crate::device::{Wish, request_id};
use crate::world::{World, license, seed};

fn options(wish: &Wish) -> ActivateOptions {
    ActivateOptions {
        serial: SerialNumber::parse(&wish.serial).unwrap(),
        credential: match &wish.credential {
            v1::credential::Secret::ActivationCode(code) => {
                Credential::ActivationCode(Code::parse(code).unwrap())
            }
            v1::credential::Secret::Password(password) => {
                Credential::Password(password.clone().into())
            }
            other => panic!("{other:?} activates nothing"),
        },
        product: ProductId::parse(&wish.product).unwrap(),
        version: Version::parse(&wish.version).unwrap(),
        virtual_environment: VirtualEnvironment::No,
        release_manifest: None,
    }
}

fn build(version: &str, date: &str) -> Build {
    Build {
        product: None,
        version: Version::parse(version).unwrap(),
        date: CivilDate::parse(date).unwrap(),
    }
}

/// A new installation of the product, enrolled.
async fn installation(world: &World, name: &str) -> (LicenseStore, Client) {
    let endpoint = format!("https://localhost:{}", world.running.products_addr().port());
    let mut store = upkeep_client::enroll(
        &world.installations().join(name),
        &endpoint,
        None,
        world.ca(),
    )
    .await
    .unwrap();
    // The TPM of the machine that runs the tests is none of theirs.
    store
        .remember_attester(Some(upkeep_client::Attester::Software), None)
        .unwrap();
    let client = Client::of(&store).unwrap();
    (store, client)
}

async fn update(world: &World, wish: &Wish, device: String) -> v1::UpgradeCode {
    let mut acme = PartnerServiceClient::new(world.staff(Role::Partner, "acme").await);
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
            target_version: "11.0".into(),
            device_thumbprint: device,
        }),
    };
    let update = acme
        .create_update_request(asked)
        .await
        .unwrap()
        .into_inner()
        .update_request
        .unwrap();
    let generate = v1::PartnerServiceGenerateUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id: update.update_request_id,
    };
    acme.generate_upgrade_code(generate)
        .await
        .unwrap()
        .into_inner()
        .upgrade_code
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_activates_checks_moves_and_upgrades() {
    let world = World::new("2026-06-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    let wish = license(&mut admin, "LS-0007", 1, "2025-09-01").await;
    let (mut old, client) = installation(&world, "old").await;

    upkeep_client::activate(&mut old, &client, &options(&wish))
        .await
        .unwrap();
    upkeep_client::check(&old, &build("10.0", "2025-05-01")).unwrap();
    // The last covered day runs, the day after does not (A-02, P-02): no clock is asked.
    upkeep_client::check(&old, &build("11.0", "2026-08-31")).unwrap();
    let newer = upkeep_client::check(&old, &build("12.0", "2026-09-01")).unwrap_err();
    assert!(matches!(newer, ClientError::Check(_)), "{newer}");

    // More maintenance reaches the device at the next refresh (P-08).
    admin
        .add_maintenance_terms(v1::AddMaintenanceTermsRequest {
            serial: wish.serial.clone(),
            terms: 1,
            ..Default::default()
        })
        .await
        .unwrap();
    upkeep_client::refresh(&mut old, &client).await.unwrap();
    upkeep_client::check(&old, &build("12.0", "2027-08-31")).unwrap();

    // The machine is changed (T-01): the old one gives the seat back, the new one takes it.
    let (mut new, new_client) = installation(&world, "new").await;
    let full = upkeep_client::activate(&mut new, &new_client, &options(&wish))
        .await
        .unwrap_err();
    assert_eq!(full.reason(), Some("NO_SEAT"));
    upkeep_client::deactivate(&mut old, &client).await.unwrap();
    let stopped = upkeep_client::check(&old, &build("10.0", "2025-05-01")).unwrap_err();
    assert!(matches!(stopped, ClientError::NotActivated(_)), "{stopped}");
    upkeep_client::activate(&mut new, &new_client, &options(&wish))
        .await
        .unwrap();

    // Deactivated, and upgraded online by the short code.
    upkeep_client::deactivate(&mut new, &new_client)
        .await
        .unwrap();
    let code = update(&world, &wish, String::new()).await;
    assert_eq!(
        code.file, "",
        "no device was named, so there is nothing to bind a file to"
    );
    let redeem = RedeemOptions {
        serial: SerialNumber::parse(&wish.serial).unwrap(),
        code: Code::parse(&code.code).unwrap(),
        product: None,
        version: Version::parse("11.0").unwrap(),
        virtual_environment: VirtualEnvironment::No,
        release_manifest: None,
    };
    let redeemed = upkeep_client::redeem(&mut new, &new_client, &redeem)
        .await
        .unwrap();
    assert_eq!(redeemed.activated.claims.generation, 2);
    upkeep_client::check(&new, &build("11.0", "2026-05-01")).unwrap();
    world.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_a_network_proves_and_upgrades_by_files() {
    // Far ahead, because the machine refuses a ticket that is over by its own clock, which is the real one.
    let world = World::new("2096-06-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    let wish = license(&mut admin, "LS-0008", 1, "2095-09-01").await;
    let (mut machine, client) = installation(&world, "offline").await;
    let activated = upkeep_client::activate(&mut machine, &client, &options(&wish))
        .await
        .unwrap();

    // The reseller asks for the ticket and mails it; the machine answers with a file; the reseller records that.
    let mut acme = PartnerServiceClient::new(world.staff(Role::Partner, "acme").await);
    let ticket = acme
        .begin_deactivation(v1::PartnerServiceBeginDeactivationRequest {
            request_id: request_id(),
            activation_id: activated.claims.activation_id.to_string(),
        })
        .await
        .unwrap()
        .into_inner()
        .ticket;
    upkeep_client::prove(&mut machine, Some(&ticket)).unwrap();
    let proof = upkeep_client::proof_file(&machine).unwrap();
    assert!(proof.contains("-----BEGIN UPKEEP DEACTIVATION PROOF-----"));
    upkeep_client::check(&machine, &build("10.0", "2025-05-01")).unwrap_err();
    let receipt = acme
        .record_proof(v1::PartnerServiceRecordProofRequest { proof })
        .await
        .unwrap()
        .into_inner()
        .receipt;
    upkeep_client::record_receipt(&mut machine, &receipt).unwrap();

    // The code comes as a file, bound to this machine's key; another machine can't use it.
    let code = update(&world, &wish, machine.device_thumbprint().to_string()).await;
    let (mut other, _) = installation(&world, "other").await;
    upkeep_client::redeem_file(&mut other, &code.file).unwrap_err();
    upkeep_client::redeem_file(&mut machine, &code.file).unwrap();
    upkeep_client::check(&machine, &build("11.0", "2026-05-01")).unwrap();
    // What the file sealed stays sealed: the old generation can't be activated again.
    let sealed = upkeep_client::activate(&mut other, &client, &options(&wish))
        .await
        .unwrap_err();
    assert_eq!(sealed.reason(), Some("CODE_ALREADY_ISSUED"));
    world.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_states_its_own_date_where_the_product_has_a_build_key() {
    let world = World::new("2026-06-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    let build_key = SigningKey::from_seed(&[9; 32]).unwrap();
    admin
        .create_product(v1::CreateProductRequest {
            product_id: "signed".into(),
            display_name: "Signed builds".into(),
            programme_id: "teklynx-sma".into(),
            build_key_spki: build_key.public_key().to_spki_der(),
            ..Default::default()
        })
        .await
        .unwrap();
    let made = admin
        .create_license(v1::CreateLicenseRequest {
            serial: "SG-0001".into(),
            product_id: "signed".into(),
            customer_id: "baker".into(),
            protection: v1::Protection::SoftwareKey.into(),
            license_type: "single-user".into(),
            edition: "pro".into(),
            seats: 1,
            purchase_date: "2025-09-01".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let manifest = |version: &str, date: &str| {
        let claims = ReleaseManifest {
            iss: Issuer::parse("https://vendor.example").unwrap(),
            jti: ArtefactId::parse("build-1").unwrap(),
            iat: 1_780_000_000,
            product: ProductId::parse("signed").unwrap(),
            version: Version::parse(version).unwrap(),
            build_date: CivilDate::parse(date).unwrap(),
        };
        let input = SigningInput::new(build_key.public_key().thumbprint(), &claims).unwrap();
        input.seal(&build_key.sign(input.signing_bytes()))
    };
    let wish = Wish {
        serial: "SG-0001".into(),
        credential: v1::credential::Secret::ActivationCode(made.activation_code),
        product: "signed".into(),
        version: "3.1".into(),
    };
    let (mut store, client) = installation(&world, "signed").await;
    let with = |manifest: Option<String>| ActivateOptions {
        release_manifest: manifest,
        ..options(&wish)
    };
    let mut refused = async |manifest: Option<String>| {
        let error = upkeep_client::activate(&mut store, &client, &with(manifest))
            .await
            .unwrap_err();
        error.reason().unwrap_or_default().to_owned()
    };
    assert_eq!(refused(None).await, "MANIFEST_REQUIRED");
    assert_eq!(
        refused(Some(manifest("3.2", "2026-01-01"))).await,
        "MANIFEST_INVALID",
        "another version"
    );
    assert_eq!(
        refused(Some(manifest("3.1", "2026-09-01"))).await,
        "BUILD_NOT_COVERED"
    );
    let good = manifest("3.1", "2026-08-31");
    upkeep_client::activate(&mut store, &client, &with(Some(good.clone())))
        .await
        .unwrap();
    let (product, version, date) =
        upkeep_client::build_of_manifest(&good, build_key.public_key()).unwrap();
    upkeep_client::check(
        &store,
        &Build {
            product: Some(product),
            version,
            date,
        },
    )
    .unwrap();
    world.running.stop().await.unwrap();
}
