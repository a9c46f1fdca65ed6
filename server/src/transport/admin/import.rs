//! ImportLicenses: rows in, verdicts out, in two steps that run side by side. While one batch is decided the next one is parsed and
//! sealed.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use upkeep::date::{CivilDate, Term};
use upkeep::id::{CustomerId, PartnerId};
use upkeep::rpc::v1;

use super::license::new_license;
use super::party::reached;
use crate::domain::external::{ExternalId, Named, name_of};
use crate::domain::license::VmPermission;
use crate::domain::machine::LicenseState;
use crate::domain::maintenance::{GivenError, given};
use crate::domain::refusal::{Refusal, Violation};
use crate::flow::import::{self, Batch, Naming, NewParty, Party, Rehearsal, Row, Verdict};
use crate::flow::new_license::{Past, Request};
use crate::flow::{Caller, Deps, Outcome};
use crate::transport::caller::call;
use crate::transport::fields::{Fields, text};
use crate::transport::parse::body;

/// The answers of a stream.
pub(super) type Answers = ReceiverStream<Result<v1::ImportLicensesResponse, Status>>;

/// A batch on its way from the first step to the second.
struct Parsed {
    numbers: Vec<u64>,
    batch: Batch,
    dry_run: bool,
}

/// Takes a stream up. It ends with the requests, with the first fault, or when nobody wants the answers any more.
pub(super) fn import(
    deps: &Arc<Deps>,
    caller: Caller,
    requests: Streaming<v1::ImportLicensesRequest>,
) -> Answers {
    let (parsed, batches) = mpsc::channel(AHEAD);
    let (answers, answered) = mpsc::channel(AHEAD);
    tokio::spawn(parse(Arc::clone(deps), caller.clone(), requests, parsed));
    tokio::spawn(decide(Arc::clone(deps), caller, batches, answers));
    ReceiverStream::new(answered)
}

/// The first step.
async fn parse(
    deps: Arc<Deps>,
    caller: Caller,
    mut requests: Streaming<v1::ImportLicensesRequest>,
    parsed: mpsc::Sender<Result<Parsed, Status>>,
) {
    loop {
        let request = match requests.message().await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(status) => {
                // Whoever sent it learns why, if it still listens.
                let _gone = parsed.send(Err(status)).await;
                return;
            }
        };
        let batch = parse_batch(&deps, &caller, request).await;
        let failed = batch.is_err();
        if parsed.send(batch.map_err(Status::from)).await.is_err() || failed {
            return;
        }
    }
}

async fn parse_batch(
    deps: &Arc<Deps>,
    caller: &Caller,
    request: v1::ImportLicensesRequest,
) -> Result<Parsed, Outcome> {
    if request.rows.len() > MAX_ROWS {
        let violation = Violation::new("rows", "must be at most 500; send more requests");
        return Err(Refusal::invalid(vec![violation]).into());
    }
    let numbers = request.rows.iter().map(|row| row.number).collect();
    let allow_weak = deps.passwords.allow_weak();
    let rows = request.rows.into_iter();
    let rows = rows.map(|row| parse_row(row.license.unwrap_or_default(), allow_weak));
    let rows: Vec<_> = rows.collect();
    let call = call(deps, ACTION, caller.clone(), None);
    Ok(Parsed {
        numbers,
        batch: import::prepare(deps, &call, rows, request.dry_run).await?,
        dry_run: request.dry_run,
    })
}

/// The second step.
async fn decide(
    deps: Arc<Deps>,
    caller: Caller,
    mut batches: mpsc::Receiver<Result<Parsed, Status>>,
    answers: mpsc::Sender<Result<v1::ImportLicensesResponse, Status>>,
) {
    let mut rehearsal = Rehearsal::default();
    let mut so_far = v1::ImportLicensesResponse::default();
    while let Some(parsed) = batches.recv().await {
        let answer = match parsed {
            Err(status) => Err(status),
            Ok(parsed) => {
                let call = call(&deps, ACTION, caller.clone(), None);
                let rehearsal = parsed.dry_run.then_some(&mut rehearsal);
                let decided = import::decide(&deps, &call, parsed.batch, rehearsal).await;
                decided
                    .map(|verdicts| answer(&mut so_far, &parsed.numbers, verdicts))
                    .map_err(Status::from)
            }
        };
        let failed = answer.is_err();
        if answers.send(answer).await.is_err() || failed {
            return;
        }
    }
}

