use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::duration;
use super::{Time, Zone};

fn parse(layout: &str, text: &str) -> Result<Time, String> {
    Time::parse(layout.as_bytes(), text.as_bytes(), &TimeZone::UTC)
}

fn time(text: &str) -> Time {
    parse("2006-01-02T15:04:05.999999999Z07:00", text).expect("RFC 3339")
}

fn format(time: &Time, layout: &str) -> String {
    String::from_utf8(time.format(layout.as_bytes())).expect("UTF-8")
}

fn in_zone(unix: i64, zone: &str, layout: &str) -> String {
    let zone = Zone::load(zone.as_bytes(), &TimeZone::UTC);
    format(&Time::from_unix(unix, zone), layout)
}

#[test]
fn every_element_of_a_layout_formats() {
    let time = time("2030-01-02T03:04:05.067+05:30");
    for (layout, expected) in [
        ("06 6 1 01 Jan January", "30 6 1 01 Jan January"),
        ("2 02 _2 002 __2", "2 02  2 002   2"),
        ("3 03 15 4 04 5 05 pm PM", "3 03 03 4 04 5 05 am AM"),
        ("Mon Monday Mondays Monx", "Wed Wednesday Wednesdays Monx"),
        (
            ".0 .000 .000000 .999 ,000 .00000000000",
            ".0 .067 .067000 .067 ,067 .067000000",
        ),
        ("Z0700 Z07:00 Z07 Z070000", "+0530 +05:30 +05 +053000"),
        ("-0700 -07:00 -07 -07:00:00", "+0530 +05:30 +05 +05:30:00"),
        (
            "Janet 2006th 20060102 _2006 MST",
            "Janet 2030th 20300102 _2030 +0530",
        ),
        (".0001 .09 00 7", ".0001 .09 00 7"),
    ] {
        assert_eq!(format(&time, layout), expected, "{layout}");
    }
}

#[test]
fn years_of_any_size_format() {
    for (unix, expected) in [
        (-62_135_596_801, "0000-12-31 Sun 366"),
        (-62_167_219_201, "-0001-12-31 Fri 365"),
        (253_402_300_800, "10000-01-01 Sat 001"),
        (i64::MAX, "292277026596-12-04 Sun 339"),
        (i64::MIN, "292277026596-12-04 Sun 339"),
        (i64::MIN + 62_135_596_800, "-292277020688-01-27 Wed 027"),
    ] {
        let time = Time::from_unix(unix, Zone::Utc);
        assert_eq!(format(&time, "2006-01-02 Mon 002"), expected, "{unix}");
    }
}

#[test]
fn zones_come_from_the_database_by_exact_name() {
    let layout = "2006-01-02 15:04 MST -0700";
    for (unix, zone, expected) in [
        (1_750_000_000, "Europe/London", "2025-06-15 16:06 BST +0100"),
        (1_735_689_600, "Europe/London", "2025-01-01 00:00 GMT +0000"),
        (0, "America/Sao_Paulo", "1969-12-31 21:00 -03 -0300"),
        (0, "europe/london", "1970-01-01 00:00 UTC +0000"),
        (0, "Etc/Unknown", "1970-01-01 00:00 UTC +0000"),
        (0, "../etc/passwd", "1970-01-01 00:00 UTC +0000"),
        (0, "", "1970-01-01 00:00 UTC +0000"),
        (0, "Etc/GMT+5", "1969-12-31 19:00 -05 -0500"),
        // Rules go on when the database ends.
        (
            300_000_000_000,
            "Europe/Berlin",
            "11476-08-15 07:20 CEST +0200",
        ),
        (
            -9_000_000_000,
            "Europe/Berlin",
            "1684-10-19 08:53 LMT +0053",
        ),
    ] {
        assert_eq!(in_zone(unix, zone, layout), expected, "{unix} {zone}");
    }
}

