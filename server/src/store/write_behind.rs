//! The index and what is on its way there.
//!
//! The ledger is the truth, so the index may lag behind it: a start replays what it lacks. Changes that are durable in the ledger
//! wait in memory, where every read sees them, and a thread of its own writes them to the index, sorted and many at once. A record
//! that changes with every transaction is so written once for thousands of them, and the writer waits for no page of the index.
//!
//! A scan copies what it needs of the waiting changes and holds no lock while it reads the index. For all it sees to be of one state,
//! only the index' thread waits: before it writes changes, the scans that began without them must be over.
//!
//! The index' own head moves when everything up to it is written. A crash in between leaves newer changes under an older head,
//! which a replay writes once more.

use std::convert::Infallible;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::engine::{Changes, Order, Pair};
use super::entry::Head;
use super::error::StoreError;
use super::index::Index;
use super::layers;

/// So much is worth writing.
const WORTH_WRITING: Amount = Amount {
    keys: 32 * 1024,
    bytes: 16 << 20,
};

/// Changes wait no longer, however few they are.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// With so much waiting, transactions wait for the index.
const MOST_WAITING: Amount = Amount {
    keys: 4 * WORTH_WRITING.keys,
    bytes: 4 * WORTH_WRITING.bytes,
};

/// The index behind its layers of changes.
pub(super) struct WriteBehind {
    writer: Writer,
    shared: Arc<Shared>,
}

/// The thread that writes the index. Dropped, it ends; what waits is left to the next start's replay.
struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    index: Index,
    layers: RwLock<Layers>,
    bell: Mutex<Bell>,
    rung: Condvar,
    written: Condvar,
    fault: OnceLock<StoreError>,
}

/// Changes that the index does not hold yet, the newest first.
struct Layers {
    fresh: Changes,
    /// The head that `fresh` leads to.
    head: Head,
    /// What is being written; it stays here until it is there.
    leaving: Arc<Changes>,
    /// Held by each scan that began since `leaving` was taken off.
    scans: Sender<Infallible>,
}

/// How many keys have changed, and the bytes of them and their new values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    keys: usize,
    bytes: usize,
}

impl Amount {
    fn reaches(self, limit: Self) -> bool {
        self.keys >= limit.keys || self.bytes >= limit.bytes
    }
}

/// What the two threads tell each other.
#[derive(Default)]
struct Bell {
    waiting: Amount,
    /// How often it was asked that everything be written, and which of these is done.
    asked: u64,
    done: u64,
    end: bool,
}

impl Bell {
    fn is_patient(&self) -> bool {
        self.asked == self.done && !self.end
    }
}

impl WriteBehind {
    /// Takes an index that has applied everything up to `head`.
    ///
    /// # Errors
    /// [`StoreError::Index`] when there is no thread for it.
    pub(super) fn new(index: Index, head: Head) -> Result<Self, StoreError> {
        let (scans, begun) = mpsc::channel();
        let shared = Arc::new(Shared {
            index,
            layers: RwLock::new(Layers {
                fresh: Changes::new(),
                head,
                leaving: Arc::default(),
                scans,
            }),
            bell: Mutex::default(),
            rung: Condvar::new(),
            written: Condvar::new(),
            fault: OnceLock::new(),
        });
        let work = Arc::clone(&shared);
        let thread = thread::Builder::new().name("index writer".into());
        let thread = thread.spawn(move || work.write_until_the_end(head, begun));
        let thread = thread
            .map_err(|error| StoreError::io("start a thread for", shared.index.dir(), error))?;
        Ok(Self {
            writer: Writer {
                shared: Arc::clone(&shared),
                thread: Some(thread),
            },
            shared,
        })
    }

