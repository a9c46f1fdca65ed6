//! PlaceOrder, GetOrder and ListOrders.

use tonic::Code;
use upkeep::rpc::v1;

use super::{Shop, ask, buy, fact, lines, order, quote, reason, refused, software};
use crate::device::request_id;

/// S-15, N-12: an order adds the terms, and is on record.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_adds_the_terms_once() {
    let mut shop = Shop::open("2019-07-01").await;
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    let quoted = quote(&mut shop.acme, ask("SM-1000", 1)).await.unwrap();
    let id = request_id();
    let first = order(&mut shop.acme, &quoted, &id).await.unwrap();
    let again = order(&mut shop.acme, &quoted, &id).await.unwrap();
    assert_eq!(first.order, again.order);
    let placed = first.order.unwrap();
    assert_eq!(placed.purchase_reference, "PO-4711");
    assert_eq!(placed.placed_by, "partner/acme");
    assert_eq!(placed.purchase_date, "2019-07-01");
    assert_eq!(first.contract.unwrap().last_date, "2020-08-31");
    assert_eq!(shop.last_date("SM-1000").await, "2020-08-31");

    let other = order(&mut shop.acme, &quoted, &request_id())
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    assert_eq!(reason(&other), "QUOTE_ORDERED");
    assert_eq!(fact(&other, "order_id"), placed.order_id);

    let read = v1::GetOrderRequest {
        order_id: placed.order_id.clone(),
        ..Default::default()
    };
    let read = shop.staff.get_order(read).await.unwrap().into_inner();
    assert_eq!(read.order.unwrap(), placed);
    let list = v1::ListOrdersRequest {
        serial: "SM-1000".into(),
        ..Default::default()
    };
    let listed = shop.acme.list_orders(list).await.unwrap().into_inner();
    assert_eq!(listed.orders, [placed]);
    // The window is closed again (D08).
    let next = quote(&mut shop.acme, ask("SM-1000", 1)).await;
    let expected = (Code::FailedPrecondition, "RENEWAL_TOO_EARLY".into());
    assert_eq!(refused(next), expected);
    shop.stop().await;
}

/// Decided again on the day of the order: what has changed since is not ordered.
#[tokio::test(flavor = "multi_thread")]
async fn a_quote_that_is_no_longer_true_is_not_ordered() {
    let mut shop = Shop::open("2019-08-30").await;
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    shop.sell(software("SM-2000", "mail-server", "2018-09-01"))
        .await;
    let renewal = quote(&mut shop.acme, ask("SM-1000", 1)).await.unwrap();
    let twin = quote(&mut shop.acme, ask("SM-1000", 1)).await.unwrap();
    let moved = quote(&mut shop.acme, ask("SM-2000", 1)).await.unwrap();

    // Another quote of the same license was ordered.
    order(&mut shop.acme, &twin, "").await.unwrap();
    let outdated = (Code::FailedPrecondition, "QUOTE_OUTDATED".to_owned());
    assert_eq!(refused(order(&mut shop.acme, &renewal, "").await), outdated);

    // An administrator added terms.
    let add = v1::AddMaintenanceTermsRequest {
        serial: "SM-2000".into(),
        terms: 1,
        ..Default::default()
    };
    let before = quote(&mut shop.root, ask("SM-2000", 1)).await.unwrap();
    shop.admin.add_maintenance_terms(add).await.unwrap();
    let refusal = order(&mut shop.acme, &before, "").await.unwrap_err();
    assert!(
        ["QUOTE_OUTDATED", "RENEWAL_TOO_EARLY"].contains(&reason(&refusal).as_str()),
        "{refusal}"
    );

    // The renewal has become a reinstatement.
    let terminate = v1::TerminateMaintenanceRequest {
        serial: "SM-2000".into(),
        reason: "refund".into(),
        ..Default::default()
    };
    shop.admin.terminate_maintenance(terminate).await.unwrap();
    assert_eq!(refused(order(&mut shop.acme, &moved, "").await), outdated);
    assert_eq!(shop.last_date("SM-2000").await, "");
    shop.stop().await;
}

/// S-22: on the day after, the same terms are another purchase.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_not_ordered_after_the_end() {
    let mut shop = Shop::open("2019-08-31").await;
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    let renewal = quote(&mut shop.acme, ask("SM-1000", 1)).await.unwrap();
    shop.world.set_day("2019-09-01");
    let late = order(&mut shop.acme, &renewal, "").await.unwrap_err();
    assert_eq!(reason(&late), "QUOTE_OUTDATED");
    assert_eq!(fact(&late, "kind"), "reinstatement");
    assert_eq!(shop.last_date("SM-1000").await, "2019-08-31");

    // S-23: a reinstatement starts with its purchase, at the price that was promised.
    let reinstatement = quote(&mut shop.acme, ask("SM-1000", 1)).await.unwrap();
    shop.world.set_day("2019-09-20");
    let placed = order(&mut shop.acme, &reinstatement, "").await.unwrap();
    let placed = placed.order.unwrap();
    let expected = [("SM-1000", "2019-09-20", "2020-09-19", Some(31_920))];
    assert_eq!(lines(&placed.lines), expected);
    shop.stop().await;
}

