use super::super::authority::{BACKDATE, CA_LIFETIME, Identity};
use super::*;

fn begin() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

fn days(count: u32) -> Duration {
    DAY * count
}

fn server() -> Profile {
    Profile::of_service("provider-bao", "vault", "cluster.local")
}

fn secret(identity: &Identity, bundle: &str) -> SecretData {
    SecretData::from([
        (String::from("ca.crt"), SecretValue::from(bundle.to_owned())),
        (
            String::from("tls.crt"),
            SecretValue::from(identity.certificate.clone()),
        ),
        (String::from("tls.key"), identity.key.clone()),
    ])
}

#[test]
fn a_ca_is_announced_at_150_days_switched_at_60_and_pruned_at_its_end() {
    let mut chain = Chain::begin(begin()).unwrap();
    let mut seen = Vec::new();
    for day in 0..=370 {
        let now = begin() + days(day);
        let step = chain.step(now);
        if step != ChainStep::Keep {
            seen.push((day, step));
            chain = chain.take(step, now).unwrap();
        }
        // Every leaf that a CA of this chain may have issued within the last 90 days is trusted today.
        assert!(!chain.current.facts().remaining(now).is_zero(), "day {day}");
    }
    assert_eq!(
        seen,
        [
            (215, ChainStep::Announce),
            (305, ChainStep::Switch),
            (365, ChainStep::Prune)
        ]
    );
}

#[test]
fn a_leaf_is_valid_and_trusted_on_every_day_of_three_years() {
    let mut chain = Chain::begin(begin()).unwrap();
    let mut leaf_data: Option<SecretData> = None;
    let mut issued = 0;
    for day in 0..3 * 365 {
        let now = begin() + days(day);
        let step = chain.step(now);
        chain = chain.take(step, now).unwrap();
        let observed = leaf_data.as_ref().map(|data| (data, true));
        match leaf(observed, &server(), &chain, now) {
            Verdict::Keep(_) => {}
            Verdict::Publish(_) => {
                let data = leaf_data.as_mut().unwrap();
                data.insert(String::from("ca.crt"), SecretValue::from(chain.bundle()));
            }
            Verdict::Issue(reason) => {
                // Trust is never lost: after the first one, leaves change for their age alone.
                assert!(
                    if day == 0 {
                        reason == Reason::Created
                    } else {
                        reason == Reason::Expiring
                    },
                    "day {day}: {reason}"
                );
                issued += 1;
                leaf_data = Some(secret(
                    &chain.current.issue(&server(), now).unwrap(),
                    &chain.bundle(),
                ));
            }
            Verdict::Foreign(_) => panic!("ours became foreign on day {day}"),
        }
        let certificate = leaf_data.as_ref().unwrap()["tls.crt"].clone();
        assert!(
            authority::is_trusted(certificate.expose(), &server(), &chain.bundle(), now),
            "day {day}"
        );
    }
    assert!(
        (18..=24).contains(&issued),
        "{issued} leaves in three years"
    );
}

#[test]
fn an_agent_that_was_away_still_switches_with_an_overlap() {
    let start = Chain::begin(begin()).unwrap();
    let away = begin() + CA_LIFETIME - days(20);
    assert_eq!(start.step(away), ChainStep::Announce);
    let announced = start.clone().take(ChainStep::Announce, away).unwrap();
    assert_eq!(announced.step(away + days(0)), ChainStep::Keep);
    assert_eq!(announced.step(away + days(1)), ChainStep::Switch);
    let gone = begin() + CA_LIFETIME + days(1);
    assert_eq!(start.step(gone), ChainStep::Begin);
    assert_eq!(announced.step(gone), ChainStep::Switch);
}

#[test]
fn the_secret_of_a_ca_reads_back_as_it_was_written() {
    let now = begin() + days(305);
    let announced = Chain::begin(begin())
        .unwrap()
        .take(ChainStep::Announce, begin() + days(215))
        .unwrap();
    for chain in [
        announced.clone(),
        announced.take(ChainStep::Switch, now).unwrap(),
    ] {
        let read = Chain::from_data(&chain.to_data()).unwrap();
        assert_eq!(read.bundle(), chain.bundle());
        assert_eq!(read.to_data(), chain.to_data());
        assert_eq!(read.bundle().matches("BEGIN CERTIFICATE").count(), 2);
    }
}

