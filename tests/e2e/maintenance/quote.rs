//! CreateQuote, GetQuote, ListQuotes and AnswerQuote.

use tonic::Code;
use upkeep::rpc::v1;

use super::{Shop, ask, fact, fields, lines, money, on_dongle, quote, reason, refused, software};
use crate::device::request_id;

/// S-14, S-15, S-20: what the day makes of it, and what that costs.
#[tokio::test(flavor = "multi_thread")]
async fn the_day_decides_between_renewal_and_reinstatement() {
    let mut shop = Shop::open("2019-06-30").await;
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    let early = quote(&mut shop.root, ask("SM-1000", 1)).await.unwrap_err();
    assert_eq!(reason(&early), "RENEWAL_TOO_EARLY");
    assert_eq!(fact(&early, "opens_on"), "2019-07-01");

    shop.world.set_day("2019-07-01");
    let renewal = quote(&mut shop.root, ask("SM-1000", 1)).await.unwrap();
    assert_eq!(renewal.kind(), v1::PurchaseKind::Renewal);
    assert_eq!(renewal.state(), v1::QuoteState::Quoted);
    let expected = [("SM-1000", "2019-09-01", "2020-08-31", Some(19_950))];
    assert_eq!(lines(&renewal.lines), expected);
    assert_eq!(renewal.total.unwrap(), money(19_950, "USD"));
    let line = renewal.lines.first().unwrap();
    assert_eq!(line.months, 12);
    assert!(line.computation.contains("50 %"), "{}", line.computation);

    shop.world.set_day("2019-11-01");
    let late = quote(&mut shop.root, ask("SM-1000", 1)).await.unwrap();
    assert_eq!(late.kind(), v1::PurchaseKind::Reinstatement);
    let expected = [("SM-1000", "2019-11-01", "2020-10-31", Some(31_920))];
    assert_eq!(lines(&late.lines), expected);
    let wanted = v1::CreateQuoteRequest {
        kind: v1::PurchaseKind::Renewal.into(),
        ..ask("SM-1000", 1)
    };
    let wrong = quote(&mut shop.root, wanted).await;
    let expected = (Code::FailedPrecondition, "REINSTATEMENT_REQUIRED".into());
    assert_eq!(refused(wrong), expected);
    shop.stop().await;
}

/// N-11, T-06, S-14: what no programme sells.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_quoted_is_refused_by_name() {
    let mut shop = Shop::open("2019-08-01").await;
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    shop.sell(software("LS-1000", "label-studio", "2018-08-01"))
        .await;
    let root = &mut shop.root;
    for (terms, code, name) in [
        (0, Code::InvalidArgument, "INVALID_TERM_COUNT"),
        (2, Code::OutOfRange, "TOO_MANY_TERMS"),
        (51, Code::OutOfRange, "TOO_MANY_TERMS"),
        (u32::MAX, Code::OutOfRange, "TOO_MANY_TERMS"),
    ] {
        let answer = quote(root, ask("SM-1000", terms)).await;
        assert_eq!(refused(answer), (code, name.to_owned()), "{terms} terms");
    }
    let gold = v1::CreateQuoteRequest {
        tier_id: "gold".into(),
        ..ask("SM-1000", 1)
    };
    let answer = quote(root, gold).await;
    assert_eq!(
        refused(answer),
        (Code::InvalidArgument, "TIER_UNKNOWN".into())
    );
    // T-12: no reinstatement is described, so a person decides.
    let lapsed = quote(root, ask("LS-1000", 1)).await;
    let expected = (Code::FailedPrecondition, "REFER_TO_VENDOR".into());
    assert_eq!(refused(lapsed), expected);
    let covered = v1::CreateQuoteRequest {
        kind: v1::PurchaseKind::Reinstatement.into(),
        ..ask("SM-1000", 1)
    };
    let expected = (Code::FailedPrecondition, "COVER_STILL_ACTIVE".into());
    assert_eq!(refused(quote(root, covered).await), expected);
    let needless = v1::CreateQuoteRequest {
        kind: v1::PurchaseKind::Upgrade.into(),
        ..ask("SM-1000", 1)
    };
    let expected = (Code::FailedPrecondition, "ILLEGAL_TRANSITION".into());
    assert_eq!(refused(quote(root, needless).await), expected);
    let mixed = v1::CreateQuoteRequest {
        dongle_group: true,
        add_to_group: true,
        ..ask("SM-1000", 1)
    };
    let mixed = quote(root, mixed).await.unwrap_err();
    assert_eq!(reason(&mixed), "INVALID_FIELD");
    let alone = v1::CreateQuoteRequest {
        dongle_group: true,
        ..ask("SM-1000", 1)
    };
    let alone = quote(root, alone).await.unwrap_err();
    assert_eq!(fields(&alone), ["dongle_group"]);
    shop.stop().await;
}

