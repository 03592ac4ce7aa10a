use super::*;

fn reference(namespace: &str) -> ProviderReference {
    ProviderReference {
        api_version: "g/v".into(),
        kind: "Fake".into(),
        name: "cr".into(),
        namespace: namespace.into(),
    }
}

fn context(cr: &str, source: &str, kind: &str, auth: Option<&str>) -> Result<RequestContext> {
    RequestContext::try_new(
        Operation::GetSecret,
        reference(cr),
        source,
        kind,
        auth.map(str::to_owned),
    )
}

#[test]
fn credential_namespaces_follow_the_table_of_section_2_2() {
    // X-111, X-112.
    // (cr_ns, src_ns, store_ref_kind, eso-auth-namespace) -> (cr namespace, cred_ns, foreign selectors followed)
    for (cr, source, kind, auth, expected) in [
        ("s", "s", "SecretStore", None, ("s", "s", false)),
        ("", "s", "SecretStore", None, ("s", "s", false)),
        ("s", "s", "", None, ("s", "s", false)),
        ("p", "m", "ClusterSecretStore", None, ("p", "p", true)), // SB-11
        ("", "m", "ClusterSecretStore", None, ("m", "m", true)),
        ("p", "m", "ClusterSecretStore", Some("m"), ("p", "m", false)), // SB-12
        ("s", "s", "SecretStore", Some("s"), ("s", "s", false)),
    ] {
        let context = context(cr, source, kind, auth).unwrap();
        let scope = context.credential_scope();
        assert_eq!(
            (
                context.provider().namespace.as_str(),
                scope.namespace(),
                scope.follows_foreign_namespaces()
            ),
            expected,
            "{cr} {source} {kind} {auth:?}"
        );
    }
}

#[test]
fn object_and_credentials_are_where_the_reference_says_and_the_caller_is_told() {
    // X-111.
    let context = context("provider-config-ns", "tenant", "ClusterSecretStore", None).unwrap();
    assert_eq!(context.provider().namespace, "provider-config-ns");
    assert_eq!(context.credential_scope().namespace(), "provider-config-ns");
    assert_eq!(context.source_namespace(), "tenant");
}

#[test]
fn a_namespaced_store_cannot_reach_another_namespace() {
    // X-112.
    for (cr, kind, auth) in [
        ("other", "SecretStore", None),
        ("other", "", None),
        ("other", "clustersecretstore", None),
        ("other", "ClusterProvider", None),
        ("s", "SecretStore", Some("other")),
    ] {
        let error = context(cr, "s", kind, auth).unwrap_err();
        assert_eq!(
            error.class(),
            ErrorClass::NamespaceMismatch,
            "{cr} {kind} {auth:?}"
        );
        assert_eq!(error.code(), tonic::Code::PermissionDenied);
    }
}

#[test]
fn foreign_selector_namespaces_are_an_error_unless_followed() {
    // P-03, SB-06, externalsecret.md E178
    let strict = CredentialScope::new("s", false);
    assert_eq!(strict.resolve(None).unwrap(), "s");
    assert_eq!(strict.resolve(Some("")).unwrap(), "s");
    assert_eq!(strict.resolve(Some("s")).unwrap(), "s");
    assert_eq!(
        strict.resolve(Some("kube-system")).unwrap_err().class(),
        ErrorClass::InvalidConfig
    );
    assert_eq!(
        CredentialScope::new("p", true).resolve(Some("q")).unwrap(),
        "q"
    );
}

#[test]
fn a_source_namespace_is_required_but_for_validate_and_capabilities() {
    // PC-06.
    for operation in Operation::ALL {
        let result =
            RequestContext::try_new(operation, reference("p"), "", "ClusterSecretStore", None);
        if operation.may_lack_source_namespace() {
            let context = result.unwrap();
            assert_eq!(context.source_namespace(), "p");
            assert!(!context.lacks_namespace());
        } else {
            let error = result.unwrap_err();
            assert_eq!(error.class(), ErrorClass::InvalidArgument, "{operation:?}");
            assert_eq!(error.message(), "source namespace is required");
        }
    }
    let nowhere = RequestContext::try_new(
        Operation::Validate,
        reference(""),
        "",
        "ClusterSecretStore",
        None,
    )
    .unwrap();
    assert!(nowhere.lacks_namespace());
}

#[test]
fn found_names_are_converted_as_upstream_does() {
    // externalsecret.md 3.2, 3.5, E152, E155, E156
    for (strategy, name, expected) in [
        (ConversionStrategy::Default, "db/pass", "db_pass"),
        (ConversionStrategy::Unicode, "db/pass", "db_U002f_pass"),
        (ConversionStrategy::Default, "a-b.c_d9", "a-b.c_d9"),
        (ConversionStrategy::Default, "é²", "é²"),
        (ConversionStrategy::Default, "a$b%c*d", "a_b_c_d"),
        (ConversionStrategy::Unicode, "😀x", "_U1f600_x"),
        (ConversionStrategy::None, "db/pass", "db/pass"),
    ] {
        assert_eq!(strategy.convert(name), expected);
    }
    assert_eq!(
        ConversionStrategy::from_wire(""),
        ConversionStrategy::Default
    );
    assert_eq!(
        ConversionStrategy::from_wire("Other"),
        ConversionStrategy::None
    );
}

#[test]
fn names_that_become_one_key_are_refused() {
    // externalsecret.md 3.5, E153
    let found: SecretData = ["a$b", "a%b"]
        .into_iter()
        .map(|name| (name.to_owned(), SecretValue::default()))
        .collect();
    assert!(
        ConversionStrategy::Default
            .convert_keys(found.clone())
            .is_err()
    );
    let unicode = ConversionStrategy::Unicode.convert_keys(found).unwrap();
    assert_eq!(
        unicode.keys().collect::<Vec<_>>(),
        ["a_U0024_b", "a_U0025_b"]
    );
}

#[test]
fn a_push_of_a_missing_key_is_refused() {
    let mut push = Push {
        data: SecretData::from([("a".to_owned(), SecretValue::from("canary-1".to_owned()))]),
        secret_type: String::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        secret_key: "a".into(),
        remote_key: "r".into(),
        property: String::new(),
        metadata: Vec::new(),
    };
    assert!(push.value().unwrap().is_some());
    push.secret_key = "b".into();
    let error = push.value().unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidArgument);
    assert_eq!(
        error.message(),
        "failed to find secret key in secret with key: b"
    );
    push.secret_key.clear();
    assert!(push.value().unwrap().is_none());
    assert!(!format!("{push:?}").contains("canary"));
}
