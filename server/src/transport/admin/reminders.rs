//! RunReminders: the due pass by hand, and its dry run.

use std::sync::Arc;

use upkeep::date::CivilDate;
use upkeep::rpc::v1;

use crate::domain::mail::Recipient;
use crate::domain::refusal::{Refusal, Violation};
use crate::flow::due::{self, Pass, Planned};
use crate::flow::{Deps, Outcome};
use crate::transport::fields::Fields;
use crate::transport::present;

pub(super) async fn run(
    deps: &Arc<Deps>,
    asked: &v1::RunRemindersRequest,
) -> Result<v1::RunRemindersResponse, Outcome> {
    let mut fields = Fields::new();
    let on = fields.optional("on_date", &asked.on_date, CivilDate::parse);
    let page = fields.page(asked.page_size, &asked.page_token);
    let (on, page) = fields.finish(|| Some((on?, page?)))?;
    if asked.dry_run {
        let (planned, next_page_token) = due::preview(deps, on, &page)?;
        return Ok(v1::RunRemindersResponse {
            reminders: planned.iter().flat_map(reminders).collect(),
            extensions: planned.iter().filter_map(extension).collect(),
            next_page_token,
            ..Default::default()
        });
    }
    if let Some(day) = on
        && !due::is_today(deps, day)?
    {
        // Mails of another day would say what is not so, and could not be taken back.
        let violation = Violation::new(
            "on_date",
            "is not today, and reminders are sent for today only; set dry_run to see another day",
        );
        return Err(Refusal::invalid(vec![violation]).into());
    }
    let pass = due::run(deps, MOST_SETTLED).await?;
    Ok(v1::RunRemindersResponse {
        done: Some(work(&pass)),
        more: pass.more,
        ..Default::default()
    })
}

fn reminders(planned: &Planned) -> Vec<v1::DueReminder> {
    let one = |mail: &due::PlannedMail| {
        let (kind, id) = match &mail.to {
            Recipient::Customer(id) => ("customer", id.to_string()),
            Recipient::Partner(id) => ("reseller", id.to_string()),
            Recipient::Vendor(region) => (
                "vendor_region",
                region.as_ref().map(ToString::to_string).unwrap_or_default(),
            ),
            Recipient::Requester(id) => ("requester", id.to_string()),
        };
        v1::DueReminder {
            serial: planned.serial.to_string(),
            last_date: mail.notice.last_day.to_string(),
            days_before: mail.notice.days_before,
            due_date: mail.notice.due_on.to_string(),
            recipient_kind: kind.to_owned(),
            recipient_id: id,
            language: mail.language.clone(),
            fallback: mail.notice.is_fallback,
        }
    };
    planned.mails.iter().map(one).collect()
}

fn extension(planned: &Planned) -> Option<v1::DueExtension> {
    (!planned.extension.is_empty()).then(|| v1::DueExtension {
        serial: planned.serial.to_string(),
        terms: planned
            .extension
            .iter()
            .map(|term| present::term(term, true))
            .collect(),
    })
}

fn work(pass: &Pass) -> v1::DueWork {
    v1::DueWork {
        index_keys_read: pass.due_keys_read,
        licenses_read: pass.licenses_read,
        licenses_settled: pass.settled,
        mails: pass.mails,
        extensions: pass.extensions,
        passed: pass.passed,
        faulty: pass.faulty,
    }
}

/// Licenses settled by one call, so that it answers in time.
const MOST_SETTLED: u64 = 1_000;
