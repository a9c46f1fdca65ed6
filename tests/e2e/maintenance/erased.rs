//! A customer whose key was deleted: its data is gone from every copy, and does not come back (DESIGN 6).

use tonic::Code;
use upkeep::rpc::v1;

use super::{Shop, ask, on_dongle, refused, software};

#[tokio::test(flavor = "multi_thread")]
async fn erased_data_does_not_come_back() {
    let mut shop = Shop::open("2019-08-01").await;
    shop.sell(on_dongle("OL-1000", "openlab", "d-1001", "2018-09-01"))
        .await;
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    let keys = shop.world.settings.data_dir.join("keys/customers");
    let key = keys.join("lab.key");
    std::fs::remove_file(&key).unwrap();

    let again = v1::CreateCustomerRequest {
        customer_id: "lab".into(),
        display_name: "lab".into(),
        email: "new@lab.example".into(),
        ..Default::default()
    };
    let made = shop.admin.create_customer(again).await;
    assert_eq!(
        refused(made),
        (Code::AlreadyExists, "ALREADY_EXISTS".into())
    );
    assert!(!key.exists(), "its key is there again");

    // Its licenses are still read, and nothing personal is taken for them.
    let asked = v1::CreateQuoteRequest {
        contact: "it@lab.example".into(),
        dongle_number: "d-1001".into(),
        ..ask("OL-1000", 1)
    };
    let quoted = shop.acme.create_quote(asked).await;
    let expected = (Code::FailedPrecondition, "REFER_TO_VENDOR".into());
    assert_eq!(refused(quoted), expected);

    std::fs::remove_file(keys.join("partner@acme.key")).unwrap();
    let back = v1::UpdatePartnerRequest {
        partner_id: "acme".into(),
        email: Some("back@acme.example".into()),
        ..Default::default()
    };
    let updated = shop.admin.update_partner(back).await;
    assert_eq!(refused(updated), (Code::NotFound, "NOT_FOUND".into()));
    shop.stop().await;
}
