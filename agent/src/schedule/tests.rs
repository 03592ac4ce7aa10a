//! The queue's rules with a clock that the tests move, and the driver with a paused one.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}

fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| queue.take(now))
        .map(|(namespace, name)| format!("{namespace}/{name}"))
        .collect()
}

#[test]
fn first_syncs_go_before_refreshes_and_refreshes_are_not_starved() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for number in 0..20 {
        queue.trigger(key("a", &format!("old-{number:02}")), Lane::Refresh);
        queue.trigger(key("a", &format!("new-{number:02}")), Lane::First);
    }
    assert_eq!(
        (queue.waiting(Lane::First), queue.waiting(Lane::Refresh)),
        (20, 20)
    );
    let order = names(&mut queue, now);
    assert_eq!(order.len(), 40);
    let refreshes = order[..16]
        .iter()
        .filter(|name| name.contains("old"))
        .count();
    assert_eq!(refreshes, 2, "one turn in eight: {order:?}");
    assert_eq!(
        (queue.waiting(Lane::First), queue.waiting(Lane::Refresh)),
        (0, 0)
    );
}

#[test]
fn namespaces_take_turns() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for number in 0..1000 {
        queue.trigger(key("big", &number.to_string()), Lane::Refresh);
    }
    queue.trigger(key("small", "x"), Lane::Refresh);
    queue.trigger(key("tiny", "y"), Lane::Refresh);
    let order = names(&mut queue, now);
    assert_eq!(order[..4], ["big/0", "small/x", "tiny/y", "big/1"]);
}

#[test]
fn an_object_is_never_run_twice_at_once_and_again_after_a_trigger() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let object = key("a", "x");
    queue.trigger(object.clone(), Lane::First);
    queue.trigger(object.clone(), Lane::First);
    assert_eq!(queue.take(now), Some(object.clone()));
    queue.trigger(object.clone(), Lane::Refresh);
    assert_eq!(queue.take(now), None, "it runs");
    queue.finish(&object, Some(now + Duration::from_secs(60)));
    assert_eq!(
        queue.take(now),
        Some(object.clone()),
        "it was triggered meanwhile"
    );
    queue.finish(&object, None);
    assert_eq!(queue.take(now), None);
    assert_eq!(queue.next_due(), None);
}

#[test]
fn a_trigger_replaces_a_later_time_and_a_more_urgent_lane_a_less_urgent_one() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let object = key("a", "x");
    queue.trigger(object.clone(), Lane::Refresh);
    queue.take(now);
    queue.finish(&object, Some(now + Duration::from_secs(60)));
    assert_eq!(queue.take(now + Duration::from_secs(59)), None);
    queue.trigger(object.clone(), Lane::Refresh);
    assert_eq!(queue.next_due(), None);
    queue.trigger(object.clone(), Lane::First);
    assert_eq!(
        (queue.waiting(Lane::First), queue.waiting(Lane::Refresh)),
        (1, 0)
    );
    assert_eq!(names(&mut queue, now), ["a/x"]);
}

#[test]
fn what_is_due_is_taken_in_the_order_of_its_times() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for (name, seconds) in [("late", 30), ("early", 10), ("middle", 20)] {
        queue.trigger(key("a", name), Lane::First);
        let object = queue.take(now).unwrap();
        queue.finish(&object, Some(now + Duration::from_secs(seconds)));
    }
    assert_eq!(queue.next_due(), Some(now + Duration::from_secs(10)));
    let later = now + Duration::from_secs(25);
    assert_eq!(names(&mut queue, later), ["a/early", "a/middle"]);
}

#[test]
fn what_is_due_later_can_be_brought_forward_and_not_put_off() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let (object, after) = (key("a", "x"), |seconds| now + Duration::from_secs(seconds));
    queue.hasten(&object, now);
    assert_eq!(
        (queue.take(now), queue.next_due()),
        (None, None),
        "it is not known"
    );
    queue.trigger(object.clone(), Lane::Refresh);
    queue.hasten(&object, after(5));
    assert_eq!(queue.take(now), Some(object.clone()), "it waits already");
    queue.finish(&object, Some(after(60)));
    queue.hasten(&object, after(90));
    assert_eq!(queue.next_due(), Some(after(60)));
    queue.hasten(&object, after(20));
    assert_eq!(queue.take(after(19)), None);
    assert_eq!(queue.take(after(20)), Some(object.clone()));
    queue.hasten(&object, after(30));
    queue.finish(&object, Some(after(90)));
    assert_eq!(
        queue.take(after(20)),
        Some(object.clone()),
        "it was under way"
    );
    queue.finish(&object, None);
    assert_eq!(queue.next_due(), None);
}

