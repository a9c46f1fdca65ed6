//! How many writing calls may be in work, when the machine or its disk is slower than the fixed cap supposes.
//!
//! A queue that is always full helps nobody: each call waits for all before it, and answers come after their callers have left.
//! By Little's law the wait is the number of calls in work over the rate at which they end, whatever they wait for: a disk, a
//! core, a lock. So, when there have been more than a few for a second, only as many may be in work as end within the target, by
//! the rate of that second. Reading calls do not count: they do not wait for the disk, and would hide that the others do. A call is in
//! work once its request is whole: what a caller keeps back takes no place. One with a stream of requests is in work from its beginning
//! until its answers begin.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The pace of one listener.
pub(super) struct Pace {
    /// Without a target everybody may.
    target: Option<Duration>,
    most: usize,
    work: Mutex<Work>,
}

struct Work {
    in_work: usize,
    /// How many have ended since the beginning.
    done: u64,
    limit: usize,
    /// When so many had ended, oldest first; empty while there is little to do.
    marks: VecDeque<(Instant, u64)>,
}

impl Pace {
    /// * `target` - how long a call may wait for its end.
    /// * `most` - the fixed cap, which holds besides.
    pub(super) fn new(target: Option<Duration>, most: usize) -> Arc<Self> {
        Arc::new(Self {
            target,
            most,
            work: Mutex::new(Work {
                in_work: 0,
                done: 0,
                limit: most,
                marks: VecDeque::new(),
            }),
        })
    }

    /// A writing call begins, unless as many are in work as end in time.
    pub(super) fn enter(self: &Arc<Self>, now: Instant) -> Option<Turn> {
        let mut work = self.lock();
        self.look(&mut work, now);
        if work.in_work >= work.limit {
            return None;
        }
        work.in_work += 1;
        Some(Turn {
            pace: Arc::clone(self),
        })
    }

    /// How many may be in work now.
    pub(super) fn limit(&self) -> usize {
        self.lock().limit
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the limit by what has ended lately.
    fn look(&self, work: &mut Work, now: Instant) {
        let Some(target) = self.target else {
            return;
        };
        if work.in_work <= CALM {
            work.marks.clear();
            work.limit = self.most;
            return;
        }
        let newest = work.marks.back().map(|(at, _)| now.duration_since(*at));
        if newest.is_some_and(|age| age < STEP) {
            return;
        }
        // The one kept in front is the newest that is old enough.
        while work
            .marks
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= SPAN)
        {
            work.marks.pop_front();
        }
        let old_enough = |at: Instant| now.duration_since(at) >= SPAN;
        if let Some((at, done)) = work.marks.front()
            && old_enough(*at)
        {
            let ended = u128::from(work.done.saturating_sub(*done));
            let span = now.duration_since(*at).as_micros().max(1);
            let in_time = ended.saturating_mul(target.as_micros()) / span;
            work.limit = usize::try_from(in_time)
                .unwrap_or(self.most)
                .max(LEAST)
                .min(self.most);
        }
        work.marks.push_back((now, work.done));
    }
}

/// A writing call in work. Dropped, it is over, but counts as ended only after [`Turn::ended`].
pub(super) struct Turn {
    pace: Arc<Pace>,
}

impl Turn {
    /// It came to an answer.
    pub(super) fn ended(self) {
        self.pace.lock().done += 1;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut work = self.pace.lock();
        work.in_work = work.in_work.saturating_sub(1);
    }
}

/// Whether the call at `path` waits for the disk: all of the API do but those that only read.
pub(super) fn writes(path: &str) -> bool {
    let Some((service, method)) = path.rsplit_once('/') else {
        return false;
    };
    service.starts_with("/upkeep.")
        && method != "CreateChallenge"
        && !READS.iter().any(|verb| method.starts_with(verb))
}

/// Whether the request at `path` is a stream: it is not whole before the call has ended.
pub(super) fn is_streamed(path: &str) -> bool {
    STREAMED.contains(&path)
}

const STREAMED: [&str; 1] = ["/upkeep.v1.AdminService/ImportLicenses"];
const READS: [&str; 5] = ["Get", "List", "Check", "LookUp", "Preview"];
/// Between two looks: long enough for a group commit on a slow disk, short enough to act before callers give up.
const STEP: Duration = Duration::from_millis(250);
/// The time over which the rate is taken; shorter, and one slow sync, or the small first group, would look like a slow disk.
const SPAN: Duration = Duration::from_secs(1);
/// So many may always be in work: one group commit serves many for the price of one, and nearly empty ones would waste a slow disk.
const LEAST: usize = 64;
/// With no more than these nobody waits for anybody.
const CALM: usize = 32;

#[cfg(test)]
mod tests {
    use prost::Message;
    use upkeep::rpc::FILE_DESCRIPTOR_SET;

    use super::*;

    /// What came of a run.
    #[derive(Debug, Default)]
    struct Run {
        ended: usize,
        refused: usize,
        longest: Duration,
    }

