use latchkey_crds::provider_fake::{AuthSimulation, Latency, LatencyShape};

use super::*;

fn simulator(simulation: &Simulation) -> Simulator {
    Simulator::from_spec(Some(simulation)).unwrap()
}

fn rule(code: &str) -> FailureRule {
    FailureRule {
        code: code.into(),
        ..FailureRule::default()
    }
}

fn codes(simulator: &Simulator, requests: usize) -> Vec<Option<Code>> {
    (0..requests)
        .map(|_| {
            simulator
                .decide(Operation::GetSecret, "k", "n")
                .failure
                .map(|error| error.code())
        })
        .collect()
}

#[test]
fn rules_skip_fail_and_stop_as_told() {
    let failing = FailureRule {
        after: Some(1),
        times: Some(2),
        every: Some(2),
        ..rule("UNAVAILABLE")
    };
    let simulator = simulator(&Simulation {
        failures: vec![failing],
        ..Simulation::default()
    });
    let down = Some(Code::Unavailable);
    assert_eq!(
        codes(&simulator, 8),
        [None, down, None, down, None, None, None, None]
    );
}

#[test]
fn the_first_rule_that_fires_wins() {
    let rules = vec![
        FailureRule {
            operations: vec!["PushSecret".into()],
            ..rule("ABORTED")
        },
        FailureRule {
            key_regexp: Some("^other".into()),
            ..rule("INTERNAL")
        },
        FailureRule {
            namespaces: vec!["elsewhere".into()],
            ..rule("UNAUTHENTICATED")
        },
        FailureRule {
            times: Some(1),
            ..rule("UNKNOWN")
        },
        FailureRule {
            reason: Some("NOT_MANAGED".into()),
            message: Some("no".into()),
            retry_after: Some("2s".into()),
            ..rule("FAILED_PRECONDITION")
        },
    ];
    let simulator = simulator(&Simulation {
        failures: rules,
        ..Simulation::default()
    });
    assert_eq!(
        codes(&simulator, 2),
        [Some(Code::Unknown), Some(Code::FailedPrecondition)]
    );
    let error = simulator
        .decide(Operation::GetSecret, "k", "n")
        .failure
        .unwrap();
    assert_eq!(
        (error.class(), error.message(), error.retry_after()),
        (ErrorClass::NotManaged, "no", Some(Duration::from_secs(2)))
    );
    assert_eq!(
        simulator
            .decide(Operation::PushSecret, "k", "n")
            .failure
            .unwrap()
            .code(),
        Code::Aborted
    );
    assert_eq!(
        simulator
            .decide(Operation::GetSecret, "other", "n")
            .failure
            .unwrap()
            .code(),
        Code::Internal
    );
    assert_eq!(
        simulator
            .decide(Operation::GetSecret, "k", "elsewhere")
            .failure
            .unwrap()
            .code(),
        Code::Unauthenticated
    );
}

#[test]
fn a_rule_with_times_fails_exactly_that_often_under_concurrency() {
    let failing = FailureRule {
        times: Some(37),
        ..rule("UNAVAILABLE")
    };
    let simulator = simulator(&Simulation {
        failures: vec![failing],
        ..Simulation::default()
    });
    let failures: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| codes(&simulator, 100).iter().flatten().count()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(failures, 37);
}

#[test]
fn one_seed_gives_one_sequence() {
    let failing = FailureRule {
        probability: Some(0.3),
        ..rule("UNAVAILABLE")
    };
    let sequence = |seed| {
        let simulation = Simulation {
            seed: Some(seed),
            failures: vec![failing.clone()],
            ..Simulation::default()
        };
        codes(&simulator(&simulation), 200)
    };
    assert_eq!(sequence(1), sequence(1));
    assert_ne!(sequence(1), sequence(2));
    let failures = sequence(3).iter().flatten().count();
    assert!((30..90).contains(&failures), "{failures} of 200 at 30 %");
}

#[test]
fn latency_has_a_base_and_a_shape() {
    let shape = |distribution| LatencyShape {
        base: Some("10ms".into()),
        jitter: Some("20ms".into()),
        distribution: Some(distribution),
    };
    let latency = Latency {
        base: Some("5ms".into()),
        per_operation: BTreeMap::from([
            ("PushSecret".to_owned(), shape(LatencyDistribution::Uniform)),
            (
                "DeleteSecret".to_owned(),
                shape(LatencyDistribution::Exponential),
            ),
            (
                "SecretExists".to_owned(),
                shape(LatencyDistribution::Pareto),
            ),
        ]),
        ..Latency::default()
    };
    let simulator = simulator(&Simulation {
        latency: Some(latency),
        ..Simulation::default()
    });
    let draws = |operation| {
        (0..500)
            .map(|_| simulator.decide(operation, "", "").delay)
            .collect::<Vec<_>>()
    };
    assert!(
        draws(Operation::GetSecret)
            .iter()
            .all(|delay| *delay == Duration::from_millis(5))
    );
    let bounds = Duration::from_millis(10)..Duration::from_millis(30);
    assert!(
        draws(Operation::PushSecret)
            .iter()
            .all(|delay| bounds.contains(delay))
    );
    for operation in [Operation::DeleteSecret, Operation::SecretExists] {
        let delays = draws(operation);
        assert!(
            delays
                .iter()
                .all(|delay| *delay >= bounds.start && *delay <= MAX_LATENCY)
        );
        assert!(delays.iter().any(|delay| *delay > bounds.end));
    }
}

#[test]
fn stalls_leave_other_operations_alone() {
    let stall = Stall {
        operations: vec!["GetSecret".into()],
        probability: None,
    };
    let simulator = simulator(&Simulation {
        stall: Some(stall),
        ..Simulation::default()
    });
    assert!(simulator.decide(Operation::GetSecret, "", "").stalls);
    assert!(!simulator.decide(Operation::Validate, "", "").stalls);
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let failures = |rule| Simulation {
        failures: vec![rule],
        ..Simulation::default()
    };
    for (simulation, part) in [
        (failures(rule("OK")), "failures[].code \"OK\""),
        (failures(rule("Unavailable")), "failures[].code"),
        (
            failures(FailureRule {
                reason: Some("NOPE".into()),
                ..rule("INTERNAL")
            }),
            "failures[].reason",
        ),
        (
            failures(FailureRule {
                key_regexp: Some("(".into()),
                ..rule("INTERNAL")
            }),
            "failures[].keyRegexp",
        ),
        (
            failures(FailureRule {
                retry_after: Some("soon".into()),
                ..rule("INTERNAL")
            }),
            "failures[].retryAfter",
        ),
        (
            failures(FailureRule {
                operations: vec!["Get".into()],
                ..rule("INTERNAL")
            }),
            "\"Get\" is no operation",
        ),
        (
            Simulation {
                auth: Some(AuthSimulation::default()),
                ..Simulation::default()
            },
            "auth is not supported yet",
        ),
    ] {
        let error = Simulator::from_spec(Some(&simulation)).unwrap_err();
        assert_eq!(error.class(), ErrorClass::InvalidConfig);
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn every_code_of_an_error_has_its_grpc_name() {
    assert_eq!(code("DEADLINE_EXCEEDED").unwrap(), Code::DeadlineExceeded);
    assert_eq!(
        (1..=16)
            .filter_map(|number| code(&canonical_name(Code::from_i32(number))).ok())
            .count(),
        16
    );
}