#[test]
fn a_forgotten_object_leaves_nothing_wherever_it_was() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    let object = key("a", "x");
    queue.trigger(object.clone(), Lane::First);
    queue.forget(&object);
    assert_eq!((queue.take(now), queue.waiting(Lane::First)), (None, 0));

    queue.trigger(object.clone(), Lane::First);
    queue.take(now);
    queue.trigger(object.clone(), Lane::First);
    queue.forget(&object);
    queue.finish(&object, Some(now));
    assert_eq!((queue.take(now), queue.next_due()), (None, None));

    queue.trigger(object.clone(), Lane::First);
    queue.take(now);
    queue.forget(&object);
    queue.trigger(object.clone(), Lane::First);
    queue.finish(&object, None);
    assert_eq!(
        queue.take(now),
        Some(object.clone()),
        "made anew while the last pass ran"
    );
    queue.finish(&object, Some(now));
    queue.forget(&object);
    assert_eq!((queue.take(now), queue.next_due()), (None, None));
}

/// A budget with at most `most` passes at once for the account of each name before a `-`.
fn limited(most: usize) -> Queue {
    Queue::new(Box::new(move |(_, name)| {
        let account = name.split('-').next().unwrap_or_default();
        vec![charge(account, most)]
    }))
}

fn charge(account: &str, most: usize) -> Charge {
    Charge {
        account: account.into(),
        most,
    }
}

#[test]
fn an_account_that_is_used_up_holds_back_its_own_objects_only() {
    let (mut queue, now) = (limited(2), Instant::now());
    for number in 0..5 {
        queue.trigger(key("a", &format!("slow-{number}")), Lane::First);
    }
    queue.trigger(key("a", "quick-0"), Lane::Refresh);
    assert_eq!(
        names(&mut queue, now),
        ["a/slow-0", "a/slow-1", "a/quick-0"]
    );
    assert_eq!(queue.waiting(Lane::First), 3);
    queue.finish(&key("a", "slow-1"), None);
    // What waited longer goes first, also before what is more urgent in name only.
    queue.trigger(key("b", "slow-9"), Lane::First);
    assert_eq!(names(&mut queue, now), ["a/slow-2"]);
    queue.finish(&key("a", "slow-0"), None);
    queue.finish(&key("a", "slow-2"), None);
    assert_eq!(names(&mut queue, now), ["a/slow-3", "b/slow-9"]);
    queue.finish(&key("a", "slow-3"), None);
    assert_eq!(names(&mut queue, now), ["a/slow-4"]);
    assert_eq!(queue.waiting(Lane::First), 0);
}

#[test]
fn namespaces_take_turns_while_they_wait_for_the_same_account() {
    let (mut queue, now) = (limited(1), Instant::now());
    for number in 0..4 {
        queue.trigger(key("big", &format!("s-{number}")), Lane::Refresh);
    }
    queue.trigger(key("small", "s-x"), Lane::Refresh);
    assert_eq!(names(&mut queue, now), ["big/s-0"], "the others are held");
    queue.finish(&key("big", "s-0"), None);
    for (namespace, name) in [("small", "s-x"), ("big", "s-1"), ("big", "s-2")] {
        assert_eq!(queue.take(now), Some(key(namespace, name)));
        queue.finish(&key(namespace, name), None);
    }
}

#[test]
fn an_object_that_is_called_and_goes_leaves_its_unit_to_the_next() {
    let (mut queue, now) = (limited(1), Instant::now());
    for number in 0..3 {
        queue.trigger(key("a", &format!("s-{number}")), Lane::Refresh);
    }
    assert_eq!(names(&mut queue, now), ["a/s-0"]);
    queue.finish(&key("a", "s-0"), None);
    queue.forget(&key("a", "s-1"));
    assert_eq!(names(&mut queue, now), ["a/s-2"]);
    queue.forget(&key("a", "s-2"));
    queue.finish(&key("a", "s-2"), None);
    queue.trigger(key("a", "s-3"), Lane::Refresh);
    assert_eq!(names(&mut queue, now), ["a/s-3"]);
}

