use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

/// What is exposed about objects.
fn shown(metrics: &Metrics) -> Vec<String> {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut lines = crate::exposition::series(&registry);
    lines.retain(|line| line.starts_with("externalsecret_"));
    lines
}

const READY_TRUE: &str =
    r#"externalsecret_status_condition{name="x",namespace="a",condition="Ready",status="True"}"#;
const READY_FALSE: &str =
    r#"externalsecret_status_condition{name="x",namespace="a",condition="Ready",status="False"}"#;
const GONE: &str = r#"externalsecret_status_condition{name="x",namespace="a",condition="Deleted",status="False"} 1"#;

#[test]
fn series_have_the_names_and_values_of_upstream() {
    // externalsecret.md 8.1
    let metrics = Metrics::default();
    metrics.called("a", "x");
    metrics.called("a", "x");
    metrics.failed("a", "x");
    metrics.took("a", "x", Duration::from_micros(3));
    metrics.ready("a", "x", Some(ConditionStatus::False));
    metrics.ready("a", "x", Some(ConditionStatus::True));
    assert_eq!(
        shown(&metrics),
        [
            r#"externalsecret_reconcile_duration{name="x",namespace="a"} 3000"#.to_owned(),
            format!("{READY_FALSE} 0"),
            format!("{READY_TRUE} 1"),
            r#"externalsecret_sync_calls_error{name="x",namespace="a"} 1"#.to_owned(),
            r#"externalsecret_sync_calls_total{name="x",namespace="a"} 2"#.to_owned(),
        ]
    );
}

#[test]
fn a_condition_moves_from_one_series_to_the_other() {
    // externalsecret.md 8.1, last paragraph; E064: an object that is left to others has neither
    let metrics = Metrics::default();
    for (status, when_true, when_false) in [
        (Some(ConditionStatus::True), 1, 0),
        (Some(ConditionStatus::False), 0, 1),
        (Some(ConditionStatus::Unknown), 0, 0),
        (Some(ConditionStatus::True), 1, 0),
        (None, 0, 0),
    ] {
        metrics.ready("a", "x", status);
        let expected = [
            format!("{READY_FALSE} {when_false}"),
            format!("{READY_TRUE} {when_true}"),
        ];
        assert_eq!(shown(&metrics), expected, "{status:?}");
    }
}

#[test]
fn series_vanish_with_their_object_and_tell_that_it_is_gone_until_it_is_back() {
    // externalsecret.md 8.1, last paragraph
    let metrics = Metrics::default();
    metrics.gone("a", "x");
    assert_eq!(shown(&metrics), [""; 0], "nobody looked at it");
    metrics.show_all();
    metrics.gone("a", "x");
    assert_eq!(shown(&metrics), [GONE]);
    metrics.ready("a", "x", Some(ConditionStatus::False));
    assert!(shown(&metrics).contains(&GONE.to_owned()));
    metrics.ready("a", "x", Some(ConditionStatus::True));
    assert_eq!(
        shown(&metrics),
        [format!("{READY_FALSE} 0"), format!("{READY_TRUE} 1")]
    );
    // One that only went to another replica is not gone.
    metrics.show_all();
    metrics.left("a", "x");
    assert_eq!(shown(&metrics), [""; 0]);
}

#[test]
fn changed_labels_leave_no_series_behind() {
    // externalsecret.md 8.1, last paragraph
    let metrics = Metrics::new(true, Passes::default());
    let (one, two) = (
        labels(&[("app.kubernetes.io/name", "one")]),
        labels(&[("app.kubernetes.io/name", "two")]),
    );
    let of = |label: &str| {
        let label = format!("app_kubernetes_io_name=\"{label}\"");
        let lines = shown(&metrics).into_iter();
        lines.filter(|line| line.contains(&label)).count()
    };
    metrics.describe("a", "x", Some(&one));
    metrics.show_all();
    assert_eq!(of("one"), 5);
    metrics.describe("a", "x", Some(&two));
    metrics.show_all();
    assert_eq!((of("one"), of("two")), (0, 5));
    // Made again with other labels, it does not leave behind that it was gone.
    metrics.gone("a", "x");
    assert_eq!(of("two"), 1);
    metrics.describe("a", "x", Some(&one));
    metrics.called("a", "x");
    assert_eq!((of("one"), of("two")), (2, 0));
    metrics.ready("a", "x", Some(ConditionStatus::True));
    assert!(!shown(&metrics).iter().any(|line| line.contains("Deleted")));
    metrics.left("a", "x");
    assert_eq!(shown(&metrics), [""; 0]);
}

#[test]
fn a_former_leader_says_nothing_about_objects() {
    let metrics = Metrics::default();
    let leading = metrics.while_leading();
    metrics.show_all();
    drop(leading);
    assert_eq!(shown(&metrics), [""; 0]);
}
