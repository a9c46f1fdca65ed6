//! Who may do what with a contract: the customer by the secret of the serial, partners for their own customers, support, admin.

use tonic::{Code, Status};
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep_server::pki::Role;

use super::{Calls, Shop, ask, on_dongle, quote, reason, refused, software};
use crate::device::{Device, Wish, request_id};

/// Every call about the license `serial`, once.
async fn probe(
    calls: &mut Calls,
    serial: &str,
    credential: Option<&v1::Credential>,
    quote_id: &str,
) -> Vec<Result<(), Status>> {
    let serial = serial.to_owned();
    let credential = credential.cloned();
    let version = "16.0".to_owned();
    macro_rules! call {
        ($method:ident, $request:expr) => {
            calls.$method($request).await.map(|_| ())
        };
    }
    vec![
        call!(
            get_maintenance,
            v1::GetMaintenanceRequest {
                serial: serial.clone(),
                credential: credential.clone(),
            }
        ),
        call!(
            get_fee_schedule,
            v1::GetFeeScheduleRequest {
                serial: serial.clone(),
                credential: credential.clone(),
                years: 1,
            }
        ),
        call!(
            create_quote,
            v1::CreateQuoteRequest {
                credential: credential.clone(),
                ..ask(&serial, 1)
            }
        ),
        call!(
            get_quote,
            v1::GetQuoteRequest {
                quote_id: quote_id.to_owned(),
                serial: serial.clone(),
                credential: credential.clone(),
            }
        ),
        call!(
            list_quotes,
            v1::ListQuotesRequest {
                serial: serial.clone(),
                credential: credential.clone(),
                ..Default::default()
            }
        ),
        call!(
            list_orders,
            v1::ListOrdersRequest {
                serial: serial.clone(),
                credential: credential.clone(),
                ..Default::default()
            }
        ),
        call!(
            check_support,
            v1::CheckSupportRequest {
                serial: serial.clone(),
                credential: credential.clone(),
                version: version.clone(),
            }
        ),
        call!(
            check_download,
            v1::CheckDownloadRequest {
                serial: serial.clone(),
                credential: credential.clone(),
                version: version.clone(),
            }
        ),
        call!(
            check_add_on,
            v1::CheckAddOnRequest {
                serial: serial.clone(),
                credential: credential.clone(),
                add_on: "mapi".into(),
                version,
            }
        ),
        call!(
            place_order,
            v1::PlaceOrderRequest {
                quote_id: quote_id.to_owned(),
                serial: serial.clone(),
                credential: credential.clone(),
                ..Default::default()
            }
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_by_what_it_proved() {
    let mut shop = Shop::open("2019-08-01").await;
    shop.release("mail-server", "16.0", "2019-08-01").await;
    let own = shop
        .sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    let foreign = shop
        .sell(software("SM-2000", "mail-server", "2018-09-01"))
        .await;
    let quoted = quote(&mut shop.root, ask("SM-1000", 1)).await.unwrap();
    let id = quoted.quote_id.as_str();

    // A partner's unknown and foreign licenses look the same.
    let strange = probe(&mut shop.other, "SM-1000", None, id).await;
    let absent = probe(&mut shop.other, "SM-9999", None, &request_id()).await;
    for (strange, absent) in strange.into_iter().zip(absent) {
        let expected = (Code::PermissionDenied, "NOT_YOUR_CUSTOMER".to_owned());
        let strange = strange.unwrap_err();
        let absent = absent.unwrap_err();
        assert_eq!(strange.message(), absent.message());
        assert_eq!((strange.code(), reason(&strange)), expected);
        assert_eq!((absent.code(), reason(&absent)), expected);
    }
    // Without a certificate, and without the right secret.
    for answer in probe(&mut shop.customer, "SM-1000", None, id).await {
        assert_eq!(reason(&answer.unwrap_err()), "MISSING_FIELD");
    }
    for answer in probe(&mut shop.customer, "SM-1000", Some(&foreign), id).await {
        let answer = answer.unwrap_err();
        assert!(
            ["CREDENTIAL_INVALID", "TOO_MANY_TRIES"].contains(&reason(&answer).as_str()),
            "{answer}"
        );
    }
    // Support and administrators get everything; what is not there is not there.
    for calls in [&mut shop.staff, &mut shop.root] {
        for answer in probe(calls, "SM-9999", None, &request_id()).await {
            assert_eq!(refused(answer), (Code::NotFound, "NOT_FOUND".into()));
        }
    }
    assert_eq!(shop.last_date("SM-1000").await, "2019-08-31");
    for answer in probe(&mut shop.acme, "SM-1000", None, id).await {
        answer.unwrap();
    }
    assert_eq!(shop.last_date("SM-1000").await, "2020-08-31");

    // A certificate needs no secret, and a wrong one beside it changes nothing.
    let request = v1::GetMaintenanceRequest {
        serial: "SM-1000".into(),
        credential: Some(foreign),
    };
    shop.staff.get_maintenance(request).await.unwrap();
    shop.world.set_day("2019-08-02");
    let request = v1::GetMaintenanceRequest {
        serial: "SM-1000".into(),
        credential: Some(own),
    };
    let seen = shop.customer.get_maintenance(request).await.unwrap();
    assert_eq!(seen.into_inner().contract.unwrap().last_date, "2020-08-31");
    shop.stop().await;
}

/// A partner is no support: quotes are answered by the vendor.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_vendor_answers_quotes_and_keeps_prices() {
    let shop = Shop::open("2019-08-01").await;
    let acme = shop.world.staff(Role::Partner, "acme").await;
    let eva = shop.world.staff(Role::Support, "eva").await;
    let expected = (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned());
    let answer = SupportServiceClient::new(acme)
        .answer_quote(v1::AnswerQuoteRequest::default())
        .await;
    assert_eq!(refused(answer), expected);
    let import = AdminServiceClient::new(eva)
        .import_prices(v1::ImportPricesRequest::default())
        .await;
    assert_eq!(refused(import), expected);
    shop.stop().await;
}

/// the code on a machine's screen is enough to ask, and binds nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_code_asks_and_does_not_order() {
    let mut shop = Shop::open("2019-08-01").await;
    shop.release("mail-server", "16.0", "2019-08-01").await;
    let own = shop
        .sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    let wish = Wish {
        serial: "SM-1000".into(),
        credential: own.secret.clone().unwrap(),
        product: "mail-server".into(),
        version: "16.0".into(),
    };
    let mut api = shop.world.api().await;
    let activated = Device::new()
        .activate(&mut api, &wish, &request_id())
        .await
        .unwrap();
    let shown = v1::Credential {
        secret: Some(v1::credential::Secret::ProductCode(activated.product_code)),
    };

    let asked = v1::CreateQuoteRequest {
        credential: Some(shown.clone()),
        ..ask("SM-1000", 1)
    };
    let quoted = quote(&mut shop.customer, asked).await.unwrap();
    let by = |credential: &v1::Credential| v1::PlaceOrderRequest {
        quote_id: quoted.quote_id.clone(),
        serial: "SM-1000".into(),
        credential: Some(credential.clone()),
        ..Default::default()
    };
    let placed = shop.customer.place_order(by(&shown)).await;
    let expected = (Code::InvalidArgument, "CREDENTIAL_KIND_MISMATCH".into());
    assert_eq!(refused(placed), expected);
    let request = v1::CancelMaintenanceRequest {
        serial: "SM-1000".into(),
        credential: Some(shown),
        ..Default::default()
    };
    let cancelled = shop.customer.cancel_maintenance(request).await;
    assert_eq!(reason(&cancelled.unwrap_err()), "CREDENTIAL_KIND_MISMATCH");
    shop.customer.place_order(by(&own)).await.unwrap();
    shop.stop().await;
}

/// A hardware key's number is printed on it: whoever reads it makes up for no guess at a code.
#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_a_hardware_key_buys_no_guesses() {
    let mut shop = Shop::open("2019-06-01").await;
    let number = shop
        .sell(on_dongle("VOL-1", "volocity", "VH-1", "2018-09-01"))
        .await;
    let guess = v1::Credential {
        secret: Some(v1::credential::Secret::DongleNumber("VH-2".into())),
    };
    let mut told = Vec::new();
    for _ in 0..12 {
        for credential in [&guess, &number] {
            let asked = v1::GetMaintenanceRequest {
                serial: "VOL-1".into(),
                credential: Some(credential.clone()),
            };
            let answer = shop.customer.get_maintenance(asked).await;
            told.push(answer.map_or_else(|refused| reason(&refused), |_| String::new()));
        }
    }
    assert_eq!(told[1], "", "{told:?}");
    assert_eq!(told.last().unwrap(), "TOO_MANY_TRIES", "{told:?}");
    shop.stop().await;
}
