//! Decisions by table, and several agents over one shelf of Leases with a paused clock.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::schedule::Key;

const SECOND: Duration = Duration::from_secs(1);

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}

fn seen(holder: &str, wanted_by: Option<&str>, unchanged: u32) -> Seen {
    Seen {
        holder: holder.to_owned(),
        wanted_by: wanted_by.map(str::to_owned),
        unchanged_for: unchanged * SECOND,
        duration: 12 * SECOND,
    }
}

#[test]
fn an_agent_takes_what_is_free_asks_for_its_share_and_gives_what_is_beyond_it() {
    use Move::{Acquire, Ask, Release, Renew};
    let mine = || seen("me", None, 0);
    let cases: [(&str, Vec<Seen>, Vec<Move>); 12] = [
        (
            "alone, with Leases that do not exist",
            vec![Seen::default(); 2],
            vec![Acquire(0), Acquire(1)],
        ),
        (
            "alone, with free ones",
            vec![seen("", None, 0), mine()],
            vec![Acquire(0), Renew(1)],
        ),
        (
            "another holds all",
            vec![seen("b", None, 0), seen("b", None, 0)],
            vec![Ask(0)],
        ),
        (
            "it was asked already",
            vec![seen("b", Some("me"), 0), seen("b", None, 0)],
            vec![],
        ),
        (
            "another asks for that one",
            vec![
                seen("b", Some("c"), 0),
                seen("b", None, 0),
                seen("b", None, 0),
            ],
            vec![Ask(1)],
        ),
        (
            "the holder is dead",
            vec![seen("b", None, 12), seen("c", None, 11)],
            vec![Acquire(0)],
        ),
        (
            "equal shares",
            vec![mine(), seen("b", None, 0)],
            vec![Renew(0)],
        ),
        (
            "more agents than shards",
            vec![seen("b", None, 0), seen("c", None, 0)],
            vec![],
        ),
        (
            "somebody asks and there is enough",
            vec![seen("me", Some("b"), 0), mine()],
            vec![Release(0), Renew(1)],
        ),
        (
            "somebody asks for the only one",
            vec![seen("me", Some("c"), 0), seen("b", None, 0)],
            vec![Renew(0)],
        ),
        (
            "a free one is kept for who asked",
            vec![seen("", Some("b"), 4), mine()],
            vec![Renew(1)],
        ),
        (
            "but not for ever",
            vec![seen("", Some("b"), 5), mine()],
            vec![Acquire(0), Renew(1)],
        ),
    ];
    for (situation, shards, expected) in cases {
        assert_eq!(decide::moves("me", &shards), expected, "{situation}");
    }
    let left = [mine(), mine(), seen("b", None, 0), seen("c", None, 24)];
    assert!(
        decide::moves("me", &left).contains(&Acquire(3)),
        "what nobody takes is taken even by one with its share"
    );
}

