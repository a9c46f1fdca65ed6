//! AdminService for commands: the running server's over the network, or, when none runs, the same service inside this process.

use std::net::{Ipv4Addr, SocketAddr};

use http::{Request, Response};
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::body::Body;
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceExt};
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;

use crate::cli::connect::{self, ClientCertificate, PATIENCE, Target};
use crate::cli::exit::Failure;
use crate::cli::output::Form;
use crate::cli::place::{self, Place};
use crate::cli::serve;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Settings};
use crate::keys::Keys;
use crate::listener::Peer;
use crate::pki::{Identity, Role};
use crate::serve::{ServeError, Server};
use crate::store::StoreError;

/// The way to the service, whichever it is.
pub(super) type Line = BoxCloneService<Request<Body>, Response<Body>, BoxError>;

/// Which server, and where it is when it runs.
#[derive(Debug, clap::Args)]
pub(super) struct Reach {
    #[command(flatten)]
    pub(super) place: Place,

    /// The running server's staff address, where it is not the configured one
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

impl Reach {
    /// The configuration.
    ///
    /// # Errors
    /// Exit 2 when no server is named, 3 with every mistake.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        self.place.own_config(&[])
    }

    /// AdminService of that server.
    ///
    /// # Errors
    /// As [`Admin::open`].
    pub(super) async fn open(&self, settings: &Settings, keys: &Keys) -> Result<Admin, Failure> {
        Admin::open(settings, keys, self.address.as_deref()).await
    }

    /// AdminService of the server that is meant, with its keys from the data directory.
    ///
    /// # Errors
    /// As [`Admin::open`].
    pub(super) async fn admin(&self) -> Result<Admin, Failure> {
        let config = self.place.own_config(&[])?;
        let keys = open_keys(config.settings())?;
        self.open(config.settings(), &keys).await
    }
}

/// Which server is asked, and how its answer is printed.
#[derive(Debug, clap::Args)]
pub(super) struct Ask {
    #[command(flatten)]
    pub(super) reach: Reach,
    #[command(flatten)]
    pub(super) form: Form,
}

/// Why something that counted counts no more.
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// Why, for the record
    #[arg(long)]
    pub(super) reason: String,
}

/// AdminService, as `admin/cli`.
pub(super) struct Admin {
    /// The client.
    pub(super) client: AdminServiceClient<Line>,
    who: String,
    /// Held while the service is inside this process.
    server: Option<Server>,
}

impl Admin {
    /// Opens the data directory; if a running server holds it, connects to that one.
    ///
    /// * `address` - of the running server's staff listener, where it is not the configured one.
    ///
    /// # Errors
    /// Exit 4 when the data directory is not usable, 5 when the running server can't be reached.
    pub(super) async fn open(
        settings: &Settings,
        keys: &Keys,
        address: Option<&str>,
    ) -> Result<Self, Failure> {
        let identity = Identity::new(Role::Admin, COMMANDS)?;
        match serve::open_server(settings) {
            Ok(server) => Self::inside(server, identity),
            Err(ServeError::Store(StoreError::Locked { .. })) => {
                Self::over_network(settings, keys, &identity, address).await
            }
            Err(error) => Err(error.into()),
        }
    }

    fn inside(server: Server, identity: Identity) -> Result<Self, Failure> {
        // No certificate was shown: whoever may open the data directory is an administrator.
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let peer = Peer::named(here, identity, Sha256::digest([]).into());
        let line = server
            .staff_routes()?
            .map_request(move |mut request: Request<Body>| {
                request.extensions_mut().insert(peer.clone());
                request
            })
            .map_err(BoxError::from);
        Ok(Self {
            client: AdminServiceClient::new(BoxCloneService::new(line)),
            who: "the server".to_owned(),
            server: Some(server),
        })
    }

    async fn over_network(
        settings: &Settings,
        keys: &Keys,
        identity: &Identity,
        address: Option<&str>,
    ) -> Result<Self, Failure> {
        let authority = keys.authority();
        // Made for this one command; it is never written down.
        let certificate = authority.issue_client(identity, SystemClock.now(), 1)?;
        let ca_pem = authority.certificate_pem();
        let mut target = match address {
            Some(address) => Target::at(address, ca_pem)?,
            None => Target::local(settings.listen_staff, &settings.tls_names, ca_pem),
        };
        target.client = Some(ClientCertificate::of(&certificate));
        let line = target.connect(PATIENCE).await?.map_err(BoxError::from);
        Ok(Self {
            client: AdminServiceClient::new(BoxCloneService::new(line)),
            who: format!("the server at {}", target.address),
            server: None,
        })
    }

    /// What a call's failure means to whoever typed the command.
    pub(super) fn refused(&self, status: &Status) -> Failure {
        connect::refused(&self.who, status)
    }

    /// Lets go of the data directory.
    ///
    /// # Errors
    /// Exit 4 when the store does not close well.
    pub(super) fn close(self) -> Result<(), Failure> {
        drop(self.client);
        match self.server {
            Some(server) => Ok(server.close()?),
            None => Ok(()),
        }
    }
}

/// The keys in a data directory.
///
/// # Errors
/// Exit 4 when they are not there or not usable.
pub(super) fn open_keys(settings: &Settings) -> Result<Keys, Failure> {
    place::check_there(&settings.data_dir)?;
    Ok(Keys::open_for(settings)?)
}

/// The administrator that commands are; no person has this name.
pub(super) const COMMANDS: &str = "cli";