#[test]
fn a_leaf_is_issued_for_a_reason_and_a_foreign_one_never_touched() {
    let now = begin();
    let chain = Chain::begin(now).unwrap();
    let good = secret(
        &chain.current.issue(&server(), now).unwrap(),
        &chain.bundle(),
    );
    let end = chain.current.leaf_end(now);
    let with = |key: &str, value: &str| {
        let mut data = good.clone();
        data.insert(key.to_owned(), SecretValue::from(value.to_owned()));
        data
    };
    let other_key = chain.current.issue(&server(), now).unwrap().key;
    let mut mismatch = good.clone();
    mismatch.insert(String::from("tls.key"), other_key);
    let stranger = secret(
        &Chain::begin(now)
            .unwrap()
            .current
            .issue(&server(), now)
            .unwrap(),
        &chain.bundle(),
    );
    let client = secret(
        &chain.current.issue(&Profile::Client, now).unwrap(),
        &chain.bundle(),
    );
    let cases = [
        ("good", &good, true, days(0), Verdict::Keep(end)),
        (
            "good until 35 days before its end",
            &good,
            true,
            days(55),
            Verdict::Keep(end),
        ),
        (
            "near its end",
            &good,
            true,
            days(56),
            Verdict::Issue(Reason::Expiring),
        ),
        (
            "no key",
            &with("tls.key", ""),
            true,
            days(0),
            Verdict::Issue(Reason::Incomplete),
        ),
        (
            "broken certificate",
            &with("tls.crt", "x"),
            true,
            days(0),
            Verdict::Issue(Reason::Unreadable),
        ),
        (
            "another key",
            &mismatch,
            true,
            days(0),
            Verdict::Issue(Reason::Unreadable),
        ),
        (
            "another CA",
            &stranger,
            true,
            days(0),
            Verdict::Issue(Reason::Untrusted),
        ),
        (
            "a client",
            &client,
            true,
            days(0),
            Verdict::Issue(Reason::Untrusted),
        ),
        (
            "old bundle",
            &with("ca.crt", "old"),
            true,
            days(0),
            Verdict::Publish(end),
        ),
        (
            "foreign",
            &stranger,
            false,
            days(0),
            Verdict::Foreign(Some(end)),
        ),
        (
            "foreign near its end",
            &good,
            false,
            days(80),
            Verdict::Foreign(Some(end)),
        ),
        (
            "foreign without key",
            &with("tls.key", ""),
            false,
            days(0),
            Verdict::Foreign(None),
        ),
        (
            "foreign and broken",
            &with("tls.crt", "x"),
            false,
            days(0),
            Verdict::Foreign(None),
        ),
    ];
    for (name, data, managed, after, expected) in cases {
        assert_eq!(
            leaf(Some((data, managed)), &server(), &chain, now + after),
            expected,
            "{name}"
        );
    }
    assert_eq!(
        leaf(None, &server(), &chain, now),
        Verdict::Issue(Reason::Created)
    );
}

#[test]
fn a_leaf_is_not_renewed_by_a_ca_that_can_give_it_no_more_life() {
    let chain = Chain::begin(begin()).unwrap();
    let late = begin() + CA_LIFETIME - days(30);
    let data = secret(
        &chain.current.issue(&server(), late).unwrap(),
        &chain.bundle(),
    );
    let end = chain.current.facts().not_after;
    assert_eq!(
        leaf(Some((&data, true)), &server(), &chain, late + days(10)),
        Verdict::Keep(end)
    );
    assert_eq!(chain.current.facts().age(begin()), BACKDATE);
}

#[test]
fn an_expired_ca_of_somebody_else_issues_nothing() {
    // Nothing is written then, so no write leads to the next pass and the next leaf.
    let chain = Chain::begin(begin()).unwrap();
    let now = begin() + days(366);
    for profile in [server(), Profile::Client] {
        let refused = chain.issue(&profile, now).map(|_| ());
        assert_eq!(refused, Err(Error::Untrusted), "{profile:?}");
        assert!(chain.issue(&profile, begin() + days(1)).is_ok());
    }
}
