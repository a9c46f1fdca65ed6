//! The calls about issuing keys.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::armor;
use upkeep::artefact::{KeyList, KeyState};
use upkeep::key::{PublicKey, Thumbprint};
use upkeep::rpc::v1;

use crate::domain::issuing::IssuingKey;
use crate::flow::issuing::{self, InUse};
use crate::flow::{Caller, Deps, Outcome};
use crate::transport::caller::call;
use crate::transport::fields::Fields;
use crate::transport::present::timestamp;

pub(super) fn list(deps: &Arc<Deps>) -> Result<v1::ListIssuingKeysResponse, Outcome> {
    let certified = issuing::certified(deps)?;
    let sequence = certified.as_ref().map_or(0, |list| list.sequence);
    Ok(v1::ListIssuingKeysResponse {
        keys: present(&issuing::list(deps), deps.clock.now()),
        issuer: deps.issuer.to_string(),
        list_sequence: i64::try_from(sequence).unwrap_or(i64::MAX),
        root_key_id: certified
            .as_ref()
            .map(|list| list.root.thumbprint().to_string())
            .unwrap_or_default(),
        key_list: certified.map(|list| list.text).unwrap_or_default(),
    })
}

pub(super) async fn rotate(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::RotateIssuingKeyRequest,
) -> Result<Vec<v1::IssuingKey>, Outcome> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let lead = TimeDelta::try_seconds(asked.lead_seconds);
    let lead = fields.parsed("lead_seconds", lead.ok_or("is 0 to 366 days in seconds"));
    let (request_id, lead) = fields.finish(|| Some((request_id?, lead?)))?;
    let call = call(deps, "RotateIssuingKey", caller, request_id);
    let keys = issuing::rotate(deps, call, lead).await?;
    Ok(present(&keys, deps.clock.now()))
}

pub(super) async fn retire(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::RetireIssuingKeyRequest,
) -> Result<Vec<v1::IssuingKey>, Outcome> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let kid = fields.required("key_id", &asked.key_id, Thumbprint::parse);
    let (request_id, kid) = fields.finish(|| Some((request_id?, kid?)))?;
    let in_use = match asked.in_use {
        true => InUse::Allowed,
        false => InUse::Refused,
    };
    let call = call(deps, "RetireIssuingKey", caller, request_id);
    let keys = issuing::retire(deps, call, kid, in_use).await?;
    Ok(present(&keys, deps.clock.now()))
}

pub(super) async fn revoke(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::RevokeIssuingKeyRequest,
) -> Result<Vec<v1::IssuingKey>, Outcome> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let kid = fields.required("key_id", &asked.key_id, Thumbprint::parse);
    let why = fields.reason(&asked.reason);
    let (request_id, kid, why) = fields.finish(|| Some((request_id?, kid?, why?)))?;
    let call = call(deps, "RevokeIssuingKey", caller, request_id);
    let keys = issuing::revoke(deps, call, kid, why).await?;
    Ok(present(&keys, deps.clock.now()))
}

pub(super) async fn publish(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::PublishKeyListRequest,
) -> Result<v1::PublishKeyListResponse, Outcome> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let text = fields.required("key_list", &asked.key_list, armor::read_either::<KeyList>);
    let root = match asked.root_spki.as_slice() {
        [] => Some(None),
        der => fields
            .parsed("root_spki", PublicKey::from_spki_der(der))
            .map(Some),
    };
    let (request_id, text, root) = fields.finish(|| Some((request_id?, text?, root?)))?;
    let call = call(deps, "PublishKeyList", caller, request_id);
    let published = issuing::publish(deps, call, text, root).await?;
    Ok(v1::PublishKeyListResponse {
        list_sequence: i64::try_from(published.sequence).unwrap_or(i64::MAX),
        root_key_id: published.root.thumbprint().to_string(),
    })
}

fn present(keys: &[IssuingKey], now: DateTime<Utc>) -> Vec<v1::IssuingKey> {
    let one = |key: &IssuingKey| v1::IssuingKey {
        key_id: key.kid().to_string(),
        state: match key.state(now) {
            KeyState::Next => v1::IssuingKeyState::Next,
            KeyState::Signing => v1::IssuingKeyState::Signing,
            KeyState::Verifying => v1::IssuingKeyState::Verifying,
            KeyState::Retired => v1::IssuingKeyState::Retired,
            KeyState::Revoked => v1::IssuingKeyState::Revoked,
        }
        .into(),
        public_key_spki: key.key.to_spki_der(),
        sign_start_time: Some(timestamp(key.not_before)),
        sign_end_time: key.signs_until.map(timestamp),
        verify_end_time: key.verifies_until.map(timestamp),
        revoke_time: key.revoked_at.map(timestamp),
        place: key.place.clone(),
    };
    keys.iter().map(one).collect()
}