    /// `offered` calls come in a second, and a server that ends them in order, `able` a second, for `secs` seconds; the waits
    /// are those of the second half.
    fn run(pace: &Arc<Pace>, offered: u64, able: u64, secs: u64) -> Run {
        let began = Instant::now();
        let mut run = Run::default();
        let mut queue = VecDeque::new();
        for ms in 0..secs * 1_000 {
            let now = began + Duration::from_millis(ms);
            let per = |rate: u64| (ms + 1) * rate / 1_000 - ms * rate / 1_000;
            for _ in 0..per(offered) {
                match pace.enter(now) {
                    Some(turn) => queue.push_back((now, turn)),
                    None => run.refused += 1,
                }
            }
            for _ in 0..per(able) {
                if let Some((since, turn)) = queue.pop_front() {
                    turn.ended();
                    run.ended += 1;
                    if ms > secs * 500 {
                        run.longest = run.longest.max(now - since);
                    }
                }
            }
        }
        run
    }

    /// The same with a server that ends all who wait together, as a group commit does, in `sync` ms; how many end in the second
    /// half of 20 seconds, and the longest wait of those.
    fn run_groups(pace: &Arc<Pace>, offered: u64, sync: u64) -> Run {
        let began = Instant::now();
        let mut run = Run::default();
        let (mut queue, mut group, mut ends) = (Vec::new(), Vec::new(), 0);
        for ms in 0..20_000 {
            let now = began + Duration::from_millis(ms);
            for _ in 0..(ms + 1) * offered / 1_000 - ms * offered / 1_000 {
                match pace.enter(now) {
                    Some(turn) => queue.push((now, turn)),
                    None => run.refused += 1,
                }
            }
            if ms < ends {
                continue;
            }
            for (since, turn) in std::mem::take(&mut group) {
                Turn::ended(turn);
                if ms > 10_000 {
                    run.ended += 1;
                    run.longest = run.longest.max(now - since);
                }
            }
            group.append(&mut queue);
            ends = ms + sync;
        }
        run
    }

    #[tokio::test]
    async fn a_slow_sync_that_serves_all_who_wait_does_not_serve_fewer() {
        for sync in [50, 400, 700, 1_100, 1_500] {
            let paced = run_groups(&Pace::new(Some(Duration::from_secs(2)), 1_024), 3_000, sync);
            let free = run_groups(&Pace::new(None, 1_024), 3_000, sync);
            assert!(paced.ended * 10 >= free.ended * 9, "{sync}: {paced:?}");
            // Two syncs: the one that goes on, and its own.
            let two = Duration::from_millis(2 * sync + 10);
            assert!(paced.longest <= two, "{sync}: {paced:?}");
        }
    }

    fn paced() -> Arc<Pace> {
        Pace::new(Some(Duration::from_secs(1)), 1_024)
    }

    #[tokio::test]
    async fn whatever_the_rate_those_taken_end_in_time_and_the_server_is_never_idle() {
        for able in [100, 200, 400] {
            // What came in the first second, before there was a rate, has ended by half of this.
            let run = run(&paced(), able * 5, able, 20);
            let all = usize::try_from(able * 20).unwrap();
            assert!(run.ended * 100 >= all * 98, "{able}: {run:?}");
            assert!(
                run.longest <= Duration::from_millis(1_300),
                "{able}: {run:?}"
            );
            assert!(run.refused > 0);
        }
        // The control: without a target, each waits for the whole fixed cap.
        let run = run(&Pace::new(None, 1_024), 1_000, 200, 10);
        assert!(run.longest > Duration::from_secs(4), "{run:?}");
    }

    #[tokio::test]
    async fn nobody_is_refused_who_can_be_served_and_all_is_forgotten_in_calm() {
        let pace = paced();
        assert_eq!(run(&pace, 1_900, 2_000, 10).refused, 0);
        // It hardly moves: the least, and no less.
        assert!(run(&pace, 1_000, 5, 5).refused > 0);
        assert_eq!(pace.limit(), LEAST);
        assert_eq!(run(&pace, 20, 2_000, 1).refused, 0);
        assert_eq!(pace.limit(), 1_024);
    }

    #[test]
    fn every_stream_of_requests_is_known() {
        let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let mut streamed = Vec::new();
        for file in &files.file {
            for service in &file.service {
                let streams = service.method.iter().filter(|one| one.client_streaming());
                let package = format!("/{}.{}", file.package(), service.name());
                streamed.extend(streams.map(|one| format!("{package}/{}", one.name())));
            }
        }
        assert_eq!(streamed, STREAMED);
    }

    #[test]
    fn reading_calls_do_not_count() {
        for (path, counts) in [
            ("/upkeep.v1.ActivationService/Activate", true),
            ("/upkeep.v1.MaintenanceService/CreateQuote", true),
            ("/upkeep.v1.ActivationService/CreateChallenge", false),
            ("/upkeep.v1.CustomerService/GetMaintenanceStatus", false),
            ("/upkeep.v1.AdminService/ListMails", false),
            ("/grpc.health.v1.Health/Check", false),
            ("nonsense", false),
        ] {
            assert_eq!(writes(path), counts, "{path}");
        }
    }
}
