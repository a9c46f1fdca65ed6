//! Clients that live through what a license lives through, remember each answer, and ask for everything again.
//!
//! A life is a list of calls with request ids of their own. It is lived until a call is not answered; [`Life::settle`] lives it
//! once more from the beginning: what was acknowledged must be answered with the same claims, and what was not answered is sent
//! again under its own id and must have one effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::{self, Channel};
use tonic::{Code, Status};
use upkeep::key::PublicKey;
use upkeep::rpc::v1;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;

use crate::device::{Api, Device, Wish, request_id};
use crate::dial::try_dial;
use crate::loss::Loss;
use crate::server::{Server, Vendor};

/// So many clients share the connections that they call over.
const CLIENTS_A_LINE: usize = 16;

/// A server that is busy for longer does nothing any more.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whom a client calls.
#[derive(Clone)]
struct Line {
    api: Api,
    customer: CustomerServiceClient<Channel>,
    support: SupportServiceClient<Channel>,
}

impl Line {
    /// # Errors
    /// The server is gone.
    async fn new(vendor: &Vendor, server: &Server) -> Result<Self, transport::Error> {
        let products = try_dial(server.products, &vendor.ca, None).await?;
        Ok(Self {
            api: Api::new(products.clone()),
            customer: CustomerServiceClient::new(products),
            support: vendor.support(server).await?,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Keeps,
    GivesBack,
    /// Gives the only seat back, gets a code for it and redeems the code on another device.
    Upgrades,
}

/// One device's life on one license, and what was answered.
pub(crate) struct Life {
    kind: Kind,
    wish: Wish,
    device: Device,
    next_device: Device,
    requests: [String; 5],
    /// The signed part of each acknowledged answer, in order.
    acknowledged: Vec<String>,
}

impl Life {
    fn new(kind: Kind, wish: Wish) -> Self {
        Self {
            kind,
            wish,
            device: Device::new(),
            next_device: Device::new(),
            requests: std::array::from_fn(|_| request_id()),
            acknowledged: Vec::new(),
        }
    }

    /// Lives it from the beginning; each answer goes to `answered` with its place.
    async fn live(
        &self,
        mut line: Line,
        server_key: &PublicKey,
        mut answered: impl FnMut(usize, String),
    ) -> Result<(), Status> {
        let [activate, begin, ask, ..] = &self.requests;
        let api = &mut line.api;
        let activated = self.device.activate(api, &self.wish, activate).await?;
        answered(0, signed(&activated.certificate));
        if self.kind == Kind::Keeps {
            return Ok(());
        }
        let id = &activated.activation_id;
        let ticket = self.device.ticket_as(api, id, begin).await?;
        answered(1, signed(&ticket));
        let proof = self.device.prove(&ticket, server_key);
        let done = api.deactivate(v1::DeactivateRequest { proof }).await?;
        answered(2, signed(&done.into_inner().receipt));
        if self.kind == Kind::GivesBack {
            return Ok(());
        }
        let asked = v1::CreateUpdateRequestRequest {
            request_id: ask.clone(),
            serial: self.wish.serial.clone(),
            credential: Some(v1::Credential {
                secret: Some(self.wish.credential.clone()),
            }),
            details: Some(v1::UpdateRequestDetails {
                email: "it@baker.example".into(),
                virtual_environment: v1::VirtualEnvironment::No.into(),
                license_type: "single-user".into(),
                ..Default::default()
            }),
        };
        let update = line.customer.create_update_request(asked).await?;
        let update = update.into_inner().update_request.unwrap();
        let update = update.update_request_id;
        answered(3, update.clone());
        self.upgrade(line, update, answered).await
    }

    /// The rest of a life that upgrades, from the update request on.
    async fn upgrade(
        &self,
        mut line: Line,
        update_request_id: String,
        mut answered: impl FnMut(usize, String),
    ) -> Result<(), Status> {
        let [.., generate, redeem] = &self.requests;
        let asked = v1::SupportServiceGenerateUpgradeCodeRequest {
            request_id: generate.clone(),
            update_request_id,
        };
        let code = line.support.generate_upgrade_code(asked).await?;
        let code = code.into_inner().upgrade_code.unwrap().code;
        answered(4, code.clone());
        let (device, serial) = (&self.next_device, &self.wish.serial);
        let redeemed = device
            .redeem_as(&mut line.api, serial, &code, "11.0", redeem)
            .await?;
        answered(5, signed(&redeemed.certificate));
        Ok(())
    }

    /// Asks for everything again and goes on to the end. True if the license that many share has lost a seat to it.
    async fn settle(&self, line: Line, server_key: &PublicKey) -> Result<bool, Loss> {
        let mut changed = None;
        let compare = |place: usize, answer: String| {
            let first = self.acknowledged.get(place);
            if first.is_some_and(|first| *first != answer) {
                changed = changed.or(Some(place));
            }
        };
        let lived = match self.acknowledged.get(3) {
            // Its code may be made by now, and from then on the secret of the old generation opens nothing any more.
            Some(update) => self.upgrade(line, update.clone(), compare).await,
            None => self.live(line, server_key, compare).await,
        };
        if let Err(status) = lived {
            let known = self.acknowledged.len();
            let why = format!("{known} answers were acknowledged, asking again: {status:?}");
            assert!(!is_no_answer(status.code()), "{why}");
            return Err(Loss(why));
        }
        match changed {
            Some(place) => Err(Loss(format!(
                "answer {place} was acknowledged and is another now"
            ))),
            None => Ok(self.kind == Kind::Keeps),
        }
    }
}

/// Whether the server is away or busy, which says nothing of what it lost.
fn is_no_answer(code: Code) -> bool {
    use Code::{Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable};
    matches!(
        code,
        Unavailable | DeadlineExceeded | Cancelled | ResourceExhausted
    )
}

/// What all clients of one load share.
struct Load {
    /// From here on an answer is not acknowledged: the machine may be gone already.
    over: AtomicBool,
    answers: AtomicUsize,
    wanted: usize,
    enough: Notify,
}

/// The signed part of an artefact: signatures may differ from one answer to the next (I5).
fn signed(sealed: &str) -> String {
    let input = sealed.rsplit_once('.').expect("three parts").0;
    input.to_owned()
}

/// Runs clients until `wanted` answers are acknowledged, then does `end` under them, and waits until each of them has met an
/// error.
///
/// * `singles` - licenses with one seat, one for each client that upgrades.
pub(crate) async fn load(
    vendor: &Vendor,
    server: Server,
    many: &Wish,
    singles: Vec<Wish>,
    clients: usize,
    wanted: usize,
    end: impl FnOnce(Server),
) -> Vec<Life> {
    let server_key = vendor.key.clone();
    let shared = Arc::new(Load {
        over: AtomicBool::new(false),
        answers: AtomicUsize::new(0),
        wanted,
        enough: Notify::new(),
    });
    // All connections stand before the first call, so that all clients begin at once.
    let mut lines = Vec::new();
    for _ in 0..clients.div_ceil(CLIENTS_A_LINE) {
        match Line::new(vendor, &server).await {
            Ok(line) => lines.push(line),
            Err(_) => {
                // It met its end before anybody called.
                end(server);
                return Vec::new();
            }
        }
    }
    let mut singles = singles.into_iter();
    let running: Vec<_> = (0..clients)
        .map(|number| {
            let line = lines[number / CLIENTS_A_LINE].clone();
            let (many, key, shared) = (many.clone(), server_key.clone(), Arc::clone(&shared));
            let single = singles.next();
            tokio::spawn(client(line, number, many, single, key, shared))
        })
        .collect();
    wait_for_enough(&shared, &running).await;
    shared.over.store(true, Ordering::SeqCst);
    end(server);
    let mut lives = Vec::new();
    for client in running {
        lives.extend(client.await.unwrap());
    }
    lives
}

/// Waits for the answers that are wanted, or until no client is left to get one.
async fn wait_for_enough(shared: &Load, running: &[JoinHandle<Vec<Life>>]) {
    while shared.answers.load(Ordering::SeqCst) < shared.wanted {
        if running.iter().all(JoinHandle::is_finished) {
            return;
        }
        let pause = Duration::from_millis(20);
        let _ = tokio::time::timeout(pause, shared.enough.notified()).await;
    }
}

async fn client(
    line: Line,
    number: usize,
    many: Wish,
    mut single: Option<Wish>,
    key: PublicKey,
    shared: Arc<Load>,
) -> Vec<Life> {
    let mut lives = Vec::new();
    let until = Instant::now() + PATIENCE;
    loop {
        let mut life = match single.take() {
            Some(single) => Life::new(Kind::Upgrades, single),
            None if number.is_multiple_of(2) => Life::new(Kind::GivesBack, many.clone()),
            None => Life::new(Kind::Keeps, many.clone()),
        };
        let mut acknowledged = Vec::new();
        let lived = life
            .live(line.clone(), &key, |_, answer| {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                acknowledged.push(answer);
                if shared.answers.fetch_add(1, Ordering::SeqCst) + 1 == shared.wanted {
                    shared.enough.notify_one();
                }
            })
            .await;
        life.acknowledged = acknowledged;
        lives.push(life);
        // A busy machine makes a server refuse what is too much for it; that is no end.
        let is_busy = |status: &Status| {
            matches!(
                status.code(),
                Code::ResourceExhausted | Code::DeadlineExceeded
            )
        };
        if lived.is_err_and(|status| !is_busy(&status) || Instant::now() > until) {
            return lives;
        }
    }
}

/// What came of a load.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settled {
    /// Answers that were acknowledged, and that were asked for again.
    pub(crate) acknowledged: usize,
    /// Seats that the shared license has lost to it.
    pub(crate) live: usize,
}

/// Asks for every answer again; answers what is lost, if anything is.
pub(crate) async fn settle(
    vendor: &Vendor,
    server: &Server,
    lives: Vec<Life>,
) -> Result<Settled, Loss> {
    let key = vendor.key.clone();
    let line = Line::new(vendor, server).await.unwrap();
    let mut settled = Settled::default();
    let mut running = JoinSet::new();
    for life in lives {
        // However slow the disk is, a server refuses none of so few for load.
        if running.len() == AT_ONCE
            && let Some(keeps) = running.join_next().await
        {
            settled.live += usize::from(keeps.unwrap()?);
        }
        settled.acknowledged += life.acknowledged.len();
        let (line, key) = (line.clone(), key.clone());
        running.spawn(async move { life.settle(line, &key).await });
    }
    while let Some(keeps) = running.join_next().await {
        settled.live += usize::from(keeps.unwrap()?);
    }
    Ok(settled)
}

/// How many clients ask again together.
const AT_ONCE: usize = 32;