/// P-17: a person prices it; what that person needs is asked for at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_answers_what_the_programme_leaves_to_it() {
    let mut shop = Shop::open("2019-05-01").await;
    let credential = shop
        .sell(software("LS-1000", "label-studio", "2018-06-01"))
        .await;
    shop.sell(software("VO-1000", "volocity", "2018-06-01"))
        .await;
    let bare = quote(&mut shop.root, ask("VO-1000", 1)).await.unwrap_err();
    assert_eq!(reason(&bare), "MISSING_FIELD");
    assert_eq!(fields(&bare), ["contact"]);

    let asked = v1::CreateQuoteRequest {
        credential: Some(credential.clone()),
        contact: "Anna, +49 30 1234".into(),
        tier_id: "gold".into(),
        ..ask("LS-1000", 1)
    };
    let pending = quote(&mut shop.customer, asked).await.unwrap();
    assert_eq!(pending.state(), v1::QuoteState::Pending);
    assert_eq!((pending.contact.as_str(), &pending.total), ("", &None));
    let id = pending.quote_id.clone();
    let early = super::order(&mut shop.root, &pending, "").await;
    let expected = (Code::FailedPrecondition, "QUOTE_PENDING".into());
    assert_eq!(refused(early), expected);

    let read = v1::GetQuoteRequest {
        quote_id: id.clone(),
        ..Default::default()
    };
    let seen = shop.staff.get_quote(read).await.unwrap().into_inner();
    assert_eq!(seen.quote.unwrap().contact, "Anna, +49 30 1234");

    let answer = |amounts: Vec<v1::Money>| v1::AnswerQuoteRequest {
        request_id: String::new(),
        quote_id: id.clone(),
        amounts,
        reason: "list price 2019".into(),
    };
    for (amounts, name) in [
        (vec![], "MISSING_FIELD"),
        (vec![money(1, "EUR"), money(1, "EUR")], "INVALID_FIELD"),
        (vec![money(1, "USD")], "CURRENCY_MISMATCH"),
        (vec![money(-1, "EUR")], "INVALID_FIELD"),
        (vec![money(1, "XXZ")], "INVALID_FIELD"),
    ] {
        let refused = shop.support.answer_quote(answer(amounts)).await;
        assert_eq!(reason(&refused.unwrap_err()), name);
    }
    shop.world.set_day("2019-05-02");
    let priced = answer(vec![money(24_900, "EUR")]);
    let done = shop.support.answer_quote(priced.clone()).await.unwrap();
    let done = done.into_inner().quote.unwrap();
    assert_eq!(done.state(), v1::QuoteState::Quoted);
    assert_eq!(done.total.clone().unwrap(), money(24_900, "EUR"));
    assert_eq!(done.answer_reason, "list price 2019");
    let again = shop.support.answer_quote(priced).await.unwrap_err();
    assert_eq!(reason(&again), "ILLEGAL_TRANSITION");

    let placed = super::order(&mut shop.acme, &done, "").await.unwrap();
    let contract = placed.contract.unwrap();
    assert_eq!(contract.tier_id, "gold");
    assert_eq!(contract.last_date, "2020-05-31");
    shop.stop().await;
}

/// The customer sees its own quotes, by the secret of the license.
#[tokio::test(flavor = "multi_thread")]
async fn quotes_are_listed_in_pages_and_run_out() {
    let mut shop = Shop::open("2019-07-01").await;
    let credential = shop
        .sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    let foreign = shop
        .sell(software("SM-2000", "mail-server", "2018-09-01"))
        .await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(
            quote(&mut shop.root, ask("SM-1000", 1))
                .await
                .unwrap()
                .quote_id,
        );
    }
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = v1::ListQuotesRequest {
            serial: "SM-1000".into(),
            credential: Some(credential.clone()),
            page_size: 2,
            page_token,
        };
        let page = shop.customer.list_quotes(page).await.unwrap().into_inner();
        listed.extend(page.quotes.into_iter().map(|quote| quote.quote_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ids);
    let read = |serial: &str, credential: &v1::Credential| v1::GetQuoteRequest {
        quote_id: ids[0].clone(),
        serial: serial.into(),
        credential: Some(credential.clone()),
    };
    let other = shop.customer.get_quote(read("SM-2000", &foreign)).await;
    assert_eq!(reason(&other.unwrap_err()), "NOT_FOUND");
    shop.world.set_day("2019-08-15");
    let own = shop.customer.get_quote(read("SM-1000", &credential)).await;
    let own = own.unwrap().into_inner().quote.unwrap();
    assert_eq!(own.state(), v1::QuoteState::Expired);
    let late = super::order(&mut shop.root, &own, "").await;
    assert_eq!(
        refused(late),
        (Code::FailedPrecondition, "QUOTE_EXPIRED".into())
    );
    shop.stop().await;
}

