//! G2: the power is cut at random calls of the file layer, many times on one store; no acknowledged transaction is lost, none is
//! torn, and the store opens each time.
//!
//! Each workload is a plan: transaction number n writes the same changes whenever it is asked for. After each cut the ledger
//! must hold every acknowledged transaction, each entry exactly what its plan says, and the records exactly what a replay of the
//! ledger gives. Everything follows from the seed.
//!
//! Two controls show that the rig sees: on a disk whose syncs do nothing, and on one that never syncs a directory, the same lives
//! must lose something.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use upkeep_server::store::{Options, Store, StoreError, Tx, Writer, verify};

use crate::coin::{Coin, size};
use crate::damage::{copy, damage};
use crate::disk::{Disk, Lie};
use crate::loss::Loss;
use crate::machine::open_store;

/// What a store is doing while the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    /// One transaction after another.
    Paced,
    /// Many at once: groups.
    Groups,
    /// Hundreds of records in each transaction, as an import makes them.
    Import,
    /// As Import, many at once.
    ImportGroups,
    /// A new segment for nearly every group.
    Segments,
    /// The same few records again and again, and deleted again and again.
    Rewrites,
    /// The longest values.
    LongValues,
    /// Entries that change no record.
    Events,
    /// A snapshot after every few transactions: what a start begins from when the index is gone.
    Snapshots,
    /// Closed and opened again all the time.
    Restarts,
    /// The cut comes while the store is being made, or soon after.
    Beginnings,
    /// The cut comes while the store recovers from the last one.
    Recoveries,
    /// All of these in turn.
    Mixed,
}

const WORKLOADS: [Workload; 13] = [
    Workload::Paced,
    Workload::Groups,
    Workload::Import,
    Workload::ImportGroups,
    Workload::Segments,
    Workload::Rewrites,
    Workload::LongValues,
    Workload::Events,
    Workload::Snapshots,
    Workload::Restarts,
    Workload::Beginnings,
    Workload::Recoveries,
    Workload::Mixed,
];

impl Workload {
    /// What transaction `number` changes.
    fn plan(self, number: u64) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let fresh = |count: usize, bytes: usize| {
            (0..count).map(move |at| {
                let key = format!("r/{number:08}/{at:03}");
                (key.into_bytes(), Some(filled(number, bytes)))
            })
        };
        match self {
            Self::Mixed => WORKLOADS[number as usize % (WORKLOADS.len() - 1)].plan(number),
            Self::Import | Self::ImportGroups => fresh(300, 400).collect(),
            Self::Segments => fresh(2, 700).collect(),
            Self::LongValues => fresh(3, 64 << 10).collect(),
            Self::Events => BTreeMap::new(),
            Self::Rewrites => (0..4)
                .map(|at| {
                    let key = format!("w/{:02}", (number * 3 + at) % 20).into_bytes();
                    let deleted = (number + at).is_multiple_of(5);
                    (key, (!deleted).then(|| filled(number, 200)))
                })
                .collect(),
            _ => fresh(3, 150).collect(),
        }
    }

    fn at_once(self) -> u64 {
        match self {
            Self::Groups | Self::Segments => 24,
            Self::ImportGroups => 4,
            Self::Mixed => 6,
            Self::Restarts => 2,
            _ => 1,
        }
    }

    /// Roughly how many file calls there are between two cuts.
    fn span(self) -> usize {
        match self {
            Self::Beginnings => 30,
            Self::Recoveries => 12,
            _ => 60,
        }
    }

    fn segment_bytes(self) -> u64 {
        match self {
            Self::Segments => 1500,
            Self::Import | Self::ImportGroups | Self::LongValues => 1 << 20,
            _ => 16 << 10,
        }
    }

    /// A longer life costs more with each cut, for all of it is checked.
    fn cuts_of_a_life(self) -> usize {
        match self {
            Self::Beginnings => 1,
            Self::Import | Self::ImportGroups | Self::LongValues => 4,
            _ => 10,
        }
    }
}

fn filled(number: u64, bytes: usize) -> Vec<u8> {
    let text = format!("{number:08}.");
    text.bytes().cycle().take(bytes).collect()
}

