//! Transport: gRPC to flows and back. It parses at the door, says who calls, and turns outcomes into statuses; it decides nothing.

mod activation;
mod admin;
mod caller;
mod customer;
mod enroll;
mod fields;
mod maintenance;
mod parse;
mod partner;
mod present;
mod status;
mod support;
mod unreadable;

use std::sync::Arc;

use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use upkeep::rpc::FILE_DESCRIPTOR_SET;
use upkeep::rpc::v1::activation_service_server::ActivationServiceServer;
use upkeep::rpc::v1::admin_service_server::AdminServiceServer;
use upkeep::rpc::v1::customer_service_server::CustomerServiceServer;
use upkeep::rpc::v1::maintenance_service_server::MaintenanceServiceServer;
use upkeep::rpc::v1::partner_service_server::PartnerServiceServer;
use upkeep::rpc::v1::support_service_server::SupportServiceServer;

use crate::flow::Deps;

/// Which listener the routes are for (DESIGN 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Products and customers.
    Products,
    /// Staff and partners: everything, as roles allow.
    Staff,
}

/// Whether server reflection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflection {
    /// v1 and v1alpha.
    On,
    /// Not at all.
    Off,
}

/// What differs between listeners.
#[derive(Clone, Copy, Debug)]
pub struct RouteOptions {
    /// Which services.
    pub audience: Audience,
    /// The largest request message, in bytes.
    pub max_message_bytes: usize,
    /// Reflection.
    pub reflection: Reflection,
}

/// The full names of all services, for health and reflection; the first three are for products.
pub const SERVICE_NAMES: [&str; 6] = [
    "upkeep.v1.ActivationService",
    "upkeep.v1.CustomerService",
    "upkeep.v1.MaintenanceService",
    "upkeep.v1.PartnerService",
    "upkeep.v1.SupportService",
    "upkeep.v1.AdminService",
];

/// The services of one listener.
///
/// # Errors
/// When the descriptor set that was compiled in is unreadable.
pub fn routes<H: Health>(
    deps: &Arc<Deps>,
    health: HealthServer<H>,
    options: RouteOptions,
) -> Result<Routes, tonic_reflection::server::Error> {
    let max = options.max_message_bytes;
    let products = activation::Activations::new(Arc::clone(deps));
    let customers = customer::Customers::new(Arc::clone(deps));
    let maintenance = maintenance::Maintenance::new(Arc::clone(deps));
    let mut routes = Routes::new(health)
        .add_service(ActivationServiceServer::new(products).max_decoding_message_size(max))
        .add_service(CustomerServiceServer::new(customers).max_decoding_message_size(max))
        .add_service(MaintenanceServiceServer::new(maintenance).max_decoding_message_size(max));
    if options.audience == Audience::Staff {
        let partners = partner::Partners::new(Arc::clone(deps));
        let support = support::Support::new(Arc::clone(deps));
        let admin = admin::Admin::new(Arc::clone(deps));
        routes = routes
            .add_service(PartnerServiceServer::new(partners).max_decoding_message_size(max))
            .add_service(SupportServiceServer::new(support).max_decoding_message_size(max))
            .add_service(AdminServiceServer::new(admin).max_decoding_message_size(max));
    }
    if options.reflection == Reflection::On {
        routes = routes
            .add_service(reflection(options.audience).build_v1()?)
            .add_service(reflection(options.audience).build_v1alpha()?);
    }
    Ok(unreadable::answered(routes))
}

/// Our messages, health's, and those of the error details, which grpcurl resolves through the server. Only the services that the
/// listener serves are listed.
fn reflection(audience: Audience) -> tonic_reflection::server::Builder<'static> {
    let served = match audience {
        Audience::Products => SERVICE_NAMES.get(..3).unwrap_or_default(),
        Audience::Staff => &SERVICE_NAMES,
    };
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    served
        .iter()
        .fold(builder, |builder, name| builder.with_service_name(*name))
}
