//! Health of one listener (grpc.health.v1): the whole server under the empty name, and each service under its full name.

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::transport::{Audience, SERVICE_NAMES};

/// What one listener says about itself.
pub(super) struct Health {
    audience: Audience,
    pub(super) reporter: HealthReporter,
}

impl Health {
    /// A listener that serves nothing yet.
    pub(super) fn new(audience: Audience) -> Self {
        Self {
            audience,
            reporter: HealthReporter::new(),
        }
    }

    /// The service that answers.
    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// From here on all is served.
    pub(super) async fn serving(&self) {
        for name in self.names() {
            self.reporter
                .set_service_status(name, ServingStatus::Serving)
                .await;
        }
    }

    /// From here on nothing is. Calls of Watch get the news and end, so that they hold up no stop.
    pub(super) async fn not_serving(&self) {
        let mut reporter = self.reporter.clone();
        for name in self.names() {
            reporter
                .set_service_status(name, ServingStatus::NotServing)
                .await;
            reporter.clear_service_status(name).await;
            reporter
                .set_service_status(name, ServingStatus::NotServing)
                .await;
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        let audience = self.audience;
        [""].into_iter().chain(
            SERVICE_NAMES
                .into_iter()
                .filter(move |name| audience == Audience::Staff || PUBLIC.contains(name)),
        )
    }
}

/// What the products' listener serves.
const PUBLIC: [&str; 3] = [
    "upkeep.v1.ActivationService",
    "upkeep.v1.CustomerService",
    "upkeep.v1.MaintenanceService",
];