#[test]
fn dates_parse() {
    for (layout, text, expected) in [
        ("2006-01-02", "2031-07-09", "2031-07-09 00:00:00 +0000 UTC"),
        ("2006-002", "2028-366", "2028-12-31 00:00:00 +0000 UTC"),
        ("2006-__2", "2028- 60", "2028-02-29 00:00:00 +0000 UTC"),
        ("15:04", "9:05", "0000-01-01 09:05:00 +0000 UTC"),
        ("3:04PM", "12:30AM", "0000-01-01 00:30:00 +0000 UTC"),
        (
            "2006 15:04:05",
            "2031 10:11:12,345",
            "2031-01-01 10:11:12.345 +0000 UTC",
        ),
        ("2006.000", "2031.+12", "2031-01-01 00:00:00.012 +0000 UTC"),
        ("06", "69", "1969-01-01 00:00:00 +0000 UTC"),
        ("06", "-5", "1995-01-01 00:00:00 +0000 UTC"),
        (
            "january 2006",
            "january 2031",
            "2031-01-01 00:00:00 +0000 UTC",
        ),
        ("January 2006", "jULY 2031", "2031-07-01 00:00:00 +0000 UTC"),
        ("2006 MST", "2031 CEST", "2031-01-01 00:00:00 +0000 CEST"),
        ("2006 MST", "2031 GMT+3", "2031-01-01 03:00:00 +0300 GMT+3"),
        ("2006 MST", "2031 UTC", "2031-01-01 00:00:00 +0000 UTC"),
        ("2006 -0700", "2031 +0000", "2031-01-01 00:00:00 +0000 UTC"),
        (
            "2006 -0700",
            "2031 +2460",
            "2031-01-01 00:00:00 +2500 +2500",
        ),
        ("2006 Z07:00", "2031 Z", "2031-01-01 00:00:00 +0000 UTC"),
        // An offset of minus one second is as good as none.
        (
            "2006 -07:00:00",
            "2031 -00:00:01",
            "2031-01-01 00:00:00 +0000 UTC",
        ),
        ("2006   1", "2031 2", "2031-02-01 00:00:00 +0000 UTC"),
    ] {
        let text = parse(layout, text).map(|time| time.text());
        assert_eq!(text, Ok(expected.to_owned()), "{layout}");
    }
}

