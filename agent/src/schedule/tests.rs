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

/// What happens to a queue, with objects by number.
#[derive(Clone, Debug)]
enum Step {
    Trigger(u8, bool),
    Take,
    Finish(u8, Option<u8>),
    Forget(u8),
    Wait(u8),
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
    ]
}

/// The same rules, as plainly as they can be written.
#[derive(Default)]
struct Model {
    wanted: HashMap<u8, Instant>,
    running: HashSet<u8>,
    gone: HashSet<u8>,
}

proptest! {
    /// No due object is ever forgotten, none runs twice at once, and nothing runs that nobody wants.
    #[test]
    fn what_is_wanted_is_run_once_and_nothing_else(steps in proptest::collection::vec(step(), 1..200)) {
        let (mut queue, mut model, mut now) = (Queue::default(), Model::default(), Instant::now());
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
                    let ready = |(number, due): (&u8, &Instant)| *due <= now && !model.running.contains(number);
                    match taken {
                        Some(number) => {
                            prop_assert!(ready((&number, &model.wanted[&number])), "{number} was not wanted");
                            model.wanted.remove(&number);
                            model.running.insert(number);
                        }
                        None => prop_assert!(!model.wanted.iter().any(ready), "something due was not run"),
                    }
                }
                Step::Finish(number, due) => {
                    let due = due.map(|seconds| now + Duration::from_secs(seconds.into()));
                    if model.running.remove(&number) {
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
                    if model.running.contains(&number) {
                        model.gone.insert(number);
                    }
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds.into()),
            }
        }
        for number in model.running.drain() {
            queue.finish(&object(number), None);
        }
        let left = names(&mut queue, now + Duration::from_secs(60)).len();
        prop_assert_eq!(left, model.wanted.len());
    }
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