#[test]
fn an_object_that_is_changed_does_not_wait_for_what_it_no_longer_needs() {
    let needs_little = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = Arc::clone(&needs_little);
    let mut queue = Queue::new(Box::new(move |(_, name)| {
        if name == "x" && asked.load(Ordering::SeqCst) {
            return Vec::new();
        }
        vec![charge("s", 1)]
    }));
    let now = Instant::now();
    queue.trigger(key("a", "w"), Lane::First);
    queue.trigger(key("a", "x"), Lane::First);
    assert_eq!(names(&mut queue, now), ["a/w"]);
    queue.trigger(key("a", "x"), Lane::Refresh);
    assert_eq!(names(&mut queue, now), Vec::<String>::new());
    needs_little.store(true, Ordering::SeqCst);
    queue.trigger(key("a", "x"), Lane::Refresh);
    assert_eq!(
        queue.waiting(Lane::First),
        1,
        "it stays as urgent as it was"
    );
    assert_eq!(names(&mut queue, now), ["a/x"]);
}

#[test]
fn an_object_that_needs_two_accounts_holds_none_while_it_waits() {
    let mut queue = Queue::new(Box::new(|(_, name)| {
        name.chars().map(|c| charge(&c.to_string(), 1)).collect()
    }));
    let now = Instant::now();
    for name in ["a", "b", "ab", "ba", "c"] {
        queue.trigger(key("n", name), Lane::Refresh);
    }
    assert_eq!(names(&mut queue, now), ["n/a", "n/b", "n/c"]);
    // Called for the one, it finds the other gone, and waits for that.
    queue.finish(&key("n", "a"), None);
    queue.trigger(key("n", "a"), Lane::Refresh);
    assert_eq!(names(&mut queue, now), ["n/a"], "what is not used goes on");
    queue.finish(&key("n", "b"), None);
    assert_eq!(names(&mut queue, now), Vec::<String>::new());
    queue.finish(&key("n", "a"), None);
    let first = names(&mut queue, now);
    assert_eq!(first.len(), 1, "{first:?}");
    queue.finish(&key("n", first[0].strip_prefix("n/").unwrap()), None);
    assert_eq!(names(&mut queue, now).len(), 1);
}

/// What happens to a queue, with objects by number.
#[derive(Clone, Debug)]
enum Step {
    Trigger(u8, bool),
    Take,
    Finish(u8, Option<u8>),
    Forget(u8),
    Wait(u8),
    /// From now on the object needs other accounts.
    Change(u8),
    /// Brings the object forward to so many seconds from now.
    Hasten(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..12, any::<bool>()).prop_map(|(object, first)| Step::Trigger(object, first)),
        Just(Step::Take),
        Just(Step::Take),
        (0_u8..12, proptest::option::of(0_u8..20))
            .prop_map(|(object, due)| Step::Finish(object, due)),
        (0_u8..12).prop_map(Step::Forget),
        (0_u8..10).prop_map(Step::Wait),
        (0_u8..12).prop_map(Step::Change),
        (0_u8..12, 0_u8..20).prop_map(|(object, seconds)| Step::Hasten(object, seconds)),
    ]
}

/// The same rules, as plainly as they can be written.
#[derive(Default)]
struct Model {
    wanted: HashMap<u8, Instant>,
    /// With what they took.
    running: HashMap<u8, Vec<&'static str>>,
    gone: HashSet<u8>,
    /// Objects that need other accounts than at first.
    changed: HashSet<u8>,
}

// === impl Model ===

impl Model {
    /// Some need nothing, most one account, and some both.
    fn needs(number: u8, is_changed: bool) -> Vec<&'static str> {
        match (number + u8::from(is_changed)) % 5 {
            0 => Vec::new(),
            1 | 2 => vec!["x"],
            3 => vec!["y"],
            _ => vec!["y", "x"],
        }
    }

    fn most(account: &str) -> usize {
        if account == "x" { 2 } else { 1 }
    }

    fn is_ready(&self, number: u8, due: Instant, now: Instant) -> bool {
        let used = |account| {
            let all = self.running.values().flatten();
            all.filter(|taken| **taken == account).count()
        };
        due <= now
            && !self.running.contains_key(&number)
            && Self::needs(number, self.changed.contains(&number))
                .into_iter()
                .all(|account| used(account) < Self::most(account))
    }
}

