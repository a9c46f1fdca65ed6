//! The one writer: runs waiting transactions one after another and commits them in groups.
//!
//! It takes what is queued and waits for no timer, so groups grow with the load and an idle server
//! adds no delay. Every answer of a group, also a refusal or a mere read, waits for the group's
//! commit: it may rest on changes of a transaction before it. After the first failed commit nothing
//! is tried again and the store stops; after whatever else stops it, nothing more is committed.
//!
//! It knows the engine's promises and no engine.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Core;
use super::engine::{Batch, Changes, CommitError, Engine};
use super::entry::{Draft, Head, Sealed};
use super::error::StoreError;
use super::options;
use super::tx::{MAX_BYTES, MAX_KEYS, Staged, Tx};

/// The most transactions in one group: as many as a listener has calls in work at once, so that all of them share one sync.
const MAX_TRANSACTIONS: usize = 1024;

/// The most keys one group may change.
const MAX_GROUP_KEYS: usize = 16 * MAX_KEYS;

/// How often a group runs again because another server moved the head.
const MAX_ATTEMPTS: usize = 100;

/// What the queue carries.
pub(super) enum Message {
    /// Run this.
    Run(Box<dyn Job>),
    /// Run what is queued, then end.
    End,
}

/// A transaction that waits, its types hidden.
pub(super) trait Job: Send {
    /// Its name in the ledger.
    fn name(&self) -> &'static str;

    /// Runs the closure and keeps its answer. True if its changes are to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;

    /// Puts a fault in place of the answer.
    fn fail(&mut self, fault: StoreError);

    /// Gives the answer to the caller, if it still waits.
    fn answer(self: Box<Self>);
}

/// The closure of one call, its answer, and the way back.
pub(super) struct Pending<T, E, F> {
    name: &'static str,
    closure: F,
    answer: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
    _place: OwnedSemaphorePermit,
}

impl<T, E, F> Pending<T, E, F> {
    pub(super) fn new(
        name: &'static str,
        closure: F,
        reply: oneshot::Sender<Result<T, E>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            name,
            closure,
            answer: None,
            reply,
            _place: place,
        }
    }
}

impl<T, E, F> Job for Pending<T, E, F>
where
    F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let closure = &mut self.closure;
        let answer = catch_unwind(AssertUnwindSafe(|| closure(tx)));
        let answer =
            answer.unwrap_or_else(|_| Err(StoreError::Panicked { name: self.name }.into()));
        let keep = answer.is_ok();
        self.answer = Some(answer);
        keep
    }

    fn fail(&mut self, fault: StoreError) {
        self.answer = Some(Err(fault.into()));
    }

    fn answer(self: Box<Self>) {
        if let Some(answer) = self.answer {
            // A caller that gave up is no fault: what it asked for has happened.
            let _gone = self.reply.send(answer);
        }
    }
}

/// The writer's side of the store.
pub(super) struct Committer {
    core: Arc<Core>,
    queue: Receiver<Message>,
    waiting: VecDeque<Box<dyn Job>>,
    ending: bool,
}

impl Committer {
    pub(super) fn new(core: Arc<Core>, queue: Receiver<Message>) -> Self {
        Self {
            core,
            queue,
            waiting: VecDeque::new(),
            ending: false,
        }
    }

    /// Serves until told to end, until nobody can ask any more, or until a commit fails.
    pub(super) fn run(mut self) {
        while self.take() && self.commit() {}
        self.refuse_rest();
    }

    /// Commits what is queued now and returns: for [`Writer::Caller`](super::Writer::Caller).
    pub(super) fn run_queued(&mut self) {
        while self.core.stopped.get().is_none() {
            self.take_queued();
            if self.waiting.is_empty() {
                return;
            }
            self.commit();
        }
        self.refuse_rest();
    }

    /// Commits one group. False once the store has stopped.
    fn commit(&mut self) -> bool {
        let engine = self
            .core
            .engine
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(engine) = engine.as_deref() else {
            return false;
        };
        match commit_group(engine, &self.core, &mut self.waiting) {
            Ok(()) => true,
            Err(fault) => {
                self.core.fail(&fault);
                false
            }
        }
    }

    fn refuse_rest(&mut self) {
        self.take_rest();
        for mut job in self.waiting.drain(..) {
            job.fail(self.core.stopped());
            job.answer();
        }
    }

    /// Waits for work and takes what is queued. False if there will be no more.
    fn take(&mut self) -> bool {
        if self.waiting.is_empty() && !self.ending {
            match self.queue.recv() {
                Ok(message) => self.accept(message),
                Err(_) => self.ending = true,
            }
        }
        self.take_queued();
        !self.waiting.is_empty() || !self.ending
    }

