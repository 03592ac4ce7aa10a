use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn held_by(holder: &str) -> Record {
    Record {
        holder: holder.to_owned(),
        duration: 15 * SECOND,
        acquired: Timestamp::UNIX_EPOCH,
        renewed: Timestamp::UNIX_EPOCH,
        transitions: 3,
    }
}

#[test]
fn a_candidate_decides_by_holder_and_by_how_long_nothing_changed() {
    let (ours, free, other) = (held_by("a"), held_by(""), held_by("b"));
    let cases = [
        (None, 0, Decision::Create),
        (Some(&ours), 0, Decision::Renew),
        (Some(&ours), 60, Decision::Renew),
        (Some(&free), 0, Decision::TakeOver),
        (Some(&other), 0, Decision::Wait),
        (Some(&other), 14, Decision::Wait),
        (Some(&other), 15, Decision::TakeOver),
    ];
    for (record, seconds, expected) in cases {
        assert_eq!(
            decide("a", record, seconds * SECOND),
            expected,
            "{record:?} after {seconds} s"
        );
    }
}

#[test]
fn a_missing_permission_is_told_with_the_verbs_to_grant() {
    let text = Failure::Forbidden("create").to_string();
    assert!(
        text.contains("may not create") && text.contains("grant get, update"),
        "{text}"
    );
}

/// One value with compare-and-swap, which can be cut off from one candidate.
#[derive(Default)]
struct Cell(Mutex<Option<(Record, u64)>>);

#[derive(Clone)]
struct Line {
    cell: Arc<Cell>,
    cut: CancellationToken,
}

impl Line {
    fn reach(&self) -> Result<(), Failure> {
        if self.cut.is_cancelled() {
            Err(Failure::Other(String::from("cut")))
        } else {
            Ok(())
        }
    }
}

impl Register for Line {
    type Version = u64;

    async fn read(&self) -> Result<Option<Stored<u64>>, Failure> {
        self.reach()?;
        let value = self.cell.0.lock().clone();
        Ok(value.map(|(record, version)| Stored {
            record,
            id: version.to_string(),
            version,
        }))
    }

    async fn write(&self, record: &Record, version: Option<&u64>) -> Result<Stored<u64>, Failure> {
        self.reach()?;
        let mut value = self.cell.0.lock();
        if value.as_ref().map(|(_, version)| version) != version {
            return Err(Failure::Conflict);
        }
        let version = version.map_or(1, |version| version + 1);
        *value = Some((record.clone(), version));
        Ok(Stored {
            record: record.clone(),
            id: version.to_string(),
            version,
        })
    }
}

/// Counts how many work futures exist at once.
#[derive(Clone, Default)]
struct Workers {
    now: Arc<AtomicI64>,
    most: Arc<AtomicI64>,
    begun: Arc<AtomicUsize>,
}

struct Working(Workers);

impl Workers {
    fn begin(&self) -> Working {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.begun.fetch_add(1, Ordering::SeqCst);
        Working(self.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Started {
    stop: CancellationToken,
    cut: CancellationToken,
    task: tokio::task::JoinHandle<Option<()>>,
}

/// Starts a candidate whose work ends at once when told to, or never (`stubborn`).
fn start(cell: &Arc<Cell>, identity: &str, workers: &Workers, stubborn: bool) -> Started {
    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    let line = Line {
        cell: Arc::clone(cell),
        cut: cut.clone(),
    };
    let candidate = Candidate {
        lease: String::from("test/lease"),
        identity: identity.to_owned(),
        settings: Settings::default(),
        metrics: Metrics::default(),
    };
    let (workers, told) = (workers.clone(), stop.clone());
    let task = tokio::spawn(async move {
        candidate
            .run(&line, &told, |token| {
                let working = workers.begin();
                async move {
                    let _working = working;
                    token.cancelled().await;
                    if stubborn {
                        futures::future::pending::<()>().await;
                    }
                }
            })
            .await
    });
    Started { stop, cut, task }
}

fn holder(cell: &Cell) -> String {
    cell.0
        .lock()
        .as_ref()
        .map(|(record, _)| record.holder.clone())
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn of_two_candidates_one_works_and_the_other_follows_a_release_at_once() {
    let (cell, workers) = (Arc::new(Cell::default()), Workers::default());
    let first = start(&cell, "a", &workers, false);
    sleep(SECOND).await;
    let second = start(&cell, "b", &workers, false);
    sleep(120 * SECOND).await;
    assert_eq!(
        (holder(&cell).as_str(), workers.begun.load(Ordering::SeqCst)),
        ("a", 1)
    );

    first.stop.cancel();
    assert_eq!(first.task.await.unwrap(), None);
    sleep(3 * SECOND).await;
    assert_eq!(holder(&cell), "b");
    assert_eq!(workers.most.load(Ordering::SeqCst), 1, "never two at once");
    assert_eq!(cell.0.lock().as_ref().unwrap().0.transitions, 1);
    second.stop.cancel();
    second.task.await.unwrap();
    assert_eq!(holder(&cell), "");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_has_stopped_before_another_begins() {
    for stubborn in [false, true] {
        let (cell, workers) = (Arc::new(Cell::default()), Workers::default());
        let first = start(&cell, "a", &workers, stubborn);
        sleep(SECOND).await;
        let second = start(&cell, "b", &workers, false);
        sleep(30 * SECOND).await;
        let cut_at = Instant::now();
        first.cut.cancel();
        while holder(&cell) != "b" {
            sleep(SECOND / 10).await;
            assert!(cut_at.elapsed() < 25 * SECOND, "nobody took over");
        }
        sleep(SECOND).await;
        assert_eq!(
            workers.most.load(Ordering::SeqCst),
            1,
            "two at once, stubborn={stubborn}"
        );
        assert_eq!(workers.begun.load(Ordering::SeqCst), 2);
        for started in [first, second] {
            started.stop.cancel();
            started.task.await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_by_itself_ends_the_election_and_releases() {
    let cell = Arc::new(Cell::default());
    let line = Line {
        cell: Arc::clone(&cell),
        cut: CancellationToken::new(),
    };
    let candidate = Candidate {
        lease: String::from("test/lease"),
        identity: String::from("a"),
        settings: Settings::default(),
        metrics: Metrics::default(),
    };
    let value = candidate
        .run(&line, &CancellationToken::new(), |_| async { 7 })
        .await;
    assert_eq!((value, holder(&cell).as_str()), (Some(7), ""));
}

#[tokio::test(start_paused = true)]
async fn work_is_told_to_end_when_the_renew_deadline_passes_and_not_at_the_next_attempt() {
    let cell = Arc::new(Cell::default());
    let line = Line {
        cell: Arc::clone(&cell),
        cut: CancellationToken::new(),
    };
    let candidate = Candidate {
        lease: String::from("test/lease"),
        identity: String::from("a"),
        settings: Settings {
            retry_period: 7 * SECOND,
            ..Settings::default()
        },
        metrics: Metrics::default(),
    };
    let stop = CancellationToken::new();
    let began = Instant::now();
    let told = candidate.run(&line, &stop, |leading| {
        line.cut.cancel();
        let stop = stop.clone();
        async move {
            leading.cancelled().await;
            stop.cancel();
        }
    });
    told.await;
    assert!(
        began.elapsed() <= 10 * SECOND + SECOND / 10,
        "{:?}",
        began.elapsed()
    );
}