/// I5: the same request id is the same quote, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_makes_no_second_quote() {
    let mut shop = Shop::open("2019-07-01").await;
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    let request = v1::CreateQuoteRequest {
        request_id: request_id(),
        ..ask("SM-1000", 1)
    };
    let first = quote(&mut shop.acme, request.clone()).await.unwrap();
    let again = quote(&mut shop.acme, request.clone()).await.unwrap();
    assert_eq!(first, again);
    let other = v1::CreateQuoteRequest {
        contact: "Anna".into(),
        ..request
    };
    let expected = (Code::AlreadyExists, "REQUEST_ID_REUSED".into());
    assert_eq!(refused(quote(&mut shop.acme, other).await), expected);
    shop.stop().await;
}

/// P-17: the vendor's desk gets one mail for a license, and not as many as somebody sends requests.
#[tokio::test(flavor = "multi_thread")]
async fn one_quote_waits_for_a_person_and_few_are_open() {
    let mut shop = Shop::open("2019-05-01").await;
    let credential = shop
        .sell(software("LS-1000", "label-studio", "2018-08-01"))
        .await;
    let asked = v1::CreateQuoteRequest {
        request_id: request_id(),
        credential: Some(credential),
        contact: "Anna".into(),
        ..ask("LS-1000", 1)
    };
    let waiting = quote(&mut shop.customer, asked.clone()).await.unwrap();
    let again = quote(&mut shop.customer, asked.clone()).await.unwrap();
    assert_eq!(waiting, again);
    let another = v1::CreateQuoteRequest {
        request_id: request_id(),
        ..asked
    };
    for calls in [&mut shop.customer, &mut shop.acme] {
        let another = quote(calls, another.clone()).await.unwrap_err();
        assert_eq!(reason(&another), "ALREADY_EXISTS");
        assert_eq!(fact(&another, "quote_id"), waiting.quote_id);
    }
    let mails = v1::ListMailsRequest::default();
    let mails = shop.admin.list_mails(mails).await.unwrap().into_inner();
    assert_eq!(mails.mails.len(), 1);
    quote(&mut shop.staff, another.clone()).await.unwrap();
    // The day after its last one.
    shop.world.set_day("2019-06-01");
    quote(&mut shop.customer, another).await.unwrap();

    shop.world.set_day("2019-07-01");
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    for _ in 0..20 {
        quote(&mut shop.acme, ask("SM-1000", 1)).await.unwrap();
    }
    let full = quote(&mut shop.acme, ask("SM-1000", 1)).await.unwrap_err();
    assert_eq!(reason(&full), "ALREADY_EXISTS");
    assert_eq!(fact(&full, "most"), "20");
    quote(&mut shop.root, ask("SM-1000", 1)).await.unwrap();
    // They run out.
    shop.world.set_day("2019-08-15");
    quote(&mut shop.acme, ask("SM-1000", 1)).await.unwrap();
    shop.stop().await;
}

