//! Licenses on one hardware key: renewed together, brought to one end date, all or none (P-04 to P-07, N-07).

use tonic::Code;
use tonic_types::StatusExt;
use upkeep::rpc::v1;
use upkeep_server::pki::Role;

use super::{Shop, ask, buy, fact, fields, lines, on_dongle, order, price, quote, reason, refused};

fn group(serial: &str, terms: u32) -> v1::CreateQuoteRequest {
    v1::CreateQuoteRequest {
        dongle_group: true,
        ..ask(serial, terms)
    }
}

fn join(serial: &str) -> v1::CreateQuoteRequest {
    v1::CreateQuoteRequest {
        add_to_group: true,
        ..ask(serial, 0)
    }
}

/// P-04: one order renews every license of the key, or none.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_renewed_as_a_whole() {
    let mut shop = Shop::open("2019-06-01").await;
    shop.sell(on_dongle("OL-1", "openlab", "d-1", "2018-09-01"))
        .await;
    shop.sell(on_dongle("VO-1", "volocity", "d-1", "2018-09-01"))
        .await;
    let alone = quote(&mut shop.acme, ask("OL-1", 1)).await.unwrap_err();
    assert_eq!(reason(&alone), "COTERM_INCOMPLETE");
    assert_eq!(fact(&alone, "missing"), "VO-1");
    let strange = v1::CreateQuoteRequest {
        serials: vec!["XX-9".into(), "VO-1".into()],
        ..ask("OL-1", 1)
    };
    let strange = quote(&mut shop.acme, strange).await;
    assert_eq!(refused(strange), (Code::NotFound, "NOT_FOUND".into()));
    let named = v1::CreateQuoteRequest {
        serials: vec!["VO-1".into()],
        ..ask("OL-1", 1)
    };
    // The number that is given has to be the key's, whether a person prices the quote or not.
    let wrong = v1::CreateQuoteRequest {
        dongle_number: "d-2".into(),
        ..named.clone()
    };
    let wrong = quote(&mut shop.acme, wrong).await.unwrap_err();
    assert_eq!(fields(&wrong), ["dongle_number"]);
    let quoted = quote(&mut shop.acme, named).await.unwrap();
    // D54, D92: the yearly price of each.
    let expected = [
        ("OL-1", "2019-09-01", "2020-08-31", Some(120_000)),
        ("VO-1", "2019-09-01", "2020-08-31", Some(280_000)),
    ];
    assert_eq!(lines(&quoted.lines), expected);
    assert_eq!(quoted.total.clone().unwrap().minor_units, 400_000);
    order(&mut shop.acme, &quoted, "").await.unwrap();
    for serial in ["OL-1", "VO-1"] {
        assert_eq!(shop.last_date(serial).await, "2020-08-31");
        let list = v1::ListOrdersRequest {
            serial: serial.into(),
            ..Default::default()
        };
        let listed = shop.acme.list_orders(list).await.unwrap().into_inner();
        assert_eq!(listed.orders.len(), 1, "{serial}");
    }
    let twice = buy(&mut shop.acme, group("VO-1", 2)).await;
    assert_eq!(twice.total.unwrap().minor_units, 800_000);
    assert_eq!(shop.last_date("OL-1").await, "2022-08-31");
    shop.stop().await;
}

/// D50, P-06: the others buy the months up to the end of the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_license_that_joins_brings_the_others_up() {
    let mut shop = Shop::open("2019-03-15").await;
    shop.sell(on_dongle("OL-1", "openlab", "d-1", "2018-09-01"))
        .await;
    let single = quote(&mut shop.acme, join("OL-1")).await;
    assert_eq!(reason(&single.unwrap_err()), "COVER_STILL_ACTIVE");
    shop.sell(on_dongle("VO-1", "volocity", "d-1", "2019-03-15"))
        .await;
    let quoted = quote(&mut shop.acme, join("VO-1")).await.unwrap();
    assert_eq!(quoted.kind(), v1::PurchaseKind::CoTermination);
    let expected = [("OL-1", "2019-09-01", "2020-03-14", Some(70_000))];
    assert_eq!(lines(&quoted.lines), expected);
    assert_eq!(quoted.lines.first().unwrap().months, 7);

    // Another license joins before the order: what was quoted no longer makes one date.
    shop.world.set_day("2019-04-10");
    shop.sell(on_dongle("VO-2", "volocity", "d-1", "2019-04-10"))
        .await;
    let late = order(&mut shop.acme, &quoted, "").await.unwrap_err();
    assert_eq!(reason(&late), "QUOTE_OUTDATED");
    assert_eq!(shop.last_date("OL-1").await, "2019-08-31");

    let placed = buy(&mut shop.acme, join("VO-2")).await;
    assert_eq!(placed.lines.len(), 2);
    for serial in ["OL-1", "VO-1", "VO-2"] {
        assert_eq!(shop.last_date(serial).await, "2020-04-09");
    }
    let done = quote(&mut shop.acme, join("VO-2")).await.unwrap_err();
    assert_eq!(reason(&done), "COVER_STILL_ACTIVE");
    let software = super::software("OL-9", "openlab", "2019-03-15");
    shop.sell(software).await;
    let none = quote(&mut shop.acme, join("OL-9")).await.unwrap_err();
    assert_eq!(fields(&none), ["add_to_group"]);
    shop.stop().await;
}