proptest! {
    /// No due object is ever forgotten, none runs twice at once or beyond its budget, and nothing runs that nobody wants.
    #[test]
    fn what_is_wanted_is_run_once_and_nothing_else(steps in proptest::collection::vec(step(), 1..300)) {
        let (mut model, mut now) = (Model::default(), Instant::now());
        let changed: Arc<Mutex<HashSet<u8>>> = Arc::default();
        let seen = Arc::clone(&changed);
        let mut queue = Queue::new(Box::new(move |(_, name)| {
            let number = name.parse().unwrap();
            let needs = Model::needs(number, seen.lock().contains(&number));
            needs.into_iter().map(|account| charge(account, Model::most(account))).collect()
        }));
        let object = |number: u8| key(&(number % 3).to_string(), &number.to_string());
        for step in steps {
            match step {
                Step::Trigger(number, first) => {
                    queue.trigger(object(number), if first { Lane::First } else { Lane::Refresh });
                    model.wanted.insert(number, now);
                    model.gone.remove(&number);
                }
                Step::Take => {
                    let taken = queue.take(now).map(|(_, name)| name.parse::<u8>().unwrap());
                    match taken {
                        Some(number) => {
                            let is_wanted = model.wanted.get(&number).is_some_and(|due| model.is_ready(number, *due, now));
                            prop_assert!(is_wanted, "{number} was not wanted, or has no room");
                            model.wanted.remove(&number);
                            model.running.insert(number, Model::needs(number, model.changed.contains(&number)));
                        }
                        None => prop_assert!(
                            !model.wanted.iter().any(|(number, due)| model.is_ready(*number, *due, now)),
                            "something due was not run"
                        ),
                    }
                }
                Step::Finish(number, due) => {
                    let due = due.map(|seconds| now + Duration::from_secs(seconds.into()));
                    if model.running.remove(&number).is_some() {
                        queue.finish(&object(number), due);
                        let is_gone = model.gone.remove(&number);
                        if let (Some(due), false) = (due, is_gone) {
                            model.wanted.entry(number).or_insert(due);
                        }
                    }
                }
                Step::Forget(number) => {
                    queue.forget(&object(number));
                    model.wanted.remove(&number);
                    if model.running.contains_key(&number) {
                        model.gone.insert(number);
                    }
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                Step::Hasten(number, seconds) => {
                    let due = now + Duration::from_secs(seconds.into());
                    queue.hasten(&object(number), due);
                    if model.running.contains_key(&number) && !model.gone.contains(&number) {
                        model.wanted.entry(number).or_insert(now);
                    }
                    if let Some(wanted) = model.wanted.get_mut(&number) {
                        *wanted = due.min(*wanted);
                    }
                }
                // As in life, a change comes with a trigger.
                Step::Change(number) => {
                    if !model.changed.remove(&number) {
                        model.changed.insert(number);
                    }
                    changed.lock().clone_from(&model.changed);
                    queue.trigger(object(number), Lane::Refresh);
                    model.wanted.insert(number, now);
                    model.gone.remove(&number);
                }
            }
        }
        // Whatever is left is run in the end, however little room there is.
        for (number, _) in model.running.drain() {
            queue.finish(&object(number), None);
        }
        let mut left = 0;
        while let Some(taken) = queue.take(now + Duration::from_secs(60)) {
            left += 1;
            queue.finish(&taken, None);
        }
        // An object that ran and was triggered meanwhile is among those that are wanted.
        prop_assert_eq!(left, model.wanted.len());
        prop_assert_eq!((queue.waiting(Lane::First), queue.waiting(Lane::Refresh)), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_does_not_delay_the_objects_of_another() {
    // A hundred objects of a store that answers after 30 s, and a hundred of one that answers at once, triggered afterwards.
    let budget: Budget = Box::new(|(_, name)| {
        let store = name.split('-').next().unwrap_or_default();
        vec![charge(store, 16), charge("the server of both", 48)]
    });
    let scheduler = Arc::new(Scheduler::new(budget));
    for number in 0..100 {
        scheduler.trigger(key("a", &format!("hangs-{number}")), Lane::First);
    }
    let (stop, start) = (CancellationToken::new(), Instant::now());
    let ends: Arc<Mutex<HashMap<String, Duration>>> = Arc::default();
    let noted = Arc::clone(&ends);
    let pass = move |(_, name): Key| {
        let noted = Arc::clone(&noted);
        async move {
            let hangs = name.starts_with("hangs");
            tokio::time::sleep(Duration::from_millis(if hangs { 30_000 } else { 20 })).await;
            noted.lock().insert(name, start.elapsed());
            Next::Change
        }
    };
    let (driven, told) = (Arc::clone(&scheduler), stop.clone());
    let driver = tokio::spawn(async move { driven.run(64, &told, pass).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 0..100 {
        scheduler.trigger(key("b", &format!("quick-{number}")), Lane::Refresh);
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    let ends = ends.lock().clone();
    let last = |store: &str| {
        let of_store = ends.iter().filter(|(name, _)| name.starts_with(store));
        of_store.map(|(_, end)| *end).max().unwrap()
    };
    assert_eq!(ends.len(), 200);
    assert!(
        last("quick") < Duration::from_millis(1500),
        "{:?}",
        last("quick")
    );
    // 100 objects, 16 at a time.
    assert_eq!(last("hangs").as_secs(), 7 * 30);
    stop.cancel();
    driver.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn passes_are_bounded_repeated_when_due_and_awaited_at_the_end() {
    let scheduler = Arc::new(Scheduler::default());
    for number in 0..10 {
        scheduler.trigger(key("a", &number.to_string()), Lane::First);
    }
    let (stop, running, most, passes) = (
        CancellationToken::new(),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let counters = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&passes));
    let pass = move |_| {
        let (running, most, passes) = counters.clone();
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            passes.fetch_add(1, Ordering::SeqCst);
            Next::After(Duration::from_secs(60))
        }
    };
    let (driven, told) = (Arc::clone(&scheduler), stop.clone());
    let driver = tokio::spawn(async move { driven.run(4, &told, pass).await });
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(
        (most.load(Ordering::SeqCst), passes.load(Ordering::SeqCst)),
        (4, 10)
    );
    scheduler.trigger(key("a", "3"), Lane::Refresh);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        passes.load(Ordering::SeqCst),
        11,
        "a trigger wakes the driver"
    );
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_eq!(passes.load(Ordering::SeqCst), 20, "the other nine were due");
    scheduler.trigger(key("a", "3"), Lane::Refresh);
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    driver.await.unwrap();
    assert_eq!(
        (
            running.load(Ordering::SeqCst),
            passes.load(Ordering::SeqCst)
        ),
        (0, 21)
    );
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_panics_stops_nothing() {
    let scheduler = Arc::new(Scheduler::default());
    scheduler.trigger(key("a", "bad"), Lane::First);
    scheduler.trigger(key("a", "good"), Lane::First);
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    let pass = move |(_, name): Key| {
        let counted = Arc::clone(&counted);
        async move {
            assert_ne!(name, "bad");
            counted.fetch_add(1, Ordering::SeqCst);
            Next::Change
        }
    };
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::join!(scheduler.run(1, &stop, pass), async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stopper.cancel();
    });
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn the_meter_tells_what_waits_and_for_how_long_it_did() {
    // externalsecret.md 8.1, last sentence
    let metrics = meter::QueueMetrics::default();
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let shows = |lines: &[&str]| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in lines {
            let (name, value) = line.split_once(' ').unwrap();
            let (family, more) = name.split_once('{').unwrap_or((name, ""));
            let labels = r#"name="externalsecret",controller="externalsecret""#;
            let more = if more.is_empty() {
                String::new()
            } else {
                format!(",{}", more.trim_end_matches('}'))
            };
            let line = format!("{family}{{{labels}{more}}} {value}");
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    };
    let budget: Budget = Box::new(|_| {
        vec![Charge {
            account: "s".into(),
            most: 1,
        }]
    });
    let mut queue = Queue::new(budget).with_meter(metrics.meter("externalsecret"));
    let (x, y) = (key("a", "x"), key("a", "y"));
    queue.trigger(x.clone(), Lane::Refresh);
    queue.trigger(y.clone(), Lane::Refresh);
    queue.trigger(y.clone(), Lane::Refresh);
    shows(&[
        r#"workqueue_depth{priority="-100"} 2"#,
        r#"workqueue_depth{priority="0"} 0"#,
        "workqueue_adds_total 2",
    ]);
    // A more urgent place is no other wait.
    tokio::time::advance(Duration::from_secs(3)).await;
    queue.trigger(x.clone(), Lane::First);
    assert_eq!(queue.take(Instant::now()), Some(x.clone()));
    shows(&[
        r#"workqueue_depth{priority="-100"} 1"#,
        r#"workqueue_depth{priority="0"} 0"#,
        "workqueue_adds_total 2",
        "workqueue_queue_duration_seconds_sum 3.0",
        "workqueue_queue_duration_seconds_count 1",
    ]);
    // Waiting for room at a store is waiting, too, and what is triggered while it runs waits from its end on.
    assert_eq!(queue.take(Instant::now()), None);
    queue.trigger(x.clone(), Lane::Refresh);
    shows(&[r#"workqueue_depth{priority="-100"} 1"#]);
    tokio::time::advance(Duration::from_secs(4)).await;
    queue.finish(&x, None);
    shows(&[
        r#"workqueue_depth{priority="-100"} 2"#,
        "workqueue_adds_total 3",
    ]);
    assert_eq!(queue.take(Instant::now()), Some(y));
    shows(&["workqueue_queue_duration_seconds_sum 10.0"]);
    // Whoever stops leaves nothing that waits.
    drop(queue);
    shows(&[r#"workqueue_depth{priority="-100"} 0"#]);
}
