//! A million licenses in the store: what a call costs then, the memory, the start after a crash, and the rebuild of the index.
//!
//! The store is filled with copies of one license that the server itself made: its records with another serial of the same length in
//! every key and value. They go through the store's own transactions.
//!
//! `memory_mib` is the most that the process had from its start on the filled store to the end of the load: opening the index, the
//! snapshot that such a start makes, and the windows. The kill comes while calls are in flight, so that the start after it has something to
//! replay; `rebuild_memory_mib` is the most of the start that makes the index anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::task::JoinSet;
use upkeep::serial::SerialNumber;
use upkeep_server::store::{Options, Pair, Store, StoreError};

use super::{Arguments, Bench, CONNECTIONS, LOOKS};
use crate::figures::{Single, Spread};
use crate::load::{Load, Owned};
use crate::server::Server;
use crate::{count, cpu, micros};

pub(super) async fn measure(
    arguments: &Arguments,
    bench: &mut Bench,
    stored: u32,
) -> anyhow::Result<Vec<Single>> {
    let start = || Server::start(arguments.server.as_deref(), arguments.data.as_deref(), &[]);
    // Few: a server of its own with a thousand.
    let few_server = start()?;
    let few_load = Load::open(&few_server, CONNECTIONS).await?;
    let mut few = few_load.create("FEW", FEW, 1_000).await?;

    let mut server = start()?;
    let load = Load::open(&server, CONNECTIONS).await?;
    load.create(NAME, 1, 1_000).await?;
    drop(load);
    server.stop()?;
    let began = Instant::now();
    fill(&server, stored).await?;
    let filled = began.elapsed();
    eprintln!("{stored} licenses stored in {:.0} s", filled.as_secs_f64());
    server.serve_again()?;
    let load = Load::open(&server, CONNECTIONS).await?;
    let serials =
        (0..SPREAD).map(|n| serial(u32::try_from(n * 7_368_787 % u64::from(stored)).unwrap_or(0)));
    let serials = serials.map(|text| SerialNumber::parse(&text));
    let mut large = load.secrets(serials.collect::<Result<_, _>>()?).await?;

    // After so many changes a start makes a snapshot beside the calls: that is no part of what a call costs.
    cpu::rest(server.pid(), LOOKS).await?;
    let mut ratios = Vec::new();
    for _ in 0..bench.rounds {
        let few_us = window(&few_server, &few_load, &mut few, bench.quick).await?;
        let large_us = window(&server, &load, &mut large, bench.quick).await?;
        eprintln!("few {few_us:.0} us, many {large_us:.0} us");
        ratios.push(large_us / few_us);
    }
    drop((few_load, few_server));
    let (_, most_mib) = server.memory_mib()?;

    let signed = load.sign(&mut large, UNDER_WAY).await?;
    let calls = tokio::spawn(async move { load.activate(signed, 512).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.kill()?;
    if calls.await?.is_ok() {
        bail!("all calls were answered before the kill");
    }
    let after_kill = server.serve_again()?;
    let (resident_mib, _) = server.memory_mib()?;
    server.stop()?;
    let data = server.data_dir()?;
    std::fs::remove_dir_all(data.join("index")).context("the index can't be removed")?;
    let rebuilt = server.serve_again()?;
    let (_, rebuild_mib) = server.memory_mib()?;

    let single = |name, title: String, value: f64, unit, goal| Single {
        name,
        title,
        value: Spread::of(std::iter::once(value)),
        unit,
        goal,
    };
    Ok(vec![
        Single {
            name: "large_over_small",
            title: format!("server CPU of Activate, warm, 512 in flight: {stored} stored / 1,000"),
            value: Spread::of(ratios.into_iter()),
            unit: "",
            goal: Some("<= 1.15"),
        },
        single(
            "memory_mib",
            format!("memory at most, {stored} licenses, under that load"),
            most_mib,
            "MiB",
            Some("<= 1024"),
        ),
        single(
            "memory_after_start_mib",
            "memory after the start".into(),
            resident_mib,
            "MiB",
            None,
        ),
        single(
            "start_after_kill_s",
            format!("start after kill -9, {stored} licenses"),
            after_kill.as_secs_f64(),
            "s",
            Some("< 5"),
        ),
        single(
            "rebuild_s",
            format!("start that makes the index anew, {stored} licenses"),
            rebuilt.as_secs_f64(),
            "s",
            Some("< 60"),
        ),
        single(
            "fill_per_second",
            "licenses written through the store's transactions".into(),
            f64::from(stored) / filled.as_secs_f64(),
            "/s",
            None,
        ),
        single(
            "rebuild_memory_mib",
            "memory at most, start that makes the index anew".into(),
            rebuild_mib,
            "MiB",
            None,
        ),
    ])
}

async fn window(
    server: &Server,
    load: &Load,
    licenses: &mut [Owned],
    quick: bool,
) -> anyhow::Result<f64> {
    let wanted = if quick { 1_000 } else { 4_000 };
    let signed = load.sign(licenses, wanted).await?;
    let (_, used) = cpu::until_rest(server.pid(), load.activate(signed, 512)).await?;
    Ok(micros(used) / count(wanted))
}

/// Copies the license that is there until there are `stored`.
async fn fill(server: &Server, stored: u32) -> anyhow::Result<()> {
    let store = Store::open(Options::new(&server.data_dir()?))?;
    let template = serial(0);
    let mut pairs = store.scan(&[1], &[0xFF], 100_000)?;
    pairs.retain(|(key, _)| place_of(key, template.as_bytes()).is_some());
    if pairs.is_empty() {
        bail!("the license to copy is not there");
    }
    let pairs: Arc<[Pair]> = pairs.into();
    let each = u32::try_from(400 / pairs.len()).unwrap_or(1).max(1);
    let mut running = JoinSet::new();
    let mut next = 1;
    while next < stored {
        let (from, to) = (next, stored.min(next.saturating_add(each)));
        next = to;
        let (store, pairs, template) = (store.clone(), Arc::clone(&pairs), template.clone());
        if running.len() >= AT_ONCE
            && let Some(done) = running.join_next().await
        {
            done??;
        }
        running.spawn(async move {
            let copied = store.transact("Fill", move |tx| {
                for number in from..to {
                    let serial = serial(number);
                    for (key, value) in pairs.iter() {
                        let key = replaced(key, template.as_bytes(), serial.as_bytes());
                        tx.put(key, replaced(value, template.as_bytes(), serial.as_bytes()));
                    }
                }
                Ok::<(), StoreError>(())
            });
            copied.await.map(|_| ())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    tokio::task::spawn_blocking(move || store.close()).await??;
    Ok(())
}

fn place_of(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Puts another part of the same length in its place, wherever it stands.
fn replaced(bytes: &[u8], part: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut from = 0;
    while let Some(at) = out.get(from..).and_then(|rest| place_of(rest, part)) {
        let at = from + at;
        if let Some(place) = out.get_mut(at..at + part.len()) {
            place.copy_from_slice(with);
        }
        from = at + part.len();
    }
    out
}

fn serial(number: u32) -> String {
    format!("{NAME}-{number:07}")
}

const NAME: &str = "COPY";
const FEW: usize = 1_000;
/// So many of the large store's licenses are activated, from all over it.
const SPREAD: u64 = 4_000;
const AT_ONCE: usize = 64;
/// Calls that are begun before the kill: more than are answered by then.
const UNDER_WAY: usize = 4_000;
