//! The suite against a server that is right, in both ways of refusing, and against servers with one fault each: it can fail.

mod model;

use std::time::Duration;

use clap::Parser as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use self::model::{API_VERSION, CANARY, Dialect, Fault, Model};
use super::probe::{self, Heard, Pinged};
use super::*;
use crate::args::{Cli, Command};

const GENERATOR: &str = "generators.external-secrets.io/v1alpha1/Fake/team-a/tide";

/// The command line with these arguments after those that every run needs.
fn parse(model: &Model, rest: &[&str]) -> Result<ConformanceArgs, clap::Error> {
    let mut line = vec!["latchkey".to_owned(), "conformance".to_owned()];
    line.push(format!("--address={}", model.address()));
    for (flag, file) in [
        ("ca", "ca.crt"),
        ("cert", "client.crt"),
        ("key", "client.key"),
    ] {
        line.push(format!("--{flag}={}", model.path(file)));
    }
    line.extend(rest.iter().map(|argument| (*argument).to_owned()));
    match Cli::try_parse_from(line)?.command {
        Command::Conformance(args) => Ok(*args),
        _ => panic!("another command"),
    }
}

fn store() -> String {
    format!("--provider-ref={API_VERSION}/Fake/team-a/tide")
}

/// Everything that can be given.
fn all(model: &Model) -> Vec<String> {
    [
        store(),
        format!("--generator-ref={GENERATOR}"),
        format!("--existing=user={CANARY}"),
        "--json=json".into(),
        "--find-regexp=^(user|db)$".into(),
        "--found=db=two".into(),
        format!("--invalid-ref={API_VERSION}/Fake/broken"),
        "--unsure-ref=Fake/unsure".into(),
        "--write".into(),
        "--protected=user".into(),
        format!("--server-cert={}", model.path("server.crt")),
        format!("--server-key={}", model.path("server.key")),
        "--timeout=10".into(),
    ]
    .into()
}

async fn full(model: &Model) -> Report {
    let rest = all(model);
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    examine(&parse(model, &rest).unwrap()).await.unwrap()
}

const EVERY: [&str; 20] = [
    "PC-01", "PC-02", "PC-03", "PC-04", "PC-05", "PC-06", "PC-07", "PC-08", "PC-09", "PC-10",
    "PC-11", "PC-12", "PC-13", "PC-14", "PC-15", "PC-16", "PC-18", "PC-26", "PC-27", "PC-31",
];

