//! ImportPrices and ListPrices.

use upkeep::rpc::v1;

use super::{Shop, ask, fields, money, price, quote, reason, software};

fn import(prices: Vec<v1::Price>) -> v1::ImportPricesRequest {
    v1::ImportPricesRequest {
        prices,
        ..Default::default()
    }
}

fn listed(minor_units: i64, from: &str) -> v1::Price {
    v1::Price {
        valid_from_date: from.into(),
        ..price(
            "mail-server",
            v1::PriceItem::License,
            "",
            minor_units,
            "USD",
        )
    }
}

/// N-08: the most specific price, the newest of those that hold; seats count.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_price_is_that_of_the_day_and_size() {
    let mut shop = Shop::open("2019-08-01").await;
    let network = v1::Price {
        edition: "pro".into(),
        license_type: "network".into(),
        unit: v1::PriceUnit::License.into(),
        ..listed(1_000_000, "2000-01-01")
    };
    let pro = v1::Price {
        edition: "pro".into(),
        ..listed(60_000, "2001-01-01")
    };
    let prices = vec![listed(50_000, "2019-08-02"), network, pro];
    let answer = shop.admin.import_prices(import(prices)).await.unwrap();
    assert_eq!(answer.into_inner().added, 3);
    let sized = |serial: &str, edition: &str, license_type: &str, seats| v1::CreateLicenseRequest {
        edition: edition.into(),
        license_type: license_type.into(),
        seats,
        ..software(serial, "mail-server", "2018-09-01")
    };
    for (serial, edition, license_type, seats, half) in [
        ("SM-1", "basic", "single-user", 1, 19_950),
        ("SM-2", "basic", "single-user", 10, 199_500),
        ("SM-3", "pro", "single-user", 2, 60_000),
        ("SM-4", "pro", "network", 10, 500_000),
    ] {
        shop.sell(sized(serial, edition, license_type, seats)).await;
        let quoted = quote(&mut shop.acme, ask(serial, 1)).await.unwrap();
        assert_eq!(quoted.total.unwrap(), money(half, "USD"), "{serial}");
    }
    shop.world.set_day("2019-08-02");
    let later = quote(&mut shop.acme, ask("SM-1", 1)).await.unwrap();
    assert_eq!(later.total.unwrap(), money(25_000, "USD"));
    shop.stop().await;
}

/// Amounts that are in the book stay, unless they do not hold yet and a replacement is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_was_used_is_never_changed() {
    let mut shop = Shop::open("2019-08-01").await;
    let first = vec![listed(40_000, "2019-09-01"), listed(45_000, "2019-01-01")];
    let done = shop
        .admin
        .import_prices(import(first.clone()))
        .await
        .unwrap();
    assert_eq!(done.into_inner().added, 2);
    let again = shop.admin.import_prices(import(first)).await.unwrap();
    let again = again.into_inner();
    assert_eq!((again.added, again.replaced, again.unchanged), (0, 0, 2));

    let changed = vec![listed(41_000, "2019-09-01")];
    let refused = shop.admin.import_prices(import(changed.clone())).await;
    assert_eq!(fields(&refused.unwrap_err()), ["prices[0].amount"]);
    let replace = v1::ImportPricesRequest {
        replace: true,
        ..import(changed)
    };
    let done = shop.admin.import_prices(replace).await.unwrap();
    assert_eq!(done.into_inner().replaced, 1);
    let used = v1::ImportPricesRequest {
        replace: true,
        ..import(vec![listed(46_000, "2019-01-01")])
    };
    let refused = shop.admin.import_prices(used).await.unwrap_err();
    assert_eq!(fields(&refused), ["prices[0].amount"]);
    // What holds since this morning may be in a quote already.
    shop.world.set_day("2019-09-01");
    let today = v1::ImportPricesRequest {
        replace: true,
        ..import(vec![listed(42_000, "2019-09-01")])
    };
    let refused = shop.admin.import_prices(today).await.unwrap_err();
    assert_eq!(fields(&refused), ["prices[0].amount"]);
    shop.stop().await;
}