/// A license alone on its key costs what it costs beside others, however it is asked for; without a price a person quotes.
#[tokio::test(flavor = "multi_thread")]
async fn one_license_alone_is_a_group_of_one() {
    let mut shop = Shop::open("2019-06-01").await;
    let unpriced = v1::CreateProductRequest {
        product_id: "phylum".into(),
        display_name: "Phylum".into(),
        programme_id: "perkinelmer-sma".into(),
        ..Default::default()
    };
    shop.admin.create_product(unpriced).await.unwrap();
    shop.sell(on_dongle("OL-1", "openlab", "d-1", "2018-09-01"))
        .await;
    shop.sell(on_dongle("PH-1", "phylum", "d-2", "2018-09-01"))
        .await;
    for request in [ask("OL-1", 2), group("OL-1", 2)] {
        let quoted = quote(&mut shop.acme, request).await.unwrap();
        assert_eq!(quoted.state(), v1::QuoteState::Quoted);
        let expected = [("OL-1", "2019-09-01", "2021-08-31", Some(240_000))];
        assert_eq!(lines(&quoted.lines), expected);
    }
    for request in [ask("PH-1", 1), group("PH-1", 1)] {
        let request = v1::CreateQuoteRequest {
            contact: "Dr. Ada Okafor, ada@lab.example".into(),
            dongle_number: "d-2".into(),
            ..request
        };
        // Staff may have two that wait; everybody else has one.
        let quoted = quote(&mut shop.staff, request).await.unwrap();
        assert_eq!(quoted.state(), v1::QuoteState::Pending);
        let expected = [("PH-1", "2019-09-01", "2020-08-31", None)];
        assert_eq!(lines(&quoted.lines), expected);
    }
    let early = v1::CreateQuoteRequest {
        kind: v1::PurchaseKind::Reinstatement.into(),
        ..ask("OL-1", 1)
    };
    let early = quote(&mut shop.acme, early).await.unwrap_err();
    assert_eq!(reason(&early), "COVER_STILL_ACTIVE");
    assert_eq!(fact(&early, "last_day"), "2019-08-31");
    // After a lapse the years ahead cost what they are sold for.
    shop.world.set_day("2019-11-01");
    let back = quote(&mut shop.acme, ask("OL-1", 1)).await.unwrap();
    assert_eq!(back.kind(), v1::PurchaseKind::Reinstatement);
    let ahead = v1::GetFeeScheduleRequest {
        serial: "OL-1".into(),
        credential: None,
        years: 1,
    };
    let ahead = shop.acme.get_fee_schedule(ahead).await.unwrap();
    let ahead = ahead.into_inner().years;
    assert_eq!(ahead[0].amount, back.lines[0].amount);
    assert!(ahead[0].amount.is_some());
    shop.stop().await;
}

/// With every license over, there is no day to bring the others up to.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_joins_a_key_whose_cover_is_over() {
    let mut shop = Shop::open("2019-03-15").await;
    shop.sell(on_dongle("OL-1", "openlab", "d-1", "2018-09-01"))
        .await;
    shop.sell(on_dongle("VO-1", "volocity", "d-1", "2019-03-15"))
        .await;
    shop.world.set_day("2020-03-15");
    for serial in ["OL-1", "VO-1"] {
        let over = quote(&mut shop.acme, join(serial)).await.unwrap_err();
        assert_eq!(reason(&over), "REINSTATEMENT_REQUIRED");
        assert_eq!(fact(&over, "last_day"), "2020-03-14");
    }
    shop.stop().await;
}

