//! A customer's calls over TLS, as an administrator makes them, and what they cost the server.

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use upkeep::rpc::v1;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;

use super::sale::{self, PRODUCTS};
use super::vendor::Serving;
use crate::load::dial;
use crate::{cpu, float, micros};

/// A connection whose own work is done on the thread that calls it.
pub(crate) struct Client {
    runtime: Runtime,
    api: MaintenanceServiceClient<Channel>,
    serving: Serving,
}

impl Client {
    pub(crate) fn connect(serving: Serving) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let address = serving.running.staff_addr().to_string();
        let channel = runtime.block_on(dial(&address, &serving.ca, Some(&serving.identity)))?;
        Ok(Self {
            runtime,
            api: MaintenanceServiceClient::new(channel),
            serving,
        })
    }

    /// The server's CPU time for one GetMaintenance, in microseconds.
    pub(crate) fn statuses(&self, count: u32, calls: u32) -> anyhow::Result<f64> {
        self.window(calls, |call| {
            let mut api = self.api.clone();
            let request = v1::GetMaintenanceRequest {
                serial: sale::serial(spread(call, count)),
                ..Default::default()
            };
            async move { api.get_maintenance(request).await.map(drop) }
        })
    }

    /// The server's CPU time for one CreateQuote, in microseconds: a durable one, of a license whose price is in the book.
    pub(crate) fn quotes(&self, count: u32, calls: u32) -> anyhow::Result<f64> {
        self.window(calls, |call| {
            let mut api = self.api.clone();
            let request = v1::CreateQuoteRequest {
                serial: sale::serial(priced(spread(call, count))),
                terms: 1,
                ..Default::default()
            };
            async move { api.create_quote(request).await.map(drop) }
        })
    }

    pub(crate) fn stop(self) -> anyhow::Result<()> {
        drop((self.api, self.runtime));
        self.serving.runtime.block_on(self.serving.running.stop())?;
        Ok(())
    }

    /// Makes `calls` calls twice, some at a time, and measures the second time: connections, caches and the store are warm then.
    fn window<F, A>(&self, calls: u32, call: F) -> anyhow::Result<f64>
    where
        F: Fn(u32) -> A,
        A: Future<Output = Result<(), tonic::Status>> + Send + 'static,
    {
        let mut used = Vec::new();
        for round in 0..ROUNDS {
            let (process, own) = (cpu::of_process(std::process::id())?, cpu::of_this_thread()?);
            self.runtime.block_on(async {
                let mut running = JoinSet::new();
                for number in 0..calls {
                    if running.len() >= IN_FLIGHT {
                        running.join_next().await.context("no call")???;
                    }
                    running.spawn(call(round * calls + number));
                }
                while let Some(done) = running.join_next().await {
                    done??;
                }
                anyhow::Ok(())
            })?;
            let own = cpu::of_this_thread()?.saturating_sub(own);
            let process = cpu::of_process(std::process::id())?.saturating_sub(process);
            used.push(micros(process.saturating_sub(own)) / float(calls.into()));
        }
        // The first round warms up.
        let mut measured = used.split_off(1);
        measured.sort_by(f64::total_cmp);
        measured
            .get(measured.len() / 2)
            .copied()
            .context("no round")
    }
}

/// Another license for each call, from all over the store.
fn spread(call: u32, count: u32) -> u32 {
    let place = u64::from(call) * 7_368_787 % u64::from(count);
    u32::try_from(place).unwrap_or(0)
}

/// The license near `number` whose maintenance is priced by its modules, and may be bought at any time.
fn priced(number: u32) -> u32 {
    let video = PRODUCTS.iter().position(|(product, _)| *product == "video");
    let place = u32::try_from(video.unwrap_or(0)).unwrap_or(0);
    number - number % 4 + place
}

const ROUNDS: u32 = 4;
const IN_FLIGHT: usize = 32;
