//! A server in this process, over real sockets: health, the order of stopping, and a disk that fails.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{TimeZone, Utc};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as _;
use tonic_health::server::HealthService;
use upkeep::serial::SerialNumber;

use super::*;
use crate::clock::ManualClock;
use crate::domain::guess::GuessLimiter;
use crate::random::SeededRandom;
use crate::store::{StoreError, Watch};

struct Place {
    _root: tempfile::TempDir,
    settings: Settings,
    clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_dir: root.path().join("data"),
            ..Settings::default()
        };
        let place = Self {
            _root: root,
            settings,
            clock: Arc::new(ManualClock::at(
                Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap(),
            )),
            random: Arc::new(SeededRandom::new(1)),
        };
        let settings = &place.settings;
        Store::open(Options::new(&settings.data_dir).create(true))
            .unwrap()
            .close()
            .unwrap();
        Keys::create(
            &settings.data_dir,
            &settings.trust_domain,
            &settings.tls_names,
            &*place.clock,
            &*place.random,
        )
        .unwrap();
        place
    }

    fn open(&self) -> Result<Server, ServeError> {
        let (clock, random) = (Arc::clone(&self.clock), Arc::clone(&self.random));
        Server::open(&self.settings, clock, random)
    }

    fn open_over(&self, watch: Arc<impl Watch>) -> Server {
        let (clock, random) = (Arc::clone(&self.clock), Arc::clone(&self.random));
        let options = Options::new(&self.settings.data_dir).watch(watch);
        Server::open_with(&self.settings, options, clock, random).unwrap()
    }
}

async fn started(server: Server) -> Running {
    let any = || TcpListener::bind("127.0.0.1:0");
    server
        .start(any().await.unwrap(), any().await.unwrap())
        .await
        .unwrap()
}

/// Waits for something that must happen.
async fn patient<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.unwrap()
}

/// Once it is set, no sync succeeds.
#[derive(Default)]
struct Failed(AtomicBool);

impl Watch for Failed {
    fn sync(&self, _: &Path, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the disk is gone")),
            false => sync(),
        }
    }
}

#[tokio::test]
async fn it_stops_and_the_directory_is_free_again() {
    let place = Place::new();
    for _ in 0..2 {
        let running = started(place.open().unwrap()).await;
        let (products, staff) = (running.products_addr(), running.staff_addr());
        assert!(TcpStream::connect(products).await.is_ok());
        assert!(matches!(
            place.open(),
            Err(ServeError::Store(StoreError::Locked { .. }))
        ));
        patient(running.stop()).await.unwrap();
        assert!(TcpStream::connect(products).await.is_err());
        assert!(TcpStream::connect(staff).await.is_err());
    }
    place.open().unwrap().close().unwrap();
}