/// The licenses on a key are bought for by one set of rules.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_follows_one_programme() {
    let mut shop = Shop::open("2019-06-01").await;
    shop.sell(on_dongle("OL-1", "openlab", "d-1", "2018-09-01"))
        .await;
    let other = || on_dongle("PB-1", "probox", "d-1", "2019-06-01");
    let mixed = shop.admin.create_license(other()).await.unwrap_err();
    assert_eq!(fields(&mixed), ["dongle_number"]);
    let why = mixed.get_details_bad_request().unwrap().field_violations;
    assert!(
        why[0].description.contains("perkinelmer-sma"),
        "{}",
        why[0].description
    );
    // What was withdrawn is on no key any more.
    let revoke = v1::RevokeLicenseRequest {
        serial: "OL-1".into(),
        reason: "fraud".into(),
        ..Default::default()
    };
    shop.admin.revoke_license(revoke).await.unwrap();
    shop.sell(other()).await;
    shop.stop().await;
}

/// A key that got its licenses before that was checked is left to a person.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_two_programmes_is_for_the_vendor() {
    let mut shop = Shop::open("2019-06-01").await;
    shop.sell(on_dongle("OL-1", "openlab", "d-1", "2018-09-01"))
        .await;
    shop.sell(on_dongle("PB-1", "probox", "d-2", "2018-09-01"))
        .await;
    // Table w lists the licenses of a key.
    let world = shop.world.rewritten(|tx| {
        for (mut key, value) in tx.scan(b"w", b"x", 10)? {
            if key.ends_with(b"OL-1") {
                key.truncate(key.len() - b"OL-1".len());
                key.extend(b"PB-1");
                tx.put(key, value);
            }
        }
        Ok(())
    });
    let world = world.await;
    let mut staff = super::Calls::new(world.staff(Role::Support, "eva").await);
    for request in [ask("OL-1", 1), group("OL-1", 1), join("OL-1")] {
        let mixed = quote(&mut staff, request).await.unwrap_err();
        assert_eq!(reason(&mixed), "REFER_TO_VENDOR");
        assert_eq!(fact(&mixed, "serial"), "PB-1");
    }
    world.running.stop().await.unwrap();
}

/// One member that can't be bought for leaves all of them as they are.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_never_half_written() {
    let mut shop = Shop::open("2019-06-01").await;
    shop.sell(on_dongle("OL-1", "openlab", "d-1", "2018-09-01"))
        .await;
    shop.sell(on_dongle("OL-2", "openlab", "d-1", "2018-09-01"))
        .await;
    shop.sell(on_dongle("VO-1", "volocity", "d-1", "2018-09-01"))
        .await;
    let quoted = quote(&mut shop.acme, group("OL-1", 1)).await.unwrap();
    // The last of them, by serial, is withdrawn between quote and order.
    let revoke = v1::RevokeLicenseRequest {
        serial: "VO-1".into(),
        reason: "fraud".into(),
        ..Default::default()
    };
    shop.admin.revoke_license(revoke).await.unwrap();
    let refusal = order(&mut shop.acme, &quoted, "").await.unwrap_err();
    assert_eq!(reason(&refusal), "QUOTE_OUTDATED");
    assert_eq!(fact(&refusal, "serial"), "VO-1");
    for serial in ["OL-1", "OL-2", "VO-1"] {
        assert_eq!(shop.last_date(serial).await, "2019-08-31");
    }
    let list = v1::ListOrdersRequest {
        serial: "OL-1".into(),
        ..Default::default()
    };
    let listed = shop.acme.list_orders(list).await.unwrap().into_inner();
    assert!(listed.orders.is_empty());
    // Without the withdrawn one it goes on.
    buy(&mut shop.acme, group("OL-1", 1)).await;
    assert_eq!(shop.last_date("OL-2").await, "2020-08-31");
    shop.stop().await;
}

/// A partner sees and buys for its own customers only, also beside them on the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_foreign_licenses_is_for_the_vendor() {
    let mut shop = Shop::open("2019-06-01").await;
    let own = shop
        .sell(on_dongle("OL-1", "openlab", "d-1", "2018-09-01"))
        .await;
    shop.sell(v1::CreateLicenseRequest {
        customer_id: "rival".into(),
        ..on_dongle("VO-1", "volocity", "d-1", "2018-09-01")
    })
    .await;
    let partner = quote(&mut shop.acme, group("OL-1", 1)).await;
    let expected = (Code::PermissionDenied, "NOT_YOUR_CUSTOMER".into());
    assert_eq!(refused(partner), expected);
    let customer = v1::CreateQuoteRequest {
        credential: Some(own),
        ..group("OL-1", 1)
    };
    let customer = quote(&mut shop.customer, customer).await;
    let expected = (Code::FailedPrecondition, "REFER_TO_VENDOR".into());
    assert_eq!(refused(customer), expected);
    quote(&mut shop.staff, group("OL-1", 1)).await.unwrap();
    shop.stop().await;
}

