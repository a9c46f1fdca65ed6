//! RunReminders: what would be sent, and that a dry run sends nothing.

use upkeep::rpc::v1;

use crate::vendor::{mails, noon, renew, sell, vendor};
use crate::world::{World, reason, run};

async fn dry(world: &World, on: &str) -> v1::RunRemindersResponse {
    let request = v1::RunRemindersRequest {
        dry_run: true,
        on_date: on.to_owned(),
        ..Default::default()
    };
    let answer = world.admin().run_reminders(request).await.unwrap();
    answer.into_inner()
}

fn shown(mail: &v1::DueReminder) -> String {
    format!(
        "{} {} {} {} {}/{} {} {}",
        mail.serial,
        mail.last_date,
        mail.days_before,
        mail.due_date,
        mail.recipient_kind,
        mail.recipient_id,
        mail.language,
        mail.fallback
    )
}

#[test]
fn a_dry_run_tells_who_would_get_what_and_writes_nothing() {
    run(async {
        let world = vendor().await;
        sell(&world, "SM-1", "mail", "buyer", "2025-01-15").await;
        sell(&world, "TK-1", "label", "buyer", "2025-01-15").await;
        sell(&world, "TK-2", "label", "alone", "2025-01-15").await;
        sell(&world, "VL-1", "video", "buyer", "2025-01-15").await;
        renew(&world, "VL-1", "2025-01-15").await;
        let (hash, head) = (world.store().state_hash().unwrap(), world.store().head());

        assert!(dry(&world, "").await.reminders.is_empty());
        assert!(dry(&world, "2025-10-30").await.reminders.is_empty());
        let found = dry(&world, "2025-12-16").await;
        let found: Vec<_> = found.reminders.iter().map(shown).collect();
        assert_eq!(
            found,
            [
                "TK-1 2026-01-14 75 2025-10-31 reseller/acme  false",
                "TK-2 2026-01-14 75 2025-10-31 vendor_region/apac  true",
                "SM-1 2026-01-14 60 2025-11-15 customer/buyer de false",
                "SM-1 2026-01-14 30 2025-12-15 customer/buyer de false",
            ]
        );
        let extended = dry(&world, "2027-02-01").await.extensions;
        assert_eq!(extended.len(), 1);
        assert_eq!(extended[0].serial, "VL-1");
        assert_eq!(extended[0].terms[1].last_date, "2028-01-14");

        assert_eq!(world.store().state_hash().unwrap(), hash);
        assert_eq!(world.store().head(), head);
        assert!(mails(&world).is_empty());
    });
}

#[test]
fn a_dry_run_comes_in_pages() {
    run(async {
        let world = vendor().await;
        for number in 0..7 {
            sell(
                &world,
                &format!("SM-{number}"),
                "mail",
                "buyer",
                "2025-01-15",
            )
            .await;
        }
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::RunRemindersRequest {
                dry_run: true,
                on_date: "2025-11-20".to_owned(),
                page_size: 3,
                page_token,
            };
            let page = world.admin().run_reminders(request).await.unwrap();
            let page = page.into_inner();
            found.extend(page.reminders.into_iter().map(|mail| mail.serial));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let expected: Vec<_> = (0..7).map(|number| format!("SM-{number}")).collect();
        assert_eq!(found, expected);
    });
}

/// A real run of another day would send what is not so.
#[test]
fn a_real_run_is_for_today() {
    run(async {
        let world = vendor().await;
        sell(&world, "SM-1", "mail", "buyer", "2025-01-15").await;
        world.clock.set(noon("2025-11-15"));
        for day in ["2025-11-14", "2025-11-16", "2030-01-01"] {
            let request = v1::RunRemindersRequest {
                on_date: day.to_owned(),
                ..Default::default()
            };
            let refused = world.admin().run_reminders(request).await.unwrap_err();
            assert_eq!(reason(&refused), "INVALID_FIELD", "{day}");
        }
        assert!(mails(&world).is_empty());
        let request = v1::RunRemindersRequest {
            on_date: "2025-11-15".to_owned(),
            ..Default::default()
        };
        let done = world.admin().run_reminders(request).await.unwrap();
        assert_eq!(done.into_inner().done.unwrap().mails, 1);
        assert_eq!(mails(&world), ["SM-1/2026-01-14/60/customer/buyer"]);
    });
}

#[test]
fn a_day_that_does_not_exist_is_refused() {
    run(async {
        let world = vendor().await;
        for (on_date, page_token) in [("2025-02-30", ""), ("tomorrow", ""), ("", "x")] {
            let request = v1::RunRemindersRequest {
                dry_run: true,
                on_date: on_date.to_owned(),
                page_token: page_token.to_owned(),
                ..Default::default()
            };
            let refused = world.admin().run_reminders(request).await.unwrap_err();
            assert_eq!(reason(&refused), "INVALID_FIELD");
        }
    });
}