fn answer(
    so_far: &mut v1::ImportLicensesResponse,
    numbers: &[u64],
    verdicts: Vec<Verdict>,
) -> v1::ImportLicensesResponse {
    let mut outcomes = Vec::with_capacity(verdicts.len());
    for (number, verdict) in numbers.iter().zip(verdicts) {
        let (count, result) = match verdict {
            Verdict::Created => (&mut so_far.created, v1::ImportResult::Created),
            Verdict::Unchanged => (&mut so_far.unchanged, v1::ImportResult::Unchanged),
            Verdict::Refused(_) => (&mut so_far.refused, v1::ImportResult::Refused),
        };
        *count = count.saturating_add(1);
        let mut outcome = v1::ImportOutcome {
            number: *number,
            result: result.into(),
            ..v1::ImportOutcome::default()
        };
        if let Verdict::Refused(refusal) = verdict {
            outcome.reason = refusal.reason.to_string();
            outcome.message = refusal.message();
            let problems = refusal.violations.into_iter().take(MAX_PROBLEMS);
            outcome.problems = problems
                .map(|violation| v1::ImportProblem {
                    field: violation.field,
                    description: violation.description,
                })
                .collect();
        }
        outcomes.push(outcome);
    }
    v1::ImportLicensesResponse {
        outcomes,
        ..*so_far
    }
}

/// One row: all that is wrong with it at once.
fn parse_row(asked: v1::LicenseRow, allow_weak: bool) -> Result<Row, Refusal> {
    let body = body(&asked);
    let mut fields = Fields::new();
    if body.len() > MAX_ROW_BYTES {
        fields.wrong("serial", "stands in a row of more than 65536 bytes");
        return fields.finish(|| None);
    }
    let external = fields.optional("external_id", &asked.external_id, ExternalId::parse);
    let customer: Option<Option<Party<CustomerId>>> = party(
        &mut fields,
        "customer",
        [
            &asked.customer_id,
            &asked.customer_external_id,
            &asked.customer_name,
            &asked.customer_email,
            &asked.customer_language,
            &asked.customer_region_id,
        ],
    );
    if matches!(customer, Some(None)) {
        fields.missing("customer_id");
    }
    let partner: Option<Option<Party<PartnerId>>> = party(
        &mut fields,
        "partner",
        [
            &asked.partner_id,
            &asked.partner_external_id,
            &asked.partner_name,
            &asked.partner_email,
            &asked.partner_language,
            &asked.partner_region_id,
        ],
    );
    let past = past(&mut fields, &asked);
    let state = state(&mut fields, asked.state);
    let ids = (
        customer
            .as_ref()
            .and_then(Option::as_ref)
            .map(|one| one.id.clone()),
        partner
            .as_ref()
            .map(|partner| partner.as_ref().map(|one| one.id.clone())),
    );
    let license = v1::CreateLicenseRequest {
        serial: asked.serial,
        product_id: asked.product_id,
        protection: asked.protection,
        dongle_number: asked.dongle_number,
        license_type: asked.license_type,
        edition: asked.edition,
        add_ons: asked.add_ons,
        seats: asked.seats,
        virtual_environment_allowed: asked.virtual_environment_allowed,
        purchase_date: asked.purchase_date,
        password: asked.password,
        license_kind: asked.license_kind,
        tier_id: asked.tier_id,
        modules: asked.modules,
        paid: asked.paid,
        programme_id: asked.programme_id,
        programme_revision: asked.programme_revision,
        special_conditions: asked.special_conditions,
        ..v1::CreateLicenseRequest::default()
    };
    let request = new_license(&mut fields, &license, ids, allow_weak);
    if let Some(request) = &request
        && request.special_conditions.is_some()
        && request.vm == VmPermission::NotAllowed
    {
        fields.wrong(
            "special_conditions",
            "belong to licenses for virtual machines only",
        );
    }
    fields.finish(|| {
        Some(Row {
            ask: Request {
                past: past?,
                state: state?,
                body,
                ..request?
            },
            external: external?,
            customer: customer??,
            partner: partner?,
        })
    })
}

