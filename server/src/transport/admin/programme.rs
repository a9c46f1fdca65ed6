//! Programmes and their revisions, for administrators.

use tonic::{Request, Response, Status};
use upkeep::date::CivilDate;
use upkeep::id::ProgrammeId;
use upkeep::rpc::v1;

use super::ROLES;
use crate::domain::explain::explain;
use crate::domain::programme::Kept;
use crate::flow::programme::{self, Found};
use crate::flow::{Deps, Outcome, read};
use crate::record::keys;
use crate::transport::caller::one_of;
use crate::transport::fields::Fields;
use crate::transport::parse;

pub(super) fn list(
    deps: &Deps,
    request: Request<v1::ListProgrammesRequest>,
) -> Result<Response<v1::ListProgrammesResponse>, Status> {
    one_of(&request, ROLES)?;
    let asked = request.into_inner();
    let page = parse::page(asked.page_size, &asked.page_token)?;
    let (kept, next_page_token) =
        read::page::<Kept>(deps, "programmes", &keys::programmes(), &page)?;
    let found: Result<Vec<_>, Outcome> = kept
        .into_iter()
        .map(|kept| programme::of_kept(deps, kept).map(|found| present(&found)))
        .collect();
    Ok(Response::new(v1::ListProgrammesResponse {
        programmes: found?,
        next_page_token,
    }))
}

pub(super) fn get(
    deps: &Deps,
    request: Request<v1::GetProgrammeRequest>,
) -> Result<Response<v1::GetProgrammeResponse>, Status> {
    one_of(&request, ROLES)?;
    let asked = request.get_ref();
    let mut fields = Fields::new();
    let id = fields.required("programme_id", &asked.programme_id, ProgrammeId::parse);
    let bought = fields.optional("purchase_date", &asked.purchase_date, CivilDate::parse);
    let (id, bought) = fields.finish(|| Some((id?, bought?)))?;
    let revision = Some(asked.revision).filter(|revision| *revision > 0);
    let found = programme::get(deps, &id, revision)?;
    let bought = match bought {
        Some(day) => day,
        None => programme::today(deps, &found)?,
    };
    Ok(Response::new(v1::GetProgrammeResponse {
        explanation: explain(found.programme, bought).to_string(),
        programme: Some(present(&found)),
        source: found.text,
    }))
}

fn present(found: &Found<'_>) -> v1::Programme {
    v1::Programme {
        programme_id: found.programme.id().to_string(),
        revision: found.programme.revision(),
        current: found.current,
        time_zone: found.programme.time_zone().name().to_owned(),
        currency: found
            .programme
            .currency()
            .map(|currency| currency.code().to_owned())
            .unwrap_or_default(),
        warnings: found.programme.warnings(),
    }
}