/// P-17: with the number of the key, the serial of another customer's license is that customer's credential. It is told to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_key_tells_no_customer_of_the_others() {
    let mut shop = Shop::open("2019-06-01").await;
    shop.sell(on_dongle("OL-1", "openlab", "d-1", "2018-09-01"))
        .await;
    let baker = v1::CreateLicenseRequest {
        customer_id: "baker".into(),
        ..on_dongle("VO-1", "volocity", "d-1", "2018-09-01")
    };
    let baker = shop.sell(baker).await;
    // Both are this partner's customers, and still it is the vendor who sells to both at once.
    let partner = quote(&mut shop.acme, group("OL-1", 1)).await;
    let expected = (Code::FailedPrecondition, "REFER_TO_VENDOR".into());
    assert_eq!(refused(partner), expected);
    let quoted = quote(&mut shop.staff, group("OL-1", 1)).await.unwrap();
    let of_baker = quote(&mut shop.staff, group("VO-1", 1)).await.unwrap();

    let list = v1::ListQuotesRequest {
        serial: "VO-1".into(),
        credential: Some(baker.clone()),
        ..Default::default()
    };
    let seen = shop.customer.list_quotes(list.clone()).await.unwrap();
    assert_eq!(seen.into_inner().quotes, []);
    let seen = shop.staff.list_quotes(list).await.unwrap().into_inner();
    assert_eq!(seen.quotes.len(), 2);
    for quote_id in [&quoted.quote_id, &of_baker.quote_id] {
        let read = v1::GetQuoteRequest {
            quote_id: quote_id.clone(),
            serial: "VO-1".into(),
            credential: Some(baker.clone()),
        };
        let read = shop.customer.get_quote(read).await;
        assert_eq!(refused(read), (Code::NotFound, "NOT_FOUND".into()));
    }
    let by_baker = v1::PlaceOrderRequest {
        quote_id: of_baker.quote_id.clone(),
        serial: "VO-1".into(),
        credential: Some(baker.clone()),
        ..Default::default()
    };
    let by_baker = shop.customer.place_order(by_baker).await;
    assert_eq!(refused(by_baker), (Code::NotFound, "NOT_FOUND".into()));

    let placed = order(&mut shop.staff, &quoted, "").await.unwrap();
    let list = v1::ListOrdersRequest {
        serial: "VO-1".into(),
        credential: Some(baker.clone()),
        ..Default::default()
    };
    let seen = shop.customer.list_orders(list).await.unwrap();
    assert_eq!(seen.into_inner().orders, []);
    let read = v1::GetOrderRequest {
        order_id: placed.order.unwrap().order_id,
        serial: "VO-1".into(),
        credential: Some(baker),
    };
    let read = shop.customer.get_order(read).await;
    assert_eq!(refused(read), (Code::NotFound, "NOT_FOUND".into()));
    assert_eq!(shop.last_date("VO-1").await, "2020-08-31");
    shop.stop().await;
}

/// The largest key: fifty licenses in one transaction, and no fifty-first.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_licenses_are_renewed_at_once() {
    let mut shop = Shop::open("2019-06-01").await;
    let import = v1::ImportPricesRequest {
        prices: vec![price("openlab", v1::PriceItem::Sma, "", 120_000, "GBP")],
        ..Default::default()
    };
    shop.admin.import_prices(import).await.unwrap();
    for number in 0..50 {
        let serial = format!("OL-{number:03}");
        shop.sell(on_dongle(&serial, "openlab", "d-1", "2018-09-01"))
            .await;
    }
    let one_more = on_dongle("OL-999", "openlab", "d-1", "2018-09-01");
    let full = shop.admin.create_license(one_more).await.unwrap_err();
    assert_eq!(fields(&full), ["dongle_number"]);
    let placed = buy(&mut shop.acme, group("OL-000", 1)).await;
    assert_eq!(placed.lines.len(), 50);
    assert_eq!(placed.total.unwrap().minor_units, 50 * 120_000);
    assert_eq!(shop.last_date("OL-049").await, "2020-08-31");
    shop.stop().await;
}
