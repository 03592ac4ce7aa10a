use serde_json::json;

use super::*;

fn windows(kind: &str, entries: &[(&str, &str)]) -> SyncWindows {
    let entries: Vec<_> = entries
        .iter()
        .map(|(schedule, duration)| json!({ "schedule": schedule, "duration": duration }))
        .collect();
    serde_json::from_value(json!({ "kind": kind, "windows": entries })).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_window_is_open_from_its_firing_to_the_end_of_its_duration() {
    // E103; D-09: in UTC, whatever the zone of the process
    let nightly = windows("allow", &[("0 22 * * *", "2h")]);
    for (time, is_open) in [
        ("2024-03-05T21:59:59.999Z", false),
        ("2024-03-05T22:00:00Z", true),
        ("2024-03-05T22:30:00Z", true),
        ("2024-03-06T00:00:00Z", true),
        ("2024-03-06T00:00:00.5Z", false),
        ("2024-03-06T00:00:01Z", false),
        ("2024-03-05T21:00:00Z", false),
        ("2024-03-06T03:00:00Z", false),
        ("2024-03-06T22:30:00Z", true),
    ] {
        assert_eq!(permits(&nightly, at(time)), is_open, "{time}");
    }
}

#[test]
fn kinds_decide_what_an_open_window_means() {
    // E104, E105, E106, E107
    let (inside, outside) = (at("2024-03-05T22:30:00Z"), at("2024-03-05T12:00:00Z"));
    let (good, broken) = (("0 22 * * *", "2h"), ("61 * * * *", "1h"));
    for (kind, entries, by_night, by_day) in [
        ("allow", &[][..], true, true),
        ("deny", &[], true, true),
        ("allow", &[good], true, false),
        ("deny", &[good], false, true),
        ("allow", &[broken], false, false),
        ("deny", &[broken], true, true),
        ("allow", &[broken, good], true, false),
        ("deny", &[broken, good], false, true),
        ("allow", &[("0 22 * * *", "-2h")], false, false),
    ] {
        let windows = windows(kind, entries);
        assert_eq!(permits(&windows, inside), by_night, "{kind} {entries:?}");
        assert_eq!(permits(&windows, outside), by_day, "{kind} {entries:?}");
    }
}

#[test]
fn every_opens_a_window_for_good_or_never() {
    // externalsecret.md 2.5
    for (schedule, duration, is_open) in [
        ("@every 1h", "1h", true),
        ("@every 1h", "59m59s", true),
        ("@every 1h", "59m58s", false),
        ("@every 1h0m0.9s", "59m59s", true),
        ("@every 10ms", "0s", true),
        ("@every -1h", "0s", true),
        ("@every 2s", "0s", false),
        ("@every nonsense", "24h", false),
        ("@every 1h 1h", "24h", false),
        ("@Daily", "24h", false),
    ] {
        let windows = windows("allow", &[(schedule, duration)]);
        let now = at("2024-03-05T12:34:56Z");
        assert_eq!(permits(&windows, now), is_open, "{schedule} {duration}");
    }
}

#[test]
fn schedules_fire_when_their_fields_say() {
    // externalsecret.md 2.5; 2024-03-05 is a Tuesday
    let next = |schedule: &str, from: &str| match Schedule::parse(schedule)? {
        Schedule::Cron(cron) => cron.at_or_after(at(from)).map(|at| at.to_string()),
        Schedule::Every(_) => None,
    };
    let tuesday = "2024-03-05T12:34:56Z";
    for (schedule, firing) in [
        ("* * * * *", Some("2024-03-05T12:35:00Z")),
        ("? ? ? ? ?", Some("2024-03-05T12:35:00Z")),
        ("*/15 * * * *", Some("2024-03-05T12:45:00Z")),
        ("50/5 * * * *", Some("2024-03-05T12:50:00Z")),
        ("10-20/5 * * * *", Some("2024-03-05T13:10:00Z")),
        ("3,1,,2 13 * * *", Some("2024-03-05T13:01:00Z")),
        ("0 12 * * *", Some("2024-03-06T12:00:00Z")),
        ("34 12 * * *", Some("2024-03-06T12:34:00Z")),
        ("0 0 * * SUN", Some("2024-03-10T00:00:00Z")),
        ("0 0 * * 0", Some("2024-03-10T00:00:00Z")),
        ("0 0 * * mon-Wed", Some("2024-03-06T00:00:00Z")),
        ("0 0 1 jan *", Some("2025-01-01T00:00:00Z")),
        ("0 0 29 2 *", Some("2028-02-29T00:00:00Z")),
        ("0 0 30 2 *", None),
        // Both restricted: either; one left open: both.
        ("0 0 20 * Thu", Some("2024-03-07T00:00:00Z")),
        ("0 0 20 * *", Some("2024-03-20T00:00:00Z")),
        ("0 0 */10 * Thu", Some("2024-03-07T00:00:00Z")),
        ("0 0 */1 * Thu", Some("2024-03-07T00:00:00Z")),
        ("0 0 13 * ?", Some("2024-03-13T00:00:00Z")),
        ("@yearly", Some("2025-01-01T00:00:00Z")),
        ("@annually", Some("2025-01-01T00:00:00Z")),
        ("@monthly", Some("2024-04-01T00:00:00Z")),
        ("@weekly", Some("2024-03-10T00:00:00Z")),
        ("@daily", Some("2024-03-06T00:00:00Z")),
        ("@midnight", Some("2024-03-06T00:00:00Z")),
        ("@hourly", Some("2024-03-05T13:00:00Z")),
        ("0 0 31 * *", Some("2024-03-31T00:00:00Z")),
        (", * * * *", None),
    ] {
        assert_eq!(next(schedule, tuesday).as_deref(), firing, "{schedule}");
    }
    assert_eq!(
        next("0 12 * * *", "2024-03-05T12:00:00Z").as_deref(),
        Some("2024-03-05T12:00:00Z"),
        "a firing now counts"
    );
    assert_eq!(
        next("59 23 31 12 *", "2024-12-31T23:59:00.000000001Z").as_deref(),
        Some("2025-12-31T23:59:00Z"),
        "one that is just over does not"
    );
}

#[test]
fn schedules_outside_the_grammar_are_not_understood() {
    // externalsecret.md 2.5
    for schedule in [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * 0 *",
        "* * * * 7",
        "* * * * monday",
        "5-1 * * * *",
        "1-2-3 * * * *",
        "*/0 * * * *",
        "*/2/2 * * * *",
        "-1 * * * *",
        "x * * * *",
        "TZ=UTC * * * *",
        "@fortnightly",
    ] {
        assert_eq!(Schedule::parse(schedule), None, "{schedule}");
    }
}

#[test]
fn a_blocked_refresh_waits_for_the_next_boundary_and_never_longer_than_seven_minutes() {
    // D-01
    let wait = |kind: &str, entries: &[(&str, &str)], now: &str| {
        let (windows, now) = (windows(kind, entries), at(now));
        assert!(!permits(&windows, now), "{entries:?}");
        let wait = until_permitted(&windows, now);
        if wait < LONGEST_WAIT {
            let then = now.checked_add(wait).unwrap();
            assert!(permits(&windows, then), "{entries:?} {wait:?}");
        }
        wait.as_millis()
    };
    let longest = LONGEST_WAIT.as_millis();
    let nightly = ("0 22 * * *", "2h");
    assert_eq!(wait("allow", &[nightly], "2024-03-05T21:58:30Z"), 90_000);
    assert_eq!(wait("allow", &[nightly], "2024-03-05T21:00:00Z"), longest);
    assert_eq!(wait("deny", &[nightly], "2024-03-05T23:57:00Z"), 180_001);
    assert_eq!(wait("deny", &[nightly], "2024-03-06T00:00:00Z"), 1);
    assert_eq!(wait("deny", &[nightly], "2024-03-05T22:00:00Z"), longest);
    // Windows that overlap have boundaries that change nothing.
    let always = ("* * * * *", "1h");
    assert_eq!(wait("deny", &[always], "2024-03-05T12:00:00Z"), longest);
    let relay = [("0 12 * * *", "2m"), ("1 12 * * *", "4m")];
    assert_eq!(wait("deny", &relay, "2024-03-05T12:00:30Z"), 270_001);
    // Nothing ever opens.
    let never = ("0 0 30 2 *", "1h");
    assert_eq!(wait("allow", &[never], "2024-03-05T12:00:00Z"), longest);
    assert_eq!(
        wait("deny", &[("@every 1m", "1m")], "2024-03-05T12:00:00Z"),
        longest
    );
}

#[test]
fn a_duration_that_is_none_is_told_by_its_field() {
    // D-15
    let error = check(&windows("deny", &[("@daily", "1h"), ("@daily", "1d")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.syncWindows.windows[].duration \"1d\" is not a duration such as 90s, 15m or 1h30m"
    );
}