#[test]
fn what_is_no_date_is_refused_in_the_words_of_go() {
    for (layout, text, expected) in [
        (
            "2006-01-02",
            "junk",
            r#"parsing time "junk" as "2006-01-02": cannot parse "junk" as "2006""#,
        ),
        (
            "2006-01-02",
            "2031-7-9",
            r#"parsing time "2031-7-9" as "2006-01-02": cannot parse "7-9" as "01""#,
        ),
        (
            "2006-01-02",
            "2031/07/09",
            r#"parsing time "2031/07/09" as "2006-01-02": cannot parse "/07/09" as "-""#,
        ),
        (
            "2006-01-02",
            "2023-02-29",
            r#"parsing time "2023-02-29": day out of range"#,
        ),
        (
            "2006-01-02",
            "2023-13-01",
            r#"parsing time "2023-13-01": month out of range"#,
        ),
        ("2006", "2031x", r#"parsing time "2031x": extra text: "x""#),
        (
            "2006 é\"",
            "2031",
            r#"parsing time "2031" as "2006 \xc3\xa9\"": cannot parse "" as " \xc3\xa9\"""#,
        ),
        (
            "2006-002",
            "2023-366",
            r#"parsing time "2023-366": day-of-year out of range"#,
        ),
        (
            "2006-01 002",
            "2023-02 003",
            r#"parsing time "2023-02 003": day-of-year does not match month"#,
        ),
        (
            "2006 .000",
            "2023 .-12",
            r#"parsing time "2023 .-12": fractional second out of range"#,
        ),
        // The last range that is left counts, and before any bad form.
        (
            "-07:00",
            "+99:99",
            r#"parsing time "+99:99": time zone offset minute out of range"#,
        ),
        (
            "-07:00",
            "+25:x0",
            r#"parsing time "+25:x0": time zone offset hour out of range"#,
        ),
        (
            "-0700",
            "*0100",
            r#"parsing time "*0100" as "-0700": cannot parse "*0100" as "-0700""#,
        ),
        (
            "MST",
            "ABCDEF",
            r#"parsing time "ABCDEF" as "MST": cannot parse "ABCDEF" as "MST""#,
        ),
    ] {
        let outcome = parse(layout, text).map(|time| time.text());
        assert_eq!(outcome, Err(expected.to_owned()));
    }
}

#[test]
fn a_local_zone_lends_its_offsets() {
    let berlin = TimeZone::get("Europe/Berlin").expect("it is in the database");
    let parse = |layout: &str, text: &str| {
        let time = Time::parse(layout.as_bytes(), text.as_bytes(), &berlin);
        time.expect("a date").text()
    };
    assert_eq!(
        parse("2006-01-02", "2024-07-01"),
        "2024-07-01 00:00:00 +0200 CEST"
    );
    assert_eq!(
        parse("2006-01-02 MST", "2024-07-01 CEST"),
        "2024-07-01 00:00:00 +0200 CEST"
    );
    assert_eq!(
        parse("2006-01-02 MST", "2024-07-01 CET"),
        "2024-07-01 01:00:00 +0200 CEST"
    );
    assert_eq!(
        parse("2006-01-02 -0700", "2024-07-01 +0200"),
        "2024-07-01 00:00:00 +0200 CEST"
    );
    assert_eq!(
        parse("2006-01-02 -0700", "2024-07-01 +0100"),
        "2024-07-01 00:00:00 +0100 +0100"
    );
    // Of the hour that the clocks skip and the one they repeat.
    assert_eq!(
        parse("2006-01-02 15", "2024-03-31 02"),
        "2024-03-31 03:00:00 +0200 CEST"
    );
    assert_eq!(
        parse("2006-01-02 15", "2024-10-27 02"),
        "2024-10-27 02:00:00 +0100 CET"
    );
}

#[test]
fn moments_move() {
    let start = time("2024-01-31T12:00:00Z");
    for (moved, expected) in [
        (start.add(-1), "2024-01-31T11:59:59.999999999Z"),
        (start.add_date(0, 1, 0), "2024-03-02T12:00:00Z"),
        (start.add_date(-1, 13, 0), "2024-03-02T12:00:00Z"),
        (start.add_date(0, 0, -31), "2023-12-31T12:00:00Z"),
        (
            start.truncate(7 * 86_400_000_000_000),
            "2024-01-29T00:00:00Z",
        ),
        (start.round(86_400_000_000_000), "2024-02-01T00:00:00Z"),
        (start.truncate(0), "2024-01-31T12:00:00Z"),
    ] {
        assert_eq!(
            format(&moved, "2006-01-02T15:04:05.999999999Z07:00"),
            expected
        );
    }
    assert_eq!(start.since(&Time::zero()), i64::MAX);
    assert_eq!(Time::zero().since(&start), i64::MIN);
    assert_eq!(start.add(5).since(&start), 5);
    // Before the zero time multiples count downwards, too.
    let before = Time::zero().add(-1);
    assert_eq!(
        before.truncate(1_000_000_000).text(),
        "0000-12-31 23:59:59 +0000 UTC"
    );
}

#[test]
fn numbers_of_a_moment_wrap() {
    let late = Time::zero().add_date(2_500, 0, 0);
    assert_eq!(late.unix(), 16_756_761_600);
    assert_eq!(
        late.unix_in(1_000_000_000),
        16_756_761_600_i64.wrapping_mul(1_000_000_000)
    );
    assert_eq!(time("1969-12-31T23:59:59.5Z").unix_in(1_000), -500);
}

#[test]
fn now_has_a_monotonic_reading_until_it_is_changed() {
    let now = Time::now(Timestamp::UNIX_EPOCH, &TimeZone::UTC);
    assert_eq!(now.text(), "1970-01-01 00:00:00 +0000 UTC m=+0.000000001");
    assert_eq!(
        now.add(-3_000_000_000).text(),
        "1969-12-31 23:59:57 +0000 UTC m=-2.999999999"
    );
    assert_eq!(
        now.in_zone(Zone::Utc).text(),
        "1970-01-01 00:00:00 +0000 UTC"
    );
    assert!(now.is_identical(&now.clone()));
    assert!(!now.is_identical(&now.round(0)));
    assert!(now.compare(&now.round(0)).is_eq());
}

#[test]
fn equality_looks_at_the_zone() {
    let (named, again) = (
        parse("2006 MST", "2031 CEST"),
        parse("2006 MST", "2031 CEST"),
    );
    let (named, again) = (named.expect("a date"), again.expect("a date"));
    assert!(!named.is_identical(&again));
    assert!(named.is_deeply_equal(&again));
    assert!(time("2031-01-01T00:00:00+02:00").is_identical(&time("2031-01-01T00:00:00+02:00")));
    assert!(!time("2031-01-01T00:00:00+02:30").is_identical(&time("2031-01-01T00:00:00+02:30")));
    assert!(!time("2031-01-01T00:00:00Z").is_identical(&time("2031-01-01T00:00:00+00:00")));
}

#[test]
fn other_texts_of_a_time() {
    let time = time("2027-03-04T05:06:07.089+02:00");
    let go = r#"time.Date(2027, time.March, 4, 5, 6, 7, 89000000, time.Location(""))"#;
    assert_eq!(time.go_text(), go);
    assert_eq!(
        time.rfc_3339(),
        Ok(b"2027-03-04T05:06:07.089+02:00".to_vec())
    );
    assert!(time.add_date(8_000, 0, 0).rfc_3339().is_err());
    let far = parse("2006 -0700", "2031 +2400").expect("a date");
    assert_eq!(far.rfc_3339(), Err("timezone hour outside of range [0,23]"));
    assert_eq!(time.binary().map(|bytes| bytes.len()), Ok(15));
}

#[test]
fn durations_parse_and_print() {
    for (text, expected) in [
        ("0", Ok("0s")),
        ("-0", Ok("0s")),
        ("1h15m30.918s", Ok("1h15m30.918s")),
        ("+.5h", Ok("30m0s")),
        ("-1.5h", Ok("-1h30m0s")),
        ("3\u{b5}s", Ok("3\u{b5}s")),
        ("3\u{3bc}s", Ok("3\u{b5}s")),
        ("1500us", Ok("1.5ms")),
        ("0.3333333333333333333h", Ok("20m0s")),
        ("9223372036854775807ns", Ok("2562047h47m16.854775807s")),
        ("-9223372036854775808ns", Ok("-2562047h47m16.854775808s")),
        (
            "9223372036854775808ns",
            Err("time: invalid duration \"9223372036854775808ns\""),
        ),
        ("", Err("time: invalid duration \"\"")),
        ("-", Err("time: invalid duration \"-\"")),
        ("5", Err("time: missing unit in duration \"5\"")),
        (".s", Err("time: invalid duration \".s\"")),
        ("1d", Err("time: unknown unit \"d\" in duration \"1d\"")),
        (
            "1h-2m",
            Err("time: unknown unit \"h-\" in duration \"1h-2m\""),
        ),
        (
            "1é",
            Err("time: unknown unit \"\\xc3\\xa9\" in duration \"1\\xc3\\xa9\""),
        ),
    ] {
        let outcome = duration::parse(text.as_bytes()).map(duration::text);
        assert_eq!(
            outcome.as_deref().map_err(String::as_str),
            expected,
            "{text}"
        );
    }
}

#[test]
fn durations_round() {
    assert_eq!(duration::round(i64::MAX, i64::MAX - 1), i64::MAX - 1);
    assert_eq!(duration::round(i64::MAX, 10), i64::MAX);
    assert_eq!(duration::round(i64::MIN, 10), i64::MIN);
    assert_eq!(duration::round(-15, 10), -20);
    assert_eq!(duration::truncate(-15, 10), -10);
    assert_eq!(duration::absolute(i64::MIN), i64::MAX);
    assert!((duration::in_units(90_000_000_000, 60_000_000_000) - 1.5).abs() < f64::EPSILON);
}

proptest! {
    #[test]
    fn a_duration_reads_back(nanoseconds: i64) {
        let text = duration::text(nanoseconds);
        prop_assert_eq!(duration::parse(text.as_bytes()), Ok(nanoseconds));
    }

    #[test]
    fn a_moment_reads_back(seconds in -62_167_219_200_i64..253_402_300_800, nanoseconds in 0..1_000_000_000_i64) {
        let moment = Time::from_unix(seconds, Zone::Utc).add(nanoseconds);
        let text = String::from_utf8(moment.rfc_3339().expect("four digits of year")).expect("UTF-8");
        prop_assert_eq!(time(&text).text(), moment.text());
    }

    #[test]
    fn any_layout_and_text_end(layout in ".{0,40}", text in ".{0,40}", seconds: i64) {
        let _ = parse(&layout, &text);
        let _ = Time::from_unix(seconds, Zone::Utc).format(layout.as_bytes());
    }
}