/// A customer or partner: `Some(None)` where nothing names one.
///
/// * `values` - id, external id, name, e-mail address, language and region.
fn party<Id: Named>(
    fields: &mut Fields,
    word: &str,
    [id, external, name, email, language, region]: [&String; 6],
) -> Option<Option<Party<Id>>> {
    let named = |field: &str| format!("{word}_{field}");
    let given = fields.optional(&named("id"), id, Id::parse_name);
    let external = fields.optional(&named("external_id"), external, ExternalId::parse);
    let name = fields.optional(&named("name"), name, |name| text(name, 1, 200));
    let mut inner = Fields::new();
    let reached = reached(&mut inner, email, language, region);
    fields.adopt(inner, &format!("{word}_"));
    let (given, external, name, reached) = (given?, external?, name?, reached?);
    let new = name.map(|name| NewParty { name, reached });
    let (id, by) = match (given, &external) {
        (Some(id), _) => (id, Naming::Given),
        (None, Some(external)) => {
            let digest = Sha256::digest(external.as_str()).into();
            let id = fields.parsed(&named("external_id"), name_of(external, &digest))?;
            (id, Naming::Derived)
        }
        (None, None) if new.is_some() => {
            fields.missing(&named("id"));
            return None;
        }
        (None, None) => return Some(None),
    };
    Some(Some(Party {
        id,
        by,
        external,
        new,
    }))
}

/// What the other system knows of the license.
fn past(fields: &mut Fields, asked: &v1::LicenseRow) -> Option<Past> {
    let terms = terms(fields, &asked.terms);
    let cancelled = fields.optional("cancelled_date", &asked.cancelled_date, CivilDate::parse);
    if asked.no_maintenance && !asked.terms.is_empty() {
        fields.wrong("no_maintenance", "contradicts the terms");
    }
    if asked.no_maintenance && !asked.cancelled_date.is_empty() {
        fields.wrong("cancelled_date", "belongs to a contract with terms");
    }
    if asked.reminded_days.len() > MAX_REMINDED {
        fields.wrong("reminded_days", "must be at most 100");
    }
    if asked.generation > MAX_GENERATION {
        fields.wrong("generation", "must be at most 1000000");
    }
    let terms = terms?;
    Some(Past {
        terms: (asked.no_maintenance || !terms.is_empty()).then_some(terms),
        cancelled_on: cancelled?,
        reminded: asked.reminded_days.clone(),
        upgrades: asked.generation.saturating_sub(1),
    })
}

fn terms(fields: &mut Fields, asked: &[v1::MaintenanceTerm]) -> Option<Vec<Term>> {
    let mut parsed = Vec::with_capacity(asked.len());
    let mut good = true;
    for (index, term) in asked.iter().enumerate() {
        let place = format!("terms[{index}]");
        let first = fields.date(&format!("{place}.first_date"), &term.first_date);
        let last = fields.date(&format!("{place}.last_date"), &term.last_date);
        let term = match (first, last) {
            (Some(first), Some(last)) => {
                fields.parsed(&format!("{place}.last_date"), Term::new(first, last))
            }
            _ => None,
        };
        good &= term.is_some();
        parsed.extend(term);
    }
    if !good {
        return None;
    }
    match given(&parsed) {
        Ok(terms) => Some(terms),
        Err(GivenError::TooMany) => {
            fields.wrong("terms", "must be at most 500");
            None
        }
        Err(GivenError::Overlap(index)) => {
            let place = format!("terms[{index}].first_date");
            fields.wrong(&place, "lies in another term: no day is paid for twice");
            None
        }
    }
}

fn state(fields: &mut Fields, number: i32) -> Option<LicenseState> {
    match v1::LicenseState::try_from(number) {
        Ok(v1::LicenseState::Unspecified | v1::LicenseState::Issued) => Some(LicenseState::Issued),
        Ok(v1::LicenseState::Ordered) => Some(LicenseState::Ordered),
        Ok(v1::LicenseState::Suspended) => Some(LicenseState::Suspended),
        Ok(v1::LicenseState::Revoked) => Some(LicenseState::Revoked),
        Ok(v1::LicenseState::Superseded) | Err(_) => {
            fields.wrong("state", "must be ordered, issued, suspended or revoked");
            None
        }
    }
}

const ACTION: &str = "ImportLicenses";
/// Batches that wait between two steps.
const AHEAD: usize = 2;
const MAX_ROWS: usize = 500;
/// More about one row helps nobody.
const MAX_PROBLEMS: usize = 50;
/// As long as a record may be.
const MAX_ROW_BYTES: usize = 65_536;
const MAX_REMINDED: usize = 100;
const MAX_GENERATION: u32 = 1_000_000;
