use super::*;

fn parse(arguments: &[&str]) -> Result<AgentArgs, clap::Error> {
    match Cli::try_parse_from(["latchkey", "agent"].iter().chain(arguments))?.command {
        Command::Agent(args) => Ok(*args),
        _ => panic!("another command"),
    }
}

#[test]
fn defaults_are_those_of_the_chart() {
    let args = parse(&["--node-name=n1"]).unwrap();
    assert_eq!(args.roles, [Role::Node, Role::Sync]);
    assert_eq!(args.csi_driver_name, "csi.latchkey.dev");
    assert_eq!(args.kubelet_root, PathBuf::from("/var/lib/kubelet"));
    assert_eq!(
        args.allowed_provider_hosts,
        ["*.svc", "*.svc.cluster.local"]
    );
    assert_eq!(args.store_requeue_interval, Duration::from_secs(300));
    assert_eq!(args.provider_timeout, Duration::from_secs(30));
    assert!(args.enable_flood_gate && args.enable_cluster_store_reconciler);
    assert!(args.enable_cluster_external_secret_reconciler);
    assert_eq!(
        (args.sync_concurrency, args.sync_store_concurrency),
        (64, 16)
    );
    assert!(args.certificate_namespaces.is_empty());
    assert!(!args.unsafe_allow_generic_targets);
    for (argument, allowed) in [("", true), ("=true", true), ("=false", false)] {
        let argument = format!("--unsafe-allow-generic-targets{argument}");
        let args = parse(&["--node-name=n1", &argument]).unwrap();
        assert_eq!(args.unsafe_allow_generic_targets, allowed, "{argument}");
    }
    assert!(args.csi_inline_data);
    assert_eq!(args.csi_min_refresh, Duration::from_secs(30));
    assert_eq!(args.csi_max_total_bytes, 64 << 20);
    assert_eq!(args.csi_generation_grace, Duration::from_secs(5));
    assert_eq!(args.validate(), Ok(()));
}

#[test]
fn a_wrong_value_is_told_in_one_line_that_names_the_flag() {
    let cases: &[(&str, &str)] = &[
        ("--roles=node,queen", "--roles"),
        ("--node-name=Node_1", "--node-name"),
        ("--namespace=a.b", "--namespace"),
        ("--kubelet-root=var/lib", "--kubelet-root"),
        ("--csi-driver-name=csi.latchkey.v2", "--csi-driver-name"),
        ("--admin-address=8081", "--admin-address"),
        ("--certificates=maybe", "--certificates"),
        ("--certificate-namespaces=ok,", "--certificate-namespaces"),
        ("--watch-namespaces=a,B", "--watch-namespaces"),
        ("--store-requeue-interval=1s", "--store-requeue-interval"),
        ("--provider-timeout=-3s", "--provider-timeout"),
        ("--provider-timeout=0s", "--provider-timeout"),
        ("--enable-flood-gate=perhaps", "--enable-flood-gate"),
        ("--sync-concurrency=0", "--sync-concurrency"),
        ("--sync-store-concurrency=many", "--sync-store-concurrency"),
        ("--csi-allowed-namespaces=a b", "--csi-allowed-namespaces"),
        ("--csi-inline-data=perhaps", "--csi-inline-data"),
        ("--csi-min-refresh=0s", "--csi-min-refresh"),
        ("--csi-max-total-bytes=0", "--csi-max-total-bytes"),
        ("--csi-max-total-bytes=64MiB", "--csi-max-total-bytes"),
        ("--csi-generation-grace=61s", "--csi-generation-grace"),
        ("--csi-generation-grace=-1s", "--csi-generation-grace"),
        ("--no-such-flag", "--no-such-flag"),
    ];
    for (argument, flag) in cases {
        let line = one_line(&parse(&[argument]).expect_err(argument));
        assert!(line.contains(flag), "{argument}: {line}");
        assert!(
            !line.contains('\n') && !line.starts_with("error"),
            "{argument}: {line}"
        );
    }
}

#[test]
fn the_node_role_needs_a_node_name_and_sync_alone_does_not() {
    let mut args = parse(&["--node-name=n1"]).unwrap();
    args.node_name = None;
    assert!(
        args.validate()
            .unwrap_err()
            .to_string()
            .contains("--node-name")
    );
    args.roles = vec![Role::Sync];
    assert_eq!(args.validate(), Ok(()));
}

#[test]
fn more_namespaces_than_can_be_watched_are_refused() {
    let names = |count: usize| (0..count).map(|number| format!("n{number}"));
    let mut args = parse(&["--node-name=n1", "--watch-namespaces=a,b"]).unwrap();
    assert_eq!(args.watch_namespaces, ["a", "b"]);
    args.watch_namespaces = names(MOST_NAMESPACES).collect();
    assert_eq!(args.validate(), Ok(()));
    args.watch_namespaces = names(MOST_NAMESPACES + 1).collect();
    let text = args.validate().unwrap_err().to_string();
    assert!(
        text.contains("--watch-namespaces") && text.contains("101"),
        "{text}"
    );
    let flags = ["--node-name=n1", "--watch-namespaces=a"];
    let with = |allowed: &'static str| parse(&[&flags[..], &[allowed]].concat()).unwrap();
    assert_eq!(with("--csi-allowed-namespaces=a").validate(), Ok(()));
    let labels = with("--csi-allowed-namespaces=team=a").validate();
    assert!(labels.unwrap_err().to_string().contains("labels"));
}

#[test]
fn every_flag_that_the_chart_passes_exists() {
    use clap::CommandFactory as _;
    let command = Cli::command();
    let agent = command.find_subcommand("agent").unwrap();
    let known: Vec<&str> = agent
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .collect();
    let templates = "../charts/latchkey/templates";
    let mut seen = 0;
    for entry in std::fs::read_dir(templates).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines().filter_map(|line| {
            let line = line.trim();
            line.strip_prefix("- --")
                .or_else(|| line.strip_prefix("- {{ printf \"--"))
        }) {
            let flag = line.split('=').next().unwrap();
            assert!(known.contains(&flag), "the chart passes --{flag}");
            seen += 1;
        }
    }
    assert!(seen >= 12, "only {seen} flags found");
}