#[tokio::test]
async fn dropping_it_stops_it() {
    let place = Place::new();
    let running = started(place.open().unwrap()).await;
    drop(running);
    patient(async {
        while let Err(error) = place.open().map(Server::close) {
            assert!(matches!(
                error,
                ServeError::Store(StoreError::Locked { .. })
            ));
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_store_that_stops_ends_the_server() {
    let place = Place::new();
    let failed = Arc::new(Failed::default());
    let server = place.open_over(Arc::clone(&failed));
    let store = server.deps.store().clone();
    let mut running = started(server).await;
    failed.0.store(true, Ordering::SeqCst);
    let written = store.transact("test", |tx| {
        tx.put(b"k".to_vec(), b"v".to_vec());
        Ok::<_, StoreError>(())
    });
    assert!(matches!(written.await, Err(StoreError::Stopped(_))));
    let ended = patient(running.ended()).await;
    assert!(
        matches!(&ended, Err(ServeError::Store(StoreError::Stopped(_)))),
        "{ended:?}"
    );
    assert!(TcpStream::connect(running.products_addr()).await.is_err());
    // It has ended already, and says no more.
    running.stop().await.unwrap();
    failed.0.store(false, Ordering::SeqCst);
    place.open().unwrap().close().unwrap();
}

#[tokio::test]
async fn health_names_what_each_listener_serves_and_ends_who_watches() {
    for (audience, admin) in [(Audience::Products, None), (Audience::Staff, Some(()))] {
        let health = Health::new(audience);
        health.serving().await;
        let service = HealthService::from_health_reporter(health.reporter.clone());
        let request = |service: &str| {
            tonic::Request::new(HealthCheckRequest {
                service: service.to_owned(),
            })
        };
        for name in ["", "upkeep.v1.ActivationService"] {
            let answer = service.check(request(name)).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving);
        }
        let answer = service.check(request("upkeep.v1.AdminService")).await;
        assert_eq!(answer.ok().map(|_| ()), admin);

        let mut watch = service.watch(request("")).await.unwrap().into_inner();
        health.not_serving().await;
        let mut seen = Vec::new();
        while let Some(answer) = patient(tokio_stream::StreamExt::next(&mut watch)).await {
            seen.push(answer.unwrap().status());
        }
        assert_eq!(seen.last(), Some(&ServingStatus::NotServing));
        let answer = service.check(request("")).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::NotServing);
    }
}

#[test]
fn what_is_missing_is_told_before_anything_is_opened() {
    let root = tempfile::tempdir().unwrap();
    let settings = Settings {
        data_dir: root.path().join("none"),
        ..Settings::default()
    };
    let open = |settings: &Settings| {
        let clock = Arc::new(ManualClock::at(chrono::DateTime::UNIX_EPOCH));
        Server::open(settings, clock, Arc::new(SeededRandom::new(1)))
    };
    assert!(matches!(
        open(&settings),
        Err(ServeError::Store(StoreError::Missing { .. }))
    ));
    assert!(!settings.data_dir.exists());
    let programmes = Settings {
        programmes: vec![root.path().join("none.toml")],
        ..settings
    };
    let error = open(&programmes).unwrap_err().to_string();
    assert!(error.contains("none.toml"), "{error}");
}

#[test]
fn guess_limits_keep_what_is_waiting() {
    let limits = Settings::default().guesses;
    let made = guess_limits(&limits);
    assert_eq!(made.serial.free, limits.per_serial_per_hour);
    assert_eq!(made.network.free, limits.per_network_per_hour);
    assert!(made.forget_after >= made.serial.longest);
    let minutes = usize::try_from(made.serial.longest.as_secs() / 60).unwrap();
    assert!(made.tracked > minutes * limits.per_minute as usize);
    let smallest = GuessLimits {
        per_minute: 1,
        lockout_max: Duration::from_secs(1),
        ..limits
    };
    assert_eq!(guess_limits(&smallest).tracked, LEAST_TRACKED);
}

#[test]
fn a_patient_attacker_gets_about_a_hundred_tries_a_day_and_the_owner_waits_a_quarter_of_an_hour() {
    let mut limiter = GuessLimiter::new(guess_limits(&Settings::default().guesses));
    let victim = SerialNumber::parse("NSP-0042").unwrap();
    let at = |secs: u64| chrono::DateTime::UNIX_EPOCH + Duration::from_secs(secs);
    let (mut now, mut tries) = (0, 0);
    let (day, quarter) = (24 * 60 * 60, 15 * 60);
    while now < 5 * day {
        let from = format!("10.{}.{}.1", tries / 250, tries % 250);
        let from = from.parse().unwrap();
        match limiter.check(at(now), &victim, from) {
            Ok(()) => {
                limiter.fail(at(now), &victim, from);
                tries += 1;
            }
            Err(retry) => {
                assert!(retry.wait() <= Duration::from_secs(quarter));
                now += retry.wait().as_secs();
            }
        }
    }
    assert!((5 * 95..=5 * 100).contains(&tries), "{tries} in five days");
}
