//! The table of csi.md 8: what is accepted, and how the rest is refused.

use super::*;

fn request(attributes: &[(&str, &str)]) -> VolumeRequest {
    VolumeRequest {
        volume_id: String::from("csi-1"),
        namespace: String::from("app"),
        pod_name: String::from("web-0"),
        pod_uid: String::from("u-1"),
        service_account: String::from("web"),
        attributes: attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn plan(attributes: &[(&str, &str)]) -> Result<Plan, String> {
    Plan::try_new(&request(attributes), &Rules::default()).map_err(|refusal| refusal.to_string())
}

/// A plan for `externalSecret: db` and these attributes.
fn plan_of_db(attributes: &[(&str, &str)]) -> Result<Plan, String> {
    plan(&[attributes, &[("externalSecret", "db")]].concat())
}

/// The page that users read.
const PAGE: &str = include_str!("../../../../docs/volumes.md");

const ONE_KEY: (&str, &str) = ("data", "[{secretKey: password, remoteRef: {key: db}}]");

#[test]
fn a_name_alone_shows_every_key_of_the_pods_namespace() {
    let plan = plan_of_db(&[]).unwrap();
    assert_eq!(plan.key.to_string(), "ExternalSecret app/db");
    assert_eq!(plan.layout, Layout::default());
    assert_eq!(plan.pod.service_account, "web");
    let settings = VolumeSettings {
        size_limit: Some(1 << 20),
        ..VolumeSettings::default()
    };
    assert_eq!(plan.settings, settings);
}

#[test]
fn files_look_and_weigh_as_the_attributes_say() {
    let plan = plan_of_db(&[
        ("uid", "1000"),
        ("gid", "0"),
        ("defaultMode", "0400"),
        ("sizeLimit", "16Mi"),
    ]);
    let settings = VolumeSettings {
        uid: Some(1000),
        gid: Some(0),
        default_mode: Some(0o400),
        size_limit: Some(16 << 20),
    };
    assert_eq!(plan.unwrap().settings, settings);
    let rules = Rules {
        max_size: 4096,
        ..Rules::default()
    };
    let plan = Plan::try_new(&request(&[("externalSecret", "db")]), &rules).unwrap();
    assert_eq!(plan.settings.size_limit, Some(4096));
}

#[test]
fn inline_data_is_the_same_however_it_is_written_and_an_object_of_its_own() {
    let json = r#"[{"secretKey":"password","remoteRef":{"key":"db"}}]"#;
    let one = plan(&[ONE_KEY, ("secretStore", "vault")]).unwrap();
    let other = plan(&[
        ("data", json),
        ("secretStore", "vault"),
        ("secretStoreKind", "SecretStore"),
    ])
    .unwrap();
    assert_eq!(one.key, other.key);
    assert_eq!(one.key.to_string(), "inline data of SecretStore app/vault");
    let cluster = plan(&[
        ONE_KEY,
        ("secretStore", "vault"),
        ("secretStoreKind", "ClusterSecretStore"),
    ])
    .unwrap();
    assert_ne!(one.key, cluster.key);
    assert_eq!(
        cluster.key.to_string(),
        "inline data of ClusterSecretStore vault"
    );
    assert!(!format!("{cluster:?}").contains("password"), "csi.md R8");

    let objects: Vec<_> = [&one, &other, &cluster]
        .into_iter()
        .map(|plan| match &plan.key.subject {
            Subject::Inline(inline) => inline.to_object("app"),
            Subject::ExternalSecret(name) => panic!("{name}"),
        })
        .collect();
    assert_eq!(objects[0].metadata, objects[1].metadata);
    assert_ne!(objects[0].metadata.uid, objects[2].metadata.uid);
    let spec = &objects[2].spec;
    assert_eq!(spec.data[0].remote_ref.key, "db");
    let store = spec.secret_store_ref.as_ref().unwrap();
    assert_eq!(
        (store.name(), store.kind()),
        ("vault", StoreKind::ClusterSecretStore)
    );
    assert!(store.api().is_ok());
}

/// Why a volume is not to be mounted; its plan is made all the same, for those that are mounted already (csi.md R3).
#[test]
fn the_administrator_forbids_mounts_and_not_volumes() {
    // 8 and 9.3 (c)
    let rules = Rules {
        inline_data: false,
        min_refresh: Duration::from_secs(90),
        ..Rules::default()
    };
    let with_data: &[(&str, &str)] = &[ONE_KEY, ("secretStore", "vault")];
    let asking = |interval| [("externalSecret", "db"), ("refreshInterval", interval)];
    for (attributes, expected) in [
        (with_data, Some("attribute data is switched off")),
        (&[("externalSecret", "db")], None),
        (
            &asking("89s"),
            Some("attribute refreshInterval is below the 90 s"),
        ),
        (&asking("90s"), None),
        (&asking("0s"), None),
    ] {
        let plan = Plan::try_new(&request(attributes), &rules).unwrap();
        match (plan.forbidden, expected) {
            (None, None) => {}
            (Some(text), Some(part)) => assert!(text.contains(part), "{text}"),
            (got, _) => panic!("{attributes:?}: {got:?}"),
        }
    }
    let clamped = Plan::try_new(&request(&asking("1s")), &rules).unwrap();
    assert_eq!(clamped.refresh, Some(Refresh::Every(rules.min_refresh)));
}

#[test]
fn attributes_that_break_csi_md_8_are_refused_by_name() {
    let long = "x".repeat(MAX_VALUE_BYTES + 1);
    let half = "x".repeat(MAX_VALUE_BYTES);
    let dns_long = "a".repeat(254);
    let refused: &[(&[(&str, &str)], &str)] = &[
        (&[], "attribute externalSecret is missing"),
        (
            &[("externalSecret", "")],
            "attribute externalSecret is empty; quote",
        ),
        (
            &[("externalSecret", "kube-system/db")],
            "not a valid object name: \"kube-system/db\"",
        ),
        (&[("externalSecret", "Db")], "not a valid object name"),
        (&[("externalSecret", "db.")], "not a valid object name"),
        (&[("externalSecret", "../db")], "not a valid object name"),
        (&[("externalSecret", &dns_long)], "not a valid object name"),
        (
            &[("externalsecret", "db")],
            "unknown attribute externalsecret; did you mean externalSecret?",
        ),
        (
            &[("externalSecret", "db"), ("data", "[]")],
            "attributes externalSecret and data exclude each other",
        ),
        (
            &[("data", "[]")],
            "attribute secretStore is missing, which data needs",
        ),
        (
            &[("data", "[]"), ("secretStore", "a/b")],
            "attribute secretStore is not a valid object name",
        ),
        (
            &[("data", "[]"), ("secretStore", "s")],
            "attribute data: the list is empty",
        ),
        (
            &[ONE_KEY, ("secretStore", "s"), ("secretStoreKind", "Store")],
            "attribute secretStoreKind is neither SecretStore nor ClusterSecretStore: \"Store\"",
        ),
        (
            &[
                ("a", &half),
                ("b", &half),
                ("c", &half),
                ("d", &half),
                ("externalSecret", "db"),
            ],
            "longer than 65536 bytes together",
        ),
    ];
    for (attributes, text) in refused {
        check(plan(attributes), text);
    }
    let refused: &[(&str, &str, &str)] = &[
        ("item", "[]", "unknown attribute item; did you mean items?"),
        ("default-mode", "0400", "did you mean defaultMode?"),
        (
            "secretProviderClass",
            "x",
            "supported are externalSecret, data, secretStore",
        ),
        ("optoinal", "true", "did you mean optional?"),
        ("sizelimit", "1Mi", "did you mean sizeLimit?"),
        ("a\nb", "x", "unknown attribute \"a\\nb\""),
        (
            "secretStore",
            "s",
            "attribute secretStore has a meaning with data only",
        ),
        (
            "secretStoreKind",
            "SecretStore",
            "attribute secretStoreKind has a meaning with data only",
        ),
        ("items", &long, "attribute items is longer than 16384 bytes"),
        ("items", "nonsense", "attribute items: "),
        (
            "defaultMode",
            "256",
            "attribute defaultMode looks decimal: \"256\"",
        ),
        ("uid", "root", "attribute uid is not a decimal id"),
        ("uid", "", "attribute uid is empty; quote the value"),
        (
            "gid",
            "4294967295",
            "attribute gid is not a decimal id from 0 to 4294967294",
        ),
        (
            "optional",
            "yes",
            "attribute optional is neither \"true\" nor \"false\": \"yes\"",
        ),
        (
            "refreshInterval",
            "hourly",
            "attribute refreshInterval is not a duration: \"hourly\"",
        ),
        (
            "refreshInterval",
            "-1m",
            "attribute refreshInterval is not a duration",
        ),
        (
            "startPolicy",
            "Cached",
            "attribute startPolicy is neither RequireFresh nor AllowCached",
        ),
        (
            "maxStaleness",
            "1h",
            "attribute maxStaleness has a meaning with startPolicy AllowCached only",
        ),
        ("maxStaleness", "0s", "attribute maxStaleness is zero"),
        (
            "maxStaleness",
            "1d",
            "attribute maxStaleness is not a duration",
        ),
        ("audience", "", "attribute audience is empty"),
        ("audience", "a\nb", "attribute audience has more than"),
        ("sizeLimit", "lots", "attribute sizeLimit is not a size"),
        (
            "sizeLimit",
            "17Mi",
            "attribute sizeLimit is 17825792 bytes, above the 16777216 bytes",
        ),
    ];
    for (key, value, text) in refused {
        check(plan_of_db(&[(key, value)]), text);
    }
}

fn check(plan: Result<Plan, String>, text: &str) {
    let Err(refusal) = plan else {
        panic!("accepted: {text}")
    };
    assert!(refusal.contains(text), "{text:?} not in {refusal:?}");
    assert!(
        refusal.len() <= 512 && !refusal.contains('\n'),
        "{refusal:?}"
    );
}

#[test]
fn the_longest_key_is_known() {
    assert_eq!(KEYS.iter().map(|key| key.len()).max(), Some(MAX_KEY_LENGTH));
}

#[test]
fn a_volume_may_do_with_less_and_with_older_content() {
    let hours = |count: u64| Duration::from_secs(count * 3600);
    let plain = plan_of_db(&[("optional", "false"), ("startPolicy", "RequireFresh")]).unwrap();
    assert_eq!(plain, plan_of_db(&[]).unwrap());
    assert_eq!(
        (plain.refresh, plain.start, &plain.audience),
        (None, StartPolicy::RequireFresh, &None)
    );
    let cached = |max_staleness| StartPolicy::AllowCached { max_staleness };
    let plan = plan_of_db(&[("optional", "true"), ("startPolicy", "AllowCached")]).unwrap();
    assert!(plan.layout.is_optional);
    assert_eq!(plan.start, cached(hours(24)));
    let plan = plan_of_db(&[
        ("refreshInterval", "30s"),
        ("startPolicy", "AllowCached"),
        ("maxStaleness", "1h"),
        ("audience", "https://vault.example/"),
    ]);
    let plan = plan.unwrap();
    assert_eq!(plan.refresh, Some(Refresh::Every(Duration::from_secs(30))));
    assert_eq!(plan.start, cached(hours(1)));
    assert_eq!(plan.audience.as_deref(), Some("https://vault.example/"));
    let never = plan_of_db(&[("refreshInterval", "0s")]).unwrap();
    assert_eq!(never.refresh, Some(Refresh::Never));
    assert!(
        Refresh::Every(hours(1)) < Refresh::Every(hours(2))
            && Refresh::Every(hours(9)) < Refresh::Never
    );
}

#[test]
fn a_refusal_quotes_at_most_64_bytes_of_a_value() {
    let value = "\u{e9}".repeat(200);
    let refusal = plan(&[("externalSecret", &value)]).unwrap_err();
    assert_eq!(refusal.matches('\u{e9}').count(), 32);
    assert!(refusal.contains("..."));
}

#[test]
fn the_page_lists_every_attribute_and_no_other() {
    let (_, section) = PAGE.split_once("\n## Attributes\n").unwrap();
    let (table, _) = section.split_once("\n\n**").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    assert_eq!(listed, KEYS);
}

#[test]
fn the_examples_of_the_page_are_accepted() {
    let blocks = PAGE.split("```yaml\n").skip(1);
    let texts = blocks.filter_map(|block| block.split("```").next());
    let mut seen = 0;
    for text in texts.flat_map(|text| text.split("\n---\n")) {
        let manifest: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        let in_pod = manifest.pointer("/spec/volumes/0/csi/volumeAttributes");
        let Some(attributes) = in_pod.or_else(|| manifest.get("volumeAttributes")) else {
            continue;
        };
        let attributes = serde_json::from_value(attributes.clone()).unwrap();
        let request = VolumeRequest {
            attributes,
            ..request(&[])
        };
        let plan = Plan::try_new(&request, &Rules::default()).unwrap();
        assert_eq!(plan.forbidden, None, "{text}");
        seen += 1;
    }
    assert_eq!(seen, 2);
}
