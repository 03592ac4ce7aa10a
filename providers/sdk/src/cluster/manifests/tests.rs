use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use latchkey_crds::provider_fake::Fake;
use tempfile::TempDir;

use super::*;

const OBJECTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: team-a}
data: {old: b2xk, both: bG9zZXM=}
stringData: {token: s3cret, both: wins}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ca}
data: {ca.crt: PEM}
---
apiVersion: provider.secretstore.external-secrets.io/v2alpha1
kind: Fake
metadata: {name: fake, namespace: team-a}
spec: {data: [{key: k, value: v}]}
"#;

fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

fn put(directory: &TempDir, name: &str, text: &str, mode: u32) {
    // As an editor does: beside, then renamed.
    let (beside, path) = (directory.path().join(".new"), directory.path().join(name));
    std::fs::write(&beside, text).unwrap();
    std::fs::set_permissions(&beside, Permissions::from_mode(mode)).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn object<'a>(kind: &'a str, namespace: &'a str, name: &'a str) -> Object<'a> {
    Object {
        kind,
        namespace,
        name,
    }
}

async fn secret(manifests: &Manifests, name: &str) -> Result<Secret> {
    manifests
        .get(
            object("secret", "team-a", name),
            ErrorClass::CredentialsNotFound,
        )
        .await
}

#[tokio::test]
async fn objects_are_found_by_kind_namespace_and_name() {
    let directory = directory();
    put(&directory, "all.yaml", OBJECTS, 0o600);
    let manifests = Manifests::open(directory.path().to_owned()).unwrap();
    let found = secret(&manifests, "token").await.unwrap();
    let data = found.data.unwrap();
    assert_eq!(data["token"].0, b"s3cret");
    assert_eq!(data["both"].0, b"wins");
    assert_eq!(data["old"].0, b"old");
    let map: ConfigMap = manifests
        .get(
            object("configmap", "default", "ca"),
            ErrorClass::CredentialsNotFound,
        )
        .await
        .unwrap();
    assert_eq!(map.data.unwrap()["ca.crt"], "PEM");
    let fake: Fake = manifests
        .get(object("Fake", "team-a", "fake"), ErrorClass::ConfigNotFound)
        .await
        .unwrap();
    assert_eq!(fake.spec.data[0].key.as_deref(), Some("k"));

    let missing = secret(&manifests, "other").await.unwrap_err();
    assert_eq!(missing.class(), ErrorClass::CredentialsNotFound);
    let elsewhere: Result<Secret> = manifests
        .get(
            object("secret", "team-b", "token"),
            ErrorClass::CredentialsNotFound,
        )
        .await;
    assert_eq!(
        elsewhere.unwrap_err().class(),
        ErrorClass::CredentialsNotFound
    );
}

#[tokio::test]
async fn a_change_takes_effect_with_the_next_lookup_and_has_another_version() {
    let directory = directory();
    put(&directory, "token.yaml", OBJECTS, 0o600);
    let manifests = Manifests::open(directory.path().to_owned()).unwrap();
    let before = secret(&manifests, "token").await.unwrap();
    let again = secret(&manifests, "token").await.unwrap();
    assert_eq!(
        before.metadata.resource_version,
        again.metadata.resource_version
    );
    put(
        &directory,
        "token.yaml",
        &OBJECTS.replace("s3cret", "rotate"),
        0o600,
    );
    let after = secret(&manifests, "token").await.unwrap();
    assert_eq!(after.data.unwrap()["token"].0, b"rotate");
    assert_ne!(
        before.metadata.resource_version,
        after.metadata.resource_version
    );
    std::fs::remove_file(directory.path().join("token.yaml")).unwrap();
    assert!(secret(&manifests, "token").await.is_err());
}

/// A manifest that others could have written, or a Secret that others can read, counts as not there; its neighbours do.
#[tokio::test]
async fn files_that_are_open_to_others_are_left_out() {
    for (mode, is_used) in [
        (0o600, true),
        (0o640, true),
        (0o644, false),
        (0o604, false),
        (0o620, false),
        (0o602, false),
    ] {
        let directory = directory();
        put(&directory, "a.yaml", OBJECTS, mode);
        let neighbour = OBJECTS.replace("name: token", "name: neighbour");
        put(&directory, "b.yaml", &neighbour, 0o600);
        put(&directory, "c.yaml", "a: [", 0o600);
        put(&directory, "d.yaml", "a: b", 0o600);
        let manifests = Manifests::open(directory.path().to_owned()).unwrap();
        let found = secret(&manifests, "token").await;
        assert_eq!(found.is_ok(), is_used, "{mode:o}");
        assert!(secret(&manifests, "neighbour").await.is_ok(), "{mode:o}");
    }
    let open = directory();
    std::fs::set_permissions(open.path(), Permissions::from_mode(0o777)).unwrap();
    let error = Manifests::open(open.path().to_owned()).err().unwrap();
    assert!(error.to_string().contains("chmod go-w"), "{error}");
}

#[tokio::test]
async fn an_object_of_another_shape_is_told_by_name_and_without_content() {
    let directory = directory();
    let wrong = OBJECTS.replace(
        "data: {old: b2xk, both: bG9zZXM=}",
        "data: {old: 'no-base64-at-all'}",
    );
    put(&directory, "token.yaml", &wrong, 0o600);
    let manifests = Manifests::open(directory.path().to_owned()).unwrap();
    let error = secret(&manifests, "token").await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidConfig);
    assert!(
        error.message().contains("\"token\"") && !error.message().contains("no-base64"),
        "{}",
        error.message()
    );
}