/// Two orders on one quote at the same time: one is placed.
#[tokio::test(flavor = "multi_thread")]
async fn two_orders_race_and_one_wins() {
    let mut shop = Shop::open("2019-07-01").await;
    for round in 0..8 {
        let serial = format!("SM-{}", 1_000 + round);
        shop.sell(software(&serial, "mail-server", "2018-09-01"))
            .await;
        let quoted = quote(&mut shop.acme, ask(&serial, 1)).await.unwrap();
        let (mut one, mut two) = (shop.acme.clone(), shop.staff.clone());
        let (first, second) = (request_id(), request_id());
        let (one, two) = tokio::join!(
            order(&mut one, &quoted, &first),
            order(&mut two, &quoted, &second),
        );
        let placed = [&one, &two].iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(placed, 1);
        let lost = one.err().or(two.err()).unwrap();
        assert_eq!(reason(&lost), "QUOTE_ORDERED");
        assert_eq!(shop.last_date(&serial).await, "2020-08-31");
    }
    shop.stop().await;
}

/// P-12, P-13: several terms ahead, each after the one before.
#[tokio::test(flavor = "multi_thread")]
async fn terms_bought_ahead_lose_nothing() {
    let mut shop = Shop::open("2012-06-01").await;
    let modules = vec![v1::LicenseModule {
        module_id: "vms".into(),
        count: 2,
    }];
    shop.sell(v1::CreateLicenseRequest {
        modules,
        maintenance_terms: 1,
        ..software("PB-1000", "probox", "2012-03-01")
    })
    .await;
    let placed = buy(&mut shop.acme, ask("PB-1000", 2)).await;
    // V-14: 17 % in the second contract year, 15 % in the third, of two modules at 1000.00.
    let expected = [
        ("PB-1000", "2013-03-01", "2014-02-28", Some(34_000)),
        ("PB-1000", "2014-03-01", "2015-02-28", Some(30_000)),
    ];
    assert_eq!(lines(&placed.lines), expected);
    assert_eq!(placed.total.unwrap().minor_units, 64_000);
    assert_eq!(shop.last_date("PB-1000").await, "2015-02-28");
    shop.stop().await;
}

/// What names nothing, or something of another license.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_needs_a_quote_of_its_license() {
    let mut shop = Shop::open("2019-07-01").await;
    let own = shop
        .sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    shop.sell(software("SM-2000", "mail-server", "2018-09-01"))
        .await;
    let quoted = quote(&mut shop.acme, ask("SM-2000", 1)).await.unwrap();
    let request = |quote: &str, credential: Option<&v1::Credential>| v1::PlaceOrderRequest {
        quote_id: quote.into(),
        serial: "SM-1000".into(),
        credential: credential.cloned(),
        ..Default::default()
    };
    let foreign = request(&quoted.quote_id, Some(&own));
    let foreign = shop.customer.place_order(foreign).await;
    assert_eq!(refused(foreign), (Code::NotFound, "NOT_FOUND".into()));
    let unknown = request(&request_id(), Some(&own));
    let unknown = shop.customer.place_order(unknown).await;
    assert_eq!(refused(unknown), (Code::NotFound, "NOT_FOUND".into()));
    let bare = shop
        .customer
        .place_order(request(&quoted.quote_id, None))
        .await;
    assert_eq!(
        refused(bare),
        (Code::InvalidArgument, "MISSING_FIELD".into())
    );
    let long = v1::PlaceOrderRequest {
        purchase_reference: "x".repeat(101),
        ..request("no id", Some(&own))
    };
    let long = shop.customer.place_order(long).await.unwrap_err();
    assert_eq!(super::fields(&long), ["quote_id", "purchase_reference"]);
    // The customer itself orders.
    let quoted = v1::CreateQuoteRequest {
        credential: Some(own.clone()),
        ..ask("SM-1000", 1)
    };
    let quoted = quote(&mut shop.customer, quoted).await.unwrap();
    let placed = request(&quoted.quote_id, Some(&own));
    let placed = shop
        .customer
        .place_order(placed)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(placed.order.unwrap().placed_by, "customer");
    shop.stop().await;
}