/// A store from its making through many cuts.
struct Life {
    workload: Workload,
    place: TempDir,
    disk: Disk,
    coin: Coin,
    /// Acknowledged before the last cut.
    acknowledged: BTreeSet<u64>,
    next: u64,
    /// What the index was when it was last closed.
    closed: Option<PathBuf>,
}

impl Life {
    fn new(workload: Workload, seed: u64) -> Self {
        Self {
            workload,
            place: place(),
            disk: Disk::new(seed),
            coin: Coin::new(seed ^ 0x5EED),
            acknowledged: BTreeSet::new(),
            next: 1,
            closed: None,
        }
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn options(&self) -> Options {
        Options::new(&self.data())
            .create(true)
            .cache_bytes(4 << 20)
            .segment_bytes(self.workload.segment_bytes())
            .reserve_bytes(4096)
            .fs(std::sync::Arc::new(self.disk.clone()))
            .clock(|| 1_700_000_000_000)
            .writer(Writer::Caller)
    }

    /// Makes the store on a disk that does not lie yet, so that a control loses what was acknowledged and not the store.
    fn begin_honestly(&self) {
        open_store(|| self.options()).unwrap().close().unwrap();
        self.disk.cut();
    }

    /// Works until the machine stops, then cuts the power. Answers what is wrong with what is left.
    async fn cut(&mut self) -> Result<(), Loss> {
        let span = self.workload.span();
        self.disk.stop_in(1 + self.coin.below(span) as u64);
        while self.session().await.is_ok() {}
        self.disk.kill();
        self.disk.cut();
        let state = self.disk.read(&self.data().join("index.state"));
        let clean = state.is_some_and(|line| line.starts_with(b"clean"));
        let closed = self.closed.clone().filter(|_| clean);
        damage(&self.data(), &mut self.coin, closed.as_deref());
        let store =
            open_store(|| self.options()).map_err(|fault| Loss::of(&fault).at("does not open"))?;
        let checked = self.check(&store);
        // This process ends like one that is killed: what it would still write does not count.
        self.disk.kill();
        drop(store);
        self.disk.end_process();
        self.closed = None;
        checked
    }

    /// One run of the server: opened, used, and for some closed.
    async fn session(&mut self) -> Result<(), StoreError> {
        let store = open_store(|| self.options())?;
        self.closed = None;
        let rounds = match self.workload {
            Workload::Restarts | Workload::Beginnings => 1 + self.coin.below(3),
            _ => usize::MAX,
        };
        let mut worked = Ok(());
        for _ in 0..rounds {
            worked = self.work(&store).await;
            if matches!(self.workload, Workload::Snapshots | Workload::Mixed) && self.coin.one_in(4)
            {
                // One that fails is made again another time; the next transaction finds the disk gone.
                let _ = store.snapshot();
            }
            if worked.is_err() {
                break;
            }
        }
        let closed = store.close();
        if worked.is_ok() && closed.is_ok() {
            let kept = self.place.path().join("closed");
            copy(&self.data().join("index"), &kept);
            self.closed = Some(kept);
        }
        worked.and(closed)
    }

    async fn work(&mut self, store: &Store) -> Result<(), StoreError> {
        let numbers: Vec<u64> = (self.next..self.next + self.workload.at_once()).collect();
        self.next += self.workload.at_once();
        let running = tokio::task::LocalSet::new();
        let calls: Vec<_> = numbers
            .iter()
            .map(|number| running.spawn_local(transact(store.clone(), self.workload, *number)))
            .collect();
        running.await;
        let mut outcome = Ok(());
        for (number, call) in numbers.into_iter().zip(calls) {
            match call.await.unwrap() {
                Ok(()) => drop(self.acknowledged.insert(number)),
                Err(fault) => outcome = Err(fault),
            }
        }
        outcome
    }

    /// What is seen now is acknowledged from now on: somebody may have read it.
    fn check(&mut self, store: &Store) -> Result<(), Loss> {
        let entries = store
            .entries(1, usize::MAX)
            .map_err(|fault| Loss::of(&fault).at("the ledger"))?;
        let mut seen = BTreeSet::new();
        let mut replayed = BTreeMap::new();
        for entry in &entries {
            let number = entry.event().and_then(|event| event.try_into().ok());
            let number = number.ok_or_else(|| Loss("an entry without its number".to_owned()))?;
            let number = u64::from_be_bytes(number);
            let plan = self.workload.plan(number);
            let changes: BTreeMap<Vec<u8>, Option<Vec<u8>>> = entry
                .changes()
                .iter()
                .map(|change| (change.key().to_vec(), change.value().map(<[u8]>::to_vec)))
                .collect();
            if number >= self.next || !seen.insert(number) || plan != changes {
                return Err(Loss(format!(
                    "entry {} is not transaction {number}",
                    entry.sequence()
                )));
            }
            for (key, value) in changes {
                match value {
                    Some(value) => replayed.insert(key, value),
                    None => replayed.remove(&key),
                };
            }
        }
        let lost: Vec<_> = self.acknowledged.difference(&seen).collect();
        if !lost.is_empty() {
            return Err(Loss(format!("lost {lost:?}")));
        }
        let records = store
            .scan(b"", &[0xFF], usize::MAX)
            .map_err(|fault| Loss::of(&fault).at("the records"))?;
        if records.into_iter().collect::<BTreeMap<_, _>>() != replayed {
            return Err(Loss("the records are not what the ledger gives".to_owned()));
        }
        self.acknowledged = seen;
        Ok(())
    }
}

async fn transact(store: Store, workload: Workload, number: u64) -> Result<(), StoreError> {
    let done = store.transact("planned", move |tx: &mut Tx<'_>| {
        tx.event(number.to_be_bytes().to_vec());
        for (key, value) in workload.plan(number) {
            match value {
                Some(value) => tx.put(key, value),
                None => tx.delete(key),
            }
        }
        Ok::<_, StoreError>(())
    });
    done.await.map(|_| ())
}

