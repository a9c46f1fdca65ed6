//! A stand-in until the transport is there.
use crate::flow::Deps;
use std::sync::Arc;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Products,
    Staff,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reflection {
    On,
    Off,
}
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteOptions {
    pub audience: Audience,
    pub max_message_bytes: usize,
    pub reflection: Reflection,
}
pub(crate) const SERVICE_NAMES: [&str; 5] = [
    "upkeep.v1.ActivationService",
    "upkeep.v1.CustomerService",
    "upkeep.v1.PartnerService",
    "upkeep.v1.SupportService",
    "upkeep.v1.AdminService",
];
pub(crate) fn routes<H: Health>(
    _deps: &Arc<Deps>,
    health: HealthServer<H>,
    _options: RouteOptions,
) -> Result<Routes, tonic_reflection::server::Error> {
    Ok(Routes::new(health))
}