    fn take_queued(&mut self) {
        while self.waiting.len() < MAX_TRANSACTIONS {
            match self.queue.try_recv() {
                Ok(message) => self.accept(message),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
    }

    fn take_rest(&mut self) {
        while let Ok(message) = self.queue.try_recv() {
            self.accept(message);
        }
    }

    fn accept(&mut self, message: Message) {
        match message {
            Message::Run(job) => self.waiting.push_back(job),
            Message::End => self.ending = true,
        }
    }
}

/// Runs one group and answers it. On an error the transactions of the group are answered and the
/// rest still waits.
fn commit_group(
    engine: &dyn Engine,
    core: &Core,
    waiting: &mut VecDeque<Box<dyn Job>>,
) -> Result<(), StoreError> {
    for _ in 0..MAX_ATTEMPTS {
        let mut group = Group::new(engine.head());
        group.fill(engine, core, waiting);
        // Whoever read a fault of the index, be it one of the group, has stopped the store: its state may be wrong, so nothing that was
        // decided by it is kept.
        if core.stopped.get().is_some() {
            group.refuse(core);
            return Err(core.stopped());
        }
        let started = Instant::now();
        let span = tracing::debug_span!("sync", transactions = group.ran.len());
        let outcome = span.in_scope(|| group.commit(engine));
        match outcome {
            Ok(()) => {
                (core.watcher)(options::Group {
                    transactions: group.ran.len(),
                    took: started.elapsed(),
                });
                group.ran.into_iter().for_each(Job::answer);
                return Ok(());
            }
            Err(CommitError::Moved) => {
                group
                    .ran
                    .into_iter()
                    .rev()
                    .for_each(|job| waiting.push_front(job));
            }
            Err(CommitError::Unknown(fault)) => {
                core.fail(&fault);
                group.refuse(core);
                return Err(fault);
            }
        }
    }
    Err(StoreError::Stopped(
        "other servers moved the head each time a group was committed".into(),
    ))
}

/// The transactions that are committed together, and what they come to so far.
struct Group {
    before: Head,
    head: Head,
    entries: Vec<Sealed>,
    changes: Changes,
    bytes: usize,
    ran: Vec<Box<dyn Job>>,
}

impl Group {
    fn new(before: Head) -> Self {
        Self {
            before,
            head: before,
            entries: Vec::new(),
            changes: Changes::new(),
            bytes: 0,
            ran: Vec::new(),
        }
    }

    /// Runs waiting transactions until none is left or the group is full.
    fn fill(&mut self, engine: &dyn Engine, core: &Core, waiting: &mut VecDeque<Box<dyn Job>>) {
        while self.ran.len() < MAX_TRANSACTIONS {
            let Some(mut job) = waiting.pop_front() else {
                return;
            };
            let mut tx = Tx::new(engine, core, &self.changes, self.head.sequence() + 1);
            let keep = job.run(&mut tx);
            let staged = tx.into_staged();
            if keep && let Some(fault) = staged.fault() {
                job.fail(fault);
            } else if keep && !staged.is_empty() {
                if !self.has_room_for(&staged) {
                    // It runs again as the first of the next group, where there is room.
                    waiting.push_front(job);
                    return;
                }
                self.add(job.name(), (core.clock)(), staged);
            }
            self.ran.push(job);
        }
    }

    /// Answers what ran that the store has stopped.
    fn refuse(self, core: &Core) {
        for mut job in self.ran {
            job.fail(core.stopped());
            job.answer();
        }
    }

    fn has_room_for(&self, staged: &Staged) -> bool {
        self.entries.is_empty()
            || (self.changes.len() + staged.changes.len() <= MAX_GROUP_KEYS
                && self.bytes + staged.bytes() <= MAX_BYTES)
    }

    fn add(&mut self, name: &'static str, at_unix_ms: i64, staged: Staged) {
        self.bytes += staged.bytes();
        let draft = Draft {
            at_unix_ms,
            name,
            event: staged.event.as_deref(),
            changes: &staged.changes,
        };
        let entry = Sealed::new(&self.head, self.before.sequence() + 1, &draft);
        self.head = entry.head();
        self.entries.push(entry);
        self.changes.extend(staged.changes);
    }

    /// Commits the group; one that only read needs no commit, for it read committed state.
    fn commit(&mut self, engine: &dyn Engine) -> Result<(), CommitError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let batch = Batch {
            entries: std::mem::take(&mut self.entries),
            changes: std::mem::take(&mut self.changes),
            head: self.head,
        };
        let committed = catch_unwind(AssertUnwindSafe(|| engine.commit(batch, &self.before)));
        committed.unwrap_or_else(|_| {
            let why = "the engine panicked while committing";
            Err(CommitError::Unknown(StoreError::Stopped(why.into())))
        })
    }
}