/// A directory in memory where there is one: sled's own syncs then cost nothing.
pub(crate) fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    TempDir::new_in(memory).unwrap_or_else(|_| TempDir::new().unwrap())
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Cuts the power so many times under one workload; answers how many transactions were acknowledged, or the first loss.
fn cuts(workload: Workload, cuts: usize, lie: Lie) -> Result<usize, Loss> {
    let (mut done, mut acknowledged, mut seed) = (0, 0, 0);
    while done < cuts {
        seed += 1;
        let mut life = Life::new(workload, seed);
        if lie != Lie::None {
            life.begin_honestly();
            life.disk.lie(lie);
        }
        let here = workload.cuts_of_a_life().min(cuts - done);
        for cut in 1..=here {
            run(life.cut())
                .map_err(|loss| loss.at(format!("{workload:?}, seed {seed}, cut {cut}")))?;
        }
        done += here;
        acknowledged += life.acknowledged.len();
        if lie == Lie::None {
            verify(life.options()).map_err(|fault| {
                Loss::of(&fault).at(format!("{workload:?}, seed {seed}, after {here} cuts"))
            })?;
        }
    }
    Ok(acknowledged)
}

#[test]
fn g2_no_power_cut_loses_an_acknowledged_transaction() {
    let per_workload = size("UPKEEP_G2_CUTS", 130).div_ceil(WORKLOADS.len());
    let mut acknowledged = 0;
    for workload in WORKLOADS {
        acknowledged +=
            cuts(workload, per_workload, Lie::None).unwrap_or_else(|loss| panic!("{loss}"));
    }
    let cuts = per_workload * WORKLOADS.len();
    println!(
        "G2: {cuts} cuts over {} workloads, {acknowledged} acknowledged, 0 lost",
        WORKLOADS.len()
    );
    assert!(acknowledged > cuts, "the load was on: {acknowledged}");
}

/// The rig must see what it is there to see.
fn must_lose(lie: Lie, workloads: &[Workload]) {
    for workload in workloads {
        match cuts(*workload, 60, lie) {
            Err(loss) => println!("control, {lie:?} does nothing: {loss}"),
            Ok(acknowledged) => {
                panic!(
                    "{workload:?}: {lie:?} does nothing, and 60 cuts lost none of {acknowledged}: the rig is blind"
                )
            }
        }
    }
}

#[test]
fn g2_control_without_sync_the_same_cuts_lose() {
    use Workload::{Groups, Import, Paced, Restarts, Rewrites, Segments};
    must_lose(
        Lie::Sync,
        &[Paced, Groups, Import, Segments, Rewrites, Restarts],
    );
}

#[test]
fn g2_control_without_directory_syncs_the_same_cuts_lose() {
    must_lose(Lie::Directory, &[Workload::Segments]);
}