/// V-07, N-15: what was paid is credited while maintenance is in force, and only then.
#[tokio::test(flavor = "multi_thread")]
async fn an_expansion_credits_what_was_paid() {
    let mut shop = Shop::open("2012-03-01").await;
    let mut new = super::price("probox", v1::PriceItem::License, "", 500_000, "EUR");
    new.edition = "enterprise".into();
    let import = v1::ImportPricesRequest {
        prices: vec![new],
        ..Default::default()
    };
    shop.admin.import_prices(import).await.unwrap();
    let modules = vec![v1::LicenseModule {
        module_id: "vms".into(),
        count: 1,
    }];
    let license = |serial: &str, terms| v1::CreateLicenseRequest {
        modules: modules.clone(),
        paid: Some(money(180_000, "EUR")),
        maintenance_terms: terms,
        ..software(serial, "probox", "2012-01-01")
    };
    shop.sell(license("PB-1000", 1)).await;
    shop.sell(license("PB-2000", 0)).await;
    let expand = |serial: &str, edition: &str| v1::CreateQuoteRequest {
        expand_to: Some(v1::Expansion {
            edition: edition.into(),
            ..Default::default()
        }),
        ..ask(serial, 0)
    };
    // D37: with the end of maintenance the credit of a quote is gone too.
    shop.sell(license("PB-3000", 1)).await;
    let ended = quote(&mut shop.acme, expand("PB-3000", "enterprise"))
        .await
        .unwrap();
    let terminate = v1::TerminateMaintenanceRequest {
        serial: "PB-3000".into(),
        reason: "refund".into(),
        ..Default::default()
    };
    shop.admin.terminate_maintenance(terminate).await.unwrap();
    let ended = super::order(&mut shop.acme, &ended, "").await;
    let outdated = (Code::FailedPrecondition, "QUOTE_OUTDATED".to_owned());
    assert_eq!(refused(ended), outdated);

    // 500000 for the system and 100000 for its module, less 180000.
    let covered = quote(&mut shop.acme, expand("PB-1000", "enterprise"))
        .await
        .unwrap();
    assert_eq!(covered.kind(), v1::PurchaseKind::Expansion);
    assert_eq!(covered.total.clone().unwrap(), money(420_000, "EUR"));
    let bare = quote(&mut shop.acme, expand("PB-2000", "enterprise"))
        .await
        .unwrap();
    assert_eq!(bare.total.unwrap(), money(600_000, "EUR"));
    let same = quote(&mut shop.acme, expand("PB-1000", "pro"))
        .await
        .unwrap_err();
    assert_eq!(fields(&same), ["expand_to"]);
    let timed = v1::CreateQuoteRequest {
        terms: 1,
        ..expand("PB-1000", "enterprise")
    };
    let timed = quote(&mut shop.acme, timed).await.unwrap_err();
    assert_eq!(fields(&timed), ["terms"]);

    // Two quotes for the same step: the second is outdated by the first one's order.
    let second = quote(&mut shop.acme, expand("PB-1000", "enterprise"))
        .await
        .unwrap();
    super::order(&mut shop.acme, &covered, "").await.unwrap();
    let late = super::order(&mut shop.acme, &second, "").await;
    assert_eq!(refused(late), outdated);
    let request = v1::AdminServiceGetLicenseRequest {
        serial: "PB-1000".into(),
    };
    let found = shop.admin.get_license(request).await.unwrap().into_inner();
    let found = found.license.unwrap();
    assert_eq!(found.edition, "enterprise");
    assert_eq!(found.paid.unwrap(), money(600_000, "EUR"));
    assert_eq!(found.maintenance.unwrap().last_date, "2012-12-31");
    shop.stop().await;
}

/// P-14: a major release in the gap is bought as an upgrade, which a person prices; cover starts with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_missed_major_release_is_bought_as_an_upgrade() {
    let mut shop = Shop::open("2019-10-01").await;
    shop.release("volocity", "5.0", "2017-01-01").await;
    shop.release("volocity", "6.0", "2019-09-01").await;
    shop.sell(on_dongle("VO-1000", "volocity", "d-1", "2018-06-01"))
        .await;
    let plain = quote(&mut shop.acme, ask("VO-1000", 1)).await.unwrap_err();
    assert_eq!(reason(&plain), "UPGRADE_REQUIRED");
    let contract = super::contract(&mut shop.acme, "VO-1000").await;
    assert_eq!(contract.purchase(), v1::PurchaseKind::Upgrade);
    let upgrade = v1::CreateQuoteRequest {
        kind: v1::PurchaseKind::Upgrade.into(),
        contact: "Ben".into(),
        dongle_number: "D-1".into(),
        ..ask("VO-1000", 1)
    };
    let pending = quote(&mut shop.acme, upgrade.clone()).await.unwrap();
    assert_eq!(pending.state(), v1::QuoteState::Pending);
    let expected = [("VO-1000", "2019-10-01", "2020-09-30", None)];
    assert_eq!(lines(&pending.lines), expected);
    let many = v1::CreateQuoteRequest {
        terms: 2,
        ..upgrade.clone()
    };
    let many = quote(&mut shop.acme, many).await;
    assert_eq!(refused(many), (Code::OutOfRange, "TOO_MANY_TERMS".into()));
    let wrong = v1::CreateQuoteRequest {
        dongle_number: "d-2".into(),
        ..upgrade
    };
    let wrong = quote(&mut shop.acme, wrong).await.unwrap_err();
    assert_eq!(fields(&wrong), ["dongle_number"]);

    // Priced and ordered days later: cover starts on the day of the order.
    let answer = v1::AnswerQuoteRequest {
        request_id: String::new(),
        quote_id: pending.quote_id.clone(),
        amounts: vec![money(150_000, "GBP")],
        reason: "upgrade to 6".into(),
    };
    shop.support.answer_quote(answer).await.unwrap();
    shop.world.set_day("2019-10-11");
    let placed = super::order(&mut shop.acme, &pending, "").await.unwrap();
    let placed = placed.order.unwrap();
    let expected = [("VO-1000", "2019-10-11", "2020-10-10", Some(150_000))];
    assert_eq!(lines(&placed.lines), expected);
    shop.stop().await;
}
