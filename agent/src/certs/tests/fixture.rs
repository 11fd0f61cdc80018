//! A CA that does as it is told, and certificates that are obtained from it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use futures::future::BoxFuture;
use tokio::{sync::watch, time::Instant};

use crate::{
    ca::{CaError, CertificateAuthority, CertificateRequest, Clock, Issued, LocalCa, LocalCaOptions},
    certs::{Certificates, CertificatesOptions, CertificatesTask},
    identity::{Identity, TrustDomain},
};
/// A clock that goes with tokio's virtual time.
pub(super) fn virtual_clock() -> Clock {
    let (origin, start) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000), Instant::now());
    Clock::from_fn(move || origin + start.elapsed())
}

pub(super) fn identity(name: &str) -> Identity {
    Identity::new(&TrustDomain::default(), "shop", name).expect("valid")
}

/// Lets virtual time pass, with everything that becomes due in it.
pub(super) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// What the CA does with the next requests.
#[derive(Clone)]
pub(super) enum Mood {
    Answers,
    AnswersAfter(Duration),
    Fails(CaError),
    Hangs,
    Panics,
}

/// A CA that does as it is told, and notes who asked and when.
pub(super) struct FakeCa {
    ca: LocalCa,
    mood: Mutex<Mood>,
    asked: Mutex<Vec<(Identity, Instant)>>,
    running: Mutex<(usize, usize)>,
    generations: watch::Sender<u64>,
    _directory: tempfile::TempDir,
}

impl FakeCa {
    pub(super) fn new(clock: &Clock) -> Arc<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let options = LocalCaOptions { clock: clock.clone(), ..Default::default() };
        let ca = LocalCa::open_with(directory.path(), TrustDomain::default(), options).expect("a CA");
        Arc::new(Self {
            ca,
            mood: Mutex::new(Mood::Answers),
            asked: Mutex::default(),
            running: Mutex::default(),
            generations: watch::Sender::new(0),
            _directory: directory,
        })
    }

    pub(super) fn turn(&self, mood: Mood) {
        *self.mood.lock().expect("no panic") = mood;
    }

    pub(super) fn asked(&self) -> Vec<Identity> {
        self.asked.lock().expect("no panic").iter().map(|(identity, _)| identity.clone()).collect()
    }

    pub(super) fn asked_when(&self) -> Vec<(Identity, Instant)> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Other roots are trusted from now on.
    pub(super) fn change_roots(&self) {
        self.generations.send_modify(|generation| *generation += 1);
    }

    fn enter(&self) {
        let mut running = self.running.lock().expect("no panic");
        running.0 += 1;
        running.1 = running.1.max(running.0);
    }

    fn leave(&self) {
        self.running.lock().expect("no panic").0 -= 1;
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.running.lock().expect("no panic").1
    }
}

impl CertificateAuthority for FakeCa {
    fn issue(&self, request: CertificateRequest) -> BoxFuture<'_, Result<Issued, CaError>> {
        let mood = self.mood.lock().expect("no panic").clone();
        self.asked.lock().expect("no panic").push((request.identity.clone(), Instant::now()));
        Box::pin(async move {
            match mood {
                Mood::Answers => self.ca.issue(request).await,
                Mood::AnswersAfter(time) => {
                    self.enter();
                    pass(time).await;
                    self.leave();
                    self.ca.issue(request).await
                }
                Mood::Fails(error) => Err(error),
                Mood::Hangs => std::future::pending().await,
                Mood::Panics => panic!("as the test wants"),
            }
        })
    }

    fn generations(&self) -> Option<watch::Receiver<u64>> {
        Some(self.generations.subscribe())
    }
}

/// Running certificates, their CA and their clock.
pub(super) struct Fixture {
    pub(super) ca: Arc<FakeCa>,
    pub(super) certificates: Certificates,
    pub(super) task: CertificatesTask,
    pub(super) clock: Clock,
}

pub(super) fn start() -> Fixture {
    start_with(CertificatesOptions::default())
}

pub(super) fn start_with(options: CertificatesOptions) -> Fixture {
    let clock = virtual_clock();
    let ca = FakeCa::new(&clock);
    let options = CertificatesOptions { clock: clock.clone(), ..options };
    let (certificates, task) = Certificates::start(Arc::clone(&ca) as Arc<dyn CertificateAuthority>, options);
    Fixture { ca, certificates, task, clock }
}

pub(super) fn down() -> Mood {
    Mood::Fails(CaError::Unreachable("connection refused".into()))
}