    /// # Errors
    /// [`StoreError::Index`], also once the index could not be written.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(fault) = self.shared.fault.get() {
            return Err(fault.clone());
        }
        let layers = self.shared.read();
        if let Some(newer) = layers::get(&[&layers.fresh, &layers.leaving], key) {
            return Ok(newer.map(<[u8]>::to_vec));
        }
        // What leaves meanwhile is in the index before it is out of the layers.
        drop(layers);
        self.shared.index.get(key)
    }

    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        order: Order,
    ) -> Result<Vec<Pair>, StoreError> {
        self.scan_over((from, to), limit, order, |(from, to), limit| {
            self.shared.index.scan(from, to, limit, order)
        })
    }

    fn scan_over(
        &self,
        range: (&[u8], &[u8]),
        limit: usize,
        order: Order,
        index: impl FnMut((&[u8], &[u8]), usize) -> Result<Vec<Pair>, StoreError>,
    ) -> Result<Vec<Pair>, StoreError> {
        let layers = self.shared.read();
        let fresh = layers::within_reach(&layers.fresh, range, limit, order);
        let leaving = Arc::clone(&layers.leaving);
        // Until this ends, nothing is written to the index that neither of the two hides.
        let _begun = layers.scans.clone();
        drop(layers);
        layers::scan(&[&fresh, &leaving], range, limit, order, index)
    }

    /// Takes over changes that are durable in the ledger, and the head they lead to.
    ///
    /// Waits while the index is far behind.
    ///
    /// # Errors
    /// [`StoreError::Index`] once the index could not be written.
    pub(super) fn add(&self, changes: Changes, head: Head) -> Result<(), StoreError> {
        let shared = &self.shared;
        let mut bell = shared.bell();
        while bell.waiting.reaches(MOST_WAITING) && shared.fault.get().is_none() {
            bell = wait(&shared.written, bell);
        }
        if let Some(fault) = shared.fault.get() {
            return Err(fault.clone());
        }
        let mut layers = shared
            .layers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let is_first = layers.fresh.is_empty();
        let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        for (key, value) in changes {
            let key_length = key.len();
            bell.waiting.bytes += length(&value);
            match layers.fresh.insert(key, value) {
                Some(older) => bell.waiting.bytes -= length(&older),
                None => bell.waiting.bytes += key_length,
            }
        }
        layers.head = head;
        bell.waiting.keys = layers.fresh.len();
        if is_first || bell.waiting.reaches(WORTH_WRITING) {
            shared.rung.notify_one();
        }
        Ok(())
    }

    /// Waits until the index holds everything.
    ///
    /// # Errors
    /// [`StoreError::Index`] once the index could not be written.
    fn drain(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        let mut bell = shared.bell();
        bell.asked += 1;
        let asked = bell.asked;
        shared.rung.notify_one();
        while bell.done < asked && shared.fault.get().is_none() {
            bell = wait(&shared.written, bell);
        }
        drop(bell);
        shared.fault.get().cloned().map_or(Ok(()), Err)
    }

    /// As [`Index::state_hash`], of everything.
    pub(super) fn state_hash(&self) -> Result<[u8; 32], StoreError> {
        self.drain()?;
        self.shared.index.state_hash()
    }

    /// Writes what waits, closes the index and makes it durable.
    ///
    /// # Errors
    /// [`StoreError::Index`], [`StoreError::Io`].
    pub(super) fn close(self) -> Result<(), StoreError> {
        self.drain()?;
        let Self { writer, shared } = self;
        drop(writer);
        match Arc::into_inner(shared) {
            Some(shared) => shared.index.close(),
            None => Err(StoreError::Stopped("the index is still in use".into())),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.bell().end = true;
        self.shared.rung.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic: it puts down why it cannot go on.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    /// * `begun` - closed once the scans are over that began before anything is taken off.
    fn write_until_the_end(&self, mut applied: Head, mut begun: Receiver<Infallible>) {
        while let Some(asked) = self.wait_for_work() {
            let (scans, later) = mpsc::channel();
            let (leaving, head) = self.take_off(scans);
            // Nothing is ever sent: this ends when the last scan that does not know what leaves drops its end.
            let _over = mem::replace(&mut begun, later).recv();
            if (head != applied || !leaving.is_empty())
                && let Err(fault) = self.write(&leaving, &head)
            {
                tracing::error!(%fault, "the index could not be written");
                self.fault.get_or_init(|| fault);
                let _bell = self.bell();
                self.written.notify_all();
                return;
            }
            applied = head;
            let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
            layers.leaving = Arc::default();
            drop(layers);
            self.bell().done = asked;
            self.written.notify_all();
        }
    }

    /// Waits until there is enough to write, or it has waited long enough, or all is to be written: then gives which wish that
    /// fulfils. `None` at the end.
    fn wait_for_work(&self) -> Option<u64> {
        let idle = |bell: &mut Bell| bell.waiting.keys == 0 && bell.is_patient();
        let few = |bell: &mut Bell| !bell.waiting.reaches(WORTH_WRITING) && bell.is_patient();
        let bell = self.rung.wait_while(self.bell(), idle);
        let bell = bell.unwrap_or_else(PoisonError::into_inner);
        let bell = self.rung.wait_timeout_while(bell, LONGEST_WAIT, few);
        let (bell, _) = bell.unwrap_or_else(PoisonError::into_inner);
        (!bell.end).then_some(bell.asked)
    }

    /// * `scans` - for those that begin from now on.
    fn take_off(&self, scans: Sender<Infallible>) -> (Arc<Changes>, Head) {
        let mut bell = self.bell();
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        bell.waiting = Amount::default();
        self.written.notify_all();
        layers.leaving = Arc::new(mem::take(&mut layers.fresh));
        layers.scans = scans;
        (Arc::clone(&layers.leaving), layers.head)
    }

    fn write(&self, changes: &Changes, head: &Head) -> Result<(), StoreError> {
        let written = catch_unwind(AssertUnwindSafe(|| self.index.apply(changes, head)));
        written.unwrap_or_else(|_| {
            let why = "sled panicked while writing it".into();
            let dir = self.index.dir().to_owned();
            Err(StoreError::Index { dir, why })
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn bell(&self) -> MutexGuard<'_, Bell> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(on: &Condvar, bell: MutexGuard<'a, Bell>) -> MutexGuard<'a, Bell> {
    on.wait(bell).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;

    /// Longer than any machine takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn index(dir: &Path) -> Index {
        Index::open(dir, 4 << 20).ok().unwrap()
    }

    fn changes(changes: &[(&str, Option<&str>)]) -> Changes {
        let change = |(key, value): &(&str, Option<&str>)| {
            (key.as_bytes().to_vec(), value.map(|value| value.into()))
        };
        changes.iter().map(change).collect()
    }

    fn read(behind: &WriteBehind, order: Order) -> Vec<String> {
        let pairs = behind.scan(b"a", b"z", 9, order).unwrap().into_iter();
        let text = |(key, value): Pair| String::from_utf8([key, value].concat()).unwrap();
        pairs.map(text).collect()
    }

    #[test]
    fn what_waits_is_read_before_and_after_it_is_written() {
        let temp = tempfile::tempdir().unwrap();
        let (first, second) = (Head::new(1, [1; 32]), Head::new(2, [2; 32]));
        let index = index(temp.path());
        let below = changes(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
        index.apply(&below, &first).unwrap();
        let behind = WriteBehind::new(index, first).unwrap();
        let newer = changes(&[("b", None), ("c", Some("2")), ("d", Some("2"))]);
        behind.add(newer, second).unwrap();
        for _ in 0..2 {
            assert_eq!(read(&behind, Order::Ascending), ["a1", "c2", "d2"]);
            assert_eq!(read(&behind, Order::Descending), ["d2", "c2", "a1"]);
            assert_eq!(behind.get(b"b").unwrap(), None);
            assert_eq!(behind.get(b"d").unwrap(), Some(b"2".to_vec()));
            behind.drain().unwrap();
        }
        let written = &behind.shared.index;
        assert_eq!(written.get(b"b").unwrap(), None);
        assert_eq!(written.get(b"d").unwrap(), Some(b"2".to_vec()));
        assert_eq!(written.head(), Ok(second));
        assert!(behind.shared.read().leaving.is_empty());
    }

    #[test]
    fn a_scan_that_is_held_up_holds_up_nobody_but_the_thread_of_the_index() {
        let temp = tempfile::tempdir().unwrap();
        let behind = WriteBehind::new(index(temp.path()), Head::EMPTY).unwrap();
        let one = changes(&[("a", Some("1")), ("b", Some("1"))]);
        behind.add(one, Head::new(1, [1; 32])).unwrap();
        behind.drain().unwrap();
        let ((entered, enters), (go, goes)) = (mpsc::channel(), mpsc::channel::<()>());
        let (tell, told) = mpsc::channel();
        let behind = &behind;
        let index = |(from, to): (&[u8], &[u8]), limit| {
            behind.shared.index.scan(from, to, limit, Order::Ascending)
        };
        thread::scope(|scope| {
            let scan = scope.spawn(move || {
                let range: (&[u8], &[u8]) = (b"a", b"z");
                behind.scan_over(range, 9, Order::Ascending, |range, limit| {
                    entered.send(()).unwrap();
                    goes.recv().unwrap();
                    index(range, limit)
                })
            });
            enters.recv().unwrap();
            scope.spawn(move || {
                let two = changes(&[("b", None), ("c", Some("2"))]);
                behind.add(two, Head::new(2, [2; 32])).unwrap();
                // The thread of the index takes them off, and waits before it writes them.
                let until = Instant::now() + PATIENCE;
                while behind.shared.read().leaving.is_empty() && Instant::now() < until {
                    thread::yield_now();
                }
                let three = changes(&[("d", Some("3"))]);
                behind.add(three, Head::new(3, [3; 32])).unwrap();
                let seen = (behind.get(b"b").unwrap(), behind.get(b"d").unwrap());
                tell.send((seen, read(behind, Order::Ascending))).unwrap();
            });
            let seen = told.recv_timeout(2 * PATIENCE);
            let written = behind.shared.index.get(b"c").unwrap();
            go.send(()).unwrap();
            let (seen, pairs) = seen.unwrap();
            assert_eq!(seen, (None, Some(b"3".to_vec())));
            assert_eq!(pairs, ["a1", "c2", "d3"]);
            assert_eq!(written, None, "written below a scan that does not hide it");
            let pairs = scan.join().unwrap().unwrap().into_iter();
            let keys: Vec<_> = pairs.map(|(key, _)| key).collect();
            assert_eq!(keys, [b"a", b"b"], "all of one state");
        });
        behind.drain().unwrap();
        assert_eq!(read(behind, Order::Ascending), ["a1", "c2", "d3"]);
    }

    #[test]
    fn large_values_count_by_their_bytes() {
        let temp = tempfile::tempdir().unwrap();
        let behind = WriteBehind::new(index(temp.path()), Head::EMPTY).unwrap();
        let mut entries = 0;
        let mut add = |key: &str, value: &str| {
            entries += 1;
            let newer = changes(&[(key, Some(value))]);
            behind.add(newer, Head::new(entries, [1; 32])).unwrap();
        };
        // A scan that is not over: the index takes nothing off but this.
        let scan = behind.shared.read().scans.clone();
        add("a", "1");
        let until = Instant::now() + PATIENCE;
        while behind.shared.read().leaving.is_empty() && Instant::now() < until {
            thread::yield_now();
        }
        let large = "v".repeat(1 << 20);
        for number in 0..64 {
            let key = format!("k{number:02}");
            add(&key, "small");
            add(&key, &large);
        }
        let waiting = behind.shared.bell().waiting;
        let bytes = 64 * (3 + (1 << 20));
        assert_eq!(waiting, Amount { keys: 64, bytes });
        assert!(waiting.reaches(MOST_WAITING));
        drop(scan);
        add("z", "2");
        behind.drain().unwrap();
        assert_eq!(behind.shared.index.head(), Ok(Head::new(130, [1; 32])));
        assert_eq!(behind.shared.bell().waiting, Amount::default());
    }

    #[test]
    fn nothing_up_to_the_head_is_missing_when_it_is_dropped() {
        let temp = tempfile::tempdir().unwrap();
        let behind = WriteBehind::new(index(temp.path()), Head::EMPTY).unwrap();
        for number in 1..=40_u8 {
            let text = number.to_string();
            let newer = changes(&[(&text, Some("1")), ("last", Some(&text))]);
            behind
                .add(newer, Head::new(number.into(), [number; 32]))
                .unwrap();
            if number == 20 {
                behind.drain().unwrap();
            }
        }
        drop(behind);
        let index = index(temp.path());
        let head = index.head().unwrap().sequence();
        assert!(head >= 20, "{head}");
        for number in 1..=head {
            let text = number.to_string();
            assert!(index.get(text.as_bytes()).unwrap().is_some(), "{number}");
        }
    }

    #[test]
    fn after_a_failed_write_nothing_more_is_taken_over() {
        let temp = tempfile::tempdir().unwrap();
        let behind = WriteBehind::new(index(temp.path()), Head::EMPTY).unwrap();
        let fault = || StoreError::Stopped("a test".into());
        behind.shared.fault.get_or_init(fault);
        let newer = changes(&[("a", Some("1"))]);
        assert!(behind.add(newer, Head::new(1, [1; 32])).is_err());
        // A server looks whether its store answers, and ends, though nobody writes.
        assert!(behind.get(b"a").is_err());
        assert!(behind.drain().is_err());
        assert!(behind.close().is_err());
    }
}
