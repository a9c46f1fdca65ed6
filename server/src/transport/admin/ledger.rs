//! The server itself and its ledger, for administrators.

use std::sync::Arc;

use tonic::Status;
use upkeep::rpc::v1;

use crate::flow::{Deps, Outcome, read};
use crate::store;
use crate::transport::{parse, present};

pub(super) fn get_server_info(deps: &Deps) -> Result<v1::GetServerInfoResponse, Status> {
    let head = deps.store.head();
    let epoch = deps.store.epoch().map_err(Outcome::from)?;
    Ok(v1::GetServerInfoResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format_version: store::FORMAT_VERSION,
        signing_key_id: deps
            .ring
            .load()
            .kid(deps.clock.now())
            .map(|kid| kid.to_string())
            .unwrap_or_default(),
        ledger_sequence: head.sequence(),
        ledger_hash: data_encoding::HEXLOWER.encode(&head.hash()),
        programme_ids: deps
            .programmes
            .iter()
            .map(|programme| programme.id().to_string())
            .collect(),
        epoch: epoch.number(),
        restored_ledger_sequence: epoch.kept().sequence(),
    })
}

pub(super) async fn get_checkpoint(deps: &Arc<Deps>) -> Result<v1::GetCheckpointResponse, Status> {
    let note = read::checkpoint(deps).await?;
    Ok(v1::GetCheckpointResponse {
        note,
        verifier_key: deps.log.verifier().to_string(),
    })
}

pub(super) fn list_audit_entries(
    deps: &Deps,
    asked: &v1::ListAuditEntriesRequest,
) -> Result<v1::ListAuditEntriesResponse, Status> {
    let page = parse::page(asked.page_size, &asked.page_token)?;
    let (found, next_page_token) = read::audit(deps, &page)?;
    let entries = found
        .into_iter()
        .map(|(sequence, event)| present::history_entry(sequence, event))
        .collect();
    Ok(v1::ListAuditEntriesResponse {
        entries,
        next_page_token,
    })
}