#[test]
fn objects_spread_over_the_shards_and_stay_there() {
    assert_eq!(
        [
            shard_of("a", "x", 4),
            shard_of("a", "y", 4),
            shard_of("b", "x", 4),
            shard_of("team-a", "db-creds", 256),
        ],
        [2, 1, 3, 139],
        "agents of another version would disagree on who writes an object"
    );
    let mut counts = [0_u32; 8];
    for number in 0..8000 {
        counts[usize::from(shard_of("team", &format!("db-{number}"), 8))] += 1;
    }
    assert!(
        counts.iter().all(|count| (800..1200).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn a_missing_permission_is_told_with_the_verbs_to_grant() {
    let text = Failure::Forbidden("list").to_string();
    assert!(
        text.contains("may not list") && text.contains("grant list, get, update"),
        "{text}"
    );
}

/// Leases in memory, which can be cut off from one agent.
#[derive(Default)]
struct Shelf(Mutex<BTreeMap<u16, (Record<u64>, u64)>>);

#[derive(Clone)]
struct Line {
    shelf: Arc<Shelf>,
    cut: CancellationToken,
}

impl Line {
    fn reach(&self) -> Result<(), Failure> {
        if self.cut.is_cancelled() {
            return Err(Failure::Other(String::from("cut")));
        }
        Ok(())
    }
}

impl Leases for Line {
    type Version = u64;

    async fn list(&self) -> Result<BTreeMap<u16, Record<u64>>, Failure> {
        self.reach()?;
        let leases = self.shelf.0.lock();
        let records = leases.iter().map(|(shard, (record, version))| {
            let record = Record {
                version: Some(*version),
                ..record.clone()
            };
            (*shard, record)
        });
        Ok(records.collect())
    }

    async fn write(&self, shard: u16, record: &Record<u64>) -> Result<(), Failure> {
        self.reach()?;
        let mut leases = self.shelf.0.lock();
        let version = leases.get(&shard).map(|(_, version)| *version);
        if version != record.version {
            return Err(Failure::Conflict);
        }
        leases.insert(
            shard,
            (record.clone(), version.map_or(1, |version| version + 1)),
        );
        Ok(())
    }
}

struct Agent {
    ownership: Arc<Ownership>,
    cut: CancellationToken,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    fn start(shelf: &Arc<Shelf>, name: &str) -> Self {
        let settings = Settings {
            count: 6,
            ..Settings::default()
        };
        let (cut, stop) = (CancellationToken::new(), CancellationToken::new());
        let member = Member {
            leases: Line {
                shelf: Arc::clone(shelf),
                cut: cut.clone(),
            },
            identity: name.to_owned(),
            settings,
            ownership: Arc::new(Ownership::new(&settings, Metrics::default())),
        };
        let ownership = Arc::clone(&member.ownership);
        let told = stop.clone();
        let task = tokio::spawn(async move { member.run(&told).await });
        Self {
            ownership,
            cut,
            stop,
            task,
        }
    }

    fn shards(&self) -> BTreeSet<u16> {
        self.ownership.held.lock().keys().copied().collect()
    }
}

/// Waits, and checks all the while that no shard is held twice.
async fn wait(agents: &[&Agent], seconds: u64) {
    for _ in 0..seconds * 10 {
        tokio::time::sleep(SECOND / 10).await;
        let mut all: Vec<u16> = agents.iter().flat_map(|agent| agent.shards()).collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count, "a shard is held twice");
    }
}

fn counts(agents: &[&Agent]) -> Vec<usize> {
    let mut counts: Vec<usize> = agents.iter().map(|agent| agent.shards().len()).collect();
    counts.sort_unstable();
    counts
}

#[tokio::test(start_paused = true)]
async fn agents_that_join_get_their_share_and_a_lost_ones_moves_within_twenty_seconds() {
    let shelf = Arc::new(Shelf::default());
    let a = Agent::start(&shelf, "a");
    wait(&[&a], 5).await;
    assert_eq!(counts(&[&a]), [6]);
    let b = Agent::start(&shelf, "b");
    let c = Agent::start(&shelf, "c");
    wait(&[&a, &b, &c], 40).await;
    assert_eq!(counts(&[&a, &b, &c]), [2, 2, 2]);

    b.cut.cancel();
    wait(&[&a, &b, &c], 9).await;
    assert_eq!(b.shards().len(), 0, "it stops before others may begin");
    wait(&[&a, &b, &c], 11).await;
    assert_eq!(counts(&[&a, &b, &c]), [0, 3, 3]);

    let begun = Instant::now();
    c.stop.cancel();
    c.task.await.unwrap();
    assert!(
        begun.elapsed() < SECOND,
        "nothing runs that it would have to wait for"
    );
    wait(&[&a, &b], 3).await;
    assert_eq!(counts(&[&a, &b]), [0, 6]);
}

#[tokio::test(start_paused = true)]
async fn more_agents_than_shards_leave_each_other_alone() {
    let shelf = Arc::new(Shelf::default());
    let agents: Vec<Agent> = (0..9)
        .map(|number| Agent::start(&shelf, &format!("agent-{number}")))
        .collect();
    let all: Vec<&Agent> = agents.iter().collect();
    wait(&all, 120).await;
    assert_eq!(counts(&all), [0, 0, 0, 1, 1, 1, 1, 1, 1]);
    let before: Vec<_> = all.iter().map(|agent| agent.shards()).collect();
    wait(&all, 60).await;
    let after: Vec<_> = all.iter().map(|agent| agent.shards()).collect();
    assert_eq!(before, after, "shards move although nothing changed");
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_given_away_only_after_the_passes_that_run() {
    let shelf = Arc::new(Shelf::default());
    let a = Agent::start(&shelf, "a");
    wait(&[&a], 5).await;
    let guard = a.ownership.of(&key("team", "db")).unwrap();
    let pass = tokio::spawn(async move { guard.protect(tokio::time::sleep(SECOND)).await });
    tokio::task::yield_now().await;
    a.stop.cancel();
    assert_eq!(pass.await.unwrap(), Some(()), "it ended by itself");
    a.task.await.unwrap();

    let b = Agent::start(&shelf, "b");
    wait(&[&b], 5).await;
    let guard = b.ownership.of(&key("team", "db")).unwrap();
    let pass = tokio::spawn(async move { guard.protect(tokio::time::sleep(60 * SECOND)).await });
    tokio::task::yield_now().await;
    b.stop.cancel();
    b.task.await.unwrap();
    assert_eq!(pass.await.unwrap(), None, "it was dropped");
    assert!(b.ownership.of(&key("team", "db")).is_none());
}

#[test]
fn an_agent_that_shares_with_nobody_owns_everything() {
    let ownership = Ownership::of_everything();
    assert!(ownership.of(&key("any", "thing")).is_some());
}

proptest! {
    /// Whatever is seen: nobody takes what a living agent holds, and nobody gives away more than what is beyond its share.
    #[test]
    fn moves_are_safe_whatever_is_seen(
        shards in proptest::collection::vec(("[abc]{0,1}", proptest::option::of("[abc]"), 0_u32..40), 1..12)
    ) {
        let shards: Vec<Seen> = shards.iter().map(|(holder, wanted, unchanged)| seen(holder, wanted.as_deref(), *unchanged)).collect();
        let mut released = 0;
        for step in decide::moves("a", &shards) {
            match step {
                Move::Renew(number) => prop_assert_eq!(&shards[usize::from(number)].holder, "a"),
                Move::Release(number) => {
                    released += 1;
                    let shard = &shards[usize::from(number)];
                    prop_assert!(shard.holder == "a" && shard.wanted_by.as_deref().is_some_and(|wanted| wanted != "a"));
                }
                Move::Acquire(number) => {
                    let shard = &shards[usize::from(number)];
                    prop_assert!(shard.holder != "a" && (shard.holder.is_empty() || shard.unchanged_for >= shard.duration));
                }
                Move::Ask(number) => prop_assert!(!["", "a"].contains(&shards[usize::from(number)].holder.as_str())),
            }
        }
        let mine = shards.iter().filter(|shard| shard.holder == "a").count();
        prop_assert!(released == 0 || mine - released >= shards.len() / 4);
    }
}