#[tokio::test]
async fn a_server_of_the_contract_passes_in_both_ways_of_refusing() {
    for dialect in [Dialect::Upstream, Dialect::Own] {
        let model = Model::start(dialect, None).await;
        let report = full(&model).await;
        assert_eq!(
            report.numbers(Verdict::Passed),
            EVERY,
            "{dialect:?}\n{report}"
        );
        assert_eq!(report.numbers(Verdict::NotRun), ["PC-17"], "{report}");
        assert!(report.is_passed());
        let is_skipped = |step: &Step| matches!(step.outcome, Outcome::NotRun { .. });
        let mut steps = report.checks.iter().flat_map(|check| &check.steps);
        assert!(
            steps.all(|step| !is_skipped(step) || step.what == "all of it"),
            "{report}"
        );
        let shown = format!("{report}{}", serde_json::to_string(&report).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[tokio::test]
async fn each_fault_fails_the_checks_that_are_about_it_and_no_others() {
    let faults: &[(Fault, &[&str])] = &[
        (Fault::CapabilitiesOfObjects, &["PC-01"]),
        (Fault::UnknownCapability, &["PC-01"]),
        (Fault::ReadOnly, &["PC-01"]),
        (Fault::AnyApiVersion, &["PC-02"]),
        (Fault::AnyKind, &["PC-03"]),
        (Fault::OtherValues, &["PC-04", "PC-08"]),
        (Fault::MissingIsUnknown, &["PC-04", "PC-05"]),
        (Fault::MissingMapIsUnknown, &["PC-04"]),
        (Fault::AnyVersion, &["PC-05"]),
        (Fault::MissingPropertyIsEmpty, &["PC-05"]),
        (Fault::NoProperties, &["PC-05"]),
        (Fault::AnySource, &["PC-06"]),
        (Fault::ValidateNeedsSource, &["PC-06"]),
        (Fault::AnyReference, &["PC-07"]),
        (Fault::ReadsForCaller, &["PC-08"]),
        (Fault::NeedsNamespace, &["PC-08"]),
        (Fault::ObjectIsSecret, &["PC-09"]),
        (Fault::MapOfText, &["PC-10"]),
        (Fault::QuotedMap, &["PC-10"]),
        (Fault::FindsAll, &["PC-11"]),
        (Fault::FindsFirstVersion, &["PC-11"]),
        (Fault::FindsNothing, &["PC-11"]),
        (Fault::NamelessIsNotFound, &["PC-11"]),
        (Fault::KeepsFirstPush, &["PC-12"]),
        (Fault::OverwritesAll, &["PC-12"]),
        (Fault::DeleteNeedsValue, &["PC-13"]),
        (Fault::NothingExists, &["PC-13"]),
        (Fault::InvalidIsValid, &["PC-14"]),
        (Fault::UnsureIsSilent, &["PC-14"]),
        (Fault::NotServing, &["PC-15"]),
        (Fault::HealthByName, &["PC-15"]),
        (Fault::AnyClient, &["PC-16"]),
        (Fault::NoLimit, &["PC-18"]),
        (Fault::DefaultLimit, &["PC-18"]),
        (Fault::AnyGroup, &["PC-26"]),
        (Fault::StateIsText, &["PC-26"]),
        (Fault::CleanupOnce, &["PC-27"]),
        (Fault::StopsWhenAbandoned, &["PC-31"]),
    ];
    for (fault, expected) in faults {
        let model = Model::start(Dialect::Own, Some(*fault)).await;
        let report = full(&model).await;
        assert_eq!(
            &report.numbers(Verdict::Failed),
            expected,
            "{fault:?}\n{report}"
        );
        assert!(!report.is_passed());
        let shown = format!("{report}{}", serde_json::to_string(&report).unwrap());
        assert!(!shown.contains("canary"), "{fault:?}\n{shown}");
    }
}

#[tokio::test]
async fn a_value_in_the_text_of_a_server_is_masked() {
    let model = Model::start(Dialect::Own, Some(Fault::QuotesValue)).await;
    let report = full(&model).await;
    let shown = report.to_string();
    assert!(shown.contains("INTERNAL \"not [value]\""), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn a_check_without_its_input_is_not_run() {
    let model = Model::start(Dialect::Own, None).await;
    let args = parse(&model, &[&store()]).unwrap();
    let report = examine(&args).await.unwrap();
    assert_eq!(
        report.numbers(Verdict::NotRun),
        [
            "PC-05", "PC-10", "PC-12", "PC-13", "PC-17", "PC-18", "PC-26", "PC-27"
        ],
        "{report}"
    );
    assert_eq!(report.numbers(Verdict::Failed), [""; 0], "{report}");
    let shown = report.to_string();
    for line in [
        "not run: a key that exists (needs --existing)",
        "not run: properties (needs --json)",
        "not run: a search by name (needs --find-regexp)",
        "not run: all of it (needs --write)",
        "not run: all of it (needs --generator-ref)",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    // Nothing but what cannot be run.
    let args = parse(&model, &[&store(), "--only=PC-26,PC-17"]).unwrap();
    let report = examine(&args).await.unwrap();
    assert_eq!(report.numbers(Verdict::NotRun), ["PC-17", "PC-26"]);
    assert!(!report.is_passed());
    // A server of generators alone.
    let args = parse(&model, &[&format!("--generator-ref={GENERATOR}")]).unwrap();
    let report = examine(&args).await.unwrap();
    assert_eq!(
        report.numbers(Verdict::Passed),
        ["PC-15", "PC-16", "PC-26", "PC-27", "PC-31"],
        "{report}"
    );
}

#[tokio::test]
async fn wrong_inputs_are_told_by_the_exit_code() {
    let model = Model::start(Dialect::Own, None).await;
    let failure = async |rest: &[&str]| {
        let args = parse(&model, rest).unwrap();
        examine(&args)
            .await
            .err()
            .map(|failure| (failure.code, failure.text))
    };
    let store = store();
    let nowhere = failure(&["--provider-ref=Fake/tide"]).await.unwrap();
    assert_eq!(nowhere.0, exit::USAGE);
    assert!(nowhere.1.contains("--source-namespace"), "{}", nowhere.1);
    let absent = failure(&[&store, "--existing-file=user=/nonexistent"])
        .await
        .unwrap();
    assert_eq!(absent.0, exit::NO_INPUT);
    std::fs::write(model.path("client.key"), "rubbish").unwrap();
    assert_eq!(failure(&[&store]).await.unwrap().0, exit::DATA);
    for bad in [
        &["--only=PC-19"][..],
        &["--only=PC-99"],
        &["--existing=novalue"],
        &["--find-regexp=("],
        &["--found=a=b"],
        &["--protected=a"],
        &["--server-cert=a"],
        &["--invalid-ref=tide"],
    ] {
        let mut rest = vec![store.as_str()];
        rest.extend(bad);
        assert!(parse(&model, &rest).is_err(), "{bad:?}");
    }
    assert!(parse(&model, &[]).is_err(), "no subject");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_no_failed_check() {
    let model = Model::start(Dialect::Own, None).await;
    let other = Model::start(Dialect::Own, None).await;
    let mut args = parse(&model, &[&store()]).unwrap();
    args.ca = other.path("ca.crt").into();
    let failure = examine(&args).await.unwrap_err();
    assert_eq!(failure.code, exit::UNAVAILABLE);
    assert!(failure.text.contains("is not accepted"), "{failure}");
    let mut args = parse(&other, &[&store()]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    args.address = format!("localhost:{port}").parse().unwrap();
    assert_eq!(examine(&args).await.unwrap_err().code, exit::UNAVAILABLE);
}

#[test]
fn pings_are_judged_by_how_the_connection_ends() {
    // PC-17.
    let calm = || Some(Heard::GoAway(11, "too_many_pings".into()));
    for (sent, answered, end, gentle, hasty) in [
        (12, 12, None, true, true),
        (12, 11, None, true, true),
        (12, 0, None, false, true),
        (0, 0, None, false, true),
        (4, 3, calm(), false, true),
        (4, 3, Some(Heard::GoAway(0, String::new())), false, false),
        (4, 3, Some(Heard::Closed), false, false),
    ] {
        let pinged = |end| {
            Ok(Pinged {
                sent,
                answered,
                end,
            })
        };
        let again = match &end {
            Some(Heard::GoAway(code, text)) => Some(Heard::GoAway(*code, text.clone())),
            Some(Heard::Closed) => Some(Heard::Closed),
            _ => None,
        };
        let told = format!("{sent} {answered} {end:?}");
        assert_eq!(
            connection::gentle_answer(pinged(end)).is_ok(),
            gentle,
            "{told}"
        );
        assert_eq!(
            connection::hasty_answer(pinged(again)).is_ok(),
            hasty,
            "{told}"
        );
    }
    assert!(connection::hasty_answer(Err("refused".into())).is_err());
}

#[tokio::test]
async fn pings_are_counted_until_the_server_says_goodbye() {
    // PC-17.
    let model = Model::start(Dialect::Own, None).await;
    let args = parse(&model, &[&store()]).unwrap();
    let mut suite = Suite::open(&args).unwrap();
    let (every, during, limit) = (
        Duration::from_millis(50),
        Duration::from_millis(600),
        Duration::from_secs(10),
    );
    let pinged = probe::ping(&suite.probes, every, during, limit)
        .await
        .unwrap();
    assert!(
        pinged.sent > 2 && pinged.answered + 1 >= pinged.sent,
        "{pinged:?}"
    );
    assert_eq!(pinged.end, None);

    // A server that answers two and then has enough.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let files = model.files.path().to_owned();
    let server = tokio::spawn(async move {
        let read = |name: &str| std::fs::read(files.join(name)).unwrap();
        let (ca, certificate, key) = (read("ca.crt"), read("server.crt"), read("server.key"));
        let identity = latchkey_transport::Identity::from_pem(&ca, &certificate, &key).unwrap();
        let cancel = tokio_util::sync::CancellationToken::new();
        let options = latchkey_transport::ServerOptions::default();
        let mut incoming =
            latchkey_transport::Incoming::new(listener, identity.into(), &options, &cancel);
        let stream = futures::StreamExt::next(&mut incoming)
            .await
            .unwrap()
            .unwrap();
        let (reader, mut writer) = tokio::io::split(stream);
        let mut reader = frames::FrameReader::new(reader);
        assert!(reader.preface().await.unwrap());
        let mut pings = 0;
        while let Some(frame) = reader.next().await.unwrap() {
            pings += u32::from(frame.kind == frames::kind::PING);
            let answer = if pings > 2 {
                let content = b"\0\0\0\0\0\0\0\x0btoo_many_pings";
                Some(frames::Frame::connection(frames::kind::GOAWAY, 0, content))
            } else {
                frame.acknowledgement()
            };
            if let Some(answer) = answer {
                writer.write_all(&answer.encode()).await.unwrap();
                writer.flush().await.unwrap();
            }
            if pings > 2 {
                return;
            }
        }
    });
    suite.probes.address = format!("localhost:{port}").parse().unwrap();
    // Slow enough that no other is on its way when the goodbye comes.
    let pinged = probe::ping(&suite.probes, 10 * every, limit, limit)
        .await
        .unwrap();
    server.await.unwrap();
    assert_eq!((pinged.sent, pinged.answered), (3, 2));
    assert_eq!(pinged.end, Some(Heard::GoAway(11, "too_many_pings".into())));
}

#[test]
fn the_documentation_lists_every_check_with_what_it_needs() {
    let page = include_str!("../../../../docs/conformance.md");
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| PC-"))
        .collect();
    let expected: Vec<String> = checks::TABLE
        .iter()
        .map(|check| {
            let needs = check.needs.split(", ").filter(|flag| !flag.is_empty());
            let needs: Vec<String> = needs
                .map(|flags| {
                    let flags: Vec<String> = flags
                        .split(" or ")
                        .map(|flag| format!("`{flag}`"))
                        .collect();
                    flags.join(" or ")
                })
                .collect();
            format!(
                "| PC-{:02} | {} | {} |",
                check.number,
                check.title,
                needs.join(", ")
            )
        })
        .collect();
    assert_eq!(rows, expected);
}