/// All or none, everything wrong at once; a dry run lists it.
#[tokio::test(flavor = "multi_thread")]
async fn bad_prices_are_named_and_nothing_is_written() {
    let mut shop = Shop::open("2019-08-01").await;
    let product = v1::CreateProductRequest {
        product_id: "fresh".into(),
        display_name: "Fresh".into(),
        programme_id: "smartertools-ms".into(),
        ..Default::default()
    };
    shop.admin.create_product(product).await.unwrap();
    let fresh = |minor_units, currency: &str| v1::Price {
        product_id: "fresh".into(),
        amount: Some(money(minor_units, currency)),
        ..listed(0, "2019-01-01")
    };
    let prices = vec![
        fresh(10, "USD"),
        fresh(20, "EUR"),
        v1::Price {
            product_id: "absent".into(),
            ..fresh(10, "USD")
        },
        fresh(30, "USD"),
    ];
    let refused = shop
        .admin
        .import_prices(import(prices.clone()))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "INVALID_FIELD");
    let expected = [
        "prices[1].amount",
        "prices[2].product_id",
        "prices[3].valid_from_date",
    ];
    assert_eq!(fields(&refused), expected);
    let currencies = import(prices[..2].to_vec());
    let refused = shop.admin.import_prices(currencies).await.unwrap_err();
    assert_eq!(reason(&refused), "CURRENCY_MISMATCH");
    let dry = v1::ImportPricesRequest {
        dry_run: true,
        ..import(prices)
    };
    let problems = shop
        .admin
        .import_prices(dry)
        .await
        .unwrap()
        .into_inner()
        .problems;
    let places: Vec<_> = problems
        .iter()
        .map(|one| (one.index, one.field.as_str()))
        .collect();
    assert_eq!(
        places,
        [(1, "amount"), (2, "product_id"), (3, "valid_from_date")]
    );

    let malformed = v1::Price {
        item_id: "x".into(),
        valid_from_date: "2019-02-30".into(),
        unit: 0,
        amount: Some(money(-5, "USD")),
        ..fresh(1, "USD")
    };
    let refused = shop
        .admin
        .import_prices(import(vec![malformed]))
        .await
        .unwrap_err();
    let expected = [
        "prices[0].item_id",
        "prices[0].unit",
        "prices[0].amount.minor_units",
        "prices[0].valid_from_date",
    ];
    assert_eq!(fields(&refused), expected);
    let too_many = import(vec![fresh(1, "USD"); 401]);
    let refused = shop.admin.import_prices(too_many).await.unwrap_err();
    assert_eq!(fields(&refused), ["prices"]);
    let list = v1::ListPricesRequest {
        product_id: "fresh".into(),
        ..Default::default()
    };
    let found = shop.admin.list_prices(list).await.unwrap().into_inner();
    assert!(found.prices.is_empty());
    shop.stop().await;
}

/// S-24: a reinstatement that is no dearer than a renewal is worth a warning.
#[tokio::test(flavor = "multi_thread")]
async fn a_reinstatement_that_is_no_dearer_is_told() {
    let mut shop = Shop::open("2019-08-01").await;
    // 50 % and 80 % of one cent are one cent each.
    let cheap = import(vec![listed(1, "2019-09-01"), listed(39_900, "2019-10-01")]);
    let answer = shop.admin.import_prices(cheap).await.unwrap().into_inner();
    let warned: Vec<_> = answer.warnings.iter().map(|one| one.index).collect();
    assert_eq!(warned, [0]);
    let list = v1::ListPricesRequest {
        product_id: "mail-server".into(),
        page_size: 2,
        ..Default::default()
    };
    let page = shop.admin.list_prices(list).await.unwrap().into_inner();
    let days: Vec<_> = page
        .prices
        .iter()
        .map(|one| one.valid_from_date.as_str())
        .collect();
    assert_eq!(days, ["2000-01-01", "2019-09-01"]);
    let rest = v1::ListPricesRequest {
        product_id: "mail-server".into(),
        page_size: 2,
        page_token: page.next_page_token,
    };
    let rest = shop.admin.list_prices(rest).await.unwrap().into_inner();
    assert_eq!(rest.prices.len(), 1);
    shop.stop().await;
}
