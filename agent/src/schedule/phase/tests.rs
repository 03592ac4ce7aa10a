use super::*;

const HOUR: Duration = Duration::from_secs(3600);
/// Some time of day.
const START: i64 = 1_700_000_123;

fn uid(number: u32) -> String {
    format!("6f1c2b9e-7d3a-4c55-9e01-{number:012x}")
}

/// When an object that was refreshed at `refreshed` (whole seconds since the epoch) is refreshed next, by the same rules as a pass.
fn next(uid: &str, refreshed: i64, interval: Duration) -> i64 {
    let at = Timestamp::from_second(refreshed).unwrap();
    let wait = interval - advance(uid, at, interval);
    // It is due strictly after that, and the time of a refresh is stored in whole seconds.
    (at + wait + Duration::from_millis(10)).as_second()
}

/// How many of `times` fall into each tenth of an interval.
fn tenths(times: &[i64], interval: Duration) -> [usize; 10] {
    let length = i64::try_from(interval.as_secs()).unwrap();
    let mut tenths = [0; 10];
    for time in times {
        tenths[usize::try_from(time.rem_euclid(length) * 10 / length).unwrap()] += 1;
    }
    tenths
}

#[test]
fn objects_that_were_synced_in_the_same_second_are_refreshed_all_over_the_interval() {
    let uids: Vec<String> = (0..1000).map(uid).collect();
    let mut times = vec![START; 1000];
    for round in 0..40 {
        let before = times.clone();
        for (time, uid) in times.iter_mut().zip(&uids) {
            *time = next(uid, *time, HOUR);
        }
        for (time, before) in times.iter().zip(before) {
            // externalsecret.md 2.13: never later than the interval; and never much earlier.
            assert!(
                (2880..=3600).contains(&(time - before)),
                "round {round}: {}",
                time - before
            );
        }
        if round == 0 {
            let mut seconds: Vec<i64> = times.clone();
            seconds.sort_unstable();
            let most = seconds.chunk_by(|a, b| a == b).map(<[i64]>::len).max();
            assert!(
                most < Some(12),
                "{most:?} in one second after the first interval"
            );
        }
    }
    let tenths = tenths(&times, HOUR);
    assert!(
        tenths.iter().all(|count| (60..=140).contains(count)),
        "{tenths:?}"
    );
}

#[test]
fn the_way_of_an_object_to_its_place_is_less_than_one_interval() {
    for number in 0..200 {
        let (uid, mut time) = (uid(number), START);
        for _ in 0..60 {
            time = next(&uid, time, HOUR);
        }
        let lost = START + 60 * 3600 - time;
        assert!((0..3600).contains(&lost), "{lost}");
        // Once there it stays, to the second or nearly.
        let settled = next(&uid, time, HOUR) - time;
        assert!((3598..=3600).contains(&settled), "{settled}");
    }
}

#[test]
fn late_refreshes_are_made_up_for_and_do_not_drift() {
    let (uid, mut time) = (uid(7), START);
    for round in 0..500 {
        // Each refresh takes its turn 3 s late.
        let due = next(&uid, time, HOUR);
        assert!(
            due - time <= 3600 && (round < 60 || due - time >= 3590),
            "{round}: {}",
            due - time
        );
        time = due + 3;
    }
}

#[test]
fn a_restart_changes_nothing() {
    // Nothing but the UID and the time of the last refresh, which is in the status, is asked for.
    let at = Timestamp::from_second(START).unwrap();
    let advances = [1, 2].map(|number| advance(&uid(number), at, HOUR).as_millis());
    assert_eq!(
        advances,
        [714_000, 13_600],
        "another version would refresh at other times"
    );
}

#[test]
fn short_intervals_and_objects_without_identity_are_exact() {
    let at = Timestamp::from_second(START).unwrap();
    for (uid, interval) in [(&*uid(3), 2), (&*uid(3), 60), ("", 3600)] {
        let interval = Duration::from_secs(interval);
        assert_eq!(
            advance(uid, at, interval),
            Duration::ZERO,
            "{uid} {interval:?}"
        );
    }
    for seconds in [61, 90, 86_400 * 365 * 200] {
        let interval = Duration::from_secs(seconds);
        assert!(advance(&uid(3), at, interval) <= interval / 5, "{seconds}");
    }
}

#[test]
fn shares_are_spread_evenly() {
    let shares: Vec<f64> = (0..1000).map(|number| share(&uid(number))).collect();
    assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
    let mean = shares.iter().sum::<f64>() / 1000.0;
    assert!((0.45..0.55).contains(&mean), "{mean}");
}
